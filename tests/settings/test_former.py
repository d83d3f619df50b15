"""`Former`: what may be said of what signed before, in every source, and what is refused."""

from __future__ import annotations

import importlib
import json
import pickle
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Former, KeySet, Refresh, Settings
from jwt_middleware.settings.refresh_secrets import refresh_keys
from jwt_middleware.token.refresh import RefreshKeys, check, derive, from_text, mint
from jwt_middleware.values.bare_grants import bare_grant
from jwt_middleware.values.errors import InvalidGrant
from tests.rules import accepts, refuses

SECRET, OTHER = "8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd", "x2K9pTz4_qWvE7sYdN0bGhJ5mRcL8uFa"
ES, HS = KeySet.generate("ES256"), KeySet.secret(OTHER)
PUBLIC = KeySet.from_jwks(ES.public_jwks())
ISSUER, OLD = "https://id.example", "https://login.example"
NOON = datetime(2030, 1, 31, 12, tzinfo=UTC).timestamp()
MIDNIGHT = NOON - 12 * 3600


def former(**changes: Any) -> Former:
    said: dict[str, Any] = {"until": "2030-01-31", "secret": SECRET}
    return Former(**(said | changes))


def settings(*entries: Former, keys: KeySet = ES, **group: Any) -> Settings:
    return Settings(
        issuer=ISSUER,
        audience="https://api.example",
        keys=keys,
        refresh=Refresh(store="memory://", former=entries, **group),
    )


def keys_of(made: Settings) -> RefreshKeys:
    assert made.refresh is not None
    return refresh_keys(made.keys, made.refresh, made.issuer, made.keys.source)


# --- the date


@pytest.mark.parametrize(
    ("until", "seconds"),
    [
        ("2030-01-31", MIDNIGHT),
        (date(2030, 1, 31), MIDNIGHT),
        ("2030-01-31T12:00", NOON),
        ("2030-01-31T12:00:00Z", NOON),
        ("2030-01-31 14:00:00+02:00", NOON),
        (datetime(2030, 1, 31, 12), NOON),  # noqa: DTZ001  (as TOML gives it)
        (datetime(2030, 1, 31, 10, tzinfo=timezone(timedelta(hours=-2))), NOON),
        (int(NOON), NOON),
        (NOON + 0.5, NOON + 0.5),
        ("2001-09-10", 1_000_080_000.0),
    ],
)
def test_a_date_is_a_moment(until: Any, seconds: float) -> None:
    made = former(until=until)
    assert (made.ends_at, type(made.ends_at)) == (seconds, float)
    assert replace(made).ends_at == seconds


