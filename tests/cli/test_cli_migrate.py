"""`jwt-middleware migrate check`: what real libraries are configured with becomes ours."""

from __future__ import annotations

import json
import re
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from jwt_middleware import KeySet, Migration, Refresh, Settings, migrations
from jwt_middleware.cli import former_app
from jwt_middleware.cli.__main__ import main
from jwt_middleware.cli.former_app import FormerApp
from jwt_middleware.cli.former_apps import READERS
from jwt_middleware.cli.former_django import _SIMPLEJWT
from tests.django import project

SECRET = "wq8eZ1v-8RkTn5iB0yq2mJxUa4cLs7dHf3gPo6tVb9E"  # made up
OTHER = "Zr3kVx0cLp7sQd2uEf9yHn4mJb6gTa1wKo5iXe8vSz2rCq0tYh3lMj7fNd9pBu4W"  # made up
WEAK = "the-secret-of-the-shop-which-everybody-knows"

FLASK = f"""
from datetime import timedelta
from flask import Flask
from flask_jwt_extended import JWTManager, jwt_required
app = Flask("shop")
app.config["JWT_SECRET_KEY"] = {SECRET!r}
manager = JWTManager(app)

def revoked(header, claims):
    return claims["jti"] == "gone"

@app.post("/login")
def login(): ...

@app.post("/token/refresh")
@jwt_required(refresh=True)
def refresh(): ...

@app.get("/api/me")
def me(): ...
"""
AUTHX = f"""
from authx import AuthX, AuthXConfig
from fastapi import Depends, FastAPI
config = AuthXConfig(JWT_SECRET_KEY={SECRET!r}, JWT_TOKEN_LOCATION=["headers"])
auth = AuthX(config=config)
app = FastAPI()

@app.post("/login")
def login(): ...

@app.post("/refresh", dependencies=[Depends(auth.refresh_token_required)])
def refresh(): ...
"""
USERS = f"""
from fastapi import FastAPI
from fastapi_users import FastAPIUsers
from fastapi_users.authentication import (
    AuthenticationBackend, BearerTransport, CookieTransport, JWTStrategy,
)
from pydantic import SecretStr

def strategy():
    return JWTStrategy(secret=SecretStr({SECRET!r}), lifetime_seconds=3600)

def backend(transport, get_strategy=strategy):
    return AuthenticationBackend("jwt", transport, get_strategy)

async def manager():
    yield None

users = FastAPIUsers(manager, [backend(BearerTransport("login"))])
cookies = backend(CookieTransport("shop"))

class DatabaseStrategy: ...

def made():
    inside = FastAPIUsers(manager, [backend(BearerTransport("login"))])
    app = FastAPI()
    app.include_router(inside.get_auth_router(inside.authenticator.backends[0]), prefix="/auth")
    return app

async def awaited(): ...

database = backend(BearerTransport("login"), DatabaseStrategy)
slow = backend(BearerTransport("login"), awaited)
asking = backend(BearerTransport("login"), lambda request: None)
public = JWTStrategy("-", 60, algorithm="ES256", public_key=PUBLIC)
nobody = FastAPIUsers(manager, [])
"""
DJANGO = f"""
from datetime import timedelta
SECRET_KEY = {SECRET!r}
INSTALLED_APPS = ["django.contrib.sessions", "rest_framework"]
REST_FRAMEWORK = {{"DEFAULT_AUTHENTICATION_CLASSES": [
    "rest_framework_simplejwt.authentication.JWTAuthentication"]}}
"""
LOGIN = f"""
from flask import Flask
from flask_login import LoginManager
app = Flask("shop")
app.secret_key = {SECRET!r}
LoginManager(app)
bare = Flask("bare")
nothing = object()
"""


