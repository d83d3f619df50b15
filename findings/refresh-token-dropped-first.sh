#!/usr/bin/env bash
# httpx-auth 0.23.1, requests-auth 8.0.0 (Python): one broken connection, and the login is forgotten.
#
# An expired entry leaves the cache *before* its refresh token is sent. If no answer comes, the error
# goes to the caller, as it should; but the refresh token is gone, and the next request logs in anew:
# here the password goes over the wire again, with other flows a browser opens. A second try with the
# same refresh token would have been served.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    httpx-auth==0.23.1 httpx==0.28.1 requests-auth==8.0.0 requests==2.34.2

cat >try.py <<'PY'
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

import httpx
import httpx_auth
import requests
import requests_auth

BREAKS = False


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({})

    def do_POST(self):
        global BREAKS
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        print("  sent:", form["grant_type"][0], "and no answer comes" if BREAKS else "")
        if BREAKS:
            BREAKS = False
            return
        self.answer({"access_token": "access", "expires_in": 60, "refresh_token": "refresh"})

    def answer(self, members):
        body = json.dumps(members).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
for name, get, library in (
    ("httpx-auth", httpx.get, httpx_auth),
    ("requests-auth", requests.get, requests_auth),
):
    print(name)
    auth = library.OAuth2ResourceOwnerPasswordCredentials(
        f"{url}/token", username="alice", password="secret", early_expiry=3600
    )
    get(url, auth=auth)
    get(url, auth=auth)
    BREAKS = True
    try:
        get(url, auth=auth)
    except (httpx.HTTPError, requests.ConnectionError):
        print("  the caller gets an error, and tries again")
    get(url, auth=auth)
PY

cat >expected <<'TEXT'
httpx-auth
  sent: password
  sent: refresh_token
  sent: refresh_token and no answer comes
  the caller gets an error, and tries again
  sent: password
requests-auth
  sent: password
  sent: refresh_token
  sent: refresh_token and no answer comes
  the caller gets an error, and tries again
  sent: password
TEXT
NO_PROXY='*' venv/bin/python try.py | sed 's/ *$//' | tee seen
diff expected seen
