"""The groups of settings: what is wrong or unsafe is refused, in any source, with the way out."""

import asyncio
import copy
import importlib
import json
import pickle
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import (
    ConfigurationError,
    Cookies,
    Grant,
    Issuer,
    KeySet,
    Refresh,
    Settings,
    profiles,
)
from jwt_middleware.settings.refresh_secrets import refresh_keys
from jwt_middleware.stores.memory import MemoryStore
from tests.rules import accepts, refuses
from tests.world import World

SECRET = "wq8eZ1v-8RkTn5iB0yq2mJxUa4cLs7dHf3gPo6tVb9E"  # made up
OTHER = "pB9xMvU2rYd6TqLw8cKz4nHj1gFs7eAo5iVt3bXmQ0R"
KEYS = KeySet.generate()
ISSUER = "https://login.example"
BASE: dict[str, Any] = {"issuer": ISSUER, "audience": "api", "keys": KEYS}


def settings(refresh: Any, **changes: Any) -> Settings:
    return Settings(**(BASE | {"refresh": refresh} | changes))


def refresh(**changes: Any) -> Refresh:
    given: dict[str, Any] = {"store": "memory://"}
    return Refresh(**(given | changes))


def plain(group: Any) -> Any:
    """Return the fields of a group, and of those in it."""
    if not isinstance(group, Refresh | Cookies):
        return group
    return {one.name: plain(getattr(group, one.name)) for one in fields(group)}


def claims_for(grant: Grant) -> dict[str, Any]:
    return {"roles": []}


async def awaited_claims_for(grant: Grant) -> dict[str, Any]:
    return {"roles": []}


class Hook:
    async def __call__(self, grant: Grant) -> dict[str, Any]:
        return {"roles": []}


class OneVerb:
    def advance(self, *_: Any) -> None: ...


class HalfAwaited(MemoryStore):
    def __init__(self) -> None:
        super().__init__(clock=lambda: 0, retention=0)

    async def end(self, *_: Any) -> bool:  # type: ignore[override]
        return True


# --- Wrong values


def test_one_field_is_enough_and_the_rest_is_safe() -> None:
    made = refresh()
    assert (made.access_lifetime, made.idle_limit, made.absolute_limit) == (600, 604800, 2592000)
    assert (made.settle, made.restore_limit, made.grants_per_subject) == (60, 8, 100)
    assert (made.sync_every, made.sync_limit, made.sync_failure) == (1, 120, "closed")
    assert (made.path, made.jwks_path) == ("/auth", "/.well-known/jwks.json")
    assert made.sessions is False
    assert (made.secrets, made.cookies, made.claims_for) == ((), None, None)
    cookies = Cookies()
    assert (cookies.access, cookies.access_same_site) == (False, "Strict")


