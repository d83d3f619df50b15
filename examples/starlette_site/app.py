"""The whole site: a login page, a home page, notes, log-out. No script."""

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route as Page
from starlette.templating import Jinja2Templates

from jwt_middleware import (
    Cookies,
    Issuer,
    KeySet,
    Refresh,
    Route,
    Settings,
    Unavailable,
    current_token,
    required_token,
)
from jwt_middleware.asgi import JWTMiddleware

CAREFUL = {
    "Cache-Control": "no-store",  # or "back" shows pages after a log-out
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
}
TEMPLATES = Jinja2Templates(
    Path(__file__).parent / "templates",
    context_processors=[lambda request: {"token": current_token()}],
)


def make_settings() -> Settings:
    return Settings(
        issuer=os.environ.get("SITE_URL", "http://localhost:8000"),  # what the browser shows
        audience="notes",
        keys=KeySet.load("keys.json"),
        login_url="/login",  # a page load without a valid token goes there
        routes=(
            Route("/login", public=True, own_origin=True),
            Route("/logout", public=True, own_origin=True),  # also when the token has expired
            Route("/", optional=True),  # for those who are logged in, and for others
        ),  # all other paths: for those who are logged in
        refresh=Refresh(store="sqlite:///grants.db", cookies=Cookies(access=True, forms=True)),
    )


def make_app(settings: Settings | None = None) -> Starlette:
    """Make the site; tests give settings of their own."""
    settings = settings or make_settings()
    app = Starlette(
        routes=[
            Page("/", home),
            Page("/login", login, methods=["GET", "POST"]),
            Page("/notes", notes, methods=["GET", "POST"]),
            Page("/logout", logout, methods=["POST"]),
        ],
        middleware=[Middleware(JWTMiddleware, settings=settings)],
        exception_handlers={Unavailable: busy},
    )
    app.state.issuer = Issuer(settings)
    app.state.notes = {}  # yours: a database
    return app


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    return TEMPLATES.TemplateResponse(
        request, template, context, status_code=status, headers=dict(CAREFUL)
    )


async def home(request: Request) -> Response:
    return page(request, "home.html")


async def login(request: Request) -> Response:
    if request.method == "GET":
        return page(request, "login.html")
    async with request.form() as form:
        name, password = str(form.get("name", "")), str(form.get("password", ""))
    if not await run_in_threadpool(is_right, name, password):  # it takes a while, on purpose
        return page(request, "login.html", 403, problem="Wrong name or password", name=name)
    tokens = await request.app.state.issuer.aissue(
        name,
        replaces=request.scope["jwt_middleware.held"],  # earlier logins of this browser end
        user_agent=request.headers.get("user-agent"),
    )
    # Safe: at login_url the middleware lets only paths of this host through as `next`.
    response = RedirectResponse(request.query_params.get("next") or "/", 303, CAREFUL)
    tokens.set_cookies(response)
    return response


async def notes(request: Request) -> Response:
    mine = request.app.state.notes.setdefault(required_token().subject, [])
    if request.method == "GET":
        return page(request, "notes.html", notes=mine)
    async with request.form() as form:
        mine.append(str(form.get("text", "")))
    return RedirectResponse("/notes", 303, CAREFUL)


async def logout(request: Request) -> Response:
    response = RedirectResponse("/", 303, CAREFUL)
    # Ends every login that this browser holds: two tabs may have logged in at once.
    await request.app.state.issuer.alog_out(response, request.scope["jwt_middleware.held"])
    return response


async def busy(request: Request, error: Any) -> Response:
    """Answer when the store, say, is away: nothing has happened, so trying again is good."""
    response = page(request, "busy.html", error.status)
    response.headers["Retry-After"] = str(error.retry_after)
    return response


# --- who may log in: yours, in a database


def hashed(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


SALT = secrets.token_bytes(16)
USERS = {"alice": hashed("wonderland", SALT)}
NOBODYS = hashed("", SALT)  # an unknown name takes as long as a wrong password


def is_right(name: str, password: str) -> bool:
    expected = USERS.get(name, NOBODYS)
    return secrets.compare_digest(hashed(password, SALT), expected) and name in USERS
