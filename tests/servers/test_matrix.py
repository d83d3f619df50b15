"""The doors on every server and adapter of docs/frameworks.md, and what strangers send to them.

`make long` runs it, after `make matrix` and `make uwsgi`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from jwt_middleware import Issuer, Tokens
from jwt_middleware.testing import TokenFactory
from tests.processes import AS_ITS_USER, HOST, ROOT, free_port, on, started, wait_open
from tests.rules import accepts, refuses
from tests.servers.matrix_settings import AUDIENCE, COOKIES, ISSUER, settings_with
from tests.waiting import PATIENCE

pytestmark = pytest.mark.long

FACTORY = TokenFactory(issuer=ISSUER, audience=AUDIENCE)
STRANGER = TokenFactory(issuer=ISSUER, audience=AUDIENCE)
OURS = "tests.servers.matrix_app"
MATRIX = str(ROOT / ".venv-matrix" / "bin" / "python")
UWSGI = str(ROOT / ".venv-uwsgi" / "bin" / "uwsgi")
# What the access cookie and the refresh cookie are answered, in this order: both in one line; in a
# line each, the refresh cookie's first; in one line behind another's; in one line before another's.
ALL_LINES = (200, 200, 200, 200, 200, 200, 200, 200)
BY_COMMA = (200, 200, 401, 200, 200, 400, 200, 200)  # what is behind a comma isn't read
BY_NOTHING = (200, 200, 401, 400, 200, 400, 401, 200)
LAST_LINE = (200, 200, 200, 400, 200, 200, 401, 400)
SILENCE = 2.0  # seconds after which a server that waits for the rest of a body is left


class Place(NamedTuple):
    """A server, or an adapter on one, and what is its own."""

    command: tuple[str, ...]
    websockets: bool = False
    last_wins: bool = False  # of two Authorization fields the application gets the last
    cookies: tuple[int, ...] = ALL_LINES
    chunked: int = 200  # what a refresh in chunks is answered
    cut_off: int | None = None  # what a refresh may be answered whose last chunk is missing
    broken: int | None = None  # what the server itself answers to a body that breaks off
    utf8_only: bool = False  # what isn't UTF-8 in a path doesn't come to us
    attacks: Mapping[str, int] = MappingProxyType({})  # what is answered instead of their statuses
    fails: int | None = 500  # what the application's error is answered; None: by no answer


def module(*arguments: str) -> tuple[str, ...]:
    return MATRIX, "-m", *arguments


def uvicorn(app: str, *options: str) -> tuple[str, ...]:
    return module("uvicorn", "--port={port}", *options, f"{OURS}:{app}")


def hypercorn(*options: str) -> tuple[str, ...]:
    return module("hypercorn", "--workers=0", "--bind=127.0.0.1:{port}", *options, f"{OURS}:asgi")


def gunicorn(app: str, kind: str, *options: str) -> tuple[str, ...]:
    told = (f"--worker-class={kind}", "--bind=127.0.0.1:{port}", "--no-control-socket", *options)
    return module("gunicorn", *told, f"{OURS}:{app}")


def own(server: str) -> tuple[str, ...]:
    return module(OURS, server, "{port}")


def pyvoy(*options: str) -> tuple[str, ...]:
    return str(Path(MATRIX).with_name("pyvoy")), "--port={port}", *options


def granian(interface: str) -> tuple[str, ...]:
    return "granian", f"--interface={interface}", "--port={port}", f"{OURS}:{interface}"


MOD_WSGI = Path(
    "/usr/lib/apache2/modules", f"mod_wsgi.so-{sys.version_info[0]}.{sys.version_info[1]}"
)
CONFIG = ROOT / "tests" / "servers" / "mod_wsgi.conf"
# Its Python is the system's.
APACHE = (*AS_ITS_USER, "/usr/sbin/apache2")

# Where two fields of one name are joined by a comma, as WSGI servers do.
comma = partial(Place, cookies=BY_COMMA)
PLACES = {
    "uvicorn-httptools": Place(uvicorn("asgi", "--http=httptools", "--ws=wsproto"), True),
    "uvicorn-h11": Place(uvicorn("asgi", "--http=h11", "--ws=wsproto"), True),
    "hypercorn": Place(hypercorn(), True),
    "granian-asgi": Place(granian("asgi"), True),
    "gunicorn-asgi": Place(gunicorn("asgi", "asgi"), True),
    "daphne": Place(module("daphne", "-p", "{port}", f"{OURS}:asgi"), True),
    "pyvoy-asgi": Place(pyvoy("--websockets", f"{OURS}:asgi"), True, utf8_only=True),
    "gunicorn-sync": comma(gunicorn("wsgi", "sync")),
    "gunicorn-gthread": comma(gunicorn("wsgi", "gthread", "--threads=4", "--preload")),
    "gunicorn-gevent": comma(gunicorn("wsgi", "gevent")),
    "granian-wsgi": Place(
        granian("wsgi"),
        cut_off=200,
        attacks={"latin-1-after-the-token": 401},  # of such a field it hands on nothing
    ),
    "waitress": comma(("waitress", "--listen=127.0.0.1:{port}", f"{OURS}:wsgi")),
    "uwsgi": comma(
        (
            *(UWSGI, f"--venv={sys.prefix}", "--master", "--http-socket=127.0.0.1:{port}"),
            *(f"--module={OURS}:wsgi", "--need-app", "--lazy-apps", "--enable-threads"),
            *("--threads=4", "--die-on-term", "--buffer-size=32768"),
        ),
        chunked=400,
        fails=None,
    ),
    "mod_wsgi": comma(
        (*APACHE, "-DFOREGROUND", "-f", str(CONFIG), "-c", "Listen 127.0.0.1:{port}"),
        broken=500,  # Apache's: the request doesn't come to us
    ),
    "cheroot": Place(
        module("cheroot", "--bind=127.0.0.1:{port}", f"{OURS}:wsgi"),
        cookies=LAST_LINE,
        last_wins=True,
        attacks={
            "two-headers": 200,
            "basic-header-before-bearer": 200,
            "basic-header-after-bearer": 401,
        },
    ),
    "bjoern": comma(
        own("bjoern"),
        cookies=BY_NOTHING,
        attacks={"basic-header-before-bearer": 401},  # it joins fields by nothing
    ),
    "werkzeug": comma(own("werkzeug")),
    "wsgiref": comma(own("wsgiref"), chunked=400),
    "gevent": Place(own("gevent")),
    "pyvoy-wsgi": comma(
        pyvoy("--interface=wsgi", f"{OURS}:wsgi"),
        chunked=400,
    ),
    "mangum": Place(own("mangum"), chunked=411),
    "a2wsgi-asgi": comma(uvicorn("a2wsgi_asgi"), chunked=400),
    "asgiref-asgi": comma(uvicorn("asgiref_asgi"), chunked=400),
    "starlette-asgi": comma(uvicorn("starlette_asgi"), chunked=400),
    "a2wsgi-wsgi": comma(
        gunicorn("a2wsgi_wsgi", "gthread", "--threads=4"), chunked=400, utf8_only=True
    ),
}


class Answer(NamedTuple):
    status: int | None  # None: the connection ended, or stayed silent, without an answer
    headers: Any = None
    body: bytes = b""

    @property
    def view(self) -> str:
        """Return which view was reached."""
        found: str = json.loads(self.body)["view"] if self.status == 200 else ""
        return found


class Stream:
    """One request over HTTP/2 in clear, by a client that knows beforehand that it is spoken."""

    def __init__(self, port: int) -> None:
        self._line = socket.create_connection((HOST, port), timeout=PATIENCE)
        told = H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        self._h2 = H2Connection(told)
        self._h2.initiate_connection()

    def ask(
        self, method: str, path: str, *headers: tuple[str, str], pieces: Sequence[bytes] = ()
    ) -> Answer:
        own = [(":method", method), (":scheme", "http"), (":authority", "api.example")]
        fields = [*own, (":path", path), *((name.lower(), value) for name, value in headers)]
        octets = [(name.encode(), value.encode("latin-1")) for name, value in fields]
        self._h2.send_headers(1, octets, end_stream=not pieces)
        for number, piece in enumerate(pieces, 1):
            self._line.sendall(self._h2.data_to_send())
            self._h2.send_data(1, piece, end_stream=number == len(pieces))
        with self._line:
            return self._answer()

    def _answer(self) -> Answer:
        found, body = http.client.HTTPMessage(), b""
        self._line.sendall(self._h2.data_to_send())
        while octets := self._line.recv(65536):
            for event in self._h2.receive_data(octets):
                match event:
                    case ResponseReceived(headers=headers):
                        for name, value in headers or ():
                            found[name.decode()] = value.decode()
                    case DataReceived(data=data):
                        body += data or b""
                    case StreamEnded():
                        return Answer(int(found[":status"]), found, body)
                    case StreamReset() | ConnectionTerminated():
                        return Answer(None)
            self._line.sendall(self._h2.data_to_send())
        return Answer(None)


class Server:
    """One of them at work, and what to ask it with."""

    def __init__(self, name: str, folder: Path) -> None:
        self.place, self.log, self.port = PLACES[name], folder / "log", free_port()
        if name == "mod_wsgi" and not MOD_WSGI.exists():
            pytest.skip(f"no {MOD_WSGI}: apt-get install apache2 libapache2-mod-wsgi-py3")
        assert Path(self.place.command[0]).exists() or os.sep not in self.place.command[0], (
            "make matrix uwsgi"
        )
        keys, store = folder / "keys.json", f"sqlite:///{folder}/grants.db"
        FACTORY.keys.save(keys)
        if "/usr/bin/setpriv" in self.place.command:
            (folder / "grants.db").touch(0o600)
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "www-data", "www-data")
        self.settings = [settings_with(FACTORY.keys, store, cookies=one) for one in (False, True)]
        self.alive = socket.create_server((HOST, 0))
        self.process = started(
            self.place.command,
            self.port,
            self.log,
            TEST_KEYS=str(keys),
            TEST_STORE=store,
            TEST_ALIVE=str(self.alive.getsockname()[1]),
            TEST_FOLDER=str(folder),
            TEST_ROOT=str(ROOT),
            TEST_PATH=f"{sysconfig.get_path('purelib')}:{ROOT}",
        )

    def kill(self) -> None:
        """End all its processes, whatever they are at."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.alive.close()
        for one in self.settings:
            one.close()

    def log_in(self, *, cookies: bool = False) -> Tokens:
        return Issuer(self.settings[cookies]).issue("alice", scope="read")

    def send(
        self, *pieces: bytes, method: str = "GET", whole: bool = True, patience: float = PATIENCE
    ) -> Answer:
        """Send octets, each piece as a segment of its own; not `whole`: and then no more."""
        with socket.create_connection((HOST, self.port), timeout=patience) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(ConnectionError):
                for number, piece in enumerate(pieces):
                    if number:
                        # The server is let to read what came until now: there is no telling when
                        # it has, and either way its answer must be the same.
                        with contextlib.suppress(TimeoutError):
                            line.settimeout(0.1)
                            line.recv(1, socket.MSG_PEEK)
                        line.settimeout(patience)
                    line.sendall(piece)
                if not whole:
                    line.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(line, method=method)
            try:
                answer.begin()
                return Answer(answer.status, answer.headers, answer.read())
            except (http.client.HTTPException, ConnectionError):
                return Answer(None)
            except TimeoutError:
                assert not whole, "no answer"
                return Answer(None)

    def ask(
        self, path: str, *headers: tuple[str, str], method: str = "GET", pieces: Any = ()
    ) -> Answer:
        return self.send(head(method, path, *headers), *pieces, method=method)

    def is_well(self) -> None:
        """See that it serves."""
        assert self.ask("/me", *FACTORY.bearer().items()).status == 200, self.log.read_text()


