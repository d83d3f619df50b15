"""An MCP server whose clients find out by themselves where to get a token.

Start it with `ISSUER=https://login.example.com python examples/mcp_server.py`, where ISSUER is an
authorization server whose access tokens are JWTs and whose metadata names its keys. Then try:

curl -i -X POST http://127.0.0.1:8000/mcp                                # 401, and where to read on
curl -i http://127.0.0.1:8000/.well-known/oauth-protected-resource/mcp   # 200, whom to ask

or give the URL to an MCP client: it gets a token for this very server there, and comes back.
PORT=9000 sets another port, URL=https://mcp.example.com/mcp what clients call the server, and
PROFILE=FOREIGN takes tokens that don't follow RFC 9068, such as Keycloak's.
"""

import os
from typing import Annotated
from urllib.parse import urlsplit

import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import principal_components
from mcp.server.mcpserver import Elicit, MCPServer, Resolve
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import BaseModel

from jwt_middleware import KeySet, Resource, Route, Settings, profiles
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.mcp import MCPMiddleware

PORT = os.environ.get("PORT", "8000")
URL = os.environ.get("URL", f"http://127.0.0.1:{PORT}/mcp")
NOTES: dict[tuple[str | None, str | None], list[str]] = {}

server = MCPServer("Notes")


class Sure(BaseModel):
    """The question before notes are deleted."""

    sure: bool


def user() -> tuple[str | None, str | None]:
    """Return whose request this is: issuer and subject of its token."""
    token = get_access_token()
    if token is None:
        raise PermissionError("no route here is public")
    _, issuer, subject = principal_components(token)
    return issuer, subject


def ask() -> Elicit[Sure]:
    """Ask the user, by way of the client."""
    return Elicit("Lose all notes?", Sure)


@server.tool()
def add_note(text: str) -> str:
    """Keep a note for the user."""
    NOTES.setdefault(user(), []).append(text)
    return "kept"


@server.tool()
def notes() -> str:
    """Read the user's notes."""
    return f"{user()[1]}: " + "; ".join(NOTES.get(user(), []))


# The client calls twice. The second call brings the user's answer, and the sealed state that the
# SDK gave out with the first. The SDK accepts it from the same user only; MCPMiddleware tells it
# who that is.
@server.tool()
def lose_notes(answer: Annotated[Sure, Resolve(ask)]) -> str:
    """Lose the user's notes."""
    if not answer.sure:
        return "kept"
    NOTES.pop(user(), None)
    return "lost"


settings = Settings(
    issuer=os.environ.get("ISSUER", "https://login.example.com"),
    audience=URL,  # a token for another server, which its operator could replay here, is refused
    keys=KeySet.remote(),  # found by the issuer's name
    profile=profiles.PROFILES[os.environ.get("PROFILE", "RFC_9068")],
    resource=Resource(identifier=URL, scopes_supported=("notes",), name="Notes"),
    routes=(Route("/mcp", scope="notes"),),
)
app = JWTMiddleware(
    MCPMiddleware(
        server.streamable_http_app(
            transport_security=TransportSecuritySettings(allowed_hosts=[urlsplit(URL).netloc]),
        )
    ),
    settings,
)

if __name__ == "__main__":
    print(f"{__doc__}".replace("http://127.0.0.1:8000", f"http://127.0.0.1:{PORT}"), flush=True)
    uvicorn.run(app, port=int(PORT), log_level="warning")
