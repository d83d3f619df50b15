"""Each issuer of docs/issuers.md: in with its row's settings, and nothing else of it gets in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route as Endpoint
from starlette.testclient import TestClient

from jwt_middleware import AccessToken, KeySet, Route, Settings, TrustedIssuer, profiles
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.jose.jwk import generate
from jwt_middleware.testing import ABSENT, TokenFactory
from jwt_middleware.testing.attack import Forge
from jwt_middleware.testing.attacks import catalogue
from jwt_middleware.token.claims import Policy
from jwt_middleware.token.profiles import PROFILES
from tests.core.issuers import Served
from tests.core.issuers.page import profile_of, rows, settings_of
from tests.core.issuers.served import ISSUERS
from tests.issuers.running import OPENINGS
from tests.rules import accepts, refuses
from tests.world import NOW, World, standing

ALL = [pytest.param(one, id=name) for name, one in ISSUERS.items()]
WITH_ID_TOKENS = [pytest.param(one, id=name) for name, one in ISSUERS.items() if one.id_claims]
SCOPED = [pytest.param(one, id=name) for name, one in ISSUERS.items() if one.scope]


@contextmanager
def opened(settings: Settings) -> Generator[World]:
    world = World(settings)
    try:
        yield world
    finally:
        world.settings.close()


def let_in(settings: Settings, token: str, path: str = "/") -> AccessToken:
    with opened(settings) as world:
        answer = world.get(path, token)
    assert answer.reached, answer.reason
    assert answer.token is not None
    return answer.token


def reason(settings: Settings, token: str, path: str = "/") -> str | None:
    with opened(settings) as world:
        answer = world.get(path, token)
    assert not answer.reached
    return answer.reason


def test_the_page_has_a_row_for_each_and_each_preset_is_in_a_row() -> None:
    assert {name: cells[-1] for name, cells in rows().items()} == {
        name: one.seen for name, one in ISSUERS.items()
    }
    assert {profile_of(name).name for name in rows()} == PROFILES.keys()


def test_the_rows_that_say_run_are_those_that_the_long_tests_run() -> None:
    assert {name for name, cells in rows().items() if cells[-1].startswith("run: ")} == {*OPENINGS}


@pytest.mark.parametrize("one", ALL)
def test_an_access_token_gets_in_with_the_settings_of_its_row(one: Served) -> None:
    settings = settings_of(one)
    assert settings.issuer == one.issuer
    assert settings.audience == (one.audience,)
    token = let_in(settings, one.token())
    assert token.subject == one.claims["sub"]
    # Without the presets: the reasons for having them.
    if one.name in ("Cognito", "Keycloak", "Okta", "Spring Authorization Server"):
        assert reason(settings.replace(profile=profiles.RFC_9068), one.token()) is not None


@accepts("RS-60")
@pytest.mark.parametrize("one", SCOPED)
def test_its_scopes_open_a_route_and_no_other(one: Served) -> None:
    settings = settings_of(one)
    token = let_in(settings, one.token(), "/scoped")
    assert token.has_scope(one.scope)
    assert reason(settings, one.token(), "/admin") == "scope_insufficient"


@refuses("RS-60")
@pytest.mark.parametrize("one", ALL)
def test_a_token_without_scopes_opens_no_route_that_asks_for_one(one: Served) -> None:
    # All that the profiles name; `sub` can't be left out.
    names = ("scope", "scp", "roles", "permissions")
    without: dict[str, Any] = dict.fromkeys(names, ABSENT)
    token = one.token(**without)
    if "sub" in profile_of(one.name).scope_claims:
        token = one.token(sub="system:serviceaccount:shop:other")
    assert let_in(settings_of(one), token).scopes == frozenset()
    assert reason(settings_of(one), token, "/scoped") == "scope_insufficient"


@refuses("RS-25", "RS-62")
@pytest.mark.parametrize("one", WITH_ID_TOKENS)
def test_its_id_token_is_refused_whatever_its_audience(one: Served) -> None:
    settings = settings_of(one)
    profile = settings.profile
    worse: tuple[dict[str, Any], ...] = ({"aud": one.audience}, {"aud": [one.audience]})
    for changes in ({}, *(() if one.by_audience else worse)):
        if profile.audience_claim == "aud" and not profile.claims:
            expected = {"claim_missing", "type_not_allowed", "audience_not_ours"}
        else:
            expected = {"claim_missing", "claim_not_allowed", "audience_not_ours"}
        assert reason(settings, one.id_token(**changes)) in expected


@refuses("RS-34")
@pytest.mark.parametrize("one", ALL)
def test_a_token_for_another_audience_is_refused(one: Served) -> None:
    settings = settings_of(one)

    def token(audience: object) -> str:
        changed: dict[str, Any] = {settings.profile.audience_claim: audience}
        return one.token(**changed)

    for other in ("https://other.example.com", f"{one.audience}/", one.audience.swapcase()):
        if other != one.audience:
            assert reason(settings, token(other)) == "audience_not_ours"
    assert reason(settings, token(ABSENT)) == "claim_missing"
    assert reason(settings.replace(audience="https://other.example.com"), one.token()) == (
        "audience_not_ours"
    )


@pytest.mark.parametrize("one", ALL)
def test_it_is_as_good_as_a_trusted_issuer(one: Served) -> None:
    row, own = settings_of(one), TokenFactory(clock=standing)
    trusted = TrustedIssuer(
        issuer=row.issuer, audience=row.audience, profile=row.profile, keys=row.keys,
        scopes=("admin",),
    )  # fmt: skip
    settings = own.settings(trusted_issuers=(trusted,), routes=row.routes)
    token = let_in(settings, one.token())
    assert (token.own, token.scopes) == (False, frozenset())
    assert reason(settings, one.token(), "/scoped") == "scope_insufficient"


@refuses("RS-28")
@pytest.mark.parametrize("one", ALL)
def test_a_stranger_with_its_key_s_name_is_refused(one: Served) -> None:
    stranger = TokenFactory(clock=standing)
    stranger.keys = KeySet([generate(one.key.algorithm.name, kid=one.key.kid)])
    claims = {**one.claims, "iss": one.issuer, "iat": NOW, "exp": NOW + 60, "nbf": NOW}
    claims["auth_time"] = NOW
    token = stranger.token(header={"typ": ABSENT, "kid": ABSENT, **one.header}, **claims)
    assert reason(settings_of(one), token) == "signature_invalid"


# --- the hostile catalogue under every preset


def permitted(policy: Policy) -> set[str]:
    """Return the "attacks" that aren't any under a profile: it says that it takes such tokens."""
    found = {
        f"{name.replace('_', '-')}-missing"
        for name in ("iat", "jti", "client_id", "aud")
        if name not in policy.required
    }
    # They get in with the scopes that can be read: none.
    malformed = ("scope-array", "scope-number", "scope-null", "scope-with-tab", "scope-with-quote")
    found |= set() if policy.profile.scope_is_text else {*malformed}
    for typ, names in (("jwt", ("typ-jwt", "id-token")), ("", ("typ-missing",))):
        found |= {*names} if typ in policy.profile.types else set()
    return found


