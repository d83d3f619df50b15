"""The cache of verified tokens: every hit answers as an uncached verifier would, always."""

from __future__ import annotations

import string
from collections.abc import Callable
from itertools import count
from json import dumps
from threading import Barrier, Thread
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from jwt_middleware import ConfigurationError, Issuer, KeySet, Refresh, Route, Settings, TokenCache
from jwt_middleware.core import known_tokens as cache
from jwt_middleware.core import trusted_issuers
from jwt_middleware.core.known_tokens import MAX_CACHED, MAX_ROUNDS, Cache, Entry, slimmed
from jwt_middleware.jose import jws
from jwt_middleware.jose.strict_json import parse_object
from jwt_middleware.keys.freshness import Freshness, KeyLimits
from jwt_middleware.keys.key_sources import FoundKeys
from jwt_middleware.keys.live_keys import LiveKeys
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.tokens import AccessToken, FrozenDict, User
from jwt_middleware.wsgi import JWTMiddleware
from tests.issuing import Clock
from tests.world import Answer, World, encoded

NOW = 1_800_000_000


class Shown:
    """A source of keys that shows what it is given, at once and in this thread."""

    algorithm = None

    def __init__(self, keys: KeySet) -> None:
        self.keys = keys
        self.looks = count()

    def limits(self) -> KeyLimits:
        return KeyLimits(stale=3600, cool_down=1, lease=5)

    def fetch(self, issuer: str, before: FoundKeys | None, now: float) -> FoundKeys:
        return FoundKeys(str(next(self.looks)).encode(), 60)

    def read(self, octets: bytes) -> Any:
        return self.keys.keys, ()


