"""What is wrong or unsafe in settings is refused when they are made, with the way out."""

import copy
import pickle
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import pytest

from jwt_middleware import (
    AccessToken,
    ConfigurationError,
    KeySet,
    Refresh,
    Route,
    Settings,
    profiles,
)
from jwt_middleware.jose.jwk import generate
from jwt_middleware.settings.settings import wall_clock
from jwt_middleware.token.profiles import Profile
from tests.rules import accepts, refuses
from tests.world import World

KEYS = KeySet.generate()
SECRET = "wq8eZ1v-8RkTn5iB0yq2mJxUa4cLs7dHf3gPo6tVb9E"  # made up
REQUIRED = profiles.FOREIGN.required


def settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {"issuer": "https://login.example", "audience": "api", "keys": KEYS}
    return Settings(**(given | changes))


def profile(**changes: Any) -> Profile:
    given: dict[str, Any] = {"name": "MINE", "types": frozenset(("jwt",)), "required": REQUIRED}
    return Profile(**(given | changes))


async def waits(*_: object) -> bool:
    return True


class Waits:
    async def __call__(self, token: AccessToken) -> bool:
        return True


def broken_clock() -> float:
    raise OSError("no time")


def sign_only() -> KeySet:
    return KeySet.from_jwks(
        {"keys": [generate("HS256", secret=SECRET.encode()).to_jwk() | {"key_ops": ["sign"]}]}
    )


def test_three_fields_are_enough_and_the_rest_is_strict() -> None:
    made = settings()
    assert made.audience == ("api",)
    assert made.profile is profiles.RFC_9068
    assert (made.leeway, made.routes, made.origins, made.checks) == (30, (), (), ())
    assert (made.realm, made.problem_details, made.on_event) == ("api", False, None)
    assert (made.refresh, made.clock) == (None, wall_clock)


def test_lists_become_tuples_so_that_nothing_changes_later() -> None:
    names, origins = ["api", "old-api"], ["https://app.example"]
    made = settings(audience=names, origins=origins, routes=[Route("/login", public=True)])
    names.append("other")
    origins.append("https://evil.example")
    assert made.audience == ("api", "old-api")
    assert made.origins == ("https://app.example",)
    assert isinstance(made.routes, tuple)


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        settings().leeway = 300  # type: ignore[misc]


def test_a_changed_copy_is_checked_again() -> None:
    assert settings().replace(leeway=0).leeway == 0
    with pytest.raises(ConfigurationError, match=r"^leeway: "):
        settings().replace(leeway=-1)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_copies_and_pickles_hold_the_same_and_no_live_parts(again: Callable[[Any], Any]) -> None:
    made = settings(routes=(Route("/login", public=True),))
    World(made).get("/login")  # makes the live side of a replaced copy ...
    World(made.replace()).get()
    vars(made)["_runtime"] = object()  # ... and this stands for that of the original
    found = again(made)
    assert vars(found).keys() == {field.name for field in fields(Settings)}
    assert (found.issuer, found.audience, found.routes) == (made.issuer, made.audience, made.routes)
    assert [key.kid for key in found.keys.keys] == [key.kid for key in KEYS.keys]


def test_a_pickled_copy_checks_tokens_like_the_original() -> None:
    assert World(pickle.loads(pickle.dumps(settings()))).get().status == 401


WRONG = [
    ("issuer", None, "non-empty string"),
    ("issuer", "", "non-empty string"),
    ("issuer", b"https://login.example", "non-empty string"),
    ("issuer", "https://login.example ", "white space"),
    ("issuer", "https://login.example\n", "white space"),
    ("issuer", "https://login\u200b.example", "nobody can see"),
    ("issuer", "https://login\udcff.example", "nobody can see"),
    ("audience", (), "tokens for every other service would pass"),
    ("audience", "", "non-empty string"),
    ("audience", ("api", ""), "non-empty string"),
    ("audience", ("api", None), "non-empty string"),
    ("audience", None, "must be a tuple"),
    ("audience", b"api", "must be a tuple"),
    ("audience", {"api": 1}, "must be a tuple"),
    ("keys", None, "must be a KeySet, not NoneType"),
    ("keys", SECRET, "must be a KeySet, not str"),
    ("keys", SECRET.encode(), "must be a KeySet, not bytes"),
    ("keys", sign_only(), "no key may verify"),
    ("routes", Route("/login", public=True), "must be a tuple"),
    ("routes", ("/login",), "str is no Route"),
    ("routes", (Route("/a", scope="x"), Route("/a/", scope="y")), "two rules"),
    ("profile", "RFC_9068", "must be a Profile"),
    ("profile", profile(required=REQUIRED - {"exp"}), "doesn't require exp"),
    ("profile", profile(required=frozenset()), "doesn't require aud, exp, iss, sub"),
    ("profile", profile(required=None), "`required` of MINE must be a frozenset"),
    ("profile", profile(types=frozenset((1,))), "`types` of MINE must be a frozenset"),
    ("profile", profile(types=frozenset()), "match no token"),
    ("profile", profile(types=frozenset(("JWT",))), "match no token"),
    ("profile", profile(types=frozenset(("application/at+jwt",))), "match no token"),
    ("profile", profile(types=frozenset(("jwt", "dpop+jwt"))), "dpop+jwt is another kind"),
    ("leeway", -1, "0 to 300 seconds"),
    ("leeway", True, "0 to 300 seconds"),
    ("leeway", "30", "0 to 300 seconds"),
    ("leeway", float("nan"), "0 to 300 seconds"),
    ("realm", "", "RFC 6750 s3"),
    ("realm", 'my "api"', "RFC 6750 s3"),
    ("realm", "api\r\nx: y", "RFC 6750 s3"),
    ("realm", "café", "RFC 6750 s3"),
    ("realm", None, "RFC 6750 s3"),
    ("origins", "https://app.example", "must be a tuple"),
    ("origins", ("*",), "no origin as a browser sends it"),
    ("origins", ("null",), "no origin as a browser sends it"),
    ("origins", ("https://app.example/",), "no origin as a browser sends it"),
    ("origins", ("https://*.example",), "no origin as a browser sends it"),
    ("origins", ("https://App.example",), "no origin as a browser sends it"),
    ("origins", ("https://app.example:443",), "no origin as a browser sends it"),
    ("origins", ("http://app.example",), "in clear"),
    ("origins", (None,), "no origin as a browser sends it"),
    ("problem_details", 1, "True or False"),
    ("problem_details", "false", "True or False"),
    ("checks", len, "must be a tuple"),
    ("checks", ("len",), "str can't be called"),
    ("checks", (waits,), "asynchronous"),
    ("checks", (Waits(),), "asynchronous"),
    ("on_event", "print", "str can't be called"),
    ("on_event", waits, "asynchronous"),
    ("clock", None, "NoneType can't be called"),
    ("clock", time.monotonic, "seconds since 1970"),
    ("clock", lambda: time.time() * 1000, "seconds since 1970"),
    ("clock", lambda: str(time.time()), "seconds since 1970"),
    ("clock", lambda now: now, "raised TypeError"),
    ("clock", broken_clock, "raised OSError"),
    ("clock", waits, "asynchronous"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "words"), WRONG)
