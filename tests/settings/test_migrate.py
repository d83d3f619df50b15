"""`Migration`: what may be said of a former library, in every source, and what is refused."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import (
    ConfigurationError,
    KeySet,
    Migration,
    Refresh,
    Settings,
    TrustedIssuer,
    migrations,
)
from jwt_middleware.token.former_libraries import FormerLibrary
from tests.grant.former import OTHER, SECRET, UNTIL
from tests.rules import accepts, refuses
from tests.world import NOW, standing

ES = KeySet.generate("ES256")
PUBLIC = KeySet.from_jwks(ES.public_jwks())
NAMED = {"refresh": {"kind": "refresh"}, "access": {"kind": "access"}}


def is_blocked(claims: Any) -> bool:
    return bool(claims)


def subject(claims: Any) -> str:
    return str(claims["sub"])


def migration(**changes: Any) -> Migration:
    given: dict[str, Any] = {
        "library": migrations.FLASK_JWT_EXTENDED,
        "until": UNTIL,
        "secret": SECRET,
    }
    return Migration(**(given | changes))


def settings(group: Migration) -> Settings:
    return Settings(
        issuer="https://login.example",
        audience="https://api.example",
        keys=KeySet.generate("ES256"),
        clock=standing,
        refresh=Refresh(store="memory://", migrate=group),
    )


def said(error: pytest.ExceptionInfo[ConfigurationError]) -> str:
    assert error.value.remedy
    assert SECRET not in str(error.value)
    return str(error.value)


def library(**changes: Any) -> FormerLibrary:
    return migrations.SIMPLEJWT.replace(**changes)


@refuses("RT-34")
@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"library": "SIMPLEJWT"}, "library", "must be a FormerLibrary, not str"),
        ({"library": library(name=5)}, "library", "`name` of 5 must be text"),
        ({"library": library(audience=None)}, "library", "`audience` of SIMPLEJWT must be text"),
        ({"library": library(refresh_cookie=1)}, "library", "`refresh_cookie`"),
        ({"library": library(subject_claim="")}, "library", "must not be empty"),
        ({"library": library(types=())}, "library", "the types of SIMPLEJWT match no token"),
        ({"library": library(types=["JWT"])}, "library", "match no token"),
        ({"library": library(types=["rt+jwt"])}, "library", "match no token"),
        ({"library": library(refresh="refresh")}, "library", "must be tables"),
        ({"library": library(access={"type": 1.5})}, "library", "must be tables"),
        ({"library": library(scope_claims="scope")}, "library", "`scope_claims`"),
        ({"library": library(answer={"token": "t"})}, "library", "`answer` of SIMPLEJWT"),
        ({"library": library(answer={"access_token": 'a"b'})}, "library", "`answer`"),
        ({"library": library(answer=["access"])}, "library", "`answer`"),
        ({"library": library(bearer="yes")}, "library", "`bearer` of SIMPLEJWT must be True"),
        ({"library": library(access_cookie="a b")}, "library", "must be a token of RFC 9110"),
        (
            {"library": library(access_cookie="t", refresh_cookie="t")},
            "library",
            "a cookie's name of SIMPLEJWT is named twice",
        ),
        ({"library": migrations.PYJWT}, "library", "doesn't tell a refresh token from an access"),
        ({"library": library(access={"token_type": "refresh"})}, "library", "doesn't tell"),
        ({"library": library(access={})}, "library", "doesn't tell"),
        ({"library": migrations.FASTAPI_USERS}, "", "does nothing"),
        ({"library": migrations.AUTHLIB, "routes": ("/a",), "path": "/b"}, "path", "has none"),
        (
            {"library": migrations.PYJWT.replace(refresh=None), "routes": ("/a",)},
            "routes",
            "can't be told from other tokens",
        ),
        (
            {"library": migrations.PYJWT.replace(separate_keys=True), "routes": ("/a",)},
            "routes",
            "can't be told",
        ),
        ({"until": "soon"}, "until", "must be a date"),
        ({"secret": ()}, "secret", "exactly one of the two"),
        ({"keys": PUBLIC}, "secret", "exactly one of the two"),
        ({"secret": 5}, "secret", "text or octets"),
        ({"secret": [5]}, "secret", "text or octets"),
        ({"secret": "short"}, "secret", "too short: HS256 needs at least 32"),
        ({"algorithm": "HS512", "secret": SECRET[:63]}, "secret", "HS512 needs at least 64"),
        ({"algorithm": "RS256"}, "algorithm", 'must be "HS256"'),
        ({"secret": (), "keys": "k.json"}, "keys", "must be a KeySet"),
        ({"secret": (), "keys": KeySet.remote("https://x.example/k")}, "keys", "are fetched"),
        ({"issuer": "two words"}, "issuer", "has white space"),
        ({"audience": 5}, "audience", "must be a tuple"),
        ({"routes": "/api/*"}, "routes", "must be a tuple"),
        ({"routes": (5,)}, "routes", "int is no path"),
        ({"routes": ("api",)}, "routes", "must begin with /"),
        ({"routes": ("/a", "/a")}, "routes", "two rules"),
        ({"routes": ("/a{x}",)}, "routes", "path parameters don't exist here"),
        ({"routes": ("/é",)}, "routes", "can't be public or optional"),
        ({"path": "refresh"}, "path", "is no path"),
        ({"path": "/.well-known/x"}, "path", "is no path"),
        ({"path": "/a/../b"}, "path", "is no path"),
        ({"is_blocked": "no"}, "is_blocked", "must be a function of the claims"),
        ({"subject": 5}, "subject", "must be a function of the claims"),
        ({"scope": "a  b"}, "scope", "words separated by one space"),
        ({"claims": ("sub",)}, "claims", "'sub' is no name of a claim of the application's own"),
        ({"claims": ("",)}, "claims", "is no name"),
        ({"claims": "roles"}, "claims", "must be a tuple"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as found:
        migration(**changes)
    where = f"refresh.migrate.{field}" if field else "refresh.migrate"
    assert said(found).startswith(f"{where}: ")
    assert words in said(found)


@refuses("RT-34")
@pytest.mark.parametrize(
    ("changes", "refresh", "more", "words"),
    [
        ({}, {"serve": False, "store": "sqlite:///a.db"}, {}, "migrate: is for the service"),
        (
            {},
            {},
            {"keys": KeySet.secret(SECRET)},
            "migrate.secret: signs access tokens, too",
        ),
        ({}, {"secret": SECRET}, {}, "migrate.secret: signs our refresh tokens, too"),
        (
            {"secret": (), "keys": PUBLIC},
            {},
            {"keys": ES},
            "migrate.secret: signs access tokens, too",
        ),
        ({"until": NOW + 30 * 86400 + 1}, {}, {}, "migrate.until: is later than absolute_limit"),
        (
            {"issuer": "https://other.example"},
            {},
            {
                "trusted_issuers": (
                    TrustedIssuer(issuer="https://other.example", audience="x", keys=PUBLIC),
                )
            },
            "migrate.issuer: is a trusted issuer",
        ),
        ({"path": "/auth/refresh"}, {}, {}, "migrate.path: is an endpoint of ours"),
        ({"path": "/auth/revoke"}, {}, {}, "migrate.path: is an endpoint of ours"),
        ({"path": "/auth/sessions"}, {"sessions": True}, {}, "migrate.path: is an endpoint"),
    ],
)
def test_what_doesnt_fit_the_settings_is_named(
    changes: Any, refresh: Any, more: Any, words: str
) -> None:
    group: dict[str, Any] = {"store": "memory://", "migrate": migration(**changes), **refresh}
    given: dict[str, Any] = {"keys": KeySet.generate("ES256"), **BASE, **more}
    given["refresh"] = Refresh(**group)
    with pytest.raises(ConfigurationError) as found:
        Settings(clock=standing, **given)
    assert said(found).startswith(f"refresh.{words}")


@accepts("RT-34")
def test_what_fits_is_taken() -> None:
    for one in (
        migration(until=NOW + 30 * 86400),
        migration(until=NOW - 86400),  # over: a restart must not fail
        migration(secret=(SECRET, OTHER.encode())),
        migration(secret=(), keys=PUBLIC),
        migration(secret=SECRET, algorithm="HS512"),
        migration(library=migrations.PYJWT.replace(**NAMED), routes=("/api/*", "/x")),
        migration(library=migrations.PYJWT.replace(separate_keys=True)),
        migration(library=migrations.AUTHLIB, routes=("/a",)),
        migration(library=migrations.FASTAPI_USERS, routes=("/a",), audience=["x", "y"]),
        migration(library=migrations.PYJWT.replace(refresh=None), audience="x", routes=("/a",)),
        migration(path="/api/token/refresh/"),
    ):
        made = settings(one)
        assert plain(pickle.loads(pickle.dumps(made)))["until"] == one.until
    assert migration(library=migrations.FASTAPI_USERS, routes=("/a",)).audiences == {
        "fastapi-users:auth"
    }
    assert SECRET not in repr(migration())


def test_presets_have_their_names() -> None:
    for name, preset in migrations.LIBRARIES.items():
        assert preset.name == name
        assert getattr(migrations, name) is preset


FULL: dict[str, Any] = {
    "library": {"base": "SIMPLEJWT", "subject_claim": "sub", "types": ["jwt", ""]},
    "until": "2027-02-01",
    "secret": [SECRET, OTHER],
    "algorithm": "HS384",
    "issuer": "https://old.example",
    "audience": ["a", "b"],
    "routes": ["/api/*"],
    "path": "/api/token/refresh/",
    "is_blocked": "tests.settings.test_migrate:is_blocked",
    "subject": "tests.settings.test_migrate:subject",
    "scope": "read write",
    "claims": ["roles"],
}
BASE = {"issuer": "https://login.example", "audience": "https://api.example"}
TOML = """
[jwt_middleware]
issuer = "https://login.example"
audience = "https://api.example"
keys = {{ file = "keys.json" }}
clock = "tests.world:standing"

