"""What watches over the whole run sees a token or a secret wherever one could be told.

It stands in `conftest.py`: a run fails at its end if anything was found.
"""

from __future__ import annotations

import logging
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from jwt_middleware.core.decide import Core
from jwt_middleware.values.flows import run
from jwt_middleware.values.requests import Request
from tests.issuing import DOORS, HOUR, opened
from tests.told import Told, known_secrets
from tests.wrapped import FACTORY

TOKEN = FACTORY.token()
TEST_SECRET = sha256(b"a secret that test modules know by this name").digest()
LOG = logging.getLogger("somebody's")


def fail_with(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        LOG.exception("failed")


WAYS: dict[str, Callable[[str], Any]] = {
    "a message": lambda text: LOG.error(f"got {text}"),  # noqa: G004
    "an argument": lambda text: LOG.error("got %s", text),
    "an argument that isn't formatted": lambda text: LOG.error("%.3s", text),
    "an argument in another": lambda text: LOG.error("got %s", {"tokens": [text]}),
    "an exception": fail_with,
    "the root logger": lambda text: logging.warning("got %s", text),  # noqa: LOG015
    "a logger that hands nothing on": lambda text: silent().warning(text),
}


def silent() -> logging.Logger:
    logger = logging.getLogger("somebody's.own")
    logger.propagate = False
    logger.handlers = [logging.NullHandler()]
    return logger


@pytest.mark.parametrize("tell", WAYS.values(), ids=WAYS)
def test_a_token_is_seen_in(tell: Callable[[str], Any], told: Told) -> None:
    other = Told()
    with told.aside(), other.watching():
        tell(f"Bearer {TOKEN}, say")
    assert other.tokens
    assert "test_a_token_is_seen_in" in other.tokens[0]
    assert TOKEN not in str(other.tokens), "it isn't told again"


FORMS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda secret: b64encode(secret).decode(),
    "base64url": lambda secret: urlsafe_b64encode(secret).decode().rstrip("="),
    "hexadecimal": lambda secret: secret.hex(),
    "a repr": repr,
    "a repr in another": lambda secret: repr({"secret": (secret, b"\x00")}),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("tell", WAYS.values(), ids=WAYS)
def test_a_secret_is_seen_in(
    tell: Callable[[str], Any], form: Callable[[bytes], str], told: Told
) -> None:
    other = Told()
    with told.aside(), other.watching():
        tell(f"signed with {form(TEST_SECRET)}")
    assert other.secrets([TEST_SECRET])
    assert other.secrets([sha256(b"another").digest()]) == []


def test_the_secrets_of_test_modules_are_known() -> None:
    assert TEST_SECRET in known_secrets()
    private = FACTORY.key.to_jwk()["d"].encode()
    assert private not in known_secrets(), "a factory's key set is no module's own"


def test_the_run_is_watched(told: Told) -> None:
    before = told.count
    with opened(DOORS) as world:
        world.login()
        world.refresh("x")
    # Each event is seen as it is told, whether anyone logs it or not.
    assert told.count - before >= 4
    with told.aside():
        LOG.error("anything")
    assert told.tokens == []


def test_nothing_of_a_session_is_told() -> None:
    other = Told()
    logger = logging.getLogger("jwt_middleware")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        with other.watching(), opened(refresh={"secret": TEST_SECRET}) as world:
            tokens = world.login("alice@example.org", claims={"email": "alice@example.org"})
            token = tokens.refresh_token
            for _ in range(2):
                world.clock.forward(HOUR)
                token = world.renewed(token)["refresh_token"]
            world.refresh(token + "x")
            world.refresh(tokens.access_token)
            world.call(token)
            world.call(tokens.access_token)
            world.send("POST", "/auth/refresh", query=f"refresh_token={token}")
            world.get("/", headers=[("Authorization", f"Basic {token}"), ("X-Token", token)])
            world.post("/auth/refresh", {token: token, "grant_type": token})
            world.refresh(tokens.refresh_token)
            world.revoke(token)
    finally:
        logger.setLevel(level)
    assert other.count > 20
    assert other.tokens == []
    assert other.secrets({TEST_SECRET, *known_secrets()}) == []


@pytest.mark.parametrize("method", ["GET", TOKEN], ids=["in the path", "in the method"])
def test_a_token_that_was_sent_in_the_wrong_place_is_not_told(method: str) -> None:
    path = f"/reset/{TOKEN}/now" if method == "GET" else "/"
    reply: Any = run(Core(FACTORY.settings()).decide(Request(method, path, lambda _: None)))
    assert reply.response.status == 401
    assert TOKEN not in repr(reply.events)
    assert not Told().tokens
