"""The peers, each as its documentation shows it, around an application that answers at once.

They are installed only in the environment of `make bench`, so these imports fail elsewhere.
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportDeprecated=false

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException, status
from fastapi.security import OAuth2PasswordBearer
from flask import Flask
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    SimpleUser,
)
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from .scene import PATH, Issuer, asgi_status, checked, wsgi_status

SECRET = "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"


@dataclass(frozen=True)
class Peer:
    """An application that checks tokens, the same without, and a token for it."""

    name: str
    bare: str  # the name of the bare application
    app: Any
    token: str
    waits: bool = False  # needs an event loop, because part of its work is done in threads


# The bare applications: the first example in the documentation of each framework.


async def _answer(request: Any) -> JSONResponse:
    return JSONResponse({"hello": "world"})


def starlette(*middleware: Middleware) -> Starlette:
    """Return an application of Starlette's with one route."""
    return Starlette(routes=[Route(PATH, _answer)], middleware=middleware)


def fastapi(*dependencies: Any) -> FastAPI:
    """Return an application of FastAPI's with one route."""
    app = FastAPI()

    @app.get(PATH, dependencies=list(dependencies))
    async def item() -> dict[str, str]:
        return {"message": "Hello World"}

    return app


def flask(decorate: Callable[[Any], Any] = lambda view: view) -> Flask:
    """Return an application of Flask's with one route."""
    app = Flask("bench")

    @app.get(PATH)
    @decorate
    def item() -> str:
        return "<p>Hello, World!</p>"

    return app


def peers(issuer: Issuer) -> Iterator[Peer]:
    """Yield all peers, after a check that each accepts a good token and refuses a bad one."""
    for make in (
        starlette_and_pyjwt, mcp_backend, fastapi_tutorial, auth0, authx, flask_jwt_extended
    ):  # fmt: skip
        peer, forged = make(issuer)
        ask = wsgi_status if peer.bare == "Flask" else asgi_status
        checked(ask, peer.app, peer.token, forged)
        yield peer


def starlette_and_pyjwt(issuer: Issuer) -> tuple[Peer, str]:
    """Starlette's own middleware with a backend as in its documentation, which asks PyJWT."""
    decode = _pyjwt(issuer, "RS256")

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: Any) -> tuple[AuthCredentials, SimpleUser] | None:
            if "Authorization" not in conn.headers:
                return None
            scheme, _, token = conn.headers["Authorization"].partition(" ")
            if scheme.lower() != "bearer":
                return None
            try:
                claims = decode(token)
            except jwt.InvalidTokenError as error:
                raise AuthenticationError("Invalid token") from error
            scopes = ["authenticated", *claims["scope"].split()]
            return AuthCredentials(scopes), SimpleUser(claims["sub"])

    def refuse(conn: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=401)

    app = starlette(Middleware(AuthenticationMiddleware, backend=Backend(), on_error=refuse))
    name = "Starlette's AuthenticationMiddleware + PyJWT"
    return Peer(name, "Starlette", app, issuer.token), issuer.forged


def mcp_backend(issuer: Issuer) -> tuple[Peer, str]:
    """The MCP SDK's bearer backend; its verifier is the application's, and asks PyJWT."""
    from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
    from mcp.server.auth.provider import AccessToken

    decode = _pyjwt(issuer, "RS256")

    class Verifier:
        async def verify_token(self, token: str) -> AccessToken | None:
            try:
                claims = decode(token)
            except jwt.InvalidTokenError:
                return None
            return AccessToken(
                token=token,
                client_id=claims["client_id"],
                scopes=claims["scope"].split(),
                expires_at=claims["exp"],
                resource=claims["aud"],
                subject=claims["sub"],
                claims=claims,
            )

    app = starlette(
        Middleware(AuthenticationMiddleware, backend=BearerAuthBackend(Verifier())),
        Middleware(RequireAuthMiddleware, required_scopes=["read"]),
    )
    return Peer("MCP SDK's bearer backend + PyJWT", "Starlette", app, issuer.token), issuer.forged


_USERS = {"johndoe": {"username": "johndoe", "email": "johndoe@example.com", "disabled": False}}


class User(BaseModel):
    """A user of the tutorial's."""

    username: str
    email: str | None = None
    disabled: bool | None = None


def fastapi_tutorial(issuer: Issuer) -> tuple[Peer, str]:
    """The code of FastAPI's tutorial, "OAuth2 with Password (and hashing), Bearer with JWT"."""
    scheme = OAuth2PasswordBearer(tokenUrl="token")

    async def get_current_user(token: Annotated[str, Depends(scheme)]) -> User:
        credentials_exception = HTTPException(
            status_code=status.HTTP_401_UNAUTHORIZED,
            detail="Could not validate credentials",
            headers={"WWW-Authenticate": "Bearer"},
        )
        try:
            payload = jwt.decode(token, SECRET, algorithms=["HS256"])
            username = payload.get("sub")
            if username is None:
                raise credentials_exception
        except jwt.InvalidTokenError:
            raise credentials_exception from None
        user = _USERS.get(username)
        if user is None:
            raise credentials_exception
        return User.model_validate(user)

    async def get_current_active_user(
        current_user: Annotated[User, Depends(get_current_user)],
    ) -> User:
        if current_user.disabled:
            raise HTTPException(status_code=400, detail="Inactive user")
        return current_user

    claims = {"sub": "johndoe", "exp": datetime.now(UTC) + timedelta(minutes=30)}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    app = fastapi(Depends(get_current_active_user))
    forged = jwt.encode(claims, SECRET[::-1], algorithm="HS256")
    return Peer("FastAPI's tutorial (HS256)", "FastAPI", app, token), forged


