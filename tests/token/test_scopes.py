"""From the claims of a token to its scopes: by the profile alone, exactly, and never an error."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware import AccessToken, ConfigurationError, Refresh, Route, TrustedIssuer, profiles
from jwt_middleware.jose.strict_json import parse_object, to_json
from jwt_middleware.testing import ABSENT, TokenFactory
from jwt_middleware.token.profiles import FOREIGN, RFC_9068, Profile
from jwt_middleware.token.scopes import ScopeReader, steps_of, with_included
from jwt_middleware.values.tokens import FrozenDict
from tests.rules import accepts, refuses
from tests.world import World, standing

FACTORY = TokenFactory(clock=standing)


def frozen(claims: dict[str, Any]) -> FrozenDict:
    return parse_object(to_json(claims).encode())


def read(
    claims: dict[str, Any], limit: frozenset[str] | None = None, **profile: Any
) -> frozenset[str]:
    reader = ScopeReader(Profile(**profile), limit)
    found = reader.read(frozen(claims))
    assert reader.read(frozen(claims)) == found, "the second time it is remembered"
    return found


# --- RS-60: where they stand


@accepts("RS-60")
@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("scp", {"scp": "read write"}),
        ("scp", {"scp": ["read", "write"]}),
        ("permissions", {"permissions": ["write", "read", "read"]}),
        ("cognito:groups", {"cognito:groups": ["read", "write"]}),
        ("realm_access.roles", {"realm_access": {"roles": ["read", "write"]}}),
        ("https://shop.example/roles", {"https://shop.example/roles": ["read", "write"]}),
        (("resource_access", "my.client", "roles"), {
            "resource_access": {"my.client": {"roles": ["read", "write"]}}}),
        (("a.b",), {"a.b": "read write"}),
    ],
)  # fmt: skip
def test_scopes_stand_where_the_profile_says(path: Any, claims: dict[str, Any]) -> None:
    assert read(claims, scope_claims=(path,)) == {"read", "write"}
    assert read(claims) == frozenset()


@accepts("RS-60")
@pytest.mark.parametrize(
    ("claims", "found"),
    [
        ({"scp": ["read"], "roles": ["admin"]}, {"read"}),
        ({"roles": ["admin"]}, {"admin"}),
        ({"scp": [], "roles": ["admin"]}, set()),
        ({"scp": "", "roles": ["admin"]}, set()),
        ({"scp": None, "roles": ["admin"]}, set()),
        ({"scp": {"a": 1}, "roles": ["admin"]}, set()),
        ({"scope": "admin"}, set()),
        ({}, set()),
    ],
)
def test_the_first_that_is_there_counts_even_if_it_has_none(
    claims: dict[str, Any], found: set[str]
) -> None:
    assert read(claims, scope_claims=("scp", "roles")) == found


@accepts("RS-60")
def test_all_count_only_where_that_is_said() -> None:
    claims = {"scp": "read list", "roles": ["admin"], "realm": {"roles": ["audit", 5]}}
    paths = ("scp", "roles", "realm.roles", "absent")
    assert read(claims, scope_claims=paths) == {"read", "list"}
    assert read(claims, scope_claims=paths, scope_union=True) == {"read", "list", "admin", "audit"}
    assert read({"scp": None}, scope_claims=paths, scope_union=True) == frozenset()
    assert read({}, scope_claims=paths, scope_union=True) == frozenset()


MALFORMED: list[Any] = [
    *(5, 0, 1.5, True, False, None, {}, {"read": True}, {"roles": ["read"]}),
    *([["read"]], [{"read": "read"}], [5, None, True], ["read write"], ["re\u00e4d"], [""], []),
    *("read ", " read", "read  write", "read\twrite", "read\n", 'read"', "read\\", "rea\u0064\0"),
]


@refuses("RS-60")
@pytest.mark.parametrize("value", MALFORMED, ids=repr)
@pytest.mark.parametrize("name", ["scope", "scp"])
def test_a_malformed_claim_gives_no_scope_and_no_error(name: str, value: Any) -> None:
    routes = (Route("/read", scope="read"), Route("/open", optional=True))
    profile = FOREIGN.replace(scope_claims=(name,))
    world = World(FACTORY.settings(profile=profile, routes=routes))
    token = FACTORY.token(**{name: value})
    for _ in range(2):
        answer = world.get("/read", token)
        assert (answer.status, answer.reason, answer.reached) == (403, "scope_insufficient", False)
        for path in ("/", "/open"):
            found = world.get(path, token).token
            assert found is not None
            assert (found.scopes, found.scope) == (frozenset(), "")


@accepts("RS-60")
@refuses("RS-60")
def test_an_element_is_taken_whole_and_one_that_is_no_scope_is_dropped() -> None:
    value = ["read", "write all", "", 5, None, ["admin"], {"a": "admin"}, 'ad"min', "READ"]
    assert read({"scp": value}, scope_claims=("scp",)) == {"read", "READ"}


@pytest.mark.parametrize(
    "claims", [{"a": 5}, {"a": ["b"]}, {"a": "b"}, {"a": {"c": "x"}}, {"a.b": "x"}, {"a": None}]
)
def test_a_path_that_leads_nowhere_is_absent(claims: dict[str, Any]) -> None:
    assert read(claims, scope_claims=("a.b",)) == frozenset()
    assert read({**claims, "scope": "read"}, scope_claims=("a.b", "scope")) == {"read"}


def test_the_steps_of_a_path() -> None:
    assert steps_of("realm_access.roles") == ("realm_access", "roles")
    assert steps_of("https://shop.example/roles") == ("https://shop.example/roles",)
    assert steps_of("urn:a.b") == ("urn:a.b",)
    assert steps_of(("a.b", "c")) == ("a.b", "c")


# --- a prefix, a map, a limit


def test_a_prefix_is_cut_off_and_what_has_none_gives_nothing() -> None:
    value = ["orders!t1.read", "orders!t1.", "orders!t12.write", "openid", "x.orders!t1.admin"]
    assert read({"scope": value}, scope_prefix="orders!t1.") == {"read"}


def test_a_map_names_all_that_counts() -> None:
    names = {"orders-admin": "orders:write orders:read", "Domain Users": "list", "x": "orders:read"}
    claims: dict[str, Any] = {"roles": ["orders-admin", "Domain Users", "admin", "Orders-Admin", 5]}
    found = read(claims, scope_claims=("roles",), scope_map=names)
    assert found == {"orders:write", "orders:read", "list"}
    assert read({"roles": ["a/x", "x"]}, scope_claims=("roles",), scope_prefix="a/",
                scope_map=names) == {"orders:read"}  # fmt: skip


def test_an_issuer_gives_what_it_may_and_what_that_includes() -> None:
    implies = {"admin": "write", "write": "read"}
    given = {"scope": "write admin other"}
    assert read(given, frozenset({"write"}), scope_implies=implies) == {"write", "read"}
    assert read(given, frozenset({"read"}), scope_implies=implies) == frozenset()
    assert read(given, frozenset(), scope_implies=implies) == frozenset()


# --- RS-61: what includes what

HIERARCHY = {"admin": "write audit", "write": "read", "orders:*": "orders:read"}


@accepts("RS-61")
@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ("admin", {"admin", "write", "audit", "read"}),
        ("write", {"write", "read"}),
        ("read", {"read"}),
        ("audit other", {"audit", "other"}),
        ("orders:*", {"orders:*", "orders:read"}),
    ],
)
def test_a_scope_includes_others_through_any_number_of_steps(scope: str, found: set[str]) -> None:
    assert read({"scope": scope}, scope_implies=HIERARCHY) == found


@refuses("RS-61")
@pytest.mark.parametrize(
    ("scope", "path"),
    [
        *(("read", "/write"), ("write", "/admin"), ("audit", "/read"), ("ADMIN", "/read")),
        *(("admin:x", "/read"), ("writer", "/read"), ("orders:*", "/orders/write"), ("*", "/read")),
    ],
)
def test_nothing_else_is_included(scope: str, path: str) -> None:
    routes = tuple(Route(f"/{one.replace(':', '/')}", scope=one)
                   for one in ("read", "write", "admin", "orders:write"))  # fmt: skip
    profile = RFC_9068.replace(scope_implies=HIERARCHY)
    world = World(FACTORY.settings(profile=profile, routes=routes))
    assert world.get(path, FACTORY.token(scope=scope)).reason == "scope_insufficient"
    assert world.get(path, FACTORY.token(scope=path[1:].replace("/", ":"))).reached


@refuses("RS-61")
@pytest.mark.parametrize(
    "implies", [{"a": "a"}, {"a": "b", "b": "a"}, {"x": "y", "y": "x z", "z": "w"}]
)
def test_a_circle_is_refused_at_the_start(implies: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="goes in a circle") as caught:
        FACTORY.settings(profile=RFC_9068.replace(scope_implies=implies))
    assert caught.value.field == "profile"


words = st.sampled_from(["read", "write", "admin", "list", "audit"])


@given(st.dictionaries(words, st.lists(words, min_size=1, max_size=2).map(" ".join)), words)
def test_what_is_included_is_what_can_be_reached(implies: dict[str, str], start: str) -> None:
    reached: set[str] = set()
    stack = [start]
    while stack:
        one = stack.pop()
        if one not in reached:
            reached.add(one)
            stack += implies.get(one, "").split()
    try:
        included = with_included(implies)
    except ValueError:
        return
    assert included.get(start, frozenset({start})) == reached


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(' a"\\é:.', max_size=5) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(json_values, st.booleans())
def test_whatever_a_claim_is_its_scopes_are_scope_tokens_of_it(value: Any, union: bool) -> None:
    found = read({"scope": value}, scope_claims=("scope", "scope.read"), scope_union=union)
    assert all(re.fullmatch(r"[!#-\[\]-~]+", one) for one in found)
    assert all(one in repr(value) for one in found)
    if not isinstance(value, str | list) and not union:
        assert found == frozenset()


# --- the token


def test_scopes_are_effective_and_has_scope_is_exact() -> None:
    world = World(FACTORY.settings(profile=RFC_9068.replace(scope_implies={"write": "read"})))
    token = world.get(token=FACTORY.token(scope="write list")).token
    assert token is not None
    assert token.scopes == {"write", "read", "list"}
    assert token.scope == "list read write"
    assert token.claims["scope"] == "write list"
    assert token.has_scope("read")
    assert token.has_scope("read write")
    for wrong in ("", " ", "rea", "READ", "read admin", "read ", "read  write"):
        assert not token.has_scope(wrong)
    bare = world.get(token=FACTORY.token()).token
    assert bare is not None
    assert bare.scopes == frozenset() == AccessToken(FrozenDict()).scopes


def test_thousands_of_tokens_share_one_set() -> None:
    reader = ScopeReader(FOREIGN)
    one, other = (reader.read(frozen({"scope": "read write"})) for _ in range(2))
    assert one is other


def test_scopes_are_found_once_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = ScopeReader.read

    def counted(self: ScopeReader, claims: FrozenDict) -> frozenset[str]:
        asked.append(self)
        return real(self, claims)

    monkeypatch.setattr(ScopeReader, "read", counted)
    world = World(FACTORY.settings(routes=(Route("/read", scope="read"),)))
    token = FACTORY.token(scope="read")
    for _ in range(5):
        assert world.get("/read", token).reached
    assert len(asked) == 2  # one per door


# --- names of the subject and the client


def test_the_first_subject_that_is_there_is_the_subject() -> None:
    profile = FOREIGN.replace(subject_claims=("sub", "common_name"))
    world = World(FACTORY.settings(profile=profile))
    empty: dict[str, Any] = {"sub": ""}
    absent: dict[str, Any] = {"sub": ABSENT}
    for changes in (absent, empty):
        token = world.get(token=FACTORY.token(common_name="robot", **changes)).token
        assert token is not None
        assert (token.subject, token.principal) == ("robot", (FACTORY.issuer, "robot"))
    token = world.get(token=FACTORY.token(common_name="robot")).token
    assert token is not None
    assert token.subject == "alice"


@refuses("RS-36")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sub": ABSENT}, "claim_missing"),
        ({"sub": "", "common_name": ""}, "claim_missing"),
        ({"sub": None, "common_name": "robot"}, "claim_malformed"),
        ({"sub": 5, "common_name": "robot"}, "claim_malformed"),
        ({"sub": ABSENT, "common_name": 5}, "claim_malformed"),
        ({"sub": ABSENT, "common_name": ["a"]}, "claim_malformed"),
        ({"sub": "alice", "common_name": "a\nb"}, "claim_malformed"),
    ],
)
def test_a_subject_by_another_name_is_as_clean(changes: dict[str, Any], reason: str) -> None:
    profile = FOREIGN.replace(subject_claims=("sub", "common_name"))
    world = World(FACTORY.settings(profile=profile))
    assert world.get(token=FACTORY.token(**changes)).reason == reason


@refuses("RS-37")
def test_a_client_by_another_name_is_no_user() -> None:
    profile = RFC_9068.replace(client_claims=("azp", "appid"))
    world = World(FACTORY.settings(profile=profile))
    for name in ("azp", "appid"):
        by_itself: dict[str, Any] = {name: "alice"}
        for_a_user: dict[str, Any] = {name: "app"}
        assert world.get(token=FACTORY.token(**by_itself)).user is None
        assert world.get(token=FACTORY.token(**for_a_user)).user == "alice"
    assert world.get(token=FACTORY.token()).reason == "claim_missing"


# --- profiles are checked at the start

TABLE: dict[str, Any] = {
    "scope_map": {"a": "b"},
    "scope_claims": ["a", ["b", "c.d"]],
    "required": ["iss", "exp", "aud", "sub"],
}
WRONG: list[tuple[str, Any, str]] = [
    ("name", "", "must be text"),
    ("audience_claim", "", "the name of a claim"),
    ("audience_claim", None, "the name of a claim"),
    ("subject_claims", (), "a tuple of names"),
    ("subject_claims", "sub", "a tuple of names"),
    ("client_claims", ("azp", 5), "a tuple of names"),
    ("scope_claims", "scope", "names or paths"),
    ("scope_claims", ("a..b",), "names or paths"),
    ("scope_claims", ((),), "names or paths"),
    ("scope_claims", (("a", ""),), "names or paths"),
    ("scope_claims", (5,), "names or paths"),
    ("scope_is_text", "no", "True or False"),
    ("scope_is_text", None, "True or False"),
    ("scope_union", 1, "True or False"),
    ("id_tokens", "yes", "True or False"),
    ("scope_prefix", None, "must be text"),
    ("scope_map", ("a", "b"), "a table of their values"),
    ("scope_map", {"a": "b  c"}, "a table of their values"),
    ("scope_map", {"a": ["b"]}, "a table of their values"),
    ("scope_map", {"a": ""}, "a table of their values"),
    ("scope_map", {5: "a"}, "a table of their values"),
    ("scope_implies", {"a b": "c"}, "what each includes"),
    ("scope_implies", {"a": 'b"'}, "what each includes"),
    ("claims", {"a": None}, "that each must have"),
    ("claims", {"a": ["b"]}, "that each must have"),
    ("claims", {"": "b"}, "that each must have"),
]


@pytest.mark.parametrize(("field", "value", "words"), WRONG)
def test_a_wrong_profile_is_refused_with_the_way_out(field: str, value: Any, words: str) -> None:
    wrong = FOREIGN.replace(**{field: value})
    for make in (
        lambda: FACTORY.settings(profile=wrong),
        lambda: TrustedIssuer(issuer="i", audience="a", keys=FACTORY.keys, profile=wrong),
    ):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert caught.value.field == "profile"
        assert f"`{field}` of" in caught.value.problem
        assert words in caught.value.problem
        assert caught.value.remedy
        assert "{{" not in caught.value.remedy


@refuses("RS-62")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"audience_claim": "client_id"}, "nothing tells access tokens from"),
        ({"audience_claim": "client_id", "claims": {"iss": "a"}}, "nothing tells access tokens"),
        ({"audience_claim": "azp", "claims": {"azp": "a", "sub": "b"}}, "nothing tells access"),
        ({"audience_claim": "azp", "claims": {"aud": "a", "jti": "b"}}, "nothing tells access"),
        ({"audience_claim": "iss", "claims": {"use": "a"}}, "doesn't say whom a token is for"),
        ({"audience_claim": "scope", "claims": {"use": "a"}}, "doesn't say whom a token is for"),
    ],
)
def test_no_claim_stands_for_the_audience_alone(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        FACTORY.settings(profile=Profile(**changes))


@accepts("RS-62")
def test_another_claim_stands_for_the_audience_beside_a_claim_of_access_tokens() -> None:
    profile = Profile(audience_claim="client_id", claims={"token_use": "access"})
    world = World(FACTORY.settings(profile=profile, audience="app"))
    good: dict[str, Any] = {"aud": ABSENT, "token_use": "access"}
    assert world.get(token=FACTORY.token(client_id="app", **good)).reached
    for client in ("other", "APP", "app ", ["other"], []):
        answer = world.get(token=FACTORY.token(client_id=client, **good))
        assert answer.reason == "audience_not_ours"
    assert world.get(token=FACTORY.token(client_id=5, **good)).reason == "claim_malformed"
    assert world.get(token=FACTORY.token(client_id=ABSENT, **good)).reason == "claim_missing"


@refuses("RS-63")
@pytest.mark.parametrize(
    ("wanted", "given"),
    [("1", 1), (1, "1"), (1, True), (True, 1), (1, 1.0), (False, 0), ("a", "A"), ("a", ["a"])],
)
def test_a_value_is_compared_with_its_type(wanted: Any, given: Any) -> None:
    world = World(FACTORY.settings(profile=RFC_9068.replace(claims={"use": wanted})))
    assert world.get(token=FACTORY.token(use=wanted)).reached
    answer = world.get(token=FACTORY.token(use=given))
    assert (answer.status, answer.reason) == (401, "claim_not_allowed")


@refuses("RS-35")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"types": frozenset(("jwt", "at+jwt"))}, "types"),
        ({"required": FOREIGN.required}, "required"),
        ({"audience_claim": "client_id", "claims": {"sid": "x"}}, "audience_claim"),
        ({"subject_claims": ("client_id",)}, "subject_claims"),
        ({"client_claims": ("azp",)}, "client_claims"),
        ({"scope_claims": ("roles",)}, "scope_claims"),
        ({"scope_claims": ("scope", "roles")}, "scope_claims"),
    ],
)
def test_what_we_issue_follows_rfc_9068_whatever_its_profile_is_called(
    changes: dict[str, Any], field: str
) -> None:
    group = Refresh(store="memory://")
    with pytest.raises(ConfigurationError, match=f"what we issue follows RFC 9068, and `{field}`"):
        FACTORY.settings(refresh=group, profile=RFC_9068.replace(**changes))


@accepts("RS-35")
def test_an_issuer_may_say_what_its_scopes_mean() -> None:
    profile = RFC_9068.replace(
        name="OURS", scope_implies={"write": "read"}, required=RFC_9068.required | {"sid"}
    )
    assert FACTORY.settings(refresh=Refresh(store="memory://"), profile=profile).refresh


def test_a_profile_is_read_only_whatever_it_was_made_of() -> None:
    made = Profile(**TABLE, claims={"use": "a"})
    assert made.scope_claims == ("a", ("b", "c.d"))
    assert made.required == FOREIGN.required
    with pytest.raises(TypeError):
        made.scope_map["c"] = "d"  # type: ignore[index]
    assert profiles.KEYCLOAK.replace() == profiles.KEYCLOAK
