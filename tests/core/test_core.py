"""What only the core decides: the application's own checks, and the size of what it remembers."""

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest

from jwt_middleware import AccessToken, ConfigurationError
from jwt_middleware.core.trusted_issuers import MAX_HEADERS
from jwt_middleware.jose import jws
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.errors import InvalidToken
from jwt_middleware.values.tokens import User
from tests.world import World

FACTORY = TokenFactory()


def is_editor(token: AccessToken) -> bool:
    return "editor" in token.claims["roles"]


def forgets_to_answer(token: AccessToken) -> Any:
    return None


def answers_something_true(token: AccessToken) -> Any:
    return "yes"


def test_a_check_that_returns_true_lets_in() -> None:
    world = World(FACTORY.settings(checks=(is_editor,)))
    answer = world.get("/", FACTORY.token(roles=["editor"]))
    assert (answer.status, answer.reached) == (200, True)


@pytest.mark.parametrize("check", [is_editor, forgets_to_answer, answers_something_true])
def test_a_check_that_returns_anything_else_refuses(check: Any) -> None:
    world = World(FACTORY.settings(checks=(check,)))
    answer = world.get("/", FACTORY.token(roles=["reader"]))
    assert (answer.status, answer.error, answer.reason) == (401, "invalid_token", "check_refused")
    assert getattr(answer.events[-1], "detail", "") == check.__name__


def test_a_check_that_raises_refuses_and_tells_the_kind_of_error_only() -> None:
    world = World(FACTORY.settings(checks=(is_editor,)))
    answer = world.get("/", FACTORY.token())
    assert (answer.status, answer.reason) == (401, "check_failed")
    assert getattr(answer.events[-1], "detail", "") == "KeyError"


def test_headers_are_remembered_after_a_good_signature_only_and_not_without_end() -> None:
    world = World(FACTORY.settings())
    issuers = Runtime.of(world.settings).issuers
    world.get("/", FACTORY.token(header={"x": "unsigned"})[:-8] + "AAAAAAAA")
    assert not issuers.headers
    for number in range(MAX_HEADERS + 5):
        assert world.get("/", FACTORY.token(header={"x": number})).status == 200
    assert len(issuers.headers) == MAX_HEADERS


def test_the_parser_has_its_own_limit() -> None:
    with pytest.raises(InvalidToken, match="token_too_long"):
        jws.parse("a" * (jws.MAX_TOKEN + 1))


def test_a_configuration_error_survives_a_process_pool() -> None:
    error = ConfigurationError("keys", "is empty", "make one")
    again = pickle.loads(pickle.dumps(error))
    assert (again.field, str(again)) == ("keys", "keys: is empty (make one)")


def test_a_grant_is_known_by_its_id_in_our_own_tokens_only() -> None:
    answer = World(FACTORY.settings()).get("/", FACTORY.token(sid="grant"))
    assert answer.token is not None
    assert answer.token.grant_id == "grant"
    assert AccessToken(answer.token.claims, own=False).grant_id is None


def test_who_the_user_is_can_not_be_changed() -> None:
    user = User(is_authenticated=True, display_name="alice")
    for name in ("display_name", "is_authenticated", "other"):
        with pytest.raises(FrozenInstanceError, match=name):
            setattr(user, name, "mallory")
    # Channels' AuthMiddleware does this; it changes nothing.
    setattr(user, "_wrapped", "mallory")  # noqa: B010
    assert user == User(is_authenticated=True, display_name="alice")
    assert [copy.copy(user), copy.deepcopy(user), pickle.loads(pickle.dumps(user))] == [user] * 3
    assert asdict(user) == {"is_authenticated": True, "display_name": "alice"}
    shared: Any = user
    with pytest.raises(FrozenInstanceError):
        del shared.display_name
    assert user not in ("alice", User(is_authenticated=True, display_name="bob"))
    assert len({user, User(is_authenticated=True, display_name="alice")}) == 1
    assert repr(user) == "User(is_authenticated=True, display_name='alice')"
