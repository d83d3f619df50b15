"""What runs under each server: says which process it is, and notes what its store is asked."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import Any
from wsgiref.util import setup_testing_defaults

from jwt_middleware import Event, KeySet, Refresh, Settings, StoreUnavailable
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.values.events import StoreBack, StoreFailed, SyncLate
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.servers.lifeline import end_with_the_test

from .shared import AUDIENCE, ISSUER, LIFETIME, TIME_OUT, VERBS, WORK, WORKS, Page, shift

GIVEN: dict[str, Any] = json.loads(os.environ["TEST_FLEET"])
PAGE = Page(GIVEN["page"])
PAUSE = 0.005  # seconds between two looks at a store that hangs

_log = os.open(GIVEN["log"], os.O_WRONLY | os.O_APPEND)


def note(what: str) -> None:
    # One write is one line, whoever else writes. This clock is one for all processes.
    os.write(_log, f"{time.monotonic()} {os.getpid()} {what}\n".encode())


def told(event: Event) -> None:
    match event:
        case SyncLate():
            note(f"{event.name} {'passing' if event.passing else 'refusing'}")
        case StoreFailed() | StoreBack():
            note(event.name)
        case _:
            pass  # thousands of refusals


def pass_on(verb: str) -> None:
    """Note a call on its way to the store, which may hang. Raises StoreUnavailable, as it does."""
    note(verb)
    deadline = time.monotonic() + PAGE.hangs
    while PAGE.hangs:
        if time.monotonic() > deadline:
            raise StoreUnavailable("no answer in time")
        time.sleep(PAUSE)


@contextmanager
def timed(verb: str) -> Generator[None]:
    """Note what a store took so long for that those who waited for it may have gone on without."""
    begun = time.monotonic()
    try:
        yield
    finally:
        if time.monotonic() - begun > TIME_OUT / 2:
            note(f"slow {verb}")


def watched(verb: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a verb whose every call passes on to the real one; awaited, where that is."""

    @functools.wraps(real)
    def call(*args: Any) -> Any:
        with timed(verb):
            pass_on(verb)
            return real(*args)

    @functools.wraps(real)
    async def awaited(*args: Any) -> Any:
        with timed(verb):
            await asyncio.to_thread(pass_on, verb)
            return await real(*args)

    return awaited if iscoroutinefunction(real) else call


def settings() -> Settings:
    """Return the settings of this process, and watch the store that they open."""
    end_with_the_test(GIVEN["alive"])
    made = Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=KeySet.load(GIVEN["keys"]),
        clock=PAGE.clock,
        on_event=told,
        refresh=Refresh(store=GIVEN["store"], access_lifetime=LIFETIME, **GIVEN["options"]),
    )
    runtime = Runtime.of(made)
    for store in {id(one): one for one in (runtime.store, runtime.astore)}.values():
        shift(store, PAGE)
        for verb in VERBS:
            setattr(store, verb, watched(verb, getattr(store, verb)))
    return made


def work(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == WORK:
        time.sleep(WORKS)
    body = str(os.getpid()).encode()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def wsgi() -> WSGIMiddleware:
    """Return what gunicorn serves. With a token to warm up with, serve one request here."""
    app = WSGIMiddleware(work, settings())
    if token := GIVEN["warm"]:
        environ: dict[str, Any] = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
        setup_testing_defaults(environ)
        assert app(environ, lambda status, headers: None) == [str(os.getpid()).encode()]
    return app


async def awaited_work(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{event}"
            await send({"type": f"lifespan.{event}.complete"})
        return
    if scope["path"] == WORK:
        await asyncio.sleep(WORKS)
    body = str(os.getpid()).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def asgi() -> ASGIMiddleware:
    """Return what uvicorn serves."""
    return ASGIMiddleware(awaited_work, settings())