@pytest.mark.parametrize(
    "until",
    [
        *(None, True, "", "soon", "2030-02-30", "30 days", time(12), timedelta(days=30), [2030]),
        *(30, 0, -1, NOON * 1000, float("nan"), float("inf"), str(int(NOON)), "1999-12-31"),
        datetime.max,  # noqa: DTZ901
    ],
)
def test_what_is_no_date_is_refused(until: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^refresh\.former\.until: must be a date") as why:
        former(until=until)
    assert "2030-01-31" in why.value.remedy


def test_a_date_is_needed() -> None:
    with pytest.raises(TypeError, match="until"):
        Former(secret=SECRET)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# --- what signed then


@refuses("RS-19", "RS-20")
@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"secret": ()}, "former", "doesn't say what signed then"),
        ({"secret": "short"}, "former.secret", "too short"),
        ({"secret": "a" * 64}, "former.secret", "repeats itself"),
        ({"secret": (SECRET, "correct horse battery staple and more")}, "former.secret", "guessed"),
        ({"secret": (SECRET, SECRET.encode())}, "former.secret", "one secret twice"),
        ({"secret": 5}, "former.secret", "text or octets"),
        ({"keys": "keys.json"}, "former.keys", "must be a KeySet, not str"),
        ({"keys": PUBLIC}, "former.keys", "has no private key and no secret"),
        ({"keys": KeySet.remote("https://login.example/jwks")}, "former.keys", "has no private"),
        ({"issuer": None}, "former.issuer", "must be a non-empty string"),
        ({"issuer": "two words"}, "former.issuer", "has white space"),
    ],
)
def test_what_signed_then_must_be_said_and_be_strong(
    changes: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(ConfigurationError) as found:
        former(**changes)
    assert (found.value.field, words in found.value.problem) == (f"refresh.{field}", True)
    assert found.value.remedy
    assert SECRET not in str(found.value)


@pytest.mark.parametrize("wrong", [former(), "former", {"until": NOON}, (SECRET,)])
def test_the_field_is_a_tuple_of_entries(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^refresh\.former: "):
        Refresh(store="memory://", former=wrong)


def test_who_issues_nothing_has_no_former() -> None:
    with pytest.raises(ConfigurationError, match=r"^refresh\.serve: .* former"):
        Refresh(store="sqlite:///grants.db", serve=False, former=(former(),))


@pytest.mark.parametrize(
    ("entry", "group"),
    [
        (former(), {"secret": SECRET}),
        (former(issuer=ISSUER), {"secret": (OTHER, SECRET)}),
        (former(secret=(), keys=ES), {}),
        (former(secret=(), issuer=ISSUER), {}),
        (former(secret=(), issuer=ISSUER), {"secret": SECRET}),
    ],
)
def test_what_signs_now_is_not_called_former(entry: Former, group: dict[str, Any]) -> None:
    """Whoever gives the new secret in both places would log everybody out, and not know."""
    assert settings(former(secret=b"x" + SECRET.encode()), **group).refresh is not None
    with pytest.raises(ConfigurationError, match=r"^refresh\.former: does nothing: .*entry 1"):
        settings(entry, **group)


@accepts("RS-25")
@refuses("RS-25")
def test_a_secret_of_access_tokens_signs_no_refresh_tokens() -> None:
    with pytest.raises(ConfigurationError, match=r"^refresh\.former: signs access tokens, too"):
        settings(former(secret=OTHER), keys=HS)
    # What was derived from it is another, also where it is in force.
    assert settings(former(secret=(), keys=HS), keys=HS, secret=SECRET).refresh is not None


def test_a_date_in_the_past_is_allowed_and_verifies_nothing() -> None:
    keys = keys_of(settings(former(until="2020-01-01")))
    with pytest.raises(InvalidGrant) as found:
        check(token(from_text(SECRET), ISSUER), keys, now=NOON)
    assert found.value.reason == "expired"


# --- what verifies what


def token(key: Any, issuer: str) -> str:
    grant = bare_grant("g", "alice", now=NOON, expires_at=NOON + 10**9, client_id="app")
    return mint(RefreshKeys([key], issuer), grant=grant, jti="j", now=NOON, agent=None)


@accepts("RT-30.1")
@refuses("RT-30.1")
@pytest.mark.parametrize(
    ("entry", "group", "taken"),
    [
        (former(), {}, [(from_text(SECRET), ISSUER)]),
        (former(issuer=OLD), {}, [(from_text(SECRET), OLD)]),
        (former(secret=(SECRET, OTHER)), {}, [(from_text(one), ISSUER) for one in (SECRET, OTHER)]),
        (former(secret=(), keys=HS), {}, [(derive(HS.keys[0], ISSUER), ISSUER)]),
        (former(secret=(), keys=HS, issuer=OLD), {}, [(derive(HS.keys[0], OLD), OLD)]),
        (former(secret=(), issuer=OLD), {}, [(derive(ES.keys[0], OLD), OLD)]),
        (
            former(secret=(), issuer=OLD),
            {"secret": (SECRET, OTHER)},
            [(from_text(SECRET), OLD), (from_text(OTHER), OLD)],
        ),
        (former(keys=HS), {}, [(derive(HS.keys[0], ISSUER), ISSUER), (from_text(SECRET), ISSUER)]),
    ],
)
def test_an_entry_verifies_exactly_what_signed_then(
    entry: Former, group: dict[str, Any], taken: list[Any]
) -> None:
    keys = keys_of(settings(entry, **group))
    present = {one.kid for one in map(from_text, settings(**group).refresh.secrets)}  # type: ignore[union-attr]
    secrets = [from_text(SECRET), from_text(OTHER)]
    secrets += [derive(one.keys[0], name) for one in (ES, HS) for name in (ISSUER, OLD)]
    for key in secrets:
        for name in (ISSUER, OLD):
            is_present = key.kid == keys.signer.kid or key.kid in present
            is_taken = (is_present and name == ISSUER) or any(
                (one.kid, at) == (key.kid, name) for one, at in taken
            )
            text = token(key, name)
            if is_taken:
                assert check(text, keys, now=MIDNIGHT - 1).grant_id == "g"
            else:
                with pytest.raises(InvalidGrant):
                    check(text, keys, now=MIDNIGHT - 1)


def test_of_two_dates_for_one_secret_the_later_counts() -> None:
    for dates in (("2030-01-31", "2030-01-01"), ("2030-01-01", "2030-01-31")):
        keys = keys_of(settings(*(former(until=one) for one in dates)))
        assert keys.until(from_text(SECRET).kid, ISSUER) == MIDNIGHT
    # And none for what signs now.
    both = settings(former(secret=(SECRET, OTHER)), secret=SECRET)
    assert keys_of(both).until(from_text(SECRET).kid, ISSUER) == float("inf")


# --- from outside


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    ES.save("keys.json")
    HS.save("old.json")
    return tmp_path


ENTRIES: list[dict[str, Any]] = [
    {"until": "2030-01-31", "secret": [SECRET, OTHER]},
    {"until": "2030-01-31T12:00:00Z", "keys": "old.json", "issuer": OLD},
    {"until": int(NOON), "issuer": OLD},
]
TOML = f"""
[jwt_middleware]
issuer = "{ISSUER}"
audience = "https://api.example"
keys = "keys.json"

[jwt_middleware.refresh]
store = "memory://"

[[jwt_middleware.refresh.former]]
until = 2030-01-31
secret = ["{SECRET}", "{OTHER}"]

[[jwt_middleware.refresh.former]]
until = 2030-01-31T12:00:00Z
keys = "old.json"
issuer = "{OLD}"

[[jwt_middleware.refresh.former]]
until = {int(NOON)}
issuer = "{OLD}"
"""
BASE = {"issuer": ISSUER, "audience": "https://api.example", "keys": "keys.json"}


def plain(made: Settings) -> list[Any]:
    assert made.refresh is not None
    return [
        (one.ends_at, one.secrets, one.keys and one.keys.keys[0].kid, one.issuer)
        for one in made.refresh.former
    ]


def variables(**group: str) -> dict[str, str]:
    named = {name.upper(): value for name, value in BASE.items()}
    named |= {f"REFRESH__{name}": value for name, value in group.items()}
    return {f"JWT_MIDDLEWARE_{name}": value for name, value in named.items()}


def test_all_sources_mean_the_same(folder: Path) -> None:
    by_hand = [
        (MIDNIGHT, (SECRET, OTHER), None, ""),
        (NOON, (), HS.keys[0].kid, OLD),
        (NOON, (), None, OLD),
    ]
    Path("app.toml").write_text(TOML, "utf-8")
    Path("former.json").write_text(json.dumps(ENTRIES), "utf-8")
    document = BASE | {"refresh": {"store": "memory://", "former": ENTRIES}}
    for made in (
        Settings.from_toml("app.toml"),
        Settings.from_mapping(document),
        Settings.from_env(variables(STORE="memory://", FORMER=json.dumps(ENTRIES))),
        Settings.from_env(variables(STORE="memory://", FORMER_FILE="former.json")),
    ):
        assert plain(made) == by_hand
        # Read once more, say by `replace`, it means the same, in a copy, too.
        assert plain(made.replace()) == plain(pickle.loads(pickle.dumps(made))) == by_hand


@pytest.mark.parametrize(
    ("entry", "place", "words"),
    [
        ({"secret": SECRET}, "[0].until", "is missing"),
        ({"until": "soon", "secret": SECRET}, "[0].until", "must be a date"),
        ({"until": True, "secret": SECRET}, "[0].until", "must be text or a number or a date"),
        ({"until": "2030-01-31", "secret": "short"}, "[0].secret", "too short"),
        ({"until": "2030-01-31", "keys": {"remote": {}}}, "[0].keys", "has no private key"),
        ({"until": "2030-01-31"}, "[0]", "doesn't say what signed then"),
        ({"until": "2030-01-31", "issuer": ISSUER}, "", "does nothing"),
        ({"till": "2030-01-31"}, "[0].till", "no such setting"),
    ],
)
def test_what_is_wrong_is_named_as_its_source_calls_it(
    folder: Path, entry: dict[str, Any], place: str, words: str
) -> None:
    document = BASE | {"refresh": {"store": "memory://", "former": [entry]}}
    with pytest.raises(ConfigurationError) as found:
        Settings.from_mapping(document)
    assert (found.value.field, words in found.value.problem) == (f"refresh.former{place}", True)
    with pytest.raises(ConfigurationError) as found:
        Settings.from_env(variables(STORE="memory://", FORMER=json.dumps([entry])))
    assert found.value.field == f"JWT_MIDDLEWARE_REFRESH__FORMER{place}"
    assert SECRET not in str(found.value)


def test_toml_has_times_that_are_no_dates(folder: Path) -> None:
    Path("app.toml").write_text(TOML.replace("until = 2030-01-31\n", "until = 12:00:00\n"), "utf-8")
    with pytest.raises(ConfigurationError, match="must be text or a number or a date"):
        Settings.from_toml("app.toml")


def test_the_schema_knows_entries(folder: Path) -> None:
    jsonschema: Any = importlib.import_module("jsonschema")
    schema = Settings.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for entry, fits in (
        *((one, True) for one in ENTRIES),
        ({"secret": SECRET}, False),
        ({"until": True, "secret": SECRET}, False),
        ({"until": "2030-01-31", "till": 1}, False),
    ):
        document = BASE | {"refresh": {"store": "memory://", "former": [entry]}}
        assert validator.is_valid(document) is fits, entry
    group = schema["$defs"]["Former"]
    assert group["required"] == ["until"]
    assert schema["$defs"]["Refresh"]["properties"]["former"]["default"] == []


def test_a_representation_shows_no_secret() -> None:
    text = repr(settings(former(secret=(SECRET, OTHER)), former(secret=(), keys=HS)))
    assert "former=(Former(until=" in text
    for secret in (SECRET, OTHER):
        assert secret not in text
