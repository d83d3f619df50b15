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
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from jwt_middleware import AccessToken, KeySet, Resource, Route, Settings, profiles
from jwt_middleware.asgi import JWTMiddleware

PORT = os.environ.get("PORT", "8000")
URL = os.environ.get("URL", f"http://127.0.0.1:{PORT}/mcp")
NOTES: dict[tuple[str, str], list[str]] = {}

server = MCPServer("Notes")


def token_of(context: Context[Any, Any]) -> AccessToken:
    """Return the token of the very request that called a tool."""
    # Not `current_token()`: nothing promises that it follows into the tasks in which tools run.
    request: Any = context.request_context.request
    token: AccessToken = request.scope["jwt_middleware.token"]
    return token


@server.tool()
def add_note(text: str, context: Context[Any, Any]) -> str:
    """Keep a note for the user."""
    NOTES.setdefault(token_of(context).principal, []).append(text)
    return "kept"


@server.tool()
def notes(context: Context[Any, Any]) -> str:
    """Read the user's notes."""
    token = token_of(context)
    return f"{token.subject}: " + "; ".join(NOTES.get(token.principal, []))


settings = Settings(
    issuer=os.environ.get("ISSUER", "https://login.example.com"),
    audience=URL,  # a token for another server, which its operator could replay here, is refused
    keys=KeySet.remote(),  # found by the issuer's name
    profile=profiles.PROFILES[os.environ.get("PROFILE", "RFC_9068")],
    resource=Resource(identifier=URL, scopes_supported=("notes",), name="Notes"),
    routes=(Route("/mcp", scope="notes"),),
)
app = JWTMiddleware(
    # Stateless: no session that one user opens and another goes on with.
    server.streamable_http_app(
        stateless_http=True,
        transport_security=TransportSecuritySettings(allowed_hosts=[urlsplit(URL).netloc]),
    ),
    settings,
)

if __name__ == "__main__":
    print(f"{__doc__}".replace("http://127.0.0.1:8000", f"http://127.0.0.1:{PORT}"), flush=True)
    uvicorn.run(app, port=int(PORT), log_level="warning")
