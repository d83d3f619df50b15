"""Several issuers: each verified by its own keys and rules, whatever its tokens say."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, cast

import pytest

from jwt_middleware import (
    AccessToken,
    ConfigurationError,
    EndGrant,
    Issuer,
    KeySet,
    Refresh,
    Route,
    Settings,
    TrustedIssuer,
    profiles,
)
from jwt_middleware.core.trusted_issuers import (
    MAX_TENANTS,
    MAX_UNPROVED,
    NOBODY_AGE,
    TENANT_AGE,
    Issuers,
)
from jwt_middleware.jose import jws
from jwt_middleware.keys import Key
from jwt_middleware.keys.freshness import KeyLimits
from jwt_middleware.keys.key_sources import FoundKeys
from jwt_middleware.process import hooks
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.testing import ABSENT, TokenFactory
from jwt_middleware.token.claims import Policy, accept
from jwt_middleware.values import reasons
from jwt_middleware.values.errors import InvalidToken, KeysUnavailable
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.issuing import HOUR, REVOKE, Clock, form_octets, posted
from tests.keyserver import KeyServer, key_set
from tests.keyserver.site import DOORS, Author, Site, settle
from tests.rules import accepts, refuses
from tests.waiting import PATIENCE
from tests.world import Application, World, by_wsgi

NAMES = ("own", "listed", "remote", "tenant")
AUDIENCES = {name: f"https://{name}.api.example" for name in NAMES}
KID = "2026"  # all of them call a key so


class Four:
    """Four issuers whose keys have the same names: our own, two listed, and one by a function."""

    def __init__(self, server: KeyServer, clock: Clock) -> None:
        self.server = server
        self.issuers = {name: f"{server.base}/{name}" for name in NAMES}
        self.factories = {
            name: TokenFactory(issuer=issuer, audience=AUDIENCES[name], clock=clock)
            for name, issuer in self.issuers.items()
        }
        for one in self.factories.values():
            one.keys = KeySet((*KeySet.generate(kid=KID).keys, *KeySet.generate(kid="next").keys))
        server.publish(key_set(self.factories["remote"].keys))
        public = {n: KeySet.from_jwks(f.keys.public_jwks()) for n, f in self.factories.items()}
        tenant = self.trusted("tenant", public["tenant"])
        self.settings = self.factories["own"].settings(
            keys=public["own"],
            trusted_issuers=(
                self.trusted("listed", public["listed"]),
                self.trusted("remote", KeySet.remote(server.url)),
            ),
            issuer_for={self.issuers["tenant"]: tenant}.get,
            routes=(Route("/admin", scope="admin"),),
        )
        self.world = World(self.settings)

    def trusted(self, name: str, keys: KeySet, **more: Any) -> TrustedIssuer:
        return TrustedIssuer(issuer=self.issuers[name], audience=AUDIENCES[name], keys=keys, **more)

    def token(self, signer: str, **claims: Any) -> str:
        """Return a token of the signer's, but for some claims."""
        return self.factories[signer].token(**claims)


@pytest.fixture(scope="module")
def four() -> Iterator[Four]:
    with KeyServer() as server:
        yield Four(server, Clock())


@accepts("RS-28")
@pytest.mark.parametrize("name", NAMES)
def test_each_issuers_own_key_opens_its_own_tokens(name: str, four: Four) -> None:
    answer = four.world.get(token=four.token(name))
    assert answer.reached
    assert answer.token is not None
    assert answer.token.principal == (four.issuers[name], "alice")
    assert answer.user == ("alice" if name == "own" else None)


MIX_UPS = [(signer, named) for signer, named in product(NAMES, NAMES) if signer != named]


@refuses("RS-28")
@pytest.mark.parametrize(("signer", "named"), MIX_UPS)
@pytest.mark.parametrize("kid", [KID, "next", None])
def test_no_issuers_key_opens_anothers_tokens(
    signer: str, named: str, kid: str | None, four: Four
) -> None:
    """Every key, signing for every issuer, with that issuer's audience and everything else."""
    claims = {"iss": four.issuers[named], "aud": AUDIENCES[named]}
    factory = four.factories[signer]
    for key in factory.keys.keys:
        one = TokenFactory(issuer=factory.issuer, clock=factory.clock)
        one.keys = KeySet([key])
        header = {"kid": ABSENT if kid is None else kid}
        answer = four.world.get(token=one.token(header=header, **claims))
        assert (answer.status, answer.reached) == (401, False)
        assert answer.reason == ("signature_invalid" if kid else "key_unknown")


