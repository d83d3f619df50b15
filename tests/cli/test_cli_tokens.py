"""`jwt-middleware token`: each check by name, in its order, and nothing that shouldn't be shown."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import AccessToken, Issuer, KeySet, Proofs, Refresh, Settings, TrustedIssuer
from jwt_middleware.cli.__main__ import main
from jwt_middleware.cli.token_advice import ADVICE
from jwt_middleware.cli.token_checks import TOKEN_CHECKS
from jwt_middleware.testing import ABSENT, Prover, TokenFactory
from jwt_middleware.token.claims import CLAIM_CHECKS
from jwt_middleware.values import reasons
from tests import serving
from tests.test_pages import REASONS

FACTORY = TokenFactory()
PARTNER = TokenFactory(issuer="https://partner.example")
Capture = pytest.CaptureFixture[str]
NAMES = list(TOKEN_CHECKS)


class Shown:
    """What a command printed, line by line."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err
        found = re.findall(r"^(ok|warn|FAIL|-)\s+(\S+)\s+(.*(?:\n {20}-> .*)?)", out, re.MULTILINE)
        self.lines = {what: (state, seen) for state, what, seen in found}

    def states(self, *names: str) -> list[str]:
        return [self.lines[name][0] for name in names]

    def seen(self, name: str) -> str:
        return self.lines[name][1]

    @property
    def failed(self) -> list[str]:
        return [name for name, (state, _) in self.lines.items() if state == "FAIL"]


Run = Callable[..., Shown]


