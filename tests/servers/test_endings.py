"""Connections that end with their grant, under real servers: what a client sees of a cut."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from threading import Timer
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.processes import on
from tests.rules import refuses
from tests.waiting import PATIENCE, until

from .test_servers import ASGI, COMMANDS, WSGI, Server

ENDING = {ASGI: "tests.servers.ending_asgi:app", WSGI: "tests.servers.ending_wsgi:app"}
ASGI_SERVERS = [name for name, command in COMMANDS.items() if command[-1] == ASGI]
# granian completes a chunked response whose WSGI application raised: docs/connections.md.
COMPLETED = {"granian-wsgi": {"/chunked", "/events"}}
IN_FRAMEWORKS = ("/base/chunked", "/base/events", "/gzip/events", "/plain/")


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    name = request.param.removesuffix("-outside")
    *command, app = COMMANDS[name]
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if name != request.param:
            patch.setenv("TEST_OUTSIDE", "1")
        server = Server(name, folder / "log", (*command, ENDING[app]))
    try:
        server.wait()
        yield server
    finally:
        server.kill()


def login(server: Server) -> tuple[str, str]:
    """Return an access token and its grant."""
    status, _, body = server.get("/login")
    assert status == 200
    found = json.loads(body)
    return found["token"], found["grant"]


def cut(server: Server, path: str) -> tuple[bytes, bytes]:
    """Return the head and the rest of a response whose grant ended while it was streamed."""
    token, grant = login(server)
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        fields = f"Host: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        client.sendall(f"GET {path} HTTP/1.1\r\n{fields}".encode())
        seen = b""
        while b"first" not in seen:
            chunk = client.recv(65536)
            assert chunk, seen
            seen += chunk
        assert server.get(f"/end/{grant}")[2] == b"ended"
        with contextlib.suppress(ConnectionError):
            while chunk := client.recv(65536):
                seen += chunk
    head, _, body = seen.partition(b"\r\n\r\n")
    return head.lower(), body


def check_cut(server: Server, path: str) -> None:
    head, body = cut(server, path)
    assert b" 200 " in head
    if b"chunked" in head:
        # RFC 9112 s8: "the message is considered incomplete if the zero-sized chunk that terminates
        # the encoding has not been received".
        assert not body.endswith(b"0\r\n\r\n")
    else:
        assert b"content-length: 1000" in head
        assert len(body) < 1000


@refuses("RS-67")
@on(*COMMANDS)
def test_a_cut_response_does_not_look_complete(server: Server) -> None:
    for path in {"/chunked", "/length", "/events"} - COMPLETED.get(server.name, set()):
        check_cut(server, path)
    log = server.log.read_text()
    assert "ConnectionCut: jwt_middleware ended this connection on purpose: grant_ended" in log
    assert "eyJ" not in log


@refuses("RS-67")
@on(*ASGI_SERVERS, "uvicorn-outside", "hypercorn-outside")
def test_nor_does_it_when_frameworks_stream_in_tasks_of_their_own(server: Server) -> None:
    for path in IN_FRAMEWORKS:
        check_cut(server, path)


@on(*ASGI_SERVERS)
def test_what_follows_a_response_is_not_cancelled(server: Server) -> None:
    token, grant = login(server)
    assert server.get("/background", {"Authorization": f"Bearer {token}"})[2] == b"answered"
    assert server.get(f"/end/{grant}")[0] == 200
    other, _ = login(server)
    assert server.get("/ran", {"Authorization": f"Bearer {other}"})[2] == b"ran"


def talk(server: Server, path: str, token: str) -> ClientConnection:
    url = f"ws://127.0.0.1:{server.port}{path}"
    return connect(url, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None)


def read_to_the_end(session: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            session.recv(PATIENCE)


@refuses("RS-67")
@on(*ASGI_SERVERS)
@pytest.mark.parametrize("path", ["/ws", "/pushing"])
def test_a_websocket_is_closed_with_its_code(server: Server, path: str) -> None:
    token, grant = login(server)
    with talk(server, path, token) as session:
        session.send("hello")
        session.recv(PATIENCE)
        assert server.get(f"/end/{grant}")[0] == 200
        read_to_the_end(session)
        assert (session.close_code, session.close_reason) == (4401, "grant_ended")


@refuses("RS-67")
@on(*ASGI_SERVERS)
def test_a_websocket_that_was_never_accepted_is_refused(server: Server) -> None:
    token, grant = login(server)

    def end() -> Any:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as other:
            other.request("GET", f"/end/{grant}")
            return other.getresponse().read()

    timer = Timer(0.5, end)
    timer.start()
    with pytest.raises(InvalidStatus) as refused, talk(server, "/pondering", token):
        pass
    timer.join()
    assert refused.value.response.status_code == 403


@on(*ASGI_SERVERS)
def test_the_log_has_no_error_of_a_websocket(server: Server) -> None:
    before = server.log.read_text().count("Traceback")
    token, grant = login(server)
    with talk(server, "/pushing", token) as session:
        session.recv(PATIENCE)
        server.get(f"/end/{grant}")
        read_to_the_end(session)
    # Its application, which only sends, was cancelled at the latest after a while.
    until(lambda: server.get("/running")[2] == b"0")
    assert server.log.read_text().count("Traceback") == before
