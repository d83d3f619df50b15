"""Bound tokens behind real servers: what each makes of fields that come twice, or are misspelt."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from jwt_middleware.testing import Prover
from tests.processes import on
from tests.proofs.test_rs_certificates import CNF, FIELD
from tests.rules import accepts, refuses
from tests.servers.test_servers import ASGI, COMMANDS, WSGI, Server
from tests.waiting import PATIENCE
from tests.wrapped import FACTORY

APPLICATIONS = {ASGI: "tests.servers.bound_app:asgi", WSGI: "tests.servers.bound_app:wsgi"}
EACH = [name for name in COMMANDS if name != "uvicorn-wsproto"]
# Under WSGI `-` and `_` in a field's name are one, unless the server drops names with `_`.
TAKES_UNDERSCORES = {"granian-wsgi"}


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    *command, application = COMMANDS[request.param]
    log = tmp_path_factory.mktemp(f"bound-{request.param}") / "log"
    server = Server(request.param, log, (*command, APPLICATIONS[application]))
    try:
        server.wait()
        yield server
    finally:
        server.kill()


def ask(server: Server, *lines: str) -> int:
    """Send one request with these fields, octet by octet; return the status. 0: no answer."""
    head = ["GET / HTTP/1.1", "Host: api.example", "Connection: close", *lines]
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    return int(answer.split(b" ", 2)[1]) if answer else 0


@accepts("RS-50", "RS-53", "RS-55")
@refuses("RS-50", "RS-53", "RS-55")
@on(*EACH)
def test_one_token_and_one_proof_open_once(server: Server) -> None:
    prover, thief = Prover(), Prover()
    token = FACTORY.token(cnf=prover.cnf)
    bound, bearer = f"Authorization: DPoP {token}", f"Authorization: Bearer {token}"
    unbound = FACTORY.token()

    def good() -> str:
        return f"DPoP: {prover.proof('GET', '/', token)}"

    def bad() -> str:
        return f"DPoP: {thief.proof('GET', '/', token)}"

    first = good()
    assert ask(server, bound, first) == 200
    assert ask(server, bound, first) == 401
    assert ask(server, bound.replace("DPoP", "dpop"), good().replace("DPoP", "DPOP", 1)) == 200
    for lines in (
        (bound,),
        (bearer,),
        (bearer, good()),
        (bound, good(), good()),
        (bound, bad(), bad()),
        (bound, good().replace("DPoP:", "DPoP :")),
        (bound, good().replace("DPoP:", "X-DPoP:")),
        (bound, good().replace("DPoP:", "DPoP_:")),
        (bound, good().replace("DPoP:", "D-PoP:")),
        (bound, bearer),
        (bearer, bound),
        (bearer, bearer),
        (bound, bound),
        (bound.replace("DPoP", "DPoP\x00"), good()),
        (bound.replace("DPoP ", "DPoP\xa0"), good()),
        (bearer + "\xa0",),
        (f"Authorization: DPoP {unbound}", f"DPoP: {prover.proof('GET', '/', unbound)}"),
    ):
        assert ask(server, *lines) in (0, 400, 401), lines
    # Of two fields a server may hand on one alone. It must then be good by itself.
    for lines in ((bound, good(), bad()), (bound, bad(), good()), (bound, "DPoP:", good())):
        assert ask(server, *lines) in (0, 200, 400, 401)
    assert ask(server, bound, bad()) == 401
    assert ask(server, bound, good()) == 200


@accepts("RS-59")
@on(*EACH)
def test_a_field_of_the_proxy_is_told_from_one_like_it(server: Server) -> None:
    bearer = f"Authorization: Bearer {FACTORY.token(cnf=CNF)}"
    assert ask(server, bearer, f"Client-Cert: {FIELD}") == 200
    assert ask(server, bearer) == 401
    assert ask(server, bearer, f"X-Client-Cert: {FIELD}") == 401
    misspelt = ask(server, bearer, f"Client_Cert: {FIELD}")
    assert misspelt == 200 if server.name in TAKES_UNDERSCORES else misspelt in (0, 400, 401)