class Told(NamedTuple):
    """What the command printed."""

    status: int
    text: str
    code: str
    lines: dict[str, list[dict[str, str]]]  # by their `what`


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Told]:
    """Write an application, and return what the command says about it."""
    monkeypatch.chdir(tmp_path)
    number = iter(range(99))

    def told(text: str, name: str = "app", *options: str) -> Told:
        module = f"former{next(number)}_{tmp_path.name.replace('-', '_')}"
        Path(f"{module}.py").write_text(text, "utf-8")
        at = f"{module}:{name}" if name else module
        try:
            status = main(["migrate", "check", at, *options])
            shown = capsys.readouterr()
            assert main(["migrate", "check", at, "--json", *options]) == status
        finally:
            sys.modules.pop(module, None)
        *lines, last = map(json.loads, capsys.readouterr().out.splitlines())
        assert shown.err == ""
        for secret in (SECRET, OTHER, WEAK):
            assert secret not in shown.out
        by: dict[str, list[dict[str, str]]] = {}
        for line in lines:
            by.setdefault(line["what"], []).append(line)
        comments, code = shown.out.partition("\n\n")[::2]
        assert all(one.startswith("# ") for one in comments.splitlines())
        assert code == last["settings"]
        return Told(status, shown.out, code, by)

    return told


def made(code: str, monkeypatch: pytest.MonkeyPatch, secret: str = SECRET) -> Settings:
    """Return the settings that the printed code makes, in a folder with the keys that it names."""
    monkeypatch.setenv("FORMER_JWT_SECRET", secret)
    KeySet.generate().save("keys.json")
    module = ModuleType("pasted")
    exec(code, module.__dict__)
    found: Settings = module.settings
    return found


def refresh_of(settings: Settings) -> Refresh:
    assert settings.refresh is not None
    return settings.refresh


def migration_of(settings: Settings) -> Migration:
    found = refresh_of(settings).migrate
    assert found is not None
    return found


def seen(told: Told, what: str) -> str:
    return " ".join(f"{one['state']} {one['seen']} {one['remedy']}" for one in told.lines[what])


# --- flask-jwt-extended


