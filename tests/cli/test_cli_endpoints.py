"""`jwt-middleware check --app`: each endpoint with its rule, and the rules that cover none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import django.urls
import pytest
from django.urls.resolvers import RegexPattern, URLResolver

from jwt_middleware.cli.__main__ import main

SHOP = """
from jwt_middleware import Route, asgi, wsgi
from jwt_middleware.testing import TokenFactory

settings = TokenFactory().settings(routes=[
    Route("/", public=True),
    Route("/login", public=True, methods=["POST"]),
    Route("/orders", scope="orders:read"),
    Route("/orders", scope="orders:write", methods=["POST"]),
    Route("/news", optional=True),
    Route("/static/*", public=True),
    Route("/static/*.css", public=True),
    Route("/gone/*", scope="admin"),
    Route("/open", public=True),
])
"""
FLASK = """
import flask
from jwt_middleware.flask import require

app = flask.Flask("shop", static_folder=None)

def view(**_):
    return ""

for path in ("/", "/orders", "/orders/<int:number>", "/news"):
    app.add_url_rule(path, path, view, methods=["GET", "POST"] if path == "/orders" else ["GET"])
app.add_url_rule("/login", "login", view, methods=["POST"])
app.add_url_rule("/static/<path:name>", "static", view)
app.add_url_rule("/staff", "staff", require(scope="staff", max_age=60)(view))
app.add_url_rule("/open", "open", require(scope="staff")(view))
app.wsgi_app = wsgi.JWTMiddleware(app.wsgi_app, settings)
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route as Path, WebSocketRoute
from jwt_middleware.starlette import require

async def view(request):
    return PlainTextResponse("")

class Orders(HTTPEndpoint):
    get = post = view

app = Starlette(routes=[
    Path("/", view), Path("/orders", Orders), Path("/orders/{number:int}", view),
    Path("/news", view), Path("/login", view, methods=["POST"]),
    Mount("/static", PlainTextResponse("")),
    Mount("/inner", routes=[Path("/staff", require(scope="staff", max_age=60)(view))]),
    WebSocketRoute("/socket", view), Path("/open", require(scope="staff")(view)),
])
door = asgi.JWTMiddleware(app, settings)
"""
FASTAPI = """
import fastapi
from jwt_middleware.fastapi import RequireScope, describe

app = fastapi.FastAPI(openapi_url=None)
described = fastapi.FastAPI(docs_url=None, redoc_url=None)
describe(described, settings)

def view():
    return ""

router = fastapi.APIRouter(prefix="/orders")
router.add_api_route("", view)
router.add_api_route("", view, methods=["POST"])
router.add_api_route("/{number}", view)
for one in (app, described):
    one.include_router(router)
    for path in ("/", "/news"):
        one.add_api_route(path, view)
    one.add_api_route("/login", view, methods=["POST"])
    one.add_api_route("/staff", view, dependencies=[RequireScope("staff")])
    one.add_api_route("/hidden", view, include_in_schema=False)
    one.add_api_route("/open", view, dependencies=[RequireScope("staff")])
    one.mount("/static", fastapi.responses.PlainTextResponse(""))
"""
LITESTAR = """
import litestar
from litestar.static_files import create_static_files_router
from jwt_middleware.litestar import require

@litestar.get(["/", "/news"])
async def view() -> None: ...

@litestar.route(["/orders", "/orders/{number:int}"], http_method=["GET", "POST"])
async def orders() -> None: ...

@litestar.post("/login")
async def login() -> None: ...

@litestar.get(["/staff", "/open"], guards=[require(scope="staff", max_age=60)])
async def staff() -> None: ...

@litestar.get("/static/{path:path}")
async def static() -> None: ...

@litestar.websocket("/socket")
async def socket(socket: litestar.WebSocket) -> None: ...

handlers = [view, orders, login, staff, static, socket]
app = litestar.Litestar(handlers, openapi_config=None, logging_config=None)
"""
FALCON = """
import falcon
from jwt_middleware.falcon import require

class Plain:
    def on_get(self, req, resp, **_): ...

class Orders(Plain):
    def on_post(self, req, resp, **_): ...

class Login:
    def on_post(self, req, resp): ...

class Staff:
    @require(scope="staff", max_age=60)
    def on_get(self, req, resp): ...

app = falcon.App()
for path in ("/", "/orders/{number:int}", "/news", "/static/{name:path}"):
    app.add_route(path, Plain())
app.add_route("/orders", Orders())
app.add_route("/login", Login())
app.add_route("/staff", Staff())
app.add_route("/open", Staff())
"""
DJANGO = """
from django.urls import include, path, re_path
from django.core.handlers.wsgi import WSGIHandler

def view(request, **_): ...

