"""Each issuer of docs/issuers.md, set up wrongly: `token verify` and `doctor` name what mends it.

A mistake is made in the settings of the issuer's row, or with the token. Then the setting that the
tool names is read out of its text and applied, until the token gets in.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from jwt_middleware import KeySet, Route, Settings, TrustedIssuer, profiles
from jwt_middleware.cli.__main__ import main
from jwt_middleware.jose.strict_json import b64url_encode
from jwt_middleware.keys import Fetched
from jwt_middleware.keys.key_sources import metadata_urls
from jwt_middleware.keys.remote import Remote
from jwt_middleware.testing import ABSENT
from jwt_middleware.token.profiles import FOREIGN, PROFILES, RFC_9068
from tests.cli.test_cli_tokens import Run, Shown, run
from tests.core.issuers import Served
from tests.core.issuers import key as named_key
from tests.core.issuers.page import settings_of
from tests.core.issuers.served import ISSUERS
from tests.world import NOW

__all__ = ["run"]  # the fixture

HERE = "tests.cli.test_cli_issuers:make"
BLAME = ("have the issuer", "tell who runs", "a bug of the issuer", "the issuer changed it")
made: Settings | None = None  # what `--settings` finds


def make() -> Settings | None:
    return made


class Case(NamedTuple):
    """A mistake with one issuer: what it is, and what the tool must say of it."""

    settings: Settings
    token: str
    says: str  # of the first remedy
    good: str = ""  # the token that should have been sent, where no setting mends it
    keys: KeySet | None = None  # where the tool can't know the place: what the documentation says
    path: str = "/"


Make = Callable[[Served], Case | None]


def source_of(one: Served) -> Remote:
    source = settings_of(one).keys.source
    assert isinstance(source, Remote)
    return source


def remote(one: Served, url: str | None, fetcher: Any = None, **changes: Any) -> KeySet:
    given = {"algorithm": source_of(one).algorithm} | changes
    return KeySet.remote(url, fetcher=fetcher or one, **given)


def scoped(one: Served) -> str:
    return "/scoped" if one.scope else "/"


# --- mistakes in the settings


def audience(one: Served) -> Case:
    names = one.claims.get(settings_of(one).profile.audience_claim)
    listed = " or ".join(map(repr, [names] if isinstance(names, str) else names or ()))
    wrong = settings_of(one, audience="https://wrong.example.com")
    return Case(wrong, one.token(), f"audience={listed}, if that is a name of this service")


def slash(one: Served) -> Case:
    name = one.issuer[:-1] if one.issuer.endswith("/") else f"{one.issuer}/"
    wrong = settings_of(one, issuer=name)
    return Case(wrong, one.token(), f"issuer={one.issuer!r} in place of {name!r}")


def issuer(one: Served) -> Case:
    wrong = settings_of(one, issuer="https://wrong.example.com")
    return Case(wrong, one.token(), f"issuer={one.issuer!r}, or a TrustedIssuer of that name")


def version(one: Served) -> Case | None:
    """Expect tokens of Entra's other version."""
    if not one.name.startswith("Entra"):
        return None
    others = {"Entra": "Entra, tokens of version 1", "Entra, tokens of version 1": "Entra"}
    keys = KeySet.remote(algorithm="RS256", fetcher=one)
    wrong = settings_of(ISSUERS[others[one.name]], keys=keys)
    return Case(wrong, one.token(), "Entra has an issuer for tokens of version 1, and another for")


def of_rfc_9068(one: Served) -> Case | None:
    """Leave `profile` out."""
    profile = settings_of(one).profile
    if profile == RFC_9068:
        return None
    ways = {"RFC_9068": "profile=profiles.RFC_9068.replace(scope_is_text=False)"}
    name = profile.name if PROFILES.get(profile.name) == profile else "FOREIGN"
    name = "KUBERNETES" if one.name == "Kubernetes" else name
    way = ways.get(profile.name, f"profile=profiles.{name}")
    return Case(settings_of(one, profile=RFC_9068), one.token(), way, path=scoped(one))


