#!/usr/bin/env bash
# Starlette 1.10.0 (BaseHTTPMiddleware) and granian 2.8.7 (WSGI): a response whose application fails
# in the middle is completed, as if it were whole.
#
# Each application here sends one chunk of a download of unknown length, and raises. A client can
# only see that it isn't whole if the last, empty chunk is missing (RFC 9112 s8). uvicorn leaves it
# out. With a middleware that passes everything, made of BaseHTTPMiddleware, it is sent: the
# middleware takes the end of the application for the end of the response, and raises the error when
# the response is complete. granian sends it for WSGI applications; for ASGI applications it doesn't.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check starlette==1.10.0 uvicorn==0.54.0 granian==2.8.7

cat >apps.py <<'PY'
from starlette.middleware.base import BaseHTTPMiddleware


async def plain(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise OSError("the disk has gone")


async def passing(request, call_next):
    return await call_next(request)


inside = BaseHTTPMiddleware(plain, dispatch=passing)


def wsgi(environ, start_response):
    start_response("200 OK", [])
    yield b"half"
    raise OSError("the disk has gone")
PY
cat >try.py <<'PY'
import socket
import subprocess
import sys
import time

SERVERS = {
    "uvicorn": ["uvicorn", "--lifespan=off", "--port={}", "apps:plain"],
    "uvicorn, BaseHTTPMiddleware": ["uvicorn", "--lifespan=off", "--port={}", "apps:inside"],
    "granian, ASGI": ["granian", "--interface=asginl", "--port={}", "apps:plain"],
    "granian, WSGI": ["granian", "--interface=wsgi", "--port={}", "apps:wsgi"],
}


def body(port):
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port), 5)
            break
        except OSError:  # it doesn't listen yet
            time.sleep(0.05)
    with client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen = b""
        while not seen.endswith(b"0\r\n\r\n") and (chunk := client.recv(65536)):
            seen += chunk
    return seen.partition(b"\r\n\r\n")[2]


for name, (module, *options) in SERVERS.items():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", module, *(one.format(port) for one in options)]
    with open("log", "a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    print(f"{name}: {body(port)}", flush=True)
    server.terminate()
    server.wait()
PY

cat >expected <<'TEXT'
uvicorn: b'4\r\nhalf\r\n'
uvicorn, BaseHTTPMiddleware: b'4\r\nhalf\r\n0\r\n\r\n'
granian, ASGI: b'4\r\nhalf\r\n'
granian, WSGI: b'4\r\nhalf\r\n0\r\n\r\n'
TEXT
venv/bin/python try.py | tee seen
diff expected seen
