#!/usr/bin/env bash
# mcp 2.3.0 (MCP Python SDK, client): a token endpoint that is away for a moment costs the user a login.
#
# RFC 6749 s5.2 has `invalid_grant` for a refresh token that is no longer good; a 503 says nothing
# about it, and RFC 9110 s15.6.4 that the service will be back. The client treats both alike: it drops
# its tokens, sends the request without any, and opens a browser at the 401. `Retry-After: 1` isn't
# read, and the refresh token, which would have been served a second later, isn't sent again.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mcp==2.3.0

cat >try.py <<'PY'
import asyncio
import json
import logging
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
)

logging.disable()
BACK = "http://127.0.0.1/callback"
STATUS = 200


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        if "oauth-protected-resource" in self.path:
            return self.answer(200, {"resource": f"{url}/mcp", "authorization_servers": [url]})
        if "oauth-authorization-server" in self.path:
            return self.answer(200, {
                "issuer": url,
                "authorization_endpoint": f"{url}/authorize",
                "token_endpoint": f"{url}/token",
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
            })
        token = self.headers.get("Authorization", "no token")
        print("  call:", token, flush=True)
        self.answer(200 if token == "Bearer access" else 401, {})

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        [kind] = form["grant_type"]
        status = STATUS if kind == "refresh_token" else 200
        print(f"  token endpoint: {kind}: {status}", flush=True)
        members = {"access_token": "access", "token_type": "Bearer", "expires_in": 1}
        self.answer(status, {**members, "refresh_token": "refresh"} if status == 200 else {})

    def answer(self, status, members):
        body = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Storage:
    tokens = None
    client = OAuthClientInformationFull(
        client_id="id", redirect_uris=[BACK], token_endpoint_auth_method="none"
    )

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def main():
    global STATUS

    async def redirect(where):
        query = parse_qs(urlsplit(where).query)
        states.extend(query["state"])
        print("  A BROWSER OPENS for the user", flush=True)

    async def callback():
        return AuthorizationCodeResult(code="code", state=states.pop())

    states = []
    metadata = OAuthClientMetadata(redirect_uris=[BACK], token_endpoint_auth_method="none")
    auth = OAuthClientProvider(f"{url}/mcp", metadata, Storage(), redirect, callback)
    async with httpx2.AsyncClient(auth=auth, trust_env=False) as client:
        for STATUS, what in (
            (200, "the first call"),
            (200, "a second later: the refresh is served"),
            (503, "a second later: the token endpoint is away"),
        ):
            print(what, flush=True)
            await client.get(f"{url}/mcp")
            await asyncio.sleep(1.1)


server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
asyncio.run(main())
PY

cat >expected <<'TEXT'
the first call
  call: no token
  A BROWSER OPENS for the user
  token endpoint: authorization_code: 200
  call: Bearer access
a second later: the refresh is served
  token endpoint: refresh_token: 200
  call: Bearer access
a second later: the token endpoint is away
  token endpoint: refresh_token: 503
  call: no token
  A BROWSER OPENS for the user
  token endpoint: authorization_code: 200
  call: Bearer access
TEXT
venv/bin/python try.py | tee seen
diff expected seen