def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count signatures that are checked from here on."""
    found: list[str] = []
    real = jws.check_signature

    def counted(parsed: Any, key: Any) -> None:
        found.append(key.kid)
        real(parsed, key)

    monkeypatch.setattr(jws, "check_signature", counted)
    return found


@pytest.fixture
def factory(clock: Clock) -> TokenFactory:
    return TokenFactory(clock=clock)


# --- what is kept


@pytest.mark.parametrize("hashed", [False, True])
def test_a_token_is_verified_once_per_door(
    factory: TokenFactory, monkeypatch: pytest.MonkeyPatch, hashed: bool
) -> None:
    world = World(factory.settings(token_cache=TokenCache(hashed=hashed)))
    checked = checks(monkeypatch)
    token = factory.token()
    first = world.get("/", token)
    # Each door has the credentials in a form of its own; their digest is one.
    assert len(checked) == (1 if hashed else 2)
    for _ in range(3):
        again = world.get("/", token)
        assert again == first
        assert again.token is not None
    assert len(checked) == (1 if hashed else 2)


def test_without_entries_every_request_is_verified(
    factory: TokenFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(factory.settings(token_cache=TokenCache(entries=0)))
    checked = checks(monkeypatch)
    token = factory.token()
    world.get("/", token)
    world.get("/", token)
    assert len(checked) == 4


def test_what_is_refused_is_not_kept(factory: TokenFactory) -> None:
    world = World(factory.settings())
    other = TokenFactory(clock=factory.clock)
    for token in (other.token(), factory.token(exp=1), factory.token(aud="x"), "a.b.c", ""):
        assert world.get("/", token).status in (400, 401)
    for attack in factory.attacks():
        assert world.get(headers=attack.headers).status in attack.statuses
    kept = Runtime.of(world.settings).cache
    assert kept is not None
    assert len(kept) == 0


def test_a_large_token_is_not_kept(factory: TokenFactory) -> None:
    world = World(factory.settings())
    token = factory.token(groups=["g" * 100] * 50)
    assert MAX_CACHED < len(token) < 8192
    assert world.get("/", token).status == 200
    kept = Runtime.of(world.settings).cache
    assert kept is not None
    assert len(kept) == 0


def test_hashed_no_token_stays_in_memory(factory: TokenFactory) -> None:
    world = World(factory.settings(token_cache=TokenCache(hashed=True)))
    token = factory.token()
    world.get("/", token)
    kept = Runtime.of(world.settings).cache
    assert kept is not None
    (name,) = kept._entries
    assert isinstance(name, bytes)
    assert len(name) == 32
    assert token.encode() not in name
    assert kept.get(f"Bearer {token}") is kept.get(f"Bearer {token}".encode()) is not None


def test_the_settings_refuse_what_is_no_cache(factory: TokenFactory) -> None:
    for entries in (-1, 1.5, True, "4096", 1_000_001):
        with pytest.raises(ConfigurationError, match=r"token_cache\.entries"):
            TokenCache(entries=entries)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"token_cache\.hashed"):
        TokenCache(hashed=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="token_cache"):
        factory.settings(token_cache=None)
    assert Settings.from_mapping(
        {
            "issuer": "https://i.example",
            "audience": "a",
            "keys": KeySet.generate(),
            "token_cache": {"entries": 0},
        }
    ).token_cache == TokenCache(entries=0)


# --- every hit checks again


def warmed(world: World, token: str, path: str = "/") -> Answer:
    """Send a token until it is known to both doors."""
    world.get(path, token)
    answer = world.get(path, token)
    assert (answer.status, answer.reached) == (200, True)
    return answer


def test_expired(factory: TokenFactory, clock: Clock) -> None:
    world = World(factory.settings(leeway=5))
    token = factory.token(exp=NOW + 60)
    warmed(world, token)
    clock.now = NOW + 64.9
    assert world.get("/", token).status == 200
    clock.now = NOW + 65
    answer = world.get("/", token)
    assert (answer.status, answer.reason) == (401, "expired")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"nbf": NOW - 10, "iat": NOW - 50}, "not_yet_valid"),
        ({"iat": NOW - 10}, "issued_in_future"),
    ],
)
def test_not_yet_valid(
    factory: TokenFactory, clock: Clock, claims: dict[str, Any], reason: str
) -> None:
    world = World(factory.settings(leeway=5))
    token = factory.token(**claims)
    warmed(world, token)
    clock.now = NOW - 15
    assert world.get("/", token).status == 200
    clock.now = NOW - 15.1  # somebody set the clock right
    answer = world.get("/", token)
    assert (answer.status, answer.reason) == (401, reason)


def test_too_old_for_the_route(factory: TokenFactory, clock: Clock) -> None:
    world = World(factory.settings(routes=(Route("/pay", max_age=60),), leeway=0))
    token = factory.token(auth_time=NOW)
    warmed(world, token, "/pay")
    clock.now = NOW + 61
    answer = world.get("/pay", token)
    assert (answer.status, answer.reason) == (401, "authentication_too_old")
    assert world.get("/", token).status == 200


def test_too_low_a_class_for_the_route(factory: TokenFactory) -> None:
    world = World(factory.settings(routes=(Route("/pay", acr_values=("gold",)),)))
    token = factory.token(acr="silver")
    warmed(world, token)
    assert world.get("/pay", token).reason == "authentication_context"


def moving(factory: TokenFactory) -> tuple[World, Shown]:
    source = Shown(KeySet(factory.keys.keys))
    return World(factory.settings(keys=KeySet(factory.keys.keys, source))), source


def has_looked(live: LiveKeys, before: int, keys: KeySet) -> bool:
    """Whether the process has found these keys since its keys were of generation `before`."""
    return live.fresh.generation > before and live.fresh.keys == keys.by_kid


def settle(world: World, clock: Clock, source: Shown, keys: KeySet) -> None:
    """Let the process find out that its issuer has other keys."""
    live = Runtime.of(world.settings).issuers.own.keys
    before = live.fresh.generation
    source.keys = keys
    clock.now += 61
    patience = monotonic() + 10
    while not has_looked(live, before, keys):  # a thread is about to
        live.renew(clock.now)
        clock.now += 1
        assert monotonic() < patience


def test_key_removed(factory: TokenFactory, clock: Clock) -> None:
    world, source = moving(factory)
    token = factory.token()
    warmed(world, token)
    settle(world, clock, source, KeySet.generate())
    answer = world.get("/", token)
    assert (answer.status, answer.reason) == (401, "key_unknown")


def test_the_clock_is_set_back_behind_the_keys(factory: TokenFactory, clock: Clock) -> None:
    world, source = moving(factory)
    token = factory.token(iat=NOW - 900, exp=NOW + 900)
    settle(world, clock, source, source.keys)
    warmed(world, token)
    live = Runtime.of(world.settings).issuers.own.keys
    clock.now = live.fresh.since - 1
    before = live.fresh.since
    # Nobody knows how old the keys are now: that is asked, and not passed over.
    assert world.get("/", token).status == 200
    assert live.fresh.since < before


def test_key_replaced_under_the_same_kid(factory: TokenFactory, clock: Clock) -> None:
    world, source = moving(factory)
    token = factory.token()
    warmed(world, token)
    settle(world, clock, source, KeySet.generate(kid=factory.key.kid))
    answer = world.get("/", token)
    assert (answer.status, answer.reason) == (401, "signature_invalid")


def test_other_key_added(factory: TokenFactory, clock: Clock) -> None:
    world, source = moving(factory)
    token = factory.token()
    warmed(world, token)
    settle(world, clock, source, KeySet((*factory.keys.keys, *KeySet.generate().keys)))
    assert world.get("/", token).status == 200


def test_a_key_that_goes_while_its_token_is_verified(
    factory: TokenFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = moving(factory)
    fresh = Runtime.of(world.settings).issuers.own.keys.fresh

    def slow(*args: Any) -> Any:
        token = accept(*args)
        fresh.keys, fresh.generation = KeySet.generate().by_kid, fresh.generation + 1
        return token

    accept = vars(trusted_issuers)["accept"]
    monkeypatch.setattr(trusted_issuers, "accept", slow)
    answer = world.through_wsgi("GET", "/", encoded((), factory.token()))
    assert answer.status == 200
    kept = Runtime.of(world.settings).cache
    assert kept is not None
    assert len(kept) == 0


@pytest.mark.parametrize("sync_every", [0, 1])
def test_grant_ended(factory: TokenFactory, clock: Clock, sync_every: float) -> None:
    issuer_settings = factory.settings(
        refresh=Refresh(store="memory://", sync_every=sync_every), issuer="https://i.example"
    )
    world = World(issuer_settings)
    issuer = Issuer(world.settings)
    tokens = issuer.issue("alice")
    warmed(world, tokens.access_token)
    issuer.revoke(tokens.grant_id)
    answer = world.get("/", tokens.access_token)
    assert (answer.status, answer.reason) == (401, "grant_ended")


def test_grant_ended_elsewhere(factory: TokenFactory, clock: Clock, tmp_path: Any) -> None:
    store = f"sqlite:///{tmp_path}/grants.db"
    here = factory.settings(refresh=Refresh(store=store), issuer="https://i.example")
    there = here.replace()
    world, issuer = World(here), Issuer(there)
    tokens = issuer.issue("alice")
    warmed(world, tokens.access_token)
    issuer.revoke(tokens.grant_id)
    clock.now += 2.1
    assert world.get("/", tokens.access_token).reason == "grant_ended"
    here.close()
    there.close()


def test_scope_lacking(factory: TokenFactory) -> None:
    world = World(factory.settings(routes=(Route("/admin/*", scope="admin"),)))
    token = factory.token(scope="read")
    warmed(world, token)
    answer = world.get("/admin/users", token)
    assert (answer.status, answer.reason) == (403, "scope_insufficient")
    assert world.get("/admin/users", factory.token(scope="read admin")).status == 200


def test_to_be_authenticated_is_no_scope(factory: TokenFactory) -> None:
    # Starlette's `request.auth.scopes` has that word for every token; an issuer may give it to few.
    world = World(factory.settings(routes=(Route("/members/*", scope="authenticated"),)))
    token = factory.token(scope="read")
    assert world.get("/members/", token).reason == "scope_insufficient"
    warmed(world, token)
    assert world.get("/members/", token).reason == "scope_insufficient"
    assert world.get("/members/", factory.token(scope="authenticated")).status == 200


def test_an_odd_path_with_a_known_token(factory: TokenFactory) -> None:
    world = World(factory.settings(routes=(Route("/admin/*", scope="admin"),)))
    token = factory.token(scope="read")
    warmed(world, token)
    assert world.get("//admin", token).reason == "path_odd"


def test_a_public_route_reads_no_token_even_a_known_one(factory: TokenFactory) -> None:
    world = World(factory.settings(routes=(Route("/open", public=True),)))
    token = factory.token()
    warmed(world, token)
    assert world.get("/open", token).token is None


def test_an_endpoint_takes_no_known_token(factory: TokenFactory) -> None:
    issuer_settings = factory.settings(refresh=Refresh(store="memory://"))
    world = World(issuer_settings)
    token = factory.token()
    warmed(world, token)
    answer = world.get("/auth/refresh", token)
    assert (answer.status, answer.reached) == (405, False)


def test_two_policies_share_nothing(factory: TokenFactory) -> None:
    one = World(factory.settings())
    other = World(factory.settings(audience="https://other.example"))
    token = factory.token()
    warmed(one, token)
    assert other.get("/", token).reason == "audience_not_ours"


def test_checks_run_once_and_hold_for_the_entry(factory: TokenFactory) -> None:
    asked: list[str] = []

    def counted(token: AccessToken) -> bool:
        asked.append(token.subject)
        return True

    world = World(factory.settings(checks=(counted,)))
    token = factory.token()
    warmed(world, token)
    assert len(asked) == 2  # one per door


def test_claims_can_t_be_changed_for_the_next_request(factory: TokenFactory) -> None:
    world = World(factory.settings())
    token = factory.token(roles=["reader"], nested={"a": [{"b": 1}]})
    seen = warmed(world, token).token
    assert seen is not None
    nested: Any = seen.claims["nested"]
    for change in (
        lambda: seen.claims.update(roles=["admin"]),
        lambda: seen.claims.__setitem__("roles", ("admin",)),
        lambda: seen.claims.pop("roles"),
        lambda: seen.claims.clear(),
        lambda: seen.claims.setdefault("x", 1),
        lambda: seen.claims.__ior__({"roles": ("admin",)}),
        lambda: nested.update(a=1),
        lambda: nested["a"][0].update(b=2),
        lambda: setattr(seen, "claims", FrozenDict()),
        lambda: setattr(seen, "own", False),
    ):
        with pytest.raises((TypeError, AttributeError)):
            change()
    with pytest.raises((TypeError, AttributeError)):
        seen.claims["roles"].append("admin")  # a tuple
    again = world.get("/", token).token
    assert again is not None
    assert again.claims["roles"] == ("reader",)


def test_a_token_equal_but_for_one_character_never_hits(factory: TokenFactory) -> None:
    world = World(factory.settings())
    token = factory.token()
    warmed(world, token)
    alphabet = string.ascii_letters + string.digits + "-_."
    for position in range(0, len(token), 7):
        for letter in (alphabet[position % len(alphabet)], alphabet[(position * 5 + 1) % 65]):
            spoilt = token[:position] + letter + token[position + 1 :]
            assert spoilt == token or world.get("/", spoilt).status == 401


def test_credentials_that_came_twice_never_hit(factory: TokenFactory) -> None:
    world = World(factory.settings())
    token = factory.token()
    warmed(world, token)
    twice = [("Authorization", f"Bearer {token}")] * 2
    assert world.get("/", headers=twice).reason == "credentials_twice"


def test_tokens_share_what_they_have_in_common() -> None:
    names = ("iss", "aud", "client_id", "scope", "sub", "nested")

    def parsed() -> AccessToken:
        members = {name: f"{name} of many" for name in names[:-1]} | {"nested": ("a", 1)}
        text = dumps(members, separators=(",", ":")).encode()
        return AccessToken(parse_object(text), own=False, scopes=frozenset({"read"}))

    one, other = slimmed(parsed()), slimmed(parsed())
    assert one == other == parsed()
    assert all(mine is theirs for mine, theirs in zip(one.claims, other.claims, strict=True))
    shared = [name for name in names if one.claims[name] is other.claims[name]]
    assert shared == ["iss", "aud", "client_id", "scope"]


def test_an_audience_of_several_stays_as_it_is() -> None:
    token = AccessToken(FrozenDict({"iss": "i", "aud": ("a", "b")}))
    assert slimmed(token) == token


# --- the clock hand


def entry(subject: str = "alice") -> Entry:
    token = AccessToken(FrozenDict({"iss": "i", "sub": subject, "exp": NOW + 60}))
    fresh = Freshness(KeyLimits(stale=0, cool_down=1, lease=1))
    fresh.succeeded(NOW, KeySet.generate().by_kid, 60, 0.5)
    return made_entry(token, 0.0, NOW + 60.0, fresh)


def made_entry(token: AccessToken, start: float, end: float, keys: Any) -> Entry:
    kept = Entry(token, User(True, "alice"))
    kept.start, kept.end, kept.keys, kept.generation = start, end, keys, 1
    kept.life, kept.seen = 60.0, False
    return kept


TIMES = st.sampled_from([float("-inf"), 0.0, 1.0, 2.0, 3.0, 4.0, float("inf")])


class Keys:
    """The keys of an issuer, as far as a hit needs to know."""

    def __init__(self, since: float, due: float, generation: int) -> None:
        self.since, self.due, self.generation = since, due, generation


@given(st.tuples(TIMES, TIMES, TIMES, TIMES), st.integers(0, 1), TIMES)
def test_a_known_token_passes_within_its_time_and_while_its_keys_are_those_of_then(
    times: tuple[float, float, float, float], generation: int, now: float
) -> None:
    start, end, since, due = times
    token = AccessToken(FrozenDict({"iss": "i", "sub": "a"}))
    kept = made_entry(token, start, end, Keys(since, due, generation))
    timed = SimpleNamespace(time=lambda: now)
    warm = cache.warm_path(lambda _: kept, timed)
    holds = start <= now < end and since <= now < due and generation == 1
    assert (warm("GET", "/", "Bearer x") is kept) == holds


def test_old_entries_make_room_and_those_that_were_seen_stay() -> None:
    kept = Cache(3)
    entries = {name: entry(name) for name in "abcd"}
    for name in "abc":
        kept.put(name, entries[name])
    entries["a"].seen = True
    kept.put("d", entries["d"])
    assert [name for name in "abcd" if kept.get(name)] == ["a", "c", "d"]
    assert not entries["a"].seen
    kept.put("e", entry())
    assert [name for name in "abcde" if kept.get(name)] == ["a", "d", "e"]


def test_no_request_pays_for_a_whole_lap() -> None:
    kept = Cache(1000)
    for number in range(1000):
        one = entry()
        one.seen = True
        kept.put(str(number), one)
    kept.put("new", entry())
    assert len(kept) == 1000
    assert sum(not one.seen for one in kept._entries.values()) == MAX_ROUNDS
    assert kept.get("new") is not None


def test_eight_threads_hammer_a_small_cache() -> None:
    kept = Cache(16)
    names = [str(number) for number in range(64)]
    made = {name: entry(name) for name in names}
    wrong: list[str] = []
    barrier = Barrier(8)

    def hammer(start: int) -> None:
        barrier.wait()
        for round_ in range(3000):
            name = names[(start * 7 + round_ * 13) % len(names)]
            found = kept.get(name)
            if found is None:
                kept.put(name, made[name])
            elif found is not made[name]:
                wrong.append(name)
            else:
                found.seen = True

    threads = [Thread(target=hammer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(kept) <= 16


def test_eight_threads_send_tokens_of_many_users(factory: TokenFactory) -> None:
    seen: list[tuple[str, str]] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        seen.append((environ["HTTP_X_EXPECTED"], environ["REMOTE_USER"]))
        start_response("200 OK", [])
        return [b""]

    door = JWTMiddleware(app, factory.settings(token_cache=TokenCache(entries=8)))
    tokens = [(f"user{number}", factory.token(sub=f"user{number}")) for number in range(24)]

    def send(start: int) -> None:
        for round_ in range(200):
            name, token = tokens[(start * 5 + round_ * 11) % len(tokens)]
            environ = {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/",
                "HTTP_AUTHORIZATION": f"Bearer {token}",
                "HTTP_X_EXPECTED": name,
            }
            assert door(environ, lambda *_: None) == [b""]

    threads = [Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1600
    assert all(expected == user for expected, user in seen)


# --- all of it at once, beside a verifier that remembers nothing


class Twins(RuleBasedStateMachine):
    """Two services with one clock and one set of keys: one keeps tokens, the other doesn't."""

    tokens: Bundle[str] = Bundle("tokens")

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.factories = [TokenFactory(clock=self.clock) for _ in range(3)]
        self.sources = [Shown(KeySet(self._keys(0, 1))) for _ in range(2)]
        self.worlds: list[World] = []
        for source, entries in zip(self.sources, (3, 0), strict=True):
            options: dict[str, Any] = {
                "routes": (
                    Route("/open", public=True),
                    Route("/maybe", optional=True),
                    Route("/admin/*", scope="admin"),
                    Route("/pay", max_age=90),
                ),
                "token_cache": TokenCache(entries=entries),
                "keys": KeySet(source.keys.keys, source),
                "leeway": 2,
            }
            self.worlds.append(World(self.factories[0].settings(**options)))

    def _keys(self, *numbers: int) -> Any:
        return tuple(self.factories[number].key for number in numbers)

    @rule(
        target=tokens,
        by=st.integers(0, 2),
        life=st.integers(-5, 200),
        early=st.integers(-50, 50),
        scope=st.sampled_from(["", "read", "admin", "read admin"]),
    )
    def issue(self, by: int, life: int, early: int, scope: str) -> str:
        now = int(self.clock.now)
        made: str = self.factories[by].token(
            exp=now + life, nbf=now + early, auth_time=now - 30, scope=scope
        )
        return made

    @rule(token=tokens, path=st.sampled_from(["/", "/open", "/maybe", "/admin/x", "/pay", "//x"]))
    def send(self, token: str, path: str) -> None:
        kept, plain = (world.get(path, token) for world in self.worlds)
        assert (kept, kept.reason) == (plain, plain.reason)

    @rule(token=tokens, position=st.integers(0, 400), letter=st.sampled_from("Aa0_-."))
    def spoil(self, token: str, position: int, letter: str) -> None:
        position %= len(token)
        spoilt = token[:position] + letter + token[position + 1 :]
        kept, plain = (world.get("/", spoilt) for world in self.worlds)
        assert (kept, kept.reason) == (plain, plain.reason)

    @rule(seconds=st.sampled_from([-20, 0.5, 1, 10, 61, 200]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(numbers=st.sampled_from([(0,), (1,), (0, 1), (1, 2), (0, 1, 2)]))
    def rotate(self, numbers: tuple[int, ...]) -> None:
        keys = KeySet(self._keys(*numbers))
        both = [Runtime.of(world.settings).issuers.own.keys for world in self.worlds]
        # After the clock was set back, too, it is time for a look.
        self.clock.now = max(self.clock.now + 100, *(live.fresh.due for live in both))
        for live, source in zip(both, self.sources, strict=True):
            before = live.fresh.generation
            source.keys = keys
            patience = monotonic() + 10
            while not has_looked(live, before, keys):  # a thread is about to
                live.renew(self.clock.now)
                assert monotonic() < patience

    @invariant()
    def the_cache_stays_small(self) -> None:
        if hasattr(self, "worlds"):
            kept = Runtime.of(self.worlds[0].settings).cache
            assert kept is not None
            assert len(kept) <= 3


Twins.TestCase.settings = hypothesis_settings(
    max_examples=40, stateful_step_count=25, deadline=None
)
TestTwins = Twins.TestCase


def test_digests_of_text_and_octets_are_one() -> None:
    assert cache._digest("Bearer x") == cache._digest(b"Bearer x") != cache._digest("Bearer y")
