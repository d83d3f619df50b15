"""A log-out is in force everywhere within two seconds, and hardly anybody asks the store for it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

import pytest

from jwt_middleware import Route, StoreUnavailable, Tokens
from jwt_middleware.process import awaiting, live_store
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.values.events import StoreBack, StoreFailed, SyncLate
from tests.issuing import (
    HOUR,
    REFRESH,
    AwaitedStore,
    Clock,
    Kind,
    Site,
    form_octets,
    posted,
    refresh_form,
    single,
)
from tests.races import Process
from tests.waiting import until
from tests.world import Answer, Sent, by_asgi, by_wsgi, encoded

LIVES_LONG = {"access_lifetime": 2 * HOUR}
CROWD = 100
QUICK = 0.1  # seconds that a request waits for a sync, where one hangs

Limit = Callable[[float], None]


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Return what sets the seconds that a request waits for a sync: many, until a store hangs.

    By the half second of a real one, a busy machine would be taken for a store that hangs.
    """

    def wait(seconds: float) -> None:
        for module in (live_store, awaiting):
            monkeypatch.setattr(module, "SYNC_LIMIT", seconds)
        monkeypatch.setattr(live_store, "GLANCE", seconds)

    wait(30)
    return wait


class Watched:
    """A store that counts what is asked, and fails or hangs when told to."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.blocking = store.blocking
        self.calls: Counter[str] = Counter()
        self.fails = False
        self.hangs: Event | None = None
        self.takes = 0.0  # seconds
        self.on_the_way: Callable[[], object] | None = None

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        real: Callable[..., Any] = getattr(self._store, verb)
        if verb in ("check", "close"):
            return real

        def call(*args: Any) -> Any:
            self.calls[verb] += 1
            if self.hangs is not None:
                assert self.hangs.wait(20)
            time.sleep(self.takes)
            if self.fails:
                raise StoreUnavailable("no route to the engine")
            answer = real(*args)
            if self.on_the_way is not None:
                self.on_the_way()
            return answer

        return call


class WatchedAwaited(AwaitedStore):
    """The same, awaited."""

    def __init__(self, clock: Clock, folder: Path) -> None:
        super().__init__(clock, folder)
        self.calls: Counter[str] = Counter()
        self.fails = False
        self.hangs: asyncio.Event | None = None
        self.on_the_way: Callable[[], object] | None = None

    async def _do(self, verb: str, *args: Any) -> Any:
        self.calls[verb] += 1
        if self.hangs is not None:
            await self.hangs.wait()
        if self.fails:
            raise StoreUnavailable("no route to the engine")
        answer = await super()._do(verb, *args)
        if self.on_the_way is not None:
            self.on_the_way()
        return answer


def in_memory(clock: Clock, _: Path) -> Watched:
    return Watched(MemoryStore(clock=clock, retention=3 * HOUR))


def in_a_file(clock: Clock, folder: Path) -> Watched:
    path = folder / "grants.db"
    return Watched(SQLiteStore(path, clock=clock, retention=3 * HOUR, synchronous="NORMAL"))


MEMORY: tuple[Kind, ...] = (("wsgi", in_memory), ("asgi", in_memory))
FILES: tuple[Kind, ...] = (("wsgi", in_a_file), ("asgi", in_a_file))
ALL: tuple[Kind, ...] = (*MEMORY, *FILES, ("asgi", WatchedAwaited))


def named(kind: Kind) -> str:
    return f"{kind[0]}-{kind[1].__name__}"


def opened_sites(kinds: tuple[Kind, ...], **options: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds, ids=named)


@pytest.fixture
def site(kind: Kind) -> Iterator[Site]:
    with single(kind, refresh=LIVES_LONG, routes=(Route("/open", public=True),)) as one:
        yield one


def call(site: Site, tokens: Tokens | str) -> Answer:
    text = tokens if isinstance(tokens, str) else tokens.access_token
    return site.send(Sent("GET", "/", encoded((), text)))


def crowd(site: Site, tokens: Tokens, count: int = CROWD) -> list[int]:
    """Call so often at the same moment; return the statuses."""
    sent = Sent("GET", "/", encoded((), tokens.access_token))
    return [status for status, _, _ in site.at_once([sent] * count)]


# --- how often is asked


@opened_sites(ALL)
def test_a_request_with_a_known_token_asks_nothing(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    assert call(site, tokens).status == 200
    site.store.calls.clear()
    for _ in range(50):
        assert call(site, tokens).status == 200
    site.clock.forward(1)
    assert call(site, tokens).status == 200
    assert site.store.calls == {}


@opened_sites(ALL)
def test_a_busy_process_asks_once_a_second(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    call(site, tokens)
    site.store.calls.clear()
    for _ in range(200):
        site.clock.forward(0.05)
        assert call(site, tokens).status == 200
    assert 9 <= site.store.calls["ended"] <= 10
    assert set(site.store.calls) == {"ended"}


@opened_sites(ALL)
def test_a_request_that_needs_no_token_of_ours_never_asks(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    site.store.calls.clear()
    site.send(Sent("GET", "/open", encoded((), tokens.access_token)))
    for text in ("x", tokens.refresh_token, tokens.access_token[:-5]):
        assert call(site, text).status == 401
    assert site.send(Sent("GET", "/")).status == 401
    assert site.store.calls == {}


@opened_sites(ALL)
def test_after_ten_idle_minutes_a_crowd_asks_once_and_no_one_slips_through(site: Site) -> None:
    tokens, other = site.ask("issue", "alice"), site.ask("issue", "bob")
    assert crowd(site, tokens, 3) == [200] * 3
    site.clock.forward(600)
    end_behind_its_back(site, tokens.grant_id)
    site.store.calls.clear()
    assert crowd(site, tokens) == [401] * CROWD
    assert site.store.calls == {"ended": 1}
    assert crowd(site, other) == [200] * CROWD


@opened_sites(ALL)
def test_sync_every_zero_asks_for_each_request_and_once_for_those_that_wait(kind: Kind) -> None:
    with single(kind, refresh={**LIVES_LONG, "sync_every": 0}) as site:
        tokens = site.ask("issue", "alice")
        for _ in range(3):
            site.store.calls.clear()
            assert call(site, tokens).status == 200
            assert site.store.calls == {"ended": 1}
        end_behind_its_back(site, tokens.grant_id)
        assert call(site, tokens).status == 401


def test_sync_every_zero_shares_a_question_among_those_who_wait() -> None:
    # Who came before a question was asked needs none of his own.
    with single(("asgi", WatchedAwaited), refresh={"sync_every": 0}) as site:
        ticking = site.settings.replace(clock=lambda: time.time() + 1e6)
        site.settings = ticking
        site._open()
        tokens = site.ask("issue", "alice")
        site.store.calls.clear()
        assert crowd(site, tokens) == [200] * CROWD
        assert site.store.calls["ended"] <= 5


def end_behind_its_back(site: Site, grant_id: str) -> None:
    """End a grant as another process would: in the store, and without a word to this one."""
    site.store._store.end(grant_id, "logout")


# --- how soon it is known


@opened_sites(ALL)
def test_in_its_own_process_a_log_out_holds_at_once(site: Site) -> None:
    for end in ("revoke", "revoke_all"):
        tokens = site.ask("issue", "alice")
        assert call(site, tokens).status == 200
        site.ask(end, tokens.grant_id if end == "revoke" else "alice")
        assert call(site, tokens).reason == "grant_ended"


@opened_sites(ALL)
def test_elsewhere_it_holds_within_twice_sync_every(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    assert call(site, tokens).status == 200
    end_behind_its_back(site, tokens.grant_id)
    # What DESIGN allows: what was heard a second ago is good enough.
    site.clock.forward(1)
    assert call(site, tokens).status == 200
    site.clock.forward(1.001)
    assert call(site, tokens).reason == "grant_ended"


@opened_sites(ALL)
def test_with_any_traffic_at_all_it_holds_after_sync_every(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    assert call(site, tokens).status == 200
    end_behind_its_back(site, tokens.grant_id)
    site.clock.forward(1.001)
    assert call(site, tokens).reason == "grant_ended", "the one that asks for all"


@opened_sites(ALL)
def test_what_is_heard_is_as_old_as_the_question(site: Site) -> None:
    # An answer that was long on its way says how it was when it was asked.
    tokens = site.ask("issue", "alice")
    site.clock.forward(600)
    site.store.on_the_way = lambda: site.clock.forward(0.9)
    assert call(site, tokens).status == 200
    site.store.on_the_way = None
    end_behind_its_back(site, tokens.grant_id)
    site.clock.forward(0.2)
    assert call(site, tokens).reason == "grant_ended"


@opened_sites(ALL)
def test_an_end_that_is_committed_late_is_not_missed(site: Site) -> None:
    # Stamped by a process that then waited for the engine, say, while others went on asking.
    tokens = site.ask("issue", "alice")
    for _ in range(40):
        site.clock.forward(2.5)
        assert call(site, tokens).status == 200
    site.clock.forward(-30)
    end_behind_its_back(site, tokens.grant_id)
    site.clock.forward(32.5)
    assert call(site, tokens).reason == "grant_ended"


@opened_sites(ALL)
def test_a_clock_that_is_set_back_keeps_nobody_from_asking(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    assert call(site, tokens).status == 200
    end_behind_its_back(site, tokens.grant_id)
    site.clock.forward(-20)
    assert call(site, tokens).reason == "grant_ended"


@opened_sites(ALL)
def test_a_clock_that_runs_away_and_comes_back_revives_nobody(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    site.ask("revoke", tokens.grant_id)
    assert call(site, tokens).reason == "grant_ended"
    site.clock.forward(600)  # longer ago than a sync looks back
    site.clock.forward(24 * HOUR)
    # All ends that are known seem to be older than any token.
    assert call(site, site.ask("issue", "bob")).status == 200
    site.clock.forward(-24 * HOUR)
    assert call(site, tokens).reason == "grant_ended"
    assert call(site, tokens).reason == "grant_ended"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    """Open sites that share one file and one clock, as processes of one machine do."""
    sites: list[Site] = []
    clock = Clock()

    def open_site(door: str) -> Site:
        sites.append(Site((door, in_a_file), clock, tmp_path, refresh=LIVES_LONG))
        return sites[-1]

    yield open_site
    for one in sites:
        one.close()


@pytest.mark.parametrize("here", ["wsgi", "asgi"])
@pytest.mark.parametrize("there", ["wsgi", "asgi"])
def test_another_runtime_hears_of_it(pair: Callable[[str], Site], here: str, there: str) -> None:
    first, second = pair(here), pair(there)
    tokens, other = first.ask("issue", "alice"), first.ask("issue", "bob")
    assert call(second, tokens).status == 200
    first.ask("revoke", tokens.grant_id)
    assert call(first, tokens).reason == "grant_ended"
    first.clock.forward(2.001)
    assert call(second, tokens).reason == "grant_ended"
    # Whatever else happens meanwhile, and for as long as the token lives.
    for _ in range(30):
        first.clock.forward(240)
        assert call(second, other).status == 200 or first.clock.now > other_end(other)
        assert call(second, tokens).status == 401


def other_end(tokens: Tokens) -> float:
    return 1_800_000_000 + float(tokens["expires_in"])


@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_a_process_that_just_started_hears_of_it_first(
    pair: Callable[[str], Site], door: str
) -> None:
    first = pair("wsgi")
    tokens = first.ask("issue", "alice")
    first.ask("revoke", tokens.grant_id)
    first.clock.forward(HOUR)  # longer ago than any sync looks back
    assert call(pair(door), tokens).reason == "grant_ended"


def test_a_reuse_found_by_another_process_ends_the_access_tokens_here(
    pair: Callable[[str], Site],
) -> None:
    first, second = pair("wsgi"), pair("asgi")
    tokens = first.ask("issue", "alice")
    call(second, tokens)
    token = tokens.refresh_token
    for _ in range(2):
        first.clock.forward(61)
        token = refreshed(first, token)["refresh_token"]
    assert call(second, tokens).status == 200
    assert first.send(refresh(tokens.refresh_token)).reason == "refresh_token_reused"
    first.clock.forward(2.001)
    assert call(second, tokens).reason == "grant_ended"


def refresh(token: str) -> Sent:
    return posted(REFRESH, form_octets(refresh_form(token)))


def refreshed(site: Site, token: str) -> dict[str, Any]:
    answer = site.send(refresh(token))
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_a_forked_child_asks_before_it_answers(tmp_path: Path, door: str) -> None:
    with Process("fork_and_revoke", door, tmp_path / "grants.db") as process:
        # The clock stands: what the parent knew would be young.
        assert process.hear() == {"child": 401, "parent": 401, "other": 200}
        assert process.wait() == 0


# --- without the store


def fail(site: Site, *, fails: bool) -> None:
    site.store.fails = fails


@opened_sites(ALL)
def test_without_the_store_it_goes_on_for_two_minutes_and_then_refuses(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    assert call(site, tokens).status == 200
    begin = site.clock.now
    fail(site, fails=True)
    site.store.calls.clear()
    while site.clock.now < begin + 119:
        site.clock.forward(1)
        assert call(site, tokens).status == 200
    assert site.store.calls["ended"] <= 30, "it backs off"
    assert not [one for one in site.events if isinstance(one, SyncLate)]
    site.clock.forward(1.5)
    answer = call(site, tokens)
    site.clock.forward(5)
    answer = call(site, tokens)
    assert (answer.status, answer.error, answer.reached) == (503, "temporarily_unavailable", False)
    assert answer.header("retry-after") == "1"
    assert answer.header("www-authenticate") is None
    for _ in range(20):
        site.clock.forward(1)
        assert call(site, tokens).status == 503
    fail(site, fails=False)
    site.clock.forward(5)
    assert call(site, tokens).status == 200
    told = [one for one in site.events if isinstance(one, StoreFailed | StoreBack | SyncLate)]
    assert [type(one) for one in told] == [StoreFailed, SyncLate, StoreBack]
    assert told[0] == StoreFailed(verb="ended", detail="no route to the engine")
    assert isinstance(told[1], SyncLate)
    assert not told[1].passing
    assert told[1].seconds > 120
    assert isinstance(told[2], StoreBack)
    assert told[2].seconds == pytest.approx(site.clock.now - begin, abs=3)


@opened_sites(ALL)
def test_open_goes_on_for_ever_but_for_what_is_known_to_have_ended(kind: Kind) -> None:
    with single(kind, refresh={**LIVES_LONG, "sync_failure": "open"}) as site:
        tokens, ended = site.ask("issue", "alice"), site.ask("issue", "alice")
        site.ask("revoke", ended.grant_id)
        fail(site, fails=True)
        for _ in range(60):
            site.clock.forward(10)
            assert call(site, tokens).status == 200
            assert call(site, ended).reason == "grant_ended"
        (late,) = [one for one in site.events if isinstance(one, SyncLate)]
        assert late.passing


@opened_sites(ALL)
def test_what_is_known_to_have_ended_is_refused_without_a_question(site: Site) -> None:
    # An end is for ever; who holds a dead token must not make us ask.
    ended = site.ask("issue", "alice")
    site.ask("revoke", ended.grant_id)
    fail(site, fails=True)
    site.store.calls.clear()
    for _ in range(3):
        site.clock.forward(300)
        assert call(site, ended).reason == "grant_ended"
    assert site.store.calls == {}


@opened_sites(MEMORY)
def test_it_is_late_once_each_time(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    for _ in range(2):
        fail(site, fails=False)
        site.clock.forward(10)
        assert call(site, tokens).status == 200
        fail(site, fails=True)
        for _ in range(4):
            site.clock.forward(100)
            call(site, tokens)
    assert len([one for one in site.events if isinstance(one, SyncLate)]) == 2
    assert len([one for one in site.events if isinstance(one, StoreFailed)]) == 2


@opened_sites(ALL)
def test_what_needs_no_token_of_ours_is_served_without_the_store(site: Site) -> None:
    fail(site, fails=True)
    site.clock.forward(HOUR)
    assert site.send(Sent("GET", "/open")).status == 200
    assert site.send(Sent("GET", "/")).status == 401


@opened_sites(ALL)
def test_a_crowd_before_a_store_that_is_down_asks_it_once(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    call(site, tokens)
    fail(site, fails=True)
    site.store.calls.clear()
    site.clock.forward(60)
    assert crowd(site, tokens) == [200] * CROWD
    assert site.store.calls["ended"] <= 3
    # And who is late is answered: no thread waits for its turn to hear the same.
    site.clock.forward(600)
    assert crowd(site, tokens) == [503] * CROWD
    assert site.store.calls["ended"] <= 6
    told = Counter(type(one) for one in site.events)
    assert (told[StoreFailed], told[SyncLate]) == (1, 1)


@opened_sites(ALL)
def test_who_was_idle_since_the_store_failed_asks_like_any_other(site: Site) -> None:
    tokens, other = site.ask("issue", "alice"), site.ask("issue", "bob")
    for idle in (60, 600):
        assert call(site, tokens).status == 200
        fail(site, fails=True)
        site.clock.forward(3)
        assert call(site, other).status == 200
        fail(site, fails=False)
        end_behind_its_back(site, tokens.grant_id)
        site.clock.forward(idle)
        site.store.calls.clear()
        assert crowd(site, tokens) == [401] * CROWD
        assert site.store.calls == {"ended": 1}
        assert crowd(site, other) == [200] * CROWD
        tokens = site.ask("issue", "alice")


# --- a store that hangs


async def asked(site: Site, count: int) -> None:
    """Wait until the store has been asked so often."""
    for _ in range(10_000):
        if site.store.calls["ended"] >= count:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("nobody asks")


def test_one_thread_waits_for_a_store_that_hangs_and_the_others_go_on(
    limit: Limit,
) -> None:
    with single(("wsgi", in_memory), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        assert call(site, tokens).status == 200
        limit(QUICK)
        site.store.hangs = Event()
        site.clock.forward(1.5)
        sent, answers = Sent("GET", "/", encoded((), tokens.access_token)), []
        waiting = Thread(target=lambda: answers.append(by_wsgi(site.wsgi, sent)))
        waiting.start()
        while not site.store.calls["ended"] > 1:
            time.sleep(0.001)
        for _ in range(20):
            assert call(site, tokens).status == 200
        # Later everyone has to ask; nobody waits for long behind the one who does.
        site.clock.forward(30)
        begin = time.monotonic()
        assert crowd(site, tokens, 20) == [200] * 20
        assert time.monotonic() - begin < 10
        assert answers == []
        site.store.hangs.set()
        waiting.join()
        ((status, _, _),) = answers
        assert status == 200


def test_a_store_that_hangs_for_long_holds_up_one_thread_and_no_second(
    limit: Limit,
) -> None:
    with single(("wsgi", in_memory), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        assert call(site, tokens).status == 200
        limit(QUICK)
        site.store.hangs = Event()
        site.clock.forward(30)
        sent, answers = Sent("GET", "/", encoded((), tokens.access_token)), []
        waiting = Thread(target=lambda: answers.append(by_wsgi(site.wsgi, sent)))
        waiting.start()
        while not site.store.calls["ended"] > 1:
            time.sleep(0.001)
        assert call(site, tokens).status == 200, "waited for the rest of the limit, and went on"
        took = []
        for _ in range(15):
            site.clock.forward(5.1)  # after each back-off one tries again
            begin = time.monotonic()
            assert call(site, tokens).status == 200
            took.append(time.monotonic() - begin)
        # All would; one may take as long on a busy machine.
        assert median(took) < QUICK, "not even that one waits"
        assert site.store.calls["ended"] == 2
        assert answers == []
        site.store.hangs.set()
        waiting.join()
        assert answers[0][0] == 200
        # What it heard is as old as its question: the next one asks again.
        site.clock.forward(5.1)
        assert call(site, tokens).status == 200
        assert site.store.calls["ended"] == 3
        told = [type(one) for one in site.events if isinstance(one, StoreFailed | StoreBack)]
        assert told == [StoreFailed, StoreBack]


def fail_once(site: Site, tokens: Tokens) -> None:
    """Let one request hear that the store fails, which would answer the next."""
    assert call(site, tokens).status == 200
    fail(site, fails=True)
    site.clock.forward(1.5)
    assert call(site, tokens).status == 200
    fail(site, fails=False)


def test_who_tries_a_store_that_has_failed_waits_a_moment_and_goes_on(limit: Limit) -> None:
    with single(("wsgi", in_memory), refresh=LIVES_LONG) as site:
        tokens, other = site.ask("issue", "alice"), site.ask("issue", "bob")
        fail_once(site, tokens)
        limit(QUICK)
        site.store.hangs = Event()
        site.store.calls.clear()
        took = []
        for _ in range(10):
            site.clock.forward(2)
            begin = time.monotonic()
            assert call(site, tokens).status == 200
            took.append(time.monotonic() - begin)
        assert site.store.calls == {"ended": 1}, "and the others don't ask behind it"
        assert median(took) < QUICK
        site.clock.forward(600)
        assert call(site, tokens).status == 503
        limit(30)
        end_behind_its_back(site, tokens.grant_id)
        site.store.hangs.set()
        # The answer came to nobody, and is told; whoever comes now asks for one of his own.
        until(lambda: any(isinstance(one, StoreBack) for one in site.events))
        site.clock.forward(5.1)
        assert call(site, tokens).reason == "grant_ended"
        assert call(site, other).status == 200
        told = [type(one) for one in site.events if isinstance(one, StoreFailed | StoreBack)]
        assert told == [StoreFailed, StoreBack]


def test_who_tries_a_store_that_has_come_back_has_its_answer() -> None:
    # A moment is longer than it takes: who comes after the back-off isn't let in by old news.
    for end in (True, False):
        with single(("wsgi", in_memory), refresh=LIVES_LONG) as site:
            tokens = site.ask("issue", "alice")
            fail_once(site, tokens)
            if end:
                end_behind_its_back(site, tokens.grant_id)
            site.clock.forward(1.001)
            assert call(site, tokens).status == (401 if end else 200)


def test_where_no_thread_can_be_had_who_tries_asks_himself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with single(("wsgi", in_memory), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        fail_once(site, tokens)
        end_behind_its_back(site, tokens.grant_id)
        site.clock.forward(1.001)
        monkeypatch.setattr(Thread, "start", start)
        assert call(site, tokens).reason == "grant_ended"


def test_who_waits_for_long_but_not_for_a_store_that_hangs_has_his_answer(
    limit: Limit,
) -> None:
    # In a crowd a turn may come late although each is short.
    with single(("wsgi", in_memory), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        site.clock.forward(600)
        end_behind_its_back(site, tokens.grant_id)
        limit(QUICK)
        live = Runtime.of(site.settings).live_store
        assert live is not None
        sent, answers = Sent("GET", "/", encoded((), tokens.access_token)), []
        waiting = Thread(target=lambda: answers.append(by_wsgi(site.wsgi, sent)))
        with live.turn:
            waiting.start()
            time.sleep(1.5 * QUICK)
            asked = live.ended.question()
            live.ended.succeeded(site.clock(), asked, *site.store.ended(*asked))
            waiting.join()
        assert answers[0][0] == 401
        assert site.store.calls["ended"] == 1
        assert [one.name for one in site.events].count("store_failed") == 0


@pytest.mark.parametrize("make", [in_a_file, WatchedAwaited])
def test_a_store_that_hangs_under_asgi_stops_no_known_token(make: Any, limit: Limit) -> None:
    with single(("asgi", make), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        sent = Sent("GET", "/", encoded((), tokens.access_token))

        async def play() -> None:
            is_async = make is WatchedAwaited
            assert (await by_asgi(site.asgi, sent))[0] == 200
            limit(1)  # so that the others are through before it is over, on a busy machine, too
            site.store.hangs = asyncio.Event() if is_async else Event()
            site.clock.forward(1.5)
            waiting = asyncio.create_task(by_asgi(site.asgi, sent))
            await asked(site, 2)
            for _ in range(20):
                assert (await by_asgi(site.asgi, sent))[0] == 200
            assert not waiting.done()
            assert (await waiting)[0] == 200, "heard nothing, and went on"
            limit(QUICK)
            site.clock.forward(60)
            crowd = await asyncio.gather(*(by_asgi(site.asgi, sent) for _ in range(CROWD)))
            assert {status for status, _, _ in crowd} == {200}
            site.clock.forward(600)
            assert (await by_asgi(site.asgi, sent))[0] == 503
            site.store.hangs.set()

        begin = time.monotonic()
        site.runner.run(play())
        assert site.store.calls["ended"] <= 4
        assert time.monotonic() - begin < 10


def test_who_goes_away_takes_the_answer_from_nobody() -> None:
    with single(("asgi", WatchedAwaited), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        sent = Sent("GET", "/", encoded((), tokens.access_token))

        async def play() -> list[int]:
            assert (await by_asgi(site.asgi, sent))[0] == 200
            site.store.hangs = asyncio.Event()
            site.clock.forward(600)
            waiting = [asyncio.create_task(by_asgi(site.asgi, sent)) for _ in range(10)]
            await asked(site, 2)
            for task in waiting[:5]:  # the first of them is the one that asked
                task.cancel()
            await asyncio.sleep(0)
            site.store.hangs.set()
            gone = await asyncio.gather(*waiting[:5], return_exceptions=True)
            assert {type(one) for one in gone} == {asyncio.CancelledError}
            return [(await task)[0] for task in waiting[5:]]

        assert site.runner.run(play()) == [200] * 5
        assert site.store.calls["ended"] == 2


def test_where_all_go_away_the_next_one_asks() -> None:
    with single(("asgi", WatchedAwaited), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        sent = Sent("GET", "/", encoded((), tokens.access_token))

        async def play() -> int:
            site.store.hangs = asyncio.Event()
            site.store.fails = True
            waiting = [asyncio.create_task(by_asgi(site.asgi, sent)) for _ in range(3)]
            await asyncio.sleep(0.01)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            site.store.hangs.set()
            await asyncio.sleep(0.01)
            site.store.fails = False
            site.clock.forward(2)
            return (await by_asgi(site.asgi, sent))[0]

        assert site.runner.run(play()) == 200


def test_one_settings_object_serves_two_event_loops_at_once() -> None:
    with single(("asgi", in_a_file), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        site.store.takes = 0.02
        sent = Sent("GET", "/", encoded((), tokens.access_token))
        statuses: list[int] = []

        async def some() -> None:
            found = await asyncio.gather(*(by_asgi(site.asgi, sent) for _ in range(20)))
            statuses.extend(status for status, _, _ in found)

        threads = [Thread(target=lambda: asyncio.run(some())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 80
