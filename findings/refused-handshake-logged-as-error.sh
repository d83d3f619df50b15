#!/usr/bin/env bash
# uvicorn 0.54.0 (websockets-sansio, its default with websockets): a handshake that the application
# refuses by a response of its own is logged as an error of the application.
#
# The application here refuses every websocket by the extension `websocket.http.response`, which
# uvicorn offers in the scope. The client gets exactly that response: 401, and its body. Then "ASGI
# callable returned without completing handshake." is logged at ERROR: the protocol looks whether
# the handshake was completed, which such a response doesn't set there. uvicorn's two other protocols
# log no error, and with "websocket.close" (403) this one doesn't either. So a service has an error
# in its log for each client that comes with an expired token.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check uvicorn==0.54.0 websockets==17.4 wsproto==1.3.2

cat >app.py <<'PY'
START = {
    "type": "websocket.http.response.start",
    "status": 401,
    "headers": [(b"www-authenticate", b"Bearer"), (b"content-length", b"4")],
}


async def response(scope, receive, send):
    await receive()
    await send(START)
    await send({"type": "websocket.http.response.body", "body": b"stop"})


async def close(scope, receive, send):
    await receive()
    await send({"type": "websocket.close"})
PY
cat >try.py <<'PY'
import socket
import subprocess
import sys
import time

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def answer(port):
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port), 5)
            break
        except OSError:  # it doesn't listen yet
            time.sleep(0.05)
    with client:
        client.sendall(HANDSHAKE)
        seen = b""
        while chunk := client.recv(65536):
            seen += chunk
    return seen.split(b" ")[1].decode()


for protocol in ("auto", "websockets-sansio", "wsproto", "websockets"):
    for name in ("response", "close"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["--lifespan=off", f"--ws={protocol}", f"--port={port}", f"app:{name}"]
        with open("log", "w") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", *options], stdout=log, stderr=log
            )
        told = answer(port)
        server.terminate()
        server.wait()
        errors = [line.strip() for line in open("log") if line.startswith("ERROR")]
        print(f"{protocol}, {name}: {told} {errors}", flush=True)
PY
cat >expected <<'TEXT'
auto, response: 401 ['ERROR:    ASGI callable returned without completing handshake.']
auto, close: 403 []
websockets-sansio, response: 401 ['ERROR:    ASGI callable returned without completing handshake.']
websockets-sansio, close: 403 []
wsproto, response: 401 []
wsproto, close: 403 []
websockets, response: 401 []
websockets, close: 403 []
TEXT
venv/bin/python try.py | tee seen
diff expected seen
