"""The claim checks have a short way for claims of the commonest form, and it takes no others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware.testing import TokenFactory
from jwt_middleware.token import claims as module
from jwt_middleware.token.claims import CLAIM_CHECKS, MAX_TIME, Policy, check_claims, missing_claims
from jwt_middleware.token.profiles import RFC_9068, Profile
from jwt_middleware.values.errors import InvalidToken
from jwt_middleware.values.tokens import FrozenDict

NOW = 1_800_000_000


def policy(profile: Profile) -> Policy:
    return Policy(issuer="i", audience=frozenset(("a",)), profile=profile, leeway=30)


POLICY = policy(RFC_9068)
POLICIES = {
    "RFC 9068": POLICY,
    "another audience": policy(Profile(audience_claim="use", claims={"jti": "a"})),
    "several subjects": policy(
        RFC_9068.replace(subject_claims=("sub", "use"), client_claims=("azp", "client_id"))
    ),
    "another subject": policy(RFC_9068.replace(subject_claims=("use",), client_claims=("azp",))),
}

GOOD: dict[str, Any] = {
    "iss": "i",
    "aud": "a",
    "sub": "alice",
    "client_id": "c",
    "jti": "j",
    "sid": "g",
    "scope": "read write",
    "use": "a",
    "azp": "c",
    "iat": NOW - 100,
    "exp": NOW + 60,
}
# Whatever a claim may be said to be, in good faith or bad.
VALUES: tuple[Any, ...] = (
    *("", "i", "I", "i/", "a", "b", "a b", "alice", "a\x00", "a\n", "é", "\u2028", "x" * 300),
    *(" read", "read ", 'a"b', "a  b", "a\\b"),
    *(None, True, False, (), ("a",), ("b",), ("b", "a"), ("a", 1), FrozenDict()),
    *(0, 1, -1, NOW + 0.5, MAX_TIME, MAX_TIME - 1, str(NOW)),
    *(NOW + seconds for seconds in (-91, -90, -31, -30, -29, 0, 29, 30, 31, 90, 91)),
)
ANY = st.sampled_from(VALUES)
CHANGED = st.dictionaries(st.sampled_from([*GOOD, "nbf", "cnf"]), ANY, max_size=2)


def outcome(claims: dict[str, Any], *, by_table: bool, policy: Policy = POLICY) -> str:
    try:
        if by_table:
            for missing in missing_claims(FrozenDict(claims), policy):
                return f"claim_missing: {missing}"
            for one in CLAIM_CHECKS.values():
                one(FrozenDict(claims), policy, NOW)
        else:
            check_claims(FrozenDict(claims), policy, NOW)
    except InvalidToken as error:
        return str(error)
    return "good"


def both(claims: dict[str, Any], policy: Policy) -> tuple[str, str]:
    short = outcome(claims, by_table=False, policy=policy)
    return short, outcome(claims, by_table=True, policy=policy)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("name", [*GOOD, "nbf", "cnf"])
def test_the_short_way_takes_of_each_claim_what_the_checks_take(name: str, policy: Policy) -> None:
    for value in VALUES:
        short, long = both({**GOOD, name: value}, policy)
        assert short == long, value


@given(CHANGED, st.sets(st.sampled_from([*GOOD])), st.sampled_from([*POLICIES.values()]))
def test_the_short_way_takes_of_any_claims_what_the_checks_take(
    changed: dict[str, Any], left_out: set[str], policy: Policy
) -> None:
    claims = {name: value for name, value in GOOD.items() if name not in left_out} | changed
    if "iss" in claims:  # that it is there is checked before an issuer is chosen
        short, long = both(claims, policy)
        assert short == long


def test_the_short_way_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = FrozenDict(TokenFactory(issuer="i", audience="a", clock=lambda: NOW).claims())
    monkeypatch.setattr(module, "CLAIM_CHECKS", {"": lambda *_: pytest.fail("the long way")})
    check_claims(claims, POLICY, NOW)
    check_claims(FrozenDict({**claims, "scope": "read write", "sid": "g"}), POLICY, NOW)