@pytest.fixture
def run(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with a token on its standard input, which must not come back."""

    def run(token: str, *arguments: str, typed: str | None = None) -> Shown:
        monkeypatch.setattr(sys, "stdin", io.StringIO(token if typed is None else typed))
        status = main(["token", *arguments])
        out, err = capsys.readouterr()
        for part in token.split("."):
            assert len(part) < 20 or part not in out + err
        return Shown(status, out, err)

    return run


@pytest.fixture
def toml(tmp_path: Path) -> str:
    FACTORY.keys.save(tmp_path / "keys.json")
    path = tmp_path / "app.toml"
    path.write_text(
        f'[jwt_middleware]\nissuer = "{FACTORY.issuer}"\naudience = "{FACTORY.audience}"\n'
        'keys = "keys.json"\n'
        '[[jwt_middleware.routes]]\npath = "/open"\npublic = true\n'
        '[[jwt_middleware.routes]]\npath = "/admin/*"\nscope = "admin"\n'
        '[[jwt_middleware.routes]]\npath = "/fresh"\nmax_age = 60\n'
    )
    return str(path)


made: Settings | None = None  # what `--settings` finds


def make() -> Settings | None:
    return made


HERE = ("--settings", "tests.cli.test_cli_tokens:make")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Settings]]:
    def give(**changes: Any) -> Settings:
        settings = FACTORY.settings(**changes)
        monkeypatch.setattr(sys.modules[__name__], "made", settings)
        return settings

    yield give
    if made is not None:
        made.close()


# --- verify


def test_a_good_token_passes_every_check_in_the_order_of_the_core(run: Run, toml: str) -> None:
    shown = run(FACTORY.token(scope="read"), "verify", "--toml", toml)
    assert shown.status == 0
    assert list(shown.lines) == [*NAMES, "answer"]
    assert shown.failed == []
    assert shown.seen("issuer") == "'https://login.example', our own"
    assert shown.seen("key").startswith(f"{FACTORY.key.kid}, ES256, from /")
    assert re.search(r"ends 2.*Z, in (10 min|9 min \d+ s); leeway 30 s", shown.seen("expiration"))
    assert shown.seen("answer") == "GET / reaches the application, as a request of 'alice'"
    assert shown.err == ""


def test_every_rule_of_the_claims_has_its_line() -> None:
    names = list(CLAIM_CHECKS)
    first = ["form", "issuer", "type", "key", "signature", "claims"]
    assert [*first, *names[1:], "scope", "checks"] == NAMES
    assert names[0] == "issuer"


def ago(seconds: float) -> Callable[[], int]:
    """Return what says when that was: it is asked by a test, and not at the import."""
    return lambda: int(time.time() - seconds)


BAD: list[tuple[str, str, str, Any]] = [
    # what fails, its reason, what is seen, the token
    ("form", "token_segments", "", "opaque"),
    ("form", "token_too_long", "", "eyJ" + "x" * 9000 + ".x.x"),
    ("issuer", "issuer_not_trusted", "it says 'https://login.example/'; trusted are 'https:",
     {"iss": f"{FACTORY.issuer}/"}),
    ("issuer", "claim_missing: iss", "it says None", {"iss": ABSENT}),
    ("issuer", "issuer_not_trusted", "it says 5", {"iss": 5}),
    ("type", "type_not_allowed", r"typ 'JWT'; RFC_9068 has at\+jwt", {"header": {"typ": "JWT"}}),
    ("type", "type_not_allowed", "typ 'none'", {"header": {"typ": ABSENT}}),
    ("key", "key_unknown", f"it says kid old; from .*keys.json there are {FACTORY.key.kid}",
     {"header": {"kid": "old"}}),
    ("signature", "algorithm_not_allowed", "alg RS256; the key called .* is for ES256",
     {"header": {"alg": "RS256"}}),
    ("signature", "signature_invalid", "alg ES256", TokenFactory().token(
        header={"kid": FACTORY.key.kid})),
    ("claims", "claim_missing: jti", "RFC_9068 requires it", {"jti": ABSENT}),
    ("audience", "audience_not_ours", "for 'https://other'; this service is 'https://api.example'",
     {"aud": "https://other"}),
    ("audience", "audience_not_ours", "for nobody; ", {"aud": []}),
    ("expiration", "expired", r"ends 2.*Z, \d h( \d+ min)? ago; leeway 30 s", {"exp": ago(3600)}),
    ("expiration", "claim_malformed: exp", "exp '1'", {"exp": "1"}),
    ("not_before", "not_yet_valid", "begins 2.*Z, in (1 d|2[0-4] h)", {"nbf": ago(-90000)}),
    ("issued_at", "issued_in_future", "issued 2.*Z, in (1 d|2[0-4] h)", {"iat": ago(-90000)}),
    ("identifiers", "claim_malformed: sub", "sub ''", {"sub": ""}),
    ("identifiers", "claim_malformed: sub", r"sub 'a\\x1b\[2J'", {"sub": "a\x1b[2J"}),
    ("sender", "sender_constrained", r"bound to a key \(cnf\)", {"cnf": {"jkt": "x"}}),
]  # fmt: skip


# Where the token says more than its reason: by what is seen.
WAYS = {
    "it says 'https://login.example/'; trusted are 'https:": (
        "issuer='https://login.example/' in place of 'https://login.example', if that is the same"
    ),
    r"typ 'JWT'; RFC_9068 has at\+jwt": "profile=profiles.FOREIGN, unless it is an ID token",
    "typ 'none'": "profile=profiles.FOREIGN, unless it is an ID token",
    "for 'https://other'; this service is 'https://api.example'": (
        "audience='https://other', if that is a name of this service, and the token no ID"
    ),
    "RFC_9068 requires it": "profile=profiles.FOREIGN, which asks for aud, exp, iss, sub only, if",
}


@pytest.mark.parametrize(
    ("what", "reason", "seen", "spoilt"), BAD, ids=[f"{one[0]}{i}" for i, one in enumerate(BAD)]
)
def test_what_is_wrong_is_named_with_what_was_seen_and_the_way_out(
    what: str, reason: str, seen: str, spoilt: Any, run: Run, toml: str
) -> None:
    token = spoilt
    if isinstance(spoilt, dict):
        changes: dict[str, Any] = {
            name: one() if callable(one) else one for name, one in spoilt.items()
        }
        token = FACTORY.token(**changes)
    shown = run(token, "verify", "--toml", toml)
    assert shown.status == 1
    assert shown.failed == [what, "answer"]
    line = shown.seen(what)
    assert line.startswith(reason)
    assert re.search(seen, line)
    assert f"-> {WAYS.get(seen) or ADVICE[reason.partition(':')[0]]}" in line
    # The core says the same, and needs no second advice.
    answer = shown.seen("answer")
    assert re.match(rf"GET / is answered 401, {reason.partition(':')[0]}", answer)
    assert "->" not in answer
    before = NAMES[: NAMES.index(what)]
    assert set(shown.states(*before)) <= {"ok"}
    assert shown.states("checks") == ["-"]
    assert "\x1b" not in shown.out


def test_all_that_is_wrong_with_the_claims_is_told_at_once(run: Run, toml: str) -> None:
    token = FACTORY.token(aud="other", exp=1, sub="", scope="  ")
    assert run(token, "verify", "--toml", toml).failed == [
        "audience", "values", "expiration", "identifiers", "answer",
    ]  # fmt: skip


def encoded(members: Any) -> str:
    return urlsafe_b64encode(json.dumps(members).encode()).decode().rstrip("=")


@pytest.mark.parametrize("signature", ["", "x", "AA"])
def test_an_unsigned_token_is_called_so(signature: str, run: Run, toml: str) -> None:
    claims = {"iss": FACTORY.issuer, "aud": FACTORY.audience, "sub": "alice", "exp": 1 << 40}
    for profile in ({}, {"typ": "at+jwt", "client_id": "x", "jti": "y", "iat": 1}):
        header = {"alg": "none", "typ": "at+jwt"}
        text = f"{encoded(header)}.{encoded(claims | profile)}.{signature}"
        shown = run(text, "verify", "--toml", toml)
        assert shown.status == 1
        assert "it is unsigned (alg none)" in shown.out
        assert "TokenFactory" in shown.out


def test_a_name_of_no_algorithm_is_no_setting(run: Run, toml: str) -> None:
    for name, what in (("none2", "signature"), (5, "form")):
        shown = run(FACTORY.token(header={"alg": name}), "verify", "--toml", toml)
        assert ADVICE[reasons.ALGORITHM] in shown.seen(what)


def test_a_header_that_is_no_object_is_not_called_unsigned(run: Run, toml: str) -> None:
    for text in (f"{encoded([])}.e30.", "A.e30.", f"{encoded({'alg': 'none'})}.e30.e30.x"):
        assert "unsigned" not in run(text, "verify", "--toml", toml).out


@pytest.mark.parametrize(
    ("token", "configured", "way"),
    [
        ("EdDSA", {}, 'algorithm="EdDSA" beside the keys in the settings: it is another name of '),
        ("RS256", {"algorithm": "PS256"}, 'algorithm="RS256" beside the keys in the settings, in '),
        ("RS256", {"alg": "PS256"}, "the issuer changed it"),
        ("ES256", {"algorithm": "PS256"}, "the issuer changed it"),
    ],
    ids=["two names", "configured", "named by the issuer", "another type"],
)
def test_the_setting_of_the_algorithm_is_named(
    token: str,
    configured: dict[str, str],
    way: str,
    run: Run,
    given: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    at = TokenFactory(algorithm="EdDSA" if token == "EdDSA" else "RS256")
    jwk = {name: one for name, one in at.key.public_jwk().items() if name != "alg"}
    if "alg" in configured:
        jwk["alg"] = configured["alg"]
    (tmp_path / "issuer.json").write_text(json.dumps({"keys": [jwk]}))
    algorithm = configured.get("algorithm")
    given(keys=KeySet.load(tmp_path / "issuer.json", algorithm=algorithm))
    shown = run(at.token(header={"alg": token}), "verify", *HERE)
    assert shown.failed == ["signature", "answer"]
    assert f"-> {way}" in shown.seen("signature")


def test_an_unknown_key_has_no_algorithm(run: Run, given: Callable[..., Settings]) -> None:
    given(keys=KeySet((FACTORY.key, *KeySet.generate().keys)))
    shown = run(FACTORY.token(header={"kid": ABSENT}), "verify", *HERE)
    assert "-> it names no key (`kid`), and there are several" in shown.seen("key")


def test_a_refresh_token_is_called_so(
    run: Run, given: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = given(refresh=Refresh(store=f"sqlite:///{tmp_path}/grants.db"))
    shown = run(Issuer(settings).issue("alice").refresh_token, "verify", *HERE)
    assert "a refresh token: send the access token" in shown.seen("type")
    shown = run(FACTORY.token(header={"typ": "logout+jwt"}), "verify", *HERE)
    assert "a logout token: send the access token" in shown.seen("type")
    shown = run(FACTORY.token(header={"typ": "dpop+jwt"}), "verify", *HERE)
    assert ADVICE[reasons.TYPE] in shown.seen("type")


def test_what_every_profile_asks_for_the_issuer_must_add(run: Run, toml: str) -> None:
    shown = run(FACTORY.token(aud=ABSENT, jti=ABSENT), "verify", "--toml", toml)
    assert "-> have the issuer put aud, jti there (for `aud`: an API, " in shown.seen("claims")


def test_a_client_without_sub_is_the_subject(run: Run, toml: str) -> None:
    subjects = ".replace(subject_claims=('sub', 'client_id')): the client is the subject"
    for missing, profile in (("sub",), "RFC_9068"), (("sub", "jti"), "FOREIGN"):
        claims: dict[str, Any] = dict.fromkeys(missing, ABSENT)
        shown = run(FACTORY.token(**claims), "verify", "--toml", toml)
        assert f"-> profile=profiles.{profile}{subjects}" in shown.seen("claims")


@pytest.mark.parametrize(
    ("claims", "where"),
    [
        ({"scp": "admin"}, "scp"),
        ({"scp": ["admin"]}, "scp"),
        ({"permissions": ["admin"], "roles": ["x"]}, "permissions"),
        ({"cognito:groups": ["admin"]}, "cognito:groups"),
        ({"realm_access": {"roles": ["admin"]}}, "realm_access.roles"),
        ({"realm_access": "x"}, None),
        ({"scp": []}, None),
        ({"scp": "admin", "scope": "read"}, None),
    ],
    ids=str,
)
def test_scopes_in_another_claim_are_found(
    claims: dict[str, Any], where: str | None, run: Run, toml: str
) -> None:
    shown = run(FACTORY.token(**claims), "verify", "--toml", toml, "--path", "/admin/x")
    assert shown.failed == ["answer"]
    said = (
        f"its scopes are in {where}, which RFC_9068 doesn't read: "
        f"profile=profiles.RFC_9068.replace(scope_claims=('{where}',))"
    )
    assert (said in shown.seen("scope")) is (where is not None)
    assert f"-> {ADVICE[reasons.SCOPE] if where is None else said}" in shown.seen("answer")


@pytest.mark.parametrize(
    ("arguments", "state", "words"),
    [
        ("--path /admin/x", "FAIL", "GET /admin/x is answered 403, scope_insufficient: admin"),
        ("--path /fresh", "FAIL", "GET /fresh is answered 401, authentication_too_old"),
        ("--path //admin", "FAIL", "400, path_odd"),
        ("--path /open", "warn", "reaches the application: the route is public, and reads no"),
        ("--path /x --method POST", "ok", "POST /x reaches the application"),
    ],
)
def test_the_route_decides_too(arguments: str, state: str, words: str, run: Run, toml: str) -> None:
    shown = run(FACTORY.token(), "verify", "--toml", toml, *arguments.split())
    assert shown.states("answer") == [state]
    assert words in shown.seen("answer")
    assert shown.status == (1 if state == "FAIL" else 0)


def test_json_is_one_object_a_line(run: Run, toml: str) -> None:
    shown = run(FACTORY.token(aud="other"), "verify", "--toml", toml, "--json")
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["what"] for line in lines] == [*NAMES, "answer"]
    assert {line["what"]: line["state"] for line in lines}["audience"] == "fail"
    assert all(line.keys() == {"state", "what", "seen", "remedy"} for line in lines)


# --- settings of an application's own


def refuses_all(_: AccessToken) -> bool:
    return False


def breaks(_: AccessToken) -> bool:
    raise KeyError("tenant")


@pytest.mark.parametrize(
    ("check", "words"),
    [(refuses_all, "check_refused: refuses_all"), (breaks, "check_failed: KeyError")],
)
def test_the_applications_own_checks_come_last(
    check: Any, words: str, run: Run, given: Callable[..., Settings]
) -> None:
    given(checks=(check,))
    shown = run(FACTORY.token(), "verify", *HERE)
    assert shown.failed == ["checks", "answer"]
    assert shown.seen("checks").startswith(words)


def partner(**changes: Any) -> TrustedIssuer:
    fields: dict[str, Any] = {"issuer": PARTNER.issuer, "audience": FACTORY.audience}
    fields |= {"keys": PARTNER.keys}
    return TrustedIssuer(**(fields | changes))


def test_another_issuer_has_its_own_rules(run: Run, given: Callable[..., Settings]) -> None:
    given(trusted_issuers=(partner(scopes=("read", "list")),))
    shown = run(PARTNER.token(scope="read admin"), "verify", *HERE)
    assert shown.status == 0
    assert shown.seen("issuer").endswith("in trusted_issuers")
    assert shown.seen("key").endswith("from the settings")
    assert shown.seen("scope") == "read; from scope 'read admin'; this issuer may give list read"
    assert shown.seen("answer").endswith("as a request of no user")
    given(trusted_issuers=(partner(scopes=()),))
    assert "may give none" in run(PARTNER.token(scope="x"), "verify", *HERE).seen("scope")


def known(name: str) -> TrustedIssuer | None:
    return partner() if name == PARTNER.issuer else None


async def known_later(name: str) -> TrustedIssuer | None:
    return known(name)


def broken(name: str) -> TrustedIssuer:
    raise OSError("no database")


@pytest.mark.parametrize("hook", [known, known_later])
def test_a_tenant_is_asked_for(hook: Any, run: Run, given: Callable[..., Settings]) -> None:
    given(issuer_for=hook)
    shown = run(PARTNER.token(), "verify", *HERE)
    assert (shown.status, shown.seen("issuer")) == (0, f"'{PARTNER.issuer}', by issuer_for")
    shown = run(PARTNER.token(iss="https://stranger.example"), "verify", *HERE)
    assert shown.failed == ["issuer", "answer"]


@pytest.mark.filterwarnings("ignore")
def test_a_hook_that_fails_is_our_own_fault(run: Run, given: Callable[..., Settings]) -> None:
    given(issuer_for=broken)
    shown = run(PARTNER.token(), "verify", *HERE)
    assert shown.seen("issuer").startswith("issuer_hook_failed: OSError: no database")
    assert "503, issuer_hook_failed" in shown.seen("answer")


def test_keys_that_are_published_are_fetched(run: Run, given: Callable[..., Settings]) -> None:
    issuing: list[TokenFactory] = []

    def make(url: str) -> Any:
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse
        from starlette.routing import Route as At

        issuing.append(TokenFactory(issuer=url))

        async def keys(_: Any) -> JSONResponse:
            return JSONResponse(issuing[0].keys.public_jwks())

        return Starlette(routes=[At("/jwks", keys)])

    with serving.asgi(make) as url:
        given(issuer=url, keys=KeySet.remote(f"{url}/jwks"))
        shown = run(issuing[0].token(), "verify", *HERE)
        assert shown.status == 0
        assert shown.seen("key").endswith(f"ES256, from {url}/jwks")
    given(issuer=url, keys=KeySet.remote())
    shown = run(issuing[0].token(), "verify", *HERE)
    assert shown.failed == ["key", "answer"]
    assert shown.seen("key").startswith(f"keys_unavailable: the keys of {url}: it says kid ")
    assert "from the issuer's metadata there are none" in shown.seen("key")
    assert "-> can this machine reach it?" in shown.seen("key")
    assert "jwt-middleware doctor shows what it answers" in shown.seen("key")
    assert "is answered 503, keys_unavailable" in shown.seen("answer")


def test_a_grant_that_has_ended_is_found(
    run: Run, given: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = given(refresh=Refresh(store=f"sqlite:///{tmp_path}/grants.db"))
    issuer = Issuer(settings)
    tokens = issuer.issue("alice")
    shown = run(tokens.access_token, "verify", *HERE)
    assert shown.seen("grant") == f"{tokens.grant_id} is none of those that ended"
    issuer.revoke(tokens.grant_id)
    shown = run(tokens.access_token, "verify", *HERE)
    assert shown.failed == ["answer"]
    assert "401, grant_ended" in shown.seen("answer")
    assert "log in anew" in shown.seen("answer")
    # A token without a grant asks for none.
    assert "grant" not in run(FACTORY.token(), "verify", *HERE).lines


def test_memory_knows_nothing_of_another_process(run: Run, given: Callable[..., Settings]) -> None:
    settings = given(refresh=Refresh(store="memory://"))
    shown = run(Issuer(settings).issue("alice").access_token, "verify", *HERE)
    assert (shown.status, *shown.states("grant")) == (0, "-")


@pytest.mark.parametrize(
    ("path", "method", "state", "words"),
    [
        ("/.well-known/jwks.json", "GET", "warn", "is answered by the middleware itself"),
        ("/auth/refresh", "GET", "FAIL", "405, method_not_allowed"),
        ("/auth/refresh", "POST", "FAIL", "400, parameter_malformed: grant_type"),
    ],
)
def test_an_endpoint_takes_no_access_token(
    path: str, method: str, state: str, words: str, run: Run, given: Callable[..., Settings]
) -> None:
    given(refresh=Refresh(store="memory://"))
    shown = run(FACTORY.token(), "verify", *HERE, "--path", path, "--method", method)
    assert shown.states("answer") == [state]
    assert words in shown.seen("answer")


def test_there_is_advice_for_whatever_a_request_with_a_token_can_meet() -> None:
    others = {
        reason
        for reason in REASONS
        if reason.startswith(
            ("refresh_", "signer", "grant_type", "grant_ref", "body", "bodies", "cookie", "cross")
        )
    }
    others |= {
        *(reasons.MISSING, reasons.CREDENTIALS_TWICE, reasons.KEY_MISMATCH, reasons.CLIENT),
        *(reasons.SCOPE_WIDENED, reasons.CLIENT_AUTHENTICATION, reasons.TOKEN_TYPE),
        *(reasons.PARAMETER, reasons.CONTENT_TYPE, reasons.METHOD, reasons.UNAVAILABLE),
        *(reasons.CLAIMS_HOOK, reasons.NO_LOGIN, reasons.NO_SESSION),
        *(reasons.FORMER_BLOCKED, reasons.MIGRATION_HOOK),
        *(reasons.NAVIGATION, reasons.NEXT, reasons.OTHER_LOGIN),
        *(reasons.DEVICE, reasons.DEVICE_SESSION),
    }
    assert REASONS - others == set(ADVICE)


# --- where the token and the settings come from


def test_the_token_may_stand_in_a_file_as_a_header_has_it(
    run: Run, toml: str, tmp_path: Path
) -> None:
    for number, text in enumerate(("%s", "%s\n", "Bearer %s\r\n", "authorization: BEARER %s ")):
        path = tmp_path / str(number)
        path.write_text(text % FACTORY.token())
        assert run("", "verify", "--toml", toml, str(path)).status == 0


@pytest.mark.parametrize(
    ("arguments", "typed", "words"),
    [
        (
            "verify --settings tests.cli.test_cli_tokens:make /nowhere/token",
            "",
            "/nowhere/token: No s",
        ),
        ("verify --settings tests.cli.test_cli_tokens:make", " \n", "nothing came"),
        ("verify --settings tests.cli.test_cli_tokens:make", "x" * 70000, "more than 65536"),
        ("verify eyJhbGciOiJub25lIn0.e30.x", "", "a token on the command line is seen by others"),
        ("inspect --insecure eyJhbGciOiJub25lIn0.e30.x", "", "a token on the command line is see"),
        ("verify x eyJhbGciOiJub25lIn0.e30.x", "", "unrecognized arguments: [token]"),
        ("inspect", "", "required: --insecure"),
        ("verify --settings tests.cli.test_cli_tokens", "", "is no MODULE:NAME"),
        ("verify --settings tests.nothing:here", "", "ModuleNotFoundError"),
        ("verify --settings tests.cli.test_cli_tokens:NAMES", "", "is list, not Settings"),
        ("verify --toml /nowhere/app.toml", "", "/nowhere/app.toml: the file can't be read"),
        ("verify --prefix NOBODYS_", "", "which settings? --toml FILE"),
        ("verify --toml a --settings b:c", "", "not allowed with argument"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_2(
    arguments: str, typed: str, words: str, run: Run, given: Callable[..., Settings]
) -> None:
    given()
    shown = run("", *arguments.split(), typed=typed)
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.count("\n") == 1
    assert words in shown.err
    assert "eyJ" not in shown.err


def test_what_is_no_text_is_no_token(run: Run, toml: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    shown = run("", "verify", "--toml", toml, str(tmp_path / "token"))
    assert (shown.status, "no text" in shown.err) == (2, True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_at_a_terminal_it_says_that_it_waits(
    toml: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(FACTORY.token()))
    assert main(["token", "verify", "--toml", toml]) == 0
    assert "Ctrl-D" in capsys.readouterr().err


def test_the_settings_may_be_those_of_the_environment(
    run: Run, toml: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = str(Path(toml).with_name("keys.json"))
    for prefix in ("JWT_MIDDLEWARE_", "SHOP_"):
        monkeypatch.setenv(f"{prefix}ISSUER", FACTORY.issuer)
        monkeypatch.setenv(f"{prefix}AUDIENCE", FACTORY.audience)
        monkeypatch.setenv(f"{prefix}KEYS", keys)
    assert run(FACTORY.token(), "verify").status == 0
    assert run(FACTORY.token(), "verify", "--prefix", "SHOP_").status == 0


def test_a_module_is_looked_for_here_first(
    run: Run, toml: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_of_a_test.py").write_text(
        f"from jwt_middleware import Settings\nsettings = Settings.from_toml({toml!r})\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert run(FACTORY.token(), "verify", "--settings", "shop_of_a_test:settings").status == 0
    assert sys.path == before


# --- inspect


def test_inspect_says_loudly_that_nothing_was_verified(run: Run) -> None:
    forged = TokenFactory().token(sub="admin\x1b[2J", exp=ago(3600)(), nested=FACTORY.token())
    shown = run(forged, "inspect", "--insecure")
    assert shown.status == 0
    assert shown.err.startswith("NOTHING WAS VERIFIED")
    assert '"sub": "admin\\u001b[2J"' in shown.out
    assert '"nested": "[token]"' in shown.out
    assert re.search(r"^exp \(unverified\): 2.*Z, \d h( \d+ min)? ago$", shown.out, re.MULTILINE)
    assert all("(unverified)" in one for one in shown.out.splitlines() if one[:1].isalpha())


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("eyJhbGciOiJub25lIn0.e30.", "the parser refuses it: token_"),
        ("eyJhbGciOiJub25lIn0.W10.x", "claims (unverified): []"),
        ("eyJhbGciOiJub25lIn0=.e30=.x", "the parser refuses it: token_segments"),
    ],
)
def test_inspect_reads_what_the_middleware_refuses(token: str, words: str, run: Run) -> None:
    shown = run("", "inspect", "--insecure", typed=token)
    assert shown.status == 0
    assert words in shown.out


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("a.b.c.d.e", "5 parts and not 3"),
        ("opaque", "1 parts and not 3"),
        ("!.e30.x", "the header can't be read"),
        ("e30.AA.x", "the claims can't be read"),
        ("e30." + "W1tb" * 9000 + ".x", "the claims can't be read"),
    ],
)
def test_what_is_no_token_is_refused(token: str, words: str, run: Run) -> None:
    shown = run("", "inspect", "--insecure", typed=token)
    assert shown.status == 2
    assert words in shown.err


# --- a token that is bound to a key


def proved(
    run: Run, given: Callable[..., Settings], tmp_path: Path, prover: Prover, **spoilt: Any
) -> Shown:
    """Verify a bound token with a proof of it, which may be spoilt."""
    given(proofs=Proofs(urls=("https://api.example",), nonces=False))
    token = FACTORY.token(cnf=prover.cnf)
    file = tmp_path / "proof"
    file.write_text(prover.proof("GET", "/", token, **spoilt))
    return run(token, "verify", *HERE, "--proof", str(file))


def test_a_bound_token_with_its_proof(
    run: Run, given: Callable[..., Settings], tmp_path: Path
) -> None:
    shown = proved(run, given, tmp_path, Prover("https://api.example"))
    assert (shown.status, shown.failed) == (0, [])
    assert "bound to a key (cnf)" in shown.out


@pytest.mark.parametrize(
    ("spoilt", "reason", "way_out"),
    [
        ({"htm": "POST"}, "proof_of_another_method", "--method"),
        ({"htu": "https://internal.example/"}, "proof_of_another_url", r"Proofs\.urls"),
        ({"ath": "x"}, "proof_of_another_token", "SHA-256"),
        ({"iat": 5}, "proof_too_old", "one for each request"),
        ({"header": {"typ": "JWT"}}, "proof_type", r"dpop\+jwt"),
    ],
)
def test_a_wrong_proof_is_told_with_the_way_out(
    spoilt: dict[str, Any],
    reason: str,
    way_out: str,
    run: Run,
    given: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    shown = proved(run, given, tmp_path, Prover("https://api.example"), **spoilt)
    assert (shown.status, shown.failed) == (1, ["answer"])
    assert reason in shown.out
    assert re.search(way_out, shown.out)


def test_a_bound_token_without_a_proof(run: Run, given: Callable[..., Settings]) -> None:
    given(proofs=Proofs(urls=("https://api.example",), nonces=False))
    shown = run(FACTORY.token(cnf=Prover().cnf), "verify", *HERE)
    assert "proof_missing" in shown.out
    assert "--proof FILE" in shown.out
    assert run("a.b", "verify", *HERE).failed[0] == "form"
