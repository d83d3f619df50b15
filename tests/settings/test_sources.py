"""Settings from variables, TOML and mappings: one meaning, strict types, errors without secrets."""

import importlib
import json
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware import ConfigurationError, KeySet, Route, Settings, profiles
from jwt_middleware.jose.jwk import generate
from jwt_middleware.keys import Fetched
from jwt_middleware.keys.remote import Remote
from jwt_middleware.settings import loading as sources
from jwt_middleware.settings.json_schema import json_schema
from jwt_middleware.token.claims import TokenCheck
from tests.rules import accepts, refuses

SECRET = "wq8eZ1v-8RkTn5iB0yq2mJxUa4cLs7dHf3gPo6tVb9E"  # made up
OTHER = "pB9xMvU2rYd6TqLw8cKz4nHj1gFs7eAo5iVt3bXmQ0R"
JWKS: dict[str, Any] = {"keys": [generate("ES256", kid="one").to_jwk()]}
BASE: dict[str, Any] = {"issuer": "https://login.example", "audience": "api"}
VARIABLES = {"JWT_MIDDLEWARE_ISSUER": "https://login.example", "JWT_MIDDLEWARE_AUDIENCE": "api"}


def check(token: object) -> bool:
    return True


def pem(algorithm: str, password: bytes | None = None) -> str:
    private: Any = generate(algorithm).private
    locked = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    format = serialization.PrivateFormat.PKCS8
    return private.private_bytes(serialization.Encoding.PEM, format, locked).decode()


BARE: dict[str, Any] = {
    "keys": [
        {name: value for name, value in generate(algorithm).to_jwk().items() if name != "alg"}
        for algorithm in ("RS256", "Ed25519")
    ]
}
PEM, RSA_PEM, LOCKED_PEM = pem("ES256"), pem("RS256"), pem("ES256", b"open sesame")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a key set in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.json").write_text(json.dumps(JWKS), "utf-8")
    return tmp_path


def from_env(**variables: str) -> Settings:
    named = {f"JWT_MIDDLEWARE_{name}": value for name, value in variables.items()}
    return Settings.from_env({"PATH": "/usr/bin"} | VARIABLES | named)


def from_mapping(**changes: Any) -> Settings:
    return Settings.from_mapping(BASE | {"keys": {"jwks": JWKS}} | changes)


def kids(settings: Settings) -> list[str]:
    return [key.kid for key in settings.keys.keys]


def comparable(settings: Settings) -> dict[str, Any]:
    return {name: value for name, value in vars(settings).items() if name != "keys"}


# -- One meaning


def test_the_three_sources_mean_the_same(folder: Path) -> None:
    (folder / "app.toml").write_text(
        """
        [jwt_middleware]
        issuer = "https://login.example"
        audience = ["api", "old-api"]
        keys = "keys.json"
        profile = "FOREIGN"
        leeway = 12.5
        realm = "shop"
        credentials_header = "X-Token"
        origins = ["https://app.example"]
        problem_details = true
        checks = ["tests.settings.test_sources:check"]
        on_event = "builtins:print"
        clock = "jwt_middleware.settings:wall_clock"

        [[jwt_middleware.routes]]
        path = "/login"
        public = true

        [[jwt_middleware.routes]]
        path = "/admin/*"
        methods = ["GET", "POST"]
        scope = "admin"
        max_age = 600
        """,
        "utf-8",
    )
    routes = (
        Route("/login", public=True),
        Route("/admin/*", methods=("GET", "POST"), scope="admin", max_age=600),
    )
    by_hand = Settings(
        issuer="https://login.example",
        audience=("api", "old-api"),
        keys=KeySet.load("keys.json"),
        routes=routes,
        profile=profiles.FOREIGN,
        leeway=12.5,
        realm="shop",
        credentials_header="X-Token",
        origins=("https://app.example",),
        problem_details=True,
        checks=(check,),
        on_event=print,
    )
    by_toml = Settings.from_toml("app.toml")
    by_variables = from_env(
        AUDIENCE='["api", "old-api"]',
        KEYS="keys.json",
        ROUTES=json.dumps(
            [
                {"path": "/login", "public": True},
                {"path": "/admin/*", "methods": ["GET", "POST"], "scope": "admin", "max_age": 600},
            ]
        ),
        PROFILE="FOREIGN",
        LEEWAY="12.5",
        REALM="shop",
        CREDENTIALS_HEADER="X-Token",
        ORIGINS='["https://app.example"]',
        PROBLEM_DETAILS="True",
        CHECKS='["tests.settings.test_sources:check"]',
        ON_EVENT="builtins:print",
        CLOCK="jwt_middleware.settings:wall_clock",
    )
    by_objects = Settings.from_mapping(vars(by_hand))
    for settings in (by_toml, by_variables, by_objects):
        assert comparable(settings) == comparable(by_hand)
        assert kids(settings) == ["one"]