@refuses("RS-05", "RS-10", "RS-14", "RS-16", "RS-21", "RS-30", "RS-33", "RS-34")
@pytest.mark.parametrize("one", ALL)
def test_no_attack_gets_in_under_any_preset(one: Served) -> None:
    """Each attack is made of this issuer's own token, by its own key."""
    profile = profile_of(one.name)
    keys = KeySet([one.key])
    settings = Settings(
        issuer=one.issuer, audience=one.audience, keys=keys, profile=profile, clock=standing
    )
    now = int(NOW)
    times = {"iat": now, "exp": now + 300, "nbf": now, "auth_time": now}
    claims = {name: times.get(name, value) for name, value in one.claims.items()}
    # As the attacks expect, which replace these texts in the token.
    claims |= {"iss": one.issuer, "aud": one.audience, "sub": "alice"}
    header = {"kid": one.key.kid, **one.header}
    with opened(settings) as world:
        assert world.get(token=Forge(one.key, header, claims).token()).reached
        answers = {
            attack: world.get(headers=attack.headers)
            for attack in catalogue(one.key, header, claims)
        }
    policy = Policy(issuer="", audience=frozenset(), profile=profile, leeway=0)
    assert {str(a) for a, answer in answers.items() if answer.reached} == {
        name for name in permitted(policy) if name in map(str, answers)
    }
    wrong = {
        str(a): answer.status
        for a, answer in answers.items()
        if not answer.reached and answer.status not in a.statuses
    }
    assert wrong == {}


# --- what single issuers have besides


def test_roles_of_keycloak_through_a_map_and_what_they_include() -> None:
    one = ISSUERS["Keycloak"]
    roles = profiles.KEYCLOAK.replace(
        scope_claims=("realm_access.roles",),
        scope_map={"orders-admin": "orders:admin"},
        scope_implies={"orders:admin": "orders:write", "orders:write": "orders:read"},
    )
    settings = settings_of(one, profile=roles)
    token = let_in(settings, one.token(), "/scoped")
    assert token.scopes == {"orders:admin", "orders:write", "orders:read"}
    assert token.scope == "orders:admin orders:read orders:write"


