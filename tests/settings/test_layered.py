"""Several sources over each other: field by field, and an error names the source of its value."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, KeySet, Refresh, Settings
from jwt_middleware.keys.file import File
from jwt_middleware.keys.remote import Remote
from tests.settings.test_sources import LOCKED_PEM

SECRET = "wq8eZ1v-8RkTn5iB0yq2mJxUa4cLs7dHf3gPo6tVb9E"  # made up
BASE = """
[jwt_middleware]
issuer = "https://login.example"
leeway = 10
origins = ["https://shop.example", "https://app.example"]

[[jwt_middleware.routes]]
path = "/health"
public = true

[jwt_middleware.keys.remote]

[jwt_middleware.refresh]
store = "postgresql://db/grants"
serve = false
sync_every = 2
cookies = { access = true }
"""
SERVICE = """
[jwt_middleware]
audience = "https://orders.example"
leeway = 20
refresh = { sync_every = 3 }
"""
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file, below a folder where the process isn't; return its path."""
    monkeypatch.chdir("/")

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        return str(path)

    return write


@pytest.fixture
def base(write: Write) -> str:
    return write("base.toml", BASE)


@pytest.fixture
def service(write: Write) -> str:
    return write("orders.toml", SERVICE)


def layered(*layers: Any, **variables: str) -> Settings:
    named = {f"JWT_MIDDLEWARE_{name}": value for name, value in variables.items()}
    return Settings.from_layers(*layers, environ={"PATH": "/usr/bin", **named})