def test_the_variables_of_the_process_are_the_default(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (VARIABLES | {"JWT_MIDDLEWARE_KEYS": "keys.json"}).items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env().audience == ("api",)


def test_another_prefix_leaves_ours_alone(folder: Path) -> None:
    variables = {"API_ISSUER": "https://a.example", "API_AUDIENCE": "api", "API_KEYS": "keys.json"}
    made = Settings.from_env(variables | {"JWT_MIDDLEWARE_NONSENSE": "1"}, prefix="API_")
    assert made.issuer == "https://a.example"


def test_what_is_not_given_has_its_default() -> None:
    made = from_mapping()
    assert comparable(made) == comparable(Settings(**BASE, keys=KeySet.from_jwks(JWKS)))


def test_none_is_a_value_where_a_field_can_be_none() -> None:
    assert from_mapping(on_event=None).on_event is None
    with pytest.raises(ConfigurationError, match=r"^realm: must be text"):
        from_mapping(realm=None)


PROFILE: dict[str, Any] = {
    "base": "KEYCLOAK",
    "required": ["iss", "exp", "aud", "sub", "jti"],
    "claims": {"typ": "Bearer", "version": 2, "internal": True},
    "subject_claims": ["sub", "client_id"],
    "scope_claims": ["scope", ["resource_access", "my.client", "roles"]],
    "scope_union": True,
    "scope_map": {"orders-admin": "orders:write orders:read"},
    "scope_implies": {"orders:write": "orders:read"},
}


def test_a_profile_means_the_same_in_every_source(folder: Path) -> None:
    by_hand = profiles.KEYCLOAK.replace(
        required=profiles.KEYCLOAK.required | {"jti"},
        claims={"typ": "Bearer", "version": 2, "internal": True},
        subject_claims=("sub", "client_id"),
        scope_claims=("scope", ("resource_access", "my.client", "roles")),
        scope_union=True,
        scope_map={"orders-admin": "orders:write orders:read"},
        scope_implies={"orders:write": "orders:read"},
    )
    (folder / "app.toml").write_text(
        """
        [jwt_middleware]
        issuer = "https://login.example"
        audience = "api"
        keys = "keys.json"

        [jwt_middleware.profile]
        base = "KEYCLOAK"
        required = ["iss", "exp", "aud", "sub", "jti"]
        claims = { typ = "Bearer", version = 2, internal = true }
        subject_claims = ["sub", "client_id"]
        scope_claims = ["scope", ["resource_access", "my.client", "roles"]]
        scope_union = true
        scope_map = { orders-admin = "orders:write orders:read" }
        scope_implies = { "orders:write" = "orders:read" }
        """,
        "utf-8",
    )
    members = {
        f"PROFILE__{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in PROFILE.items()
    }
    for settings in (
        Settings.from_toml("app.toml"),
        from_env(KEYS="keys.json", PROFILE=json.dumps(PROFILE)),
        from_env(KEYS="keys.json", **members),
        from_mapping(profile=PROFILE),
        from_mapping(profile=by_hand),
    ):
        assert settings.profile == by_hand
    trusted = {**BASE, "issuer": "https://t.example", "keys": {"jwks": JWKS}, "profile": PROFILE}
    assert from_mapping(trusted_issuers=[trusted]).trusted_issuers[0].profile == by_hand


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_every_profile_has_a_name_in_every_source(folder: Path, name: str) -> None:
    assert from_env(KEYS="keys.json", PROFILE=name).profile is profiles.PROFILES[name]
    assert from_env(KEYS="keys.json", PROFILE__BASE=name).profile == profiles.PROFILES[name]
    assert from_mapping(profile={"base": name}).profile == profiles.PROFILES[name]
    assert getattr(profiles, name).name == name


def test_a_profile_without_a_base_begins_with_foreign() -> None:
    made = from_mapping(profile={"name": "MINE", "scope_claims": ["scp"]}).profile
    assert made == profiles.FOREIGN.replace(name="MINE", scope_claims=("scp",))


# -- Keys


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({"jwks": JWKS}, "kid='one' alg=ES256 private"),
        ({"jwks": json.dumps(JWKS)}, "kid='one' alg=ES256 private"),
        ({"file": "keys.json"}, "kid='one' alg=ES256 private"),
        ({"pem": PEM}, "alg=ES256 private"),
        ({"pem": PEM, "kid": "mine"}, "kid='mine' alg=ES256 private"),
        ({"pem": [RSA_PEM], "algorithm": "PS256"}, "alg=PS256 private"),
        ({"pem": LOCKED_PEM, "password": "open sesame"}, "alg=ES256 private"),
        ({"jwks": BARE, "algorithm": "RS512"}, "alg=RS512 private"),
        ({"jwks": BARE, "algorithm": ["PS256", "EdDSA"]}, "alg=PS256 private"),
        ({"secret": SECRET}, "alg=HS256 secret"),
        ({"secret": [SECRET + OTHER, OTHER + SECRET], "algorithm": "HS512"}, "alg=HS512 secret"),
    ],
)
def test_keys_come_in_every_form_that_key_sets_have(
    folder: Path, keys: dict[str, Any], shown: str
) -> None:
    by_mapping = from_mapping(keys=keys).keys
    assert shown in repr(by_mapping)
    as_text = {
        f"KEYS__{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in keys.items()
    }
    assert repr(from_env(**as_text).keys) == repr(by_mapping)
    assert repr(from_env(KEYS=json.dumps(keys)).keys) == repr(by_mapping)


