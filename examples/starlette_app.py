"""Starlette behind the middleware.

Start it with `python examples/starlette_app.py`, then try:

curl -i http://127.0.0.1:8000/notes                                      # 401, no token
curl -i http://127.0.0.1:8000/notes -H "Authorization: Bearer $TOKEN"    # 200
curl -i http://127.0.0.1:8000/admin -H "Authorization: Bearer $TOKEN"    # 403, it lacks a scope

The token is printed at the start. PORT=9000 in the environment sets another port.
"""

import os

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route as Path

from jwt_middleware import Route
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.testing import TokenFactory

# Here a factory for tests plays the issuer. In production tokens come from your issuer, and its
# public keys from a file: Settings(issuer=..., audience=..., keys=KeySet.load("keys.json"),
# routes=...).
issuer = TokenFactory()
settings = issuer.settings(
    routes=(
        Route("/", public=True),
        Route("/admin/*", scope="admin"),
    )
)


async def home(request: Request) -> JSONResponse:
    return JSONResponse({"hello": "world"})


async def notes(request: Request) -> JSONResponse:
    return JSONResponse({"notes of": request.user.display_name, "scopes": request.auth.scopes})


async def admin(request: Request) -> JSONResponse:
    return JSONResponse({"claims": request.state.jwt.claims})


app = Starlette(
    routes=[Path("/", home), Path("/notes", notes), Path("/admin", admin)],
    middleware=[Middleware(JWTMiddleware, settings=settings)],
)

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    url = f"http://127.0.0.1:{port}"
    token = issuer.token(sub="alice", scope="notes")
    print("Try these; the token is good for ten minutes:\n")
    print(f"curl -i {url}/notes")
    print(f"curl -i {url}/notes -H 'Authorization: Bearer {token}'")
    print(f"curl -i {url}/admin -H 'Authorization: Bearer {token}'\n", flush=True)
    uvicorn.run(app, port=port, log_level="warning")
