"""The service that the client talks to: a login with a password, and notes for each user."""

from __future__ import annotations

import hmac
import os
from typing import Any

from flask import Flask, request

from jwt_middleware import Issuer, KeySet, Proofs, Refresh, Route, Settings, required_token
from jwt_middleware.wsgi import JWTMiddleware

USERS = {"alice": "correct horse battery staple"}  # keep hashes, in a database


def make_app(url: str = "http://127.0.0.1:8000", store: str = "sqlite:///grants.db") -> Flask:
    """Return the service; `url` is where its clients find it."""
    settings = Settings(
        issuer=url,
        audience=f"{url}/notes",
        keys=KeySet.secret(os.environ["NOTES_SECRET"]),  # 32 random octets, as text
        proofs=Proofs(),
        routes=(Route("/login", methods=("POST",), public=True, own_origin=True),),
        refresh=Refresh(store=store, settle=float(os.environ.get("NOTES_SETTLE", "60"))),
    )
    issuer = Issuer(settings)
    app = Flask(__name__)
    app.wsgi_app = JWTMiddleware(app.wsgi_app, settings)  # type: ignore[method-assign]

    @app.post("/login")
    def login() -> tuple[dict[str, Any], int]:
        given = request.get_json()
        user, password = str(given["user"]), str(given["password"])
        if not hmac.compare_digest(USERS.get(user, "").encode(), password.encode()):
            return {"error": "wrong user or password"}, 401
        # The key that the login's request has proved, or None for a client without one.
        tokens = issuer.issue(user, proof=request.environ["jwt_middleware.proof"])
        return tokens, 200

    @app.get("/notes")
    def notes() -> dict[str, str]:
        return {"notes": f"notes of {required_token().subject}"}

    return app