def foreign(one: Served) -> Case | None:
    """Take FOREIGN in place of the preset, where this doesn't do."""
    ways = {
        "Entra": "its scopes are in scp, which FOREIGN doesn't read: profile=profiles.ENTRA",
        "Entra, tokens of version 1": "its scopes are in scp, which FOREIGN doesn't read: profile=",
        "Okta": "its scopes are in scp, which FOREIGN doesn't read: profile=profiles.OKTA",
        "Cognito": "profile=profiles.COGNITO",
        "Ory Hydra": "profile=profiles.FOREIGN.replace(scope_claims=('scp',))",
        "SAP XSUAA, Cloud Foundry UAA": ".FOREIGN.replace(scope_prefix='orders!t123.')",
        "Kubernetes": "scope_map={'system:serviceaccount:shop:worker': 'jobs:run'}",
        "GitHub Actions": "scope_map={'repo:example/shop:ref:refs/heads/main': 'deploy'}",
    }
    if one.name not in ways:
        return None
    wrong = settings_of(one, profile=FOREIGN)
    return Case(wrong, one.token(), ways[one.name], path=scoped(one))


def scope_prefix(one: Served) -> Case | None:
    """Ask on a route for what comes behind the issuer's own prefix."""
    if one.name != "Cognito":
        return None
    wrong = settings_of(one, routes=(Route("/scoped", scope="read"),))
    way = "profile=profiles.COGNITO.replace(scope_prefix='https://orders.example.com/')"
    return Case(wrong, one.token(), way, path="/scoped")


def scope_map(one: Served) -> Case | None:
    """Forget a value in the map."""
    routes = (Route("/scoped", scope="orders:admin"),)
    by_role = {"scope_claims": ("realm_access.roles",), "scope_map": {"other": "orders:read"}}
    changes = {
        "Keycloak": by_role,
        "Cognito": {"scope_claims": ("cognito:groups",), "scope_map": {"others": "orders:read"}},
        "Auth0": {"scope_claims": ("permissions",), "scope_map": {"x": "orders:read"}},
    }.get(one.name)
    if changes is None:
        return None
    wrong = settings_of(one, routes=routes, profile=settings_of(one).profile.replace(**changes))
    way = "scope_map={VALUE: 'orders:admin'} in its profile, where VALUE is one of"
    return Case(wrong, one.token(), way, path="/scoped")


def no_algorithm(one: Served) -> Case | None:
    if source_of(one).algorithm is None:
        return None
    wrong = settings_of(one, keys=remote(one, source_of(one).url, algorithm=None))
    return Case(wrong, one.token(), 'algorithm="RS256" beside the keys in the settings')


def _elsewhere(one: Served, keys: KeySet, otherwise: str) -> Case:
    # The key set that Glewlwyd's metadata name isn't there.
    finds = bool(one.metadata) and one.name != "Glewlwyd"
    place = f"KeySet.remote({one.jwks_url!r}), where the issuer's metadata say that its keys are"
    right = None if finds else settings_of(one).keys
    says = place if finds else otherwise
    return Case(settings_of(one, keys=keys), one.token(), says, keys=right)


def no_set(one: Served) -> Case:
    keys = remote(one, "https://keys.example.com/jwks")
    return _elsewhere(one, keys, 'no key set is there: KeySet.remote("https://..."), with the URL')


def no_url(one: Served) -> Case | None:
    if source_of(one).url is None or one.name.startswith("Entra"):
        return None
    says = "it publishes no metadata" if not one.metadata else "no key set is there"
    wrong = settings_of(one, keys=remote(one, None))
    return Case(wrong, one.token(), says, keys=settings_of(one).keys)


