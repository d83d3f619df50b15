"""What a refresh costs, over one raw ES256 signature: `python -m benchmarks.refresh [--gate]`.

Ours is `Core.begin` on a POST with a form, led to its end: body, refresh token, the grant's swap in
the store, a new access token (signed by ES256), a new refresh token, the answer as bytes. Each call
presents the refresh token from the answer before. Raw is `private_key.sign` of `cryptography`
alone, on the octets of such an access token. Neither has the work of a server.

They run one call each, in turns, as in a real service. If signatures ran in a row, they would find
the curve's tables in the caches, which a refresh uses for other data.

SQLite is not timed here, because the disk would be (`python -m benchmarks.sqlite_store` does): what
is counted are commits, in its write-ahead log, and the rows and pages that 10,000 rotations leave.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sqlite3
import struct
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cryptography
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from jwt_middleware import Event, Issuer, KeySet, Refresh, Settings, Tokens
from jwt_middleware.core.decide import Core
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.values.events import Refreshed
from jwt_middleware.values.flows import run
from jwt_middleware.values.requests import Reply, Request
from jwt_middleware.values.tokens import Hidden

from .measure import Times, measure

GATE, GOAL = 3.2, 2.0
RAW = "raw ES256 signature"
ROTATIONS = 10_000
COUNTED = 50  # of each kind: few enough that SQLite doesn't restart its log meanwhile
FORM = b"grant_type=refresh_token&refresh_token="
MEMBER = b'"refresh_token":"'
HEADERS = {
    "content-type": "application/x-www-form-urlencoded",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}


class Client:
    """One login, and what is done with its tokens."""

    def __init__(self, store: str, **options: Any) -> None:
        self.settings = Settings(
            issuer="https://login.example.com",
            audience="https://api.example.com",
            keys=KeySet.generate("ES256"),
            refresh=Refresh(store=store, **options),
        )
        self.core: Core = Runtime.of(self.settings).core(asynchronous=False)
        self.tokens: Tokens = Issuer(self.settings).issue(
            "alice", scope="read write", claims={"roles": ["editor", "author"]}
        )
        assert self.tokens.refresh_token
        self.token = self.tokens.refresh_token.encode()

    def post(self, token: bytes) -> Reply:
        """Refresh."""
        body = FORM + token
        headers = HEADERS | {"content-length": str(len(body))}
        request = Request("POST", "/auth/refresh", headers.get, lambda limit: Hidden(body))
        step = run(self.core.decide(request))
        assert isinstance(step, Reply)
        return step

    def rotate(self) -> tuple[Event, ...]:
        """Refresh, and keep what comes."""
        step = self.post(self.token)
        body = step.response.body
        start = body.index(MEMBER) + len(MEMBER)
        self.token = body[start : body.index(b'"', start)]
        return step.events

    def does(self, how: str, token: bytes) -> Callable[[], object]:
        """Return a refresh with this token, after seeing that it is of the kind."""
        check(self.post(token).events, how)
        return lambda: self.post(token)


def check(events: tuple[Event, ...], how: str) -> None:
    (event,) = events
    assert isinstance(event, Refreshed), event
    assert event.how == how, event


def functions() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is measured."""
    client = Client("memory://", settle=0)  # 0: else the refresh token would be kept
    key = client.settings.keys.keys[0].private
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signing_input = client.tokens.access_token.rpartition(".")[0].encode()
    algorithm = ec.ECDSA(hashes.SHA256())
    yield RAW, lambda: key.sign(signing_input, algorithm)
    first = client.token
    check(client.rotate(), "rotated")
    yield "rotated", client.rotate
    repeating = Client("memory://", settle=0)
    first = repeating.token
    repeating.rotate()
    yield "repeated", repeating.does("repeated", first)
    keeping = Client("memory://", settle=300)
    yield "kept", keeping.does("kept", keeping.token)


def table(times: Times) -> tuple[str, bool]:
    """Return the Markdown table, and whether the gate was kept."""
    rows = [
        f"| a refresh that is | µs | over {RAW} | quartiles | goal | gate | |",
        "|---|--:|--:|:-:|--:|--:|---|",
    ]
    kept = times.ratio("rotated", RAW) <= GATE
    for name in ("rotated", "repeated", "kept"):
        low, high = times.spread(name, RAW)
        limits = f"{GOAL} | {GATE} | {'PASS' if kept else 'FAIL'}" if name == "rotated" else "| |"
        rows.append(
            f"| {name} | {times.typical(name) / 1000:.1f} | {times.ratio(name, RAW):.2f} "
            f"| {low:.2f} to {high:.2f} | {limits} |"
        )
    rows.append(f"| ({RAW}) | {times.typical(RAW) / 1000:.1f} | | | | | |")
    return "\n".join(rows), kept


def commits(path: Path) -> int:
    """Count the commits in the write-ahead log (https://www.sqlite.org/fileformat2.html, 4)."""
    log = path.with_name(f"{path.name}-wal").read_bytes()
    (page,) = struct.unpack_from(">I", log, 8)
    salts = log[16:24]
    frames = range(32, len(log) - 24 - page + 1, 24 + page)
    # "For commit records, the size of the database file in pages after the commit. For all other
    # records, zero."
    sizes = [log[at + 4 : at + 8] for at in frames if log[at + 8 : at + 16] == salts]
    return sum(size != bytes(4) for size in sizes)


@contextmanager
def counted(path: Path, what: str, expected: int) -> Generator[None, None, None]:
    before = commits(path)
    yield
    found = commits(path) - before
    print(f"| {what} | {found} |")
    assert found == expected, (what, found, expected)


def on_sqlite(folder: Path) -> None:
    """Count commits, rows and pages. Raises AssertionError where they aren't as promised."""
    path = folder / "grants.db"
    client = Client(f"sqlite:///{path}?synchronous=NORMAL", settle=0)
    print(f"\n| SQLite {sqlite3.sqlite_version}: {COUNTED} times | commits |\n|---|--:|")
    parent = client.token
    with counted(path, "rotated", COUNTED):
        for _ in range(COUNTED):
            parent = client.token
            check(client.rotate(), "rotated")
    with counted(path, "repeated", 0):
        for _ in range(COUNTED):
            check(client.post(parent).events, "repeated")
    keeping = Client(f"sqlite:///{path}?synchronous=NORMAL", settle=300)
    with counted(path, "kept", 0):
        for _ in range(COUNTED):
            check(keeping.post(keeping.token).events, "kept")
    early = size(path)
    for _ in range(ROTATIONS):
        client.rotate()
    late = size(path)
    client.settings.close()
    keeping.settings.close()
    print(f"\nRows and pages: {early} at first, {late} after {ROTATIONS} rotations more.")
    assert early == late
    assert early[0] == 2  # the logins


def size(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as db:
        (rows,) = db.execute("SELECT count(*) FROM grants").fetchone()
        (pages,) = db.execute("PRAGMA page_count").fetchone()
    return rows, pages


def main() -> int:
    """Measure, print, and return 1 if a gate was asked for and missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gate", action="store_true", help="exit with 1 if the gate is missed")
    options.add_argument("--rounds", type=int, default=5000, help="how often each is called")
    given = options.parse_args()
    prepared = dict(functions())
    gc.freeze()
    text, kept = table(measure(prepared, rounds=given.rounds, burst=1))
    machine = f"{platform.python_implementation()} {platform.python_version()}, cryptography"
    print(f"{machine} {cryptography.__version__}, {platform.machine()}, {os.cpu_count()} cores\n")
    print(text)
    with tempfile.TemporaryDirectory() as folder:
        on_sqlite(Path(folder))
    return 1 if given.gate and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
