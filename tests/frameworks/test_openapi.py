"""/openapi.json of a FastAPI application says what our rules and its dependencies need."""

from __future__ import annotations

from typing import Annotated, Any

import fastapi
import pytest
from fastapi.security import APIKeyHeader, OAuth2PasswordRequestForm
from starlette.testclient import TestClient

from jwt_middleware import Issuer, Refresh, Route, Settings
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.fastapi import DOCS, SCHEME, CurrentToken, RequireScope, describe
from jwt_middleware.testing import TokenFactory

FACTORY = TokenFactory()


def settings(**changes: Any) -> Settings:
    return FACTORY.settings(
        routes=[
            *DOCS,
            Route("/login", public=True, own_origin=True),
            Route("/catalogue", optional=True),
            Route("/orders", methods=["POST"], scope="orders:write"),
            Route("/odd/*", scope="read"),
        ],
        **changes,
    )


ISSUING = settings(refresh=Refresh(store="memory://"))


def make_app(mine: Settings = ISSUING, **options: Any) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    app.add_middleware(JWTMiddleware, settings=mine)
    describe(app, mine, **options)
    staff = fastapi.APIRouter(prefix="/staff", dependencies=[RequireScope("staff")])

    @app.post("/login")
    def login(form: Annotated[OAuth2PasswordRequestForm, fastapi.Depends()]) -> Any:
        if (form.username, form.password) != ("alice", "correct horse"):
            raise fastapi.HTTPException(401)
        return Issuer(ISSUING).issue(form.username, scope="orders:write")

    @app.get("/catalogue")
    def catalogue() -> str:
        return "for all"

    @app.post("/orders", responses={403: {"description": "mine"}})
    def order(token: CurrentToken) -> str:
        return token.subject

    @app.get("/orders/{number}")
    def read_order(number: int) -> int:
        return number

    @app.get("/odd/{name}", dependencies=[RequireScope("staff read")])
    def odd(name: str) -> str:
        return name

    @app.get("/keyed", dependencies=[fastapi.Security(APIKeyHeader(name="X-Key"))])
    def keyed() -> None: ...

    @app.get("/hidden", include_in_schema=False)
    def hidden() -> None: ...

    @staff.get("/users")
    def users() -> str:
        return "in"

    app.include_router(staff)
    app.mount("/files", fastapi.FastAPI())
    return app


def needed(document: dict[str, Any], path: str, method: str = "get") -> Any:
    return document["paths"][path][method].get("security")


def test_each_operation_says_what_the_rules_and_its_dependencies_need() -> None:
    found = make_app().openapi()
    assert needed(found, "/login", "post") is None
    assert needed(found, "/catalogue") == [{}, {SCHEME: []}]
    assert needed(found, "/orders", "post") == [{SCHEME: ["orders:write"]}]
    assert needed(found, "/orders/{number}") == [{SCHEME: []}]
    assert needed(found, "/odd/{name}") == [{SCHEME: ["read", "staff"]}]
    assert needed(found, "/staff/users") == [{SCHEME: ["staff"]}]
    assert needed(found, "/keyed") == [{"APIKeyHeader": [], SCHEME: []}]


def test_the_document_is_what_happens() -> None:
    """A request with exactly the scopes of the document gets in, and with one less it doesn't."""
    app = make_app()
    client, document = TestClient(app), app.openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            wanted = [one[SCHEME] for one in operation.get("security", ()) if SCHEME in one]
            if not wanted or path == "/keyed":
                continue
            url = path.replace("{number}", "1").replace("{name}", "a")
            (scopes,) = wanted
            good = FACTORY.bearer(scope=" ".join(scopes))
            assert client.request(method, url, headers=good).status_code == 200, path
            for scope in scopes:
                less = FACTORY.bearer(scope=" ".join(one for one in scopes if one != scope))
                assert client.request(method, url, headers=less).status_code == 403, path
                assert "403" in operation["responses"]
            without = client.request(method, url).status_code
            assert without == (200 if {} in operation["security"] else 401), path
            assert "401" in operation["responses"]


def test_refusals_are_described_and_ones_own_stay() -> None:
    found = make_app().openapi()
    responses = found["paths"]["/orders"]["post"]["responses"]
    assert responses["403"]["description"] == "mine"
    assert set(responses["401"]["content"]) == {"application/json"}
    assert responses["401"]["headers"]["WWW-Authenticate"]["schema"] == {"type": "string"}
    assert "OAuthError" in found["components"]["schemas"]
    assert "403" not in found["paths"]["/catalogue"]["get"]["responses"]
    problems = make_app(settings(problem_details=True)).openapi()
    content = problems["paths"]["/orders"]["post"]["responses"]["401"]["content"]
    assert set(content) == {"application/problem+json"}


def test_the_scheme_is_the_login_where_there_is_one() -> None:
    scheme = make_app(token_url="/login").openapi()["components"]["securitySchemes"][SCHEME]
    assert scheme == {
        "type": "oauth2",
        "flows": {
            "password": {
                "tokenUrl": "/login",
                "refreshUrl": "/auth/refresh",
                "scopes": {"orders:write": "", "read": "", "staff": ""},
            }
        },
    }
    verifying = make_app(settings(), token_url="https://login.example/token").openapi()
    flow = verifying["components"]["securitySchemes"][SCHEME]["flows"]["password"]
    assert "refreshUrl" not in flow
    bearer = make_app().openapi()["components"]["securitySchemes"][SCHEME]
    assert bearer == {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


def test_the_button_logs_in_by_what_the_document_says() -> None:
    """What Swagger UI does: the form to `tokenUrl`, then `access_token` as Bearer."""
    client = TestClient(make_app(token_url="/login"))
    assert client.get("/docs").status_code == 200
    document = client.get("/openapi.json").json()
    flow = document["components"]["securitySchemes"][SCHEME]["flows"]["password"]
    form = {"grant_type": "password", "username": "alice", "password": "correct horse"}
    answer = client.post(flow["tokenUrl"], data=form)
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert client.post("/orders", headers=bearer).json() == "alice"
    assert client.post(flow["tokenUrl"], data=form | {"password": "wrong"}).status_code == 401


def test_an_applications_own_alternatives_stay_alternatives() -> None:
    app = fastapi.FastAPI(dependencies=[RequireScope("base")])
    describe(app, settings())
    one, two = (fastapi.Security(APIKeyHeader(name=n, scheme_name=n)) for n in "ab")

    @app.get("/keyed", dependencies=[one, two, RequireScope("more", max_age=60)])
    def keyed() -> None: ...

    @app.get("/open", dependencies=[one])
    def opened() -> None: ...

    assert needed(app.openapi(), "/keyed") == [
        {"a": [], SCHEME: ["base", "more"]},
        {"b": [], SCHEME: ["base", "more"]},
    ]
    # A public rule and a dependency: what the dependency needs is needed, and never comes.
    assert needed(app.openapi(), "/open") == [{"a": [], SCHEME: ["base"]}]


def test_the_document_is_made_once() -> None:
    app = make_app()
    assert app.openapi() is app.openapi()
    assert needed(app.openapi(), "/catalogue") == [{}, {SCHEME: []}]


@pytest.mark.parametrize("path", [route.path for route in DOCS])
def test_the_pages_about_the_application_are_public(path: str) -> None:
    assert TestClient(make_app()).get(path).status_code == 200
