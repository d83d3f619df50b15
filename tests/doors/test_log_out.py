"""`Issuer.log_out`: every login of the browser ends, and its cookies go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from werkzeug.datastructures import Headers

from jwt_middleware import Cookies, Issuer, Refresh, Settings, StoreUnavailable, Tokens
from jwt_middleware.process.current_token import CURRENT
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import TokenFactory, as_user
from jwt_middleware.values.tokens import AccessToken, FrozenDict, Held

FACTORY = TokenFactory()


def settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {"store": "memory://", "cookies": Cookies(access=True), **changes}
    return FACTORY.settings(refresh=Refresh(**given))


def pairs(tokens: Tokens) -> list[tuple[str, str]]:
    return [tuple(one.partition(";")[0].split("=", 1)) for _, one in tokens.cookies]  # type: ignore[misc]


def held(*logins: Tokens) -> Held:
    found = [pair for one in logins for pair in pairs(one)]
    return Held(
        tuple(one for one in found if "refresh" in one[0]),
        tuple(one for one in found if "access" in one[0]),
    )


def plainly(issuer: Issuer, response: Any, *more: Any) -> tuple[str, ...]:
    return issuer.log_out(response, *more)


def awaited(issuer: Issuer, response: Any, *more: Any) -> tuple[str, ...]:
    return asyncio.run(issuer.alog_out(response, *more))


@pytest.fixture(params=[plainly, awaited])
def log_out(request: pytest.FixtureRequest) -> Callable[..., tuple[str, ...]]:
    way: Callable[..., tuple[str, ...]] = request.param
    return way


def answer() -> Any:
    return SimpleNamespace(headers=Headers())


def test_all_logins_that_the_browser_holds_end(log_out: Callable[..., tuple[str, ...]]) -> None:
    issuer = Issuer(settings())
    one, two, elsewhere = (issuer.issue(name) for name in ("alice", "bob", "alice"))
    response = answer()
    assert set(log_out(issuer, response, held(one, two))) == {one.grant_id, two.grant_id}
    assert [grant.id for grant in issuer.grants("alice")] == [elsewhere.grant_id]
    assert issuer.grants("bob") == ()
    removed = {field.partition("=")[0] for field in response.headers.getlist("Set-Cookie")}
    assert removed == {name for name, _ in pairs(one) + pairs(two)}
    assert all("Max-Age=0" in field for field in response.headers.getlist("Set-Cookie"))
    # A second time, or late: nothing is alive, and the cookies go.
    response = answer()
    log_out(issuer, response, held(one))
    assert len(response.headers.getlist("Set-Cookie")) == 2


def test_the_access_cookie_alone_names_its_login(log_out: Callable[..., tuple[str, ...]]) -> None:
    issuer = Issuer(settings())
    tokens = issuer.issue("alice")
    found = held(tokens)
    assert log_out(issuer, answer(), Held((), found.access)) == (tokens.grant_id,)


def test_the_requests_own_login_ends_without_cookies(
    log_out: Callable[..., tuple[str, ...]],
) -> None:
    issuer = Issuer(settings(cookies=None))
    tokens = issuer.issue("alice")
    response = answer()
    token = AccessToken(FrozenDict(sub="alice", sid=tokens.grant_id))
    before = CURRENT.set(token)
    try:
        assert log_out(issuer, response) == (tokens.grant_id,)
    finally:
        CURRENT.reset(before)
    assert issuer.grants("alice") == ()
    assert list(response.headers) == []


def test_nothing_that_is_no_login_ends(log_out: Callable[..., tuple[str, ...]]) -> None:
    issuer = Issuer(settings())
    tokens = issuer.issue("alice")
    (name, text), (other, _) = held(tokens).refresh[0], held(issuer.issue("bob")).refresh[0]
    for found in (
        Held(((name, text[:-4] + "AAAA"),), ()),  # forged
        Held(((other, text),), ()),  # in another login's cookie
        Held(((name, ""),), ()),
        Held((), ()),
    ):
        assert log_out(issuer, answer(), found) == ()
    with as_user("alice"):  # a token of no grant
        assert log_out(issuer, answer(), Held((), ())) == ()
    with pytest.raises(ValueError, match="held: give the cookies"):
        log_out(issuer, answer())
    assert [grant.id for grant in issuer.grants("alice")] == [tokens.grant_id]


def test_a_store_that_fails_is_told(log_out: Callable[..., tuple[str, ...]]) -> None:
    class Failing(MemoryStore):
        def end(self, grant_id: str, reason: str) -> bool:
            raise StoreUnavailable("down")

    issuer = Issuer(settings(store=Failing(clock=FACTORY.clock, retention=86490)))
    tokens = issuer.issue("alice")
    response = answer()
    with pytest.raises(StoreUnavailable):
        log_out(issuer, response, held(tokens))
    assert list(response.headers) == []  # the cookies stay, for the next try
