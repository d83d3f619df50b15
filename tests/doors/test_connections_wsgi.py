"""Streamed responses under WSGI: at their next chunk they end when their token no longer holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from jwt_middleware import Route, Unavailable
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.errors import ConnectionCut
from jwt_middleware.wsgi import JWTMiddleware, is_current
from tests.issuing import FaultyStore
from tests.rules import accepts, refuses

from .connecting import Site

LEEWAY, LIFE = 30, 600
EVENTS = [("Content-Type", "text/event-stream")]
FILE = [("Content-Type", "application/zip")]


def streaming(headers: list[tuple[str, str]], closed: list[str] | None = None) -> Any:
    """Return an application that starts its response with the first chunk, as generators do."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", headers)
        try:
            for number in range(5):
                environ["PATH_INFO"] = "/changed"  # as an application that mounts others does
                yield str(number).encode()
        finally:
            if closed is not None:
                closed.append("closed")

    return app


def begun(site: Any, app: Any, token: str, path: str = "/feed") -> Iterator[bytes]:
    """Return a body whose first chunk has come."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "HTTP_AUTHORIZATION": f"Bearer {token}",
    }
    body: Iterable[bytes] = JWTMiddleware(app, getattr(site, "settings", site))(
        environ, lambda status, headers, exc_info=None: None
    )
    chunks = iter(body)
    assert next(chunks) == b"0"
    return chunks


@refuses("RS-67")
def test_an_event_stream_ends_at_its_next_chunk_when_its_token_has_expired() -> None:
    closed: list[str] = []
    site = Site()
    chunks: Any = begun(site, streaming(EVENTS, closed), site.issuer.issue("alice").access_token)
    assert next(chunks) == b"1"
    site.clock.forward(LIFE + LEEWAY)
    with pytest.raises(ConnectionCut, match="on purpose: expired"):
        next(chunks)
    chunks.close()
    assert closed == ["closed"]
    assert site.ended == [("expired", "stream")]
    (event,) = [one for one in site.events if one.name == "connection_ended"]
    assert event.path == "/feed"


@accepts("RS-67")
def test_an_event_stream_goes_on_until_then() -> None:
    site = Site()
    chunks = begun(site, streaming(EVENTS), site.issuer.issue("alice").access_token)
    site.clock.forward(LIFE * 0.95 + LEEWAY - 1)
    assert list(chunks) == [b"1", b"2", b"3", b"4"]


@accepts("RS-67")
def test_a_download_may_outlive_its_token() -> None:
    site = Site()
    chunks = begun(site, streaming(FILE), site.issuer.issue("alice").access_token)
    site.clock.forward(LIFE + LEEWAY)
    assert list(chunks) == [b"1", b"2", b"3", b"4"]


@refuses("RS-67")
@pytest.mark.parametrize("headers", [EVENTS, FILE])
def test_every_stream_ends_when_its_grant_ends(headers: Any) -> None:
    site = Site()
    tokens, other = site.issuer.issue("alice"), site.issuer.issue("bob")
    chunks = begun(site, streaming(headers), tokens.access_token)
    bobs = begun(site, streaming(headers), other.access_token)
    site.issuer.revoke(tokens.grant_id)
    with pytest.raises(ConnectionCut, match="grant_ended"):
        next(chunks)
    assert list(bobs) == [b"1", b"2", b"3", b"4"]
    assert site.ended == [("grant_ended", "stream")]


@refuses("RS-67")
def test_an_end_that_only_the_store_knows_is_heard_without_a_request(tmp_path: Any) -> None:
    here, there = (Site(f"sqlite:///{tmp_path}/grants.db") for _ in range(2))
    tokens = here.issuer.issue("alice")
    chunks = begun(here, streaming(FILE), tokens.access_token)
    assert next(chunks) == b"1"
    there.issuer.revoke(tokens.grant_id)
    here.clock.forward(0.2)  # more than twice `sync_every`: the news are waited for
    with pytest.raises(ConnectionCut, match="grant_ended"):
        next(chunks)
    here.settings.close()
    there.settings.close()


@accepts("RS-67")
def test_a_route_may_keep_its_streams() -> None:
    site = Site(routes=(Route("/feed", connections="keep"),))
    tokens = site.issuer.issue("alice")
    chunks = begun(site, streaming(EVENTS), tokens.access_token)
    site.issuer.revoke(tokens.grant_id)
    assert list(chunks) == [b"1", b"2", b"3", b"4"]


@accepts("RS-67")
def test_a_whole_body_is_handed_on_as_it_is() -> None:
    site = Site()
    body = [b"0"]

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("500 Oh", [], (ValueError, ValueError(), None))
        return body

    started: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    token = site.issuer.issue("alice").access_token
    environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    made = JWTMiddleware(app, site.settings)(environ, lambda *given: started.append(given))
    assert made is body
    assert started[0][2][0] is ValueError


def test_tokens_without_a_grant_end_by_their_time_alone() -> None:
    factory, now = TokenFactory(), 1_800_000_000.0
    settings = factory.settings(clock=lambda: now)
    token = factory.token(exp=now + LIFE, iat=now)
    events, file = (begun(settings, streaming(kind), token) for kind in (EVENTS, FILE))
    assert [next(events), next(file)] == [b"1", b"1"]
    now += LIFE + LEEWAY
    with pytest.raises(ConnectionCut):
        next(events)
    assert list(file) == [b"2", b"3", b"4"]


@pytest.mark.parametrize(("failure", "ends"), [("closed", True), ("open", False)])
def test_a_store_that_fails_for_long_ends_them_or_not(failure: str, ends: bool) -> None:
    site = Site(FaultyStore, refresh={"sync_failure": failure, "sync_limit": 100})
    chunks = begun(site, streaming(FILE), site.issuer.issue("alice").access_token)
    store = Runtime.of(site.settings).store
    store.fails |= {"ended", "is_living"}
    site.clock.forward(90)
    assert next(chunks) == b"1"
    site.clock.forward(20)
    if ends:
        with pytest.raises(ConnectionCut, match="sync_too_old"):
            next(chunks)
    else:
        assert next(chunks) == b"2"


def test_a_grant_that_nobody_can_ask_for_goes_on_for_a_while() -> None:
    site = Site(FaultyStore)
    chunks = begun(site, streaming(FILE), site.issuer.issue("alice").access_token)
    store = Runtime.of(site.settings).store
    store.fails.add("is_living")
    site.clock.forward(1)
    store.end_before(site.clock())
    site.clock.forward(1)
    assert next(chunks) == b"1"
    store.fails.clear()
    site.clock.forward(1)
    with pytest.raises(ConnectionCut):
        next(chunks)


# is_current


@accepts("RS-67")
def test_a_token_is_current_until_it_expires() -> None:
    site = Site()
    token = _verified(site)
    assert is_current(token, site.settings)
    site.clock.forward(LIFE * 0.95 + LEEWAY - 1)
    assert is_current(token, site.settings)
    site.clock.forward(LIFE * 0.05 + 1)
    assert not is_current(token, site.settings)


@refuses("RS-67")
def test_a_token_is_not_current_when_its_grant_has_ended(tmp_path: Any) -> None:
    here, there = (Site(f"sqlite:///{tmp_path}/grants.db") for _ in range(2))
    token = _verified(here)
    assert is_current(token, there.settings)
    here.issuer.revoke(token.grant_id)
    there.clock.forward(1)
    assert not is_current(token, there.settings)
    here.settings.close()
    there.settings.close()


def test_a_token_without_a_grant_is_current_until_it_expires() -> None:
    factory, now = TokenFactory(), 1_800_000_000.0
    settings = factory.settings(clock=lambda: now)
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ["jwt_middleware.token"])
        return [b""]

    token = factory.token(exp=now + LIFE, iat=now)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_AUTHORIZATION": f"Bearer {token}"}
    JWTMiddleware(app, settings)(environ, lambda *_: None)
    assert is_current(seen[0], settings)
    other = settings.replace(issuer="https://other.example")
    assert not is_current(seen[0], other)  # these settings can't know
    now += LIFE + LEEWAY
    assert not is_current(seen[0], settings)


def test_whether_a_token_is_current_may_not_be_known() -> None:
    site = Site(FaultyStore)
    token = _verified(site)
    Runtime.of(site.settings).store.fails |= {"ended"}
    site.clock.forward(300)
    with pytest.raises(Unavailable):
        is_current(token, site.settings)


def _verified(site: Site) -> Any:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ["jwt_middleware.token"])
        start_response("200 OK", [])
        return [b""]

    token = site.issuer.issue("alice").access_token
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_AUTHORIZATION": f"Bearer {token}"}
    JWTMiddleware(app, site.settings)(environ, lambda *_: None)
    return seen[0]
