"""What tokens are bound to, from each source: one meaning, and errors that name the field."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import (
    ClientCertificates,
    ConfigurationError,
    KeySet,
    Proofs,
    Refresh,
    Route,
    Settings,
    TrustedIssuer,
)
from jwt_middleware.settings.json_schema import json_schema
from jwt_middleware.testing import TokenFactory

SECRET = "wq8eZ1v-8RkTn5iB0yq2mJxUa4cLs7dHf3gPo6tVb9E"  # made up
OTHER = "pB9xMvU2rYd6TqLw8cKz4nHj1gFs7eAo5iVt3bXmQ0R"
API = "https://api.example"
TOML = f"""
[jwt_middleware]
issuer = "https://login.example"
audience = "{API}"
keys = "keys.json"

[jwt_middleware.proofs]
urls = ["{API}", "http://localhost:8000"]
algorithms = ["ES256", "PS256"]
access = true
required = true
nonces = true
secret = ["{SECRET}", "{OTHER}"]
lifetime = 30
replay = "process"

[jwt_middleware.client_certificates]
header = "Client-Cert"
proxies = ["10.0.0.0/8", "unix"]

[jwt_middleware.refresh]
store = "sqlite:////tmp/grants.db"

[[jwt_middleware.routes]]
path = "/old"
proof = "accepted"

