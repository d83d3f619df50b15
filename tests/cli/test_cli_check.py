"""`jwt-middleware check`: what is wrong, with its rule; what is risky, with an id; else nothing."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import (
    ClientCertificates,
    ConfigurationError,
    Cookies,
    Former,
    Grant,
    KeySet,
    Proofs,
    Refresh,
    Resource,
    Route,
    Settings,
    TrustedIssuer,
    profiles,
)
from jwt_middleware.cli.__main__ import main
from jwt_middleware.cli.check import ERRORS, rule_of
from jwt_middleware.cli.risks import RULES
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import TokenFactory

ROOT = Path(__file__).parent.parent.parent
FACTORY = TokenFactory()
ISSUER, API = "https://login.example", "https://api.example"
SECRET = "wq8eZ1v-8RkTn5iB0yq2mJxUa4cLs7dHf3gPo6tVb9E"  # made up
Capture = pytest.CaptureFixture[str]
Check = Callable[..., tuple[int, str]]

made: dict[str, Any] = {}  # what `--settings` makes settings of


def make() -> Settings:
    return Settings(**made)


@pytest.fixture
def check(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Check settings that differ in these fields; return the status and what was printed."""

    def check(*arguments: str, **changes: Any) -> tuple[int, str]:
        given = {"issuer": ISSUER, "audience": API, "keys": FACTORY.keys} | changes
        monkeypatch.setattr(sys.modules[__name__], "made", given)
        status = main(["check", "--settings", "tests.cli.test_cli_check:make", *arguments])
        out, err = capsys.readouterr()
        assert err == ""
        assert SECRET not in out
        return status, out

    return check


GUARDED = Route("/admin/*", scope="admin audit")
LOGIN = Route("/login", public=True, own_origin=True)
PUBLIC = KeySet.from_jwks(FACTORY.keys.public_jwks())
(ED25519,) = KeySet.generate("Ed25519").keys


def partner(**changes: Any) -> TrustedIssuer:
    fields: dict[str, Any] = {"issuer": "https://partner.example", "audience": API}
    fields |= {"keys": KeySet.remote()}
    return TrustedIssuer(**(fields | changes))


def refresh(**changes: Any) -> Refresh:
    fields: dict[str, Any] = {"store": "postgresql://db/grants"}
    return Refresh(**(fields | changes))


GOOD: list[dict[str, Any]] = [
    {},
    {"keys": KeySet.remote(), "leeway": 60},
    {"refresh": refresh(cookies=Cookies()), "origins": ("https://shop.example",)},
    {"refresh": refresh(serve=False), "keys": PUBLIC},
    # Nobody reads the keys of a service that issues nothing.
    {"refresh": refresh(serve=False), "keys": KeySet((*PUBLIC.keys, ED25519))},
    {"refresh": refresh(access_lifetime=3600), "keys": KeySet.secret(SECRET)},
    {"refresh": refresh(store="sqlite:////var/lib/app/grants.db")},
    {"refresh": refresh(), "resource": Resource(identifier=API)},
    {"profile": profiles.FOREIGN, "audience": "api://1234"},
    {"trusted_issuers": (partner(profile=profiles.FOREIGN),)},
    {"trusted_issuers": (partner(scopes=("read",)),), "routes": (GUARDED,)},
    {"profile": profiles.COGNITO, "audience": "1h57kf5cpq17m0eml12EXAMPLE"},
    {"profile": profiles.ENTRA, "audience": "6e74172b-be56-4843-9ff4-e66a39bb12e3"},
    {
        "trusted_issuers": (partner(profile=profiles.KEYCLOAK.replace(scope_map={"a": "admin"})),),
        "routes": (GUARDED,),
    },
    {"routes": (GUARDED, Route("/admin/logs", scope="audit admin logs"))},
    {"routes": (Route("/open/*", public=True), Route("/notes", scope="write"))},
    # One path, two methods: each says what it needs.
    {"routes": (Route("/notes", methods=("GET",), public=True), Route("/notes", scope="write"))},
    {"routes": (Route("/notes/*", methods=("GET",), scope="read"), Route("/notes", scope="write"))},
    {
        "routes": (
            Route("/notes/*", methods=("POST",), scope="write"),
            Route("/notes/new", methods=("GET",), public=True),
        )
    },
    {"routes": (Route("/administer", public=True), GUARDED)},
    {
        "refresh": refresh(cookies=Cookies()),
        "routes": (
            Route("/login", public=True, own_origin=True),
            Route("/news", methods=("GET",), public=True),
        ),
    },
    {"refresh": refresh(), "routes": (Route("/login", public=True),)},  # tokens in no cookie
]


