"""Keys that an issuer publishes, under every fault of its server, through both doors.

Shown by counting fetches and measuring waits: known keys never wait for the network, and whatever
goes wrong at the issuer's, nobody is logged out for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from threading import Event
from typing import Any

import pytest

from jwt_middleware import KeySet, TrustedIssuer
from jwt_middleware.keys import Fetched
from jwt_middleware.keys.freshness import FETCH_BACK_OFF, JOINED
from jwt_middleware.keys.live_keys import MAX_ALOFT
from jwt_middleware.keys.remote import LEASE_MARGIN, MAX_SET
from jwt_middleware.testing import ABSENT, TokenFactory
from jwt_middleware.values.errors import KeysUnavailable
from jwt_middleware.values.events import KeysBack, KeysChanged, KeysFailed, KeySkipped
from tests.issuing import HOUR, Clock
from tests.keyserver import Gate, KeyServer, Play, answer, hang, key_set
from tests.keyserver.faults import FAULTS, OTHER, QUICK, begin, mend
from tests.keyserver.site import DOORS, Author, Paced, Site, fetchers, settle
from tests.rules import accepts, refuses
from tests.waiting import until
from tests.world import Sent, World, encoded

LIFETIME = 600  # seconds
AT_MOST = 0.85 * LIFETIME  # after which a fleet has begun to fetch ahead


@pytest.fixture(autouse=True)
def nothing_under_way() -> Iterator[None]:
    yield
    settle()


@pytest.fixture
def author(server: KeyServer, clock: Clock) -> Author:
    one = Author(server.base, clock)
    server.publish(key_set(one.keys))
    return one


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(door: str, server: KeyServer, author: Author) -> Site:
    return at(door, author, server.url)


def at(door: str, author: Author, url: str | None, **more: Any) -> Site:
    return Site(door, author.settings(KeySet.remote(url, **more)))


def is_back(told: list[Any], *, after: float) -> bool:
    """Whether it was told that the keys are back, and since when they weren't there."""
    (back,) = told
    return isinstance(back, KeysBack) and abs(back.seconds - after) < 1


each_fault = pytest.mark.parametrize("fault", FAULTS)


