"""The middleware's settings, and what it asks this site."""

import os
from typing import Any

from jwt_middleware import Cookies, EndGrant, Grant, KeySet, Refresh, Route, Settings

from .models import Database, User


def claims_for(grant: Grant) -> dict[str, Any]:
    """Say what stands in access tokens: asked at every login and refresh, so roles are fresh."""
    with Database() as db:
        user = db.get(User, grant.subject)
        if user is None:
            raise EndGrant("no such user any more")
        return {"name": user.name, "role": user.role}


def make_settings() -> Settings:
    return Settings(
        issuer=os.environ.get("SITE_URL", "http://localhost:8000"),  # what the browser shows
        audience="notes",
        keys=KeySet.load("keys.json"),
        login_url="/login",  # a page load without a valid token goes there
        routes=(
            Route("/login", public=True, own_origin=True),
            Route("/logout", public=True, own_origin=True),  # also when the token has expired
            Route("/static/*", public=True),
            Route("/", optional=True),  # for those who are logged in, and for others
        ),  # all other paths: for those who are logged in; admin.py asks for more
        refresh=Refresh(
            store=os.environ.get("GRANTS", "sqlite:///grants.db"),
            cookies=Cookies(access=True, forms=True),
            claims_for=claims_for,
        ),
    )
