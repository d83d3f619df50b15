"""Flask-JWT-Extended, with endpoints as its documentation has them."""

from __future__ import annotations

from typing import Any

import jwt
from flask import Flask, jsonify
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
    set_access_cookies,
)

from tests.comparison import rows


def application(secret: str = rows.SECRET, **config: Any) -> tuple[Flask, list[str]]:
    """Return an application with a login, and the questions that it has asked its blocklist."""
    app = Flask(__name__)
    app.config.update(JWT_SECRET_KEY=secret, **config)
    manager, asked, blocked = JWTManager(app), [], set()

    @manager.token_in_blocklist_loader
    def is_blocked(header: Any, payload: Any) -> bool:
        asked.append(payload["jti"])
        return payload["jti"] in blocked

    @app.post("/login")
    def login() -> Any:
        access = create_access_token(identity="alice")
        answer = jsonify(access=access, refresh=create_refresh_token(identity="alice"))
        if "JWT_TOKEN_LOCATION" in config:
            set_access_cookies(answer, access)
        return answer

    @app.post("/refresh")
    @jwt_required(refresh=True)
    def refresh() -> Any:
        return jsonify(access=create_access_token(identity=get_jwt_identity()))

    @app.route("/me", methods=["GET", "POST"])
    @jwt_required()
    def me() -> Any:
        return jsonify(user=get_jwt_identity())

    @app.delete("/logout")
    @jwt_required()
    def logout() -> Any:
        blocked.add(get_jwt()["jti"])
        return jsonify(msg="out")

    return app, asked


def main() -> None:
    app, asked = application()
    client = app.test_client()
    tokens = client.post("/login").json or {}
    bearer = {"Authorization": f"Bearer {tokens['access']}"}
    refreshing = {"Authorization": f"Bearer {tokens['refresh']}"}
    assert client.get("/me", headers=bearer).status_code == 200
    questions = len(asked)
    again = [client.post("/refresh", headers=refreshing) for _ in range(3)]
    assert [one.status_code for one in again] == [200] * 3
    confused = client.get("/me", headers=refreshing)
    client.delete("/logout", headers=bearer)
    after = client.get("/me", headers=bearer)

    with app.app_context():
        algorithms = app.config["JWT_DECODE_ALGORITHMS"] or [app.config["JWT_ALGORITHM"]]
    site, _ = application(JWT_TOKEN_LOCATION=["cookies"], JWT_COOKIE_SECURE=False)
    browser = site.test_client()
    browser.post("/login")
    forged = browser.post("/me")

    def weak() -> None:
        short, _ = application(rows.SHORT)
        short.test_client().post("/login")

    rows.tell(
        "flask-jwt-extended",
        {
            rows.TYP: f"`{jwt.get_unverified_header(tokens['access'])['typ']}`",
            rows.ALG: ", ".join(algorithms),
            rows.WEAK: rows.warned(weak),
            rows.CONFUSED: f"{confused.status_code}, by the claim `type`",
            rows.RENEWED: "no: it stays the same" if "refresh" not in (again[0].json or {}) else "",
            rows.LOST: "served",
            rows.REUSED: "served: it never changes",
            rows.LOGGED_OUT: f"{after.status_code}, by a callback of yours",
            rows.ASKED: f"{questions}, by that callback",
            rows.COOKIE: f"{forged.status_code}",
        },
    )


if __name__ == "__main__":
    main()