def test_flask(told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(FLASK)
    assert found.status == 1
    settings = made(found.code, monkeypatch)
    migration = migration_of(settings)
    assert migration.library == migrations.FLASK_JWT_EXTENDED
    assert (migration.path, migration.routes) == ("/token/refresh", ("/*",))
    assert (migration.issuer, migration.audience, migration.is_blocked) == ("", (), None)
    assert refresh_of(settings).access_lifetime == 900
    assert [route.path for route in settings.routes] == ["/login"]
    assert refresh_of(settings).cookies is None
    assert 30 * 86400 <= migration.ends_at - time.time() <= 31 * 86400
    assert "JWT_SECRET_KEY can verify them" in seen(found, "secret")
    assert "blocklist" not in found.lines


def test_the_text_has_decisions_as_comments_and_then_code(told: Callable[..., Told]) -> None:
    text = told(FLASK).text
    assert re.match(r"# ok    library       flask-jwt-extended \d", text)
    assert "\n#                     -> FORMER_JWT_SECRET is its value" in text


def test_flask_in_toml(told: Callable[..., Told]) -> None:
    found = told(FLASK + 'app.config["JWT_IDENTITY_CLAIM"] = "uid"', "app", "--toml")
    assert 'KeySet.secret(os.environ["FORMER_JWT_SECRET"]' not in found.code
    assert "former-keys.json" in seen(found, "keys")
    Path("app.toml").write_text(found.code, "utf-8")
    KeySet.generate().save("keys.json")
    KeySet.secret(SECRET).save("former-keys.json")
    settings = Settings.from_toml("app.toml")
    assert migration_of(settings).library.subject_claim == "uid"
    assert tomllib.loads(found.code)["jwt_middleware"]["routes"][0]["path"] == "/login"


def test_a_blocklist_of_flask_is_asked(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(FLASK + "manager.token_in_blocklist_loader(revoked)")
    assert "is_blocked asks" in seen(found, "blocklist")
    settings = made(found.code, monkeypatch)
    is_blocked = migration_of(settings).is_blocked
    assert is_blocked is not None
    monkeypatch.syspath_prepend(".")
    assert [is_blocked({"jti": one}) for one in ("gone", "here")] == [True, False]


METHOD = """
class Blocked:
    def asked(self, header, claims): ...
manager.token_in_blocklist_loader(Blocked().asked)
"""


@pytest.mark.parametrize(
    "loader", ["manager.token_in_blocklist_loader(lambda header, claims: False)", METHOD]
)
def test_a_blocklist_without_a_name_is_to_be_written(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, loader: str
) -> None:
    found = told(FLASK + loader)
    settings = made(found.code, monkeypatch)
    is_blocked = migration_of(settings).is_blocked
    assert is_blocked is not None
    with pytest.raises(NotImplementedError, match="jti"):
        is_blocked({})


COOKIES = """
app.config.update(JWT_TOKEN_LOCATION=["cookies", "query_string", "json"])
app.config.update(JWT_ACCESS_COOKIE_NAME="shop", JWT_REFRESH_JSON_KEY="renew")
"""


def test_places_of_tokens_are_decisions(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(FLASK + COOKIES + 'app.config["JWT_COOKIE_DOMAIN"] = ".shop.example"')
    settings = made(found.code, monkeypatch)
    cookies = refresh_of(settings).cookies
    assert cookies is not None
    assert cookies.access
    library = migration_of(settings).library
    assert (library.bearer, library.parameter) == (False, "renew")
    assert (library.access_cookie, library.refresh_cookie) == ("shop", "refresh_token_cookie")
    assert "URLs" in seen(found, "locations")
    assert "bodies" in seen(found, "locations")
    assert "X-CSRF-TOKEN" in seen(found, "CSRF")
    assert "other hosts" in seen(found, "cookies")
    found = told(FLASK + COOKIES + 'app.config["JWT_COOKIE_CSRF_PROTECT"] = False')
    assert "other sites' forms" in seen(found, "CSRF")


def test_a_site_with_forms_gets_pages(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(FLASK + COOKIES + 'app.config["JWT_CSRF_CHECK_FORM"] = True')
    settings = made(found.code, monkeypatch)
    cookies = refresh_of(settings).cookies
    assert cookies is not None
    assert (cookies.access, cookies.forms) == (True, True)
    assert settings.login_url == settings.routes[0].path
    assert [route.path for route in settings.routes if route.own_origin][-1] == "/logout"
    assert "docs/pages.md" in seen(found, "CSRF")


def test_headers_of_ones_own(told: Callable[..., Told]) -> None:
    more = 'app.config.update(JWT_HEADER_TYPE="JWT", JWT_HEADER_NAME="X-Token")'
    found = told(FLASK + more)
    assert "Bearer" in seen(found, "header")
    assert "credentials_header" in seen(found, "header")


def test_hooks_are_decisions(told: Callable[..., Told]) -> None:
    more = """
manager.additional_claims_loader(lambda user: {})
manager.user_identity_loader(str)
manager.decode_key_loader(lambda header, claims: "")
"""
    found = told(FLASK + more)
    assert len(found.lines["hook"]) == 3
    assert "claims_for" in seen(found, "hook")


def test_tokens_that_never_expire(told: Callable[..., Told]) -> None:
    more = """
app.config.update(JWT_ACCESS_TOKEN_EXPIRES=False, JWT_REFRESH_TOKEN_EXPIRES=False)
"""
    found = told(FLASK + more)
    assert "never expire" in seen(found, "access tokens")
    assert "never expire" in seen(found, "refresh tokens")
    assert found.status == 1


def test_tokens_that_live_long(told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    more = """
app.config.update(JWT_ACCESS_TOKEN_EXPIRES=timedelta(days=7))
app.config.update(JWT_REFRESH_TOKEN_EXPIRES=timedelta(days=500))
"""
    found = told(FLASK + more)
    assert "live for 7 d" in seen(found, "access tokens")
    assert "live for 500 d" in seen(found, "refresh tokens")
    settings = made(found.code, monkeypatch)
    assert refresh_of(settings).absolute_limit == 400 * 86400
    assert refresh_of(settings).access_lifetime == 600


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (f'app.config["JWT_SECRET_KEY"] = {WEAK!r}', "can be guessed"),
        ('app.config["JWT_SECRET_KEY"] = "short"', "too short"),
        ('app.config["JWT_ALGORITHM"] = "HS512"', "too short"),
        ('app.config["JWT_SECRET_KEY"] = PUBLIC', "asymmetric key"),
    ],
)  # fmt: skip
def test_a_weak_secret_is_refused_with_the_way_out(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, change: str, says: str
) -> None:
    found = told(f"PUBLIC = {PEM!r}\n{FLASK}{change}")
    assert found.status == 2
    assert says in seen(found, "secret")
    assert "log in" in seen(found, "secret")
    assert "log in once more" in seen(found, "users")
    settings = made(found.code, monkeypatch)
    assert refresh_of(settings).migrate is None


PEM = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9
q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==
-----END PUBLIC KEY-----
"""


def test_keys_of_two_kinds(told: Callable[..., Told]) -> None:
    more = 'app.config.update(JWT_DECODE_ALGORITHMS=["RS256"], JWT_PUBLIC_KEY="-")'
    text = seen(told(FLASK + more), "algorithms")
    assert "a secret and a public key" in text
    assert "everybody knows it" in text


def test_a_public_key(told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    more = f'app.config.update(JWT_ALGORITHM="ES256", JWT_PUBLIC_KEY={PEM!r})'
    found = told(FLASK + more)
    assert "JWT_PUBLIC_KEY can verify them" in seen(found, "keys")
    KeySet.pem(PEM).save("former-keys.json")
    settings = made(found.code, monkeypatch)
    assert migration_of(settings).keys is not None
    # Without the key, it can't be judged.
    found = told(FLASK + 'app.config.update(JWT_ALGORITHM="ES256")')
    assert "JWT_PUBLIC_KEY isn't to be seen here" in seen(found, "keys")


def test_flasks_own_secret_signs_where_there_is_no_other(told: Callable[..., Told]) -> None:
    more = 'app.config["SECRET_KEY"] = app.config.pop("JWT_SECRET_KEY")\nJWTManager(app)'
    assert "SECRET_KEY can verify them" in seen(told(FLASK + more), "secret")


# --- AuthX


@pytest.mark.parametrize("name", ["app", "auth", "config"])
def test_authx(told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found = told(AUTHX, name)
    settings = made(found.code, monkeypatch)
    assert migration_of(settings).library == migrations.AUTHX
    assert migration_of(settings).path == ("/refresh" if name == "app" else "")
    assert found.lines["path"][0]["state"] == ("ok" if name == "app" else "warn")


def test_authx_with_names_a_blocklist_and_a_previous_secret(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = f"""
config.JWT_ENCODE_ISSUER = "https://shop.example"
config.JWT_ENCODE_AUDIENCE = ["api", "shop"]
config.JWT_ALGORITHM, config.JWT_SECRET_KEY = "HS384", {OTHER!r}
config.JWT_PREVIOUS_SECRET_KEY = {SECRET!r}
async def gone(token): ...
auth.set_token_blocklist(gone)

@app.post("/refresh/again")
def again(): ...
"""
    found = told(AUTHX + more)
    settings = made(found.code, monkeypatch, OTHER)
    assert settings.issuer == "https://shop.example"
    assert settings.audience == ("api", "shop")
    migration = migration_of(settings)
    assert (migration.issuer, migration.audience) == ("https://shop.example", ("api", "shop"))
    assert migration.algorithm == "HS384"
    assert migration.is_blocked is not None
    with pytest.raises(NotImplementedError):  # AuthX asks by the token's text
        migration.is_blocked({})
    assert "same as before" in seen(found, "issuer")
    assert "previous" in seen(found, "secret")
    assert "/refresh/again" in seen(found, "path")


# --- fastapi-users


@pytest.mark.parametrize("name", ["users", "cookies", "made"])
def test_fastapi_users(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    found = told(f"PUBLIC = {PEM!r}\n{USERS}", name)
    settings = made(found.code, monkeypatch)
    assert migration_of(settings).library == migrations.FASTAPI_USERS
    assert (refresh_of(settings).cookies is not None) is (name == "cookies")
    assert "one kind of token" in seen(found, "kinds")
    assert [one.path for one in settings.routes] == ["/auth/login" if name == "made" else "/login"]


def test_a_strategy_with_a_public_key(told: Callable[..., Told]) -> None:
    assert "public_key can verify" in seen(told(f"PUBLIC = {PEM!r}\n{USERS}", "public"), "keys")


@pytest.mark.parametrize("name", ["database", "slow", "asking"])
def test_tokens_of_a_database_are_exchanged_in_a_view(told: Callable[..., Told], name: str) -> None:
    found = told(f"PUBLIC = {PEM!r}\n{USERS}", name)
    assert "once=token" in seen(found, "strategy")
    assert "migrate" not in found.code


def test_fastapi_users_without_a_backend(told: Callable[..., Told]) -> None:
    assert "by hand" in told(f"PUBLIC = {PEM!r}\n{USERS}", "nobody").lines


# --- Django


def django(told: Callable[..., Told], more: str = "", *options: str) -> Told:
    return told(DJANGO + more, "", *options)


def test_simplejwt(told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    found = django(told)
    settings = made(found.code, monkeypatch)
    assert migration_of(settings).library == migrations.SIMPLEJWT
    assert refresh_of(settings).access_lifetime == 300
    assert "SECRET_KEY can verify" in seen(found, "secret")
    assert found.lines["path"][0]["state"] == "warn"


SIMPLE = """
INSTALLED_APPS += ["rest_framework_simplejwt.token_blacklist"]
SIMPLE_JWT = {
    "SIGNING_KEY": "%s", "ALGORITHM": "HS512", "AUTH_HEADER_TYPES": "JWT", "USER_ID_CLAIM": "uid",
    "AUTH_TOKEN_CLASSES": ["rest_framework_simplejwt.tokens.SlidingToken"], "JWK_URL": "https://x",
    "TOKEN_TYPE_CLAIM": "kind", "USER_ID_FIELD": "uuid", "CHECK_REVOKE_TOKEN": True,
    "REFRESH_TOKEN_LIFETIME": timedelta(days=60),
}
"""


@pytest.mark.parametrize("toml", [False, True])
def test_the_whole_of_simplejwt(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, *, toml: bool
) -> None:
    found = django(told, SIMPLE % OTHER, *(["--toml"] if toml else []))
    for what in ("header", "sliding", "users", "passwords", "issuer", "blocklist"):
        assert "warn" in seen(found, what)
    if toml:
        code = found.code.replace('"MODULE:is_blocked"', '"builtins:bool"')
        Path("app.toml").write_text(code, "utf-8")
        KeySet.generate().save("keys.json")
        KeySet.secret(OTHER, algorithm="HS512").save("former-keys.json")
        settings = Settings.from_toml("app.toml")
    else:
        settings = made(found.code, monkeypatch, OTHER)
        assert "BlacklistedToken.objects.filter" in found.code
    assert refresh_of(settings).absolute_limit == 62 * 86400
    library = migration_of(settings).library
    assert library.subject_claim == "uid"
    assert (library.refresh, library.access) == ({"kind": "refresh"}, {"kind": "access"})


def test_simplejwt_with_public_keys(told: Callable[..., Told]) -> None:
    keys = f'SIMPLE_JWT = {{"ALGORITHM": "ES256", "VERIFYING_KEY": {PEM!r}}}'
    assert "VERIFYING_KEY can verify" in seen(django(told, keys), "keys")


def test_nothing_tells_simplejwts_tokens_apart(told: Callable[..., Told]) -> None:
    found = django(told, 'SIMPLE_JWT = {"TOKEN_TYPE_CLAIM": None}')
    assert found.status == 2
    assert "must never buy tokens" in seen(found, "library")


def test_the_secret_that_startproject_writes_is_refused(told: Callable[..., Told]) -> None:
    from django.core.management.utils import get_random_secret_key

    insecure = f"SECRET_KEY = {'django-insecure-' + get_random_secret_key()!r}"
    assert django(told, insecure).status == 2


def test_django_sessions(told: Callable[..., Told]) -> None:
    found = django(told, "REST_FRAMEWORK = {}")
    assert "sessionid (db) stays" in seen(found, "sessions")
    assert "migrate" not in found.code
    assert "cookies=Cookies(access=True, forms=True)" in found.code


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_an_application_of_django(told: Callable[..., Told], kind: str) -> None:
    assert project.JWT is not None  # Django is set up
    text = f"from django.core.{kind} import get_{kind}_application as make\napp = make()"
    assert "Django sessions" in seen(told(text), "library")


def test_settings_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "check", "no_such_settings"]) == 2
    assert "Django's settings" in capsys.readouterr().err


@pytest.mark.parametrize("text", [f"raise ValueError({SECRET!r})", f"import no_{SECRET[:4]}"])
@pytest.mark.parametrize("name", ["", ":app"])
def test_an_application_that_raises(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("raises_at_import.py").write_text(text, "utf-8")
    assert main(["migrate", "check", f"raises_at_import{name}"]) == 2
    said = capsys.readouterr().err
    assert SECRET not in said
    assert ("ValueError, whose text isn't shown" in said) or ("No module named 'no_" in said)


@pytest.mark.parametrize("name", ["nowhere", "mysite.wsgi application"])
def test_no_name_of_an_object(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["migrate", "check", f"json:{name}"]) == 2
    assert "APP json:" in capsys.readouterr().err


# --- Flask-Login, and nothing that is known


def test_flask_login(told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(LOGIN)
    assert "Flask-Login" in seen(found, "library")
    assert "from-flask-login" in seen(found, "sessions")
    settings = made(found.code, monkeypatch)
    assert refresh_of(settings).migrate is None
    cookies = refresh_of(settings).cookies
    assert cookies is not None
    assert cookies.forms  # as the pages of such an application have


@pytest.mark.parametrize("name", ["bare", "nothing"])
def test_by_hand(told: Callable[..., Told], name: str) -> None:
    found = told(LOGIN, name)
    assert found.status == 1
    assert "jwt.encode" in seen(found, "by hand")
    assert "from-authlib" in seen(found, "by hand")
    assert 'migrations.PYJWT.replace(refresh={"<claim>": "<refresh>"}' in found.code


def test_a_library_without_a_version() -> None:
    assert former_app.versioned("Nobody", "nobody_has_this") == "Nobody"


def test_readers_are_for_classes_that_exist() -> None:
    from importlib import import_module

    homes = {
        "django": ("django.core.handlers.wsgi", "django.core.handlers.asgi"),
        "fastapi_users": ("fastapi_users", "fastapi_users.authentication"),
    }
    for package, name in READERS:
        assert any(hasattr(import_module(one), name) for one in homes.get(package, (package,)))


def test_the_defaults_are_simplejwts_own() -> None:
    assert project.JWT is not None
    from rest_framework_simplejwt.settings import DEFAULTS

    assert {name: DEFAULTS[name] for name in _SIMPLEJWT} == dict(_SIMPLEJWT)


def test_a_former_application_shows_no_secret() -> None:
    assert SECRET not in repr(FormerApp("x", "PYJWT", secret=SECRET, secret_name="SECRET_KEY"))
