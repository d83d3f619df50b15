"""MCP servers under the SDK's own client: it comes without a token, and the SDK knows its user."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from anyio import to_thread
from mcp import Client, MCPError
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.client import ConnectMode
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken as SDKToken
from mcp.server.auth.provider import principal_components
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from mcp_types import ElicitResult, InputRequiredResult
from pydantic import AnyUrl
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse

import jwt_middleware.mcp
from jwt_middleware import AccessToken, ConfigurationError, Route, Settings, TrustedIssuer, profiles
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.mcp import MCPMiddleware
from jwt_middleware.testing import ABSENT, TokenFactory
from jwt_middleware.values.tokens import FrozenDict
from tests import serving
from tests.authorization import AuthorizationServer
from tests.test_examples import CURLS, FIRST, answers, started, statuses
from tests.world import World

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "mcp_server.py"
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


class Fixed(httpx2.Auth):
    """A client that has its token already."""

    def __init__(self, token: str) -> None:
        self.headers = bearer(token)

    def auth_flow(self, request: httpx2.Request) -> Any:
        request.headers.update(self.headers)
        yield request


def user(issuer: AuthorizationServer, url: str, subject: str) -> Fixed:
    return Fixed(issuer.factory.token(aud=url, sub=subject, scope="notes"))


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
    async def scene() -> list[list[str]]:
        people = [f"user {number}" for number in range(8)]
        return await asyncio.gather(
            *(
                call(
                    url, user(issuer, url, one), ("add_note", {"text": f"of {one}"}), ("notes", {})
                )
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


# --- what the SDK knows of the user


@asynccontextmanager
async def asking(url: str, auth: httpx2.Auth, **options: Any) -> AsyncGenerator[Client]:
    """Open a client whose user answers each question with yes."""

    async def yes(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"sure": True})

    async with (
        httpx2.AsyncClient(auth=auth) as http,
        Client(
            streamable_http_client(url, http_client=http), elicitation_callback=yes, **options
        ) as client,
    ):
        yield client


def test_state_that_was_sealed_for_one_user_is_not_taken_from_another(
    issuer: AuthorizationServer, url: str
) -> None:
    yes: dict[str, Any] = {}

    async def scene() -> None:
        async with (
            asking(url, user(issuer, url, "carol")) as carol,
            asking(url, user(issuer, url, "bob")) as bob,
        ):
            await carol.call_tool("add_note", {"text": "carol's"})
            await bob.call_tool("add_note", {"text": "bob's"})
            first = await carol.session.call_tool("lose_notes", {}, allow_input_required=True)
            assert isinstance(first, InputRequiredResult)
            assert first.input_requests is not None
            yes["input_responses"] = {
                name: ElicitResult(action="accept", content={"sure": True})
                for name in first.input_requests
            }
            yes["request_state"] = first.request_state
            # Of one client: what tells them apart is the user.
            with pytest.raises(MCPError, match="Invalid or expired requestState"):
                await bob.session.call_tool("lose_notes", {}, **yes)
            assert text(await bob.call_tool("notes", {})) == "bob: bob's"
            assert text(await carol.session.call_tool("lose_notes", {}, **yes)) == "lost"
            assert text(await carol.call_tool("notes", {})) == "carol: "
        # With her next token, too; and the client does both rounds by itself.
        async with asking(url, user(issuer, url, "carol")) as carol:
            assert text(await carol.session.call_tool("lose_notes", {}, **yes)) == "lost"
            assert text(await carol.call_tool("lose_notes", {})) == "lost"

    asyncio.run(scene())


def test_a_client_of_2025_is_asked_too(issuer: AuthorizationServer, url: str) -> None:
    async def scene() -> None:
        async with asking(url, user(issuer, url, "dora"), mode="legacy") as dora:
            await dora.call_tool("add_note", {"text": "dora's"})
            assert text(await dora.call_tool("lose_notes", {})) == "lost"
            assert text(await dora.call_tool("notes", {})) == "dora: "

    asyncio.run(scene())


def text(result: Any) -> str:
    (content,) = result.content
    return content.text


FACTORY = TokenFactory()
seen: list[SDKToken | None] = []


def settings(**more: Any) -> Settings:
    return FACTORY.settings(routes=(Route("/open", public=True),), **more)


def small_server(**options: Any) -> Any:
    """Return an application with one tool, which notes down whom the SDK serves."""
    server = MCPServer("Small")

    @server.tool()
    async def who() -> str:
        # Where the SDK starts tasks, and threads.
        first, second = get_access_token(), await to_thread.run_sync(get_access_token)
        assert first is second
        seen.append(first)
        return "" if first is None else str(first.subject)

    @server.custom_route("/open", methods=["GET"])
    async def name(request: StarletteRequest) -> PlainTextResponse:
        seen.append(get_access_token())
        return PlainTextResponse(f"{request.user.is_authenticated} {request.user.display_name}")

    @server.custom_route("/me", methods=["GET"])
    async def me(request: StarletteRequest) -> PlainTextResponse:
        assert request.user.identity == request.user.display_name
        return PlainTextResponse(f"{request.user.is_authenticated} {request.user.display_name}")

    return server.streamable_http_app(**options)


@pytest.mark.parametrize("stateless", [True, False], ids=["stateless", "sessions"])
@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_in_a_tool_the_sdk_knows_our_user(mode: ConnectMode, *, stateless: bool) -> None:
    inner = MCPMiddleware(small_server(stateless_http=stateless))

    async def who(url: str, subject: str) -> str:
        auth = Fixed(FACTORY.token(sub=subject, scope="read write", roles=["editor"]))
        async with asking(f"{url}/mcp", auth, mode=mode) as client:
            return text(await client.call_tool("who", {}))

    async def scene(url: str) -> list[str]:
        return await asyncio.gather(*(who(url, f"user {number}") for number in range(4)))

    seen.clear()
    with serving.asgi(lambda _: JWTMiddleware(inner, settings()), lifespan="on") as url:
        assert asyncio.run(scene(url)) == [f"user {number}" for number in range(4)]
    for token in seen:
        assert token is not None
        assert (token.client_id, token.scopes) == (FACTORY.claims()["client_id"], ["read", "write"])
        assert token.resource == FACTORY.audience
        assert token.claims is not None
        assert (token.claims["iss"], token.claims["roles"]) == (FACTORY.issuer, ["editor"])
        assert token.expires_at == token.claims["exp"]


def test_a_session_is_its_users() -> None:
    inner = MCPMiddleware(small_server())
    alice, bob = FACTORY.bearer(sub="alice"), FACTORY.bearer(sub="bob")
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    accept = {"Accept": "application/json, text/event-stream"}
    with serving.asgi(lambda _: JWTMiddleware(inner, settings()), lifespan="on") as url:
        opened = httpx2.post(f"{url}/mcp", json=hello, headers=alice | accept)
        session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        answers = [
            httpx2.post(f"{url}/mcp", json=HELLO, headers=one | accept | session).status_code
            for one in (bob, alice)
        ]
        # Her next token: what a tool sees is never the one that the session began with.
        who = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "who"}}
        newer = FACTORY.bearer(sub="alice", jti="newer")
        answer = httpx2.post(f"{url}/mcp", json=who, headers=newer | accept | session)
    assert answers == [404, 200]
    assert answer.status_code == 200
    assert seen[-1] is not None
    assert seen[-1].claims is not None
    assert seen[-1].claims["jti"] == "newer"


def test_without_a_token_the_sdk_knows_nobody_and_names_stay_the_applications() -> None:
    inner = MCPMiddleware(small_server())
    other = TokenFactory(issuer="https://other.example")
    trusted = TrustedIssuer(issuer=other.issuer, keys=other.keys, audience=FACTORY.audience)
    app = JWTMiddleware(inner, settings(trusted_issuers=(trusted,)))
    seen.clear()
    with serving.asgi(lambda _: app, lifespan="on") as url:
        answers = [
            httpx2.get(f"{url}{path}", headers=headers).text
            for path, headers in (
                ("/open", {}),
                ("/open", FACTORY.bearer()),  # a public route reads no token
                ("/me", FACTORY.bearer(sub="alice")),
                ("/me", other.bearer(aud=FACTORY.audience, sub="alice")),  # not our alice
            )
        ]
    assert answers == ["False ", "False ", "True alice", "False "]
    assert seen == [None, None]


async def carried_by(app: Any, scope: dict[str, Any]) -> None:
    await app(scope, None, None)


MAPPED = profiles.COGNITO.replace(
    name="MAPPED",
    types=frozenset(("at+jwt",)),
    scope_claims=("groups",),
    scope_map={"editors": "notes:write"},
    scope_implies={"notes:write": "notes:read"},
)


def sdk_token(*, settings: Settings | None = None, **claims: Any) -> SDKToken:
    """Return what a request with such a token shows to the SDK."""
    found: list[SDKToken] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        token = get_access_token()
        assert token is not None
        assert scope["user"].access_token is token
        assert scope["user"].scopes == token.scopes
        found.append(token)

    headers = [(b"authorization", f"Bearer {FACTORY.token(**claims)}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    settings = settings or FACTORY.settings(profile=profiles.FOREIGN)
    outer = JWTMiddleware(MCPMiddleware(app), settings)
    asyncio.run(carried_by(outer, scope))
    assert get_access_token() is None
    (token,) = found
    return token


def test_a_token_that_says_little_and_one_that_names_several_resources() -> None:
    little = sdk_token(client_id=ABSENT, scope=ABSENT, jti=ABSENT, exp=2_000_000_000.5)
    assert (little.client_id, little.scopes, little.expires_at) == ("", [], 2_000_000_000)
    assert principal_components(little) == ("", FACTORY.issuer, "alice")
    assert sdk_token(aud=[FACTORY.audience]).resource == FACTORY.audience
    several = sdk_token(aud=["https://other.example", FACTORY.audience])
    assert several.resource is None
    assert several.claims is not None
    assert several.claims["aud"] == ["https://other.example", FACTORY.audience]


def test_the_sdk_s_scopes_are_the_effective_ones_and_no_aud_is_no_resource() -> None:
    settings = FACTORY.settings(profile=MAPPED, audience="app")
    claims: dict[str, Any] = {"token_use": "access", "client_id": "app", "aud": ABSENT}
    token = sdk_token(settings=settings, **claims, groups=["editors", "admins"], scope="admin")
    assert token.scopes == ["notes:read", "notes:write"]
    assert (token.resource, token.client_id) == (None, "app")


def test_its_text_is_no_token_and_no_other_tokens_name() -> None:
    one, again, other = (
        sdk_token(sub=sub, jti=jti, iat=1, exp=2_000_000_000)
        for sub, jti in (("alice", "1"), ("alice", "1"), ("bob", "1"))
    )
    assert one.token == again.token != other.token
    for shown in (repr(one), str(one)):
        assert "alice" not in shown
        assert one.token not in shown
    # Handed on as a token, it is none.
    handed_on = World(FACTORY.settings()).get("/", one.token)
    assert (handed_on.status, handed_on.reached) == (400, False)


def test_what_an_application_raises_passes_and_leaves_nobody() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert get_access_token() is not None
        raise LookupError

    async def scene() -> None:
        scope = {"type": "http", "jwt_middleware.token": TOKEN, "user": None}
        with pytest.raises(LookupError):
            await MCPMiddleware(app)(scope, unasked, unasked)
        assert get_access_token() is None
        assert scope["user"] is None

    asyncio.run(scene())


TOKEN = AccessToken(FrozenDict(FACTORY.claims()))


async def unasked(*args: Any) -> Any:
    raise AssertionError


def test_nobodys_request_within_somebodys_is_nobodys() -> None:
    found: list[SDKToken | None] = []

    async def innermost(scope: Any, receive: Any, send: Any) -> None:
        found.append(get_access_token())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await MCPMiddleware(innermost)({**scope, "jwt_middleware.token": None}, receive, send)
        found.append(get_access_token())

    scope = {"type": "http", "jwt_middleware.token": TOKEN, "user": None}
    asyncio.run(carried_by(MCPMiddleware(app), scope))
    assert found[0] is None
    assert found[1] is not None


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "of.tomorrow"])
def test_what_is_not_http_passes_untouched(kind: str) -> None:
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append((scope, get_access_token()))

    scope = {"type": kind, "jwt_middleware.token": TOKEN, "user": "ours"}
    asyncio.run(carried_by(MCPMiddleware(app), scope))
    ((passed, token),) = found
    assert passed is scope
    assert scope == {"type": kind, "jwt_middleware.token": TOKEN, "user": "ours"}
    assert token is None


def test_without_the_door_no_request_is_served() -> None:
    with pytest.raises(RuntimeError, match="inside JWTMiddleware"):
        asyncio.run(carried_by(MCPMiddleware(unasked), {"type": "http"}))


def test_without_the_sdk_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    for name in [name for name in sys.modules if name.startswith("mcp.")]:
        monkeypatch.delitem(sys.modules, name)
    spec = importlib.util.spec_from_file_location(
        "jwt_middleware.another", jwt_middleware.mcp.__file__
    )
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ConfigurationError, match=r"pip install .*\[mcp\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_first_lines_do_what_they_say(tmp_path: Path) -> None:
    with started([str(EXAMPLE)], tmp_path / "log") as (port, printed):
        lines = [line for line in printed if line.startswith("curl")]
        assert all(f"127.0.0.1:{port}" in line for line in lines)
        assert statuses(answers(lines, CURLS[FIRST], tmp_path)) == [401, 200]