urlpatterns = [
    path("", view), path("orders", view), path("login", view), path("news", view),
    path("open", view),
    path("orders/<int:number>", view), re_path(r"^static/(?P<name>[a-z]+(\\.css)?)$", view),
    path("inner/", include([path("staff", view)])),
]
app = object.__new__(WSGIHandler)
"""
APPS = {
    "flask": FLASK,
    "starlette": STARLETTE,
    "fastapi": FASTAPI,
    "litestar": LITESTAR,
    "falcon": FALCON,
}
Check = Callable[..., tuple[int, dict[str, tuple[str, str]]]]


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Check:
    monkeypatch.chdir(tmp_path)

    def run(source: str, name: str = "app") -> tuple[int, dict[str, tuple[str, str]]]:
        module = f"shop_{abs(hash(source))}"
        Path(f"{module}.py").write_text(SHOP + source, encoding="utf-8")
        monkeypatch.delitem(sys.modules, module, raising=False)
        arguments = ["--settings", f"{module}:settings", "--app", f"{module}:{name}", "--json"]
        status = main(["check", *arguments])
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return status, {one["what"]: (one["state"], one["seen"]) for one in lines}

    return run


@pytest.mark.parametrize("framework", APPS)
def test_each_endpoint_is_listed_with_its_rule(check: Check, framework: str) -> None:
    status, found = check(APPS[framework])
    assert status == 1  # two rules cover nothing
    assert found["GET /"] == ("ok", "public (rule /)")
    assert found["POST /login"] == ("ok", "public (rule /login)")
    assert found["GET /orders"] == ("ok", "a token with orders:read (rule /orders)")
    assert found["POST /orders"] == ("ok", "a token with orders:write (rule /orders)")
    assert found["GET /news"] == ("ok", "a token, if one comes (rule /news)")
    number = next(what for what in found if what.startswith("GET /orders/"))
    assert found[number] == ("ok", "a token with orders:read (rule /orders)")
    (static,) = [what for what in found if what.startswith("GET /static/")]
    assert found[static] == ("ok", "public (rule /static/*)")
    (staff,) = [what for what in found if what.endswith("/staff")]
    assert found[staff][0] == "ok"
    assert found[staff][1].startswith("a token with staff")
    assert found["/static/*.css"] == ("warn", "this rule covers no endpoint of the application")
    assert found["/gone/*"] == ("warn", "this rule covers no endpoint of the application")
    assert found["GET /open"][0] == "warn"
    assert "the public rule /open reads none" in found["GET /open"][1]


def test_what_only_some_frameworks_have(check: Check) -> None:
    _, of_starlette = check(STARLETTE, "door")  # the middleware around it is looked through
    assert of_starlette["GET /socket"] == ("ok", "a token (no rule)")
    step_up = "a token with staff, and a fresh or strong login (no rule)"
    assert of_starlette["GET /inner/staff"] == ("ok", step_up)
    _, of_fastapi = check(FASTAPI, "described")
    assert of_fastapi["GET /hidden"] == ("ok", "a token (no rule)")
    assert of_fastapi["GET /openapi.json"] == ("ok", "a token (no rule)")
    _, of_litestar = check(LITESTAR)
    assert of_litestar["GET /socket"] == ("ok", "a token (no rule)")


def test_django_does_not_say_its_methods(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"shop_{abs(hash(DJANGO))}"
    resolver = URLResolver(RegexPattern(r"^/"), module)
    monkeypatch.setattr(django.urls, "get_resolver", lambda: resolver)
    _, found = check(DJANGO)
    assert found["GET,POST /"] == ("ok", "public (rule /)")
    assert found["GET /orders"] == ("ok", "a token with orders:read (rule /orders)")
    assert found["POST /orders"] == ("ok", "a token with orders:write (rule /orders)")
    assert found["GET /orders/<int:number>"][1] == "a token with orders:read (rule /orders)"
    assert found["GET,POST /static/<x>"] == ("ok", "public (rule /static/*)")
    assert found["GET,POST /inner/staff"] == ("ok", "a token (no rule)")


def test_the_way_out_of_a_star_in_the_middle_is_told(
    check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    check(FLASK)
    module = next(name for name in sys.modules if name.startswith("shop_"))
    main(["check", "--settings", f"{module}:settings", "--app", f"{module}:app"])
    out = capsys.readouterr().out
    assert 'at the end only: "/static/*"' in out
    assert "correct the path, or leave the rule out" in out


def test_an_application_without_a_table_is_refused(
    check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path.cwd() / "shop_plain.py").write_text(f"{SHOP}plain = object()\n", encoding="utf-8")
    for name, said in (("plain", "no table of endpoints"), ("absent", "AttributeError")):
        arguments = ["--settings", "shop_plain:settings", "--app", f"shop_plain:{name}"]
        assert main(["check", *arguments]) == 2
        assert said in capsys.readouterr().err
