"""Real servers that share a store, in processes of their own, and clients that call them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any, NamedTuple, Self

from jwt_middleware import Issuer, KeySet, Refresh, Settings, Tokens
from jwt_middleware.process.runtime import Runtime

from ..processes import free_port, started, wait_open
from ..waiting import PATIENCE
from .shared import AUDIENCE, ISSUER, LIFETIME, VERBS, Page, shift
from .stores import HANGING

THREADS = 4  # of a gunicorn worker

APPLICATION = "tests.fleet.application"
GUNICORN = (
    *("gunicorn", "--bind=127.0.0.1:{port}", f"--threads={THREADS}", "--no-control-socket"),
    *("--keep-alive=30", "--graceful-timeout=1", f"{APPLICATION}:wsgi()"),
)
COMMANDS = {
    "gunicorn": GUNICORN,
    "gunicorn-preload": (*GUNICORN, "--workers=2", "--preload"),
    "uvicorn": (
        *("uvicorn", "--port={port}", "--no-access-log", "--timeout-keep-alive=30"),
        *("--factory", f"{APPLICATION}:asgi"),
    ),
}


class Call(NamedTuple):
    """One request, as its client saw it. Times are of `time.monotonic`."""

    sent: float
    heard: float
    status: int
    headers: HTTPMessage
    pid: int | None  # of the process that let it in

    @property
    def took(self) -> float:
        return self.heard - self.sent


class Noted(NamedTuple):
    """What a process of the fleet has told: a verb of its store, or an event."""

    at: float
    pid: int
    what: str


class Member:
    """One server of the fleet."""

    def __init__(self, name: str, given: dict[str, Any], log: Path) -> None:
        self.name = name
        self._log = log
        self.port = free_port()
        self.process = started(COMMANDS[name], self.port, log, TEST_FLEET=json.dumps(given))

    def wait(self) -> None:
        """Wait until the port is open."""
        wait_open(self.port, self.process, self._log)

    def kill(self) -> None:
        """End all its processes, whatever they are at."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def connect(self) -> HTTPConnection:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.connect()
        return connection

    def call(self, tokens: Tokens) -> Call:
        """Call once, on a connection of its own."""
        with closing(self.connect()) as connection:
            return call(connection, tokens)

    def crowd(self, tokens: Tokens, count: int) -> list[Call]:
        """Call so often at the same moment."""
        found: list[Call] = []
        barrier = Barrier(count)
        with ExitStack() as stack:
            connections = [stack.enter_context(closing(self.connect())) for _ in range(count)]

            def one(connection: HTTPConnection) -> None:
                barrier.wait()
                found.append(call(connection, tokens))

            threads = [Thread(target=one, args=(each,)) for each in connections]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(found) == count
        return found


def call(connection: HTTPConnection, tokens: Tokens, path: str = "/") -> Call:
    sent = time.monotonic()
    connection.request("GET", path, headers={"Authorization": f"Bearer {tokens.access_token}"})
    answer = connection.getresponse()
    body = answer.read()
    pid = int(body) if answer.status == http.client.OK else None
    return Call(sent, time.monotonic(), answer.status, answer.headers, pid)


@contextmanager
def load(
    members: Iterable[Member], tokens: Tokens, *, path: str = "/", clients: int = 2, rest: float = 0
) -> Generator[dict[Member, list[Call]]]:
    """Let clients call each member, with rests of some seconds; give what they saw so far."""
    found: dict[Member, list[Call]] = {member: [] for member in members}
    is_over = Event()

    def client(member: Member) -> None:
        with closing(member.connect()) as connection:
            while not is_over.is_set():
                found[member].append(call(connection, tokens, path))
                is_over.wait(rest)

    threads = [Thread(target=client, args=(member,)) for member in found for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


class Fleet:
    """Servers with one store, one key file and one clock, and the issuer that logs out."""

    def __init__(self, store: str, folder: Path, **options: Any) -> None:
        self._folder = folder
        self._options = options
        self._count = 0
        self._stack = ExitStack()
        self.page = Page.new(folder / "page")
        self.store = self._stack.enter_context(HANGING[store](folder, self.page))
        self.log = folder / "log"
        self.log.touch()
        self._alive = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        keys = KeySet.generate()
        keys.save(folder / "keys.json")
        settings = Settings(
            issuer=ISSUER,
            audience=AUDIENCE,
            keys=keys,
            clock=self.page.clock,
            refresh=Refresh(store=self.store.url, access_lifetime=LIFETIME),
        )
        self.issuer = Issuer(settings)
        self._stack.callback(settings.close)
        self._grants = Runtime.of(settings).store
        shift(self._grants, self.page)

    def start(self, *names: str, warm: Tokens | None = None) -> list[Member]:
        """Start servers. With `warm` an application serves a request before it is forked."""
        given = {
            "store": self.store.url,
            "keys": str(self._folder / "keys.json"),
            "page": str(self._folder / "page"),
            "log": str(self.log),
            "alive": self._alive.getsockname()[1],
            "options": self._options,
            "warm": warm and warm.access_token,
        }
        members = []
        for name in names:
            self._count += 1
            log = self._folder / f"{self._count}-{name}"
            members.append(Member(name, given, log))
            self._stack.callback(members[-1].kill)
        for member in members:
            member.wait()
        return members

    def ended_at(self, tokens: Tokens) -> float | None:
        """Return when the grant of these tokens ended, by the clock of the store."""
        row = self._grants.advance(tokens.grant_id, 0, 0, None).grant
        assert row is not None
        ended_at: float | None = row.ended_at
        return ended_at

    def notes(self, since: float = 0) -> list[Noted]:
        """Return what all processes have noted from a moment on."""
        lines = (line.split(maxsplit=2) for line in self.log.read_text().splitlines())
        noted = [Noted(float(at), int(pid), what) for at, pid, what in lines]
        return [one for one in noted if one.at >= since]

    def asked(self, since: float) -> dict[int, list[float]]:
        """Return when each process called its store, whatever for."""
        found: dict[int, list[float]] = {}
        for one in self.notes(since):
            if one.what in VERBS:
                found.setdefault(one.pid, []).append(one.at)
        return found

    def hear(self, what: str, pids: Iterable[int], *, since: float, within: float) -> None:
        """Wait until all these processes have noted something."""
        deadline = time.monotonic() + within
        while missing := set(pids) - {one.pid for one in self.notes(since) if one.what == what}:
            assert time.monotonic() < deadline, f"{missing} never noted {what!r}"
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
