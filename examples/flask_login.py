r"""Flask, from login to log-out: `python examples/flask_login.py`, or the same with --cookies.

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
from typing import Any

from flask import Flask, Response, abort, make_response, request

from jwt_middleware import (
    Cookies,
    EndGrant,
    Grant,
    Issuer,
    KeySet,
    Refresh,
    Route,
    Settings,
    Unavailable,
)
from jwt_middleware.wsgi import JWTMiddleware

PORT = os.environ.get("PORT", "8000")
USERS = {"alice": {"password": "wonderland", "roles": ["reader"]}}  # yours: a database, hashed


def claims_for(grant: Grant) -> dict[str, Any]:
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
app = Flask(__name__)
app.wsgi_app = JWTMiddleware(app.wsgi_app, settings)  # type: ignore[method-assign]


@app.post("/login")
def login() -> Response:
    name, password = request.json["name"], request.json["password"]
    if name not in USERS or USERS[name]["password"] != password:
        abort(403)
    tokens = issuer.issue(
        name,
        replaces=request.environ.get("jwt_middleware.held"),  # with --cookies: earlier logins end
        user_agent=request.headers.get("User-Agent"),
    )
    response = make_response(tokens)
    response.headers["Cache-Control"] = "no-store"
    tokens.set_cookies(response)  # none without --cookies
    return response


@app.errorhandler(Unavailable)
def unavailable(error: Unavailable) -> Any:  # the store, say: the client should try again
    return {"error": error.error}, error.status, {"Retry-After": str(error.retry_after)}


@app.get("/me")
def me() -> dict[str, Any]:
    token = request.environ["jwt_middleware.token"]
    return {"you": token.subject, "roles": token.claims["roles"]}


@app.post("/promote")
def promote() -> dict[str, Any]:
    USERS[request.environ["REMOTE_USER"]]["roles"] = ["reader", "editor"]
    return {"from the next refresh on": "editor"}


if __name__ == "__main__":
    print(f"{__doc__}".replace("8000", PORT), flush=True)
    app.run(port=int(PORT))
