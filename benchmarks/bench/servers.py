"""Under real servers, with wrk: CPU time per request, throughput, and the slowest of a hundred.

A server has one worker and one core, wrk the other. All take turns of some seconds, so that they
meet the same machine; CPU time is that of the server's processes, from /proc.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeAlias
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from benchmarks import verify
from benchmarks.measure import measure

from .report import AtLeast, AtMost, Row, Section, compared, micros, number
from .scene import PATH, Issuer

SECONDS = 2  # of one turn
CONNECTIONS = 16
MANY = 64  # connections: a server handles requests that wait together with warm caches
STARTED = 20.0  # seconds that a server may take to start
LOAD = re.compile(
    r"99%\s+(?P<p99>[\d.]+)(?P<unit>us|ms|s)\n.*?(?P<count>\d+) requests in (?P<seconds>[\d.]+)s",
    re.DOTALL,
)
NOTHING = ("", "", "")  # in the columns of costs
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Kind:
    """A server: how it is started for an application, and the names of the two applications."""

    name: str
    command: Sequence[str]
    bare: str
    ours: str
    goal: float | None = None
    gate: AtMost | None = None
    connections: int = CONNECTIONS


_PYTHON = (sys.executable, "-m")
_MODULE = "benchmarks.bench.served"
_UVICORN = ("uvicorn", "--factory", f"{_MODULE}:{{app}}", "--port", "{port}", "--no-access-log")
_GRANIAN = ("granian", "--factory", f"{_MODULE}:{{app}}", "--port", "{port}", "--no-ws")
_GUNICORN = ("gunicorn", f"{_MODULE}:{{app}}()", "--bind", "127.0.0.1:{port}", "-w", "1")
_KEEP_ALIVE = ("-k", "gthread", "--threads", "1", "--worker-connections", "100")
_STARLETTE = (*_PYTHON, *_UVICORN, "--log-level", "warning"), "bare_asgi", "ours_asgi"

KINDS = (
    Kind("uvicorn, Starlette", *_STARLETTE, goal=0.1, gate=AtMost(0.2)),
    Kind(
        f"uvicorn, Starlette, {MANY} connections", *_STARLETTE, gate=AtMost(0.2), connections=MANY
    ),
    Kind(
        "granian, Starlette",
        (*_PYTHON, *_GRANIAN, "--interface", "asgi", "--log-level", "warning"),
        "bare_asgi",
        "ours_asgi",
    ),
    Kind(
        "gunicorn (gthread), Flask",
        (*_PYTHON, *_GUNICORN, *_KEEP_ALIVE, "--log-level", "warning"),
        "bare_wsgi",
        "ours_wsgi",
    ),
)


def sections() -> Iterator[Section]:
    """Yield one section; without wrk, say so and yield none."""
    if shutil.which("wrk") is None or not Path("/proc/self/task").is_dir():
        print("\n**Left out: servers. They need wrk (`apt-get install wrk`) and Linux.**")
        sys.stdout.flush()
        return
    yield Section(
        "Under real servers",
        ("CPU per request, µs", "requests/s", "p99, ms"),
        "ratio",
        rows,
        f"One worker on one core, wrk with {CONNECTIONS} connections on another unless {MANY} are "
        "named, one known token.",
        rounds=12,
    )


@dataclass(frozen=True)
class Turn:
    """What one turn of wrk found."""

    cpu: float  # ns per request
    rate: float  # requests per second
    p99: float  # ms


class Server:
    """A process that serves one application, and its child processes."""

    def __init__(self, kind: Kind, app: str, exits: ExitStack, extra: Mapping[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}{PATH}"
        self._connections = f"-c{kind.connections}"
        command = [part.format(app=app, port=port) for part in kind.command]
        self._process = exits.enter_context(
            subprocess.Popen(command, env={**os.environ, **extra}, stdout=subprocess.DEVNULL)
        )
        exits.callback(self._process.terminate)
        os.sched_setaffinity(self._process.pid, {_cores()[0]})
        deadline = time.monotonic() + STARTED
        while self.status(None) is None:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"{kind.name} doesn't start: {' '.join(command)}")
            time.sleep(0.1)

    def status(self, token: str | None) -> int | None:
        """Return the status of an answer; None without one."""
        request = Request(self.url)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except OSError:
            return None

    def _cpu(self) -> int:
        """Return ns of CPU time of all threads of the process and of its children."""
        pids = [self._process.pid]
        for pid in pids:
            children = Path(f"/proc/{pid}/task").glob("*/children")
            pids += [int(one) for path in children for one in path.read_text().split()]
        tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def turn(self, token: str, seconds: int = SECONDS) -> Turn:
        """Send requests for some seconds."""
        before = self._cpu()
        command = ["wrk", "-t1", self._connections, f"-d{seconds}s", "--latency"]
        header = f"Authorization: Bearer {token}"
        wrk = ["taskset", "-c", str(_cores()[-1]), *command, "-H", header, self.url]
        text = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
        cpu = self._cpu() - before
        found = LOAD.search(text)
        assert found is not None, text
        assert "Non-2xx" not in text, text
        count = int(found["count"])
        p99 = float(found["p99"]) * UNITS[found["unit"]]
        return Turn(cpu / count, count / float(found["seconds"]), p99)


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def rows(rounds: int) -> Iterator[Row]:
    """Compare bare with ours under each server."""
    turns, raw = _turns(Issuer(), rounds)
    for kind in KINDS:
        bare, ours = turns[kind.name, kind.bare], turns[kind.name, kind.ours]
        yield from _rows(kind, bare, ours, raw)


Turns: TypeAlias = dict[tuple[str, str], list[Turn]]


def _turns(issuer: Issuer, rounds: int) -> tuple[Turns, list[float]]:
    """Let servers take turns, started anew for each round; and measure raw, once a round.

    New processes, because the random place of code and data in memory changes a request by a µs.
    """
    found: Turns = {(kind.name, app): [] for kind in KINDS for app in (kind.bare, kind.ours)}
    costs: list[float] = []
    raw = {"raw": verify.raw(issuer.factory, issuer.token)}
    for turn in range(rounds):
        with ExitStack() as exits:
            servers = _started(issuer, exits)
            for which in list(servers)[:: -1 if turn % 2 else 1]:
                found[which].append(servers[which].turn(issuer.token))
        costs.append(measure(raw, rounds=50).typical("raw"))
    return found, costs


def _started(issuer: Issuer, exits: ExitStack) -> dict[tuple[str, str], Server]:
    """Start all servers and warm each up. A server costs nothing while it has no turn."""
    servers: dict[tuple[str, str], Server] = {}
    keys = Path(exits.enter_context(tempfile.TemporaryDirectory())) / "keys.json"
    issuer.factory.keys.save(keys)
    extra = {"BENCH_KEYS": os.fspath(keys)}
    for kind in KINDS:
        for app in (kind.bare, kind.ours):
            servers[kind.name, app] = Server(kind, app, exits, extra)
        ours = servers[kind.name, kind.ours]
        assert (ours.status(issuer.token), ours.status(issuer.forged)) == (200, 401), kind
    for server in servers.values():
        server.turn(issuer.token, 1)
    return servers


def _rows(
    kind: Kind, bare: Sequence[Turn], ours: Sequence[Turn], raw: Sequence[float]
) -> Iterator[Row]:
    for what, one in (("bare", bare), ("with a check", ours)):
        cpu, rate, p99 = (
            median(getattr(turn, name) for turn in one) for name in ("cpu", "rate", "p99")
        )
        yield Row(f"{kind.name}, {what}", (micros(cpu), f"{rate:.0f}", number(p99)))
    extra = [one.cpu - other.cpu for one, other in zip(ours, bare, strict=True)]
    added = Row(
        f"{kind.name}: CPU added, over raw",
        (micros(median(extra)), "", ""),
        goal=kind.goal,
        gate=kind.gate,
    )
    yield compared(added, extra, raw)
    rate_gate = AtLeast(0.9) if kind.gate else None
    kept = Row(f"{kind.name}: throughput over bare", NOTHING, gate=rate_gate)
    yield compared(kept, [one.rate for one in ours], [one.rate for one in bare])
