"""One service issues, another verifies: found by the issuer's name alone, over real sockets."""

from __future__ import annotations

from typing import Any

import pytest

from jwt_middleware import Issuer, KeySet, Refresh, Settings
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.testing import TokenFactory
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.serving import SERVERS
from tests.world import Application, World

FACTORY = TokenFactory()


@pytest.mark.parametrize("path", ["", "/tenant", "/tenant/"])
@pytest.mark.parametrize("door", SERVERS)
def test_an_issuer_of_ours_is_found_by_its_name_alone(door: str, path: str) -> None:
    issuing: list[Settings] = []

    def make(url: str) -> Any:
        group = Refresh(store="memory://", jwks_path="/keys")
        made = FACTORY.settings(issuer=url + path, refresh=group)
        issuing.append(made)
        application = Application()
        if door == "asgi":
            return ASGIMiddleware(application.asgi, made)
        return WSGIMiddleware(application.wsgi, made)

    with SERVERS[door](make) as url:
        verifying = World(FACTORY.settings(issuer=url + path, keys=KeySet.remote()))
        token = Issuer(issuing[0]).issue("alice").access_token
        answer = verifying.get(token=token)
        assert (answer.status, answer.user) == (200, "alice")
        # RFC 8414 s3.3: under any other spelling of its name it isn't found.
        for twin in (
            f"{url}{path}/",
            f"{url}{path.removesuffix('/')}",
            url.replace("127.0.0.1", "localhost"),
        ):
            if twin != url + path:
                stranger = World(FACTORY.settings(issuer=twin, keys=KeySet.remote()))
                assert stranger.get(token=FACTORY.token(iss=twin)).status == 503
    issuing[0].close()
