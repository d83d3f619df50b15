"""What strangers can cost: questions, threads, fetches, memory; and what they can't take away."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from itertools import product
from threading import Event as Signal
from typing import Any

import pytest

from jwt_middleware import KeySet, Refresh, Settings, TokenCache, TrustedIssuer
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.core.trusted_issuers import (
    MAX_ALL_HEADERS,
    MAX_HEADERS,
    MAX_NOBODY,
    MAX_SEGMENT,
    NOBODY_AGE,
    TENANT_AGE,
    Issuers,
)
from jwt_middleware.issuer import Issuer
from jwt_middleware.jose import jws
from jwt_middleware.keys import Fetched
from jwt_middleware.keys import stranger_limits as places
from jwt_middleware.keys.stranger_limits import MAX_PLACES, MAX_WAITING, Places
from jwt_middleware.process import awaiting, hooks
from jwt_middleware.process.awaiting import EXECUTOR_THREADS
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.events import Refused
from jwt_middleware.values.tokens import FrozenDict
from tests.issuing import REFRESH, Clock, form_octets, posted
from tests.keyserver.site import DOORS, Site
from tests.rules import refuses
from tests.waiting import PATIENCE, until
from tests.world import Application, Sent, World, by_asgi, encoded

ACME = "https://acme.example"


class Register:
    """An application's `issuer_for`, which can be held up. It notes who asks, and how many do."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[str] = []
        self.known: dict[str, TrustedIssuer] = {}
        self.leave = Signal()
        self.leave.set()
        self.most = self._inside = 0
        self._lock = threading.Lock()

    def add(self, issuer: str, keys: KeySet | None = None) -> TokenFactory:
        factory = TokenFactory(issuer=issuer, clock=self.clock)
        self.known[issuer] = TrustedIssuer(
            issuer=issuer, audience=factory.audience, keys=keys or factory.keys
        )
        return factory

    def __call__(self, issuer: str) -> TrustedIssuer | None:
        with self._lock:
            self.asked.append(issuer)
            self._inside += 1
            self.most = max(self.most, self._inside)
        if issuer != ACME:
            self.leave.wait(30)
        with self._lock:
            self._inside -= 1
        return self.known.get(issuer)

    async def later(self, issuer: str) -> TrustedIssuer | None:
        self.asked.append(issuer)
        if issuer != ACME:
            await asyncio.to_thread(self.leave.wait, 30)
        return self.known.get(issuer)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait as long as a slow machine takes; where a test waits for a wait's end, it says so."""
    monkeypatch.setattr(hooks, "JOINED", PATIENCE)
    monkeypatch.setattr(places, "PLACE_TIMEOUT", PATIENCE)


@pytest.fixture
def register(clock: Clock) -> Iterator[Register]:
    one = Register(clock)
    yield one
    one.leave.set()


@pytest.fixture
def stranger(clock: Clock) -> TokenFactory:
    return TokenFactory(issuer="https://stranger.example", clock=clock)


@pytest.fixture(params=["__call__", "later"])
def hook(request: pytest.FixtureRequest, register: Register) -> Callable[[str], Any]:
    found: Callable[[str], Any] = getattr(register, request.param)
    return found


def calling(token: str) -> Sent:
    return Sent("GET", "/", encoded((), token))


def refreshing(token: str) -> Sent:
    return posted(REFRESH, form_octets({"grant_type": "refresh_token", "refresh_token": token}))


def published(factory: TokenFactory) -> bytes:
    return json.dumps(factory.keys.public_jwks()).encode()


def own(clock: Clock, **settings: Any) -> Settings:
    return TokenFactory(clock=clock).settings(**settings)


def issuers_of(settings: Settings) -> Issuers:
    return Runtime.of(settings).issuers


# --- names


