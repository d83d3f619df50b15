"""A store whose verbs are decorated: what they return is awaited, or refused where nobody can."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Issuer
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.wsgi import JWTMiddleware
from tests.process.test_runtime_issuing import Awaited, Plain, calling, settings_with
from tests.world import Application, by_asgi, by_wsgi


def decorated(verb: Any) -> Any:
    """Wrap a verb as a decorator for metrics does: it is no coroutine function any more."""

    @functools.wraps(verb)
    def wrapper(*args: Any) -> Any:
        return verb(*args)

    return wrapper


class Decorated(Awaited):
    """An asynchronous store with a decorator at each verb."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.checked = self.closed = 0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return decorated(found) if inspect.iscoroutinefunction(found) else found

    async def check(self) -> None:
        self.checked += 1

    async def close(self) -> None:
        self.closed += 1


class InTheLoop(Decorated):
    """The same, which says that it never waits."""

    blocking = False


@pytest.mark.parametrize("kind", [Decorated, InTheLoop])
def test_ended_grants_are_asked_for_where_only_the_answer_shows_that_it_is_awaited(
    kind: type[Decorated],
) -> None:
    settings = settings_with(kind())
    issuer, app = Issuer(settings), ASGIMiddleware(Application().asgi, settings)

    async def play() -> list[int]:
        tokens, other = await issuer.aissue("alice"), await issuer.aissue("bob")
        await settings_store(settings).end(other.grant_id, "logout")
        return [
            (await by_asgi(app, calling(one.access_token)))[0] for one in (tokens, other, tokens)
        ]

    assert asyncio.run(play()) == [200, 401, 200]


def settings_store(settings: Any) -> Any:
    return Runtime.of(settings).store


@pytest.mark.parametrize("kind", [Decorated, InTheLoop])
def test_an_end_is_done_when_it_is_answered(kind: type[Decorated]) -> None:
    store = kind()
    settings = settings_with(store)
    issuer = Issuer(settings)

    async def play() -> bool:
        await Runtime.of(settings).acheck()
        tokens = await issuer.aissue("alice")
        alive = await issuer.arevoke(tokens.grant_id)
        assert await issuer.agrants("alice") == ()
        await settings.aclose()
        return alive

    assert asyncio.run(play())
    assert (store.checked, store.closed) == (1, 1)


def test_where_nobody_can_await_it_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"refresh\.store: is asynchronous.*sync kind"):
        JWTMiddleware(print, settings_with(Decorated()))


class Unchecked(Plain):
    """A plain store with one verb that isn't."""

    def end(self, *args: Any) -> Any:
        async def later() -> bool:
            return True

        return later()


def test_an_end_that_nobody_awaits_is_no_answer() -> None:
    issuer = Issuer(settings_with(Unchecked()))
    tokens = issuer.issue("alice")
    with pytest.raises(ConfigurationError, match=r"end is asynchronous"):
        issuer.revoke(tokens.grant_id)


class EndsLater(Awaited):
    """What a close returns in synchronous code is let go without a warning of Python's."""

    async def close(self) -> None:
        raise AssertionError


def test_a_close_that_nobody_can_await_is_let_go() -> None:
    settings_with(EndsLater()).close()


def test_where_nobody_can_await_ended_grants_the_way_out_is_told() -> None:
    class EndedLater(Plain):
        def ended(self, *args: Any) -> Any:
            async def later() -> Any:
                return args

            return later()

    settings = settings_with(EndedLater())
    tokens = Issuer(settings).issue("alice")
    app = JWTMiddleware(Application().wsgi, settings)
    with pytest.raises(ConfigurationError, match=r"ended is asynchronous.*sync kind"):
        by_wsgi(app, calling(tokens.access_token))