def url_of_metadata(one: Served) -> Case | None:
    if not one.metadata or one.name == "Glewlwyd":
        return None
    wrong = settings_of(one, keys=remote(one, metadata_urls(one.issuer)[0]))
    way = f"that is the issuer's metadata: KeySet.remote({one.jwks_url!r})"
    return Case(wrong, one.token(), way)


class Also:
    """The issuer's server, and one document more."""

    def __init__(self, one: Served, url: str, document: Any) -> None:
        self.one, self.url, self.document = one, url, document

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        if url == self.url:
            return Fetched(200, json.dumps(self.document).encode())
        return self.one.fetch(url, timeout=timeout, limit=limit)


def another_set(one: Served) -> Case | None:
    """Fetch the keys of another environment."""
    if "kid" not in one.header:
        return None
    url = "https://test.example.com/jwks"
    others = {"keys": [named_key("ES256", "of the test environment").public_jwk()]}
    keys = remote(one, url, Also(one, url, others))
    return _elsewhere(one, keys, "a token from another environment, or a new key")


def certificates(one: Served) -> Case | None:
    if one.name != "Firebase":
        return None
    url = "https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system"
    pem = {one.key.kid: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}
    way = f"these are certificates: KeySet.remote({one.jwks_url!r})"
    return Case(settings_of(one, keys=remote(one, url, Also(one, url, pem))), one.token(), way)


def old_name(one: Served) -> Case | None:
    """Let oidc-provider sign with an Ed25519 key, whose tokens say EdDSA."""
    if one.name != "oidc-provider":
        return None
    jwk = dict.fromkeys(("kty", "crv", "x", "kid"), "@") | {"use": "sig"}
    one = replace(one, header={**one.header, "alg": "EdDSA", "kid": "ed"}, jwk=jwk)
    wrong = settings_of(one, keys=remote(one, None, algorithm=None))
    return Case(wrong, one.token(), 'algorithm="EdDSA" beside the keys in the settings')


def limited(one: Served) -> Case | None:
    """Let a trusted issuer give no scopes."""
    if one.name != "Okta":
        return None
    row = settings_of(one)
    fields = {name: getattr(row, name) for name in ("issuer", "audience", "profile", "keys")}
    wrong = row.replace(
        issuer="https://login.example.com",
        keys=KeySet([named_key("ES256", "ours")]),
        trusted_issuers=(TrustedIssuer(**fields, scopes=("other",)),),
    )
    way = "scopes=(..., 'orders:read') of its TrustedIssuer, if the issuer may give that"
    return Case(wrong, one.token(), way, path="/scoped")


# --- mistakes with the token


# Their ID tokens have nothing that only ID tokens have: whose they are is asked of the user.
BARE = ("oidc-provider", "oauth2-mock-server, with a hook")
OF_TYPE = "profile=profiles.FOREIGN, unless it is an ID token: then send the access token"


def id_token(one: Served) -> Case | None:
    if not one.id_claims:
        return None
    says = "an ID token: send the access token"
    if one.name in BARE:
        says = "and the token no ID token; else" if one.by_audience else OF_TYPE
    return Case(settings_of(one), one.id_token(), says, good=one.token())


def id_token_of_rfc_9068(one: Served) -> Case | None:
    found = id_token(one)
    right = settings_of(one)
    if found is None or right.profile.name == "RFC_9068":
        return None
    says = OF_TYPE if one.name in BARE else found.says
    return found._replace(settings=right.replace(profile=RFC_9068), says=says, good="")


def expired(one: Served) -> Case:
    old = one.token(iat=int(NOW) - 8000, nbf=int(NOW) - 8000, exp=int(NOW) - 4000)
    return Case(settings_of(one), old, "normal for an old token: refresh it", good=one.token())


def _with_header(one: Served, **changes: Any) -> str:
    """Return a token with another header, which its key hasn't signed."""
    _, claims, signature = one.token(**changes.pop("claims", {})).split(".")
    made = json.dumps({**one.header, **changes}).encode()
    return f"{b64url_encode(made).decode()}.{claims}.{signature}"


