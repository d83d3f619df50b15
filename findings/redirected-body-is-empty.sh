#!/usr/bin/env bash
# Werkzeug 3.1.9 (the test client, and so that of Flask): a 307 or 308 is followed without the body,
# if the application had read it.
#
# Both statuses keep the method and the body (RFC 9110 s15.4.8, s15.4.9). Here Flask itself sends a
# 308, from /notes to /notes/, after a before_request that reads the body or not, as a check of a
# CSRF token or a log does. The client makes the second request of the environ of the first one, and
# takes the input stream where the application left it: Content-Length is 0, and the type is as it
# was. httpx asks the same WSGI application, and sends the body again.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Werkzeug==3.1.9 Flask==3.1.3 httpx==0.28.1

cat >try.py <<'PY'
import httpx
from flask import Flask, request


def notes(reads):
    app = Flask("notes")

    @app.before_request
    def before():
        if reads:
            request.get_data()

    @app.post("/notes/")
    def add():
        return f"{request.content_type}, {request.content_length}: {request.get_data()}"

    return app


for reads in (False, True):
    print("the body was read before the 308" if reads else "the body wasn't read")
    app = notes(reads)
    ours = app.test_client()
    theirs = httpx.Client(transport=httpx.WSGITransport(app), base_url="http://localhost")
    for options in ({"data": {"text": "hello"}}, {"json": "hello"}):
        for name, client in (("test client", ours), ("httpx", theirs)):
            answer = client.post("/notes", follow_redirects=True, **options)
            print(f"  {name}: {answer.text}")
PY

cat >expected <<'TEXT'
the body wasn't read
  test client: application/x-www-form-urlencoded, 10: b'text=hello'
  httpx: application/x-www-form-urlencoded, 10: b'text=hello'
  test client: application/json, 7: b'"hello"'
  httpx: application/json, 7: b'"hello"'
the body was read before the 308
  test client: application/x-www-form-urlencoded, 0: b''
  httpx: application/x-www-form-urlencoded, 10: b'text=hello'
  test client: application/json, 0: b''
  httpx: application/json, 7: b'"hello"'
TEXT
venv/bin/python try.py | tee seen
diff expected seen
