"""This package, by its defaults, with cookies beside."""

from __future__ import annotations

from typing import Any

import jwt
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.testclient import TestClient

from jwt_middleware import Cookies, Issuer, KeySet, Refresh, Route, Settings
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.stores.contract import STORE_VERBS
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import Clock
from tests.comparison import rows


class Counted(MemoryStore):
    """A store that counts what requests ask; `ended` is asked once a second, whoever comes."""

    asked = 0

    def __getattribute__(self, name: str) -> Any:
        if name in STORE_VERBS and name != "ended":
            Counted.asked += 1
        return super().__getattribute__(name)


def main() -> None:
    clock = Clock()
    store = Counted(clock=clock, retention=600)
    settings = Settings(
        issuer="https://app.example.com",
        audience="https://app.example.com/api",
        keys=KeySet.generate(),
        clock=clock,
        routes=(Route("/login", public=True, own_origin=True),),
        refresh=Refresh(store=store, cookies=Cookies(access=True)),
    )
    issuer, app = Issuer(settings), Starlette()
    app.add_middleware(JWTMiddleware, settings=settings)
    app.add_route("/me", lambda request: PlainTextResponse("alice"), ["GET", "POST"])

    async def login(request: object) -> JSONResponse:
        made = await issuer.aissue("alice")
        made.set_cookies(answer := JSONResponse({}))
        return answer

    app.add_route("/login", login, ["POST"])

    with TestClient(app, base_url="https://app.example.com") as client:
        tokens = issuer.issue("alice")
        bearer = {"Authorization": f"Bearer {tokens.access_token}"}
        assert client.get("/me", headers=bearer).status_code == 200
        Counted.asked = 0
        assert client.get("/me", headers=bearer).status_code == 200
        questions = Counted.asked

        def refresh(token: str) -> tuple[int, str]:
            sent = {"grant_type": "refresh_token", "refresh_token": token}
            answer = client.post("/auth/refresh", data=sent)
            return answer.status_code, answer.json().get("refresh_token", "")

        first = tokens.refresh_token or ""
        confused = client.get("/me", headers={"Authorization": f"Bearer {first}"}).status_code
        clock.advance(61)
        _, second = refresh(first)
        lost, _ = refresh(first)
        clock.advance(61)
        _, third = refresh(second)
        clock.advance(61)
        reused, lives = refresh(first), refresh(third)
        assert (lost, lives[0]) == (200, 400)
        other = issuer.issue("bob")
        issuer.revoke(other.grant_id)
        gone = {"Authorization": f"Bearer {other.access_token}"}
        after = client.get("/me", headers=gone).status_code
        client.post("/login")
        assert client.get("/me").status_code == 200
        forged = client.post("/me").status_code
    rows.tell(
        "wsgi-asgi-jwt-middleware",
        {
            rows.TYP: f"`{jwt.get_unverified_header(tokens.access_token)['typ']}`",
            rows.ALG: "the one that its key is bound to",
            rows.WEAK: rows.warned(lambda: KeySet.secret(rows.SHORT)),
            rows.CONFUSED: f"{confused}, by `typ` and by its own secret",
            rows.RENEWED: "yes",
            rows.LOST: "served: its parent may come again",
            rows.REUSED: f"{reused[0]} `invalid_grant`: **the login ends, for both**",
            rows.LOGGED_OUT: f"{after}, at once",
            rows.ASKED: f"{questions}",
            rows.COOKIE: f"{forged}",
        },
    )


if __name__ == "__main__":
    main()