def test_keys_may_be_a_path_or_the_real_thing(folder: Path) -> None:
    assert kids(from_mapping(keys="keys.json")) == ["one"]
    assert kids(from_mapping(keys=folder / "keys.json")) == ["one"]
    assert kids(from_mapping(keys=KeySet.from_jwks(JWKS))) == ["one"]


def test_a_mounted_secret_is_read_without_the_newline_at_its_end(folder: Path) -> None:
    by_value = from_env(KEYS__SECRET=SECRET)
    for ending in ("", "\n", "\r\n"):
        (folder / "secret").write_bytes(SECRET.encode() + ending.encode())
        assert kids(from_env(KEYS__SECRET_FILE="secret")) == kids(by_value)
    (folder / "secret").write_text(SECRET + "\n\n", "utf-8")
    assert kids(from_env(KEYS__SECRET_FILE="secret")) != kids(by_value)


def test_every_variable_can_be_a_file(folder: Path) -> None:
    (folder / "routes").write_text('[{"path": "/login", "public": true}]\n', "utf-8")
    made = from_env(ROUTES_FILE="routes", KEYS="keys.json")
    assert made.routes == (Route("/login", public=True),)


def test_a_key_set_file_may_be_called_so(folder: Path) -> None:
    assert kids(from_env(KEYS_FILE="keys.json")) == ["one"]
    assert kids(from_env(KEYS__FILE="keys.json")) == ["one"]


def test_paths_in_a_toml_file_count_from_its_folder(folder: Path) -> None:
    (folder / "etc").mkdir()
    (folder / "keys.json").rename(folder / "etc" / "keys.json")
    plain = f'issuer = "x"\naudience = "api"\nkeys = "{"keys.json"}"\n'
    table = 'issuer = "x"\naudience = "api"\nkeys = { file = "keys.json" }\n'
    for text in (plain, table):
        (folder / "etc" / "app.toml").write_text(f"[jwt_middleware]\n{text}", "utf-8")
        assert kids(Settings.from_toml(folder / "etc" / "app.toml")) == ["one"]


class Proxied:
    """A fetcher of the application's, which a name leads to."""

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        raise NotImplementedError


FETCHER = Proxied()
INSIDE: dict[str, Any] = {
    "url": "http://keycloak/certs",
    "private_addresses": True,
    "plain_http": True,
}


def test_keys_from_inside_mean_the_same_in_every_source(folder: Path) -> None:
    by_hand = Remote(**INSIDE, algorithm=("RS256", "EdDSA"))
    (folder / "app.toml").write_text(
        """
        [jwt_middleware]
        issuer = "https://login.example"
        audience = "api"

        [jwt_middleware.keys.remote]
        url = "http://keycloak/certs"
        private_addresses = true
        plain_http = true
        algorithm = ["RS256", "EdDSA"]
        """,
        "utf-8",
    )
    by_variables = from_env(
        KEYS__REMOTE__URL=INSIDE["url"],
        KEYS__REMOTE__PRIVATE_ADDRESSES="true",
        KEYS__REMOTE__PLAIN_HTTP="true",
        KEYS__REMOTE__ALGORITHM='["RS256", "EdDSA"]',
    )
    by_mapping = from_mapping(keys={"remote": INSIDE | {"algorithm": ["RS256", "EdDSA"]}})
    for settings in (Settings.from_toml("app.toml"), by_variables, by_mapping):
        assert settings.keys.source == by_hand


def test_the_files_of_a_remote_set_count_from_the_folder_of_a_toml_file(folder: Path) -> None:
    (folder / "etc").mkdir()
    text = 'issuer = "https://x.example"\naudience = "api"\n[jwt_middleware.keys.remote]\n'
    files = 'ca_file = "ca.crt"\ntoken_file = "/run/token"\n'
    (folder / "etc" / "app.toml").write_text(f"[jwt_middleware]\n{text}{files}", "utf-8")
    by_toml = Settings.from_toml(folder / "etc" / "app.toml").keys.source
    paths = {"CA_FILE": str(folder / "etc" / "ca.crt"), "TOKEN_FILE": "/run/token"}
    named = {f"KEYS__REMOTE__{name}": path for name, path in paths.items()}
    assert by_toml == from_env(**named).keys.source
    assert by_toml == Remote(ca_file=folder / "etc" / "ca.crt", token_file=Path("/run/token"))


def test_a_fetcher_may_be_named(folder: Path) -> None:
    name = "tests.settings.test_sources:FETCHER"
    for keys in (
        from_env(KEYS__REMOTE__FETCHER=name).keys,
        from_mapping(keys={"remote": {"fetcher": name}}).keys,
        from_mapping(keys={"remote": {"fetcher": FETCHER}}).keys,
    ):
        assert isinstance(keys.source, Remote)
        assert keys.source.fetcher is FETCHER


