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
from tests.rules import accepts, refuses
from tests.wrapped import FACTORY, SETTINGS, forged

Environ = dict[str, Any]


def environ(path: str = "/me", fields: dict[str, str] | None = None, **more: Any) -> Environ:
    """Return the environment of a GET, with alice's token unless other fields are given."""
    made: Environ = {"SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": ""}
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


def read(given: Environ, *, routes: Iterable[Route] = SETTINGS.routes) -> Environ | None:
    """Return the environment that the application saw, or None where it wasn't called."""
    seen: list[Environ] = []

    def inside(environ: Environ, start_response: Any) -> list[bytes]:
        seen.append(environ)
        return plain(environ, start_response)

    server = Server()
    JWTMiddleware(inside, SETTINGS.replace(routes=routes))(given, server.start_response)
    assert len(server.started) == 1
    return seen[0] if seen else None


@accepts("RS-37")
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


@refuses("RS-37")
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


def test_path_info_is_read_as_utf_8() -> None:
    routes = (Route("/straße/*", scope="admin"), Route("/open", public=True))

    def passes(path: bytes, **claims: Any) -> bool:
        given = environ(path.decode("latin-1"), FACTORY.bearer(**claims) if claims else {})
        return read(given, routes=routes) is not None

    for path in ("/straße", "/straße/", "/straße/1"):
        assert not passes(path.encode(), scope="read")
        assert passes(path.encode(), scope="admin")
    assert passes(b"/strasse", scope="read")
    assert not passes(b"/stra\xdfe", scope="admin")  # not UTF-8, and so no path for all
    assert passes(b"/open")
    for odd in (b"/open\xff", b"/open\xc3\xa9", b"/\xef\xbb\xbfopen"):
        assert not passes(odd)


@pytest.mark.parametrize("path", ["", "open", "/OPEN", "/open/"])
def test_a_path_that_only_looks_public_needs_a_token(path: str) -> None:
    assert read(environ(path, {}), routes=(Route("/open", public=True),)) is None


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


def test_start_response_is_the_servers_own_and_may_be_called_twice(server: Server) -> None:
    given: list[Any] = []

    def inside(environ: Environ, start_response: Any) -> list[bytes]:
        given.append(start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"sorry"]

    start_response = server.start_response
    assert JWTMiddleware(inside, SETTINGS)(environ(), start_response) == [b"sorry"]
    assert given[0].__self__[0] == start_response  # beside it stands what notes the fields
    assert [args[0] for args in server.started] == ["200 OK", "500 Sorry"]
    assert server.started[1][2][0] is ZeroDivisionError


