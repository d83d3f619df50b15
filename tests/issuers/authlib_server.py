"""Authlib's authorization server, with access tokens by RFC 9068: one client, one user, in memory.

Its settings come as one line of JSON; when it listens, it says so.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer  # type: ignore[import-untyped]
from authlib.oauth2.rfc6749 import grants  # type: ignore[import-untyped]
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator  # type: ignore[import-untyped]
from authlib.oidc.core import OpenIDCode, UserInfo  # type: ignore[import-untyped]
from flask import Flask, request
from joserfc.jwk import KeySet, RSAKey
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.serving import make_server

TOLD = json.loads(sys.stdin.readline())
KEYS = KeySet([RSAKey.generate_key(2048)])
KEYS.keys[0].ensure_kid()
CODES: dict[str, Code] = {}


class Client:
    """The one client."""

    def get_client_id(self) -> str:
        return str(TOLD["client"])

    def get_default_redirect_uri(self) -> str:
        return str(TOLD["redirect"])

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == TOLD["redirect"]

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == TOLD["secret"]

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return True

    def check_grant_type(self, grant_type: str) -> bool:
        return True


class User:
    """The one user, who is logged in."""

    def get_user_id(self) -> int:
        return 1


class Code:
    """An authorization code: what its request asked for."""

    def __init__(self, redirect_uri: str, scope: str) -> None:
        self.redirect_uri, self.scope, self.auth_time = redirect_uri, scope, int(time.time())

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> None: ...

    def get_acr(self) -> None: ...

    def get_amr(self) -> None: ...

    def get_auth_time(self) -> int:
        return self.auth_time


class CodeGrant(grants.AuthorizationCodeGrant):
    def save_authorization_code(self, code: str, request: Any) -> None:
        CODES[code] = Code(request.payload.redirect_uri, request.payload.scope)

    def query_authorization_code(self, code: str, client: Any) -> Code | None:
        return CODES.get(code)

    def delete_authorization_code(self, authorization_code: Code) -> None: ...

    def authenticate_user(self, authorization_code: Code) -> User:
        return User()


class IDTokens(OpenIDCode):
    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return False

    def resolve_client_private_key(self, client: Any) -> KeySet:
        return KEYS

    def get_client_claims(self, client: Any) -> dict[str, str]:
        return {"iss": TOLD["issuer"]}

    def generate_user_info(self, user: User, scope: str) -> UserInfo:
        return UserInfo(sub=str(user.get_user_id()))


class Tokens(JWTBearerTokenGenerator):
    def get_jwks(self) -> KeySet:
        return KEYS

    def get_audiences(self, client: Any, user: Any, scope: str) -> list[str]:
        return [request.form.get("resource", TOLD["audience"])]


app = Flask(__name__)
vars(app)["wsgi_app"] = ProxyFix(app.wsgi_app)  # TLS ends in front of it
server = AuthorizationServer(app, query_client=lambda _: Client(), save_token=lambda *_: None)
server.register_token_generator("default", Tokens(issuer=TOLD["issuer"]))
server.register_grant(grants.ClientCredentialsGrant)
server.register_grant(CodeGrant, [IDTokens()])


@app.post("/token")
def token() -> Any:
    return server.create_token_response()


@app.get("/authorize")
def authorize() -> Any:
    user = User()
    grant = server.get_consent_grant(end_user=user)
    return server.create_authorization_response(grant_user=user, grant=grant)


@app.get("/jwks.json")
def jwks() -> Any:
    return KEYS.as_dict(private=False)


logging.getLogger("werkzeug").setLevel(logging.WARNING)
with make_server("127.0.0.1", TOLD["port"], app, threaded=True) as listening:
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    listening.serve_forever()