@refuses("RS-28")
@pytest.mark.parametrize(("name", "other"), MIX_UPS)
def test_an_audience_is_one_issuers(name: str, other: str, four: Four) -> None:
    token = four.token(name, aud=AUDIENCES[other])
    assert four.world.get(token=token).reason == "audience_not_ours"
    both = [AUDIENCES[other], AUDIENCES[name]]
    assert four.world.get(token=four.token(name, aud=both)).reached


@refuses("RS-28")
@pytest.mark.parametrize(
    "change",
    [
        lambda iss: iss + "/",
        lambda iss: iss.upper(),
        lambda iss: iss[:-1],
        lambda iss: iss.replace("http:", "https:"),
        lambda iss: [iss],
        lambda iss: {"iss": iss},
        lambda iss: None,
        lambda iss: "",
        lambda iss: 5,
        lambda iss: ABSENT,
        lambda iss: iss + "\u0000",
        lambda iss: "https://nobody.example",
    ],
)
@pytest.mark.parametrize("name", ["own", "listed", "remote"])
def test_an_issuer_is_known_by_its_exact_name(
    name: str, change: Callable[[str], Any], four: Four
) -> None:
    before = list(four.server.fetches)
    token = four.token(name, iss=change(four.issuers[name]), header={"kid": "unknown"})
    answer = four.world.get(token=token)
    assert (answer.status, answer.reached) == (401, False)
    assert answer.reason in ("issuer_not_trusted", "claim_missing", "claim_malformed")
    assert four.server.fetches == before, "no key is looked for before the issuer is known"


def test_no_fetch_is_made_for_another_issuers_token(four: Four) -> None:
    assert four.world.get(token=four.token("remote")).reached
    for name in ("own", "listed", "tenant"):
        before = list(four.server.fetches)
        answer = four.world.get(token=four.token(name, header={"kid": "unknown"}))
        assert answer.reason == "key_unknown"
        assert four.server.fetches == before


# --- each issuer's rules


OWN = TokenFactory()
THEIRS = TokenFactory(issuer="https://partner.example", audience="https://partner.api.example")


def trusting(**more: Any) -> Settings:
    """Return settings that trust one issuer beside our own."""
    routes = (Route("/admin", scope="admin"), Route("/read", scope="read"))
    given: dict[str, Any] = {
        "issuer": THEIRS.issuer,
        "audience": THEIRS.audience,
        "keys": THEIRS.keys,
    }
    return OWN.settings(trusted_issuers=(TrustedIssuer(**(given | more)),), routes=routes)


def test_an_issuer_gives_no_more_scope_than_it_may() -> None:
    token = THEIRS.token(scope="read admin write")
    free, bound, none = (
        World(trusting(**more)) for more in ({}, {"scopes": ("read", "other")}, {"scopes": ()})
    )
    assert free.get("/admin", token).reached
    for world, path, status in (
        (bound, "/admin", 403),
        (bound, "/read", 200),
        (none, "/read", 403),
        (none, "/", 200),
    ):
        assert world.get(path, token).status == status
    found = bound.get("/read", token).token
    assert found is not None
    assert found.scope == "read"
    assert found.claims["scope"] == "read admin write"
    assert bound.get("/admin", OWN.token(scope="admin")).reached, "ours is not theirs"


def test_a_profile_is_one_issuers() -> None:
    world = World(trusting(profile=profiles.FOREIGN))
    absent = dict.fromkeys(("client_id", "jti", "iat"), ABSENT)
    bare: dict[str, Any] = {**absent, "header": {"typ": "JWT"}}
    assert world.get(token=THEIRS.token(**bare)).reached
    assert world.get(token=OWN.token(**bare)).reason == "type_not_allowed"
    # What one issuer's key has signed is remembered for that issuer alone: the header is the same.
    same = TokenFactory(issuer=OWN.issuer, audience=OWN.audience)
    same.keys = THEIRS.keys
    assert world.get(token=same.token(**bare)).reason == "type_not_allowed"
    assert World(trusting()).get(token=THEIRS.token(**bare)).reason == "type_not_allowed"