def unsigned(one: Served) -> Case:
    token = _with_header(one, alg="none").rpartition(".")[0] + "."
    return Case(settings_of(one), token, "it is unsigned (alg none)", good=one.token())


def opaque(one: Served) -> Case:
    says = "a signed JWT is needed, alone: no opaque"
    return Case(settings_of(one), "V0eW9nUOKWsDYAKyXlROsTYjK6r5D3", says, good=one.token())


def encrypted(one: Served) -> Case:
    """Send what Cognito has as refresh token, and Auth0 where no API was asked for."""
    header = b64url_encode(b'{"alg":"RSA-OAEP","enc":"A256GCM"}').decode()
    token = f"{header}.AAAA.AAAA.AAAA.AAAA"
    return Case(settings_of(one), token, "it is encrypted (five parts)", good=one.token())


def padded(one: Served) -> Case:
    token = ".".join(part + "=" * (-len(part) % 4) for part in one.token().split("."))
    token += "" if "=" in token else "="
    return Case(settings_of(one), token, "its base64url is padded with `=`", good=one.token())


def refresh_token(one: Served) -> Case | None:
    make: dict[str, Callable[[], str]] = {
        # As Keycloak makes it: by a secret of its own.
        "Keycloak": lambda: _with_header(
            one, alg="HS512", kid="of a secret", claims={"typ": "Refresh"}
        ),
        "Cognito": lambda: one.token(token_use="refresh"),
        "better-auth": lambda: one.token(header={"typ": "rt+jwt"}),
    }
    if one.name not in make:
        return None
    says = "a refresh token: send the access token"
    return Case(settings_of(one), make[one.name](), says, good=one.token())


def client_itself(one: Served) -> Case | None:
    """Send the token of a client that acts for itself, without `sub`."""
    if one.name != "Duende IdentityServer":
        return None
    says = "subject_claims=('sub', 'client_id') in its profile: the client is the subject"
    return Case(settings_of(one), one.token(sub=ABSENT), says)


MISTAKES: tuple[Make, ...] = (
    *(audience, slash, issuer, version, of_rfc_9068, foreign, scope_prefix, scope_map),
    *(no_algorithm, no_set, no_url, url_of_metadata, another_set, certificates, old_name),
    *(limited, id_token, id_token_of_rfc_9068, expired, unsigned, opaque, encrypted, padded),
    *(refresh_token, client_itself),
)


def cases() -> list[Any]:
    return [
        pytest.param(one, mistake, id=f"{name}-{mistake.__name__}")
        for name, one in ISSUERS.items()
        for mistake in MISTAKES
        if mistake(one) is not None
    ]


# --- what the tool names, as settings


def applied(settings: Settings, remedy: str) -> Settings | None:
    """Return the settings with what a remedy names, or None if it names nothing."""
    for pattern, apply in _WAYS.items():
        found = re.search(pattern, remedy)
        if found is not None:
            return settings.replace(**apply(settings, *found.groups()))
    return None


def _by_expression(settings: Settings, text: str) -> Mapping[str, Any]:
    return {"profile": eval(text, {"profiles": profiles})}


def _in_profile(settings: Settings, text: str, values: str | None) -> Mapping[str, Any]:
    value = (values or "''").split(", ")[0]
    fields = eval(f"dict({text.replace('VALUE', value)})")
    return {"profile": settings.profile.replace(**fields)}


def _by_issuer(settings: Settings, name: str) -> Mapping[str, Any]:
    return {"issuer": name}


def _by_audience(settings: Settings, name: str) -> Mapping[str, Any]:
    return {"audience": name}


def _keys(settings: Settings, **changes: Any) -> Mapping[str, Any]:
    source = settings.keys.source
    assert isinstance(source, Remote)
    given: dict[str, Any] = {
        "algorithm": source.algorithm,
        "fetcher": source.fetcher,
        "url": source.url,
    } | changes
    return {"keys": KeySet.remote(**given)}