def test_a_wrong_value_names_the_field_the_rule_and_the_way_out(
    field: str, value: object, words: str
) -> None:
    with pytest.raises(ConfigurationError) as found:
        settings(**{field: value})
    assert found.value.field == field
    assert words in found.value.problem
    assert found.value.remedy
    assert str(found.value) == f"{field}: {found.value.problem} ({found.value.remedy})"
    assert SECRET not in str(found.value)


@refuses("RS-30")
@pytest.mark.parametrize("leeway", [300.5, 3600, float("inf")])
def test_a_leeway_over_five_minutes_is_refused(leeway: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^leeway: must be 0 to 300 seconds"):
        settings(leeway=leeway)


@accepts("RS-30")
@pytest.mark.parametrize("leeway", [0, 0.5, 30, 300])
def test_a_leeway_up_to_five_minutes_is_taken(leeway: float) -> None:
    assert settings(leeway=leeway).leeway == leeway


@refuses("RS-15")
def test_secrets_and_asymmetric_keys_never_meet_in_one_set() -> None:
    mixed = [generate("ES256").to_jwk(), generate("HS256", secret=SECRET.encode()).to_jwk()]
    with pytest.raises(ConfigurationError, match="use one kind for one issuer"):
        KeySet.from_jwks({"keys": mixed})


@accepts("RS-15")
def test_several_algorithms_of_one_kind_make_a_set() -> None:
    keys = KeySet((generate("ES256"), generate("Ed25519")))
    assert settings(keys=keys).keys.algorithms == {"ES256", "Ed25519"}


def test_an_object_that_is_called_is_a_check_as_good_as_a_function() -> None:
    made = settings(checks=(partial(isinstance, "x"), lambda token: True), on_event=[].append)
    assert len(made.checks) == 2


def test_a_profile_of_ones_own_is_taken() -> None:
    assert settings(profile=profile()).profile.name == "MINE"


@pytest.mark.parametrize(
    "origin",
    ["https://app.example", "https://app.example:8443", "http://localhost:3000", "app://x"],
)
def test_an_origin_as_a_browser_sends_it_is_taken(origin: str) -> None:
    assert settings(origins=(origin,)).origins == (origin,)


@accepts("RS-41")
def test_a_representation_shows_no_secret() -> None:
    made = settings(keys=KeySet.secret(SECRET))
    assert "alg=HS256 secret" in repr(made)
    assert SECRET not in repr(made)
    assert SECRET not in str(made)


@pytest.mark.parametrize("option", ["public", "optional"])
@pytest.mark.parametrize("value", ["false", 1, None, []])
def test_only_true_opens_a_route(option: str, value: Any) -> None:
    # "false" is a text, and every text is true.
    with pytest.raises(ConfigurationError) as found:
        Route("/admin", **{option: value})
    assert found.value.field.endswith(f".{option}")


def test_a_route_reads_its_methods_once() -> None:
    # Read to its end by a check, a generator would leave none, and none means all.
    methods: Any = (method for method in ("GET",))
    assert Route("/login", methods=methods, public=True).methods == ("GET",)


@pytest.mark.parametrize("name", ["methods", "acr_values"])
@pytest.mark.parametrize("value", [None, 5])
def test_what_is_no_tuple_in_a_route_is_a_mistake_and_no_crash(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"\.{name}: must be a tuple"):
        Route("/login", **{name: value})


@pytest.mark.parametrize(
    ("issuer", "remedy"),
    [
        ("http://localhost:5000", 'audience="http://localhost:5000/api"'),
        ("https://login.example/", 'audience="https://login.example/api"'),
        ("shop", 'audience="shop-api"'),
    ],
)
def test_an_issuer_that_is_its_own_audience_gets_a_remedy_to_paste(
    issuer: str, remedy: str
) -> None:
    group = Refresh(store="memory://")
    with pytest.raises(ConfigurationError) as caught:
        Settings(issuer=issuer, audience=issuer, keys=KeySet.generate(), refresh=group)
    assert caught.value.field == "audience"
    assert caught.value.remedy.endswith(remedy)
