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
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

Held = dict[str, Any]
Refresh = Callable[[], Held]

CLIENT = "web"
EARLY = 3600  # seconds before its end at which an access token counts as expired: at once


def requests_oauth2client(base: str, held: Held) -> Refresh:
    import requests
    from requests_oauth2client import BearerToken, OAuth2AccessTokenAuth, OAuth2Client

    # It takes http for tests only.
    def found(**place: str) -> OAuth2Client:
        return OAuth2Client.from_discovery_endpoint(**place, client_id=CLIENT, testing=True)

    # By `issuer` alone it looks for OpenID's document.
    with suppress(ValueError):
        raise AssertionError(found(issuer=base))
    client = found(url=f"{base}/.well-known/oauth-authorization-server")
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
        return {
            "access_token": str(answer.request.headers["authorization"]).removeprefix("Bearer ")
        }

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


def requests_oauthlib(base: str, held: Held) -> Refresh:
    from requests_oauthlib import OAuth2Session

    def updated(token: Held) -> None:
        nonlocal held
        held = token

    session = OAuth2Session(
        CLIENT, token=held, auto_refresh_url=f"{base}/auth/refresh", token_updater=updated
    )

    def refresh() -> Held:
        session.token = held | {"expires_at": 1}
        session.get(base)
        return held

    return refresh


def aiohttp_oauthlib(base: str, held: Held) -> Refresh:
    from aiohttp_oauthlib import OAuth2Session

    async def once() -> None:
        nonlocal held
        async with OAuth2Session(CLIENT, token=held) as session:
            held = dict(await session.refresh_token(f"{base}/auth/refresh"))

    def refresh() -> Held:
        asyncio.run(once())
        return held

    return refresh


def authlib(base: str, held: Held) -> Refresh:
    from authlib.integrations.requests_client import (  # type: ignore[import-untyped]
        OAuth2Session,
    )

    # It refreshes by itself, `leeway` seconds before the end.
    session: Any = OAuth2Session(
        CLIENT,
        token=held | {"expires_at": int(time.time()) + EARLY // 2},
        token_endpoint=f"{base}/auth/refresh",
        leeway=EARLY,
    )

    def refresh() -> Held:
        session.get(base).raise_for_status()
        return dict(session.token)

    return refresh


def google_auth(base: str, held: Held) -> Refresh:
    from google.auth.transport.requests import Request
    from google.oauth2.credentials import Credentials

    credentials = Credentials(
        held["access_token"],
        refresh_token=held["refresh_token"],
        token_uri=f"{base}/auth/refresh",
        client_id=CLIENT,
        client_secret="",
    )

    def refresh() -> Held:
        credentials.refresh(Request())
        return {
            "access_token": credentials.token,
            "refresh_token": credentials.refresh_token,
        }

    return refresh


def social_auth_core(base: str, held: Held) -> Refresh:
    from social_core.backends.oauth import BaseOAuth2
    from social_core.storage import BaseStorage, UserMixin
    from social_core.strategy import BaseStrategy

    class Ours(BaseOAuth2):
        name = "ours"
        ACCESS_TOKEN_URL = f"{base}/auth/refresh"
        EXTRA_DATA: ClassVar[list[Any]] = [("refresh_token", "refresh_token", True)]

    class Strategy(BaseStrategy):
        def get_setting(self, name: str) -> Any:
            return {"SOCIAL_AUTH_OURS_KEY": CLIENT, "SOCIAL_AUTH_OURS_SECRET": ""}[name]

        def get_request_data(self, merge: bool = True) -> Any:
            return {}

        def build_absolute_uri(self, path: str | None = None) -> str:
            return f"{base}{path}"

        def get_backend(self, name: str, *args: Any, **kwargs: Any) -> Any:
            return Ours(self)

    class User(UserMixin):
        provider, uid, user = "ours", "alice", None

        def __init__(self) -> None:
            self.extra_data = dict(held)

        def save(self) -> None: ...

    user = User()

    def refresh() -> Held:
        user.refresh_token(Strategy(BaseStorage()))
        return dict(user.extra_data)

    return refresh


def oauth2_client(base: str, held: Held) -> Refresh:
    from oauth2_client.credentials_manager import CredentialManager, ServiceInformation

    # Without a secret it sends client_id in the body; with one, Basic.
    service = ServiceInformation(None, f"{base}/auth/refresh", CLIENT, None, ["read"])
    manager = CredentialManager(service)
    manager.refresh_token = held["refresh_token"]

    def refresh() -> Held:
        manager.init_with_token(manager.refresh_token)
        # It shows its access token in requests only.
        sent = manager.get(base).request
        return {
            "access_token": sent.headers["authorization"].removeprefix("Bearer "),
            "refresh_token": manager.refresh_token,
        }

    return refresh


LIBRARIES = {
    "requests-oauth2client": requests_oauth2client,
    "httpx-auth": httpx_auth,
    "requests-auth": requests_auth,
    "httpx-oauth": httpx_oauth,
    "aioauth-client": aioauth_client,
    "rauth": rauth,
    "requests-oauthlib": requests_oauthlib,
    "aiohttp-oauthlib": aiohttp_oauthlib,
    "Authlib": authlib,
    "google-auth": google_auth,
    "social-auth-core": social_auth_core,
    "oauth2-client": oauth2_client,
}


def main(library: str, base: str) -> None:
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # else it refuses http, on loopback, too
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