def _by_url(settings: Settings, url: str) -> Mapping[str, Any]:
    return _keys(settings, url=url)


def _by_algorithm(settings: Settings, name: str) -> Mapping[str, Any]:
    return _keys(settings, algorithm=name)


def _by_limit(settings: Settings, scope: str) -> Mapping[str, Any]:
    (one,) = settings.trusted_issuers
    return {"trusted_issuers": (replace(one, scopes=(*(one.scopes or ()), scope)),)}


_WAYS: Mapping[str, Callable[..., Mapping[str, Any]]] = {
    r"profile=(profiles\.\w+\.replace\(.*\)|profiles\.\w+)": _by_expression,
    r"(?:: |^)(\w+=\S.*) in its profile(?:, where VALUE is one of (.*))?": _in_profile,
    r"^issuer='([^']+)'": _by_issuer,
    r"^audience='([^']+)'": _by_audience,
    r"KeySet\.remote\('([^']+)'\)": _by_url,
    r'^algorithm="(\w+)"': _by_algorithm,
    r"^scopes=\(\.\.\., '([^']+)'\)": _by_limit,
}


# --- token verify


class Verify:
    """`token verify` with settings of a test."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self._run, self._monkeypatch = run, monkeypatch

    def __call__(self, settings: Settings, token: str, path: str) -> tuple[Shown, str]:
        """Return what is shown, and the first remedy of what fails."""
        self._monkeypatch.setattr(sys.modules[__name__], "made", settings)
        shown = self._run(token, "verify", "--settings", HERE, "--path", path)
        remedies = [
            line.partition("-> ")[2]
            for name, (state, line) in shown.lines.items()
            if state == "FAIL" and "-> " in line
        ]
        return shown, (remedies or [""])[0]


@pytest.fixture
def verify(run: Run, monkeypatch: pytest.MonkeyPatch) -> Verify:
    return Verify(run, monkeypatch)


@pytest.mark.parametrize(("one", "mistake"), cases())
def test_the_setting_that_it_names_lets_the_token_in(
    one: Served, mistake: Make, verify: Verify
) -> None:
    case = mistake(one)
    assert case is not None
    settings, token = case.settings, case.token
    shown, remedy = verify(settings, token, case.path)
    assert shown.status == 1
    assert case.says in remedy, shown.out
    if mistake is id_token_of_rfc_9068:
        return  # there are two mistakes, and the token is the first to mend
    if case.good:
        token = case.good
        shown, after = verify(settings, token, case.path)
        assert (shown.status, after) == (0, "")
        return
    # Settings often have several mistakes: one is told after the other.
    for _ in range(4):
        assert not any(one in remedy for one in BLAME), remedy
        more = {"keys": case.keys} if case.keys is not None else None
        changed = settings.replace(**more) if more else applied(settings, remedy)
        assert changed is not None, remedy
        settings = changed
        shown, remedy = verify(settings, token, case.path)
        if shown.status == 0:
            break
    assert shown.status == 0, shown.out


def test_each_issuer_has_at_least_five_mistakes() -> None:
    assert len(ISSUERS) >= 14
    for one in ISSUERS.values():
        assert sum(mistake(one) is not None for mistake in MISTAKES) >= 10, one.name


@pytest.mark.parametrize("one", ISSUERS.values(), ids=ISSUERS)
def test_with_the_settings_of_its_row_nothing_is_said(one: Served, verify: Verify) -> None:
    shown, _ = verify(settings_of(one), one.token(), scoped(one))
    assert shown.status == 0
    assert {state for state, _ in shown.lines.values()} == {"ok"}


WITH_ID_TOKENS = [one for one in ISSUERS.values() if one.id_claims]


@pytest.mark.parametrize("one", WITH_ID_TOKENS, ids=lambda one: one.name)
def test_an_id_token_that_gets_in_is_told(one: Served, verify: Verify) -> None:
    aud = one.id_claims["aud"]
    settings = settings_of(one, profile=FOREIGN, audience=aud if isinstance(aud, str) else aud[0])
    shown, _ = verify(settings, one.id_token(), "/")
    assert shown.status == 0
    state, line = shown.lines["type"]
    told = one.name not in BARE  # of those, `check` warns: the audience looks like a client's id
    assert (state, "but it looks like an ID token" in line) == ("warn" if told else "ok", told)
    keeps_out = re.search(r"profile=profiles\.(\w+) keeps such tokens out", line)
    if one.name in ("Keycloak", "Entra", "Entra, tokens of version 1", "Auth0", "Cognito"):
        assert keeps_out is not None
        mended = settings.replace(profile=PROFILES[keeps_out[1]])
        assert verify(mended, one.id_token(), "/")[0].status == 1
    # Its access token isn't called so.
    own = settings_of(one).replace(profile=FOREIGN)
    shown, _ = verify(own, one.token(), "/")
    assert shown.lines["type"][0] == "ok"


@pytest.mark.parametrize("name", ["Google", "Firebase"])
def test_where_id_tokens_are_wanted_they_are_not_warned_of(name: str, verify: Verify) -> None:
    one = ISSUERS[name]
    for profile in (settings_of(one).profile, FOREIGN):
        shown, _ = verify(settings_of(one, profile=profile), one.token(nonce="x"), "/")
        assert shown.lines["type"][0] == "ok"


@pytest.mark.parametrize("name", ["Keycloak", "Cognito", "oidc-provider"])
def test_a_token_that_says_what_it_is_is_believed(name: str, verify: Verify) -> None:
    """What ID tokens have, too, doesn't make one of it."""
    one = ISSUERS[name]
    shown, _ = verify(settings_of(one), one.token(nonce="x", azp="shop-web"), "/")
    assert (shown.status, shown.lines["type"][0]) == (0, "ok")