@refuses("RS-27.remote")
@each_fault
def test_without_any_keys_a_request_gets_503_and_one_fetch_is_made_for_each_back_off(
    fault: str, door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    fetcher = Paced()
    site, token = at(door, author, server.url, fetcher=fetcher), author.token()
    detail = begin(fault, server, fetcher)
    for step in FETCH_BACK_OFF:
        refused = site.get(token)
        assert (refused.status, refused.reason) == (503, "keys_unavailable")
        assert refused.header("retry-after") == str(int(step))
        assert refused.header("www-authenticate") is None
        assert refused.error == "temporarily_unavailable"
        clock.forward(step - 0.01)
        assert not site.served(token)  # nobody asks before that
        clock.forward(0.02)
    assert fetcher.count == len(FETCH_BACK_OFF)
    assert server.accepted <= len(FETCH_BACK_OFF), "one connection for each"
    settle()
    (failed,) = site.told
    assert isinstance(failed, KeysFailed)
    assert failed.issuer == author.factory.issuer
    assert detail in failed.detail
    mend(server, fetcher, key_set(author.keys))
    clock.forward(FETCH_BACK_OFF[-1])
    assert site.served(token)
    settle()
    assert is_back(site.told[1:], after=91)


@accepts("RS-27.remote")
@each_fault
def test_known_keys_serve_until_the_stale_limit_whatever_is_wrong(
    fault: str, door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    fetcher = Paced()
    site, began = at(door, author, server.url, fetcher=fetcher), clock()
    token = author.token(exp=int(began) + 2 * HOUR)
    assert site.served(token)
    begin(fault, server, fetcher)
    stranger = author.rotated()
    clock.forward(AT_MOST)
    fetcher.may_end.clear()
    assert site.served(token)
    assert fetchers(), "it was served while the fetch went on"
    fetcher.may_end.set()
    settle()
    for step in FETCH_BACK_OFF:
        assert site.served(token)
        assert not site.served(stranger.token()), "nobody can say that the key is unknown"
        assert not fetchers()
        clock.forward(step + 0.01)
        assert site.served(token)
        settle()
    assert fetcher.count == 2 + len(FETCH_BACK_OFF)
    clock.now = began + LIFETIME + HOUR - 1
    assert site.served(token)
    settle()
    clock.now = began + LIFETIME + HOUR
    refused = site.get(token)
    assert (refused.status, refused.reason) == (503, "keys_unavailable")
    mend(server, fetcher, key_set(author.keys))
    clock.forward(FETCH_BACK_OFF[-1] + 0.01)
    assert site.served(token)
    settle()
    assert [type(one) for one in site.told] == [KeysFailed, KeysBack]


def test_while_the_server_hangs_no_request_with_a_known_key_waits(
    door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    """200 requests with known keys are through before the first that waits for the server is."""
    site = at(door, author, server.url)
    known, unknown = author.token(), author.rotated()
    assert site.served(known)
    gate = Gate(key_set(author.keys, unknown.keys))
    server.publish(gate)
    clock.forward(AT_MOST)
    with ThreadPoolExecutor(1) as pool:
        # Among those that wait are more than half of all threads.
        waiting = pool.submit(site.flood, [unknown.token() for _ in range(32)])
        assert gate.reached.wait(10)
        answers = site.flood([known] * 200)
        assert {one.status for one in answers} == {200}
        assert not waiting.done()
        gate.open()
        assert {one.status for one in waiting.result()} == {200}
    assert server.count == 2


def test_strangers_hold_a_server_whose_keys_are_good_for_a_second_and_one_of_them_for_longer(
    door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    site = at(door, author, server.url, timeout=3)
    assert site.served(author.token())
    clock.forward(31)
    server.publish(hang)
    answers = site.flood([OTHER.token(iss=server.base) for _ in range(40)])
    assert {one.status for one in answers} == {503}
    took = sorted(one.seconds for one in answers)
    assert took[-1] >= 3, "who asked waits for the answer"
    assert took[-2] < 2.5, "who joined doesn't"
    # It has failed: from now on only who tries waits, and nobody tries before the back-off.
    answers = site.flood([OTHER.token(iss=server.base) for _ in range(40)])
    assert {one.status for one in answers} == {503}
    assert max(one.seconds for one in answers) < 2.5
    clock.forward(FETCH_BACK_OFF[0])
    answers = site.flood([OTHER.token(iss=server.base) for _ in range(40)])
    assert sum(one.seconds >= 3 for one in answers) == 1
    assert server.count == 3


def test_a_trusted_issuer_that_hangs_from_the_start_holds_nobody_for_long(
    door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    """Strangers can name it; our own issuer's users must be served meanwhile."""
    own = TokenFactory(clock=clock)
    keys = KeySet.remote(server.url, timeout=3)
    partner = TrustedIssuer(issuer=server.base, audience=author.factory.audience, keys=keys)
    site = Site(door, own.settings(trusted_issuers=(partner,)))
    server.publish(hang)
    answers = site.flood([author.token()] * 40)
    assert {one.status for one in answers} == {503}
    took = sorted(one.seconds for one in answers)
    assert took[-1] >= 3
    assert took[-2] < 2.5
    assert site.served(own.token())
    assert server.count == 1


def test_who_comes_when_the_server_takes_its_time_is_sent_away(
    door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    site = at(door, author, server.url)
    assert site.served(author.token())
    gate = Gate(key_set(author.keys))
    server.publish(gate)
    clock.forward(31)
    stranger = author.rotated().token()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(site.get, stranger)
        assert gate.reached.wait(10)
        clock.forward(JOINED)
        (late,) = site.flood([stranger])
        assert (late.status, first.done()) == (503, False)
        gate.open()
        assert first.result().status == 401


# --- unknown keys


def test_a_thousand_unknown_kids_at_once_cause_one_fetch_in_30_s(
    site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    known = author.token()
    assert site.served(known)
    forged = [author.rotated().token() for _ in range(50)]
    for count in (1, 2, 3):
        clock.forward(30)
        answers = site.flood([*forged * 20, known], threads=1001)
        # Who on a busy machine didn't get his turn within a second may come again.
        assert {one.status for one in answers[:-1]} <= {401, 503}
        assert answers[-1].status == 200
        assert server.count == 1 + count
        settle()
        for seconds in (0, 29.9):
            clock.forward(seconds)
            assert {one.status for one in site.flood(forged)} == {401}
        assert server.count == 1 + count
        clock.forward(-29.9)


def test_a_thousand_unknown_kids_at_once_cause_one_fetch_for_each_back_off(
    site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    known = author.token()
    assert site.served(known)
    server.publish(answer("", status=500))
    forged = [author.rotated().token() for _ in range(50)] * 20
    clock.forward(30)
    for count, step in enumerate(FETCH_BACK_OFF[:3], 1):
        answers = site.flood([*forged, known], threads=1001)
        assert {one.status for one in answers[:-1]} == {503}
        assert answers[-1].status == 200
        assert server.count == 1 + count
        clock.forward(step)


def test_a_thousand_first_requests_cause_one_fetch(
    site: Site, server: KeyServer, author: Author
) -> None:
    answers = site.flood([author.token() for _ in range(50)] * 20, threads=1000)
    assert {one.status for one in answers} == {200}
    assert server.count == 1


def test_threads_and_tasks_share_one_fetch(server: KeyServer, author: Author, clock: Clock) -> None:
    sites = [at(door, author, server.url) for door in DOORS]
    world = World(author.settings(KeySet.remote(server.url)))
    gate = Gate(key_set(author.keys))
    server.publish(gate)
    for one in sites:
        one.world = world
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(one.flood, [author.token()] * 20) for one in sites]
        assert gate.reached.wait(10)
        gate.open()
        assert {one.status for flood in waiting for one in flood.result()} == {200}
    assert server.count == 1


@accepts("RS-26")
def test_the_first_request_with_a_rotated_key_is_served(
    site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    assert site.served(author.token())
    clock.forward(30)
    new = author.rotated()
    server.publish(key_set(author.keys, new.keys))
    assert site.served(new.token())
    assert site.served(author.token())
    assert server.count == 2
    settle()
    assert site.told == [KeysChanged(issuer=server.base, added=(new.kid,), removed=())]


def test_a_key_rotated_in_the_cool_down_is_served_when_it_is_over(
    site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    assert site.served(author.token())
    new = author.rotated()
    server.publish(key_set(author.keys, new.keys))
    clock.forward(29.9)
    refused = site.get(new.token())
    assert (refused.status, refused.reason) == (401, "key_unknown")
    clock.forward(0.1)
    assert site.served(new.token())
    assert server.count == 2


@refuses("RS-27.remote")
def test_a_withdrawn_key_opens_nothing_from_the_first_good_answer_on(
    site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    old, new = author.token(exp=int(clock()) + HOUR), author.rotated()
    assert site.served(old)
    server.publish(key_set(new.keys))
    clock.forward(30)
    assert site.served(old), "nobody has asked yet"
    assert site.served(new.token())
    refused = site.get(old)
    assert (refused.status, refused.reason) == (401, "key_unknown")
    settle()
    assert site.told == [KeysChanged(issuer=server.base, added=(new.kid,), removed=(author.kid,))]


def test_a_key_is_withdrawn_ahead_of_the_keys_end_too(
    site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    token = author.token()
    assert site.served(token)
    gate = Gate(key_set(author.rotated().keys))
    server.publish(gate)
    clock.forward(AT_MOST)
    assert site.served(token), "the fetch is made beside the request"
    gate.open()
    settle()
    assert site.get(token).reason == "key_unknown"
    assert server.count == 2


def test_a_key_that_moves_to_another_kid_is_another_key(
    site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    token = author.token()
    assert site.served(token)
    # The name stays, the key behind it is another: what the old one signed is forged now.
    new = author.rotated()
    server.publish(key_set(new.keys.keys[0].public_jwk() | {"kid": author.kid}))
    clock.forward(AT_MOST)
    site.get(token)
    settle()
    assert site.get(token).reason == "signature_invalid"
    changed = KeysChanged(issuer=server.base, added=(author.kid,), removed=(author.kid,))
    assert site.told == [changed]


def test_a_token_without_kid_is_checked_against_the_only_key(
    site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    nameless = author.factory.token(header={"kid": ABSENT})
    assert site.served(nameless)
    gate = Gate(key_set(author.keys, author.rotated().keys))
    server.publish(gate)
    clock.forward(AT_MOST)
    assert site.served(nameless)
    gate.open()
    settle()
    for _ in range(3):
        clock.forward(31)
        assert site.get(nameless).reason == "key_unknown"
    assert server.count == 2, "no other set would help"


def test_what_cannot_be_used_is_skipped_and_told_once(
    site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    rsa = TokenFactory(algorithm="RS256")
    unnamed = {k: v for k, v in rsa.key.public_jwk().items() if k != "alg"}
    odd = (
        {"kty": "AKP", "kid": "post-quantum", "alg": "ML-DSA-44"},
        author.rotated().keys.keys[0].public_jwk() | {"use": "enc"},
        unnamed | {"kid": "k" * 999},
        {"kty": "x" * 999},
        {"kid": 5},
    )
    server.publish(key_set(author.keys, *odd))
    assert site.served(author.token())
    clock.forward(AT_MOST)
    assert site.served(author.token())
    settle()
    assert server.count == 2
    found = {one.kid[:9]: one.problem for one in site.told if isinstance(one, KeySkipped)}
    assert len(site.told) == 5
    assert "key type 'AKP' is not supported" in found["post-quan"]
    assert all(len(one.kid) + len(one.problem) <= 400 for one in site.told)  # type: ignore[union-attr]
    clock.forward(AT_MOST)
    server.publish(key_set(author.keys, *odd, {"kty": "new", "kid": "6"}))
    assert site.served(author.token())
    settle()
    assert [one.kid for one in site.told[5:]] == ["6"]  # type: ignore[union-attr]


def test_an_rsa_key_that_does_not_say_its_algorithm_has_the_configured_one(
    door: str, server: KeyServer, clock: Clock
) -> None:
    factory = TokenFactory(algorithm="RS256", issuer=server.base, clock=clock)
    members = {k: v for k, v in factory.key.public_jwk().items() if k != "alg"}
    server.publish(key_set(members))
    reasons = {None: "keys_unavailable", "RS256": None, "PS256": "algorithm_not_allowed"}
    for algorithm, reason in reasons.items():
        keys = KeySet.remote(server.url, algorithm=algorithm)
        assert Site(door, factory.settings(keys=keys)).get(factory.token()).reason == reason


# --- how long keys serve


@pytest.mark.parametrize(
    ("fields", "lifetime"),
    [
        ((), 600),
        (("Cache-Control: public",), 600),
        (("Cache-Control: max-age=1200",), 1200),
        (("cache-control: public, MAX-AGE=1200, immutable",), 1200),
        (('Cache-Control: max-age="1200"',), 1200),
        (("Cache-Control: s-maxage=1200",), 600),
        (("Cache-Control: x-max-age=1200",), 600),
        (("Cache-Control: max-age=5",), 60),
        (("Cache-Control: max-age=0",), 60),
        (("Cache-Control: max-age=86400",), 3600),
        (("Cache-Control: max-age=99999999999999999999",), 3600),
        (("Cache-Control: max-age=-1",), 600),
        (("Cache-Control: no-store",), 60),
        (("Cache-Control: no-cache, max-age=1200",), 60),
        (("Expires: Thu, 01 Jan 1970 00:00:00 GMT",), 600),
    ],
)
def test_cache_control_says_how_long_within_limits(
    fields: tuple[str, ...], lifetime: int, server: KeyServer, author: Author, clock: Clock
) -> None:
    server.publish(key_set(author.keys, fields=fields))
    site = at("wsgi", author, server.url)
    began = clock()
    token = author.token(exp=int(began) + 2 * HOUR)
    assert site.served(token)
    clock.now = began + lifetime * 0.74
    assert site.served(token)
    settle()
    assert server.count == 1
    clock.now = began + lifetime * 0.86
    assert site.served(token)
    settle()
    assert server.count == 2


def test_a_fleet_does_not_ask_in_step(server: KeyServer, author: Author) -> None:
    due = set()
    for _ in range(20):
        site = at("wsgi", author, server.url)
        assert site.served(author.token())
        due.add(site.live.fresh.due - author.clock())
    assert len(due) == 20
    assert min(due) >= 0.75 * LIFETIME
    assert max(due) <= 0.85 * LIFETIME


@pytest.mark.parametrize("seconds", [0, 3600])
def test_the_stale_limit_is_configured(
    seconds: int, door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    site = at(door, author, server.url, stale_limit=seconds)
    token = author.token(exp=int(clock()) + 2 * HOUR)
    assert site.served(token)
    server.go_down()
    clock.forward(LIFETIME + seconds - 0.1)
    assert site.served(token)
    settle()
    clock.forward(0.1)
    assert not site.served(token)


@pytest.mark.parametrize("seconds", [-5, -60, -HOUR])
def test_a_clock_that_is_set_back_takes_no_keys_away(
    seconds: float, door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    fetcher = Paced()
    site = at(door, author, server.url, fetcher=fetcher)
    assert site.served(author.token())
    server.publish(hang)
    fetcher.most = QUICK
    clock.forward(seconds)
    for _ in range(3):
        assert site.served(author.token())
    settle()
    assert fetcher.count == (1 if seconds > -10 else 2)
    # Nobody knows how old they are: an hour at most.
    clock.forward(HOUR - 1)
    assert site.served(author.token())
    settle()
    clock.forward(HOUR)
    assert not site.served(author.token())


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_a_clock_may_jump_while_a_fetch_is_under_way(
    seconds: float, door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    site = at(door, author, server.url)
    gate = Gate(key_set(author.keys))
    server.publish(gate)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(site.get, author.token(exp=int(clock()) + 4 * HOUR, iat=1))
        assert gate.reached.wait(10)
        clock.forward(seconds)
        gate.open()
        assert first.result().status == 200
    assert site.served(author.token())
    settle()
    # An hour later they are old, and looked at again; beside the request.
    assert server.count == (1 if seconds < 0 else 2)


def test_after_the_clock_jumped_back_a_lost_fetch_holds_nobody(
    door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    fetcher = Stuck()
    site = at(door, author, server.url, timeout=0.1, fetcher=fetcher)
    with fetcher:
        assert not site.served(author.token())
        clock.forward(-HOUR)
        (refused,) = site.flood([author.token()])
        assert refused.status == 503
        assert refused.seconds < 1
    settle()


# --- fetches that don't come back, and threads that can't be had


class Stuck:
    """A fetcher that hangs, as the name server does that nobody can time out."""

    def __init__(self, then: Fetched | None = None) -> None:
        self.count = 0
        self.then = then
        self._released = Event()

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        self.count += 1
        assert self._released.wait(30)
        if self.then is None:
            raise OSError("no such host")
        return self.then

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._released.set()


def test_a_fetch_that_never_comes_back_is_given_up_by_all(
    door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    fetcher = Stuck()
    site = at(door, author, server.url, timeout=0.1, fetcher=fetcher)
    with fetcher:
        answers = site.flood([author.token()] * 20)
        assert {one.status for one in answers} == {503}
        assert max(one.seconds for one in answers) < 0.1 + LEASE_MARGIN + 2
        # The lease ends, and another try begins after the back-off; a third would hang like them.
        for count in (1, 2, 2, 2):
            assert fetcher.count == count
            clock.forward(1.2)
            assert not site.served(author.token())
            clock.forward(FETCH_BACK_OFF[-1])
            site.get(author.token())
        assert len(fetchers()) == MAX_ALOFT
        (failed,) = site.told
        assert failed == KeysFailed(issuer=server.base, detail="no answer in 1.1 s")
    settle()
    # They have come back: another goes out.
    clock.forward(FETCH_BACK_OFF[-1])
    fetcher.then = Fetched(200, _octets(author.keys))
    assert site.served(author.token())
    settle()
    assert [type(one) for one in site.told] == [KeysFailed, KeysBack]


def test_what_comes_late_is_taken_unless_something_newer_is_there(
    door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    withdrawn, new = author, author.rotated()
    fetcher = InTurn(
        Fetched(200, _octets(withdrawn.keys)),
        Fetched(200, _octets(new.keys)),
        Fetched(200, _octets(withdrawn.keys)),
    )
    site = at(door, author, server.url, timeout=0.1, fetcher=fetcher)
    assert not site.served(new.token())  # the first is lost
    clock.forward(3)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(site.get, new.token())
        until(lambda: fetcher.begun == 2)
        fetcher.answer(1)
        assert second.result().status == 200
    fetcher.answer(0)
    settle()
    assert site.served(new.token())
    assert site.get(withdrawn.token()).reason == "key_unknown"
    # And one that is late, but the newest there is, brings keys.
    clock.forward(AT_MOST)
    assert site.served(new.token())
    until(lambda: fetcher.begun == 3)
    clock.forward(5)
    assert site.served(new.token())
    assert [type(one) for one in site.told][-1] is KeysFailed
    fetcher.answer(2)
    settle()
    assert site.served(withdrawn.token())
    assert [type(one) for one in site.told][-2:] == [KeysBack, KeysChanged]


class InTurn:
    """A fetcher whose answers come when a test says so."""

    def __init__(self, *answers: Fetched) -> None:
        self.begun = 0
        self._answers = answers
        self._released = [Event() for _ in answers]

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        number, self.begun = self.begun, self.begun + 1
        assert self._released[number].wait(30)
        return self._answers[number]

    def answer(self, number: int) -> None:
        self._released[number].set()


def _octets(keys: KeySet) -> bytes:
    return json.dumps(keys.public_jwks()).encode()


@pytest.fixture
def no_threads() -> Iterator[Callable[[], None]]:
    """Let no thread be had any more: each would need more memory than there are addresses."""
    before = threading.stack_size()
    yield lambda: (threading.stack_size(1 << 47), None)[1]
    threading.stack_size(before)


def test_where_no_thread_can_be_had_who_asks_fetches(
    no_threads: Callable[[], None], site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    no_threads()
    token = author.token()
    assert site.served(token)
    assert server.count == 1
    clock.forward(30)
    new = author.rotated()
    server.publish(key_set(new.keys, author.keys))
    assert site.served(new.token())
    assert server.count == 2


def test_where_no_thread_can_be_had_known_keys_still_wait_for_nothing(
    no_threads: Callable[[], None], site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    token = author.token()
    assert site.served(token)
    server.publish(hang)
    clock.forward(AT_MOST)
    no_threads()
    assert site.served(token)
    assert site.told == [KeysFailed(issuer=server.base, detail="can't start new thread")]
    assert server.count == 1
    threading.stack_size(0)
    server.publish(key_set(author.keys))
    clock.forward(1.01)
    assert site.served(token)
    settle()
    assert server.count == 2
    assert is_back(site.told[1:], after=1)


def forking(door: str, url: str, issuer: str, keys: KeySet, known: bool) -> list[list[int]]:
    """Fork while a fetch is under way; return the answers in the child and in its parent."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: not beside threads
    clock = Clock()
    factory = TokenFactory(issuer=issuer, clock=clock)
    factory.keys = keys
    site = Site(door, factory.settings(keys=KeySet.remote(url, timeout=5)))
    statuses: list[int] = []
    asking = None
    if known:
        statuses.append(site.get(factory.token()).status)
        clock.forward(AT_MOST)
        statuses.append(site.get(factory.token()).status)
    else:
        asking = threading.Thread(
            target=lambda: statuses.append(site.flood([factory.token()])[0].status)
        )
        asking.start()
        until(fetchers)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        found = [site.get(factory.token()).status for _ in range(2)]
        settle()
        os.write(writer, bytes(one // 100 for one in found))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = [one * 100 for one in os.read(reader, 9)]
    if asking is not None:
        asking.join()
    settle()
    statuses.append(site.get(factory.token()).status)
    return [theirs, statuses]


@pytest.mark.parametrize("known", [True, False])
def test_a_fork_in_the_middle_of_a_fetch_stops_nobody(
    door: str, known: bool, server: KeyServer, author: Author
) -> None:
    good = key_set(author.keys)
    gate = Gate(good)
    plays: Iterator[Play] = iter([good, gate, good] if known else [gate, good])
    server.publish(lambda line: next(plays)(line))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        forked = processes.submit(forking, door, server.url, server.base, author.keys, known)
        # The child's own fetch is the one after that which its parent waits for.
        until(lambda: server.count == (3 if known else 2))
        gate.open()
        theirs, ours = forked.result()
    assert theirs == [200, 200]
    assert ours == [200] * (3 if known else 2)
    assert server.count == (3 if known else 2)


@pytest.mark.anyio
async def test_who_goes_away_takes_the_answer_from_nobody(
    server: KeyServer, author: Author
) -> None:
    site = at("asgi", author, server.url)
    gate = Gate(key_set(author.keys))
    server.publish(gate)
    sent = Sent("GET", "/", encoded((), author.token()))
    first, *others = [asyncio.create_task(site.by_asgi(sent)) for _ in range(10)]
    await asyncio.to_thread(gate.reached.wait)
    for one in (first, *others[5:]):
        one.cancel()
    await asyncio.sleep(0.05)
    gate.open()
    found = await asyncio.gather(*others[:5])
    assert {one.status for one in found} == {200}
    assert all(one.cancelled() for one in (first, *others[5:]))
    assert server.count == 1


def test_where_all_have_gone_the_keys_come_still(server: KeyServer, author: Author) -> None:
    site = at("asgi", author, server.url)
    gate = Gate(key_set(author.keys))
    server.publish(gate)

    async def gone() -> None:
        asking = site.by_asgi(Sent("GET", "/", encoded((), author.token())))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking, 0.1)

    asyncio.run(gone())  # and their loop with them
    gate.open()
    settle()
    assert site.served(author.token())
    assert server.count == 1


# --- a fetcher of the application's own


class Own:
    """A fetcher that does as it is told."""

    def __init__(self, does: Callable[[str, float, int], Any]) -> None:
        self.does = does

    def fetch(self, url: str, *, timeout: float, limit: int) -> Any:
        return self.does(url, timeout, limit)


def raising(error: BaseException) -> Callable[..., Any]:
    def does(*_: object) -> Any:
        raise error

    return does


@pytest.mark.parametrize(
    ("does", "detail"),
    [
        (raising(KeysUnavailable("the proxy is off")), "the proxy is off"),
        (raising(ZeroDivisionError("division by zero")), "ZeroDivisionError: division by zero"),
        (raising(OSError(101, "unreachable")), "OSError: [Errno 101] unreachable"),
        (lambda *_: None, "AttributeError: "),
        (lambda *_: Fetched(200, b" " * (MAX_SET + 1)), "answers more than 1048576 octets"),
        (lambda *_: Fetched(503, b""), "answers 503"),
    ],
)
def test_a_fetcher_of_ones_own_may_fail_as_it_likes(
    does: Callable[..., Any], detail: str, door: str, author: Author, clock: Clock
) -> None:
    fetcher = Own(does)
    site = at(door, author, "https://keys.example/set", fetcher=fetcher)
    assert not site.served(author.token())
    settle()
    (failed,) = site.told
    assert isinstance(failed, KeysFailed)
    assert detail in failed.detail
    fetcher.does = lambda *_: Fetched(200, _octets(author.keys))
    clock.forward(1)
    assert site.served(author.token())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_the_thread_of_a_fetch_ends_nothing_else(
    door: str, author: Author, clock: Clock
) -> None:
    fetcher = Own(raising(SystemExit(1)))
    site = at(door, author, "https://keys.example/set", fetcher=fetcher)
    for step in FETCH_BACK_OFF[:3]:  # more often than fetches may be lost
        (refused,) = site.flood([author.token()])
        assert refused.status == 503
        assert refused.seconds < 5, "nobody waits for what won't come, as long as it may take"
        settle()
        clock.forward(step)
    fetcher.does = lambda *_: Fetched(200, _octets(author.keys))
    assert site.served(author.token())
    settle()
    assert [type(one) for one in site.told] == [KeysFailed, KeysBack]


def test_a_fetcher_of_ones_own_is_told_the_limits(door: str, author: Author) -> None:
    asked: list[tuple[str, float, int]] = []

    def does(url: str, timeout: float, limit: int) -> Fetched:
        asked.append((url, timeout, limit))
        return Fetched(200, _octets(author.keys), "max-age=60")

    site = at(door, author, "https://keys.example/set", timeout=2, fetcher=Own(does))
    assert site.served(author.token())
    ((url, timeout, limit),) = asked
    assert url == "https://keys.example/set"
    assert 1.9 < timeout <= 2
    assert limit == MAX_SET


def test_after_a_clock_was_set_back_a_known_token_looks_for_keys_too(
    site: Site, server: KeyServer, author: Author, clock: Clock
) -> None:
    # By that clock nobody can say how old the keys are.
    token = author.token()
    for _ in range(2):
        assert site.served(token)
    clock.forward(-20)
    assert site.served(token)
    settle()
    assert len(server.fetches) == 2
