"""FastAPI behind the middleware.

Start it with `python examples/fastapi_app.py`, then try:

curl -i http://127.0.0.1:8000/notes                                      # 401, no token
curl -i http://127.0.0.1:8000/notes -H "Authorization: Bearer $TOKEN"    # 200
curl -i http://127.0.0.1:8000/admin -H "Authorization: Bearer $TOKEN"    # 403, it lacks a scope

The token is printed at the start. PORT=9000 in the environment sets another port.
"""

import os
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI

from jwt_middleware import AccessToken, Route, current_token
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.testing import TokenFactory

# Here a factory for tests plays the issuer. In production tokens come from your issuer, and its
# public keys from a file: Settings(issuer=..., audience=..., keys=KeySet.load("keys.json"),
# routes=...).
issuer = TokenFactory()
settings = issuer.settings(
    routes=(
        Route("/", public=True),
        Route("/docs", public=True),
        Route("/openapi.json", public=True),
        Route("/admin/*", scope="admin"),
    )
)

app = FastAPI()
app.add_middleware(JWTMiddleware, settings=settings)
# None on public routes only: everywhere else a token is needed.
Token = Annotated[AccessToken, Depends(current_token)]


@app.get("/")
async def home() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/notes")
async def notes(token: Token) -> dict[str, str]:
    return {"notes of": token.subject, "scope": token.scope}


@app.get("/admin")
async def admin(token: Token) -> dict[str, Any]:
    return {"claims": token.claims}


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    url = f"http://127.0.0.1:{port}"
    token = issuer.token(sub="alice", scope="notes")
    print("Try these; the token is good for ten minutes:\n")
    print(f"curl -i {url}/notes")
    print(f"curl -i {url}/notes -H 'Authorization: Bearer {token}'")
    print(f"curl -i {url}/admin -H 'Authorization: Bearer {token}'\n", flush=True)
    uvicorn.run(app, port=port, log_level="warning")