def test_a_table_may_stand_inside_others_or_be_the_file(folder: Path) -> None:
    text = 'issuer = "x"\naudience = "api"\nkeys = "keys.json"\n'
    (folder / "app.toml").write_text(f"[tool.jwt]\n{text}", "utf-8")
    assert Settings.from_toml("app.toml", table="tool.jwt").issuer == "x"
    (folder / "app.toml").write_text(text, "utf-8")
    assert Settings.from_toml("app.toml", table="").issuer == "x"


# -- Names


@pytest.mark.parametrize(
    "name",
    [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_8080_TCP",
        "PORT_8080_TCP_ADDR",
        "PORT_8080_TCP_PORT",
        "PORT_8080_TCP_PROTO",
        "PORT_53_UDP_ADDR",
        "REDIS_SERVICE_HOST",
        "REDIS_PORT_6379_TCP_ADDR",
    ],
)
def test_the_service_links_of_kubernetes_are_no_settings(folder: Path, name: str) -> None:
    assert from_env(KEYS="keys.json", **{name: "tcp://10.0.0.1:8080"}).issuer


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("LEEWY", "did you mean JWT_MIDDLEWARE_LEEWAY?"),
        ("KEYS_SECRET", "did you mean JWT_MIDDLEWARE_KEYS__SECRET?"),
        ("KEYS__SECRT_FILE", "did you mean JWT_MIDDLEWARE_KEYS__SECRET?"),
        ("leeway", "did you mean JWT_MIDDLEWARE_LEEWAY?"),
        ("PORT_8080_TCP_HOST", "there are JWT_MIDDLEWARE_ISSUER"),
        ("", "there are JWT_MIDDLEWARE_ISSUER"),
    ],
)
def test_an_unknown_variable_is_an_error_with_a_suggestion(
    folder: Path, name: str, suggestion: str
) -> None:
    with pytest.raises(ConfigurationError) as found:
        from_env(KEYS="keys.json", **{name: SECRET})
    assert found.value.field == f"JWT_MIDDLEWARE_{name}"
    assert found.value.remedy.startswith(suggestion)


def test_an_empty_prefix_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="every variable would be a setting"):
        Settings.from_env({}, prefix="")


# -- What is wrong, named as its source names it