def test_starlette_s_requires_reads_the_same_scopes() -> None:
    one = ISSUERS["Keycloak"]
    roles = profiles.KEYCLOAK.replace(
        scope_claims=("realm_access.roles",), scope_map={"orders-admin": "orders:admin"}
    )

    @requires("orders:admin")
    async def orders(request: Request) -> PlainTextResponse:
        return PlainTextResponse(" ".join(request.auth.scopes))

    routes = [Endpoint("/orders", orders)]
    application = Starlette(routes=routes)
    application.add_middleware(JWTMiddleware, settings=settings_of(one, profile=roles))
    client = TestClient(application)
    bearer = {"Authorization": f"Bearer {one.token()}"}
    assert client.get("/orders", headers=bearer).text == "orders:admin authenticated"
    bearer = {"Authorization": f"Bearer {one.token(realm_access={'roles': []})}"}
    assert client.get("/orders", headers=bearer).status_code == 403


def test_an_application_s_own_rights_in_entra_are_its_roles() -> None:
    one = ISSUERS["Entra"]
    routes = (Route("/scoped", scope="Orders.Admin"),)
    settings = settings_of(one, routes=routes)
    assert let_in(settings, one.token(scp=ABSENT), "/scoped").scopes == {"Orders.Admin"}
    assert reason(settings, one.token(), "/scoped") == "scope_insufficient"
    assert reason(settings, one.token(scp=""), "/scoped") == "scope_insufficient"


def test_permissions_of_auth0_are_chosen() -> None:
    one = ISSUERS["Auth0"]
    chosen = profiles.AUTH0.replace(scope_claims=("permissions",))
    assert let_in(settings_of(one), one.token()).scopes == {"openid", "profile", "orders:read"}
    found = let_in(settings_of(one, profile=chosen), one.token()).scopes
    assert found == {"orders:read", "orders:write"}


def test_the_groups_and_the_prefix_of_cognito() -> None:
    one = ISSUERS["Cognito"]
    prefix = profiles.COGNITO.replace(scope_prefix="https://orders.example.com/")
    assert let_in(settings_of(one, profile=prefix), one.token()).scopes == {"read"}
    groups = profiles.COGNITO.replace(scope_claims=("cognito:groups",))
    assert let_in(settings_of(one, profile=groups), one.token()).scopes == {"admins"}


@refuses("RS-62")
def test_an_aud_beside_the_client_of_cognito_must_be_ours_too() -> None:
    one = ISSUERS["Cognito"]
    bound = one.token(aud="https://orders.example.com")
    assert reason(settings_of(one), bound) == "audience_not_ours"
    both = settings_of(one, audience=(one.audience, "https://orders.example.com"))
    assert let_in(both, bound).client_id == one.audience


@accepts("RS-62", "RS-63")
@refuses("RS-63")
def test_the_use_of_a_token_of_cognito_is_exact() -> None:
    one = ISSUERS["Cognito"]
    settings = settings_of(one)
    let_in(settings, one.token(token_use="access"))
    for use in ("ACCESS", "access ", ["access"], {"access": True}, True, 1, None, "id"):
        assert reason(settings, one.token(token_use=use)) == "claim_not_allowed"
    assert reason(settings, one.token(token_use=ABSENT)) == "claim_missing"


def test_a_client_of_duende_without_a_subject() -> None:
    one = ISSUERS["Duende IdentityServer"]
    client = one.token(sub=ABSENT)
    assert reason(settings_of(one), client) == "claim_missing"
    profile = profiles.RFC_9068.replace(subject_claims=("sub", "client_id"), scope_is_text=False)
    token = let_in(settings_of(one, profile=profile), client)
    assert (token.subject, token.is_client) == ("shop-web", True)
    with opened(settings_of(one, profile=profile)) as world:
        assert world.get(token=client).user is None
        assert world.get(token=one.token()).user == one.claims["sub"]


def test_a_client_of_okta_is_no_user() -> None:
    one = ISSUERS["Okta"]
    with opened(settings_of(one)) as world:
        assert world.get(token=one.token()).user == "alice@example.com"
        assert world.get(token=one.token(sub=one.claims["cid"])).user is None


def test_the_other_tokens_of_keycloak_are_refused() -> None:
    one = ISSUERS["Keycloak"]
    for typ in ("Refresh", "Offline", "ID", "Logout", "bearer", "DPoP"):
        assert reason(settings_of(one), one.token(typ=typ)) == "claim_not_allowed"


@pytest.mark.parametrize("name", ["Google", "Firebase"])
def test_an_id_token_of_another_client_or_project_is_refused(name: str) -> None:
    one = ISSUERS[name]
    assert settings_of(one).profile.id_tokens
    other: dict[str, Any] = {"aud": "another-project"}
    assert reason(settings_of(one), one.token(**other)) == "audience_not_ours"
    assert let_in(settings_of(one), one.token(scope="admin")).scopes == frozenset()