def mapped(token: AccessToken) -> str | None:
    return {"alice": "partner:alice", "nobody": None, "empty": "", "odd": "a\nb", "number": 5}[
        token.subject
    ]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("subject", "status", "user"),
    [
        ("alice", 200, "partner:alice"),
        ("nobody", 200, None),
        ("empty", 401, None),
        ("odd", 401, None),
        ("number", 401, None),
        ("unknown", 401, None),
    ],
)
def test_a_user_of_theirs_is_ours_by_a_function(
    subject: str, status: int, user: str | None
) -> None:
    answer = World(trusting(user=mapped)).get(token=THEIRS.token(sub=subject))
    assert (answer.status, answer.user) == (status, user)
    assert answer.reason == ("user_hook_failed" if status == 401 else None)


def test_without_a_function_nobody_is_our_user() -> None:
    answer = World(trusting()).get(token=THEIRS.token(sub="admin"))
    assert (answer.status, answer.user) == (200, None)
    assert answer.token is not None
    assert answer.token.subject == "admin"


def test_a_client_of_theirs_is_no_user() -> None:
    world = World(trusting(user=mapped))
    assert world.get(token=THEIRS.token(sub="alice", client_id="alice")).user is None


def test_their_sid_is_no_grant_of_ours() -> None:
    clock = Clock()
    theirs = TokenFactory(issuer=THEIRS.issuer, audience=THEIRS.audience, clock=clock)
    own = TokenFactory(clock=clock)
    settings = own.settings(
        refresh=Refresh(store="memory://"),
        trusted_issuers=(
            TrustedIssuer(issuer=theirs.issuer, audience=theirs.audience, keys=theirs.keys),
        ),
    )
    site = Site("wsgi", settings)
    grant_id = Issuer(site.settings).issue("alice").grant_id
    Issuer(site.settings).revoke(grant_id)
    answer = site.get(theirs.token(sid=grant_id))
    assert answer.reached
    assert answer.token is not None
    assert answer.token.grant_id is None
    assert site.get(own.token(sid=grant_id)).reason == "grant_ended"


@pytest.mark.parametrize("key", ["own", "theirs"])
def test_their_token_revokes_nothing_of_ours(key: str) -> None:
    own, theirs = TokenFactory(), THEIRS
    settings = own.settings(
        refresh=Refresh(store="memory://"),
        trusted_issuers=(
            TrustedIssuer(issuer=theirs.issuer, audience=theirs.audience, keys=theirs.keys),
        ),
    )
    issuer = Issuer(settings)
    tokens = issuer.issue("alice")
    token = theirs.token(sid=tokens.grant_id)
    if key == "own":
        token = TokenFactory(issuer=own.issuer, audience=own.audience).token(sid=tokens.grant_id)
    app = WSGIMiddleware(Application().wsgi, settings)
    by_wsgi(app, posted(REVOKE, form_octets({"token": token})))
    (grant,) = issuer.grants("alice")
    assert grant.ended_at is None


def test_a_token_by_a_key_that_no_longer_serves_revokes_like_any_invalid_one(
    clock: Clock,
) -> None:
    own, theirs = TokenFactory(clock=clock), TokenFactory(issuer=THEIRS.issuer, clock=clock)

    class Once:
        """A source that answers once."""

        algorithm = None
        answers = 1

        def limits(self) -> KeyLimits:
            return KeyLimits(stale=HOUR, cool_down=30, lease=5)

        def fetch(self, issuer: str, before: FoundKeys | None, now: float) -> FoundKeys:
            self.answers -= 1
            if self.answers < 0:
                raise KeysUnavailable("gone")
            return FoundKeys(b"", HOUR)

        def read(self, octets: bytes) -> Any:
            return theirs.keys.keys, ()

    settings = own.settings(
        refresh=Refresh(store="memory://"),
        trusted_issuers=(
            TrustedIssuer(
                issuer=theirs.issuer,
                audience=theirs.audience,
                keys=KeySet(theirs.keys.keys, cast("Any", Once())),
            ),
        ),
    )
    site = Site("wsgi", settings)
    token = theirs.token(exp=int(clock()) + 9 * HOUR)
    revoke = posted(REVOKE, form_octets({"token": token}))
    app = WSGIMiddleware(Application().wsgi, site.settings)
    assert site.get(token).reached
    # RFC 7009 s2.2.1: known, and of a kind that can't be revoked.
    assert by_wsgi(app, revoke)[0] == 400
    clock.forward(2 * HOUR)
    assert site.get(token).status == 503
    assert by_wsgi(app, revoke)[0] == 200