HOOKS = ("CHECKS", "ON_EVENT", "CLOCK", "REFRESH__CLAIMS_FOR")
WRONG_VARIABLES: list[tuple[dict[str, str], str, str]] = [
    ({"ISSUER": ""}, "ISSUER", "is empty"),
    ({"ISSUER": "a\udc80b"}, "ISSUER", "is not text in UTF-8"),
    ({"ISSUER": "a b"}, "ISSUER", "white space"),
    ({"AUDIENCE": "[]"}, "AUDIENCE", "tokens for every other service would pass"),
    ({"AUDIENCE": '["api"'}, "AUDIENCE", "is not JSON"),
    ({"AUDIENCE": "[" * 100_000}, "AUDIENCE", "is not JSON"),
    ({"AUDIENCE": '["api", 1]'}, "AUDIENCE[1]", "must be text"),
    ({"LEEWAY": "30s"}, "LEEWAY", "must be a number, in digits"),
    ({"LEEWAY": "1e2"}, "LEEWAY", "must be a number, in digits"),
    ({"LEEWAY": "nan"}, "LEEWAY", "must be a number, in digits"),
    ({"LEEWAY": "1_0"}, "LEEWAY", "must be a number, in digits"),
    ({"LEEWAY": "301"}, "LEEWAY", "must be 0 to 300 seconds"),
    ({"PROBLEM_DETAILS": "yes"}, "PROBLEM_DETAILS", "must be true or false"),
    ({"PROBLEM_DETAILS": "1"}, "PROBLEM_DETAILS", "must be true or false"),
    ({"PROFILE": "rfc9068"}, "PROFILE", "must be one of RFC_9068, FOREIGN"),
    ({"PROFILE": '{"base": "MINE"}'}, "PROFILE.base", "must be one of RFC_9068, FOREIGN"),
    ({"PROFILE__BASE": "keycloak"}, "PROFILE__BASE", "must be one of RFC_9068, FOREIGN"),
    ({"PROFILE__SCOPE_CLAIMS": "scp"}, "PROFILE__SCOPE_CLAIMS", "must be an array, in JSON"),
    ({"PROFILE__REQUIRED": '["iss", 5]'}, "PROFILE__REQUIRED[1]", "must be text"),
    ({"PROFILE__SCOPE_MAP": "[]"}, "PROFILE__SCOPE_MAP", "must be a table"),
    ({"PROFILE": '{"scope_claim": ["scp"]}'}, "PROFILE.scope_claim", "no such setting"),
    ({"PROFILE__REQUIRED": '["iss"]'}, "PROFILE", "doesn't require aud, exp, sub"),
    ({"PROFILE": "FOREIGN", "PROFILE__BASE": "OKTA"}, "PROFILE__BASE", "excludes JWT_MIDDLEWARE_P"),
    ({"ORIGINS": "https://app.example"}, "ORIGINS", "must be an array, in JSON"),
    ({"ORIGINS": '["http://app.example"]'}, "ORIGINS", "in clear"),
    ({"ROUTES": "/login"}, "ROUTES", "must be an array, in JSON"),
    ({"ROUTES": '["/login"]'}, "ROUTES[0]", "must be a table"),
    ({"ROUTES": "[{}]"}, "ROUTES[0].path", "is missing"),
    ({"ROUTES": '[{"path": "x"}]'}, "ROUTES[0].path", "must begin with /"),
    ({"ROUTES": '[{"path": "/", "pubic": true}]'}, "ROUTES[0].pubic", "no such setting"),
    ({"ROUTES": '[{"path": "/", "public": "false"}]'}, "ROUTES[0].public", "must be true or"),
    ({"ROUTES": '[{"path": "/", "public": 1}]'}, "ROUTES[0].public", "must be true or"),
    ({"ROUTES": '[{"path": "/", "path": "/x"}]'}, "ROUTES", "comes twice"),
    ({"ROUTES": '[{"path": "/", "max_age": 1.5}]'}, "ROUTES[0].max_age", "a whole number"),
    ({"ROUTES": '[{"path": "/", "max_age": true}]'}, "ROUTES[0].max_age", "a whole number"),
    ({"ROUTES": '[{"path": "/", "methods": "GET"}]'}, "ROUTES[0].methods", "an array"),
    ({"KEYS__PEM": PEM, "KEYS__ALGORITHM": '["ES256"]'}, "KEYS__ALGORITHM", "pem takes one"),
    ({"KEYS__SECRET": SECRET, "KEYS__ALGORITHM": "[]"}, "KEYS__ALGORITHM", "secret takes one"),
    ({"KEYS__REMOTE__FETCHER": "json"}, "KEYS__REMOTE__FETCHER", 'must be "module:name"'),
    ({"KEYS__REMOTE__FETCHER": "json:dumps"}, "KEYS__REMOTE__FETCHER", "no object with a method"),
    (
        {"KEYS__REMOTE__FETCHER": "tests.settings.test_sources:Proxied"},
        "KEYS__REMOTE__FETCHER",
        "no object with a method",
    ),
    ({"KEYS__REMOTE__PLAIN_HTTP": "true"}, "KEYS__REMOTE__PLAIN_HTTP", "private addresses"),
    ({"KEYS__REMOTE__CA_FILE": ""}, "KEYS__REMOTE__CA_FILE", "is empty"),
    ({"CHECKS": '["json"]'}, "CHECKS[0]", 'must be "module:function"'),
    ({"CHECKS": '["json:nothing"]'}, "CHECKS[0]", "can't be imported: AttributeError"),
    ({"CHECKS": '["no_such_module:f"]'}, "CHECKS[0]", "there is no module 'no_such_module' in "),
    ({"CHECKS": '["json:__name__"]'}, "CHECKS", "str can't be called"),
    ({"ON_EVENT": "print"}, "ON_EVENT", 'must be "module:function"'),
    ({"ISSUER_FILE": "x"}, "ISSUER_FILE", "the file can't be read"),
    ({"KEYS": "keys.json", "KEYS_FILE": "keys.json"}, "KEYS_FILE", "in another variable, too"),
    ({"KEYS": "keys.json", "KEYS__PEM": PEM}, "KEYS__PEM", "excludes JWT_MIDDLEWARE_KEYS"),
    ({"KEYS__PEM": PEM, "KEYS__SECRET": SECRET}, "KEYS", "has pem and secret"),
    ({"KEYS__KID": "one"}, "KEYS", "doesn't say where the keys are"),
    ({"KEYS__SECRET": SECRET, "KEYS__KID": "one"}, "KEYS__KID", "goes with pem only"),
    ({"KEYS__SECRET": SECRET, "KEYS__PASSWORD": "x"}, "KEYS__PASSWORD", "goes with pem only"),
    ({"KEYS__JWKS": "keys.json"}, "KEYS__JWKS", "not one JSON object"),
    ({"KEYS__JWKS": '{"keys": []}'}, "KEYS__JWKS", "the key set is empty"),
    ({"KEYS": json.dumps(JWKS)}, "KEYS.keys", "no such setting"),
]


@pytest.mark.parametrize(("variables", "where", "words"), WRONG_VARIABLES)
def test_a_wrong_variable_is_named_with_what_is_wrong(
    folder: Path, variables: dict[str, str], where: str, words: str
) -> None:
    keys = {} if any(name.startswith("KEYS") for name in variables) else {"KEYS": "keys.json"}
    with pytest.raises(ConfigurationError) as found:
        from_env(**keys, **variables)
    assert found.value.field == f"JWT_MIDDLEWARE_{where}"
    assert words in found.value.problem


