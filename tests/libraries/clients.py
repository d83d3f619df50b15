"""One client library of Python, driven as its documentation says.

It is started as `python clients.py LIBRARY URL`, hears lines of JSON and says some. First it hears
the tokens of a login; after that, each line makes it refresh. It says what the library, or the user
of one that keeps nothing, then holds: the tokens exactly as the answer named them. Where the
library fails, it says how.

This runs in an environment of its own, which has the libraries and nothing else.
"""

# pyright: reportMissingImports=false

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

Held = dict[str, Any]
Refresh = Callable[[], Held]

CLIENT = "web"
EARLY = 3600  # seconds before its end at which an access token counts as expired: at once


def requests_oauth2client(base: str, held: Held) -> Refresh:
    import requests
    from requests_oauth2client import BearerToken, OAuth2AccessTokenAuth, OAuth2Client

    # It takes http for tests only.
    client = OAuth2Client(f"{base}/auth/refresh", client_id=CLIENT, testing=True)
    auth = OAuth2AccessTokenAuth(client, BearerToken(**held), leeway=EARLY)

    def refresh() -> Held:
        requests.get(base, auth=auth).raise_for_status()
        return {name: getattr(auth.token, name) for name in ("access_token", "refresh_token")}

    return refresh


def httpx_auth(base: str, _: Held) -> Refresh:
    import httpx
    from httpx_auth import OAuth2ResourceOwnerPasswordCredentials

    auth = OAuth2ResourceOwnerPasswordCredentials(
        f"{base}/auth/refresh", username="alice", password="secret", early_expiry=EARLY
    )

    def refresh() -> Held:
        answer = httpx.get(base, auth=auth).raise_for_status()
        # It shows nobody its refresh token.
        return {"access_token": answer.request.headers["authorization"].removeprefix("Bearer ")}

    refresh()  # it logs in by itself
    return refresh


def requests_auth(base: str, _: Held) -> Refresh:
    import requests
    from requests_auth import OAuth2ResourceOwnerPasswordCredentials

    auth = OAuth2ResourceOwnerPasswordCredentials(
        f"{base}/auth/refresh", username="alice", password="secret", early_expiry=EARLY
    )

    def refresh() -> Held:
        answer = requests.get(base, auth=auth)
        answer.raise_for_status()
        return {"access_token": answer.request.headers["authorization"].removeprefix("Bearer ")}

    refresh()  # it logs in by itself
    return refresh


def httpx_oauth(base: str, held: Held) -> Refresh:
    from httpx_oauth.oauth2 import OAuth2

    client = OAuth2(CLIENT, "", f"{base}/login", f"{base}/auth/refresh", f"{base}/auth/refresh")

    def refresh() -> Held:
        nonlocal held
        held = asyncio.run(client.refresh_token(held["refresh_token"]))
        return held

    return refresh


def aioauth_client(base: str, held: Held) -> Refresh:
    from aioauth_client import OAuth2Client

    client = OAuth2Client(CLIENT, "", access_token_url=f"{base}/auth/refresh")

    def refresh() -> Held:
        nonlocal held
        _, held = asyncio.run(
            client.get_access_token(held["refresh_token"], grant_type="refresh_token")
        )
        return held

    return refresh


def rauth(base: str, held: Held) -> Refresh:
    from rauth import OAuth2Service

    service = OAuth2Service(CLIENT, "", access_token_url=f"{base}/auth/refresh")

    def refresh() -> Held:
        nonlocal held
        sent = {"grant_type": "refresh_token", "refresh_token": held["refresh_token"]}
        session = service.get_auth_session(data=sent, decoder=json.loads)
        held = session.access_token_response.json()
        return held

    return refresh


LIBRARIES = {
    "requests-oauth2client": requests_oauth2client,
    "httpx-auth": httpx_auth,
    "requests-auth": requests_auth,
    "httpx-oauth": httpx_oauth,
    "aioauth-client": aioauth_client,
    "rauth": rauth,
}


def main(library: str, base: str) -> None:
    refresh: Refresh | None = None
    for line in sys.stdin:
        try:
            if refresh is None:
                held = json.loads(line)
                refresh = LIBRARIES[library](base, held)
            else:
                held = refresh()
            said = {name: held.get(name) for name in ("access_token", "refresh_token")}
        except Exception as error:  # noqa: BLE001
            said = {"error": type(error).__name__, "says": str(error)}
        print(json.dumps(said), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
