"""Clients go on asking while the server of their former application is replaced by ours.

Each client has one user's tokens, as an old version of an app or a page has them: it knows nothing
of the switch. A client that can't connect tries again, as all do. The switch is made when every
client has been served several times, and the test ends when every client has been served several
times by the new application: no time is measured.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Protocol

import httpx2

from tests.processes import HOST, free_port, wait_open
from tests.waiting import PATIENCE, until

THREADS, ROUNDS = 8, 3


class Servers:
    """One port, at which one application after the other is served."""

    def __init__(self, folder: Path, command: Sequence[str], **variables: str) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._folder, self._command = folder, command
        self._variables = os.environ | {"PYTHONPATH": str(folder)} | variables
        self._running: subprocess.Popen[bytes] | None = None

    def start(self, module: str) -> None:
        """Serve `module:app` by a process of its own, and wait until it listens."""
        log = self._folder / f"{module}.log"
        command = [part.format(port=self.port, module=module) for part in self._command]
        with log.open("wb") as said:
            self._running = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self._folder,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_open(self.port, self._running, log)

    def stop(self) -> None:
        """Stop the server as an operator does, and wait until it has gone."""
        if self._running is not None:
            os.killpg(self._running.pid, signal.SIGTERM)
            self._running.wait(PATIENCE)
            self._running = None


@contextmanager
def served(
    folder: Path, command: Sequence[str], module: str, **variables: str
) -> Generator[Servers]:
    """Give the servers, of which the one for `module` runs."""
    servers = Servers(folder, command, **variables)
    try:
        servers.start(module)
        yield servers
    finally:
        servers.stop()


class Asks(Protocol):
    """How a client asks: `httpx2.Client.request`, which tries again where it can't connect."""

    def __call__(self, method: str, path: str, **options: object) -> httpx2.Response: ...


class Client(Protocol):
    """An app or a page of one user, which holds tokens of the former application."""

    name: str

    def log_in(self, asks: Asks) -> None:
        """Log in, and keep the tokens."""

    def me(self, asks: Asks) -> str | None:
        """Return whom the application takes it for. None: it must log in again."""


@dataclass
class Story:
    """What happened: who was logged out, what was accepted that must not be."""

    logged_out: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    forged: int = 0
    served: dict[str, int] = field(default_factory=dict)  # since the last switch

    def has_served_all(self, clients: Sequence[Client]) -> bool:
        """Say whether every client was served several times, or one is lost already."""
        return bool(self.logged_out) or all(
            self.served.get(client.name, 0) >= ROUNDS for client in clients
        )


@contextmanager
def asking(url: str) -> Generator[Asks]:
    """Give a way to ask that tries again while nobody listens, and after a 503, as clients do."""
    with httpx2.Client(base_url=url, timeout=PATIENCE, trust_env=False) as client:

        def asks(method: str, path: str, **options: object) -> httpx2.Response:
            def answered() -> httpx2.Response | None:
                answer = client.request(method, path, **options)  # type: ignore[arg-type]
                return None if answer.status_code == 503 else answer

            return until(answered, passing=(httpx2.TransportError,))

        yield asks


def switch(
    servers: Servers,
    clients: Sequence[Client],
    forge: Callable[[Asks], tuple[int, list[str]]],
    also: Callable[[], object] = int,
) -> Story:
    """Let all clients log in, replace the application under load, and tell what happened.

    `forge` sends requests with tokens that must not be accepted, and returns how many, and which
    were. `also` is what else is done while no server runs.
    """
    story, over = Story(), Event()

    def live(mine: Sequence[Client]) -> None:
        with asking(servers.url) as asks:
            while not over.is_set():
                for client in mine:
                    if client.me(asks) == client.name:
                        story.served[client.name] = story.served.get(client.name, 0) + 1
                    else:
                        story.logged_out.append(client.name)

    def attack() -> None:
        with asking(servers.url) as asks:
            while not over.is_set():
                sent, accepted = forge(asks)
                story.forged += sent
                story.accepted += accepted

    with asking(servers.url) as asks:
        for client in clients:
            client.log_in(asks)
    with ThreadPoolExecutor(THREADS + 1) as pool:
        lives = [pool.submit(live, clients[n::THREADS]) for n in range(THREADS)]
        lives.append(pool.submit(attack))
        try:
            until(lambda: story.has_served_all(clients))
            servers.stop()
            also()
            servers.start("after")
            story.served, story.forged = {}, 0
            until(lambda: story.has_served_all(clients) and story.forged)
        finally:
            over.set()
        for one in lives:
            one.result(PATIENCE)
    return story
