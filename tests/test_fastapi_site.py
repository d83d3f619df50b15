"""The site in FastAPI under real servers: what stays open there, and ends with its login.

Its own tests are run by test_sites.py. In a browser: tests/e2e/test_fastapi_site.py.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.processes import HOST, on
from tests.rules import refuses
from tests.test_sites import copied, started
from tests.waiting import PATIENCE

APP = "fastapi_site.main:app"
SERVERS = {
    "uvicorn": "",  # as its page says
    "hypercorn": f"hypercorn --workers=0 --bind=127.0.0.1:{{port}} {APP}",
    "granian-asgi": f"granian --interface=asgi --port={{port}} {APP}",
}
PAGE = {"X-Requested-With": "fetch"}


@dataclass
class Login:
    """What a client has after a login."""

    token: str
    cookie: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class Site:
    """The site in a process of its own."""

    port: int

    def connection(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE))

    def ask(self, method: str, path: str, body: str | None = None, **fields: str) -> Any:
        """Return status, header fields and content of one request."""
        with self.connection() as connection:
            connection.request(method, path, body, fields)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def log_in(self, name: str = "alice") -> Login:
        form = urlencode({"username": name, "password": "wonderland"})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        status, fields, body = self.ask("POST", "/login", form, **kind)
        assert status == 200, body
        cookie = fields["Set-Cookie"].partition(";")[0]
        return Login(json.loads(body)["access_token"], cookie)

    def log_out(self, login: Login) -> None:
        """Do what the page does: the cookie, and the header that no form can send."""
        assert self.ask("POST", "/auth/revoke", **PAGE, Cookie=login.cookie)[0] == 200

    def chat(self, login: Login) -> ClientConnection:
        protocols: Any = ["bearer", login.token]
        url = f"ws://{HOST}:{self.port}/live/chat"
        return connect(url, subprotocols=protocols, proxy=None, open_timeout=PATIENCE)


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder: Path = copied(tmp_path_factory.mktemp(request.param))
    with started("fastapi_site", folder, by=SERVERS[request.param]) as meet:
        port = meet().base_url.port
        assert port is not None
        yield Site(port)


everywhere = on(*SERVERS)


@everywhere
def test_a_chat_is_renewed_and_ends_with_its_login(server: Site) -> None:
    alice, bob = server.log_in(), server.log_in("bob")
    with server.chat(alice) as one, server.chat(bob) as two:
        assert one.subprotocol == two.subprotocol == "bearer"
        one.send('{"say": "hello"}')
        for chat in (one, two):
            assert json.loads(chat.recv(PATIENCE)) == {"line": "alice: hello"}
        status, _, body = server.ask("POST", "/auth/refresh", **PAGE, Cookie=alice.cookie)
        assert status == 200
        one.send(json.dumps({"token": json.loads(body)["access_token"]}))
        assert json.loads(one.recv(PATIENCE)).keys() == {"renewed"}
        # Somebody else's devices, and this one.
        assert server.ask("POST", "/api/logout-everywhere", **alice.bearer)[0] == 204
        with pytest.raises(ConnectionClosed) as ended:
            one.recv(PATIENCE)
        assert ended.value.rcvd is not None
        assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (4401, "grant_ended")
        two.send('{"say": "hello"}')
        assert json.loads(two.recv(PATIENCE)) == {"error": "you may only listen"}


def _say(site: Site, login: Login) -> None:
    with site.chat(login) as chat:
        chat.send('{"say": "hello"}')
        assert chat.recv(PATIENCE)


STREAMS: dict[str, tuple[bytes, Callable[[Site, Login], None] | None]] = {
    "/live/events": (b'data: "alice: hello"', _say),
    "/live/export": (b"0,a row of the archive\n", None),
    "/live/archive": (b"\0" * 1000, None),
}


@refuses("RS-67")
@everywhere
@pytest.mark.parametrize("path", STREAMS)
def test_what_is_streamed_is_cut_by_an_error_when_its_login_ends(server: Site, path: str) -> None:
    alice, other = server.log_in(), server.log_in()
    wanted, act = STREAMS[path]
    with server.connection() as connection:
        connection.connect()
        assert connection.sock is not None
        # Little waits for the client, so that a file isn't on its way as a whole.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.request("GET", path, headers=alice.bearer)
        answer = connection.getresponse()
        assert answer.status == 200
        if act is not None:
            act(server, other)
        seen = answer.read1(4096)
        while wanted not in seen:
            seen += answer.read1(4096)
        server.log_out(alice)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
    assert server.ask("GET", "/api/me", **alice.bearer)[0] == 401
    assert server.ask("GET", "/api/me", **other.bearer)[0] == 200


@everywhere
def test_devices_have_names_and_end_one_by_one(server: Site) -> None:
    bob, phone = (server.log_in("bob") for _ in range(2))
    _, _, body = server.ask("GET", "/auth/sessions", **bob.bearer)
    (other,) = [one["id"] for one in json.loads(body)["sessions"] if not one["current"]][:1]
    assert server.ask("DELETE", f"/auth/sessions/{other}", **bob.bearer)[0] == 204
    assert server.ask("GET", "/api/me", **phone.bearer)[0] == 401
    assert server.ask("GET", "/api/me", **bob.bearer)[0] == 200