# --- settings


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"issuer": ""}, "issuer", "must be a non-empty string"),
        ({"issuer": "https://a b"}, "issuer", "white space"),
        ({"audience": ()}, "audience", "is empty"),
        ({"audience": 5}, "audience", "must be a tuple"),
        ({"keys": "keys.json"}, "keys", "must be a KeySet"),
        ({"keys": None}, "keys", "must be a KeySet"),
        ({"profile": "FOREIGN"}, "profile", "must be a Profile"),
        ({"scopes": "read"}, "scopes", "must be a tuple"),
        ({"scopes": ("read write",)}, "scopes", "no scope"),
        ({"scopes": ("",)}, "scopes", "no scope"),
        ({"scopes": (5,)}, "scopes", "no scope"),
        ({"scopes": ('a"b',)}, "scopes", "no scope"),
        ({"user": "admin"}, "user", "can't be called"),
    ],
)
def test_a_wrong_trusted_issuer_stops_the_start(
    change: dict[str, Any], field: str, told: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        trusting(**change)
    assert refused.value.field == field
    assert told in str(refused.value)
    assert refused.value.remedy


def test_a_user_function_must_not_wait() -> None:
    async def user(token: AccessToken) -> str:
        return token.subject

    with pytest.raises(ConfigurationError, match="asynchronous"):
        trusting(user=user)


def test_every_issuer_is_named_once() -> None:
    one = TrustedIssuer(issuer=THEIRS.issuer, audience=THEIRS.audience, keys=THEIRS.keys)
    own = TrustedIssuer(issuer=OWN.issuer, audience=OWN.audience, keys=OWN.keys)
    for twice in ((one, one), (own,)):
        with pytest.raises(ConfigurationError, match="twice, or it is `issuer`"):
            OWN.settings(trusted_issuers=twice)
    for wrong in ("x", one, (one, "x"), ({"issuer": "x"},)):
        with pytest.raises(ConfigurationError) as refused:
            OWN.settings(trusted_issuers=wrong)
        assert refused.value.field == "trusted_issuers"
    with pytest.raises(ConfigurationError) as refused:
        OWN.settings(issuer_for={"a": one})
    assert refused.value.field == "issuer_for"


def found_by_name(name: str) -> None:
    """Know no issuer; configuration names it."""


def plain_user(token: AccessToken) -> str:
    return token.subject


ENTRY: dict[str, Any] = {
    "issuer": "https://partner.example/realms/staff",
    "audience": ["https://api.example", "https://old.example"],
    "keys": {"remote": {"timeout": 2.5}, "algorithm": "RS256"},
    "profile": "FOREIGN",
    "scopes": ["read"],
    "user": f"{__name__}:plain_user",
}
STATIC: dict[str, Any] = {
    "issuer": "https://other.example",
    "audience": "https://api.example",
    "keys": {"jwks": THEIRS.keys.public_jwks()},
}
TOML = f"""
[jwt_middleware]
issuer = "https://login.example"
audience = "https://api.example"
keys = {{ remote = {{ url = "https://login.example/jwks", private_addresses = true }} }}
issuer_for = "{__name__}:found_by_name"

[[jwt_middleware.trusted_issuers]]
issuer = "https://partner.example/realms/staff"
audience = ["https://api.example", "https://old.example"]
profile = "FOREIGN"
scopes = ["read"]
user = "{__name__}:plain_user"
[jwt_middleware.trusted_issuers.keys]
algorithm = "RS256"
[jwt_middleware.trusted_issuers.keys.remote]
timeout = 2.5

[[jwt_middleware.trusted_issuers]]
issuer = "https://other.example"
audience = "https://api.example"
keys = {{ jwks = '{json.dumps(STATIC["keys"]["jwks"])}' }}
"""
MAPPING: dict[str, Any] = {
    "issuer": "https://login.example",
    "audience": "https://api.example",
    "keys": {"remote": {"url": "https://login.example/jwks", "private_addresses": True}},
    "trusted_issuers": [ENTRY, STATIC],
    "issuer_for": f"{__name__}:found_by_name",
}
ENVIRONMENT = {
    "JWT_MIDDLEWARE_ISSUER": "https://login.example",
    "JWT_MIDDLEWARE_AUDIENCE": "https://api.example",
    "JWT_MIDDLEWARE_KEYS__REMOTE__URL": "https://login.example/jwks",
    "JWT_MIDDLEWARE_KEYS__REMOTE__PRIVATE_ADDRESSES": "true",
    "JWT_MIDDLEWARE_TRUSTED_ISSUERS": json.dumps([ENTRY, STATIC]),
    "JWT_MIDDLEWARE_ISSUER_FOR": f"{__name__}:found_by_name",
}


@pytest.mark.parametrize("source", ["mapping", "toml", "environment"])
def test_issuers_come_from_configuration(source: str, tmp_path: Any) -> None:
    (tmp_path / "app.toml").write_text(TOML)
    settings = {
        "mapping": lambda: Settings.from_mapping(MAPPING),
        "toml": lambda: Settings.from_toml(tmp_path / "app.toml"),
        "environment": lambda: Settings.from_env(ENVIRONMENT),
    }[source]()
    remote: Any = settings.keys.source
    assert (remote.url, remote.private_addresses) == ("https://login.example/jwks", True)
    staff, other = settings.trusted_issuers
    assert staff.issuer == "https://partner.example/realms/staff"
    assert staff.audience == ("https://api.example", "https://old.example")
    theirs: Any = staff.keys.source
    assert (theirs.url, theirs.timeout, theirs.algorithm) == (None, 2.5, "RS256")
    assert staff.profile is profiles.FOREIGN
    assert staff.scopes == ("read",)
    assert staff.user is plain_user
    assert other.keys.keys[0].kid == THEIRS.key.kid
    assert other.user is None
    assert settings.issuer_for is found_by_name


@pytest.mark.parametrize(
    "variables",
    [
        {"KEYS": '{"remote": {}, "algorithm": "RS256"}'},
        {"KEYS__REMOTE": "{}", "KEYS__ALGORITHM": "RS256"},
        {"KEYS__REMOTE__ALGORITHM": "RS256"},
        {"KEYS__REMOTE": '{"algorithm": "RS256"}', "KEYS__ALGORITHM": "ES256"},
    ],
)
def test_variables_alone_have_the_keys_discovered(variables: dict[str, str]) -> None:
    good = {"ISSUER": "https://login.example", "AUDIENCE": "https://api.example"}
    settings = Settings.from_env({f"JWT_MIDDLEWARE_{k}": v for k, v in (good | variables).items()})
    source: Any = settings.keys.source
    assert (source.url, source.algorithm, source.lifetime) == (None, "RS256", 600)


def test_the_json_schema_knows_issuers_and_where_their_keys_are() -> None:
    validators: Any = importlib.import_module("jsonschema").Draft202012Validator
    schema = Settings.json_schema()
    validators.check_schema(schema)
    validator = validators(schema)
    assert list(validator.iter_errors(MAPPING)) == []
    wrong: list[dict[str, Any]] = [
        {"trusted_issuers": {}},
        {"trusted_issuers": [{}]},
        {"trusted_issuers": [ENTRY | {"isuer": "x"}]},
        {"trusted_issuers": [ENTRY | {"profile": "LOOSE"}]},
        {"trusted_issuers": [ENTRY | {"keys": {"remote": {"timeout": 31}}}]},
        {"trusted_issuers": [ENTRY | {"keys": {"remote": {"fetcher": "x"}}}]},
        {"trusted_issuers": [ENTRY | {"keys": {"remote": {}, "pem": "x"}}]},
        {"keys": {"remote": {"cool_down": 0}}},
    ]
    for one in wrong:
        assert list(validator.iter_errors(MAPPING | one)), one
        with pytest.raises(ConfigurationError):
            Settings.from_mapping(MAPPING | one)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"issuer": "https://login.example"}, "trusted_issuers: has 'https://login.example' twice"),
        ({"keys": {"remote": {"url": "ftp://x"}}}, "trusted_issuers[0].keys.remote.url: is no abs"),
        ({"keys": {"remote": {"timeot": 5}}}, "did you mean timeout?"),
        ({"keys": {}}, "trusted_issuers[0].keys: doesn't say where the keys are"),
        ({"issuer": "urn:x"}, "trusted_issuers[0].keys: are to be found through the issuer's meta"),
        ({"user": "nothing:here"}, "trusted_issuers[0].user: there is no module"),
        ({"scopes": ["a b"]}, "trusted_issuers[0].scopes: has one that is no scope"),
    ],
)
def test_what_is_wrong_in_configuration_is_named_where_it_stands(
    change: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_mapping(MAPPING | {"trusted_issuers": [ENTRY | change]})
    assert told in str(refused.value)


# --- thousands of tenants, by a function


class Tenants:
    """The application's register: counts how often it is asked."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.known: dict[str, Any] = {}
        self.asked: list[str] = []
        self.factories: dict[str, TokenFactory] = {}

    def add(self, issuer: str, keys: KeySet | None = None) -> TokenFactory:
        factory = TokenFactory(issuer=issuer, clock=self.clock)
        self.factories[issuer] = factory
        self.known[issuer] = TrustedIssuer(
            issuer=issuer, audience=factory.audience, keys=keys or factory.keys
        )
        return factory

    def __call__(self, issuer: str) -> Any:
        self.asked.append(issuer)
        found = self.known.get(issuer)
        if isinstance(found, Exception):
            raise found
        return found

    async def later(self, issuer: str) -> Any:
        await asyncio.sleep(0)
        return self(issuer)


ACME = "https://acme.example"


@pytest.fixture
def tenants(clock: Clock) -> Tenants:
    one = Tenants(clock)
    one.add(ACME)
    return one


@pytest.fixture(params=[*DOORS, "asgi, awaiting"])
def site(request: pytest.FixtureRequest, tenants: Tenants, clock: Clock) -> Site:
    door, _, awaits = str(request.param).partition(",")
    hook: Any = tenants.later if awaits else tenants
    return Site(door, TokenFactory(clock=clock).settings(issuer_for=hook))


def test_a_tenant_is_asked_for_once_in_ten_minutes(
    site: Site, tenants: Tenants, clock: Clock
) -> None:
    factory = tenants.factories[ACME]
    for _ in range(5):
        assert site.get(factory.token()).reached
    assert tenants.asked == [ACME]
    clock.forward(TENANT_AGE - 0.1)
    assert site.get(factory.token()).reached
    assert tenants.asked == [ACME]
    clock.forward(0.1)
    assert site.get(factory.token()).reached
    assert tenants.asked == [ACME] * 2
    clock.forward(-60)  # nobody knows how old the answer is
    assert site.get(factory.token()).reached
    assert tenants.asked == [ACME] * 3


def test_a_tenant_that_is_gone_is_refused_when_its_time_is_over(
    site: Site, tenants: Tenants, clock: Clock
) -> None:
    factory = tenants.factories[ACME]
    assert site.get(factory.token()).reached
    del tenants.known[ACME]
    assert site.get(factory.token()).reached
    clock.forward(TENANT_AGE)
    for _ in range(2):
        assert site.get(factory.token()).reason == "issuer_not_trusted"
    # That it is nobody is remembered for seconds, so that a new tenant is in at once.
    assert len(tenants.asked) == 2
    tenants.add(ACME)
    clock.forward(NOBODY_AGE)
    assert site.get(tenants.factories[ACME].token()).reached


def test_a_known_token_ends_with_the_word_about_its_tenant(
    site: Site, tenants: Tenants, clock: Clock
) -> None:
    token = tenants.factories[ACME].token(exp=int(clock()) + HOUR)
    assert site.get(token).reached
    assert site.get(token).reached
    del tenants.known[ACME]
    clock.forward(TENANT_AGE - 0.1)
    assert site.get(token).reached
    clock.forward(0.1)
    for _ in range(2):
        assert site.get(token).reason == "issuer_not_trusted"


def test_a_tenants_new_keys_are_in_force_when_its_time_is_over(
    site: Site, tenants: Tenants, clock: Clock
) -> None:
    old = tenants.factories[ACME]
    assert site.get(old.token()).reached
    new = tenants.add(ACME)
    assert site.get(new.token()).reason == "key_unknown"
    clock.forward(TENANT_AGE)
    assert site.get(new.token()).reached
    assert site.get(old.token()).reason == "key_unknown"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (RuntimeError("the database is down"), "RuntimeError"),
        (EndGrant("the database is down"), "EndGrant"),  # which means something to claims_for alone
        (True, "not the TrustedIssuer of that name"),
        ({"issuer": ACME}, "not the TrustedIssuer of that name"),
        (
            TrustedIssuer(issuer=THEIRS.issuer, audience=THEIRS.audience, keys=THEIRS.keys),
            "not the TrustedIssuer of that name",
        ),
    ],
)
def test_a_register_that_fails_logs_nobody_out(
    answer: Any, told: str, site: Site, tenants: Tenants, caplog: pytest.LogCaptureFixture
) -> None:
    good = tenants.known[ACME]
    tenants.known[ACME] = answer
    with caplog.at_level(logging.ERROR):
        found = site.get(tenants.factories[ACME].token())
    assert (found.status, found.reason) == (503, "issuer_hook_failed")
    assert found.header("retry-after") == "1"
    (refused,) = [one for one in found.events if one.name == "refused"]
    assert told in refused.detail
    assert ("the database is down" in caplog.text) is isinstance(answer, Exception)
    tenants.known[ACME] = good
    assert site.get(tenants.factories[ACME].token()).reached


def test_who_is_listed_is_not_asked_for(tenants: Tenants, clock: Clock) -> None:
    own = TokenFactory(clock=clock)
    theirs = TokenFactory(issuer=ACME, clock=clock)
    listed = TrustedIssuer(issuer=ACME, audience=theirs.audience, keys=theirs.keys)
    world = World(own.settings(trusted_issuers=(listed,), issuer_for=tenants))
    assert world.get(token=own.token()).reached
    assert world.get(token=theirs.token()).reached
    for iss in (None, 5, [ACME], ABSENT):
        assert not world.get(token=theirs.token(iss=iss)).reached
    assert tenants.asked == []


def test_an_asynchronous_register_needs_a_door_that_awaits(tenants: Tenants) -> None:
    settings = OWN.settings(issuer_for=tenants.later)
    with pytest.raises(ConfigurationError, match="asynchronous, and a WSGI door can't await"):
        WSGIMiddleware(Application().wsgi, settings)


def test_keys_outlive_the_answer_that_named_them(clock: Clock) -> None:
    """A register that makes its answers anew each time costs no fetch and no waiting."""
    with KeyServer() as server:
        author = Author(server.base, clock)
        server.publish(key_set(author.keys))

        def issuer_for(issuer: str) -> TrustedIssuer:
            asked.append(issuer)
            keys = KeySet.remote(server.url, lifetime=3600)
            return TrustedIssuer(issuer=issuer, audience=author.factory.audience, keys=keys)

        for door in DOORS:
            asked: list[str] = []
            before = server.count
            site = Site(door, TokenFactory(clock=clock).settings(issuer_for=issuer_for))
            for _ in range(4):
                assert site.get(author.token()).reached
                clock.forward(TENANT_AGE)
            assert len(asked) == 4
            assert server.count == before + 1


def test_the_first_requests_of_a_tenant_cause_one_fetch(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "JOINED", PATIENCE)
    with KeyServer() as server:
        author = Author(server.base, clock)
        server.publish(key_set(author.keys))
        asked: list[str] = []

        def issuer_for(issuer: str) -> TrustedIssuer:
            asked.append(issuer)
            keys = KeySet.remote(server.url)
            return TrustedIssuer(issuer=issuer, audience=author.factory.audience, keys=keys)

        site = Site("wsgi", TokenFactory(clock=clock).settings(issuer_for=issuer_for))
        answers = site.flood([author.token()] * 32, threads=32)
        assert {one.status for one in answers} == {200}
        assert len(asked) == 1
        assert server.count == 1
        settle()


def test_the_tenant_that_was_not_used_for_longest_is_forgotten(
    tenants: Tenants, clock: Clock
) -> None:
    site = Site("wsgi", TokenFactory(clock=clock).settings(issuer_for=tenants))
    issuers: Issuers = Runtime.of(site.settings).issuers
    first, second = tenants.add("https://first.example"), tenants.add("https://second.example")
    for one in (first, second, first):
        assert site.get(one.token()).reached
    for number in range(MAX_TENANTS - 1):
        name = f"https://{number}.example"
        assert issuers.find(name, clock()) is None
        trusted = TrustedIssuer(issuer=name, audience=first.audience, keys=first.keys)
        issuers.proved(issuers.adopt(name, trusted, clock()))
    before = len(tenants.asked)
    assert site.get(first.token()).reached
    assert len(tenants.asked) == before
    assert site.get(second.token()).reached
    assert len(tenants.asked) == before + 1
    assert len(issuers._tenants) == MAX_TENANTS
    issuers.reset()
    assert site.get(first.token()).reached


def test_a_clock_that_is_set_back_prolongs_no_word_about_a_tenant(
    tenants: Tenants, clock: Clock
) -> None:
    world = World(TokenFactory(clock=clock).settings(issuer_for=tenants))
    one = tenants.add("https://one.example")
    token = one.token(iat=int(clock() - HOUR))
    assert world.get(token=token).reached
    assert world.get(token=token).reached
    del tenants.known[one.issuer]
    clock.now -= HOUR / 2
    assert world.get(token=token).reason == "issuer_not_trusted"


def test_strangers_push_out_no_tenant_whose_tokens_are_good(tenants: Tenants, clock: Clock) -> None:
    site = Site("wsgi", TokenFactory(clock=clock).settings(issuer_for=tenants))
    good = tenants.add("https://good.example")
    assert site.get(good.token()).reached
    forged = TokenFactory(clock=clock)
    for number in range(MAX_TENANTS + 1):
        name = f"https://{number}.example"
        tenants.known[name] = TrustedIssuer(issuer=name, audience=good.audience, keys=good.keys)
        assert not site.get(forged.token(iss=name, aud=good.audience)).reached
    assert tenants.asked.count(good.issuer) == 1
    assert site.get(good.token()).reached
    assert tenants.asked.count(good.issuer) == 1
    issuers: Issuers = Runtime.of(site.settings).issuers
    assert len(issuers._unproved) == MAX_UNPROVED


def test_tenants_of_equal_names_of_keys_are_told_apart(tenants: Tenants, clock: Clock) -> None:
    world = World(TokenFactory(clock=clock).settings(issuer_for=tenants))
    a, b = (tenants.add(f"https://{name}.example") for name in "ab")
    for one in (a, b):
        one.keys = KeySet.generate(kid=KID)
        tenants.known[one.issuer] = TrustedIssuer(
            issuer=one.issuer, audience=one.audience, keys=one.keys
        )
    for one in (a, b):
        assert world.get(token=one.token()).reached
    for one, other in ((a, b), (b, a)):
        assert world.get(token=one.token(iss=other.issuer)).reason == "signature_invalid"


def test_settings_with_issuers_survive_pickle() -> None:
    import pickle

    settings = trusting(user=plain_user, keys=KeySet.remote("https://keys.example/set"))
    copy: Settings = pickle.loads(pickle.dumps(settings))
    (one,) = copy.trusted_issuers
    assert (one.issuer, one.user) == (THEIRS.issuer, plain_user)
    assert one.keys.source == settings.trusted_issuers[0].keys.source
    assert all(isinstance(key, Key) for key in copy.keys.keys)


def test_many_threads_may_ask_for_many_tenants(tenants: Tenants, clock: Clock) -> None:
    site = Site("wsgi", TokenFactory(clock=clock).settings(issuer_for=tenants))
    factories = [tenants.add(f"https://{number}.example") for number in range(20)]
    tokens = [one.token() for one in factories for _ in range(10)]
    assert {one.status for one in site.flood(tokens, threads=16)} == {200}


def test_at_our_endpoints_nobody_is_asked_whose_a_token_is(tenants: Tenants, clock: Clock) -> None:
    factory = TokenFactory(clock=clock)
    settings = factory.settings(refresh=Refresh(store="memory://"), issuer_for=tenants)
    tokens = Issuer(settings).issue("alice")
    app = WSGIMiddleware(Application().wsgi, settings)
    foreign = tenants.factories[ACME].token(sid=tokens.grant_id)
    by_wsgi(app, posted(REVOKE, form_octets({"token": foreign})))
    assert tenants.asked == []
    (grant,) = Issuer(settings).grants("alice")
    assert grant.ended_at is None


@refuses("RS-33", "RS-28")
def test_the_claim_is_checked_again_with_all_others() -> None:
    """Whoever chose the issuer, the policy of one never takes another's token."""
    policy = Policy(
        issuer=OWN.issuer,
        audience=frozenset((OWN.audience,)),
        profile=profiles.RFC_9068,
        leeway=0,
    )
    for iss, good in ((OWN.issuer, True), (THEIRS.issuer, False)):
        parsed = jws.parse(OWN.token(iss=iss))
        if good:
            assert accept(parsed, policy, OWN.clock())[0].issuer == iss
            continue
        with pytest.raises(InvalidToken) as refused:
            accept(parsed, policy, OWN.clock())
        assert refused.value.reason == reasons.ISSUER
