"""A streamed response of Django's ends with its login: by an error, never as if complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from jwt_middleware import Refresh, Route
from jwt_middleware.django import jwt_issuer
from jwt_middleware.testing import Clock
from jwt_middleware.values.errors import ConnectionCut
from tests.django.project import JWT
from tests.rules import accepts, refuses

CLOCK = Clock()
EXPIRED = 700  # seconds
EXPIRING = JWT.replace(clock=CLOCK, refresh=Refresh(store="memory://"))
KEPT = JWT.replace(routes=(*JWT.routes, Route("/kept", connections="keep")))


def plain(request: Any) -> StreamingHttpResponse:
    def chunks() -> Iterator[str]:
        for number in range(4):
            yield f"{number} "

    return StreamingHttpResponse(chunks())


async def awaited(request: Any) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[str]:
        yield "0 "
        await asyncio.sleep(0.2 if "short" in request.GET else 600)
        yield "1 "

    return StreamingHttpResponse(chunks())


async def failing(request: Any) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[str]:
        yield "0 "
        raise asyncio.CancelledError  # nobody of ours cancels here

    return StreamingHttpResponse(chunks())


def events(request: Any) -> StreamingHttpResponse:
    answer = plain(request)
    answer["Content-Type"] = "text/event-stream"
    return answer


async def awaited_events(request: Any) -> StreamingHttpResponse:
    answer = await awaited(request)
    answer["Content-Type"] = "text/event-stream"
    return answer


urlpatterns = [
    *(path(name, plain) for name in ("plain", "kept")),
    path("awaited", awaited),
    path("events", events),
    path("awaited_events", awaited_events),
    path("failing", failing),
]


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__, JWT_MIDDLEWARE=KEPT):
        yield


def login() -> tuple[str, dict[str, str]]:
    tokens = jwt_issuer().issue("1")
    return tokens.grant_id, {"Authorization": f"Bearer {tokens.access_token}"}


def began(where: str, headers: dict[str, str]) -> Iterator[bytes]:
    answer: Any = Client().get(where, headers=headers)
    return iter(answer.streaming_content)


@accepts("RS-67")
@pytest.mark.parametrize("where", ["/plain", "/kept"])
def test_a_stream_goes_on_while_its_login_lives(where: str) -> None:
    _, headers = login()
    assert b"".join(began(where, headers)) == b"0 1 2 3 "


@refuses("RS-67")
def test_under_wsgi_a_stream_ends_at_its_next_chunk() -> None:
    grant_id, headers = login()
    body = began("/plain", headers)
    assert next(body) == b"0 "
    jwt_issuer().revoke(grant_id)
    with pytest.raises(ConnectionCut):
        next(body)


def test_a_route_may_keep_its_streams() -> None:
    grant_id, headers = login()
    body = began("/kept", headers)
    assert next(body) == b"0 "
    jwt_issuer().revoke(grant_id)
    assert list(body) == [b"1 ", b"2 ", b"3 "]


@refuses("RS-67")
def test_under_wsgi_an_event_stream_ends_with_its_token_and_a_download_does_not() -> None:
    with override_settings(JWT_MIDDLEWARE=EXPIRING):
        _, headers = login()
        body, download = began("/events", headers), began("/plain", headers)
        assert next(body) == next(download) == b"0 "
        CLOCK.advance(EXPIRED)
        with pytest.raises(ConnectionCut) as cut:
            next(body)
        assert cut.value.reason == "expired"
        assert list(download) == [b"1 ", b"2 ", b"3 "]


async def opened(where: str, headers: dict[str, str]) -> ApplicationCommunicator:
    from django.core.asgi import get_asgi_application

    location, _, query = where.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": location,
        "query_string": query.encode(),
        "headers": [(b"host", b"testserver")]
        + [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    talk = ApplicationCommunicator(get_asgi_application(), scope)
    await talk.send_input({"type": "http.request"})
    assert (await talk.receive_output(30))["status"] == 200
    assert (await talk.receive_output(30))["body"] == b"0 "
    return talk


@refuses("RS-67")
def test_under_asgi_a_stream_ends_while_it_waits() -> None:
    async def run() -> None:
        grant_id, headers = login()
        talk = await opened("/awaited", headers)
        await jwt_issuer().arevoke(grant_id)
        with pytest.raises(ConnectionCut):
            await talk.wait(30)
        assert talk.output_queue.empty()  # nothing that completes the response

    asyncio.run(run())


@refuses("RS-67")
def test_under_asgi_an_event_stream_ends_with_its_token_while_it_waits() -> None:
    async def run() -> None:
        with override_settings(JWT_MIDDLEWARE=EXPIRING):
            _, headers = login()
            talk = await opened("/awaited_events", headers)
            CLOCK.advance(EXPIRED)
            with pytest.raises(ConnectionCut) as cut:
                await talk.wait(30)
            assert cut.value.reason == "expired"
            assert talk.output_queue.empty()

    asyncio.run(run())


@accepts("RS-67")
def test_under_asgi_a_stream_goes_on_while_its_login_lives() -> None:
    async def run() -> None:
        talk = await opened("/awaited?short", login()[1])
        assert (await talk.receive_output(30))["body"] == b"1 "
        last = await talk.receive_output(30)
        assert (last.get("body", b""), last.get("more_body", False)) == (b"", False)
        await talk.wait(30)

    asyncio.run(run())


def test_another_cancellation_stays_one() -> None:
    async def run() -> None:
        answer: Any = await AsyncClient().get("/failing", headers=login()[1])
        body = aiter(answer.streaming_content)
        assert await anext(body) == b"0 "
        with pytest.raises(asyncio.CancelledError):
            await anext(body)

    asyncio.run(run())