# --- where no setting helps, and the issuer is to be told


def test_two_keys_of_one_kid_are_the_issuer_s_fault(verify: Verify) -> None:
    for one in ISSUERS.values():
        two = replace(one, more_keys=({**one.jwk, "kid": one.header.get("kid", "@")},))
        # The other key is an RSA key.
        if two.header["alg"] == "RS256" and "kid" in two.header:
            wrong = settings_of(one, keys=remote(one, source_of(one).url, two))
            _, remedy = verify(wrong, two.token(), "/")
            assert remedy.startswith("tell who runs the issuer"), one.name


def test_a_token_without_kid_beside_several_keys(verify: Verify) -> None:
    one = ISSUERS["LemonLDAP::NG"]
    two = replace(one, more_keys=(one.jwk,))
    _, remedy = verify(settings_of(one, keys=remote(one, None, two)), two.token(), "/")
    assert remedy.startswith("it names no key (`kid`), and there are several: have the issuer name")


def test_a_key_beside_others_that_names_no_algorithm(verify: Verify) -> None:
    """As Verimi has it: one key of the set names its algorithm, and this one doesn't."""
    one = ISSUERS["Okta"]
    jwk = {name: value for name, value in one.jwk.items() if name != "alg"}
    other = {"kty": "RSA", "kid": "other", "n": "@", "e": "@", "alg": "RS256"}
    part = replace(one, jwk=jwk, more_keys=(other,))
    settings = settings_of(one, keys=remote(one, None, part))
    _, remedy = verify(settings, part.token(), "/")
    changed = applied(settings, remedy)
    assert changed is not None
    assert verify(changed, part.token(), "/")[0].status == 0


def test_what_the_issuer_leaves_out_is_named(verify: Verify) -> None:
    one = ISSUERS["Keycloak"]
    _, remedy = verify(settings_of(one), one.token(aud=ABSENT), "/")
    assert remedy.startswith("have the issuer put aud there (for `aud`: an API, a resource or a ")
    _, remedy = verify(settings_of(one), one.token(iss=ABSENT), "/")
    assert remedy.startswith("no profile does without `iss`")


