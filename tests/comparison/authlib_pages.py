"""Authlib's authorization server with access tokens by RFC 9068, and its validator."""

from __future__ import annotations

import secrets
from types import SimpleNamespace
from typing import Any

import jwt
from authlib.integrations.flask_oauth2 import (  # type: ignore[import-untyped]
    AuthorizationServer,
    ResourceProtector,
)
from authlib.oauth2.rfc6749 import grants  # type: ignore[import-untyped]
from authlib.oauth2.rfc6750 import BearerTokenGenerator  # type: ignore[import-untyped]
from authlib.oauth2.rfc9068 import (  # type: ignore[import-untyped]
    JWTBearerTokenGenerator,
    JWTBearerTokenValidator,
)
from flask import Flask, request
from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwk import ECKey, KeySet, OctKey

from tests.comparison import rows

KEYS = KeySet([ECKey.generate_key("P-256", {"kid": "one", "alg": "ES256", "use": "sig"})])
ISSUER = "https://login.example.com"
TOKENS: dict[str, Token] = {}


class Client:
    client_id = "app"

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_client_secret(self, secret: str) -> bool:
        return True

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "none"

    def check_grant_type(self, grant_type: str) -> bool:
        return True


USER: Any = SimpleNamespace(get_user_id=lambda: "alice")
CLIENT: Any = Client()


class Token:
    """A row of the table that Authlib's documentation has for tokens."""

    def __init__(self) -> None:
        self.revoked = False

    def check_client(self, client: Client) -> bool:
        return client is CLIENT

    def get_scope(self) -> str:
        return "read"


class Password(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def authenticate_user(self, username: str, password: str) -> Any:
        return USER


class Refreshing(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Any:
        token = TOKENS.get(refresh_token)
        return None if token is None or token.revoked else token

    def authenticate_user(self, refresh_token: Any) -> Any:
        return USER

    def revoke_old_credential(self, refresh_token: Any) -> None:
        refresh_token.revoked = True


class Generator(JWTBearerTokenGenerator):
    def get_jwks(self) -> Any:
        return KEYS

    def get_audiences(self, client: Client, user: Any, scope: str) -> str:
        return "api"


class Validator(JWTBearerTokenValidator):
    def get_jwks(self) -> Any:
        return KEYS


def application() -> Any:
    app = Flask(__name__)

    def save(token: dict[str, Any], request: Any) -> None:
        if "refresh_token" in token:
            TOKENS[token["refresh_token"]] = Token()

    server: Any = AuthorizationServer(app, query_client=lambda client_id: CLIENT, save_token=save)
    generator = Generator(
        ISSUER, alg="ES256", refresh_token_generator=lambda *a, **k: secrets.token_urlsafe()
    )
    server.register_token_generator("default", generator)
    server.register_grant(Password)
    server.register_grant(Refreshing)
    protect = ResourceProtector()
    protect.register_token_validator(Validator(ISSUER, "api"))
    app.post("/token")(server.create_token_response)

    @app.get("/me")
    @protect("read")
    def me() -> str:
        return request.method

    return app.test_client()


def main() -> None:
    client = application()
    named = {"client_id": "app", "scope": "read"}
    login = {"grant_type": "password", "username": "alice", "password": "pw", **named}
    tokens = client.post("/token", data=login).json

    def refresh(token: str) -> Any:
        sent = {"grant_type": "refresh_token", "refresh_token": token, **named}
        return client.post("/token", data=sent)

    def me(token: str) -> int:
        found: int = client.get("/me", headers={"Authorization": f"Bearer {token}"}).status_code
        return found

    assert me(tokens["access_token"]) == 200
    confused = me(tokens["refresh_token"])
    assert grants.RefreshTokenGrant.INCLUDE_NEW_REFRESH_TOKEN is False
    assert BearerTokenGenerator.DEFAULT_EXPIRES_IN == 3600
    first = tokens["refresh_token"]
    second = refresh(first).json["refresh_token"]
    lost = refresh(first)
    third = refresh(second).json["refresh_token"]
    reused, lives = refresh(first), refresh(third)
    assert (lost.json["error"], lives.status_code) == ("invalid_grant", 200)
    TOKENS[lives.json["refresh_token"]].revoked = True
    assert me(lives.json["access_token"]) == 200
    taken = []
    for alg, key in {
        "HS256": OctKey.generate_key(256),
        "ES256": ECKey.generate_key("P-256"),
        "ES384": ECKey.generate_key("P-384"),
    }.items():
        made = type("One", (JWTBearerTokenGenerator,), {"get_jwks": lambda self, key=key: key})
        try:
            made(ISSUER, alg=alg)("client_credentials", CLIENT, scope="read")
            taken.append(alg)
        except UnsupportedAlgorithmError:
            pass
    assert taken == ["HS256", "ES256"]
    rows.tell(
        "authlib",
        {
            rows.TYP: f"`{jwt.get_unverified_header(tokens['access_token'])['typ']}`",
            rows.ALG: "HS256, RS256, ES256",
            rows.WEAK: rows.warned(lambda: OctKey.import_key(rows.SHORT)),
            rows.CONFUSED: f"{confused}: it is no JWT",
            rows.RENEWED: "no; with `INCLUDE_NEW_REFRESH_TOKEN` yes",
            rows.LOST: f"{lost.status_code} `invalid_grant`, logged out (renewing and revoking)",
            rows.REUSED: f"{reused.status_code}, and the newer one is served (the same)",
            rows.LOGGED_OUT: "served until `exp`; the refresh token isn't",
            rows.ASKED: "0",
            rows.COOKIE: "has no cookies",
        },
    )


if __name__ == "__main__":
    main()
