"""This tree beside another one of the same package: `python -m benchmarks.against TREE`.

TREE is a checkout of another commit (`git worktree add ../before COMMIT`). Both packages live in
one process, under two names, and run in turns: 30 rounds, of which each gives one ratio of
neighbours in time. The lines are: a request with a known token, and one with a new token (RS256, no
cache), through WSGI and ASGI, with and without grants; and a refresh, where each call presents the
token from the answer before. ASGI runs inside an event loop, as under a server: without one nothing
is watched that could be a stream.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import io
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from .measure import Times, measure

ROUNDS = 30
ISSUER, AUDIENCE = "https://login.example.com", "https://api.example.com"
FORM = b"grant_type=refresh_token&refresh_token="
HEADERS = (
    ("host", "api.example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "*/*"),
)

# What else servers put into an environment (PEP 3333): the time of a new key depends on its size.
SERVERS: dict[str, Any] = {
    "SERVER_SOFTWARE": "gunicorn/23.0.0",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "RAW_URI": "/items/1",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "51234",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


def loaded(tree: Path, name: str) -> ModuleType:
    """Import the package of a tree under a name of its own: inside, all imports are relative."""
    folder = tree / "jwt_middleware"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise SystemExit(f"{tree} has no package jwt_middleware")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Build:
    """One of the two packages, and the same work for it."""

    def __init__(self, package: ModuleType, keys: Path) -> None:
        self.package = package
        self._keys = keys

    def settings(self, *, store: str = "", entries: int = 4096) -> Any:
        package = self.package
        return package.Settings(
            issuer=ISSUER,
            audience=AUDIENCE,
            keys=package.KeySet.from_jwks(json.loads(self._keys.read_text("utf-8"))),
            refresh=package.Refresh(store=store, settle=0) if store else None,
            token_cache=package.TokenCache(entries=entries),
        )

    def wsgi(self, settings: Any, token: str) -> Callable[[], object]:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            return [b""]

        door = importlib.import_module(f"{self.package.__name__}.wsgi")
        app = door.JWTMiddleware(application, settings)
        environ = SERVERS | {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/items/1",
            "HTTP_AUTHORIZATION": f"Bearer {token}",
            "wsgi.input": io.BytesIO(),
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in HEADERS},
        }
        return lambda: app(environ.copy(), print)

    def asgi(self, settings: Any, token: str) -> Callable[[], object]:
        async def application(scope: Any, receive: Any, send: Any) -> None: ...

        door = importlib.import_module(f"{self.package.__name__}.asgi")
        app = door.JWTMiddleware(application, settings)
        headers = [(name.encode(), value.encode()) for name, value in HEADERS]
        headers.append((b"authorization", f"Bearer {token}".encode()))
        scope = {"type": "http", "method": "GET", "path": "/items/1", "headers": headers}

        def call() -> None:
            try:  # nothing in it waits, so no loop is needed
                app(scope, None, None).send(None)
            except StopIteration:
                return
            raise AssertionError("it waits")

        return call

    def refresh(self, settings: Any, token: str) -> Callable[[], object]:
        door = importlib.import_module(f"{self.package.__name__}.wsgi")
        app = door.JWTMiddleware(None, settings)
        held = [token.encode()]
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/auth/refresh",
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in HEADERS},
        }

        def call() -> None:
            body = FORM + held[0]
            sent = environ | {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
            (answer,) = app(sent, _started)
            held[0] = answer.partition(b'"refresh_token":"')[2].partition(b'"')[0]

        return call

    def lines(self) -> dict[str, Callable[[], object]]:
        """Return what is measured, by name."""
        issuer = partial(self.package.Issuer)
        store = "memory://"
        grants = self.settings(store=store)
        token = issuer(grants).issue("alice", scope="read", claims={"roles": ["editor"]})
        access = token.access_token
        found = {
            "known token, WSGI": self.wsgi(self.settings(), access),
            "known token, ASGI": self.asgi(self.settings(), access),
            "known token with grants, WSGI": self.wsgi(grants, access),
            "known token with grants, ASGI": self.asgi(grants, access),
            "new token, WSGI": self.wsgi(self.settings(entries=0), access),
            "new token, ASGI": self.asgi(self.settings(entries=0), access),
        }
        for name, address in (
            ("memory", store),
            (
                "SQLite",
                f"sqlite:///{self._keys.parent}/{self.package.__name__}.db?synchronous=NORMAL",
            ),
        ):
            settings = self.settings(store=address)
            begun = issuer(settings).issue("alice", scope="read")
            found[f"refresh, {name}"] = self.refresh(settings, begun.refresh_token)
        return found


def _started(status: str, headers: object) -> None:
    if status != "200 OK":
        raise SystemExit(f"a refresh was answered {status}")


def in_a_loop(functions: dict[str, Callable[[], object]], *, rounds: int) -> Times:
    """Measure while a loop runs, in its task."""

    async def measured() -> Times:
        return measure(functions, rounds=rounds)

    return asyncio.run(measured())


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="this tree beside another one of the same package")
    parser.add_argument("tree", type=Path, help="a checkout of another commit")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here = loaded(Path(__file__).parent.parent, "jwt_here")
        there = loaded(arguments.tree, "jwt_there")
        keys = Path(folder, "keys.json")
        here.KeySet.generate("RS256").save(keys)
        ours, others = (Build(one, keys).lines() for one in (here, there))
        print(f"{'':32}{'there, µs':>12}{'here, µs':>12}{'ratio':>8}   quartiles")
        for name in ours:
            pair = {"here": ours[name], "there": others[name]}
            inside = in_a_loop if name.endswith("ASGI") else measure
            times = inside(pair, rounds=arguments.rounds)
            low, high = times.spread("here", "there")
            cost = [times.typical(one) / 1000 for one in ("there", "here")]
            ratio = times.ratio("here", "there")
            print(f"{name:32}{cost[0]:12.2f}{cost[1]:12.2f}{ratio:8.3f}   {low:.3f}-{high:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
