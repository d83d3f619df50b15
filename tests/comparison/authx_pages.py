"""AuthX, with endpoints as its documentation has them."""

from __future__ import annotations

from typing import Any

import jwt
from authx import AuthX, AuthXConfig, RequestToken
from fastapi import Depends, FastAPI, Request, Response
from starlette.testclient import TestClient

from tests.comparison import rows


def application(secret: str = rows.SECRET, place: Any = "headers") -> tuple[TestClient, list[str]]:
    """Return a client of an application with a login, and what was asked of its blocklist."""
    config = AuthXConfig(JWT_SECRET_KEY=secret, JWT_TOKEN_LOCATION=[place])
    auth: AuthX[Any] = AuthX(config=config)
    app = FastAPI()
    auth.handle_errors(app)
    asked: list[str] = []
    blocked: set[str] = set()

    async def is_blocked(token: str, **_: Any) -> bool:
        asked.append(token)
        return token in blocked

    auth.set_token_blocklist(is_blocked)

    @app.post("/login")
    def login(response: Response) -> dict[str, str]:
        access = auth.create_access_token(uid="alice")
        if place == "cookies":
            auth.set_access_cookies(access, response)
        return {"access": access, "refresh": auth.create_refresh_token(uid="alice")}

    @app.post("/refresh", dependencies=[Depends(auth.refresh_token_required)])
    def refresh() -> dict[str, str]:
        return {"access": auth.create_access_token(uid="alice")}

    @app.api_route(
        "/me", methods=["GET", "POST"], dependencies=[Depends(auth.access_token_required)]
    )
    def me() -> str:
        return "alice"

    @app.post("/logout", dependencies=[Depends(auth.access_token_required)])
    async def logout(request: Request) -> str:
        token: RequestToken = await auth.get_access_token_from_request(request)
        blocked.add(token.token)
        return "out"

    return TestClient(app, base_url="https://testserver"), asked


def main() -> None:
    client, asked = application()
    tokens = client.post("/login").json()
    bearer = {"Authorization": f"Bearer {tokens['access']}"}
    refreshing = {"Authorization": f"Bearer {tokens['refresh']}"}
    assert client.get("/me", headers=bearer).status_code == 200
    questions = len(asked)
    again = [client.post("/refresh", headers=refreshing).status_code for _ in range(3)]
    assert again == [200] * 3
    confused = client.get("/me", headers=refreshing).status_code
    client.post("/logout", headers=bearer)
    after = client.get("/me", headers=bearer).status_code
    browser, _ = application(place="cookies")
    browser.post("/login")
    forged = browser.post("/me").status_code
    rows.tell(
        "authx",
        {
            rows.TYP: f"`{jwt.get_unverified_header(tokens['access'])['typ']}`",
            rows.ALG: AuthXConfig(JWT_SECRET_KEY=rows.SECRET).JWT_ALGORITHM,
            rows.WEAK: rows.warned(lambda: application(rows.SHORT)[0].post("/login")),
            rows.CONFUSED: f"{confused}, by the claim `type`",
            rows.RENEWED: "no: it stays the same; yours to add",
            rows.LOST: "served",
            rows.REUSED: "served: it never changes",
            rows.LOGGED_OUT: f"{after}, by a callback of yours",
            rows.ASKED: f"{questions}, by that callback",
            rows.COOKIE: f"{forged}",
        },
    )


if __name__ == "__main__":
    main()
