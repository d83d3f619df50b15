"""A small authorization server: registration (RFC 7591), codes with PKCE (RFC 7636), RFC 9068.

It is as much of one as MCP clients ask for. Whoever comes to its login page is alice.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from jwt_middleware.testing import TokenFactory


class AuthorizationServer:
    """One issuer at one URL; it remembers which resources it gave tokens for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.factory = TokenFactory(issuer=url)
        self.codes: dict[str, dict[str, str]] = {}
        self.clients: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []  # resource, scope
        self.app = Starlette(
            routes=[
                Route("/.well-known/oauth-authorization-server", self._metadata),
                Route("/jwks", self._jwks),
                Route("/register", self._register, methods=["POST"]),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    async def _metadata(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "registration_endpoint": f"{self.url}/register",
                "jwks_uri": f"{self.url}/jwks",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code"],
                "token_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse(self.factory.keys.public_jwks())

    async def _register(self, request: Request) -> Response:
        client_id = token_urlsafe()
        self.clients[client_id] = await request.json()
        return JSONResponse(self.clients[client_id] | {"client_id": client_id}, 201)

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        client = self.clients[asked["client_id"]]
        assert asked["redirect_uri"] in client["redirect_uris"]
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        code = token_urlsafe()
        self.codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.url}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        asked = self.codes.pop(form["code"])
        digest = sha256(form["code_verifier"].encode()).digest()
        assert urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
        assert form["grant_type"] == "authorization_code"
        for name in ("client_id", "redirect_uri", "resource"):
            assert form[name] == asked[name], name
        # RFC 8707 s2.2: the token is good for the resource that was asked for, and nothing else.
        self.asked.append((asked["resource"], asked["scope"]))
        token = self.factory.token(
            aud=asked["resource"], client_id=asked["client_id"], scope=asked["scope"]
        )
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": 600})
