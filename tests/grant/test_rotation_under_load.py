"""Our own keys rotate while requests run: no honest token is refused, in any process, by any door.

Two issuers share a store and a key file, one under gunicorn with threads, one under uvicorn with
tasks; a third process verifies by the published key set. Clients log in, refresh at either issuer
and call all three, time and again, while the command line rotates and retires keys. How many
requests that were is in the log: `-o log_cli=true -o log_cli_level=INFO`.
"""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlencode

import pytest

from jwt_middleware import KeySet
from jwt_middleware.jose import jws
from tests.issuing import FORM, KEY_SET, REFRESH, refresh_form
from tests.processes import free_port, started, wait_open
from tests.waiting import PATIENCE

APPLICATION = "tests.rotating.application"
UVICORN = (
    *("uvicorn", "--port={port}", "--no-access-log", "--timeout-keep-alive=60"),
    *("--timeout-graceful-shutdown=1", "--factory"),
)
COMMANDS = {
    "gunicorn": (
        *("gunicorn", "--bind=127.0.0.1:{port}", "--threads=8", "--no-control-socket"),
        *("--keep-alive=60", "--graceful-timeout=1", f"{APPLICATION}:wsgi()"),
    ),
    "uvicorn": (*UVICORN, f"{APPLICATION}:asgi"),
    "verifier": (*UVICORN, f"{APPLICATION}:verifier"),
}
CLIENTS, ROTATIONS = 4, 5
PAUSE = 1.5  # seconds, and 15 of the processes', which look at the file every five

RESTS = 0.02  # seconds of a client between two rounds: how fast the machine is, isn't asked

log = logging.getLogger(__name__)


class Servers:
    """The three processes, and their ports."""

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys.json"
        self.operate("new")
        self._folder = folder
        self._began = time.time()
        self._stack = ExitStack()
        self._alive = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.ports: dict[str, int] = {}

    def operate(self, *arguments: str) -> None:
        command = (sys.executable, "-m", "jwt_middleware.cli", "keys", *arguments)
        subprocess.run([*command, "--file", str(self.keys)], check=True, capture_output=True)

    def kids(self, state: str) -> list[str]:
        members = json.loads(self.keys.read_bytes())["keys"]
        return [one["kid"] for one in members if one["state"] == state]

    def start(self, name: str) -> None:
        port = self.ports[name] = free_port()
        given = {
            "keys": str(self.keys),
            "store": f"sqlite:///{self._folder}/grants.db?synchronous=NORMAL",
            "began": self._began,
            "alive": self._alive.getsockname()[1],
            "jwks": f"http://127.0.0.1:{self.ports['gunicorn']}{KEY_SET}",
        }
        log = self._folder / f"{name}.log"
        process = started(COMMANDS[name], port, log, TEST_ROTATING=json.dumps(given))
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        wait_open(port, process, log)

    def close(self) -> None:
        self._stack.close()


class Client:
    """One honest client: what it holds, and what it was refused."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._connections = {
            name: HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            for name, port in ports.items()
        }
        self.counts: Counter[str] = Counter()
        self.refused: list[Any] = []
        self.kids: set[str | None] = set()
        self.tokens: dict[str, Any] = {}

    def send(self, name: str, method: str, path: str, form: Any = None) -> Any:
        connection = self._connections[name]
        headers = {"Content-Type": FORM} if form else {}
        if path == "/me":
            headers["Authorization"] = f"Bearer {self.tokens['access_token']}"
        connection.request(method, path, urlencode(form) if form else None, headers)
        with closing(connection.getresponse()) as answer:
            body = answer.read()
        self.counts[f"{name} {path}"] += 1
        if answer.status != 200:
            self.refused.append((name, path, answer.status, body, dict(answer.headers)))
            return {}
        return json.loads(body)

    def login(self, name: str) -> None:
        self.tokens = self.send(name, "POST", "/login")

    def refresh(self, name: str) -> None:
        form = refresh_form(self.tokens["refresh_token"])
        self.tokens |= self.send(name, "POST", REFRESH, form)
        self.kids.add(jws.parse(self.tokens["access_token"]).header.kid)

    def call(self) -> None:
        for name in self._connections:
            self.send(name, "GET", "/me")

    def live(self, is_over: Event) -> None:
        rounds = 0
        while not is_over.is_set() and not self.refused:
            first, second = ("gunicorn", "uvicorn") if rounds % 2 else ("uvicorn", "gunicorn")
            if rounds % 21 == 0:
                self.login(first)
            self.call()
            self.refresh(second)
            self.call()
            rounds += 1
            is_over.wait(RESTS)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


@contextmanager
def living(servers: Servers) -> Generator[list[Client]]:
    """Let clients live, each in a thread of its own, until the block is left."""
    is_over = Event()
    clients = [Client(servers.ports) for _ in range(CLIENTS)]
    threads = [Thread(target=one.live, args=(is_over,)) for one in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        for one in clients:
            one.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    found = Servers(tmp_path)
    try:
        for name in COMMANDS:
            found.start(name)
        yield found
    finally:
        found.close()


def test_no_honest_token_is_refused_while_keys_rotate_and_retire(servers: Servers) -> None:
    signers = servers.kids("active")
    away = Client(servers.ports)  # who logs in and comes back after each rotation only
    away.login("uvicorn")
    with living(servers) as clients:
        for number in range(ROTATIONS):
            time.sleep(PAUSE)
            # By force: these processes know the next key after some of their seconds.
            servers.operate("rotate", "--force")
            signers += servers.kids("active")
            if number >= 3:
                # Nothing that anybody holds was signed by it: all have come back since.
                servers.operate("retire", "--force", servers.kids("retired")[-1])
            time.sleep(PAUSE)
            away.refresh("gunicorn" if number % 2 else "uvicorn")
            away.call()
    assert [one.refused for one in (*clients, away)] == [[]] * (CLIENTS + 1)
    # Each client has had tokens of each key, and each process has served each client.
    for one in clients:
        assert one.kids == set(signers)
        assert len(one.counts) == 3 + 2 + 2
    assert len(servers.kids("retired")) == ROTATIONS - 2
    assert len(KeySet.load(servers.keys).keys) == ROTATIONS
    total = sum(sum(one.counts.values()) for one in clients)
    log.info("%s requests of %s clients over %s rotations", total, CLIENTS, ROTATIONS)
    assert total > 100 * ROTATIONS
    away.close()
