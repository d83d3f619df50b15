"""Flask behind the middleware.

Start it with `python examples/flask_app.py`, then try:

curl -i http://127.0.0.1:8000/notes                                      # 401, no token
curl -i http://127.0.0.1:8000/notes -H "Authorization: Bearer $TOKEN"    # 200
curl -i http://127.0.0.1:8000/admin -H "Authorization: Bearer $TOKEN"    # 403, it lacks a scope

The token is printed at the start. PORT=9000 in the environment sets another port.
"""

import os
from typing import Any

from flask import Flask, request

from jwt_middleware import Route
from jwt_middleware.testing import TokenFactory
from jwt_middleware.wsgi import JWTMiddleware

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

app = Flask(__name__)
app.wsgi_app = JWTMiddleware(app.wsgi_app, settings)  # type: ignore[method-assign]


@app.get("/")
def home() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/notes")
def notes() -> dict[str, Any]:
    return {"notes of": request.remote_user}


@app.get("/admin")
def admin() -> dict[str, Any]:
    return {"claims": request.environ["jwt_middleware.token"].claims}


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    url = f"http://127.0.0.1:{port}"
    token = issuer.token(sub="alice", scope="notes")
    print("Try these; the token is good for ten minutes:\n")
    print(f"curl -i {url}/notes")
    print(f"curl -i {url}/notes -H 'Authorization: Bearer {token}'")
    print(f"curl -i {url}/admin -H 'Authorization: Bearer {token}'\n", flush=True)
    app.run(port=port)
