"""Clients of the tests' project: Django's own, under WSGI and under ASGI, called in one way."""

import asyncio
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import connections
from django.test import AsyncClient, Client, override_settings

from tests.django.project import JWT
from tests.wrapped import FACTORY

is_made: list[bool] = []


def bearer(subject: object, **claims: Any) -> dict[str, str]:
    """Return the headers of a token of the project's issuer."""
    own: dict[str, Any] = {"iss": JWT.issuer, "sub": str(subject)}
    return FACTORY.bearer(**(own | claims))


def tables() -> None:
    """Make the project's tables, once a process."""
    if not is_made:
        call_command("migrate", verbosity=0)
        connections.close_all()
        is_made.append(True)


@dataclass
class Answer:
    """What a client got; `text` is the body, streamed or not."""

    status_code: int
    headers: Any
    cookies: Any
    text: str
    request: Any  # as the view saw it

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Asking:
    """One kind of client. Options are what it puts into each scope, or environment."""

    def __init__(self, kind: str, **options: Any) -> None:
        self.is_async = kind == "asgi"
        self.client: Any = (AsyncClient if self.is_async else Client)(**options)

    def __call__(self, method: str, path: str, **options: Any) -> Answer:
        if self.is_async:
            return asyncio.run(self._acall(method, path, **options))
        got = getattr(self.client, method)(path, **options)
        return self._answer(got, got.wsgi_request, got.getvalue())

    async def _acall(self, method: str, path: str, **options: Any) -> Answer:
        got = await getattr(self.client, method)(path, **options)
        if got.streaming and got.is_async:
            body = b"".join([chunk async for chunk in got.streaming_content])
        else:
            body = got.getvalue()
        # Django's thread would keep its connection, which Python 3.13 warns of.
        await sync_to_async(connections.close_all)()
        return self._answer(got, got.asgi_request, body)

    @staticmethod
    def _answer(got: Any, request: Any, body: bytes) -> Answer:
        return Answer(got.status_code, got.headers, got.cookies, body.decode(), request)

    def get(self, path: str, **options: Any) -> Answer:
        return self("get", path, **options)

    def post(self, path: str, **options: Any) -> Answer:
        return self("post", path, **options)


@contextmanager
def asking(
    kind: str, settings: Any = JWT, options: dict[str, Any] | None = None, **changed: Any
) -> Generator[Asking]:
    """Give a client of the project with other settings."""
    with override_settings(JWT_MIDDLEWARE=settings, **changed):
        yield Asking(kind, **(options or {}))


both = pytest.mark.parametrize("kind", ["wsgi", "asgi"])