@pytest.mark.parametrize(
    ("variables", "way"),
    [
        ({"ROUTES": "/login"}, """as in '["a", "b"]' or '[{"path": "/login", "public": true}]'"""),
        ({"TOKEN_CACHE": "0"}, "the first is JWT_MIDDLEWARE_TOKEN_CACHE__ENTRIES"),
        ({"KEYS__REMOTE": "https://h/jwks"}, "the first is JWT_MIDDLEWARE_KEYS__REMOTE__URL"),
        ({"REFRESH_FILE": "address"}, "the first is JWT_MIDDLEWARE_REFRESH__STORE"),
        (
            {"KEYS": "https://login.example/jwks.json"},
            "keys at a URL, or found by the issuer's name",
        ),
    ],
)
def test_a_wrong_form_is_told_with_the_right_one(
    folder: Path, variables: dict[str, str], way: str
) -> None:
    (folder / "address").write_text("memory://")
    keys = {} if any(name.startswith("KEYS") for name in variables) else {"KEYS": "keys.json"}
    with pytest.raises(ConfigurationError) as found:
        from_env(**keys, **variables)
    assert way in found.value.remedy


@pytest.mark.parametrize("name", ["ISSUER", "AUDIENCE", "KEYS"])
def test_a_missing_variable_is_named(folder: Path, name: str) -> None:
    variables = VARIABLES | {"JWT_MIDDLEWARE_KEYS": "keys.json"}
    del variables[f"JWT_MIDDLEWARE_{name}"]
    with pytest.raises(ConfigurationError, match=f"^JWT_MIDDLEWARE_{name}: is missing"):
        Settings.from_env(variables)


TOML = '[jwt_middleware]\naudience = "api"\nkeys = "keys.json"\n'
KEYS_WRONG = 'issuer = "x"\naudience = "api"\nkeys = "\\u0000"\n'
SCOPE_WRONG = r"app.toml: jwt_middleware.routes\[0\].scope: must be "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("issuer = ", "app.toml: is not TOML: "),
        ("[other]\n", r"app.toml: has no table \[jwt_middleware\]"),
        ("jwt_middleware = 1\n", "app.toml: jwt_middleware: must be a table"),
        ("[jwt_middleware]\n", "app.toml: jwt_middleware.issuer: is missing"),
        (f"{TOML}issuer = 2026-01-01", "app.toml: jwt_middleware.issuer: must be text"),
        (f'{TOML}issuer = "x"\nroutes = [{{path = "/a", scope = "a  b"}}]', SCOPE_WRONG),
        (f'{TOML}issuer = "\\u0000"', "app.toml: jwt_middleware.issuer: .* nobody can see"),
        (
            "[jwt_middleware]\n" + KEYS_WRONG,
            "app.toml: jwt_middleware.keys: the file can't be read: ",
        ),
    ],
)
def test_a_mistake_in_a_toml_file_is_named_with_its_path(
    folder: Path, text: str, message: str
) -> None:
    (folder / "app.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        Settings.from_toml("app.toml")


def test_a_table_inside_what_is_no_table_is_missing(folder: Path) -> None:
    (folder / "app.toml").write_text("tool = 1\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"has no table \[tool.jwt\]"):
        Settings.from_toml("app.toml", table="tool.jwt")


def test_a_missing_toml_file_is_named(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^none.toml: the file can't be read: No such"):
        Settings.from_toml("none.toml")


def test_a_file_of_octets_is_no_text(folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(range(128, 192)))
    with pytest.raises(ConfigurationError) as found:
        from_env(KEYS__SECRET_FILE="secret")
    assert found.value.field == "JWT_MIDDLEWARE_KEYS__SECRET_FILE"
    assert "not text in UTF-8" in found.value.problem
    assert "base64url" in found.value.remedy


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("keys.json", "settings: must be a table"),
        ([BASE], "settings: must be a table"),
        (BASE | {"keys": 5}, "keys: must be a KeySet, the path of a JWK Set file or a table"),
        (BASE | {"keys": b"keys"}, "keys: must be a KeySet, the path"),
        (BASE | {"keys": {"jwks": 5}}, "keys.jwks: must be a table or text"),
        (BASE | {"keys": {"jwks": {"keys": [{"kty": "EC"}]}}}, r"keys.jwks.keys\[0\]: member"),
        (BASE | {"keys": {"pem": RSA_PEM}}, "keys.pem: a key of type RSA without"),
        (BASE | {1: 2}, "1: no such setting"),
        ({"audience": 5} | BASE | {"issuer": 5}, "issuer: must be text"),
    ],
)
def test_a_mistake_in_a_mapping_is_named_with_its_place(
    mapping: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        Settings.from_mapping(mapping)


def test_a_module_of_the_application_that_raises_is_the_cause(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "broken_checks.py").write_text("raise OSError('no database')\n", "utf-8")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ConfigurationError, match=r"imported: OSError: no database$") as found:
        from_mapping(checks=["broken_checks:check"])
    assert isinstance(found.value.__cause__, OSError)


# What imports is left out: any module might be named.
NAMES = [name for name, _ in sources.variables(Settings) if name not in HOOKS]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(NAMES), st.text() | JSON.map(json.dumps)))
def test_no_text_of_a_variable_raises_anything_else(variables: dict[str, str]) -> None:
    with suppress(ConfigurationError):
        from_env(**variables)