def test_a_scope_that_the_client_must_ask_for(verify: Verify) -> None:
    for name in ("Keycloak", "Okta", "oidc-provider"):
        one = ISSUERS[name]
        _, remedy = verify(settings_of(one), one.token(), "/admin")
        assert remedy == "the client must ask for that scope, or the user may not do this"


def test_scopes_that_can_not_be_read_are_not_the_client_s_fault(verify: Verify) -> None:
    one = ISSUERS["Okta"]
    unread: tuple[Any, ...] = ("orders:read ", "a  b", None, 5, {"orders": True})
    empty: tuple[Any, ...] = ("", [], ["orders:list"])
    for scp in unread:
        shown, remedy = verify(settings_of(one), one.token(scp=scp), "/scoped")
        assert shown.status == 1
        assert remedy.startswith("no scope can be read from scp ")
        assert "words with one space between, or an array of texts" in remedy
    for scp in empty:
        _, remedy = verify(settings_of(one), one.token(scp=scp), "/scoped")
        assert remedy.startswith("the client must ask for that scope")


def test_an_issuer_that_the_application_names_is_advised_on_too(verify: Verify) -> None:
    one = ISSUERS["Okta"]
    row = settings_of(one)
    fields = {name: getattr(row, name) for name in ("issuer", "audience", "keys")}
    tenant = TrustedIssuer(**fields, profile=FOREIGN)
    settings = row.replace(
        issuer="https://login.example.com",
        keys=KeySet([named_key("ES256", "ours")]),
        issuer_for=lambda name: tenant if name == one.issuer else None,
    )
    _, remedy = verify(settings, one.token(), "/scoped")
    assert remedy.endswith("which FOREIGN doesn't read: profile=profiles.OKTA")


# --- doctor

OF_KEYS: tuple[Make, ...] = (no_algorithm, no_set, no_url, url_of_metadata, certificates)


def doctor(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Return the exit status, and the first remedy for keys."""
    monkeypatch.setattr(sys.modules[__name__], "made", settings)
    status = main(["doctor", "--settings", HERE])
    out = capsys.readouterr().out
    found = re.search(r"^FAIL +keys +.*\n {20}-> (.*)", out, re.MULTILINE)
    return status, found[1] if found else ""


@pytest.mark.parametrize("one", ISSUERS.values(), ids=ISSUERS)
def test_doctor_names_what_mends_the_key_set(
    one: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(settings_of(one), monkeypatch, capsys)[0] == 0
    for mistake in OF_KEYS:
        case = mistake(one)
        if case is None:
            continue
        status, remedy = doctor(case.settings, monkeypatch, capsys)
        assert (status, case.says in remedy) == (1, True), remedy
        assert not any(one in remedy for one in BLAME)
        settings = case.settings
        while status:
            more = {"keys": case.keys} if case.keys is not None else None
            changed = settings.replace(**more) if more else applied(settings, remedy)
            assert changed is not None, remedy
            assert changed != settings, remedy
            settings = changed
            status, remedy = doctor(settings, monkeypatch, capsys)


@pytest.mark.parametrize("one", ISSUERS.values(), ids=ISSUERS)
def test_doctor_compares_the_name_with_that_in_the_metadata(
    one: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = slash(one)
    wrong = case.settings.replace(keys=remote(one, None))
    _, remedy = doctor(wrong, monkeypatch, capsys)
    if not one.metadata:
        assert remedy.startswith("it publishes no metadata")
        return
    assert f"issuer={one.issuer!r} where its tokens say that in `iss`" in remedy
    mended = wrong.replace(issuer=one.issuer)
    status, remedy = doctor(mended, monkeypatch, capsys)
    assert status == 0 or (one.name == "Glewlwyd" and "no key set is there" in remedy)
