"""The WSGI door by itself: what it hands on, what it leaves alone, and whose token is current."""

import io
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from jwt_middleware import AccessToken, Route, current_token
from jwt_middleware.wsgi import JWTMiddleware

from .wrapped import FACTORY, SETTINGS, forged

Environ = dict[str, Any]


def environ(path: str = "/me", fields: dict[str, str] | None = None, **more: Any) -> Environ:
    """Return the environment of a GET, with alice's token unless other fields are given."""
    made: Environ = {"PATH_INFO": path, "QUERY_STRING": ""}
    setup_testing_defaults(made)
    for name, value in (FACTORY.bearer() if fields is None else fields).items():
        made["HTTP_" + name.upper().replace("-", "_")] = value
    return made | more


class Server:
    """What a server keeps of one request."""

    def __init__(self) -> None:
        self.started: list[tuple[Any, ...]] = []
        self.written: list[bytes] = []

    def start_response(self, *args: Any) -> Callable[[bytes], object]:
        self.started.append(args)
        return self.written.append

    def read(self, body: Iterable[bytes]) -> bytes:
        """Iterate over a body and close it, as PEP 3333 says."""
        try:
            return b"".join(body)
        finally:
            getattr(body, "close", lambda: None)()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def nobody_afterwards() -> Iterator[None]:
    yield
    assert current_token() is None


def who() -> str:
    token = current_token()
    return token.subject if token else "nobody"


def plain(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"application"]


def answering(body: Any) -> JWTMiddleware:
    """Return an application, wrapped, that answers with this body."""

    def inside(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body() if callable(body) else body

    return JWTMiddleware(inside, SETTINGS)


# What is handed on


def read(given: Environ, *, routes: tuple[Route, ...] = SETTINGS.routes) -> Environ | None:
    """Return the environment that the application saw, or None where it wasn't called."""
    seen: list[Environ] = []

    def inside(environ: Environ, start_response: Any) -> list[bytes]:
        seen.append(environ)
        return plain(environ, start_response)

    server = Server()
    JWTMiddleware(inside, SETTINGS.replace(routes=routes))(given, server.start_response)
    assert len(server.started) == 1
    return seen[0] if seen else None


def test_the_user_of_our_own_issuer_is_the_remote_user() -> None:
    seen = read(environ())
    assert seen is not None
    assert (seen["REMOTE_USER"], seen["AUTH_TYPE"]) == ("alice", "Bearer")
    assert seen["jwt_middleware.token"].subject == "alice"


def test_a_subject_beyond_ascii_is_handed_on_in_octets() -> None:
    # PEP 3333: "all strings passed to or from the server must be of type str, and contain only
    # code points representable in ISO-8859-1".
    seen = read(environ(fields=FACTORY.bearer(sub="Žofie 🦊")))
    assert seen is not None
    assert seen["REMOTE_USER"].encode("latin-1").decode() == "Žofie 🦊"
    assert seen["jwt_middleware.token"].subject == "Žofie 🦊"


def test_a_client_that_speaks_for_itself_is_no_remote_user() -> None:
    robot = FACTORY.bearer(sub="robot", client_id="robot")
    seen = read(environ(fields=robot, REMOTE_USER="root"))
    assert seen is not None
    assert "REMOTE_USER" not in seen
    assert seen["AUTH_TYPE"] == "Bearer"
    assert seen["jwt_middleware.token"].is_client


def test_what_came_in_under_our_names_is_overwritten() -> None:
    theirs = {"jwt_middleware.token": "root", "REMOTE_USER": "root", "AUTH_TYPE": "Basic"}
    seen = read(environ("/open", {}, **theirs))
    assert seen is not None
    assert seen["jwt_middleware.token"] is None
    assert not {"REMOTE_USER", "AUTH_TYPE"} & seen.keys()


def test_the_environment_is_the_servers_own() -> None:
    # PEP 3333: "the application is allowed to modify the dictionary in any way it desires", and
    # some servers read it again afterwards.
    given = environ()
    assert read(given) is given


def test_the_first_parameter_is_called_app(server: Server) -> None:
    app = JWTMiddleware(app=plain, settings=SETTINGS)
    assert app(environ(), server.start_response) == [b"application"]


@pytest.mark.parametrize(
    ("path_info", "public"),
    [
        ("/open", True),
        ("/café", False),
        ("/open/café", True),  # a rule that restricts nothing is matched below, in octets of UTF-8
        ("/open\udcff", False),
        ("", False),
    ],
)
def test_path_info_is_read_as_utf_8(path_info: str, public: bool) -> None:
    ...


# What is left alone


def test_it_keeps_the_contract_on_both_sides(server: Server) -> None:
    def stream(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"app"
        yield b"lication"

    for inside in (plain, stream):
        app = validator(JWTMiddleware(validator(inside), SETTINGS))
        assert server.read(app(environ(), server.start_response)) == b"application"
        assert server.read(app(environ("/open", {}), server.start_response)) == b"application"
        for fields in ({}, forged(), {"Authorization": "Bearer"}):
            assert server.read(app(environ(fields=fields), server.start_response))[:1] == b"{"
        refused = app(environ(fields={}, REQUEST_METHOD="HEAD"), server.start_response)
        assert server.read(refused) == b""
