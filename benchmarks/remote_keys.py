"""What a fault of the issuer's key server costs: `python -m benchmarks.remote_keys`.

For each fault, through WSGI and ASGI: the longest time of a request with a known key during a
fetch, among 400 requests in 8 threads or tasks; the number of fetches in 61 seconds of back-off, by
a clock that is set; and the answers for known keys, for unknown keys, and in a process without
keys.
"""

from __future__ import annotations

import argparse

from jwt_middleware import KeySet
from jwt_middleware.keys.freshness import FETCH_BACK_OFF
from tests.issuing import HOUR, Clock
from tests.keyserver import KeyServer, key_set
from tests.keyserver.faults import FAULTS
from tests.keyserver.site import DOORS, Author, Site, settle

REQUESTS, THREADS = 400, 8
TIMEOUT = 1.0  # seconds for a fetch: a request that waited for one would take as long


def line(fault: str, door: str) -> str:
    """Run one fault through WSGI or ASGI, and return its line."""
    clock = Clock()
    with KeyServer() as server:
        author = Author(server.base, clock)
        server.publish(key_set(author.keys))
        remote = KeySet.remote(server.url, timeout=TIMEOUT)
        site, empty = (Site(door, author.settings(remote)) for _ in range(2))
        token, stranger = author.token(exp=int(clock()) + HOUR), author.rotated().token()
        assert site.served(token)
        FAULTS.get(fault, (lambda _: None, ""))[0](server)
        clock.forward(511)
        before = server.accepted
        known = site.flood([token] * REQUESTS, threads=THREADS)
        settle()
        for step in FETCH_BACK_OFF:
            clock.forward(step)
            known += site.flood([token] * THREADS, threads=THREADS)
            settle()
        fetches = server.accepted - before
        unknown, first = site.get(stranger), empty.get(token)
        settle()
    longest = max(one.seconds for one in known) * 1000
    statuses = ", ".join(str(one) for one in sorted({one.status for one in known}))
    return (
        f"| {fault} | {door} | {longest:.0f} ms | {fetches} "
        f"| {statuses} | {unknown.status} | {first.status} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fault", choices=FAULTS, help="one of them alone")
    chosen = parser.parse_args().fault
    print("| The server | Door | Longest known | Fetches | Known | Unknown | No keys |")
    print("|---|---|---|---|---|---|---|")
    for fault in ("is good", *FAULTS) if chosen is None else (chosen,):
        for door in DOORS:
            print(line(fault, door), flush=True)


if __name__ == "__main__":
    main()
