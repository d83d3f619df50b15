"""The application: its login, its page, and the routers."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import OAuth2PasswordRequestForm
from fastapi.staticfiles import StaticFiles

from jwt_middleware import Issuer, Settings, Unavailable
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.fastapi import CurrentToken, describe

from . import live, notes
from .users import SCOPES, Users

HERE = Path(__file__).parent
router = APIRouter()


def make_app(settings: Settings, users: Users, archive: Path) -> FastAPI:
    """Return the application; a test gives it settings and users of its own."""
    app = FastAPI(title="Notice board")
    app.state.issuer = Issuer(settings)
    app.state.users = users
    app.state.board = notes.Board()
    app.state.chat = live.Hub()
    app.state.archive = archive
    app.add_middleware(JWTMiddleware, settings=settings)
    describe(app, settings, token_url="/login")
    app.include_router(router)
    app.include_router(notes.router)
    app.include_router(live.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_exception_handler(Unavailable, try_again)
    return app


async def try_again(_: Request, error: Exception) -> Response:
    """Answer a login or a log-out while the store can't be reached."""
    headers = {"Retry-After": str(getattr(error, "retry_after", 1))}
    return JSONResponse({"error": "temporarily_unavailable"}, 503, headers)


# --- logging in and out


@router.post("/login", tags=["login"])
def login(
    form: Annotated[OAuth2PasswordRequestForm, Depends()], request: Request, response: Response
) -> dict[str, Any]:
    """Check name and password. Without scopes in the form the login gets all it may have.

    Not `async`: hashing takes its time, which is spent in a thread.
    """
    users: Users = request.app.state.users
    role = users.role(form.username)
    if not users.check(form.username, form.password) or role is None:
        raise HTTPException(400, "wrong name or password")
    allowed = SCOPES[role]
    issuer: Issuer = request.app.state.issuer
    tokens = issuer.issue(
        form.username,
        scope=" ".join(sorted(allowed & set(form.scopes or allowed))),
        label="".join(filter(str.isprintable, request.headers.get("User-Agent", "")))[:200],
        replaces=request.scope["jwt_middleware.held"],  # earlier logins of this browser end
    )
    response.headers["Cache-Control"] = "no-store"
    tokens.set_cookies(response)
    return tokens


# To log out is the middleware's own: POST /auth/revoke.


@router.post("/api/logout-everywhere", status_code=204, tags=["login"])
async def logout_everywhere(token: CurrentToken, request: Request, response: Response) -> None:
    """End all logins of this user, on all devices, with their websockets and downloads."""
    issuer: Issuer = request.app.state.issuer
    await issuer.arevoke_all(token.subject)
    issuer.clear_cookies(response)


@router.get("/api/me", tags=["login"])
async def me(token: CurrentToken) -> dict[str, Any]:
    """Say who asks, and what this login may do."""
    return {
        "name": token.subject,
        "role": token.claims["role"],
        "scopes": sorted(token.scopes),
    }


# --- the page


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Give the page. Its policy lets only scripts of this site run."""
    headers = {
        "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    }
    return FileResponse(HERE / "static" / "index.html", headers=headers)
