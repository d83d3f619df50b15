"""The MCP example under the SDK's own client: it comes without a token, and finds its way."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

from tests import serving
from tests.authorization import AuthorizationServer
from tests.test_examples import CURLS, FIRST, answers, started, statuses

EXAMPLE = Path(__file__).parent.parent / "examples" / "mcp_server.py"
CALLBACK = "http://127.0.0.1:1/callback"  # nobody listens: the client reads the redirect itself


class Person:
    """A client with its user: its tokens, and the browser that the user logs in with."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self._client: OAuthClientInformationFull | None = None
        self._back: dict[str, str] = {}

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info

    async def visit(self, url: str) -> None:
        async with httpx2.AsyncClient() as browser:
            answer = await browser.get(url)
        assert answer.status_code == 302
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        self._back = {name: values[0] for name, values in query.items()}

    async def come_back(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**self._back)

    def provider(self, url: str) -> OAuthClientProvider:
        return OAuthClientProvider(
            server_url=url,
            client_metadata=OAuthClientMetadata(redirect_uris=[AnyUrl(CALLBACK)]),
            storage=self,
            redirect_handler=self.visit,
            callback_handler=self.come_back,
        )


async def call(url: str, auth: httpx2.Auth | None, *calls: tuple[str, dict[str, Any]]) -> list[str]:
    """Call tools one after another; return what they say."""
    found = []
    async with (
        httpx2.AsyncClient(auth=auth) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        for name, arguments in calls:
            result = await client.call_tool(name, arguments)
            (content,) = result.content
            found.append(getattr(content, "text", ""))
    return found


@pytest.fixture(scope="module")
def issuer() -> Generator[AuthorizationServer]:
    made: list[AuthorizationServer] = []

    def make(url: str) -> Any:
        made.append(AuthorizationServer(url))
        return made[0].app

    with serving.asgi(make):
        yield made[0]


@pytest.fixture(scope="module")
def url(issuer: AuthorizationServer, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with served(issuer, tmp_path_factory.mktemp("mcp")) as one:
        yield one


@contextmanager
def served(issuer: AuthorizationServer, folder: Path) -> Generator[str]:
    """Start the example in a process of its own; give the URL that clients use."""
    with started([str(EXAMPLE)], folder / "log", ISSUER=issuer.url) as (port, _):
        yield f"http://127.0.0.1:{port}/mcp"


def test_a_client_without_a_token_finds_its_way(issuer: AuthorizationServer, url: str) -> None:
    person = Person()
    calls = [("add_note", {"text": "buy milk"}), ("notes", {})]
    assert asyncio.run(call(url, person.provider(url), *calls)) == ["kept", "alice: buy milk"]
    # Asked once, for this very server and for no more than its metadata says.
    assert issuer.asked == [(url, "notes")]
    assert person.tokens is not None
    # And with the token it has, it needs nobody.
    assert asyncio.run(call(url, person.provider(url), ("notes", {}))) == ["alice: buy milk"]
    assert len(issuer.asked) == 1


def test_the_way_is_the_challenge_and_the_document(url: str) -> None:
    answer = httpx2.post(url, json={})
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    place = url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    assert challenge == f'Bearer realm="api", resource_metadata="{place}", scope="notes"'
    assert httpx2.get(place).json()["resource"] == url


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


HELLO = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def test_a_token_for_another_server_is_refused(
    issuer: AuthorizationServer, url: str, tmp_path: Path
) -> None:
    person = Person()
    with served(issuer, tmp_path) as other:
        assert asyncio.run(call(other, person.provider(other), ("notes", {}))) == ["alice: "]
        assert issuer.asked[-1] == (other, "notes")
        assert person.tokens is not None
        headers = bearer(person.tokens.access_token)
        accept = {"Accept": "application/json, text/event-stream"}
        assert httpx2.post(other, json=HELLO, headers=headers | accept).status_code != 401
        # The other server's operator tries it here.
        answer = httpx2.post(url, json=HELLO, headers=headers | accept)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_client_refuses_a_document_that_is_not_its_servers(
    issuer: AuthorizationServer, url: str
) -> None:
    asked = len(issuer.asked)
    with pytest.RaisesGroup(
        pytest.RaisesExc(OAuthFlowError, match="does not match"), flatten_subgroups=True
    ):
        asyncio.run(call(url, Person().provider(url.replace("/mcp", "/other")), ("notes", {})))
    assert len(issuer.asked) == asked


def test_each_call_is_its_own_callers(issuer: AuthorizationServer, url: str) -> None:
    class Fixed(httpx2.Auth):
        def __init__(self, subject: str) -> None:
            self.headers = bearer(issuer.factory.token(aud=url, sub=subject, scope="notes"))

        def auth_flow(self, request: httpx2.Request) -> Any:
            request.headers.update(self.headers)
            yield request

    async def scene() -> list[list[str]]:
        people = [f"user {number}" for number in range(8)]
        return await asyncio.gather(
            *(
                call(url, Fixed(one), ("add_note", {"text": f"of {one}"}), ("notes", {}))
                for one in people
            )
        )

    assert asyncio.run(scene()) == [
        ["kept", f"user {number}: of user {number}"] for number in range(8)
    ]


def test_too_little_scope_is_forbidden_with_the_scope_that_is_needed(
    issuer: AuthorizationServer, url: str
) -> None:
    answer = httpx2.post(url, json=HELLO, headers=bearer(issuer.factory.token(aud=url)))
    assert answer.status_code == 403
    assert 'scope="notes"' in answer.headers["www-authenticate"]


def test_the_first_lines_do_what_they_say(tmp_path: Path) -> None:
    with started([str(EXAMPLE)], tmp_path / "log") as (port, printed):
        lines = [line for line in printed if line.startswith("curl")]
        assert all(f"127.0.0.1:{port}" in line for line in lines)
        assert statuses(answers(lines, CURLS[FIRST], tmp_path)) == [401, 200]