[[jwt_middleware.trusted_issuers]]
issuer = "https://other.example"
audience = "{API}"
keys = "keys.json"
proof = "required"
"""
VARIABLES = {
    "ISSUER": "https://login.example",
    "AUDIENCE": API,
    "KEYS": "keys.json",
    "PROOFS__URLS": json.dumps([API, "http://localhost:8000"]),
    "PROOFS__ALGORITHMS": '["ES256", "PS256"]',
    "PROOFS__ACCESS": "true",
    "PROOFS__REQUIRED": "true",
    "PROOFS__NONCES": "true",
    "PROOFS__SECRET": json.dumps([SECRET, OTHER]),
    "PROOFS__LIFETIME": "30",
    "PROOFS__REPLAY": "process",
    "CLIENT_CERTIFICATES__HEADER": "Client-Cert",
    "CLIENT_CERTIFICATES__PROXIES": '["10.0.0.0/8", "unix"]',
    "REFRESH__STORE": "sqlite:////tmp/grants.db",
    "ROUTES": json.dumps([{"path": "/old", "proof": "accepted"}]),
    "TRUSTED_ISSUERS": json.dumps(
        [
            {
                "issuer": "https://other.example",
                "audience": API,
                "keys": "keys.json",
                "proof": "required",
            }
        ]
    ),
}
GROUPS: dict[str, Any] = {"proofs": Proofs, "client_certificates": ClientCertificates}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    KeySet.generate().save("keys.json")


def from_env(**variables: str) -> Settings:
    return Settings.from_env({f"JWT_MIDDLEWARE_{name}": text for name, text in variables.items()})


def said(settings: Settings) -> Any:
    (other,) = settings.trusted_issuers
    return (
        *(vars(getattr(settings, name)) for name in GROUPS),
        settings.routes,
        other.proof,
    )


def by_hand(keys: KeySet) -> Settings:
    return Settings(
        issuer="https://login.example",
        audience=API,
        keys=keys,
        proofs=Proofs(
            urls=(API, "http://localhost:8000"),
            algorithms=("ES256", "PS256"),
            access=True,
            required=True,
            secret=(SECRET, OTHER),
            lifetime=30,
            replay="process",
        ),
        client_certificates=ClientCertificates(
            header="Client-Cert", proxies=("10.0.0.0/8", "unix")
        ),
        refresh=Refresh(store="sqlite:////tmp/grants.db"),
        routes=(Route("/old", proof="accepted"),),
        trusted_issuers=(
            TrustedIssuer(
                issuer="https://other.example", audience=API, keys=keys, proof="required"
            ),
        ),
    )


def test_all_sources_mean_the_same() -> None:
    Path("app.toml").write_text(TOML, "utf-8")
    expected = by_hand(KeySet.load("keys.json"))
    for settings in (
        Settings.from_toml("app.toml"),
        from_env(**VARIABLES),
        Settings.from_mapping(vars(expected)),
        expected.replace(),
    ):
        assert said(settings) == said(expected)
        assert SECRET not in repr(settings)


def test_a_group_that_is_empty_is_on_and_one_that_is_left_out_is_off() -> None:
    base = {name: VARIABLES[name] for name in ("ISSUER", "AUDIENCE", "KEYS", "REFRESH__STORE")}
    assert from_env(**base).proofs is None
    assert from_env(**base).client_certificates is None
    Path("app.toml").write_text(
        TOML.partition("[jwt_middleware.proofs]")[0]
        + '[jwt_middleware.refresh]\nstore = "sqlite:////tmp/grants.db"\n'
        + "[jwt_middleware.proofs]\n[jwt_middleware.client_certificates]\n",
        "utf-8",
    )
    made = Settings.from_toml("app.toml")
    assert vars(made.proofs) == vars(Proofs())
    assert vars(made.client_certificates) == vars(ClientCertificates())


def test_a_secret_may_be_mounted(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n", "utf-8")
    variables = {name: text for name, text in VARIABLES.items() if name != "PROOFS__SECRET"}
    made = from_env(**variables, PROOFS__SECRET_FILE=str(tmp_path / "secret"))
    assert made.proofs is not None
    assert made.proofs.secret in (SECRET, (SECRET,))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PROOFS__URLS", '["api.example"]'),
        ("PROOFS__URLS", '["https://api.example/"]'),
        ("PROOFS__URLS", '["http://api.example"]'),
        ("PROOFS__ALGORITHMS", '["HS256"]'),
        ("PROOFS__ALGORITHMS", "[]"),
        ("PROOFS__ACCESS", "perhaps"),
        ("PROOFS__LIFETIME", "4"),
        ("PROOFS__LIFETIME", "301"),
        ("PROOFS__SECRET", '["short"]'),
        ("PROOFS__REPLAY", "redis"),
        ("PROOFS__REQUIERD", "true"),
        ("CLIENT_CERTIFICATES__HEADER", "Client Cert"),
        ("CLIENT_CERTIFICATES__HEADER", ""),
        ("CLIENT_CERTIFICATES__PROXIES", "[]"),
        ("CLIENT_CERTIFICATES__PROXIES", '["10.0.0.1/8"]'),
        ("CLIENT_CERTIFICATES__PROXIES", '["proxy"]'),
        ("ROUTES", '[{"path": "/old", "proof": "maybe"}]'),
    ],
)
def test_what_is_wrong_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"JWT_MIDDLEWARE_{name}") as caught:
        from_env(**(VARIABLES | {name: text}))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"proofs": Proofs(urls=(API,))}, "proofs.secret"),
        ({"proofs": Proofs(nonces=False)}, "proofs.urls"),
        ({"proofs": Proofs(urls=(API,), nonces=False, replay="store")}, "proofs.replay"),
        ({"proofs": Proofs(urls=(API,), nonces=False, access=True)}, "proofs.access"),
        ({"proofs": True}, "proofs"),
        ({"client_certificates": "10.0.0.0/8"}, "client_certificates"),
        ({"client_certificates": {"proxies": ()}}, "client_certificates"),
        ({"routes": (Route("/x", proof="required"),)}, "Route('/x').proof"),
    ],
)
def test_what_does_not_go_together_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TokenFactory().settings(**change)
    assert caught.value.field == field


def test_a_network_is_a_text() -> None:
    with pytest.raises(ConfigurationError, match="is no network"):
        ClientCertificates(header="Client-Cert", proxies=(10,))  # type: ignore[arg-type]


def test_the_schema_knows_both_groups() -> None:
    found = json.dumps(json_schema(Settings))
    for name, group in GROUPS.items():
        assert f'"{name}"' in found
        for one in fields(group):
            assert f'"{one.name}"' in found, one.name
    assert '"accepted"' in found
