r"""FastAPI, from login to log-out: `python examples/fastapi_login.py`, or the same with --cookies.

Then try, line by line; access tokens last ten seconds here. The client keeps both tokens itself:

    URL=http://127.0.0.1:8000 ALICE='{"name": "alice", "password": "wonderland"}'
    of() { sed -n "s/.*\"$2\": *\"\([^\"]*\)\".*/\1/p" $1; }
    as() { token=$(of $1 access_token); shift; curl -i -H "Authorization: Bearer $token" "$@"; }
    refresh() { curl -i $URL/auth/refresh -d grant_type=refresh_token \
        -d refresh_token=$(of $1 refresh_token); }
    curl -i $URL/login --json "$ALICE" | tee 1      # 200: two tokens
    as 1 $URL/me                                    # 200: alice, a reader
    as 1 -d "" $URL/promote                         # 200: an editor, from the next refresh on
    sleep 10; as 1 $URL/me                          # 401: the access token has expired
    refresh 1 | tee 2                               # 200: the refresh token buys new ones
    as 2 $URL/me                                    # 200: with the new role in them
    refresh 1 | tee lost                            # 200: again, as after an answer that got lost
    refresh 2 | tee 3                               # 200
    refresh 1                                       # 400: now it is a copy's, and the grant ends
    as 3 $URL/me                                    # 401: at once, and for everyone
    curl -i $URL/login --json "$ALICE" | tee 4      # 200
    curl -i $URL/auth/revoke -d token=$(of 4 refresh_token)    # 200: log out
    as 4 $URL/me                                    # 401: at once

With --cookies no script sees a token. What isn't a GET needs a header that no form can send:

    URL=http://127.0.0.1:8000 ALICE='{"name": "alice", "password": "wonderland"}'
    post() { curl -i -d "" -H "X-Requested-With: curl" "$@"; }
    curl -i -c jar $URL/login --json "$ALICE"       # 200: two HttpOnly cookies
    curl -i -b jar $URL/me                          # 200: alice, a reader
    curl -i -b jar -d "" $URL/promote               # 403: as a form of another site would ask
    post -b jar $URL/promote                        # 200: an editor, from the next refresh on
    cp jar stolen; sleep 10; curl -i -b jar $URL/me # 401: the access token has expired
    post -b jar -c jar $URL/auth/refresh            # 200: the refresh token buys new ones
    curl -i -b jar $URL/me                          # 200: with the new role in them
    post -b jar -c jar $URL/auth/refresh            # 200
    post -b stolen $URL/auth/refresh                # 400: the copy is noticed, and the grant ends
    curl -i -b jar $URL/me                          # 401: at once, and for everyone
    curl -i -c jar $URL/login --json "$ALICE"       # 200
    post -b jar -c jar $URL/auth/revoke             # 200: log out
    curl -i -b jar $URL/me                          # 401: at once
"""

import os
import sys
from typing import Annotated, Any

import uvicorn
from fastapi import Body, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from jwt_middleware import (
    AccessToken,
    Cookies,
    EndGrant,
    Grant,
    Issuer,
    KeySet,
    Refresh,
    Route,
    Settings,
    Unavailable,
    current_token,
)
from jwt_middleware.asgi import JWTMiddleware

PORT = os.environ.get("PORT", "8000")
USERS = {"alice": {"password": "wonderland", "roles": ["reader"]}}  # yours: a database, hashed


async def claims_for(grant: Grant) -> dict[str, Any]:
    """Say what goes into access tokens: asked at every login and refresh."""
    if grant.subject not in USERS:
        raise EndGrant("no such user any more")
    return {"roles": USERS[grant.subject]["roles"]}


settings = Settings(
    issuer=f"http://127.0.0.1:{PORT}",
    audience="notes",
    keys=KeySet.generate(),  # in production: KeySet.load("keys.json")
    routes=(Route("/login", public=True, own_origin=True),),
    leeway=0,  # this and the two below make in seconds visible what takes minutes
    refresh=Refresh(
        store="memory://",  # in production: sqlite:///grants.db
        cookies=Cookies(access=True) if "--cookies" in sys.argv else None,
        claims_for=claims_for,
        access_lifetime=10,
        settle=0,
    ),
)
issuer = Issuer(settings)
app = FastAPI()
app.add_middleware(JWTMiddleware, settings=settings)
Token = Annotated[AccessToken, Depends(current_token)]


@app.post("/login")
async def login(
    name: Annotated[str, Body()],
    password: Annotated[str, Body()],
    request: Request,
    response: Response,
) -> dict[str, Any]:
    if name not in USERS or USERS[name]["password"] != password:
        raise HTTPException(403)
    tokens = await issuer.aissue(
        name,
        replaces=request.scope.get("jwt_middleware.held"),  # with --cookies: earlier logins end
        user_agent=request.headers.get("User-Agent"),
    )
    response.headers["Cache-Control"] = "no-store"
    tokens.set_cookies(response)  # none without --cookies
    return tokens


@app.exception_handler(Unavailable)
async def unavailable(_: Request, error: Unavailable) -> Response:
    # The store, say: the client should try again.
    return JSONResponse(
        {"error": error.error}, error.status, {"Retry-After": str(error.retry_after)}
    )


@app.get("/me")
async def me(token: Token) -> dict[str, Any]:
    return {"you": token.subject, "roles": token.claims["roles"]}


@app.post("/promote")
async def promote(token: Token) -> dict[str, Any]:
    USERS[token.subject]["roles"] = ["reader", "editor"]
    return {"from the next refresh on": "editor"}


if __name__ == "__main__":
    print(f"{__doc__}".replace("8000", PORT), flush=True)
    uvicorn.run(app, port=int(PORT), log_level="warning")