def head(method: str, path: str, *headers: tuple[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: api.example", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def form(tokens: Tokens) -> bytes:
    return f"grant_type=refresh_token&refresh_token={quote(tokens.refresh_token)}".encode()


FORM = ("Content-Type", "application/x-www-form-urlencoded")
CHUNKED = ("Transfer-Encoding", "chunked")


def chunk(octets: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(octets), octets)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    # Not in pytest's folder: another user has no way there.
    with tempfile.TemporaryDirectory() as folder:
        server = Server(request.param, Path(folder))
        try:
            wait_open(server.port, server.process, server.log)
            yield server
        finally:
            server.kill()


everywhere = on(*PLACES)


@everywhere
def test_none_bad_good_and_too_little(server: Server) -> None:
    refused = server.ask("/me")
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"].startswith('Bearer realm="api"')
    assert len(refused.body) == int(refused.headers["Content-Length"])
    assert server.ask("/me", *STRANGER.bearer().items()).status == 401
    assert server.ask("/admin/x", *FACTORY.bearer(scope="read").items()).status == 403
    for path, scope, view in (("/me", "read", "any"), ("/admin/x", "admin", "admin")):
        answer = server.ask(path, *FACTORY.bearer(scope=scope).items())
        assert (answer.status, json.loads(answer.body)) == (200, {"user": "alice", "view": view})


@everywhere
def test_head_and_options_need_a_token_too(server: Server) -> None:
    for method in ("HEAD", "OPTIONS"):
        assert server.ask("/me", method=method).status == 401
        assert server.ask("/me", *FACTORY.bearer().items(), method=method).status == 200
    answer = server.ask("*", method="OPTIONS")
    assert (answer.status, answer.body) == (200, b"") or answer.status not in {200, 500}
    server.is_well()


@refuses("RS-03")
@everywhere
def test_two_authorization_fields(server: Server) -> None:
    good, bad = FACTORY.bearer()["Authorization"], STRANGER.bearer()["Authorization"]
    for first, second, last in ((good, good, 200), (good, bad, 401), (good, "Basic YTpi", 401)):
        answer = server.ask("/me", ("Authorization", first), ("Authorization", second))
        assert answer.status == (last if server.place.last_wins else 400)


ODD = (
    *("//admin", "//admin/x", "/%2fadmin", "/admin%2Fx", "/admin%2fx", "/./admin", "/admin;x"),
    *("/x/../admin", "/%2e/admin", "/x/%2e%2e/admin/x", "/admin//x", "/;x/admin", "/adm%69n"),
    *("/admin/.", "/%61dmin/x", "/%2561dmin", "/admin%00", "/admin%20"),
    *("http://api.example/admin", "http://api.example//admin", "/admin?x", "/admin#x", "\\admin"),
)


@refuses("RS-37")
@everywhere
def test_no_spelling_of_a_path_reaches_the_guarded_view(server: Server) -> None:
    for path in ODD if server.place.utf8_only else (*ODD, "/%c0%af/admin"):
        for headers in ({}, FACTORY.bearer(scope="read")):
            answer = server.ask(path, *headers.items())
            assert answer.status != 500, path
            assert answer.view != "admin", path
            assert headers or answer.status != 200, path
    server.is_well()


@accepts("RT-01")
@everywhere
def test_a_refresh_arrives_however_its_body_comes(server: Server) -> None:
    statuses = {}
    for kind in ("length", "slow", "chunked", "chunked and slow"):
        body = form(server.log_in())
        parts = [body[:30], body[30:60], body[60:]]
        if "chunked" in kind:
            start = head("POST", "/auth/refresh", FORM, CHUNKED)
            pieces = [*map(chunk, parts), chunk(b"")]
        else:
            start = head("POST", "/auth/refresh", FORM, ("Content-Length", str(len(body))))
            pieces = parts
        if "slow" not in kind:
            start, pieces = start + b"".join(pieces), []
        answer = server.send(start, *pieces)
        assert answer.status != 200 or json.loads(answer.body)["access_token"]
        statuses[kind] = answer.status
    assert statuses["length"] == 200
    assert statuses["slow"] == 200
    assert statuses["chunked"] == statuses["chunked and slow"] == server.place.chunked


REFUSALS = {None, 400, 401, 408, 411, 413, 501}


@everywhere
def test_a_body_that_breaks_off_is_no_error_of_ours(server: Server) -> None:
    body = form(server.log_in())
    for path in ("/auth/refresh", "/auth/revoke", "/me"):
        length = head("POST", path, FORM, ("Content-Length", "1000"))
        chunked = head("POST", path, FORM, CHUNKED)
        for broken in (
            length + body[:10],
            length,
            chunked + b"zz\r\nabc\r\n0\r\n\r\n",
            chunked + chunk(body)[:-20],
            chunked + chunk(body[:20]) + b"-5\r\nabc",
            chunked + b"ffffffffffffffffff\r\nabc",
            head("POST", path, FORM, CHUNKED, ("Content-Length", "5")) + chunk(b""),
            head("POST", path, FORM, ("Content-Length", "-1")) + body,
            head("POST", path, FORM, ("Content-Length", "5"), ("Content-Length", "6")) + body,
        ):
            answer = server.send(broken, whole=False, patience=SILENCE)
            assert answer.status in {*REFUSALS, server.place.broken}, broken
            server.is_well()
        answer = server.send(chunked + chunk(body), whole=False, patience=SILENCE)
        taken = server.place.cut_off if path == "/auth/refresh" else None
        assert answer.status in {*REFUSALS, server.place.broken, taken}
        server.is_well()


@accepts("RT-20")
@everywhere
def test_cookies_in_two_lines(server: Server) -> None:
    pairs = [value.partition(";")[0] for _, value in server.log_in(cookies=True).cookies]
    page = ("X-Requested-With", "x"), ("Sec-Fetch-Site", "same-origin")
    found = []
    for lines in (["; ".join(pairs)], pairs, ["a=b", "; ".join(pairs)], ["; ".join(pairs), "a=b"]):
        cookies = [("Cookie", line) for line in lines]
        found.append(server.ask(f"{COOKIES}/me", *cookies, *page).status)
        sent = ("Content-Length", "0"), FORM, *page, *cookies
        found.append(server.ask(f"{COOKIES}/auth/refresh", *sent, method="POST").status)
    assert tuple(found) == server.place.cookies


@everywhere
def test_what_the_application_raises_is_the_servers_matter(server: Server) -> None:
    assert server.ask("/fail", *FACTORY.bearer().items()).status == server.place.fails
    server.is_well()


@everywhere
def test_every_attack_is_answered_with_its_status(server: Server) -> None:
    wrong = {}
    for attack in FACTORY.attacks():
        answer = server.ask("/me", *attack.headers)
        # By the server: it takes no such header, or not so long a one.
        if answer.status not in {*attack.statuses, 400, 431, None}:
            wrong[attack.name] = answer.status
    assert wrong == server.place.attacks
    server.is_well()


@on(*(name for name, place in PLACES.items() if place.websockets))
def test_a_websocket_without_a_token_is_refused(server: Server) -> None:
    url = f"ws://{HOST}:{server.port}/ws"
    for headers in ({}, STRANGER.bearer()):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(url, additional_headers=headers, proxy=None),
        ):
            pass
        assert refused.value.response.status_code in {401, 403}
    server.is_well()


@on("hypercorn", "granian-asgi", "granian-wsgi", "pyvoy-asgi", "pyvoy-wsgi")
def test_the_same_over_http_2(server: Server) -> None:
    def ask(path: str, *headers: tuple[str, str], method: str = "GET", **more: Any) -> Answer:
        return Stream(server.port).ask(method, path, *headers, **more)

    assert ask("/me").status == 401
    assert ask("/me", *STRANGER.bearer().items()).status == 401
    assert ask("/me", *FACTORY.bearer().items()).view == "any"
    assert ask("/me", *FACTORY.bearer().items(), *FACTORY.bearer().items()).status in {400, None}
    for path in ODD:
        answer = ask(path, *FACTORY.bearer(scope="read").items())
        assert answer.status != 500, path
        assert answer.view != "admin", path
    body = form(server.log_in())
    pieces = [body[:30], body[30:60], body[60:]]
    length = ("Content-Length", str(len(body)))
    for headers, status in (((FORM, length), 200), ((FORM,), server.place.chunked)):
        answer = ask("/auth/refresh", *headers, method="POST", pieces=pieces)
        assert answer.status == status
    cookies = [value.partition(";")[0] for _, value in server.log_in(cookies=True).cookies]
    fields = [("Cookie", one) for one in ("a=b", *cookies, "c=d")]  # as browsers split them
    page = ("X-Requested-With", "x"), ("Sec-Fetch-Site", "same-origin")
    assert ask(f"{COOKIES}/me", *fields, *page).status == 200
    answer = ask(f"{COOKIES}/auth/refresh", *fields, *page, FORM, method="POST")
    assert answer.status == 200
    wrong = {}
    for attack in FACTORY.attacks():
        if sum(len(value) for _, value in attack.headers) > 4096:
            continue  # the client packs them in a time that is the square of their length
        answer = ask("/me", *attack.headers)
        if answer.status not in {*attack.statuses, 400, 431, None}:
            wrong[attack.name] = answer.status
    assert wrong == server.place.attacks
    server.is_well()


@everywhere
def test_no_error_of_ours_is_in_its_log(server: Server) -> None:
    # The last one for each server: it looks back at what the others have sent.
    server.ask("/fail", *FACTORY.bearer().items())
    server.is_well()
    logs = [server.log, *server.log.parent.glob("error.log")]
    said = "".join(path.read_text("utf-8", "replace") for path in logs)
    ends = [
        re.findall(r'File "(.*?)"', one)[-1:] for one in said.split("Traceback (most recent")[1:]
    ]
    assert [end for end in ends if "/jwt_middleware/" in end[0]] == []


def test_the_page_names_the_versions_that_run_here() -> None:
    locked = "".join(
        (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
        for name in ("dev", "matrix", "uwsgi")
    )
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w-]+)==([\d.]+)", locked, re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    page = (ROOT / "docs" / "frameworks.md").read_text("utf-8")
    section = page.partition("\n## Servers\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` (.*?) \|", section, re.MULTILINE)
    named = {place.partition("-")[0] for place in PLACES}
    assert {name for name, _ in rows} == named
    for name, rest in rows:
        if name not in {"mod_wsgi", "wsgiref"}:
            assert versions[name] == {rest.split()[0].rstrip(",")}, name
