"""What one process alone knows is refused under several workers, on the real servers, at start."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route as Path_
from starlette.testclient import TestClient

from jwt_middleware import (
    ConfigurationError,
    Issuer,
    KeySet,
    Refresh,
    Route,
    Settings,
    TrustedIssuer,
    asgi,
    wsgi,
)
from jwt_middleware.process import several_workers
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import TokenFactory
from tests.processes import HOST, ROOT, free_port, started, wait_open
from tests.rules import accepts, refuses
from tests.waiting import PATIENCE, until

APP = "tests.servers.own_app:app"
GUNICORN = ("gunicorn", "--bind=127.0.0.1:{port}", "--no-control-socket")
UVICORN = ("uvicorn", "--port={port}")
HYPERCORN = ("hypercorn", "--bind=127.0.0.1:{port}")
GRANIAN = ("granian", "--port={port}")
DOORS: tuple[Any, Any] = wsgi, asgi
REFUSED = b"this server runs several workers: what one issues, the others refuse"
WARNED = b"that is good for one worker, and until it ends"


class Start(NamedTuple):
    """One way to start a server: with which application of own_app, and what is its own there."""

    kind: str
    own: str
    command: tuple[str, ...]
    variables: dict[str, str] = {}  # noqa: RUF012  (nobody changes it)


SEVERAL = {
    "uvicorn": Start("asgi", "store", (*UVICORN, "--workers=2", APP)),
    "uvicorn, made late": Start("added", "keys", (*UVICORN, APP), {"WEB_CONCURRENCY": "2"}),
    "uvicorn, in a script": Start("added", "store", ("tests.servers.own_app", "{port}", "uvicorn")),
    "hypercorn": Start("asgi", "keys", (*HYPERCORN, "--workers=2", APP)),
    "hypercorn, made late": Start("added", "store", (*HYPERCORN, "--workers=2", APP)),
    "granian, ASGI": Start("added", "keys", (*GRANIAN, "--interface=asgi", "--workers=2", APP)),
    "granian, WSGI": Start(
        "wsgi", "store", (*GRANIAN, "--interface=wsgi", APP), {"GRANIAN_WORKERS": "2"}
    ),
    "gunicorn": Start("wsgi", "keys", (*GUNICORN, "--workers=2", APP)),
    "gunicorn, gthread": Start(
        "wsgi", "store", (*GUNICORN, APP), {"GUNICORN_CMD_ARGS": "-w 2 --threads 2"}
    ),
    "gunicorn, preload": Start("wsgi", "store", (*GUNICORN, "--preload", "--workers=2", APP)),
    "gunicorn, asgi": Start(
        "added", "keys", (*GUNICORN, "--worker-class=asgi", APP), {"WEB_CONCURRENCY": "2"}
    ),
    "gunicorn, uvicorn": Start(
        "asgi",
        "store",
        (*GUNICORN, "--worker-class=uvicorn.workers.UvicornWorker", "--workers=2", APP),
    ),
}
# uvicorn starts a worker that has failed to import its application anew, for ever.
ENDLESS = {"uvicorn"}

ONE = {
    "uvicorn": Start("asgi", "keys", (*UVICORN, APP)),
    "uvicorn, reload": Start(
        "added", "store", (*UVICORN, "--reload", "--reload-dir=docs", APP), {"WEB_CONCURRENCY": "2"}
    ),
    "hypercorn": Start("added", "store", (*HYPERCORN, APP)),
    "hypercorn, no parent": Start("asgi", "keys", (*HYPERCORN, "--workers=0", APP)),
    "granian, ASGI": Start("added", "store", (*GRANIAN, "--interface=asgi", APP)),
    "granian, WSGI": Start("wsgi", "keys", (*GRANIAN, "--interface=wsgi", APP)),
    "gunicorn": Start("wsgi", "store", (*GUNICORN, APP)),
    "gunicorn, preload": Start("wsgi", "store", (*GUNICORN, "--preload", APP)),
    # The workers are forked after the keys are made, and have the same ones.
    "gunicorn, preload, two": Start("wsgi", "keys", (*GUNICORN, "--preload", "-w", "2", APP)),
    "gunicorn, asgi": Start("added", "store", (*GUNICORN, "--worker-class=asgi", APP)),
    "gunicorn, uvicorn": Start(
        "asgi", "keys", (*GUNICORN, "--worker-class=uvicorn.workers.UvicornWorker", APP)
    ),
    "waitress": Start("wsgi", "store", ("waitress", "--listen=127.0.0.1:{port}", APP)),
    "flask run, with its reloader": Start(
        "flask", "store", ("flask", "--app=" + APP, "run", "--debug", "--port={port}")
    ),
}
UNSEEN = {"in a script": Start("wsgi", "store", ("tests.servers.own_app", "{port}", "wsgiref"))}


class Server:
    """A server that was started one of these ways."""

    def __init__(self, start: Start, log: Path) -> None:
        self.log = log
        self.alive = socket.create_server((HOST, 0))
        self.port = free_port()
        variables = {
            "TEST_KIND": start.kind,
            "TEST_OWN": start.own,
            "TEST_ALIVE": str(self.alive.getsockname()[1]),
        }
        self.process = started(start.command, self.port, log, **variables, **start.variables)

    def said(self, what: bytes) -> bool:
        return what in self.log.read_bytes()

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def status(self, method: str, path: str, body: str | None = None) -> int:
        """Return the status of an answer."""
        fields = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, fields)
            return connection.getresponse().status

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.alive.close()


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = Server(request.param, tmp_path / "log")
    yield server
    server.kill()


def each(starts: dict[str, Start]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server", starts.values(), ids=starts, indirect=True)


@refuses("RT-30")
@each({name: start for name, start in SEVERAL.items() if name not in ENDLESS})
def test_a_server_with_two_workers_says_why_and_ends(server: Server) -> None:
    until(server.has_ended)
    assert server.said(REFUSED), server.log.read_text()


@refuses("RT-30")
@each({name: SEVERAL[name] for name in ENDLESS})
def test_a_server_with_two_workers_says_why_and_serves_nobody(server: Server) -> None:
    until(lambda: server.log.read_bytes().count(REFUSED) > 2)
    assert not server.said(b"startup complete")


@accepts("RT-30")
@each(ONE)
def test_a_server_that_is_seen_to_have_one_worker_starts_and_serves(server: Server) -> None:
    wait_open(server.port, server.process, server.log)
    assert server.status("GET", "/open") == 200
    # A refresh asks the store, if there is one.
    assert server.status("POST", "/auth/refresh", "refresh_token=x") in (400, 401)
    assert not server.said(WARNED), server.log.read_text()


@accepts("RT-30")
@each(UNSEEN)
def test_where_it_cannot_be_seen_one_warning_is_logged(server: Server) -> None:
    wait_open(server.port, server.process, server.log)
    for _ in range(2):
        assert server.status("GET", "/open") == 200
    assert server.log.read_bytes().count(WARNED) == 1


# What isn't a server's worker, and starts


def settings_of_this_process(**overrides: Any) -> Settings:
    given: dict[str, Any] = {
        "issuer": "https://login.example",
        "audience": "https://api.example",
        "keys": KeySet.generate(),
        "routes": (Route("/open", public=True),),
        "refresh": Refresh(store="memory://"),
    }
    return Settings(**(given | overrides))


def login_in_a_pool(number: int) -> str:
    """Do what an application does in a task queue, and make a door as its factory does there."""
    settings = settings_of_this_process()
    for door in DOORS:
        door.JWTMiddleware(print, settings)
    return Issuer(settings).issue(f"user-{number}").access_token


@accepts("RT-30")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_the_application_s_own_issues(method: str) -> None:
    program = (
        "from multiprocessing import get_context\n"
        "from tests.process.test_several_workers import login_in_a_pool\n"
        "if __name__ == '__main__':\n"
        f"    with get_context({method!r}).Pool(2) as pool:\n"
        "        print(len(set(pool.map(login_in_a_pool, range(4)))))\n"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "4\n"


@accepts("RT-30")
def test_tests_that_run_side_by_side_start(tmp_path: Path) -> None:
    tests = tmp_path / "test_it.py"
    tests.write_text(
        "from tests.process.test_several_workers import login_in_a_pool\n"
        "def test_one(): assert login_in_a_pool(1)\n"
        "def test_other(): assert login_in_a_pool(2)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"]
    # Of the plugins, xdist alone: the others take longer to import than all that is shown here.
    command += ["-p", "xdist"]
    alone = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = os.environ | alone
    command += ["--rootdir", str(tmp_path), str(tests)]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "2 passed" in run.stdout


@accepts("RT-30")
def test_the_demo_starts_without_a_warning(tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"
    command = ("jwt_middleware.cli", "demo", "--port={port}", "--no-browser")
    process = started(command, port, log)
    try:
        wait_open(port, process, log)
        assert b"good for" not in log.read_bytes()
    finally:
        process.kill()
        process.wait()


@accepts("RT-30")
def test_a_test_client_starts_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    def view(request: Any) -> PlainTextResponse:
        return PlainTextResponse("served")

    app = Starlette(routes=[Path_("/open", view)])
    settings = settings_of_this_process()
    app.add_middleware(asgi.JWTMiddleware, settings=settings)
    with TestClient(app) as client:
        assert client.get("/open").text == "served"
    wsgi.JWTMiddleware(print, settings)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("jwt_middleware", logging.WARNING)
    assert record.getMessage() == (
        "refresh.store: memory:// is one process's own; keys: KeySet.generate() made them in this "
        "process, and no other has them; that is good for one worker, and until it ends. How many "
        "this server runs can't be seen: of several, each refuses what another issued (use "
        'sqlite:///grants.db; KeySet.generate().save("keys.json") once, then '
        'KeySet.load("keys.json"))'
    )


@accepts("RT-30")
def test_a_thousand_trusted_issuers_are_one_line_of_the_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = KeySet.generate()
    issuers = tuple(
        TrustedIssuer(issuer=f"https://{number}.example", audience="https://api.example", keys=keys)
        for number in range(1_000)
    )
    wsgi.JWTMiddleware(print, TokenFactory().settings(trusted_issuers=issuers))
    (record,) = caplog.records
    told = record.getMessage()
    assert (
        "trusted_issuers[0].keys: KeySet.generate() made them in this process, and no other "
        in told
    )
    assert "has them, as for 999 more; " in told
    assert told.count("KeySet.load(") == 1
    assert len(told) < 500


# What one process knows alone


@pytest.mark.parametrize("algorithm", ["ES256", "HS256"])
def test_keys_are_one_process_s_own_until_they_are_saved(tmp_path: Path, algorithm: str) -> None:
    path = tmp_path / "keys.json"
    keys = KeySet.generate(algorithm)
    before = keys.is_made_here
    assert not pickle.loads(pickle.dumps(keys)).is_made_here
    keys.save(path)
    assert (before, keys.is_made_here, KeySet.load(path).is_made_here) == (True, False, False)


def test_keys_that_came_from_elsewhere_are_shared() -> None:
    public = KeySet.from_jwks(json.dumps(KeySet.generate().public_jwks()))
    assert not public.is_made_here
    assert not KeySet.secret("6kZ0VtQn7m2yX9hR4cLw8uBfE3pJ5sAd").is_made_here
    assert not KeySet.remote("https://login.example/keys").is_made_here


def under(module: str, variable: str, value: Any, function: str = "run") -> Any:
    """Return what calls a function below a frame as a server has it; the servers are run above."""
    variables: dict[str, Any] = {"__name__": module}
    exec(f"def {function}({variable}, call): return call()", variables)
    return lambda call: variables[function](value, call)


two_workers = under("hypercorn.asyncio.run", "config", SimpleNamespace(workers=2))
one_worker = under("hypercorn.asyncio.run", "config", SimpleNamespace(workers=1))


@refuses("RT-30")
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("field", "overrides"),
    [
        ("refresh.store", {}),
        ("keys", {"refresh": None}),
        ("refresh.store", {"refresh": Refresh(store=MemoryStore(clock=float, retention=1.0))}),
    ],
    ids=["store", "keys of one that only verifies", "a store object"],
)
def test_the_error_names_field_and_way_out(
    door: Any, field: str, overrides: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match="several workers") as refused:
        two_workers(lambda: door.JWTMiddleware(print, settings_of_this_process(**overrides)))
    assert refused.value.field == field
    assert refused.value.remedy.endswith(", or one worker")


@refuses("RT-30")
def test_keys_of_a_trusted_issuer_count_too() -> None:
    factory = TokenFactory()
    own = TrustedIssuer(
        issuer="https://other.example", audience="https://api.example", keys=KeySet.generate()
    )
    shared = TrustedIssuer(
        issuer="https://third.example", audience="https://api.example", keys=TokenFactory().keys
    )
    settings = factory.settings(trusted_issuers=(shared, own))
    with pytest.raises(ConfigurationError, match="several workers") as refused:
        two_workers(lambda: wsgi.JWTMiddleware(print, settings))
    assert refused.value.field == "trusted_issuers[1].keys"


@accepts("RT-30")
def test_what_is_shared_runs_in_any_number_of_workers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    factory = TokenFactory()
    grants = Refresh(store=f"sqlite:///{tmp_path}/grants.db")
    Runtime.of(factory.settings(refresh=grants)).check()  # makes the file, and says so
    caplog.clear()
    for settings in (factory.settings(), factory.settings(refresh=grants)):
        for door in DOORS:
            two_workers(lambda door=door, one=settings: door.JWTMiddleware(print, one))
        settings.close()
    assert caplog.records == []


@pytest.mark.parametrize("parameters", ["scope, receive, send", "environ, start_response"])
def test_what_is_made_while_it_serves_is_warned(
    parameters: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Starlette would make it anew, and raise, at each request.
    settings = settings_of_this_process()
    variables: dict[str, Any] = {"make": lambda: wsgi.JWTMiddleware(print, settings)}
    exec(f"def app({parameters}): return make()", variables)
    arguments = [None] * len(parameters.split(","))
    two_workers(lambda: variables["app"](*arguments))
    (record,) = caplog.records
    assert "This server runs several" in record.getMessage()


def test_a_door_that_was_made_late_refuses_at_the_startup_that_follows() -> None:
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        messages.append(message)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def starlette(scope: Any, receive: Any, send: Any) -> None:
        door = asgi.JWTMiddleware(application, settings_of_this_process(refresh=None))
        await door(scope, receive, send)

    def drive() -> None:
        asyncio.run(starlette({"type": "lifespan"}, receive, send))

    with pytest.raises(ConfigurationError, match="several workers"):
        two_workers(drive)
    assert [one["type"] for one in messages] == ["lifespan.startup.failed"]
    assert "KeySet.load" in messages[0]["message"]


# What the servers say


@accepts("RT-30")
def test_the_parent_of_one_worker_hands_its_store_over(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of_this_process()
    arbiter = SimpleNamespace(cfg=SimpleNamespace(workers=1))
    preloaded = under("gunicorn.arbiter", "self", arbiter, "setup")
    preloaded(lambda: wsgi.JWTMiddleware(print, settings))
    monkeypatch.setattr("jwt_middleware.stores.memory.getpid", lambda: 1)
    assert Issuer(settings).grants("alice") == ()


def test_the_parent_of_workers_makes_the_keys_of_them_all() -> None:
    arbiter = SimpleNamespace(cfg=SimpleNamespace(workers=2))
    preloaded = under("gunicorn.arbiter", "self", arbiter, "setup")
    preloaded(lambda: wsgi.JWTMiddleware(print, settings_of_this_process(refresh=None)))
    with pytest.raises(ConfigurationError, match="memory://"):
        preloaded(lambda: wsgi.JWTMiddleware(print, settings_of_this_process()))


@pytest.mark.parametrize("name", ["uwsgi", "mod_wsgi"])
def test_a_server_that_puts_its_number_into_a_module_is_read_there(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def make() -> Any:
        return wsgi.JWTMiddleware(print, settings_of_this_process())

    number = {"uwsgi": "numproc", "mod_wsgi": "maximum_processes"}[name]
    worker_id = {"worker_id": lambda: 1} if name == "uwsgi" else {}
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(**{number: 2}, **worker_id))
    with pytest.raises(ConfigurationError, match="several workers"):
        make()
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(**{number: 1}, **worker_id))
    make()
    assert caplog.records == []
    # The package mod_wsgi of the same name, outside of Apache, has no such number.
    monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    make()
    assert len(caplog.records) == 1


def test_a_worker_of_uwsgi_that_was_not_yet_forked_shares_its_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uwsgi = SimpleNamespace(numproc=2, worker_id=lambda: 0)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    wsgi.JWTMiddleware(print, settings_of_this_process(refresh=None))


@pytest.mark.parametrize("config", [SimpleNamespace(), SimpleNamespace(workers=None), None])
def test_a_server_that_has_changed_inside_is_not_seen(
    config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    changed = under("hypercorn.asyncio.run", "config", config)
    changed(lambda: wsgi.JWTMiddleware(print, settings_of_this_process()))
    assert len(caplog.records) == 1


def test_an_interpreter_that_shows_no_frames_is_warned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(several_workers, "_frame_at", None)
    two_workers(lambda: wsgi.JWTMiddleware(print, settings_of_this_process()))
    assert len(caplog.records) == 1


@pytest.mark.parametrize("alone", [one_worker, under("uvicorn.server", "self", None)])
def test_one_worker_is_not_warned(alone: Any, caplog: pytest.LogCaptureFixture) -> None:
    alone(lambda: wsgi.JWTMiddleware(print, settings_of_this_process()))
    assert caplog.records == []
