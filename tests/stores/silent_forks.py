"""Forks of which Python isn't told: `python -m tests.stores.silent_forks NAME ...`.

libc's `fork`, called directly, runs no hooks, as uWSGI's doesn't.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from threading import Thread, active_count
from time import sleep
from types import ModuleType
from typing import Any, cast

from werkzeug.test import Client

from jwt_middleware import Issuer, KeySet, Refresh, Settings, StoreUnavailable
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.values import forks
from jwt_middleware.wsgi import JWTMiddleware
from tests.stores.programs import say

ROUNDS = 8


def silent_fork() -> int:
    """Fork without Python's hooks. PyDLL keeps the interpreter's lock, so that the child has it."""
    child: int = ctypes.PyDLL(None).fork()
    return child


def imitate_uwsgi() -> None:
    """Be the process that forks: in its workers `worker_id()` isn't 0."""
    parent, module = os.getpid(), ModuleType("uwsgi")
    cast("Any", module).worker_id = lambda: int(os.getpid() != parent)
    sys.modules["uwsgi"] = module


def hello(_: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


class Service:
    """An application that logs somebody in before it is forked."""

    def __init__(self, url: str) -> None:
        self.settings = Settings(
            issuer="https://login.example",
            audience="https://api.example",
            keys=KeySet(KeySet.generate().keys),
            refresh=Refresh(store=url),
        )
        self.issuer = Issuer(self.settings)
        self.client = Client(JWTMiddleware(hello, self.settings))
        self.first = self.issuer.issue("first")

    def use(self) -> list[int]:
        """Log in, call, refresh, log out; return the kinds of answers."""
        found = set()
        for number in range(ROUNDS):
            tokens = self.issuer.issue(f"{os.getpid()} {number}")
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
            found.add(self.client.get("/", headers=bearer).status_code)
            answer = self.client.post("/auth/refresh", data=form)
            found.add(answer.status_code)
            assert self.issuer.revoke(tokens.grant_id)
            found.add(1000 + self.client.get("/", headers=bearer).status_code)
        return sorted(found)

    async def ause(self) -> int:
        """Do it in an event loop."""
        for number in range(ROUNDS):
            tokens = await self.issuer.aissue(f"{os.getpid()} {number}")
            assert await self.issuer.arevoke(tokens.grant_id)
        await Runtime.of(self.settings).aclose()
        return ROUNDS

    def close(self) -> None:
        Runtime.of(self.settings).close()


def in_children(do: Any, count: int = 2) -> list[int]:
    """Return the ids of children that do it, say it, and end as a process does."""
    children = []
    for _ in range(count):
        child = silent_fork()
        if child == 0:
            try:
                say(do())
            except BaseException as error:  # noqa: BLE001  (the parent shall hear of it)
                say(repr(error))
            sys.exit(0)
        children.append(child)
    return children


def serve(url: str) -> None:
    """Make the application, log in, and fork: workers and parent go on at once."""
    imitate_uwsgi()
    service = Service(url)
    asyncio.run(service.ause())
    # What a silent child takes over it waits for at its end, Python's own threads too.
    while active_count() > 1:
        sleep(0.001)
    children = in_children(service.use) + in_children(lambda: asyncio.run(service.ause()), 1)
    say(service.use())
    say(sorted(os.waitpid(child, 0)[1] for child in children))
    service.close()


def fork_while_open(url: str) -> None:
    """Fork with the file open, in a server that isn't known to do so."""
    service = Service(url)

    def refused() -> list[str]:
        found = []
        for ask in (service.issuer.issue, service.issuer.grants):
            try:
                ask("alice")
            except StoreUnavailable as error:
                found.append(error.detail)
        service.close()
        return found

    for child in in_children(refused, 1):
        os.waitpid(child, 0)
    say(service.use())
    service.close()


def drop_in_child(url: str) -> None:
    """Let a child that has used nothing forget the store: that closes nothing of the parent's."""
    service: Any = Service(url)
    child = silent_fork()
    if child == 0:
        del service
        sys.exit(0)
    os.waitpid(child, 0)
    say(service.use())
    service.close()


def begin_at_once() -> None:
    """Come with several threads into a new process: each part begins anew once, and before all."""
    begun: list[int] = []
    forks.in_child(lambda: begun.append(os.getpid()))

    def come() -> bool:
        threads = [Thread(target=forks.notice) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return begun == [os.getpid()]

    for child in in_children(come, 1):
        os.waitpid(child, 0)
    say(begun)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