@refuses("RS-28")
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "iss", ["", "a\x00b", "a\nb", "a\x7f", "a\u2028b", "https://" + "a" * 2048]
)
def test_nobody_is_asked_for_a_name_that_no_issuer_can_have(
    iss: str,
    door: str,
    register: Register,
    stranger: TokenFactory,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    site = Site(door, own(clock, issuer_for=register))
    answer = site.get(stranger.token(iss=iss))
    assert (answer.status, answer.reason) == (401, "claim_malformed")
    assert register.asked == []
    assert not any(one.exc_info for one in caplog.records)


@pytest.mark.parametrize("door", DOORS)
def test_that_a_name_is_nobody_is_remembered_for_seconds(
    door: str, register: Register, stranger: TokenFactory, clock: Clock
) -> None:
    site = Site(door, own(clock, issuer_for=register))
    for _ in range(20):
        assert site.get(stranger.token()).reason == "issuer_not_trusted"
    assert len(register.asked) == 1
    clock.forward(NOBODY_AGE)
    site.get(stranger.token())
    assert len(register.asked) == 2
    clock.forward(-60)  # nobody knows how old the answer is
    site.get(stranger.token())
    assert len(register.asked) == 3


def test_names_that_are_nobodys_are_not_remembered_without_end(
    register: Register, stranger: TokenFactory, clock: Clock
) -> None:
    site = Site("wsgi", own(clock, issuer_for=register))
    for number in range(MAX_NOBODY + 10):
        site.get(stranger.token(iss=f"https://{number}.example"))
    assert len(issuers_of(site.settings)._nobody) == MAX_NOBODY


# --- one question for a name at a time


@pytest.mark.parametrize("is_known", [True, False])
def test_many_threads_ask_one_question(
    register: Register, stranger: TokenFactory, clock: Clock, *, is_known: bool
) -> None:
    if is_known:
        stranger = register.add(stranger.issuer)
    site = Site("wsgi", own(clock, issuer_for=register))
    answers = site.flood([stranger.token()] * 32, threads=32)
    assert {one.status for one in answers} == {200 if is_known else 401}
    assert len(register.asked) == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_many_tasks_ask_one_question(
    register: Register,
    hook: Callable[[str], Any],
    stranger: TokenFactory,
    clock: Clock,
    *,
    is_known: bool,
) -> None:
    if is_known:
        stranger = register.add(stranger.issuer)
    register.leave.clear()

    async def play() -> None:
        app = ASGIMiddleware(Application().asgi, own(clock, issuer_for=hook))
        sent = calling(stranger.token())
        tasks = [asyncio.create_task(by_asgi(app, sent)) for _ in range(50)]
        await asyncio.to_thread(until, lambda: register.asked)
        # Who asked first goes away, and takes the answer from nobody.
        tasks.pop(0).cancel()
        register.leave.set()
        found = await asyncio.gather(*tasks)
        assert {status for status, *_ in found} == {200 if is_known else 401}

    asyncio.run(play())
    assert len(register.asked) == 1


@pytest.mark.parametrize("door", DOORS)
def test_who_waits_for_anothers_question_does_not_wait_for_long(
    door: str,
    register: Register,
    stranger: TokenFactory,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register.leave.clear()
    site = Site(door, own(clock, issuer_for=register))
    first, second = (threading.Thread(target=site.flood, args=([stranger.token()],)) for _ in "12")
    first.start()
    until(lambda: register.asked)
    monkeypatch.setattr(hooks, "JOINED", 0.05)
    answer = site.get(stranger.token())
    monkeypatch.setattr(hooks, "JOINED", PATIENCE)
    assert (answer.status, answer.reason) == (503, "issuer_hook_failed")
    assert answer.header("retry-after") == "1"
    assert len(register.asked) == 1
    # When its time is over, whoever comes next asks anew.
    Runtime.of(site.settings).hooks.questions[stranger.issuer].begun -= 60
    second.start()
    until(lambda: len(register.asked) == 2)
    register.leave.set()
    first.join()
    second.join()
    assert not Runtime.of(site.settings).hooks.questions


@pytest.mark.parametrize("door", DOORS)
def test_an_answer_that_came_meanwhile_is_not_asked_for_again(
    door: str, register: Register, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = register.add(ACME)
    site = Site(door, own(clock, issuer_for=register))
    issuers = issuers_of(site.settings)
    find = issuers.find

    def look(name: object, now: float) -> Any:
        """Find nothing at first, and then another's answer."""
        monkeypatch.setattr(issuers, "find", find)
        issuers.adopt(ACME, register.known[ACME], now)

    monkeypatch.setattr(issuers, "find", look)
    assert site.get(tenant.token()).reached
    assert register.asked == []


# --- all questions and fetches together


def strangers(clock: Clock, count: int) -> list[str]:
    return [
        TokenFactory(issuer=f"https://{number}.example", clock=clock).token()
        for number in range(count)
    ]


def test_strangers_ask_few_questions_at_a_time_and_known_tenants_share_no_place(
    register: Register, clock: Clock
) -> None:
    """Under ASGI: 200 made-up names, while the register hangs for every one of them."""
    tenant, fresh = register.add(ACME), register.add("https://new.example")
    settings = own(clock, issuer_for=register)

    async def play() -> None:
        app = ASGIMiddleware(Application().asgi, settings)
        assert (await by_asgi(app, calling(tenant.token())))[0] == 200
        clock.forward(TENANT_AGE)
        register.leave.clear()
        flood = [asyncio.create_task(by_asgi(app, calling(one))) for one in strangers(clock, 200)]
        await asyncio.to_thread(until, lambda: register._inside == MAX_PLACES)
        before = len(register.asked)
        assert (await by_asgi(app, calling(tenant.token())))[0] == 200
        assert register.asked[before:] == [ACME], "the known tenant was asked for, at once"
        assert (await by_asgi(app, calling(fresh.token())))[0] == 503
        register.leave.set()
        statuses = [status for status, *_ in await asyncio.gather(*flood)]
        assert set(statuses) == {401, 503}
        assert statuses.count(503) >= 200 - MAX_PLACES - MAX_WAITING
        assert (await by_asgi(app, calling(fresh.token())))[0] == 200

    asyncio.run(play())
    assert register.most <= MAX_PLACES + 1  # and the known tenant
    assert issuers_of(settings).places._taken == 0


def test_strangers_hold_few_threads_of_a_server(
    register: Register, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "JOINED", 0.2)
    site = Site("wsgi", own(clock, issuer_for=register))
    tenant = register.add(ACME)
    assert site.get(tenant.token()).reached
    clock.forward(TENANT_AGE)
    register.leave.clear()
    found: list[Any] = []
    tokens = strangers(clock, 60)
    flood = threading.Thread(target=lambda: found.extend(site.flood(tokens, threads=60)))
    flood.start()
    until(lambda: register._inside == MAX_PLACES)
    assert site.flood([tenant.token()])[0].status == 200
    # The others give up, and the hook hangs on.
    until(lambda: len(site.world.events) == 60 - MAX_PLACES)
    register.leave.set()
    flood.join()
    statuses = [one.status for one in found]
    assert (statuses.count(503), statuses.count(401)) == (60 - MAX_PLACES, MAX_PLACES)
    assert register.most == MAX_PLACES + 1  # and the known tenant
    assert issuers_of(site.settings).places._taken == 0


class Held:
    """A fetcher that is held up, and counts how many are in it."""

    def __init__(self) -> None:
        self.leave = Signal()
        self.count = self.inside = self.most = 0
        self.body = b'{"keys": []}'
        self._lock = threading.Lock()

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        with self._lock:
            self.count += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.leave.wait(30)
        with self._lock:
            self.inside -= 1
        return Fetched(200, self.body)


@pytest.mark.parametrize("door", DOORS)
def test_strangers_start_few_fetches_and_known_tenants_share_no_place(
    door: str, register: Register, clock: Clock
) -> None:
    held, quick = Held(), Held()
    quick.leave.set()
    tenant = TokenFactory(issuer=ACME, clock=clock)
    quick.body = published(tenant)
    register.add(ACME, KeySet.remote("https://acme.example/keys", fetcher=quick, lifetime=60))
    tokens = strangers(clock, 100)
    for number in range(100):
        register.add(
            f"https://{number}.example",
            KeySet.remote(f"https://{number}.example/keys", fetcher=held, timeout=1),
        )
    site = Site(door, own(clock, issuer_for=register))
    assert site.get(tenant.token()).reached
    assert issuers_of(site.settings)._tenants[ACME].keys.places is None
    flood = threading.Thread(target=site.flood, args=(tokens,), kwargs={"threads": 100})
    flood.start()
    until(lambda: held.inside == MAX_PLACES)
    clock.forward(3700)  # the tenant's keys and the word about it are over
    assert site.flood([tenant.token()])[0].status == 200
    assert quick.count == 2
    held.leave.set()
    flood.join()
    until(lambda: issuers_of(site.settings).places._taken == 0)
    assert held.most == MAX_PLACES
    # Whose fetch found no place in time has not failed.
    failed = [one for one in site.world.events if one.name == "keys_failed"]
    assert all(getattr(one, "detail", "") != "" for one in failed)
    assert len(failed) <= held.count


def test_a_fetch_that_finds_no_place_is_tried_again_after_a_second(
    register: Register, clock: Clock
) -> None:
    fetcher = Held()
    fetcher.leave.set()
    tenant = TokenFactory(issuer=ACME, clock=clock)
    fetcher.body = published(tenant)
    register.add(ACME, KeySet.remote("https://acme.example/keys", fetcher=fetcher))
    site = Site("wsgi", own(clock, issuer_for=lambda name: register.known.get(name)))
    live = issuers_of(site.settings)
    live.adopt(ACME, register.known[ACME], clock())
    taken = [live.places.ask() for _ in range(MAX_PLACES + MAX_WAITING)]
    assert None not in taken
    for _ in range(3):
        answer = site.get(tenant.token())
        assert (answer.status, answer.reason) == (503, "keys_unavailable")
        assert answer.header("retry-after") == "1"
        clock.forward(1)
    assert fetcher.count == 0
    assert {one.name for one in site.world.events} == {"refused"}
    for one in reversed(taken):
        assert one is not None
        if not one.cancel():
            live.places.leave()
    assert site.get(tenant.token()).reached


def test_a_fetch_that_got_its_place_too_late_is_not_made(register: Register, clock: Clock) -> None:
    fetcher = Held()
    fetcher.leave.set()
    keys = KeySet.remote("https://acme.example/keys", fetcher=fetcher, timeout=0.2)
    register.add(ACME, keys)
    site = Site("wsgi", own(clock, issuer_for=register))
    live = issuers_of(site.settings)
    trust = live.adopt(ACME, register.known[ACME], clock())
    taken = [live.places.ask() for _ in range(MAX_PLACES)]
    token = TokenFactory(issuer=ACME, clock=clock).token()
    assert site.get(token).reason == "keys_unavailable"
    clock.forward(300)
    # By now it is taken for lost, and another waits.
    assert site.get(token).reason == "keys_unavailable"
    assert trust.keys._aloft == 2
    for one in taken:
        assert one is not None
        live.places.leave()
    until(lambda: (trust.keys._aloft, live.places._taken) == (0, 0))
    assert fetcher.count == 1


# --- places


def test_places_are_given_in_turn_and_not_to_who_has_gone() -> None:
    one = Places()
    first = [one.ask() for _ in range(MAX_PLACES)]
    assert all(place is not None and place.done() for place in first)
    waiting = [one.ask() for _ in range(3)]
    assert waiting[0] is not None
    assert waiting[0].cancel()
    one.leave()
    assert [place.done() for place in waiting[1:] if place is not None] == [True, False]
    for _ in range(MAX_PLACES + 1):
        one.leave()
    assert one._taken == 0


def test_few_wait_for_a_place_and_nobody_where_none_comes_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Places()
    found = [one.ask() for _ in range(MAX_PLACES + MAX_WAITING + 1)]
    assert found[-1] is None
    assert None not in found[:-1]
    one.reset()
    assert all(one.ask() for _ in range(MAX_PLACES))
    monkeypatch.setattr(places, "PLACE_TIMEOUT", 0.0)
    assert one.ask() is None


# --- hooks that hang


def slow_claims(register: Register) -> Callable[[Any], dict[str, Any]]:
    def claims_for(grant: Any) -> dict[str, Any]:
        if grant.subject != "alice":
            register("https://hangs.example")
        return {}

    return claims_for


def test_hooks_that_hang_stop_no_other_refresh(
    register: Register, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaiting, "CALL_LIMIT", 0.3)
    group = Refresh(store="memory://", claims_for=slow_claims(register))
    settings = own(clock, refresh=group)
    others = set(threading.enumerate())  # of tests before this one

    async def play() -> None:
        app, issuer = ASGIMiddleware(Application().asgi, settings), Issuer(settings)
        names = [f"user {number}" for number in range(EXECUTOR_THREADS)]
        bad = [(await issuer.aissue(name, claims={})).refresh_token for name in names]
        good = (await issuer.aissue("alice", claims={})).refresh_token
        register.leave.clear()
        stuck = [by_asgi(app, refreshing(token)) for token in bad]
        assert {status for status, *_ in await asyncio.gather(*stuck)} == {503}
        assert register._inside == EXECUTOR_THREADS, "they hang on"
        monkeypatch.setattr(awaiting, "CALL_LIMIT", PATIENCE)
        assert (await by_asgi(app, refreshing(good)))[0] == 200
        live = Runtime.of(settings).awaiting
        assert live is not None
        assert {kind: len(hung) for kind, hung in live.executors.hung.items()} == {
            "claims_for": EXECUTOR_THREADS
        }
        # Not without end: what would be too many waits for those that hang.
        monkeypatch.setattr(awaiting, "MAX_HUNG", EXECUTOR_THREADS)
        monkeypatch.setattr(awaiting, "CALL_LIMIT", 0.3)
        stuck = [by_asgi(app, refreshing(token)) for token in bad]
        assert {status for status, *_ in await asyncio.gather(*stuck)} == {503}
        new = set(threading.enumerate()) - others
        threads = [one.name for one in new if "claims_for" in one.name]
        assert len(threads) <= 2 * EXECUTOR_THREADS
        assert (await by_asgi(app, refreshing(good)))[0] == 503
        register.leave.set()
        hung = live.executors.hung["claims_for"]
        await asyncio.to_thread(until, lambda: all(one.done() for one in hung))
        monkeypatch.setattr(awaiting, "CALL_LIMIT", PATIENCE)
        assert (await by_asgi(app, refreshing(bad[0])))[0] == 200
        await settings.aclose()

    asyncio.run(play())


def test_an_asynchronous_hook_that_hangs_is_given_up(
    register: Register, stranger: TokenFactory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaiting, "CALL_LIMIT", 0.05)
    register.leave.clear()

    async def claims_for(grant: Any) -> dict[str, Any]:
        await register.later("hangs")
        return {}

    group = Refresh(store="memory://", claims_for=claims_for)
    settings = own(clock, issuer_for=register.later, refresh=group)

    async def play() -> None:
        app, issuer = ASGIMiddleware(Application().asgi, settings), Issuer(settings)
        register.leave.set()
        tokens = await issuer.aissue("alice")
        register.leave.clear()
        assert (await by_asgi(app, refreshing(tokens.refresh_token)))[0] == 503
        assert (await by_asgi(app, calling(stranger.token())))[0] == 503
        register.leave.set()
        monkeypatch.setattr(awaiting, "CALL_LIMIT", PATIENCE)
        assert (await by_asgi(app, refreshing(tokens.refresh_token)))[0] == 200
        assert (await by_asgi(app, calling(stranger.token())))[0] == 401

    asyncio.run(play())
    assert issuers_of(settings).places._taken == 0


# --- what one token, and one issuer, can fill


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Count the calls of a function of `jws` from here on."""
    calls: list[str] = []
    real = getattr(jws, name)

    def called(*args: Any) -> Any:
        calls.append(name)
        return real(*args)

    monkeypatch.setattr(jws, name, called)
    return calls


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("hashed", [True, False])
def test_a_token_is_kept_once_however_its_scheme_is_spelled(
    door: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, hashed: bool
) -> None:
    factory = TokenFactory(clock=clock)
    world = World(factory.settings(token_cache=TokenCache(hashed=hashed)), [door])
    through = getattr(world, f"through_{door}")
    checks = counted(monkeypatch, "check_signature")
    spelled = ["".join(one) for one in product(*((c, c.upper()) for c in "bearer"))]
    token = factory.token()
    for scheme in spelled:
        for space in (1, 2, 13):
            value = f"{scheme}{' ' * space}{token}".encode()
            assert through("GET", "/", [("Authorization", value)]).reached
    kept = Runtime.of(world.settings).cache
    assert kept is not None
    assert (len(kept), len(checks)) == (1, 1)
    name = f"Bearer {token}"
    assert kept.get(name if door == "wsgi" else name.encode()) is not None


def test_an_issuer_with_odd_headers_switches_nothing_off_for_others(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory, odd = TokenFactory(clock=clock), TokenFactory(issuer=ACME, clock=clock)
    trusted = TrustedIssuer(issuer=ACME, audience=odd.audience, keys=odd.keys)
    settings = factory.settings(trusted_issuers=(trusted,), token_cache=TokenCache(entries=0))
    world = World(settings, ["wsgi"])
    world.through_wsgi("GET", "/", [("Authorization", f"Bearer {factory.token()}".encode())])
    for number in range(3 * MAX_HEADERS):
        token = odd.token(header={"n": number})
        sent = [("Authorization", f"Bearer {token}".encode())]
        assert world.through_wsgi("GET", "/", sent).reached
    kept = issuers_of(world.settings)
    assert len(kept.headers) == MAX_HEADERS + 1
    read = counted(monkeypatch, "read_header")
    for _ in range(3):
        sent = [("Authorization", f"Bearer {factory.token()}".encode())]
        assert world.through_wsgi("GET", "/", sent).reached
    assert read == []


def test_headers_of_all_issuers_together_are_bounded(clock: Clock) -> None:
    kept = Issuers(own(clock))
    header = jws.Header("ES256", None, FrozenDict())
    trusts = []
    for number in range(MAX_ALL_HEADERS // MAX_HEADERS + 2):
        factory = TokenFactory(issuer=f"https://{number}.example", clock=clock)
        one = TrustedIssuer(issuer=factory.issuer, audience="a", keys=factory.keys)
        trusts.append(kept.adopt(factory.issuer, one, clock()))
    for number, trust in enumerate(trusts):
        for other in range(MAX_HEADERS):
            kept.remember(trust, f"{number}.{other}".encode(), header)
    assert len(kept.headers) == MAX_ALL_HEADERS
    assert b"0.0" not in kept.headers
    # One that was pushed out comes back with its next token; one of many octets never comes.
    kept.remember(trusts[0], b"0.0", header)
    assert kept.headers[b"0.0"] is header
    kept.remember(trusts[0], b"x" * (MAX_SEGMENT + 1), header)
    assert len(kept.headers) == MAX_ALL_HEADERS
    assert len(trusts[0].headers) == MAX_HEADERS


@pytest.mark.parametrize("door", DOORS)
def test_a_refusal_for_want_of_a_place_says_so(
    door: str, register: Register, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "JOINED", 0.05)
    site = Site(door, own(clock, issuer_for=register))
    for count in (MAX_PLACES, MAX_WAITING):  # it waits, and then it can't even do that
        waits = [issuers_of(site.settings).places.ask() for _ in range(count)]
        assert None not in waits
        answer = site.get(TokenFactory(issuer=ACME, clock=clock).token())
        assert (answer.status, answer.reason) == (503, "unavailable")
        (refused,) = answer.events
        assert isinstance(refused, Refused)
        assert "too many" in refused.detail
    assert register.asked == []