WRONG = [
    ("store", None, "has no add"),
    ("store", "grants.db", "is no URL"),
    ("store", "", "is no URL"),
    ("store", Path("grants.db"), "has no add"),
    ("store", OneVerb(), "has no add"),
    ("store", MemoryStore, "not a class"),
    ("store", HalfAwaited(), "verbs that are awaited, and others that aren't"),
    ("secret", None, "text or octets, or several in a tuple"),
    ("secret", 5, "text or octets, or several in a tuple"),
    ("secret", {SECRET: 1}, "text or octets, or several in a tuple"),
    ("secret", (SECRET, None), "text or octets, or several in a tuple"),
    ("secret", "", "too short"),
    ("secret", b"x" * 31, "too short"),
    ("secret", "a" * 64, "repeats itself"),
    ("secret", (SECRET, "correct horse battery staple and more"), "can be guessed"),
    ("secret", json.dumps(KEYS.public_jwks()["keys"][0]), "is an asymmetric key or a JWK"),
    ("secret", (SECRET, SECRET.encode()), "one secret twice"),
    ("cookies", True, "must be a Cookies group or None"),
    ("cookies", {}, "must be a Cookies group or None"),
    ("claims_for", "shop:claims", "must be a function of the Grant"),
    ("client_id", None, "visible ASCII"),
    ("client_id", "", "visible ASCII"),
    ("client_id", "two words", "visible ASCII"),
    ("client_id", "caf\u00e9", "visible ASCII"),
    ("path", "auth", "no path of letters"),
    ("path", "/", "no path of letters"),
    ("path", "/auth/", "no path of letters"),
    ("path", "/auth\n", "no path of letters"),
    ("path", "/../auth", "no path of letters"),
    ("path", "/auth; Domain=example", "no path of letters"),
    ("path", None, "no path of letters"),
    ("jwks_path", "/jwks?x", "no path of letters"),
    ("jwks_path", "/auth/refresh", "another endpoint's path"),
    ("path", "/.well-known/oauth-authorization-server", "where metadata is"),
    ("jwks_path", "/.well-known/oauth-protected-resource/x", "where metadata is"),
    ("metadata", 1, "must be True or False"),
    ("public_url", None, "is no URL of a root: it is no absolute URL"),
    ("public_url", "shop.example", "is no URL of a root"),
    ("public_url", "http://shop.example", "is not https"),
    ("public_url", "https://shop.example/", "is no URL of a root"),
    ("public_url", "https://shop.example?x", "is no URL of a root"),
    ("public_url", "https://shop.example/#x", "is no URL of a root"),
    ("sync_failure", "half", '"closed" or "open"'),
    ("sync_failure", None, '"closed" or "open"'),
    ("grants_per_subject", 5.0, "a whole number of 1 to 10000 grants"),
    ("restore_limit", True, "a whole number of 0 to 64 rotations"),
]

LIMITS = {one.name: one.metadata for one in fields(Refresh) if "minimum" in one.metadata}
WRONG += [
    (name, value, f"{limits['minimum']} to {limits['maximum']} ")
    for name, limits in LIMITS.items()
    for value in (limits["minimum"] - 1, limits["maximum"] + 1, "60", None, False, float("nan"))
]


@pytest.mark.parametrize(("field", "value", "words"), WRONG)
def test_a_wrong_value_names_the_field_the_rule_and_the_way_out(
    field: str, value: Any, words: str
) -> None:
    with pytest.raises(ConfigurationError) as found:
        refresh(**{field: value})
    assert found.value.field == f"refresh.{field}"
    assert words in found.value.problem
    assert found.value.remedy
    assert SECRET not in str(found.value)


WRONG_COOKIES = [
    ("name", "a b", "a token of RFC 9110"),
    ("name", None, "a token of RFC 9110"),
    ("name", "__Host-token", "has the prefix already"),
    ("access_name", "", "a token of RFC 9110"),
    ("access_name", "__secure-token", "has the prefix already"),
    ("access_name", "refresh_token", "the refresh cookie's name, too"),
    ("access", "true", "True or False"),
    ("access_same_site", "None", '"Strict" or "Lax"'),
    ("access_same_site", None, '"Strict" or "Lax"'),
    ("header", "X CSRF", "the name of a header"),
    ("header", "X_CSRF", "the name of a header"),
    ("header", None, "the name of a header"),
    ("header", "Content-Type", "from a form, or by itself"),
    ("header", "referer", "from a form, or by itself"),
    ("header", "Sec-Fetch-Site", "from a form, or by itself"),
    ("header", "X-Forwarded-Proto", "from a form, or by itself"),
    ("header", "Traceparent", "from a form, or by itself"),
]


