#!/usr/bin/env bash
# hypercorn 0.18.0 (HTTP/2): a response whose application fails in the middle never ends.
#
# The application sends a chunk of a download of unknown length, and raises. By HTTP/1.1, hypercorn
# closes the connection, and the client sees at once that the body isn't whole. By HTTP/2, it logs
# the error, and sends nothing: neither END_STREAM nor RST_STREAM (RFC 9113 s5.4.2), which granian
# 2.8.7 sends. Other requests on this connection are answered, and as long as there are some, the
# client waits. It learns of the failure when hypercorn closes the connection, idle for 5 s.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  hypercorn==0.18.0 granian==2.8.7 h2==4.4.1

cat >apps.py <<'PY'
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    if scope["path"] == "/fails":
        raise OSError("the disk has gone")
    await send({"type": "http.response.body", "body": b" and half"})
PY
cat >try.py <<'PY'
import socket
import subprocess
import sys
import time

from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded, StreamReset


def connect(port):
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 20)
        except OSError:  # it doesn't listen yet
            time.sleep(0.05)


def http1(port):
    with connect(port) as client:
        client.sendall(b"GET /fails HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen = b""
        while chunk := client.recv(65536):
            seen += chunk
    body = seen.partition(b"\r\n\r\n")[2]
    print(f"  /fails: {body}, and the connection is closed")


class Client:
    def __init__(self, port):
        self.socket = connect(port)
        self.protocol = H2Connection()
        self.protocol.initiate_connection()
        self.bodies, self.ends = {}, {}

    def get(self, path):
        stream = self.protocol.get_next_available_stream_id()
        fields = {":method": "GET", ":path": path, ":scheme": "http", ":authority": "localhost"}
        self.protocol.send_headers(stream, fields.items(), end_stream=True)
        self.bodies[stream] = b""
        self.socket.sendall(self.protocol.data_to_send())
        return stream

    def read(self):
        received = self.socket.recv(65536)
        for event in self.protocol.receive_data(received):
            match event:
                case DataReceived():
                    self.bodies[event.stream_id] += event.data
                case StreamEnded():
                    self.ends[event.stream_id] = "END_STREAM"
                case StreamReset():
                    self.ends[event.stream_id] = f"RST_STREAM {int(event.error_code)}"
        if received:
            self.socket.sendall(self.protocol.data_to_send())
        return received

    def show(self, path, stream):
        print(f"  {path}: {self.bodies[stream]}, {self.ends.get(stream, 'no end')}", flush=True)


def http2(port):
    client = Client(port)
    failing = client.get("/fails")
    for _ in range(8):  # seconds
        time.sleep(1)
        other = client.get("/")
        while other not in client.ends:
            client.read()
    client.show("the last of eight others", other)
    client.show("/fails, 8 s later", failing)
    if failing not in client.ends:
        start = time.monotonic()
        while client.read():
            pass
        client.show("/fails, connection closed", failing)
        print("  it was idle for more than 4 s:", time.monotonic() - start > 4)


SERVERS = {
    "hypercorn, HTTP/1.1": (http1, "hypercorn", "--bind=127.0.0.1:{}"),
    "hypercorn, HTTP/2": (http2, "hypercorn", "--bind=127.0.0.1:{}"),
    "granian, HTTP/2": (http2, "granian", "--interface=asginl", "--http=2", "--port={}"),
}
for name, (ask, module, *options) in SERVERS.items():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [one.format(port) for one in options]
    command = [sys.executable, "-m", module, *options, "apps:app"]
    with open("log", "a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    print(name, flush=True)
    ask(port)
    server.terminate()
    server.wait()
PY

cat >expected <<'TEXT'
hypercorn, HTTP/1.1
  /fails: b'4\r\nhalf\r\n', and the connection is closed
hypercorn, HTTP/2
  the last of eight others: b'half and half', END_STREAM
  /fails, 8 s later: b'half', no end
  /fails, connection closed: b'half', no end
  it was idle for more than 4 s: True
granian, HTTP/2
  the last of eight others: b'half and half', END_STREAM
  /fails, 8 s later: b'half', RST_STREAM 2
TEXT
venv/bin/python try.py | tee seen
diff expected seen
