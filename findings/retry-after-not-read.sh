#!/usr/bin/env bash
# google-auth 2.63.0 (Python), google-auth-library 11.3.4 (npm): told "in 30 seconds", they are back within two.
#
# RFC 9110 s10.2.3: with a 503, Retry-After says how long the service is expected to be unavailable.
# Both libraries repeat a refresh that got a 503, so one expects them to heed it. Each goes by its own
# clock instead: three requests in about 3 s, and four in about 2 s; then the caller gets an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check google-auth==2.63.0 requests==2.34.2
npm init --yes >/dev/null
npm install --silent --ignore-scripts --no-audit --no-fund google-auth-library@11.3.4 gaxios@8.3.3

cat >refresh.py <<'PY'
import sys

from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials

credentials = Credentials(
    None, refresh_token="first", token_uri=sys.argv[1], client_id="id", client_secret="secret"
)
try:
    credentials.refresh(Request())
except GoogleAuthError:
    print("  the caller gets an error")
PY

cat >refresh.mjs <<'JS'
import { OAuth2Client } from 'google-auth-library'

const endpoints = { oauth2TokenUrl: process.argv[2] }
const client = new OAuth2Client({ clientId: 'id', clientSecret: 'secret', endpoints })
client.setCredentials({ refresh_token: 'first' })
await client.getAccessToken().catch(() => console.log('  the caller gets an error'))
JS

cat >try.py <<'PY'
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

TIMES = []


class Site(BaseHTTPRequestHandler):
    def do_POST(self):
        TIMES.append(time.monotonic())
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        print(f"  sent: {form['grant_type'][0]}; 503, Retry-After: 30", flush=True)
        self.send_response(503)
        self.send_header("Retry-After", "30")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/token"
for name, command in (
    ("google-auth", [sys.executable, "refresh.py", url]),
    ("google-auth-library", ["node", "refresh.mjs", url]),
):
    print(name, flush=True)
    TIMES.clear()
    subprocess.run(command, check=True)
    print("  all within 30 seconds:", TIMES[-1] - TIMES[0] < 30)
PY

cat >expected <<'TEXT'
google-auth
  sent: refresh_token; 503, Retry-After: 30
  sent: refresh_token; 503, Retry-After: 30
  sent: refresh_token; 503, Retry-After: 30
  the caller gets an error
  all within 30 seconds: True
google-auth-library
  sent: refresh_token; 503, Retry-After: 30
  sent: refresh_token; 503, Retry-After: 30
  sent: refresh_token; 503, Retry-After: 30
  sent: refresh_token; 503, Retry-After: 30
  the caller gets an error
  all within 30 seconds: True
TEXT
NO_PROXY='*' venv/bin/python try.py | tee seen
diff expected seen
