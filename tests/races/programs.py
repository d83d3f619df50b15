"""What other processes do: `python -m tests.races.programs NAME ARGUMENT ...`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread
from typing import Any

from jwt_middleware import ConfigurationError, Issuer, KeySet, Refresh, Settings
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.grant.former import migration
from tests.issuing import REFRESH, form_octets, posted, refresh_form
from tests.world import Application, Raw, Sent, by_asgi, by_wsgi, encoded

from . import NOW, SECRET

Send = Callable[[Sent], Raw]


def say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def hear() -> Any:
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def settings_at(store: Any, now: float = NOW, **refresh: Any) -> Settings:
    return Settings(
        issuer="https://login.example",
        audience="https://api.example",
        keys=KeySet.secret(SECRET),
        clock=lambda: now,
        refresh=Refresh(store=store, access_lifetime=7200, **refresh),
    )


def through(door: str, settings: Settings) -> Send:
    """Return what sends a request through a door."""
    if door == "wsgi":
        wsgi = WSGIMiddleware(Application().wsgi, settings)
        return lambda sent: by_wsgi(wsgi, sent)
    asgi = ASGIMiddleware(Application().asgi, settings)
    return lambda sent: asyncio.run(by_asgi(asgi, sent))


def fork_and_revoke(door: str, path: str) -> None:
    """Fork when all is known; then the parent ends a grant of which the child has a token."""
    settings = settings_at(f"sqlite:///{path}?synchronous=NORMAL")
    issuer, send = Issuer(settings), through(door, settings)
    tokens, other = issuer.issue("alice"), issuer.issue("bob")
    sent = Sent("GET", "/", encoded((), tokens.access_token))
    assert send(sent)[0] == 200
    go, tell = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go[0], 1)
        os.write(tell[1], str(send(sent)[0]).encode())
        os._exit(0)
    issuer.revoke(tokens.grant_id)
    os.write(go[1], b".")
    status = int(os.read(tell[0], 3))
    os.waitpid(child, 0)
    others = send(Sent("GET", "/", encoded((), other.access_token)))[0]
    say({"child": status, "parent": send(sent)[0], "other": others})
    settings.close()


def present(door: str, path: str, now: str, count: str, former: str = "") -> None:
    """Present one refresh token so many times at once, at the same moment as other processes.

    With `former` it is one of a former library.
    """
    store = f"sqlite:///{path}?synchronous=NORMAL"
    settings = settings_at(store, float(now), migrate=migration() if former else None)
    say("ready")
    refresh = refreshing(hear())
    if door == "wsgi":
        send, barrier = through(door, settings), Barrier(int(count))

        def one(_: int) -> Raw:
            barrier.wait()
            return send(refresh)

        with ThreadPoolExecutor(int(count)) as pool:
            answers = list(pool.map(one, range(int(count))))
    else:
        app = ASGIMiddleware(Application().asgi, settings)

        async def all_at_once() -> list[Raw]:
            try:
                return await asyncio.gather(*(by_asgi(app, refresh) for _ in range(int(count))))
            finally:
                await settings.aclose()

        answers = asyncio.run(all_at_once())
    say([[status, json.loads(body)] for status, _, body in answers])
    settings.close()


def refreshing(token: str) -> Sent:
    return posted(REFRESH, form_octets(refresh_form(token)))


class Mortal:
    """A store whose process is killed at a point: before or after a verb, or a statement of it."""

    blocking = True

    def __init__(self, store: SQLiteStore, point: int) -> None:
        self._store = store
        self._left = point
        for line in (store._reader, store._writer):
            begin = line._begin

            def watch(
                db: sqlite3.Connection, begin: Callable[[sqlite3.Connection], None] = begin
            ) -> None:
                begin(db)
                db.set_trace_callback(self.passes)

            line._begin = watch

    def passes(self, _: str = "") -> None:
        """Come past a point; die at the one that was chosen."""
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        real: Callable[..., Any] = getattr(self._store, verb)
        if verb in ("check", "close", "ended", "purge"):
            return real

        def call(*args: Any) -> Any:
            self.passes()
            answer = real(*args)
            self.passes()
            return answer

        return call


def die() -> None:
    """Serve one request and be killed at a point; say how it ended. Again and again, as asked."""
    while (asked := hear()) is not None:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, str(served(**asked)).encode())
            os._exit(0)
        os.close(write)
        _, how = os.waitpid(child, 0)
        status = os.read(read, 3)
        os.close(read)
        assert bool(status) is not (os.WIFSIGNALED(how) and os.WTERMSIG(how) == signal.SIGKILL)
        say(int(status) if status else "killed")


def served(door: str, path: str, now: float, point: int, at: str, form: dict[str, str]) -> int:
    """Serve one request; return its status, if the process comes so far."""
    store = SQLiteStore(path, clock=lambda: now, retention=700)
    store.check()
    send = through(door, settings_at(Mortal(store, point), now))
    return send(posted(at, form_octets(form)))[0]


def fork_memory(door: str) -> None:
    """Fork with grants in memory: the child's would be others than the parent's."""
    settings = settings_at("memory://", settle=0)
    issuer, send = Issuer(settings), through(door, settings)
    tokens = issuer.issue("alice")
    call = Sent("GET", "/", encoded((), tokens.access_token))
    child = os.fork()
    if child == 0:
        for do in (
            lambda: send(refreshing(tokens.refresh_token)),
            lambda: send(call),
            lambda: issuer.issue("alice"),
        ):
            try:
                say(f"no error: {do()}")
            except ConfigurationError as error:
                say(str(error))
        os._exit(0)
    os.waitpid(child, 0)
    say(f"the parent goes on: {send(call)[0]}")


def fork_in_the_middle(door: str, path: str) -> None:
    """Fork while threads are at every verb; parent and child go on."""
    settings = settings_at(f"sqlite:///{path}?synchronous=NORMAL", settle=0, sync_every=0)
    issuer, send = Issuer(settings), through(door, settings)
    tokens = issuer.issue("alice")
    call = Sent("GET", "/", encoded((), tokens.access_token))
    is_over = Event()

    def work() -> None:
        while not is_over.is_set():
            assert send(call)[0] == 200
            issuer.issue("bob")

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(5):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            found = [send(call)[0], send(refreshing(tokens.refresh_token))[0]]
            os.write(write, json.dumps(found).encode())
            os._exit(0)
        os.waitpid(child, 0)
        children.append(json.loads(os.read(read, 100)))
        os.close(read)
        os.close(write)
    is_over.set()
    for thread in threads:
        thread.join()
    assert all(one == children[0] for one in children)
    found = [send(call)[0], send(refreshing(tokens.refresh_token))[0]]
    say({"child": children[0], "parent": found})
    settings.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
