"""A process of `benchmarks.fleet_feed`: it forks the others, each of which asks once a second.

It knows the package alone, by PYTHONPATH, so that another tree's can be run: `python FILE JSON`.
"""

from __future__ import annotations

import io
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from jwt_middleware import Issuer, KeySet, Refresh, Settings
from jwt_middleware.wsgi import JWTMiddleware

AUDIENCE = "https://api.example"
OVERLAP = 60  # seconds of ends before what counts: former versions send these again each time
RECEIVED = 128  # where in Linux's tcp_info the octets received are: linux/tcp.h


def received() -> dict[str, int]:
    """Return the octets that each TCP socket of this process has received."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{name}")
            if not link.startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as one:
                told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:  # it was closed meanwhile, or is no TCP
            continue
        found[link] = struct.unpack_from("Q", told, RECEIVED)[0]
    return found


def settings(given: dict[str, Any]) -> Settings:
    options = dict(given["options"])
    return Settings(
        issuer="https://login.example",
        audience=AUDIENCE,
        keys=KeySet.load(given["keys"]),
        refresh=Refresh(store=given["url"], access_lifetime=3600, **options),
    )


def is_over(pipe: int) -> bool:
    """Say whether the other end of a pipe was closed."""
    return bool(select.select([pipe], [], [], 0)[0])


def write(given: dict[str, Any]) -> dict[str, Any]:
    """End so many grants a second, after a minute of them at once, until standard input ends."""
    rate = given["rate"]
    issuer = Issuer(settings(given))
    count = 0

    def end() -> None:
        nonlocal count
        issuer.revoke(issuer.issue(f"user-{count}", scope="read").grant_id)
        count += 1

    for _ in range(OVERLAP * rate):
        end()
    print("ready", flush=True)
    begun = time.monotonic()
    while not is_over(0):
        due = (OVERLAP + time.monotonic() - begun) * rate
        while count < due:
            end()
        time.sleep(0.02)
    return {"ends": count}


class Reader:
    """One middleware that gets a request each second, like a process that has little to do."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.app = JWTMiddleware(self._application, settings(given))
        self.environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/",
            "HTTP_AUTHORIZATION": f"Bearer {given['token']}",
        }
        self.status = ""

    def _application(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    def call(self) -> str:
        def start_response(status: str, *_: Any) -> None:
            self.status = status

        self.app(self.environ | {"wsgi.input": io.BytesIO()}, start_response)
        return self.status[:3]


def read(given: dict[str, Any], over: int, ready: Callable[[], None]) -> dict[str, Any]:
    """Ask once a second until it is over, and say what it took since all was ready."""
    readers = [Reader(given) for _ in range(given["each"])]
    refused = sum(one.call() != "200" for one in readers)
    time.sleep(random.random())
    ready()
    begun, cpu, octets = time.monotonic(), time.process_time(), received()
    rounds = 0
    while not is_over(over):
        rounds += 1
        refused += sum(one.call() != "200" for one in readers)
        time.sleep(max(begun + rounds - time.monotonic(), 0))
    cpu, took, now = time.process_time() - cpu, time.monotonic() - begun, received()
    return {
        "cpu": cpu / took,
        "octets": sum(now[one] - octets[one] for one in now if one in octets) / took,
        "sockets": len(now),
        "requests": rounds * len(readers) / took,
        "refused": refused,
    }


def nursery(given: dict[str, Any]) -> None:
    """Fork the readers, say when they are ready; and what each of them found, when it is over."""
    over, living = os.pipe()
    pipes = []
    for _ in range(given["processes"]):
        ours, theirs = os.pipe()
        if os.fork() == 0:
            os.close(ours)
            os.close(living)
            random.seed(os.getpid())
            with os.fdopen(theirs, "w", buffering=1) as out:
                try:
                    told = read(given, over, lambda out=out: out.write("ready\n"))  # type: ignore[misc]
                except BaseException as error:  # noqa: BLE001  (the parent tells it)
                    told = {"error": repr(error)}
                out.write(f"{json.dumps(told)}\n")
            os._exit(0)
        os.close(theirs)
        pipes.append(os.fdopen(ours))
    first = [one.readline() for one in pipes]
    print("ready", flush=True)
    sys.stdin.read()
    os.close(living)
    said = [
        line if line != "ready\n" else one.readline()
        for line, one in zip(first, pipes, strict=True)
    ]
    print(json.dumps([json.loads(one or '{"error": "it said nothing"}') for one in said]))


def main() -> None:
    given = json.loads(sys.argv[1])
    if given["what"] == "write":
        print(json.dumps(write(given)), flush=True)
    elif given["what"] == "token":
        print(json.dumps(Issuer(settings(given)).issue("reader", scope="read").access_token))
    else:
        nursery(given)


if __name__ == "__main__":
    main()
