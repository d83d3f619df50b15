#!/usr/bin/env bash
# uvicorn 0.54.0 (websockets-sansio, the default where `websockets` is installed): an application that
# refuses a handshake with a status of its own is logged as one that has failed.
#
# The application answers a websocket's handshake with a 401 by the extension "Websocket Denial
# Response" of ASGI, which the server offers in the scope. The client gets the 401, whole. The log
# has it, too, and then a line at level ERROR, that the callable "returned without completing
# handshake". With wsproto the same application is logged as refused, and nothing else. So an alarm
# on ERROR lines rings for every client that comes without a token.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check uvicorn==0.54.0 websockets==17.4 wsproto==1.3.2

cat >app.py <<'PY'
async def refuse(scope, receive, send):
    assert "websocket.http.response" in scope["extensions"]
    await receive()
    fields = [(b"content-length", b"2")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": fields})
    await send({"type": "websocket.http.response.body", "body": b"no"})
PY
cat >try.py <<'PY'
import re
import socket
import subprocess
import sys
import time

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def refused(port):
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port), 5)
            break
        except OSError:  # it doesn't listen yet
            time.sleep(0.05)
    with client:
        client.sendall(HANDSHAKE)
        seen = b""
        while not seen.endswith(b"no") and (chunk := client.recv(65536)):
            seen += chunk
    return seen.split()[1].decode(), seen.endswith(b"no")


for kind in ("auto", "websockets-sansio", "wsproto"):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["uvicorn", "--lifespan=off", f"--port={port}", f"--ws={kind}", "app:refuse"]
    with open("log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", *command], stdout=log, stderr=log)
    status, whole = refused(port)
    time.sleep(0.5)
    server.terminate()
    server.wait()
    print(f"--ws {kind}: {status}, whole: {whole}")
    for line in open("log"):
        if re.search("WebSocket|ERROR", line):
            print("  " + re.sub(r"127\.0\.0\.1:\d+", "CLIENT", line).rstrip())
PY

cat >expected <<'TEXT'
--ws auto: 401, whole: True
  INFO:     CLIENT - "WebSocket /" 401
  ERROR:    ASGI callable returned without completing handshake.
--ws websockets-sansio: 401, whole: True
  INFO:     CLIENT - "WebSocket /" 401
  ERROR:    ASGI callable returned without completing handshake.
--ws wsproto: 401, whole: True
  INFO:     CLIENT - "WebSocket /" 401
TEXT
venv/bin/python try.py | tee seen
diff expected seen
