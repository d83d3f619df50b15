"""The command-line client of examples/ before a server that is away: what it waits for, and how."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import httpx2
import pytest

from examples.command_line_client.kept_login import LONGEST_WAIT, TRIES, KeptLogin

TOKENS = {"access_token": "a", "refresh_token": "r", "expires_in": 1, "token_type": "Bearer"}


class Away(ThreadingHTTPServer):
    """Answers with what `answers` has next: the status and Retry-After; None: not at all."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers: list[tuple[int, str | None] | None] = []
        self.proofs: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = cast("Away", self.server)
        self.rfile.read(int(self.headers["Content-Length"]))
        server.proofs.append(self.headers["DPoP"])
        answer = server.answers.pop(0)
        if answer is None:
            self.close_connection = True
            return
        status, retry_after = answer
        body = json.dumps(TOKENS if status == 200 else {"error": "temporarily_unavailable"})
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Away]:
    with Away() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no time pass where the client waits; return how long it would have waited."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    monkeypatch.setattr(random, "uniform", lambda least, most: least)
    return found


@pytest.fixture
def kept(server: Away, tmp_path: Path) -> KeptLogin:
    """Give a login that has begun."""
    one = KeptLogin(server.url, tmp_path, tmp_path / "keys")
    server.answers = [(200, None)]
    one.log_in("alice", "secret")
    return one


def test_it_waits_as_long_as_the_server_says(
    server: Away, waits: list[float], kept: KeptLogin
) -> None:
    date = formatdate(time.time() + 20, usegmt=True)  # RFC 9110 s10.2.3: the other form
    server.answers = [(503, "3"), (503, date), (503, "86400"), None, (503, "soon"), (200, None)]
    assert kept.access_token() == "a"
    assert waits[0] == 3
    assert 0 < waits[1] <= 20
    assert waits[2] == LONGEST_WAIT
    assert all(0 < one <= 10 for one in waits[3:])
    assert len(waits) == TRIES - 1
    assert len({*server.proofs}) == TRIES + 1  # a new one for each try


def test_a_server_that_stays_away_ends_no_login(
    server: Away, waits: list[float], kept: KeptLogin
) -> None:
    server.answers = [(503, "1") for _ in range(TRIES)]
    with pytest.raises(httpx2.HTTPStatusError):
        kept.access_token()
    assert waits == [1] * (TRIES - 1)
    server.answers = [(200, None)]
    assert kept.access_token() == "a"
