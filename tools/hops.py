"""Count how many functions a request runs through, and how often its reader changes the file.

    python tools/hops.py [TREE] [--gate] [--list]

TREE is a checkout of this or another commit, by default the one that this file is in. Whole
requests go through the package's real middlewares, made with names that every version has:
`Settings`, `KeySet`, `Refresh`, `TokenCache`, `Issuer`, and the two middlewares. Tokens are new or
known ones of a service that only verifies. A refresh is one that rotates. The application answers
with an iterator, as frameworks do.

What is counted, by `sys.setprofile`, from the call of the middleware until the answer is read:

* A *call*: a function of the package is entered. A generator or coroutine is entered once; when it
  continues later, that is a *resumption*, not a call. Comprehensions and class bodies are no
  functions, nor are the methods that `dataclasses` writes, which stand in no file.
* The *files*: those in which the called functions stand.
* A *change of file*: a call whose caller stands in another file. The caller is the nearest function
  of the package below it on the stack; in a thread that has none, it is the last function that was
  entered before, in any thread. A return and a resumption are not counted: going to another file
  and back is one change. The call of the middleware, from outside, is not counted.
* The *closures*: functions that stand inside functions, and lambdas, each counted once.

Threads of the process's own may run at the same time. So each request is sent several times, each
time with a token of its own, and the run with the fewest calls counts.

`--gate` exits with 1 where a first sight or a refresh changes the file more often than `LIMITS`
says. `--list` prints the calls of `WAYS` in their order instead: place, name, indented by caller.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import io
import json
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "jwt_middleware"
RUNS = 5  # of each request; the one with the fewest calls counts
# Changes of file, by how a case's name begins. The goal for a refresh is 25. It runs through 24 to
# 29 files, each of which is entered once at least: 23 to 28 changes where none is entered twice.
LIMITS = {"first sight": 17, "refresh": 70}
# The requests that `--list` and the map in CONTRIBUTING.md show.
WAYS = {
    "request": "first sight, cache on, ASGI",
    "refresh": "refresh, memory, ASGI",
}

ISSUER, AUDIENCE = "https://login.example.com", "https://api.example.com"
HEADERS = (("host", "api.example.com"), ("user-agent", "Mozilla/5.0"), ("accept", "*/*"))
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Call:
    """One call: the function, its depth below the middleware, and whether the file changed."""

    file: str  # below the package
    line: int
    name: str
    depth: int
    changes_file: bool
    is_closure: bool


@dataclass(frozen=True)
class Way:
    """All calls of one request, in order, and how often one of them was resumed."""

    calls: tuple[Call, ...]
    resumptions: int

    @property
    def files(self) -> int:
        """Return in how many files the called functions stand."""
        return len({call.file for call in self.calls})

    @property
    def changes(self) -> int:
        """Return how often the file changes."""
        return sum(call.changes_file for call in self.calls)

    @property
    def closures(self) -> int:
        """Return how many functions that stand inside functions were entered."""
        return len({(call.file, call.line) for call in self.calls if call.is_closure})


class Recorder:
    """Records the functions that the package enters, in every thread started after it was made."""

    def __init__(self, package: Path) -> None:
        self._folder = f"{package}{os.sep}"
        self._calls: list[Call] = []
        self._places: dict[
            FrameType, int
        ] = {}  # keeps the frames alive, so that no other frame gets the same id
        self._resumptions = 0
        self._is_on = False
        threading.setprofile(self._note)

    def __enter__(self) -> Self:
        self._calls, self._places, self._resumptions = [], {}, 0
        self._is_on = True
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self._is_on = False
        self._places = {}

    def way(self) -> Way:
        """Return the record of the last request."""
        return Way(tuple(self._calls), self._resumptions)

    def _is_ours(self, code: CodeType) -> bool:
        is_function = not code.co_name.startswith("<") or code.co_name == "<lambda>"
        return is_function and code.co_filename.startswith(self._folder)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not self._is_on or not self._is_ours(code):
            return
        if frame in self._places:
            self._resumptions += 1
            return
        caller = frame.f_back
        while caller is not None and not self._is_ours(caller.f_code):
            caller = caller.f_back
        last = len(self._calls) - 1
        below = last if caller is None else self._places.get(caller, last)
        file = self._file(code)
        if caller is not None:
            came_from = self._file(caller.f_code)
        else:
            came_from = self._calls[below].file if self._calls else file
        call = Call(
            file=file,
            line=code.co_firstlineno,
            name=code.co_qualname.replace(".<locals>", ""),
            depth=self._calls[below].depth + 1 if self._calls else 0,
            changes_file=file != came_from,
            is_closure="<locals>" in code.co_qualname or code.co_name == "<lambda>",
        )
        self._places[frame] = len(self._calls)
        self._calls.append(call)

    def _file(self, code: CodeType) -> str:
        return code.co_filename.removeprefix(self._folder).replace(os.sep, "/")


# --- requests


@dataclass(frozen=True)
class Sent:
    """What a request consists of."""

    method: str = "GET"
    path: str = "/items/1"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def with_token(token: str) -> Sent:
    """Return a request with an access token."""
    return Sent(headers=(("authorization", f"Bearer {token}"),))


def with_refresh_token(token: str) -> Sent:
    """Return a request for new tokens."""
    body = urlencode({"grant_type": "refresh_token", "refresh_token": token}).encode()
    headers = (("content-type", FORM), ("content-length", str(len(body))))
    return Sent("POST", "/auth/refresh", headers, body)


def by_wsgi(recorder: Recorder, settings: Any) -> Callable[[Sent], bytes]:
    """Return a function that sends a request through WSGI and returns the answer's body."""

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"ok"

    def start(status: str, headers: object, exc_info: object = None) -> None:
        if status != "200 OK":
            raise SystemExit(f"the WSGI door answered {status}")

    app = importlib.import_module(f"{PACKAGE}.wsgi").JWTMiddleware(application, settings)

    def send(sent: Sent) -> bytes:
        environ = {
            "REQUEST_METHOD": sent.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": sent.path,
            "QUERY_STRING": "",
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(sent.body),
        }
        for name, value in (*HEADERS, *sent.headers):
            variable = name.upper().replace("-", "_")
            prefix = "" if variable.startswith("CONTENT_") else "HTTP_"
            environ[f"{prefix}{variable}"] = value
        with recorder:
            body = app(environ, start)
            answer = b"".join(body)
            getattr(body, "close", bool)()
        return answer

    return send