[jwt_middleware.refresh]
store = "memory://"

[jwt_middleware.refresh.migrate]
library = {{ base = "SIMPLEJWT", subject_claim = "sub", types = ["jwt", ""] }}
until = 2027-02-01
secret = ["{}", "{}"]
algorithm = "HS384"
issuer = "https://old.example"
audience = ["a", "b"]
routes = ["/api/*"]
path = "/api/token/refresh/"
is_blocked = "tests.settings.test_migrate:is_blocked"
subject = "tests.settings.test_migrate:subject"
scope = "read write"
claims = ["roles"]
"""


def plain(made: Settings) -> dict[str, Any]:
    assert made.refresh is not None
    assert made.refresh.migrate is not None
    return vars(made.refresh.migrate)


def test_all_sources_mean_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ES.save("keys.json")
    Path("config.toml").write_text(TOML.format(SECRET, OTHER), "utf-8")
    changed: dict[str, Any] = {
        "library": library(subject_claim="sub", types=frozenset(("jwt", ""))),
        "is_blocked": is_blocked,
        "subject": subject,
    }
    by_hand = Migration(**FULL | changed)
    mapping = {
        **BASE,
        "keys": "keys.json",
        "clock": standing,
        "refresh": {"store": "memory://", "migrate": FULL},
    }
    head = "JWT_MIDDLEWARE_"
    flat = {f"REFRESH__MIGRATE__{name.upper()}": value for name, value in FULL.items()}
    environ = {
        f"{head}{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in {
            "ISSUER": BASE["issuer"],
            "AUDIENCE": BASE["audience"],
            "KEYS": "keys.json",
            "CLOCK": "tests.world:standing",
            "REFRESH__STORE": "memory://",
            **flat,
        }.items()
    }
    for made in (
        Settings.from_mapping(mapping),
        Settings.from_mapping({**mapping, "refresh": {"store": "memory://", "migrate": by_hand}}),
        Settings.from_toml("config.toml"),
        Settings.from_env(environ),
    ):
        assert plain(made) == vars(by_hand)
    assert by_hand.ends_at == datetime(2027, 2, 1, tzinfo=UTC).timestamp()


@refuses("RT-34")
def test_a_preset_that_isnt_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="must be one of FLASK_JWT_EXTENDED, SIMPLEJWT"):
        Settings.from_mapping(
            {
                **BASE,
                "keys": ES,
                "refresh": {"store": "memory://", "migrate": {**FULL, "library": "DJOSER"}},
            }
        )


def test_the_schema_has_the_presets() -> None:
    found = Settings.json_schema()["$defs"]
    assert found["FormerLibrary"]["properties"]["base"]["default"] == "PYJWT"
    assert {"enum": list(migrations.LIBRARIES)} in found["Migration"]["properties"]["library"][
        "anyOf"
    ]
    assert found["Migration"]["required"] == ["library", "until"]