@given(st.dictionaries(st.sampled_from([one.lower() for one in NAMES if "__" not in one]), JSON))
def test_no_document_raises_anything_else(document: dict[str, Any]) -> None:
    with suppress(ConfigurationError):
        from_mapping(**document)


# -- Secrets stay where they are


def told(error: BaseException) -> str:
    """Return all that an error tracker sees of an error: text, variables, what is behind it."""
    seen = [repr(error), str(error), *traceback.format_exception(error)]
    behind: BaseException | None = error
    while behind is not None:
        for frame, _ in traceback.walk_tb(behind.__traceback__):
            if "jwt_middleware" in Path(frame.f_code.co_filename).parts:
                seen += [f"{name} = {value!r}" for name, value in frame.f_locals.items()]
        behind = behind.__cause__ or behind.__context__
    return "\n".join(seen)


@refuses("RS-41")
@pytest.mark.parametrize(
    "variables",
    [
        {"KEYS__SECRET": SECRET[:20]},
        {"KEYS__SECRET": SECRET + "\udcff"},
        {"KEYS__SECRET": f'["{SECRET}"'},
        {"KEYS__SECRET": f'["{SECRET}", 1]'},
        {"KEYS__SECRET": SECRET, "KEYS__ALGORITHM": "RS256"},
        {"KEYS__SECRET": SECRET, "ISSUER": " "},
        {"KEYS__SECRET_FILE": SECRET},
        {"KEYS__SECRET_FILE": "big"},
        {"KEYS": SECRET},
        {"KEYS__FILE": SECRET},
        {"KEYS__JWKS": json.dumps(JWKS)[:-5]},
        {"KEYS__JWKS": json.dumps({"keys": [JWKS["keys"][0] | {"crv": "P-384"}]})},
        {"KEYS__PEM": PEM[:100]},
        {"KEYS__PEM": LOCKED_PEM, "KEYS__PASSWORD": SECRET},
        {"KEYS__PASSWORD": SECRET},
        {"SECRET": SECRET},
        {"REFRESH__STORE": "memory://", "REFRESH__SECRET": SECRET[:20]},
        {"REFRESH__STORE": "memory://", "REFRESH__SECRET": f'["{SECRET}", "{SECRET}"]'},
        {"REFRESH__STORE": "memory://", "REFRESH__SECRET": SECRET, "REFRESH__SETTLE": "x"},
        {"REFRESH__STORE": "memory://", "REFRESH__SECRET_FILE": SECRET},
        {"REFRESH__STORE": f"postgresql:{SECRET}"},
        {"REFRESH": f'{{"store": "memory://", "secret": "{SECRET}"'},
    ],
)
def test_no_error_shows_a_secret(folder: Path, variables: dict[str, str]) -> None:
    (folder / "big").write_text(SECRET * 30_000, "utf-8")
    with pytest.raises(ConfigurationError) as found:
        from_env(**variables)
    seen = told(found.value)
    for secret in (SECRET[:20], JWKS["keys"][0]["d"], PEM[40:90]):
        assert secret not in seen


@refuses("RS-41")
def test_no_error_of_a_mapping_or_a_toml_file_shows_a_secret(folder: Path) -> None:
    with pytest.raises(ConfigurationError) as found:
        Settings.from_mapping({"keys": {"secret": SECRET}})
    assert SECRET not in told(found.value)
    (folder / "app.toml").write_text(f'[jwt_middleware]\nkeys = {{secret = "{SECRET}"}}\n')
    with pytest.raises(ConfigurationError) as found:
        Settings.from_toml("app.toml")
    assert SECRET not in told(found.value)