@refuses("RT-20")
@pytest.mark.parametrize(("field", "value", "words"), WRONG_COOKIES)
def test_a_wrong_value_for_cookies_names_the_field_the_rule_and_the_way_out(
    field: str, value: Any, words: str
) -> None:
    with pytest.raises(ConfigurationError) as found:
        Cookies(**{field: value})
    assert found.value.field == f"refresh.cookies.{field}"
    assert words in found.value.problem
    assert found.value.remedy


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("which", ["minimum", "maximum"])
def test_the_limits_themselves_are_taken(name: str, which: str) -> None:
    wide: dict[str, Any] = {
        "access_lifetime": 10,
        "settle": 0,
        "idle_limit": 400 * 86400 if name == "absolute_limit" and which == "maximum" else 60,
        "absolute_limit": 400 * 86400,
        "sync_every": 0,
    }
    if name == "access_lifetime" and which == "maximum":
        wide["idle_limit"] = 2 * 86400
    if name == "settle":
        wide["idle_limit"] = 400
    value = LIMITS[name][which]
    assert getattr(refresh(**(wide | {name: value})), name) == value


@pytest.mark.parametrize(
    ("group", "field"),
    [
        ({"idle_limit": 3600, "absolute_limit": 3599}, "idle_limit"),
        ({"idle_limit": 659}, "idle_limit"),
        ({"sync_every": 2, "sync_limit": 3.5}, "sync_limit"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(group: dict[str, Any], field: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^refresh\.{field}: is (?:short|long)er"
    ) as found:
        refresh(**group)
    assert found.value.remedy


def test_an_idle_limit_may_just_cover_an_access_token_and_the_settling() -> None:
    assert refresh(idle_limit=660).idle_limit == 660


# --- What only goes together

VERIFIES_ONLY = KeySet.from_jwks(KEYS.public_jwks())


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"refresh": "memory://"}, "refresh", "must be a Refresh group, not str"),
        ({"refresh": True}, "refresh", "must be a Refresh group, not bool"),
        ({"keys": VERIFIES_ONLY}, "keys", "none of them can sign"),
        ({"profile": profiles.FOREIGN}, "profile", "what we issue follows RFC 9068"),
        ({"audience": ("api", ISSUER)}, "audience", "has the issuer itself"),
        (
            {
                "keys": KeySet.secret(OTHER, SECRET),
                "refresh": refresh(secret=(b"x" + OTHER.encode(), SECRET)),
            },
            "refresh.secret",
            "signs access tokens, too",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    changes: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(ConfigurationError) as found:
        settings(**({"refresh": refresh()} | changes))
    assert found.value.field == field
    assert words in found.value.problem
    assert found.value.remedy


@refuses("RT-20")
@pytest.mark.parametrize(
    "issuer",
    ["http://login.example", "http://localhost.evil.example", "login", "HTTPS://x.example"],
)
def test_cookies_need_an_issuer_in_https(issuer: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^refresh\.cookies: .* must not travel in clear"):
        settings(refresh(cookies=Cookies()), issuer=issuer)
    assert settings(refresh(), issuer=issuer).refresh is not None  # in headers it's the client's


@accepts("RT-20")
@pytest.mark.parametrize("issuer", [ISSUER, "http://localhost:8000", "http://127.0.0.1"])
def test_on_loopback_cookies_need_no_https(issuer: str) -> None:
    assert settings(refresh(cookies=Cookies()), issuer=issuer).issuer == issuer


# --- What is taken


def test_a_secret_may_be_one_or_several() -> None:
    for secret in (SECRET, SECRET.encode()):
        assert refresh(secret=secret).secrets == (secret,)
    group = refresh(secret=[SECRET, OTHER])
    assert group.secrets == (SECRET, OTHER)
    keys = refresh_keys(settings(group).keys, group, ISSUER)
    first, second = (
        refresh_keys(settings(one).keys, one, ISSUER).signer for one in map(_of, (SECRET, OTHER))
    )
    assert keys.signer.kid == first.kid
    assert keys.find(second.kid) is not None


def _of(secret: str) -> Refresh:
    return refresh(secret=secret)


def test_a_store_of_ones_own_is_taken_as_it_is() -> None:
    store = MemoryStore(clock=lambda: 0.0, retention=0)
    assert refresh(store=store).store is store


@pytest.mark.parametrize(
    "hook", [claims_for, awaited_claims_for, partial(claims_for), Hook(), Hook().__call__]
)
def test_a_hook_may_be_any_function(hook: Any) -> None:
    assert refresh(claims_for=hook).claims_for is hook


def test_groups_are_frozen() -> None:
    with pytest.raises(AttributeError):
        refresh().settle = 0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Cookies().access = True  # type: ignore[misc]


@accepts("RT-20")
def test_cookies_have_names_and_attributes_that_browsers_hold_to() -> None:
    jars = Cookies(access=True, access_same_site="Lax", name="shop").jars(ISSUER)
    assert jars.refresh.name("a" * 15 + "b_-45678") == "__Host-shop-b_-45678"
    assert jars.refresh.attributes == "Path=/; HttpOnly; SameSite=Strict; Secure"
    assert jars.access is not None
    assert jars.access.name("a" * 15 + "b_-45678") == "__Host-access_token-b_-45678"
    assert jars.access.attributes == "Path=/; HttpOnly; SameSite=Lax; Secure"
    assert Cookies().jars(ISSUER).access is None


def test_a_login_gives_cookies_or_members_never_both() -> None:
    def login(cookies: Cookies | None) -> tuple[set[str], int]:
        tokens = Issuer(settings(refresh(cookies=cookies))).issue("alice")
        assert (tokens.access_token, tokens.refresh_token) != ("", "")
        return tokens.keys() & {"access_token", "refresh_token"}, len(tokens.cookies)

    assert login(None) == ({"access_token", "refresh_token"}, 0)
    assert login(Cookies()) == ({"access_token"}, 1)
    assert login(Cookies(access=True)) == (set(), 2)


@refuses("RS-41")
def test_a_representation_shows_no_secret() -> None:
    made = settings(refresh(store=f"engine://app:{OTHER}@db.example", secret=SECRET))
    for text in (repr(made), str(made), repr(made.refresh)):
        assert SECRET not in text
        assert OTHER not in text
    assert "settle=60" in repr(made)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_a_copy_holds_the_same_and_is_a_world_of_its_own(again: Callable[[Any], Any]) -> None:
    group = refresh(secret=SECRET, cookies=Cookies(access=True), claims_for=claims_for)
    made = settings(group)
    token = Issuer(made).issue("alice").access_token
    found = again(made)
    assert plain(found.refresh) == plain(group)
    assert "_runtime" not in vars(found)
    assert World(found).get(token=token).status == 200


def test_what_settings_opened_can_be_closed_any_number_of_times() -> None:
    made = settings(refresh())
    made.close()  # nothing is open yet
    asyncio.run(made.aclose())
    issuer = Issuer(made)
    issuer.issue("alice")
    made.close()
    asyncio.run(made.aclose())
    assert len(issuer.grants("alice")) == 1  # and opens again when it is needed


# --- From outside


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a key set and a secret in it."""
    monkeypatch.chdir(tmp_path)
    KEYS.save("keys.json")
    Path("refresh.key").write_text(SECRET + "\n", "utf-8")
    return tmp_path


def from_env(**variables: str) -> Settings:
    base = {"ISSUER": ISSUER, "AUDIENCE": "api", "KEYS": "keys.json"}
    return Settings.from_env({f"JWT_MIDDLEWARE_{k}": v for k, v in (base | variables).items()})


def from_toml(text: str) -> Settings:
    head = f'[jwt_middleware]\nissuer = "{ISSUER}"\naudience = "api"\nkeys = "keys.json"\n'
    Path("app.toml").write_text(head + text, "utf-8")
    return Settings.from_toml("app.toml")


def from_mapping(group: Any) -> Settings:
    return Settings.from_mapping(BASE | {"refresh": group})


FULL: dict[str, Any] = {
    "store": "sqlite:///grants.db?synchronous=NORMAL",
    "serve": True,
    "secret": [SECRET, OTHER],
    "cookies": {"access": True, "access_same_site": "Lax", "header": "X-Shop", "name": "shop"},
    "claims_for": "tests.settings.test_groups:claims_for",
    "client_id": "shop",
    "path": "/session",
    "sessions": True,
    "metadata": False,
    "public_url": "https://shop.example/app",
    "access_lifetime": 300,
    "idle_limit": 86400,
    "absolute_limit": 172800.5,
    "grants_per_subject": 5,
    "settle": 0.5,
    "restore_limit": 2,
    "sync_every": 0,
    "sync_wait": 2.5,
    "sync_limit": 30,
    "sync_failure": "open",
}
TOML = """
[jwt_middleware.refresh]
store = "sqlite:///grants.db?synchronous=NORMAL"
serve = true
secret = ["%s", "%s"]
claims_for = "tests.settings.test_groups:claims_for"
client_id = "shop"
path = "/session"
sessions = true
metadata = false
public_url = "https://shop.example/app"
access_lifetime = 300
idle_limit = 86400
absolute_limit = 172800.5
grants_per_subject = 5
settle = 0.5
restore_limit = 2
sync_every = 0
sync_wait = 2.5
sync_limit = 30
sync_failure = "open"

[jwt_middleware.refresh.cookies]
access = true
access_same_site = "Lax"
header = "X-Shop"
name = "shop"
"""


def test_all_sources_mean_the_same(folder: Path) -> None:
    cookies = Cookies(**FULL["cookies"])
    by_hand = refresh(**(FULL | {"claims_for": claims_for} | {"cookies": cookies}))
    flat = {f"REFRESH__{name.upper()}": value for name, value in FULL.items() if name != "cookies"}
    flat |= {f"REFRESH__COOKIES__{name.upper()}": one for name, one in FULL["cookies"].items()}
    variables = {k: v if isinstance(v, str) else json.dumps(v) for k, v in flat.items()}
    for made in (
        from_mapping(FULL),
        from_mapping(by_hand),
        from_toml(TOML % (SECRET, OTHER)),
        from_env(**variables),
        from_env(REFRESH=json.dumps(FULL)),
    ):
        assert plain(made.refresh) == plain(by_hand)
    assert {one.name for one in fields(Refresh)} - FULL.keys() == {"jwks_path", "former", "migrate"}


def test_a_mounted_secret_is_read_from_its_file(folder: Path) -> None:
    made = from_env(REFRESH__STORE="memory://", REFRESH__SECRET_FILE="refresh.key")
    assert made.refresh is not None
    assert made.refresh.secrets == (SECRET,)
    Path("store.url").write_text("memory://\n", "utf-8")
    assert from_env(REFRESH__STORE_FILE="store.url").refresh is not None


def test_an_empty_table_turns_cookies_on(folder: Path) -> None:
    for made in (
        from_mapping({"store": "memory://", "cookies": {}}),
        from_toml('refresh = { store = "memory://", cookies = {} }'),
        from_env(REFRESH__STORE="memory://", REFRESH__COOKIES="{}"),
        from_env(REFRESH__STORE="memory://", REFRESH__COOKIES__ACCESS="false"),
    ):
        assert made.refresh is not None
        assert plain(made.refresh.cookies) == plain(Cookies())


def test_without_the_group_a_service_only_verifies(folder: Path) -> None:
    for made in (from_env(), from_toml(""), from_mapping(None)):
        assert made.refresh is None


def test_octets_of_a_mapping_are_a_secret() -> None:
    made = from_mapping({"store": "memory://", "secret": SECRET.encode()})
    assert made.refresh is not None
    assert made.refresh.secrets == (SECRET.encode(),)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"COOKIES": "{}"}, "STORE: is missing"),
        ({"STORE": "grants.db"}, "STORE: is no URL"),
        ({"STORE": "memory://", "SECRET": SECRET[:20]}, "SECRET: a secret of 20 octets is too"),
        ({"STORE": "memory://", "SECRET": f'["{SECRET}", 1]'}, r"SECRET\[1\]: must be text"),
        ({"STORE": "memory://", "SECRET_FILE": "none"}, "SECRET_FILE: the file can't be read"),
        ({"STORE": "memory://", "SETTLE": "301"}, "SETTLE: must be 0 to 300 seconds"),
        ({"STORE": "memory://", "RESTORE_LIMIT": "1.5"}, "RESTORE_LIMIT: must be a whole number"),
        ({"STORE": "memory://", "SYNC_FAILURE": "x"}, "SYNC_FAILURE: must be one of closed, open"),
        ({"STORE": "memory://", "CLAIMS_FOR": "claims"}, 'CLAIMS_FOR: must be "module:function"'),
        ({"STORE": "memory://", "COOKIES": "yes"}, "COOKIES: must be a table, in JSON"),
        ({"STORE": "memory://", "COOKIES__ACCESS": "1"}, "COOKIES__ACCESS: must be true or false"),
        ({"STORE": "memory://", "COOKIES__NAME": "a b"}, "COOKIES__NAME: must be a token"),
        ({"STORE": "memory://", "COOKIES": '{"name": "a b"}'}, "COOKIES.name: must be a token"),
        ({"STORE": "memory://", "COOKIES": '{"nam": ""}'}, "COOKIES.nam: no such setting .did you"),
        ({"STOER": "memory://"}, "STOER: no such setting .did you mean JWT_MIDDLEWARE_REFRESH__ST"),
    ],
)
def test_a_wrong_variable_of_a_group_is_named(
    folder: Path, variables: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^JWT_MIDDLEWARE_REFRESH__{message}"):
        from_env(**{f"REFRESH__{name}": value for name, value in variables.items()})


def test_what_only_goes_together_is_named_as_its_source_calls_it(folder: Path) -> None:
    clear = {"ISSUER": "http://login.example", "REFRESH__STORE": "memory://"}
    with pytest.raises(ConfigurationError, match=r"^JWT_MIDDLEWARE_REFRESH__COOKIES: cookies with"):
        from_env(**clear, REFRESH__COOKIES="{}")
    document = {"issuer": "http://login.example", "refresh": FULL}
    with pytest.raises(ConfigurationError, match=r"^refresh\.cookies: cookies with"):
        Settings.from_mapping(BASE | document)
    with pytest.raises(ConfigurationError, match=r"^JWT_MIDDLEWARE_REFRESH__IDLE_LIMIT: is longer"):
        from_env(REFRESH__STORE="memory://", REFRESH__ABSOLUTE_LIMIT="3600")


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"cookies": None, "claims_for": None}, True),
        ({"cookies": {}, "secret": SECRET}, True),
        ({"store": None}, False),
        ({"settle": 301}, False),
        ({"restore_limit": 1.5}, False),
        ({"cookies": {"access_same_site": "None"}}, False),
        ({"cookies": True}, False),
        ({"secret": 5}, False),
    ],
)
def test_what_fits_the_schema_is_taken_and_nothing_else(change: dict[str, Any], fits: bool) -> None:
    jwks = {"keys": [key.to_jwk() for key in KEYS.keys]}
    document = {"issuer": ISSUER, "audience": "api", "keys": {"jwks": jwks}}
    document["refresh"] = FULL | change
    jsonschema: Any = importlib.import_module("jsonschema")
    schema = Settings.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid(document) is fits
    if fits:
        assert Settings.from_mapping(document).refresh is not None
        return
    with pytest.raises(ConfigurationError):
        Settings.from_mapping(document)


def test_the_schema_tells_limits_and_defaults() -> None:
    group = Settings.json_schema()["$defs"]["Refresh"]
    assert group["required"] == ["store"]
    assert group["properties"]["store"]["type"] == "string"
    for name, limits in LIMITS.items():
        entry = group["properties"][name]
        assert (entry["minimum"], entry["maximum"]) == (limits["minimum"], limits["maximum"])
        assert entry["default"] == getattr(refresh(), name)
