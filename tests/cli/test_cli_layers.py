"""Commands on several sources, beside the application's modules, and without its secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jwt_middleware import KeySet, Settings
from jwt_middleware.cli.__main__ import main
from jwt_middleware.settings import loading

BASE = """
[jwt_middleware]
issuer = "https://login.example"
keys = { remote = {} }
refresh = { store = "postgresql://db/grants", serve = false }
"""
SERVICE = """
[jwt_middleware]
audience = "https://orders.example"
routes = [{ path = "/orders/*", scope = "orders" }]
"""
ISSUING = """
[jwt_middleware]
issuer = "https://login.example"
audience = "https://api.example"
keys = "/run/secrets/keys.json"

[jwt_middleware.refresh]
store = "postgresql://db/grants"
secret = ["too short"]

[[jwt_middleware.refresh.former]]
until = "2040-01-31"
keys = { file = "/run/secrets/former.json" }

[[jwt_middleware.refresh.former]]
until = "2040-01-31"
secret = "x"

[[jwt_middleware.trusted_issuers]]
issuer = "https://partner.example"
audience = "https://api.example"
keys = "/run/secrets/partner.json"

[[jwt_middleware.trusted_issuers]]
issuer = "https://other.example"
audience = "https://api.example"
keys = { remote = {} }
"""
NOT_LOOKED_AT = "-     keys          not looked at, nor secrets and the store"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [one for one in os.environ if one.startswith("JWT_MIDDLEWARE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for name, text in (("base", BASE), ("orders", SERVICE), ("issuing", ISSUING)):
        (tmp_path / f"{name}.toml").write_text(text, "utf-8")
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str]:
        before = sys.path[:]
        status = main([*arguments])
        assert sys.path == before
        out, err = capsys.readouterr()
        return status, out + err

    return run


LAYERS = ("--toml", "base.toml", "--toml", "orders.toml")


# -- Layers


def test_files_are_laid_over_each_other(run: Run) -> None:
    assert run("check", *LAYERS) == (
        0,
        "ok    settings      nothing to say about base.toml, orders.toml\n",
    )
    assert run("check", "--toml", "base.toml")[0] == 2


def test_variables_are_laid_over_files_only_if_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_MIDDLEWARE_LEEWAY", "61")
    assert run("check", *LAYERS)[0] == 0
    status, out = run("check", *LAYERS, "--env")
    assert status == 1
    assert "[long-leeway]" in out
    monkeypatch.setenv("JWT_MIDDLEWARE_LEEWAY", "1000")
    assert run("check", *LAYERS, "--env")[1].startswith("FAIL  JWT_MIDDLEWARE_LEEWAY")
    monkeypatch.setenv("API_LEEWAY", "10")
    status, out = run("check", *LAYERS, "--env", "--prefix", "API_")
    assert (status, out.endswith("orders.toml, the environment (API_*)\n")) == (0, True)


def test_variables_have_to_be_over_something(run: Run) -> None:
    status, out = run("check", "--env", "--settings", "shop.config:settings")
    assert (status, "--env lays variables over files" in out) == (2, True)


def test_what_a_change_does_is_said_of_layers_too(run: Run, folder: Path) -> None:
    (folder / "old.toml").write_text(BASE.replace("//db/", "//other/"), "utf-8")
    status, out = run("check", *LAYERS, "--against", "old.toml", "--against", "orders.toml")
    assert "the old settings issue nothing" in out
    assert status == 0


# -- The application's modules


def test_hooks_are_found_in_the_current_folder(run: Run, folder: Path) -> None:
    (folder / "hooks_of_shop.py").write_text("def count(event): ...\n")
    text = SERVICE.replace("audience", 'on_event = "hooks_of_shop:count"\naudience')
    (folder / "hooked.toml").write_text(text, "utf-8")
    assert run("check", "--toml", "base.toml", "--toml", "hooked.toml")[0] == 0
    sys.modules.pop("hooks_of_shop")


def test_app_dir_says_where_they_are(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = folder / "src"
    inner.mkdir()
    (inner / "hooks_of_store.py").write_text("def count(event): ...\n")
    text = SERVICE.replace("audience", 'on_event = "hooks_of_store:count"\naudience')
    (folder / "hooked.toml").write_text(text, "utf-8")
    layers = ("--toml", "base.toml", "--toml", "hooked.toml")
    status, out = run("check", *layers)
    assert status == 2
    assert f"there is no module 'hooks_of_store' in {folder}" in out
    assert "--app-dir" in out
    assert run("check", *layers, "--app-dir", "src")[0] == 0
    sys.modules.pop("hooks_of_store")


def test_the_installed_command_finds_them_as_servers_do(folder: Path) -> None:
    (folder / "hooks_of_shop.py").write_text("def count(event): ...\n")
    text = SERVICE.replace("audience", 'on_event = "hooks_of_shop:count"\naudience')
    (folder / "hooked.toml").write_text(text, "utf-8")
    command = Path(sys.executable).parent / "jwt-middleware"
    done = subprocess.run(
        [command, "check", "--toml", "base.toml", "--toml", "hooked.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# -- Without keys


def test_a_pipeline_checks_without_any_secret(run: Run) -> None:
    status, out = run("check", "--toml", "issuing.toml", "--without-keys")
    assert out.splitlines() == [
        NOT_LOOKED_AT,
        "ok    settings      nothing to say about issuing.toml",
    ]
    assert status == 0
    assert run("check", "--toml", "issuing.toml")[0] == 2


@pytest.mark.parametrize("door", ["asgi", "wsgi"])
@pytest.mark.parametrize("toml", ["issuing.toml", "verifying.toml"])
def test_a_door_is_tried_with_stand_ins(run: Run, folder: Path, door: str, toml: str) -> None:
    text = BASE.replace("refresh", "#").replace("issuer =", 'audience = "a"\nissuer =')
    (folder / "verifying.toml").write_text(text, "utf-8")
    assert run("check", "--toml", toml, "--without-keys", "--door", door)[0] == 0


def test_all_else_is_checked(run: Run, folder: Path) -> None:
    text = ISSUING.replace("[jwt_middleware.refresh]", "leeway = 61\n[jwt_middleware.refresh]")
    (folder / "issuing.toml").write_text(text, "utf-8")
    status, out = run("check", "--toml", "issuing.toml", "--without-keys")
    assert (status, "[long-leeway]" in out, NOT_LOOKED_AT in out) == (1, True, True)
    text = ISSUING.replace("store =", "stoer =")
    (folder / "issuing.toml").write_text(text, "utf-8")
    status, out = run("check", "--toml", "issuing.toml", "--without-keys", "--json")
    assert status == 2
    assert json.loads(out)["what"] == "issuing.toml: jwt_middleware.refresh.stoer"
    text = ISSUING.replace("[jwt_middleware.refresh]", "routes = 5\n[jwt_middleware.refresh]")
    (folder / "issuing.toml").write_text(text, "utf-8")
    assert "must be an array" in run("check", "--toml", "issuing.toml", "--without-keys")[1]
    text = ISSUING.replace("postgresql://db/grants", "grants.db")
    (folder / "issuing.toml").write_text(text, "utf-8")
    assert "is no URL" in run("check", "--toml", "issuing.toml", "--without-keys")[1]


def test_files_of_secrets_that_variables_name_may_be_absent(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "ISSUER": "https://login.example",
        "AUDIENCE": "https://api.example",
        "KEYS_FILE": "/run/secrets/keys.json",
        "REFRESH__STORE_FILE": "/run/secrets/store",
        "REFRESH__SECRET_FILE": "/run/secrets/refresh",
        "REFRESH__FORMER_FILE": "/run/secrets/former",
        "TRUSTED_ISSUERS": json.dumps(
            [{"issuer": "https://b.example", "audience": "a", "keys": "/run/secrets/b.json"}]
        ),
    }
    for name, value in given.items():
        monkeypatch.setenv(f"JWT_MIDDLEWARE_{name}", value)
    assert run("check", "--without-keys")[0] == 0
    assert run("check")[0] == 2
    monkeypatch.setenv("JWT_MIDDLEWARE_REALM_FILE", "/run/no/realm")  # no secret
    status, out = run("check", "--without-keys")
    assert (status, "JWT_MIDDLEWARE_REALM_FILE" in out) == (2, True)


def test_keys_in_any_form_are_replaced(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_MIDDLEWARE_ISSUER", "https://login.example")
    monkeypatch.setenv("JWT_MIDDLEWARE_AUDIENCE", "https://api.example")
    assert run("check", "--without-keys")[0] == 0  # the variable is set in the cluster only
    for name, value in (
        ("KEYS__SECRET_FILE", "/run/secrets/x"),
        ("KEYS__PEM", "nonsense"),
        ("KEYS", '{"jwks": {}}'),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"JWT_MIDDLEWARE_{name}", value)
            assert run("check", "--without-keys")[0] == 0
    monkeypatch.setenv("JWT_MIDDLEWARE_KEYS__REMOTE__TIMEOUT", "900")
    status, out = run("check", "--without-keys")  # a URL is no secret
    assert (status, "JWT_MIDDLEWARE_KEYS__REMOTE__TIMEOUT" in out) == (2, True)


def test_settings_that_python_makes_have_their_keys(run: Run) -> None:
    for arguments in (
        ("--settings", "shop.config:settings"),
        ("--toml", "base.toml", "--against", "orders.toml"),
    ):
        status, out = run("check", "--without-keys", *arguments)
        assert status == 2
        assert out.startswith("jwt-middleware: --without-keys goes with --toml and variables")


def test_no_network_is_needed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    assert run("check", *LAYERS, "--without-keys", "--door", "asgi")[0] == 0


def test_a_real_key_set_stays(folder: Path) -> None:
    keys = KeySet.generate()
    given = {"issuer": "https://a.example", "audience": "a", "keys": keys, "refresh": None}
    found = loading.from_layers(
        Settings, (given,), None, "jwt_middleware", "JWT_MIDDLEWARE_", reads_secrets=False
    )
    assert found.keys is keys