def test_write_writes(server: Server) -> None:
    def inside(environ: Environ, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(who().encode())
        return [b" returned"]

    body = JWTMiddleware(inside, SETTINGS)(environ(), server.start_response)
    assert (server.written, server.read(body)) == ([b"alice"], b" returned")


@pytest.mark.parametrize("body", [[b"a", b"b"], (b"a",), [], io.BytesIO(b"a")])
def test_a_body_that_is_complete_is_returned_as_it_is(server: Server, body: Any) -> None:
    assert answering(body)(environ(), server.start_response) is body


def test_on_a_public_route_every_body_is_returned_as_it_is(server: Server) -> None:
    body = iter([b"a"])
    assert answering(body)(environ("/open", {}), server.start_response) is body


class Wrapper(FileWrapper):
    """A server's own: what it finds of this class it sends by a short cut."""


def with_wrapper(wrapper: Any) -> Environ:
    return environ() | {"wsgi.file_wrapper": wrapper}


def test_what_the_servers_file_wrapper_made_is_returned_as_it_is(server: Server) -> None:
    body = Wrapper(io.BytesIO(b"file"))
    app = answering(body)
    assert app(with_wrapper(Wrapper), server.start_response) is body
    # Where the wrapper is a function there is no class to know its bodies by: they still stream.
    with_function = with_wrapper(lambda file, size=8192: Wrapper(file, size))
    assert server.read(app(with_function, server.start_response)) == b"file"


def test_a_file_that_was_wrapped_otherwise_is_streamed(server: Server) -> None:
    file = io.BytesIO(b"file")
    app = answering(FileWrapper(file))
    body = app(with_wrapper(Wrapper), server.start_response)
    assert server.read(body) == b"file"
    assert file.closed


@pytest.mark.usefixtures("nobody_afterwards")
def test_what_the_application_raises_is_the_same_object(server: Server) -> None:
    error = ValueError("theirs")

    def fails(*_: Any) -> Any:
        raise error

    def fails_later() -> Iterator[bytes]:
        yield b"chunk"
        raise error

    with pytest.raises(ValueError, match="theirs") as raised:
        JWTMiddleware(fails, SETTINGS)(environ(), server.start_response)
    assert raised.value is error
    with pytest.raises(ValueError, match="theirs") as raised:
        server.read(answering(fails_later)(environ(), server.start_response))
    assert raised.value is error
    assert error.__context__ is None


# Whose token is current


class Noted:
    """A body that notes who is current wherever it runs."""

    def __init__(self, chunks: int = 2, *, fails: bool = False) -> None:
        self.notes: list[str] = []
        self.closed = 0
        self._left = chunks
        self._fails = fails

    def __iter__(self) -> Iterator[bytes]:
        self.notes.append(f"iter {who()}")
        return self

    def __next__(self) -> bytes:
        self.notes.append(f"next {who()}")
        if not self._left:
            raise ZeroDivisionError if self._fails else StopIteration
        self._left -= 1
        return b"chunk"

    def close(self) -> None:
        self.closed += 1
        self.notes.append(f"close {who()}")


@pytest.mark.usefixtures("nobody_afterwards")
def test_the_token_is_current_wherever_the_body_runs_and_nowhere_between(server: Server) -> None:
    noted = Noted()
    body = answering(noted)(environ(), server.start_response)
    assert who() == "nobody"
    for chunk in body:
        assert (chunk, who()) == (b"chunk", "nobody")
    assert who() == "nobody"
    body.close()  # type: ignore[attr-defined]
    assert noted.notes == ["iter alice", *["next alice"] * 3, "close alice"]
    assert noted.closed == 1


@pytest.mark.usefixtures("nobody_afterwards")
def test_a_generator_sees_the_token_from_its_first_line_to_its_last(server: Server) -> None:
    notes: list[str] = []

    def chunks() -> Iterator[bytes]:
        notes.append(f"begin {who()}")
        try:
            yield b"1"
            notes.append(f"go on {who()}")
            yield b"2"
        finally:
            notes.append(f"end {who()}")

    assert server.read(answering(chunks)(environ(), server.start_response)) == b"12"
    assert notes == ["begin alice", "go on alice", "end alice"]
    # A client that goes away: the server stops asking, and closes.
    notes.clear()
    body = answering(chunks)(environ(), server.start_response)
    assert next(iter(body)) == b"1"
    body.close()  # type: ignore[attr-defined]
    assert notes == ["begin alice", "end alice"]


@pytest.mark.usefixtures("nobody_afterwards")
def test_a_body_that_fails_is_closed_once_with_its_token(server: Server) -> None:
    noted = Noted(fails=True)
    with pytest.raises(ZeroDivisionError):
        server.read(answering(noted)(environ(), server.start_response))
    assert (noted.closed, noted.notes[-1]) == (1, "close alice")


def test_a_body_without_close_has_nothing_to_close(server: Server) -> None:
    assert server.read(answering(iter([b"a", b"b"]))(environ(), server.start_response)) == b"ab"


@pytest.mark.usefixtures("nobody_afterwards")
def test_bodies_by_turns_in_one_thread_see_their_own_token(server: Server) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield who().encode()

    app = answering(chunks)
    names = ("alice", "bob", "carol")
    bodies = [
        app(environ(fields=FACTORY.bearer(sub=name)), server.start_response) for name in names
    ]
    turns = list(zip(*bodies, strict=True))
    assert turns == [tuple(name.encode() for name in names)] * 3


def test_a_body_that_wanders_through_threads_leaves_nothing_behind(server: Server) -> None:
    def chunks() -> Iterator[bytes]:
        yield who().encode()
        yield who().encode()

    body = iter(answering(chunks)(environ(), server.start_response))
    seen: list[tuple[bytes, str]] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: seen.append((next(body), who())))
        thread.start()
        thread.join()
    assert seen == [(b"alice", "nobody")] * 2


@pytest.mark.usefixtures("nobody_afterwards")
def test_one_door_inside_another_has_its_own_word(server: Server) -> None:
    seen: list[AccessToken | None] = []

    def inside(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        seen.extend((environ["jwt_middleware.token"], current_token()))
        yield b"chunk"
        seen.append(current_token())

    outer = JWTMiddleware(JWTMiddleware(inside, SETTINGS), SETTINGS.replace(routes=()))
    server.read(outer(environ("/open"), server.start_response))
    assert seen == [None, None, None]