@pytest.mark.parametrize("changes", GOOD, ids=range(len(GOOD)))
def test_there_is_nothing_to_say_about_good_settings(changes: dict[str, Any], check: Check) -> None:
    status, out = check(**changes)
    assert out == "ok    settings      nothing to say about tests.cli.test_cli_check:make\n"
    assert status == 0


RISKY: list[tuple[str, str, str, dict[str, Any]]] = [
    # the rule, the field, what is said, the settings
    ("loopback", "issuer", "this machine, and without TLS", {"issuer": "http://127.0.0.1:8000"}),
    ("loopback", "origins", "'http://localhost:3000'", {"origins": ("http://localhost:3000",)}),
    ("loopback", r"trusted_issuers\[0\].issuer", "this machine", {
        "trusted_issuers": (partner(issuer="http://localhost"),)}),
    ("issuer-without-metadata", "issuer", "'shop' is no absolute URL", {
        "issuer": "shop", "refresh": refresh()}),
    ("issuer-without-metadata", "issuer", "has a query", {
        "issuer": f"{ISSUER}/?realm=1", "refresh": refresh()}),
    ("long-leeway", "leeway", "61 s", {"leeway": 61}),
    ("id-token-audience", "audience", "'web-app' looks like a client's id, and FOREIGN", {
        "profile": profiles.FOREIGN, "audience": ("api://1", "web-app")}),
    ("id-token-audience", r"trusted_issuers\[1\].audience", "'app'", {
        "trusted_issuers": (partner(), partner(
            issuer="https://b.example", profile=profiles.FOREIGN, audience="app"))}),
    ("id-tokens", "profile", "GOOGLE_ID_TOKEN takes ID tokens", {
        "profile": profiles.GOOGLE_ID_TOKEN, "audience": "1.apps.googleusercontent.com"}),
    ("id-tokens", r"trusted_issuers\[0\].profile", "FIREBASE_ID_TOKEN takes ID tokens", {
        "trusted_issuers": (partner(profile=profiles.FIREBASE_ID_TOKEN, audience="shop"),),
        "routes": (GUARDED,)}),  # they give no scope
    ("audience-with-comma", "audience", "'urn:a,urn:b' is one name", {"audience": "urn:a,urn:b"}),
    ("unlimited-scopes", r"trusted_issuers\[0\].scopes", "the scope of /admin/", {
        "trusted_issuers": (partner(),), "routes": (GUARDED,)}),
    ("shared-secret", "keys", "could make such tokens", {"keys": KeySet.secret(SECRET)}),
    ("shared-secret", r"trusted_issuers\[0\].keys", "could make such tokens", {
        "refresh": refresh(), "trusted_issuers": (partner(keys=KeySet.secret(SECRET)),)}),
    ("private-addresses", "keys.private_addresses", "ask inside", {
        "keys": KeySet.remote(private_addresses=True)}),
    ("plain-http", "keys.plain_http", "can replace them", {
        "keys": KeySet.remote("http://keycloak/certs", private_addresses=True, plain_http=True)}),
    ("second-kind-of-key", "keys", "ES256 and Ed25519 keys are published", {
        "refresh": refresh(), "keys": KeySet((*FACTORY.keys.keys, ED25519))}),
    ("memory-store", "refresh.store", "gone with its process", {
        "refresh": refresh(store="memory://")}),
    ("memory-store", "refresh.store", "each knows only the logins that it served", {
        "refresh": refresh(store=MemoryStore(clock=float, retention=1.0))}),
    ("generated-keys", "keys", "a restart ends all tokens", {"keys": KeySet.generate()}),
    ("generated-keys", r"trusted_issuers\[0\].keys", "each refuses the tokens of the others", {
        "trusted_issuers": (partner(keys=KeySet.generate()),)}),
    ("relative-store", "refresh.store", "where the process happens to start", {
        "refresh": refresh(store="sqlite:///grants.db")}),
    ("sync-open", "refresh.sync_failure", "that were revoked", {
        "refresh": refresh(sync_failure="open")}),
    ("long-access-lifetime", "refresh.access_lifetime", "so long a log-out", {
        "refresh": refresh(access_lifetime=3601)}),
    ("former-over", r"refresh.former\[1\]", "its date is past", {"refresh": refresh(former=(
        Former(until="9999-12-31", secret=SECRET), Former(until="2020-12-31", issuer="https://old")
    ))}),
    ("all-open", r"Route\('/\*'\)", "what is forgotten", {"routes": (Route("/*", public=True),)}),
    ("all-open", r"Route\('/\*'\)", "what is forgotten", {"routes": (Route("/*", optional=True),)}),
    ("opened-below", r"Route\('/admin/login'\)", r"a part of /admin/\*, which is guarded", {
        "routes": (GUARDED, Route("/admin/login", public=True))}),
    ("opened-below", r"Route\('/admin/a/\*'\)", "a part of /admin, which", {
        "routes": (Route("/admin", max_age=60), Route("/admin/a/*", optional=True))}),
    ("opened-below", r"Route\('/x/y'\)", "a part of /x", {
        "routes": (Route("/x", methods=("POST",), scope="x"), Route("/x/y", public=True))}),
    ("lenient-below", r"Route\('/admin/logs'\)", r"place of /admin/\* here: admin isn't needed", {
        "routes": (GUARDED, Route("/admin/logs", scope="audit"))}),
    ("login-from-elsewhere", r"Route\('/login'\)", "plant the login of another", {
        "refresh": refresh(cookies=Cookies()), "routes": (Route("/login", public=True),)}),
    ("login-from-elsewhere", r"Route\('/in'\)", "other sites' forms", {
        "refresh": refresh(cookies=Cookies()),
        "routes": (Route("/in", methods=("GET", "POST"), public=True),)}),
    ("short-settle", "refresh.settle", "up to 35 s late", {"refresh": refresh(settle=30)}),
    ("loopback", "proofs.urls", "without TLS", {
        "proofs": Proofs(urls=("http://localhost:8000",)), "refresh": refresh(),
        "routes": (LOGIN,)}),
    ("lenient-below", r"Route\('/pay/help'\)", "place of /pay/.* here: .* needn't be bound", {
        "proofs": Proofs(), "refresh": refresh(),
        "routes": (LOGIN, Route("/pay/*", proof="required"), Route("/pay/help", scope="read"))}),
    ("lenient-below", r"Route\('/pay/help'\)", "place of /pay/.* here: .* needn't be bound", {
        "proofs": Proofs(required=True, access=True), "refresh": refresh(),
        "routes": (LOGIN, Route("/pay/*"), Route("/pay/help", proof="accepted"))}),
    ("proofs-per-process", "proofs.replay", "of several workers each", {
        "proofs": Proofs(urls=(API,), nonces=False)}),
    ("proofs-per-process", "proofs.replay", "of several workers each", {
        "proofs": Proofs(replay="process"), "refresh": refresh(), "routes": (LOGIN,)}),
    ("no-bound-login", "proofs.access", "no login can be bound", {
        "proofs": Proofs(), "refresh": refresh(), "routes": (Route("/login", public=True),)}),
    ("unbound-everywhere", "proofs.required", "open no route", {
        "proofs": Proofs(required=True), "refresh": refresh(), "routes": (LOGIN,)}),
    ("wide-proxies", "client_certificates.proxies", "0.0.0.0/0 is nearly everybody", {
        "client_certificates": ClientCertificates(
            header="Client-Cert", proxies=("unix", "10.0.0.0/8", "0.0.0.0/0"))}),
    ("wide-proxies", "client_certificates.proxies", "::/0 is nearly everybody", {
        "client_certificates": ClientCertificates(header="Client-Cert", proxies=("::/0",))}),
    ("route-without-effect", r"Route\('/auth/refresh'\)", "by the middleware itself", {
        "refresh": refresh(), "routes": (Route("/auth/refresh", public=True),)}),
    ("route-without-effect", r"Route\('/.well-known/oauth-protected-resource'\)", "itself", {
        "resource": Resource(identifier=API),
        "routes": (Route("/.well-known/oauth-protected-resource", public=True),)}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "field", "words", "changes"), RISKY, ids=[f"{r[0]}{i}" for i, r in enumerate(RISKY)]
)
def test_what_is_risky_is_said_with_its_rule_and_the_way_out(
    rule: str, field: str, words: str, changes: dict[str, Any], check: Check
) -> None:
    status, out = check(**changes)
    assert status == 1
    assert re.fullmatch(rf"warn  {field} +.*{words}.* \[{rule}\]\n +-> .+\n", out), out