def refused(*layers: Any, **variables: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as found:
        layered(*layers, **variables)
    return found.value


def group(settings: Settings) -> Refresh:
    assert settings.refresh is not None
    return settings.refresh


# -- What is over what


def test_a_later_layer_changes_single_fields(base: str, service: str) -> None:
    settings = layered(base, service)
    assert settings.issuer == "https://login.example"  # of the first
    assert settings.audience == ("https://orders.example",)  # of the second
    assert settings.leeway == 20  # of both
    assert group(settings).store == "postgresql://db/grants"
    assert group(settings).sync_every == 3


def test_variables_are_over_all_files(base: str, service: str) -> None:
    settings = layered(
        base, service, LEEWAY="30", REFRESH__SYNC_WAIT="7", REFRESH__COOKIES__NAME="r"
    )
    assert settings.leeway == 30
    assert (group(settings).sync_every, group(settings).sync_wait) == (3, 7)
    cookies = group(settings).cookies
    assert cookies is not None
    assert (cookies.access, cookies.name) == (True, "r")


def test_the_order_decides(base: str, service: str) -> None:
    assert layered(service, base).leeway == 10


def test_without_environ_no_variable_is_read(
    base: str, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_MIDDLEWARE_LEEWAY", "1")
    assert Settings.from_layers(base, service).leeway == 20
    assert Settings.from_layers(base, service, environ=os.environ).leeway == 1


def test_table_and_prefix_are_for_all(write: Write) -> None:
    one = write("one.toml", BASE.replace("[jwt_middleware", "[tool.jwt"))
    two = write("two.toml", '[tool.jwt]\naudience = "a"\n')
    settings = Settings.from_layers(
        one,
        two,
        environ={"API_LEEWAY": "3", "JWT_MIDDLEWARE_X": ""},
        table="tool.jwt",
        prefix="API_",
    )
    assert (settings.audience, settings.leeway) == (("a",), 3)


def test_one_layer_means_what_it_means_alone(base: str, service: str, tmp_path: Path) -> None:
    whole = BASE.replace("leeway", 'audience = "a"\nleeway')
    path = tmp_path / "whole.toml"
    path.write_text(whole, "utf-8")
    alone, one = Settings.from_toml(path), Settings.from_layers(path)
    for name in ("issuer", "audience", "leeway", "origins", "routes"):
        assert getattr(alone, name) == getattr(one, name)
    assert repr(group(alone).cookies) == repr(group(one).cookies)


def test_arrays_are_replaced_as_a_whole(base: str, service: str) -> None:
    routes = [{"path": "/login", "public": True}]
    settings = layered(base, service, ROUTES=json.dumps(routes), ORIGINS="[]")
    assert [one.path for one in settings.routes] == ["/login"]
    assert settings.origins == ()
    assert len(layered(base, service).routes) == 1


def test_a_mapping_is_a_layer_with_real_objects(base: str, service: str) -> None:
    keys = KeySet.generate()
    settings = layered(base, {"audience": "a", "keys": keys, "refresh": {"sync_every": 5}})
    assert settings.keys is keys
    assert (group(settings).sync_every, group(settings).serve) == (5, False)


def test_a_group_can_be_replaced_or_turned_off_by_a_mapping(base: str, service: str) -> None:
    assert layered(base, service, {"refresh": None}).refresh is None
    given = Refresh(store="redis://db", serve=False)
    assert layered(base, service, {"refresh": given}).refresh is given
    assert group(layered(base, service, {"refresh": None}, base)).sync_every == 2


def test_a_part_of_an_object_cant_be_changed(base: str) -> None:
    given = {"audience": "a", "refresh": Refresh(store="redis://db", serve=False)}
    error = refused(base, given, REFRESH__SYNC_EVERY="5")
    assert error.field == "JWT_MIDDLEWARE_REFRESH"
    assert error.problem == "changes a part of what layers[1]: refresh gives as an object"
    error = refused({**given, "keys": KeySet.generate()}, KEYS__ALGORITHM="RS256")
    assert "layers[0]: keys gives as an object" in error.problem


def test_an_object_in_a_variable_changes_fields_too(base: str, service: str) -> None:
    settings = layered(base, service, REFRESH__COOKIES="{}")
    assert group(settings).cookies.access  # type: ignore[union-attr]
    settings = layered(base, service, REFRESH='{"sync_wait": 9}')
    assert (group(settings).sync_wait, group(settings).sync_every) == (9, 3)


# -- Keys


def key_file(write: Write, name: str = "keys.json") -> str:
    path = write(name, "")
    KeySet.generate().save(path)
    return path


def test_keys_in_another_place_replace_those_before(base: str, service: str, write: Write) -> None:
    path = key_file(write)
    for given in ({"KEYS": path}, {"KEYS__FILE": path}, {"KEYS_FILE": path}):
        assert layered(base, service, **given).keys.source == File(path)
    assert layered(base, service, KEYS__SECRET=SECRET, REFRESH__STORE="redis://x").keys.signer


def test_the_same_place_is_changed_field_by_field(base: str, service: str) -> None:
    settings = layered(base, service, KEYS__REMOTE__TIMEOUT="3", KEYS__ALGORITHM="RS256")
    found = settings.keys.source
    assert isinstance(found, Remote)
    assert (found.timeout, found.algorithm) == (3, "RS256")


def test_a_password_comes_from_another_layer(write: Write) -> None:
    given = {"issuer": "https://a.example", "audience": "a", "keys": {"pem": LOCKED_PEM}}
    file = write("password", "open sesame\n")
    assert layered(given, KEYS__PASSWORD_FILE=file).keys.signer
    assert "password" in refused(given).problem


def test_a_path_and_a_table_are_one_place(write: Write) -> None:
    path = key_file(write)
    given = {"issuer": "https://a.example", "audience": "a", "keys": path}
    assert layered(given, {"keys": {"algorithm": "RS256"}}).keys.source == File(path, "RS256")
    other = key_file(write, "other.json")
    settings = layered({**given, "keys": {"file": path, "algorithm": "RS256"}}, KEYS=other)
    assert settings.keys.source == File(other, "RS256")


def test_a_relative_path_counts_from_its_own_file(write: Write) -> None:
    path = key_file(write)
    one = write("one.toml", '[jwt_middleware]\nissuer = "https://a.example"\nkeys = "keys.json"\n')
    two = write(
        "sub/two.toml", '[jwt_middleware]\naudience = "a"\nkeys = { algorithm = "RS256" }\n'
    )
    assert layered(one, two).keys.source == File(path, "RS256")
    assert layered(two, one).keys.source == File(path, "RS256")


# -- Errors


def test_an_error_names_the_source_of_the_value(base: str, service: str) -> None:
    assert refused(base, service, LEEWAY="1000").field == "JWT_MIDDLEWARE_LEEWAY"
    assert refused(base, service, {"leeway": -1}).field == "layers[2]: leeway"
    assert refused(base, service, {"refresh": {"sync_wait": 900}}).field == (
        "layers[2]: refresh.sync_wait"
    )


def test_a_wrong_value_of_the_first_layer_is_named_there(write: Write, service: str) -> None:
    wrong = write("base.toml", BASE.replace("sync_every = 2", "sync_limit = 9999"))
    assert refused(wrong, service).field == f"{wrong}: jwt_middleware.refresh.sync_limit"
    wrong = write("base.toml", BASE.replace("public = true", 'public = "yes"'))
    assert refused(wrong, service).field == f"{wrong}: jwt_middleware.routes[0].public"
    wrong = write("base.toml", BASE.replace("access = true", "acess = true"))
    error = refused(wrong, service)
    assert error.field == f"{wrong}: jwt_middleware.refresh.cookies.acess"
    assert error.remedy == "did you mean access?"


def test_a_rule_about_two_layers_names_the_field_where_it_stands(base: str, service: str) -> None:
    # `sync_limit` of the environment, against `sync_every` of the file.
    error = refused(base, service, REFRESH__SYNC_LIMIT="1")
    assert error.field == "JWT_MIDDLEWARE_REFRESH__SYNC_LIMIT"
    error = refused(base, service, {"refresh": {"serve": True}})
    assert error.problem.startswith("none of them can sign")
    assert error.field == f"{base}: jwt_middleware.keys"


@pytest.mark.parametrize(
    ("upper", "where"),
    [
        ({"leway": 1}, "leway"),
        ({"refresh": {"stoer": ""}}, "refresh.stoer"),
        ({"refresh": {"cookies": {"nmae": ""}}}, "refresh.cookies.nmae"),
    ],
)
def test_an_unknown_name_is_named_in_its_layer(
    base: str, upper: Mapping[str, Any], where: str
) -> None:
    error = refused(base, upper)
    assert (error.field, error.problem) == (f"layers[1]: {where}", "no such setting")
    assert "did you mean" in error.remedy


def test_what_no_layer_has_is_missing(base: str, service: str) -> None:
    assert refused(base).problem == "is missing"
    assert refused(base).field == "JWT_MIDDLEWARE_AUDIENCE"
    with pytest.raises(
        ConfigurationError, match=r"base\.toml: jwt_middleware\.audience: is missing"
    ):
        Settings.from_layers(base)
    with pytest.raises(ConfigurationError, match=r"^issuer: is missing"):
        Settings.from_layers()


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (5, r"layers\[0\]: is int \(the path of a TOML file, or a mapping\)"),
        (os.environ, r"layers\[0\]: is the environment \(environ=os.environ"),
        ("no.toml", "the file can't be read"),
    ],
)
def test_what_is_no_layer_is_refused(layer: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Settings.from_layers(layer)


def test_a_table_must_be_one(write: Write, base: str) -> None:
    wrong = write("wrong.toml", "jwt_middleware = 5\n")
    assert refused(base, wrong).problem == "must be a table"
    error = refused(base, {"refresh": 5})
    assert error.field == "layers[1]: refresh"


def test_json_in_a_variable_is_named_where_it_is_wrong(base: str, service: str) -> None:
    assert refused(base, service, REFRESH="{").field == "JWT_MIDDLEWARE_REFRESH"
    assert refused(base, service, REFRESH='{"stoer": 1}').field == "JWT_MIDDLEWARE_REFRESH.stoer"


def test_no_traceback_shows_a_secret(base: str, service: str) -> None:
    try:
        layered(base, service, {"leeway": -1}, KEYS__SECRET=SECRET)
    except ConfigurationError as error:
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        frames = [one for one in trace.stack if "jwt_middleware/" in one.filename]
        assert frames
        assert SECRET not in "".join(str(one.locals) for one in frames)


# -- The application's own modules


def test_a_hook_whose_module_isnt_there_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/opt/bin", "/opt/lib"])
    given = {"issuer": "https://a.example", "audience": "a", "keys": KeySet.generate()}
    given["on_event"] = "shop.hooks:count"
    with pytest.raises(ConfigurationError) as found:
        Settings.from_mapping(given)
    assert found.value.field == "on_event"
    assert found.value.problem == (
        "there is no module 'shop' in /opt/bin, nor further on in sys.path, which hasn't the "
        f"current folder, {tmp_path}"
    )
    assert "PYTHONPATH" in found.value.remedy
    monkeypatch.setattr("sys.path", ["", "/opt/lib"])
    with pytest.raises(ConfigurationError) as found:
        Settings.from_mapping(given)
    assert found.value.problem == (
        f"there is no module 'shop' in {tmp_path}, nor further on in sys.path"
    )


def test_a_module_that_lacks_another_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_with_less.py").write_text("import not_installed_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    given = {"issuer": "https://a.example", "audience": "a", "keys": KeySet.generate()}
    with pytest.raises(ConfigurationError) as found:
        Settings.from_mapping({**given, "on_event": "shop_with_less:count"})
    assert found.value.problem == "can't be imported: No module named 'not_installed_here'"
