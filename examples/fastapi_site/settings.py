"""All that the middleware is told: who issues, what is public, what needs which scope."""

from typing import Any

from jwt_middleware import (
    Cookies,
    EndGrant,
    Grant,
    KeySet,
    Refresh,
    Route,
    Settings,
    WebSockets,
)
from jwt_middleware.fastapi import DOCS

from .users import Users


def make_settings(url: str, keys: KeySet, users: Users, store: str) -> Settings:
    """Return the settings of the site that is served at a URL."""

    def claims_for(grant: Grant) -> dict[str, Any]:
        # Asked at the login and at each refresh: a role that was changed is in the next token.
        role = users.role(grant.subject)
        if role is None:
            raise EndGrant("there is no such user any more")
        return {"role": role}

    return Settings(
        issuer=url,
        audience=f"{url}/api",
        keys=keys,
        routes=[
            *DOCS,
            Route("/", public=True),
            Route("/static/*", public=True),
            Route("/login", public=True, own_origin=True),
            # Whatever is added below these paths one day needs these scopes. What is named in no
            # rule needs a valid token.
            Route("/api/notes/*", scope="notes:read"),
            Route("/api/admin/*", scope="admin"),
            Route("/live/*", scope="notes:read"),
        ],
        refresh=Refresh(
            store=store,
            # The refresh token is in a cookie, which no script can read. The access token is in the
            # answer: the page needs it for the websocket, and FastAPI's page for its requests.
            cookies=Cookies(),
            claims_for=claims_for,
            sessions=True,  # GET /auth/sessions: "where am I logged in?"
        ),
        websockets=WebSockets(subprotocol=True, explain=True),
    )