def _quiet() -> AbstractContextManager[Any]:
    """Hide Authlib's warning: it recommends joserfc, which is measured, too."""
    return warnings.catch_warnings(record=True)


def auth0(issuer: Issuer) -> tuple[Peer, str]:
    """The package auth0-fastapi-api; what it fetches once is given by its own hook for that."""
    with _quiet():
        from fastapi_plugin import Auth0FastAPI

    domain = issuer.factory.issuer.removeprefix("https://")
    answers: dict[str, Any] = {
        f"https://{domain}/.well-known/openid-configuration": {
            "issuer": issuer.factory.issuer,
            "jwks_uri": f"https://{domain}/jwks.json",
        },
        f"https://{domain}/jwks.json": issuer.factory.keys.public_jwks(),
    }

    async def fetch(url: str) -> Any:
        return answers[url]

    plugin = Auth0FastAPI(domain=domain, audience=issuer.factory.audience, custom_fetch=fetch)
    app = fastapi(Depends(plugin.require_auth(scopes="read")))
    return Peer("auth0-fastapi-api", "FastAPI", app, issuer.token), issuer.forged


def authx(issuer: Issuer) -> tuple[Peer, str]:
    """The package authx, with a public key."""
    from authx import AuthX, AuthXConfig

    config: Any = AuthXConfig(
        JWT_ALGORITHM="RS256",
        JWT_DECODE_ALGORITHMS=["RS256"],
        JWT_DECODE_AUDIENCE=issuer.factory.audience,
        JWT_DECODE_ISSUER=issuer.factory.issuer,
        JWT_PUBLIC_KEY=issuer.pem,
        JWT_PRIVATE_KEY=issuer.pem,  # required, but never used here
        JWT_TOKEN_LOCATION=["headers"],
    )
    auth: Any = AuthX(config=config)
    app = fastapi(Depends(auth.access_token_required))
    auth.handle_errors(app)
    return Peer("authx", "FastAPI", app, issuer.token, waits=True), issuer.forged


def flask_jwt_extended(issuer: Issuer) -> tuple[Peer, str]:
    """The package Flask-JWT-Extended, with a public key."""
    from flask_jwt_extended import JWTManager, jwt_required

    app = flask(jwt_required())
    app.config.update(
        JWT_ALGORITHM="RS256",
        JWT_PUBLIC_KEY=issuer.pem,
        JWT_DECODE_AUDIENCE=issuer.factory.audience,
        JWT_DECODE_ISSUER=issuer.factory.issuer,
    )
    JWTManager(app)
    return Peer("Flask-JWT-Extended", "Flask", app, issuer.token), issuer.forged


# --- libraries


def decoders(issuer: Issuer, algorithm: str) -> Iterator[tuple[str, Callable[[str], Any]]]:
    """Yield what checks signature, issuer, audience and times in each library, keys prepared."""
    yield "PyJWT", _pyjwt(issuer, algorithm)
    yield "joserfc", _joserfc(issuer, algorithm)
    yield "Authlib", _authlib(issuer, algorithm)


def _pyjwt(issuer: Issuer, algorithm: str) -> Callable[[str], Any]:
    factory = issuer.factory
    key: Any = factory.key.public or factory.key.private
    return lambda text: jwt.decode(
        text, key, algorithms=[algorithm], audience=factory.audience, issuer=factory.issuer
    )


def _jwk(issuer: Issuer) -> Any:
    return issuer.factory.key.to_jwk()


def _joserfc(issuer: Issuer, algorithm: str) -> Callable[[str], Any]:
    from joserfc import jwk
    from joserfc import jwt as joserfc_jwt

    factory = issuer.factory
    key = jwk.import_key(_jwk(issuer))
    registry = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": factory.issuer},
        aud={"essential": True, "value": factory.audience},
        exp={"essential": True},
    )

    def check(text: str) -> Any:
        token = joserfc_jwt.decode(text, key, algorithms=[algorithm])
        registry.validate(token.claims)
        return token

    return check


def _authlib(issuer: Issuer, algorithm: str) -> Callable[[str], Any]:
    with _quiet():
        from authlib.jose import JsonWebKey, JsonWebToken  # type: ignore[import-untyped]

    factory = issuer.factory
    library = JsonWebToken([algorithm])
    key: Any = JsonWebKey.import_key(_jwk(issuer))
    options = {
        "iss": {"essential": True, "value": factory.issuer},
        "aud": {"essential": True, "value": factory.audience},
        "exp": {"essential": True},
    }

    def check(text: str) -> Any:
        claims = library.decode(text, key, claims_options=options)
        claims.validate()
        return claims

    return check
