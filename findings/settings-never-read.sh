#!/usr/bin/env bash
# AuthX 1.7.1 (FastAPI): eight settings are accepted and checked, and nothing reads them; one does
# the opposite of its name.
#
# AuthXConfig has the names of Flask-JWT-Extended, where each of them works. Here a leeway of 60
# seconds refuses a token that expired 10 seconds ago, `JWT_ENCODE_NBF` writes no `nbf`, a token of
# an algorithm in `JWT_DECODE_ALGORITHMS` is refused, and so on. A method in
# `JWT_IMPLICIT_REFRESH_METHOD_INCLUDE` is one for which no cookie is renewed any more.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    authx==1.7.1 fastapi==0.165.0 httpx==0.28.1 PyJWT==2.15.1 starlette==1.10.0 httpx2==2.16.2

cat >try.py <<'PY'
import ast
from datetime import timedelta
from pathlib import Path

import authx
import jwt
from authx import AuthX, AuthXConfig
from authx.exceptions import AuthXException
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef"


def auth(**settings):
    return AuthX(AuthXConfig(JWT_SECRET_KEY=SECRET, **settings))


def reads(auth, token):
    try:
        return f"read: {auth._decode_token(token).sub}"
    except AuthXException as error:
        return f"refused: {error}"


def claims(auth):
    token = auth.create_access_token("alice")
    return sorted(jwt.decode(token, SECRET, algorithms=["HS256"]))


old = auth().create_access_token("alice", expiry=timedelta(seconds=-10))
print("expired 10 s ago, JWT_DECODE_LEEWAY=60:", reads(auth(JWT_DECODE_LEEWAY=60), old))
other = jwt.encode({"sub": "alice", "type": "access"}, SECRET, "HS384")
both = auth(JWT_DECODE_ALGORITHMS=["HS256", "HS384"])
print("HS384, JWT_DECODE_ALGORITHMS=HS256, HS384:", reads(both, other))
print("JWT_ENCODE_NBF=True:", claims(auth(JWT_ENCODE_NBF=True)))
print("JWT_IDENTITY_CLAIM=user:", claims(auth(JWT_IDENTITY_CLAIM="user")))


def renews(**settings):
    site = auth(
        JWT_TOKEN_LOCATION=["cookies"],
        JWT_IMPLICIT_REFRESH_DELTATIME=timedelta(days=1),
        **settings,
    )
    app = FastAPI()
    app.middleware("http")(site.implicit_refresh_middleware)
    app.add_api_route("/", lambda: "")
    client = TestClient(app, "https://shop.example", cookies={"access_token_cookie": site.create_access_token("alice")})
    return "renewed" if client.get("/").headers.get("set-cookie") else "not renewed"


print("GET:", renews())
included = renews(JWT_IMPLICIT_REFRESH_METHOD_INCLUDE=["GET"])
print("GET, JWT_IMPLICIT_REFRESH_METHOD_INCLUDE=GET:", included)

names = set(AuthXConfig.model_fields)
for path in Path(authx.__file__).parent.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            names.discard(node.attr)
print("read nowhere:")
print(*sorted(names), sep="\n")
PY

cat >expected <<'TEXT'
expired 10 s ago, JWT_DECODE_LEEWAY=60: refused: Token has expired
HS384, JWT_DECODE_ALGORITHMS=HS256, HS384: refused: Invalid token: The specified alg value is not allowed
JWT_ENCODE_NBF=True: ['csrf', 'exp', 'fresh', 'iat', 'jti', 'sub', 'type']
JWT_IDENTITY_CLAIM=user: ['csrf', 'exp', 'fresh', 'iat', 'jti', 'sub', 'type']
GET: renewed
GET, JWT_IMPLICIT_REFRESH_METHOD_INCLUDE=GET: not renewed
read nowhere:
JWT_DECODE_ALGORITHMS
JWT_DECODE_LEEWAY
JWT_ENCODE_NBF
JWT_ERROR_MESSAGE_KEY
JWT_IDENTITY_CLAIM
JWT_SESSION_COOKIE
JWT_SESSION_TRACKING
JWT_SESSION_UPDATE_LAST_ACTIVE
TEXT
venv/bin/python -W ignore try.py | tee seen
diff expected seen
