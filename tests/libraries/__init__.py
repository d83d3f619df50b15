"""OAuth clients that other people wrote, each in a process of its own, and the site they ask.

The libraries of Python stand in an environment of their own, those of npm in a folder beside this
file; the Makefile knows how they come there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from jwt_middleware import Issuer, Refresh, Settings
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.values.events import Event, Refreshed, Refused
from tests.engines.proxy import HOST, Proxy
from tests.issuing import AUDIENCE, KEYS, REFRESH, Clock
from tests.serving import asgi

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
PYTHON = ROOT / ".venv-libraries" / "bin" / "python"
PROGRAMS = {"python": (str(PYTHON), "clients.py"), "npm": ("node", "clients.mjs")}
SETTLE = 60  # seconds


def install() -> None:
    """Fetch the libraries, unless they are there; skip the test, loudly, where npm is missing."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH: apt-get install nodejs npm")
    done = subprocess.run(
        ["make", "--silent", "libraries"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def version_of(language: str, library: str) -> str:
    """Return the version that is installed."""
    if language == "npm":
        about = HERE / "node_modules" / library / "package.json"
        found: str = json.loads(about.read_text("utf-8"))["version"]
        return found
    name = library.lower().replace("-", "_")
    (one,) = PYTHON.parent.parent.glob(f"lib/python*/site-packages/{name}-*.dist-info")
    return one.name.removeprefix(f"{name}-").removesuffix(".dist-info")


class Held(NamedTuple):
    """The tokens that a client holds; None: it shows nobody."""

    access_token: str
    refresh_token: str | None


class Client:
    """One library at work. What it says on standard error is the test's."""

    def __init__(self, language: str, library: str, url: str) -> None:
        program = PROGRAMS[language]
        self._process = subprocess.Popen(
            [*program, library, url],
            cwd=HERE,
            env=os.environ | {"NO_PROXY": "*"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def log_in(self, tokens: dict[str, Any]) -> None:
        """Hand over what a login has answered."""
        said = self._ask(tokens)
        assert "error" not in said, said

    def refresh(self) -> Held:
        said = self._ask({})
        assert "error" not in said, said
        return Held(said["access_token"], said.get("refresh_token"))

    def fails(self) -> str:
        """Let it try to refresh; return the class of its error."""
        said = self._ask({})
        assert "error" in said, said
        error: str = said["error"]
        return error

    def _ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(what)}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()


class Site:
    """An application with a login and the refresh endpoint at one URL, as some clients want them.

    A login by password is the application's own; everything else there is the middleware's.
    """

    def __init__(self, url: str, lose_an_answer: Callable[[], None]) -> None:
        self.url = url
        self._lose_an_answer = lose_an_answer
        self.clock = Clock()
        self.clock.now = time.time()  # clients have a clock, too
        self.is_known = True  # the user; else no login succeeds
        self.loses_an_answer = False  # the next one to a token request
        self.is_away = False  # the store: token requests are answered 503
        self.asked: list[str] = []  # the grant types of token requests
        self._events: list[Event] = []
        self.settings = Settings(
            issuer=url,
            audience=AUDIENCE,
            keys=KEYS,
            clock=self.clock,
            on_event=self._events.append,
            refresh=Refresh(store="memory://", cookies=None, settle=SETTLE),
        )
        self.issuer = Issuer(self.settings)
        pages = Starlette(routes=[Route("/", lambda _: PlainTextResponse("let in"))])
        self._guarded = JWTMiddleware(pages, settings=self.settings)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != REFRESH:
            return await self._guarded(scope, receive, send)
        body = await Request(scope, receive).body()
        sent = json.loads(body) if body.startswith(b"{") else dict(parse_qsl(body.decode()))
        self.asked.append(sent["grant_type"])
        if self.loses_an_answer:
            self.loses_an_answer = False
            self._lose_an_answer()
        if self.is_away:
            problem = {"error": "temporarily_unavailable"}
            away = JSONResponse(problem, 503, {"Retry-After": "1", "Cache-Control": "no-store"})
            return await away(scope, receive, send)
        if sent["grant_type"] == "password":
            answer = await self._login()
            return await answer(scope, receive, send)

        async def again() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        return await self._guarded(scope, again, send)

    async def _login(self) -> Response:
        if not self.is_known:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse(dict(await self.issuer.aissue("alice", scope="read")))

    @property
    def outcomes(self) -> list[str]:
        """What became of each refresh, as the events say it."""
        found: list[str] = []
        for event in self._events:
            match event:
                case Refreshed():
                    found.append(event.how)
                case Refused(path="/"):  # the application's: a client that goes by 401
                    pass
                case _:
                    found.append(event.name)
        return found

    def forget(self) -> None:
        self.asked.clear()
        self._events.clear()

    def lets_in(self, held: Held) -> bool:
        bearer = {"Authorization": f"Bearer {held.access_token}"}
        return httpx2.get(self.url, headers=bearer, trust_env=False).status_code == 200


@contextmanager
def served() -> Generator[Site]:
    """Serve the site, behind a wire that can lose answers."""
    with ExitStack() as stack:
        sites: list[Site] = []

        def made(url: str) -> Any:
            wire = stack.enter_context(Proxy(urlsplit(url).port or 0))
            site = Site(f"http://{HOST}:{wire.port}", wire.reset_after_answer)
            stack.callback(site.settings.close)
            sites.append(site)
            return site

        stack.enter_context(asgi(made))
        yield sites[0]