def test_every_rule_is_shown_and_has_an_id_of_its_own() -> None:
    assert {one[0] for one in RISKY} | {"readable-key-file"} == {rule.id for rule in RULES}
    assert len({rule.id for rule in RULES}) == len(RULES)
    page = (ROOT / "docs" / "cli.md").read_text("utf-8").partition("| Rule |")[2]
    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE) == [rule.id for rule in RULES]


def test_a_key_file_that_others_can_read_is_found(check: Check, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    FACTORY.keys.save(path)
    assert check(keys=KeySet.load(path))[0] == 0
    path.chmod(0o640)
    status, out = check(keys=KeySet.load(path))
    assert status == 1
    assert f"{path} has secrets, and others can read it [readable-key-file]" in out
    until = "9999-12-31"
    entries = (Former(until=until, secret=SECRET), Former(until=until, keys=KeySet.load(path)))
    status, out = check(refresh=refresh(former=entries), keys=KeySet.generate())
    assert (status, out.startswith("warn  refresh.former[1].keys  ")) == (1, True)
    loaded = KeySet.load(path)
    path.unlink()
    assert check(keys=loaded)[0] == 0
    path.write_text(json.dumps(FACTORY.keys.public_jwks()))
    assert check(keys=KeySet.load(path))[0] == 0  # public keys are for all


# --- errors


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("RS-30", {"leeway": 301}),
        ("RS-34", {"audience": ()}),
        ("RS-25", {"refresh": refresh(), "audience": ISSUER}),
        ("RS-28", {"trusted_issuers": (partner(issuer=ISSUER),)}),
        ("RS-71", {"resource": Resource(identifier=f"{API}/")}),
        ("RS-09", {"refresh": refresh(cookies=Cookies()), "issuer": "http://login.example"}),
        ("RS-72", {"keys": KeySet.remote(), "issuer": "login"}),
        ("", {"realm": '"'}),
    ],
)
def test_what_is_wrong_is_an_error_with_the_rule_behind_it(
    rule: str, changes: dict[str, Any], check: Check
) -> None:
    status, out = check(**changes)
    assert status == 2
    assert out.startswith("FAIL  ")
    assert out.count("FAIL") == 1
    assert re.findall(r"\[(R[ST]-\d+)\]", out) == ([rule] if rule else [])