@refuses("RS-20")
@pytest.mark.parametrize(
    "secret", ["secret", "correct horse battery staple and then some", "a" * 64]
)
def test_a_password_in_a_variable_is_no_key(secret: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^JWT_MIDDLEWARE_KEYS__SECRET: "):
        from_env(KEYS__SECRET=secret)


@accepts("RS-20")
def test_a_random_secret_in_a_variable_is_a_key() -> None:
    assert from_env(KEYS__SECRET=SECRET).keys.signer is not None


# -- Groups to come need no code


class Engine:
    """An object of the application's."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """Where it is kept.

    Args:
        url: an address.
        engine: an object instead.

    """

    url: str = "memory://"
    engine: Engine | None = None

    def __post_init__(self) -> None:
        if self.url == "bad":
            raise ConfigurationError("Store", "is bad")


@dataclass(frozen=True, kw_only=True)
class Group:
    store: Store = Store()
    other: Store | None = None
    mode: Literal["closed", "open"] = "closed"
    limit: int = field(default=100, metadata={"minimum": 1})
    hooks: tuple[TokenCheck, ...] = field(default_factory=tuple)
    extra: Mapping[str, Any] | None = None


def group(**variables: str) -> Group:
    return sources.made(sources.from_env(Group, variables, "X_"))


def test_a_group_is_read_by_its_annotations() -> None:
    made = group(
        X_STORE__URL="sqlite:///x",
        X_OTHER='{"url": "y"}',
        X_MODE="open",
        X_LIMIT="5",
        X_EXTRA='{"a": 1}',
    )
    assert made == Group(
        store=Store(url="sqlite:///x"), other=Store(url="y"), mode="open", limit=5, extra={"a": 1}
    )
    engine = Engine()
    inner = {"store": {"engine": engine}, "other": Store()}
    given = sources.made(sources.from_mapping(Group, inner))
    assert given.store.engine is engine
    assert given.other == Store()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"X_MODE": "half"}, "X_MODE: must be one of closed, open"),
        ({"X_LIMIT": "1.5"}, "X_LIMIT: must be a whole number"),
        ({"X_STORE__URL": "bad"}, "X_STORE: is bad"),
        ({"X_OTHER": '{"url": "bad"}'}, "X_OTHER: is bad"),
        ({"X_OTHER": '{"url": 1}'}, "X_OTHER.url: must be text"),
        ({"X_STORE__ENGINE": "x"}, "X_STORE__ENGINE: must be an object"),
        ({"X_STORE": "x"}, "X_STORE: must be a table, in JSON"),
    ],
)
def test_a_mistake_in_a_group_is_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        group(**variables)


# -- The JSON Schema


def valid(schema: dict[str, Any], document: object) -> bool:
    # An independent validator; its types are its own business.
    validator: Any = importlib.import_module("jsonschema").Draft202012Validator
    validator.check_schema(schema)
    return bool(validator(schema).is_valid(document))


FULL: dict[str, Any] = {
    **BASE,
    "keys": {"pem": [PEM], "kid": "one"},
    "routes": [{"path": "/a/*", "scope": "a", "methods": ["GET"], "max_age": 60}],
    "profile": "FOREIGN",
    "leeway": 0.5,
    "realm": "api",
    "origins": ["https://app.example"],
    "problem_details": True,
    "checks": ["tests.settings.test_sources:check"],
    "on_event": None,
    "clock": "time:time",
}


@pytest.mark.parametrize(
    "document",
    [
        FULL,
        BASE | {"keys": {"jwks": JWKS}},
        FULL | {"profile": PROFILE},
        FULL | {"profile": {"base": "ENTRA"}},
        BASE | {"keys": {"secret": SECRET, "algorithm": "HS256"}, "audience": ["a", "b"]},
    ],
)
def test_what_is_taken_fits_the_schema(document: dict[str, Any]) -> None:
    assert valid(Settings.json_schema(), json.loads(json.dumps(document)))
    assert Settings.from_mapping(document).issuer == BASE["issuer"]


@pytest.mark.parametrize(
    "document",
    [
        BASE,
        FULL | {"leeway": 301},
        FULL | {"leeway": "30"},
        FULL | {"leewy": 30},
        FULL | {"profile": "rfc9068"},
        FULL | {"profile": {"base": "keycloak"}},
        FULL | {"profile": {"scope_claim": ["scp"]}},
        FULL | {"profile": {"scope_claims": "scp"}},
        FULL | {"profile": {"scope_union": 1}},
        FULL | {"problem_details": "true"},
        FULL | {"routes": [{"public": True}]},
        FULL | {"routes": [{"path": "/a", "pubic": True}]},
        FULL | {"routes": "/a"},
        FULL | {"keys": {}},
        FULL | {"keys": {"pem": PEM, "secret": SECRET}},
        FULL | {"checks": ["check"]},
        FULL | {"realm": None},
    ],
)
def test_what_does_not_fit_the_schema_is_refused(document: dict[str, Any]) -> None:
    assert not valid(Settings.json_schema(), json.loads(json.dumps(document)))
    with pytest.raises(ConfigurationError):
        Settings.from_mapping(document)


def test_the_schema_says_what_each_setting_is_and_its_default() -> None:
    schema = Settings.json_schema()
    assert json.loads(json.dumps(schema)) == schema
    for name, entry in schema["properties"].items():
        assert entry["description"], name
        assert ("default" in entry) is (name not in schema["required"])
    leeway = schema["properties"]["leeway"]
    assert (leeway["default"], leeway["minimum"], leeway["maximum"]) == (30, 0, 300)
    assert "seconds" in leeway["description"]
    assert schema["properties"]["clock"]["default"] == "jwt_middleware.settings.settings:wall_clock"
    assert schema["properties"]["profile"]["default"] == "RFC_9068"
    for definition in schema["$defs"].values():
        assert all(entry["description"] for entry in definition["properties"].values())


def test_the_schema_of_a_group_is_made_of_its_annotations() -> None:
    schema = json_schema(Group)
    assert schema["properties"]["store"]["default"] == {"url": "memory://", "engine": None}
    assert schema["properties"]["mode"]["enum"] == ["closed", "open"]
    assert schema["properties"]["limit"] == {"type": "integer", "minimum": 1, "default": 100}
    assert schema["properties"]["hooks"]["default"] == []
    assert valid(schema, {"store": {"url": "x"}, "other": None, "extra": {}})
    assert not valid(schema, {"store": {"engine": "x"}})


def test_the_schema_needs_no_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "__doc__", None)  # as under `python -OO`
    assert "description" not in Settings.json_schema()["properties"]["leeway"]