def by_asgi(
    recorder: Recorder, settings: Any, loop: asyncio.AbstractEventLoop
) -> Callable[[Sent], bytes]:
    """Return a function that sends a request through ASGI and returns the answer's body."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    app = importlib.import_module(f"{PACKAGE}.asgi").JWTMiddleware(application, settings)

    async def answered(sent: Sent) -> bytes:
        scope = {
            "type": "http",
            "method": sent.method,
            "path": sent.path,
            "root_path": "",
            "query_string": b"",
            "scheme": "https",
            "headers": [(n.encode(), v.encode()) for n, v in (*HEADERS, *sent.headers)],
            "state": {},
        }
        messages: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": sent.body, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        with recorder:
            await app(scope, receive, send)
        if messages[0]["status"] != 200:
            raise SystemExit(f"the ASGI door answered {messages[0]['status']}")
        return b"".join(one.get("body", b"") for one in messages[1:])

    return lambda sent: loop.run_until_complete(answered(sent))


# --- cases


def measured(tree: Path) -> dict[str, Way]:
    """Return the way of every case, by its name, of the package in a tree."""
    sys.path.insert(0, str(tree.resolve()))
    # Silences the warning about a store and keys of one process, which are intended here.
    logging.getLogger(PACKAGE).addHandler(logging.NullHandler())
    recorder = Recorder(tree.resolve() / PACKAGE)
    package = importlib.import_module(PACKAGE)
    if not str(package.__file__).startswith(str(tree.resolve())):
        raise SystemExit(f"{tree} has no package {PACKAGE}")
    loop = asyncio.new_event_loop()
    doors: dict[str, Callable[[Any], Callable[[Sent], bytes]]] = {
        "WSGI": lambda settings: by_wsgi(recorder, settings),
        "ASGI": lambda settings: by_asgi(recorder, settings, loop),
    }
    found: dict[str, Way] = {}
    with tempfile.TemporaryDirectory() as folder:
        for door, made in doors.items():
            for cache, entries in (("on", 4096), ("off", 0)):
                settings = _verifying(package, entries)
                runs = _of_tokens(package, recorder, settings, made(settings))
                found[f"first sight, cache {cache}, {door}"] = _shortest(runs[0])
                if entries:
                    found[f"known token, {door}"] = _shortest(runs[1])
            for name, url in (("memory", "memory://"), ("SQLite", f"sqlite:///{folder}/{door}.db")):
                settings = _issuing(package, url)
                runs_of = _of_refresh(package, recorder, settings, made(settings))
                found[f"refresh, {name}, {door}"] = _shortest(runs_of)
                settings.close()
    loop.close()
    return dict(sorted(found.items(), key=lambda item: _ORDER.index(item[0].split(",")[0])))


_ORDER = ("known token", "first sight", "refresh")


def _verifying(package: Any, entries: int) -> Any:
    cache = package.TokenCache(entries=entries)
    return package.Settings(
        issuer=ISSUER, audience=AUDIENCE, keys=package.KeySet.generate("ES256"), token_cache=cache
    )


def _issuing(package: Any, url: str) -> Any:
    return package.Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=package.KeySet.generate("ES256"),
        refresh=package.Refresh(store=url, settle=0),
    )


def _of_tokens(
    package: Any, recorder: Recorder, settings: Any, send: Callable[[Sent], bytes]
) -> tuple[list[Way], list[Way]]:
    """Return the ways of new tokens, and those of the same tokens once more."""
    issuing = package.Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=settings.keys,
        refresh=package.Refresh(store="memory://"),
    )
    issuer = package.Issuer(issuing)
    first: list[Way] = []
    again: list[Way] = []
    for _ in range(RUNS + 1):  # the first run also makes what is made only once
        tokens = issuer.issue("alice", scope="read", claims={"roles": ["editor"]})
        for ways in (first, again):
            send(with_token(tokens.access_token))
            ways.append(recorder.way())
    return first[1:], again[1:]


def _of_refresh(
    package: Any, recorder: Recorder, settings: Any, send: Callable[[Sent], bytes]
) -> list[Way]:
    """Return the ways of refreshes, each with the token of the refresh before."""
    token = package.Issuer(settings).issue("alice", scope="read").refresh_token
    ways: list[Way] = []
    for _ in range(RUNS + 1):
        token = json.loads(send(with_refresh_token(token)))["refresh_token"]
        ways.append(recorder.way())
    return ways[1:]


def _shortest(ways: list[Way]) -> Way:
    return min(ways, key=lambda way: len(way.calls))


# --- what is printed


def table(found: dict[str, Way]) -> str:
    """Return the counts of every case."""
    lines = [
        f"{'':30}{'calls':>7}{'files':>7}{'changes of file':>17}{'closures':>10}{'resumed':>9}"
    ]
    lines += [
        f"{name:30}{len(way.calls):7}{way.files:7}{way.changes:17}{way.closures:10}"
        f"{way.resumptions:9}"
        for name, way in found.items()
    ]
    return "\n".join(lines)


def listed(way: Way) -> str:
    """Return the calls of a way, numbered, one a line."""
    return "\n".join(
        f"{number:3}. {'  ' * call.depth}{call.file}:{call.line} {call.name}"
        for number, call in enumerate(way.calls, 1)
    )


def over(found: dict[str, Way]) -> list[str]:
    """Return a line for each case that changes the file too often."""
    return [
        f"{name}: {way.changes} changes of file, at most {LIMITS[kind]} are allowed"
        for name, way in found.items()
        if (kind := name.split(",")[0]) in LIMITS and way.changes > LIMITS[kind]
    ]


def main() -> int:
    """Print the counts, or the ways; return 1 where a gate was asked for and missed."""
    parser = argparse.ArgumentParser(description="how many files a request leads through")
    parser.add_argument("tree", type=Path, nargs="?", default=ROOT, help="a checkout")
    parser.add_argument("--gate", action="store_true", help="exit with 1 where a limit is missed")
    parser.add_argument("--list", action="store_true", help="print the calls, in their order")
    options = parser.parse_args()
    found = measured(options.tree)
    if options.list:
        for title, name in WAYS.items():
            print(f"The way of a {title} ({name})\n\n{listed(found[name])}\n")
        return 0
    print(table(found))
    missed = over(found) if options.gate else []
    print(*missed, sep="\n", end="\n" if missed else "")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
