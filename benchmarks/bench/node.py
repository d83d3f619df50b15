"""A known token beside fast-jwt's, whose verifier has a cache, too; it runs on Node."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import thread_time_ns

from jwt_middleware.process.runtime import Runtime
from jwt_middleware.values.flows import run
from jwt_middleware.values.requests import Request

from .report import AtLeast, Row, Section, compared, micros
from .scene import PATH, Function, Issuer

FOLDER = Path(__file__).with_name("node")
CALLS = 20_000  # in a burst: 10 to 50 ms, because Node counts CPU time in µs
WARM_UP = 10  # bursts, until Node has compiled the code


def sections() -> Iterator[Section]:
    """Yield one section; without Node, say so and yield none."""
    if not is_ready():
        return
    yield Section(
        "Beside fast-jwt on Node",
        ("ours, µs", "theirs, µs"),
        "theirs over ours",
        rows,
        "A known token: ours with route, times, keys and ended grants checked again, theirs with "
        "its times, both given octets of their own at each call, as from a socket. CPU time, each "
        "in its own process, in turns.",
        rounds=40,
    )


def is_ready() -> bool:
    """Say whether Node and its packages are there; print a message if they aren't."""
    if shutil.which("node") is not None and (FOLDER / "node_modules").is_dir():
        return True
    print("\n**Left out: what runs on Node. Install it and npm, then `make bench`.**")
    sys.stdout.flush()
    return False


def whom(issuer: Issuer) -> dict[str, str]:
    """Return the options of a verifier."""
    factory = issuer.factory
    return {"key": issuer.pem, "issuer": factory.issuer, "audience": factory.audience}


class Verifier:
    """The verifier of fast-jwt, in a process of its own."""

    def __init__(self, issuer: Issuer, exits: ExitStack) -> None:
        command = ["node", os.fspath(FOLDER / "verified.mjs")]
        self._process = exits.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        exits.callback(self._process.terminate)
        work = {**whom(issuer), "token": issuer.token, "forged": issuer.forged}
        self.version = self._ask(json.dumps(work))

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def cost(self) -> float:
        """Return ns of CPU time per call."""
        return float(self._ask(str(CALLS)))


def rows(rounds: int) -> Iterator[Row]:
    """Compare a known token with a known token."""
    issuer = Issuer()
    with ExitStack() as exits:
        theirs = Verifier(issuer, exits)
        ours = known(issuer)
        for _ in range(WARM_UP):
            theirs.cost()
        pairs = [(_cost(ours), theirs.cost()) for _ in range(rounds)]
    mine, other = [one for one, _ in pairs], [one for _, one in pairs]
    what = f"fast-jwt's verifier with its cache, Node {theirs.version}"
    row = Row(what, (micros(median(mine)), micros(median(other))), goal=4, gate=AtLeast(3))
    yield compared(row, other, mine)


def known(issuer: Issuer) -> Function:
    """Return our check of a known token."""
    core = Runtime.of(issuer.settings()).core(asynchronous=False)
    text = f"Bearer {issuer.token}".encode()
    run(core.decide(_request(text)))
    assert core.warm("GET", PATH, text) is not None
    # A new object for each request, because `bytes` caches its hash.
    return lambda: core.warm("GET", PATH, bytes(bytearray(text)))


def _request(credentials: bytes) -> Request:
    return Request(
        "GET", PATH, {"authorization": credentials.decode()}.get, credentials=credentials
    )


def _cost(function: Function) -> float:
    begun = thread_time_ns()
    for _ in range(CALLS):
        function()
    return (thread_time_ns() - begun) / CALLS