def test_a_key_in_a_file_is_named_by_its_rule(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app.toml").write_text(
        f'[jwt_middleware]\nissuer = "{ISSUER}"\naudience = "{API}"\nkeys = {{secret = "short"}}\n'
    )
    assert main(["check", "--toml", "app.toml", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["what"]) == ("fail", "app.toml: jwt_middleware.keys.secret")
    assert found["seen"].endswith("[RS-19]")


def test_every_rule_of_the_errors_exists_and_so_do_their_words() -> None:
    rules = tomllib.loads((ROOT / "tests" / "rules.toml").read_text("utf-8"))
    code = "\n".join(
        path.read_text("utf-8")
        for path in (ROOT / "jwt_middleware").rglob("*.py")
        if "cli" not in path.parts
    )
    # As it is printed: without what joins the pieces of a text.
    code = re.sub(r"""["']\s+f?["']""", "", code)
    code = re.sub(r"\{[^{}]*\}", "x", code)
    for pattern, rule in ERRORS:
        assert rule in rules, rule
        for one in pattern.split("|"):
            assert re.search(one.replace("'.*'", ".*"), code), one


def test_an_error_without_a_rule_has_none() -> None:
    assert rule_of(ConfigurationError("x", "is odd")) == ""


# --- the door


async def claims_for(_: Grant) -> dict[str, Any]:
    return {}


def test_the_door_decides_what_may_be_awaited(check: Check) -> None:
    group = refresh(claims_for=claims_for)
    assert check("--door", "asgi", refresh=group)[0] == 0
    status, out = check("--door", "wsgi", refresh=group)
    assert status == 2
    assert "a WSGI door can't await" in out


def test_a_store_that_can_not_be_opened_is_an_error(check: Check) -> None:
    status, out = check(refresh=refresh(store="oracle://x"))
    assert (status, "no store has the scheme 'oracle'" in out) == (2, True)


def test_json_is_one_object_a_line(check: Check) -> None:
    status, out = check("--json", leeway=100, issuer="http://localhost")
    found = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert [(one["state"], one["what"]) for one in found] == [
        ("warn", "issuer"),
        ("warn", "leeway"),
    ]
    assert json.loads(check("--json")[1])["state"] == "ok"


def test_without_settings_there_is_nothing_to_check(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JWT_MIDDLEWARE_ISSUER", raising=False)
    assert main(["check", "--prefix", "NOBODYS_"]) == 2
    assert "which settings?" in capsys.readouterr().err
