"""For FastAPI: the token and its scopes as dependencies, and /openapi.json by the same rules.

In the application:

    app.add_middleware(JWTMiddleware, settings=settings)
    describe(app, settings, token_url="/login")

    @app.post("/orders", dependencies=[RequireScope("orders:write")])
    def order(token: CurrentToken): ...
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request, Response, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from .process.view_rules import refusal, view_rule
from .request.route import Route
from .request.routes import RouteRule, Routes
from .settings.settings import Settings
from .values import requests
from .values.arrays import Several
from .values.tokens import AccessToken

__all__ = [
    "DOCS",
    "CurrentToken",
    "DependencyRefused",
    "RequireScope",
    "TokenDependency",
    "describe",
]

SCHEME = "accessToken"  # the name of the security scheme in /openapi.json
ERROR = "OAuthError"  # the name of the schema of our refusals' bodies
# For `Settings.routes`: FastAPI's pages about the application, at their usual paths.
DOCS = tuple(
    Route(path, methods=("GET",), public=True)
    for path in ("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")
)
_PARAMETER = re.compile(r"\{[^}]*\}")


class DependencyRefused(HTTPException):
    """A request that a dependency refuses. `describe` makes it the middleware's own answer.

    Attributes:
        refused: the middleware's own answer.

    """

    def __init__(self, refused: requests.Response) -> None:
        super().__init__(refused.status, headers=dict(refused.headers))
        self.refused = refused


class TokenDependency(SecurityBase):
    """What `CurrentToken` and `RequireScope` depend on; FastAPI tells it the scopes.

    Args:
        max_age: seconds since the user authenticated (RFC 9470 s4).
        acr_values: one of these must be the claim `acr`.

    """

    def __init__(self, max_age: int | None = None, acr_values: tuple[str, ...] = ()) -> None:
        self.model = HTTPBearer(bearerFormat="JWT")
        self.scheme_name = SCHEME
        self._step_up = max_age, acr_values

    async def __call__(self, connection: HTTPConnection, wanted: SecurityScopes) -> AccessToken:
        """Return the request's token. Raises DependencyRefused."""
        refused = refusal(connection.scope, _rule(wanted.scope_str, *self._step_up))
        if refused is not None:
            raise DependencyRefused(refused)
        token: AccessToken = connection.scope["jwt_middleware.token"]
        return token


@lru_cache
def _rule(scope: str, max_age: int | None, acr_values: tuple[str, ...]) -> RouteRule:
    return view_rule(scope, max_age, acr_values)


access_token = TokenDependency()
# The verified token of the request: `def orders(token: CurrentToken)`.
CurrentToken = Annotated[AccessToken, Security(access_token)]


def RequireScope(  # noqa: N802  (it reads like a class, as FastAPI's `Depends` does)
    scope: str = "", *, max_age: int | None = None, acr_values: Several[str] = ()
) -> Any:
    """Return a dependency that needs a scope, and gives the token.

    For `dependencies=[RequireScope("read")]`, of a route, a router or the application, and for
    `Annotated[AccessToken, RequireScope("read")]`. The rule of the route (`Settings.routes`) holds,
    too. On a public route no token is read, so that every request is refused.

    Args:
        scope: all of these, separated by one space, are needed; "": any valid token.
        max_age: seconds since the user authenticated (RFC 9470 s4).
        acr_values: one of these must be the claim `acr` (RFC 9470 s4).

    Raises:
        ConfigurationError: for a scope that no token can have, and a wrong `max_age`; at once.
        RuntimeError: at a request, where no middleware of ours is around the application.

    """
    view_rule(scope, max_age, acr_values)  # checks them now, not at the first request
    plain = max_age is None and not acr_values
    dependency = access_token if plain else TokenDependency(max_age, tuple(acr_values))
    return Security(dependency, scopes=scope.split())


def describe(app: FastAPI, settings: Settings, *, token_url: str = "") -> None:
    """Let /openapi.json say what each route needs, and dependencies answer as the middleware does.

    Args:
        app: the application, whose middleware is `asgi.JWTMiddleware`.
        settings: those of the middleware.
        token_url: where the application's login is, for the button "Authorize" of /docs: it takes
            `username` and `password` as a form, and answers with what `Issuer.issue` returns.
            "": the button asks for a token.

    """
    app.add_exception_handler(DependencyRefused, _answer)
    described = partial(_described, settings, token_url, app.openapi)
    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend it


async def _answer(_: Request, error: Exception) -> Response:
    refused: requests.Response = error.refused  # type: ignore[attr-defined]
    return Response(refused.body, refused.status, dict(refused.headers))


def _described(
    settings: Settings, token_url: str, make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return the application's OpenAPI document, with what our rules need. FastAPI keeps it."""
    document = make()
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    if ERROR in schemas:
        return document  # it is the one that was made before
    schemas[ERROR] = _ERROR_SCHEMA
    media_type = "application/problem+json" if settings.problem_details else "application/json"
    routes, scopes = Routes(settings.routes), set[str]()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            rule = routes.find(method.upper(), _PARAMETER.sub("x", path), unchecked=True)
            needed = _add_rule(operation, rule)
            if needed is not None:
                scopes.update(needed)
                _add_refusals(operation["responses"], media_type, with_403=bool(needed))
    scheme = _scheme(settings, token_url, sorted(scopes))
    components.setdefault("securitySchemes", {})[SCHEME] = scheme
    return document


def _add_rule(operation: dict[str, Any], rule: RouteRule) -> list[str] | None:
    """Add a route's rule to an operation. Returns the scopes that it needs; None: it is public."""
    given: list[dict[str, list[str]]] = operation.get("security", [{}])
    own = {scope for one in given for scope in one.get(SCHEME, ())}
    asks = any(SCHEME in one for one in given)
    if rule.public and not asks:
        return None
    needed = sorted(own | rule.scopes)
    # OpenAPI 3.1 s4.8.30: of several requirements one must hold, and in one all schemes must; so
    # ours stands beside each of the application's.
    others = [{name: one[name] for name in one if name != SCHEME} for one in given]
    others = [one for place, one in enumerate(others) if one not in others[:place]]
    if len(others) > 1 and asks:
        others = [one for one in others if one]
    without = others if rule.optional and not asks else []
    operation["security"] = [*without, *({**one, SCHEME: needed} for one in others)]
    return needed


def _scheme(settings: Settings, token_url: str, scopes: list[str]) -> dict[str, Any]:
    if not token_url:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    flow: dict[str, Any] = {"tokenUrl": token_url, "scopes": dict.fromkeys(scopes, "")}
    if settings.refresh is not None and settings.refresh.serve:
        flow["refreshUrl"] = f"{settings.refresh.path}/refresh"
    return {"type": "oauth2", "flows": {"password": flow}}


_ERROR_SCHEMA = {
    "type": "object",
    "description": "RFC 6750 s3.1; without `error` where no token came",
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}


def _add_refusals(responses: dict[str, Any], media_type: str, *, with_403: bool) -> None:
    content = {media_type: {"schema": {"$ref": f"#/components/schemas/{ERROR}"}}}
    challenge = {"description": "RFC 6750 s3: the challenge", "schema": {"type": "string"}}
    headers = {"WWW-Authenticate": challenge}
    refusals = {"401": "No valid access token came"}
    if with_403:
        refusals["403"] = "The access token lacks a scope"
    for status, text in refusals.items():
        found = {"description": text, "headers": headers, "content": content}
        responses.setdefault(status, found)
