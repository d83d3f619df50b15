"""A log-out is in force everywhere within two seconds, and hardly anybody asks the store for it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread, Timer
from threading import enumerate as enumerate_threads
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Route, StoreUnavailable, Tokens
from jwt_middleware.process import poller
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.stores.contract import Ended, Mark
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.values.events import StoreBack, StoreFailed, StoreNotice, SyncLate
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

LIVES_LONG = {"access_lifetime": 2 * HOUR, "sync_wait": 30}  # many seconds: a machine may be busy
QUICK = {**LIVES_LONG, "sync_wait": 0.1}  # where a store hangs
CROWD = 100
LOGINS = 400


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

    blocking = True

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


def in_memory_that_waits(clock: Clock, folder: Path) -> Watched:
    """A store in memory that may wait: it is asked in a thread of its own."""
    store = in_memory(clock, folder)
    store.blocking = True
    return store


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


def until_status(site: Site, tokens: Tokens, status: int) -> None:
    """Call, while time passes, until this status comes."""

    def has_come() -> bool:
        site.clock.forward(1)
        return call(site, tokens).status == status

    until(has_come)


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


def settled(site: Site) -> None:
    """Wait until the question that was begun, if any, has been answered."""
    live = Runtime.of(site.settings).live_store
    assert live is not None

    def is_settled() -> bool:
        site.runner.run(asyncio.sleep(0))  # a question in a task goes on while its loop runs
        return not live.ended.is_due(site.clock())

    until(is_settled)


@opened_sites(ALL)
def test_a_busy_process_asks_once_a_second(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    call(site, tokens)
    site.store.calls.clear()
    for _ in range(200):
        site.clock.forward(0.05)
        assert call(site, tokens).status == 200
        settled(site)
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
    assert site.store.calls["ended"] <= 5, "some may have come just after the answer"
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
    # This request begins the question, and goes on: in memory, the answer is there at once.
    assert call(site, tokens).status == (401 if not site.store.blocking else 200)
    settled(site)
    assert call(site, tokens).reason == "grant_ended"


@opened_sites(ALL)
def test_what_is_heard_is_as_old_as_the_question(site: Site) -> None:
    # An answer that was long on its way says how it was when it was asked.
    tokens = site.ask("issue", "alice")
    site.clock.forward(600)
    site.store.on_the_way = lambda: site.clock.forward(0.9)
    assert call(site, tokens).status == 200
    site.store.on_the_way = None
    end_behind_its_back(site, tokens.grant_id)
    site.clock.forward(1.2)
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
    site.clock.forward(6)
    # The first begins a question, and doesn't wait for a store that has just failed.
    until_status(site, tokens, 200)
    told = [one for one in site.events if isinstance(one, StoreFailed | StoreBack | SyncLate)]
    assert [type(one) for one in told] == [StoreFailed, SyncLate, StoreBack]
    assert told[0] == StoreFailed(verb="ended", detail="no route to the engine")
    assert isinstance(told[1], SyncLate)
    assert not told[1].passing
    assert told[1].seconds > 120
    assert isinstance(told[2], StoreBack)
    assert told[2].seconds == pytest.approx(site.clock.now - begin, abs=8)


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
        assert site.store.calls["ended"] <= 5, "some may have come just after the answer"
        assert crowd(site, other) == [200] * CROWD
        tokens = site.ask("issue", "alice")


# --- a store that hangs


WAITS: tuple[Kind, ...] = (
    ("wsgi", in_memory_that_waits),
    ("asgi", in_memory_that_waits),
    ("asgi", WatchedAwaited),
)


@contextmanager
def hanging(site: Site) -> Generator[Callable[[], None], None, None]:
    """Let the store hang until the function that this yields is called, or the block ends."""
    is_async = isinstance(site.store, WatchedAwaited)
    event: Any = asyncio.Event() if is_async else Event()
    site.store.hangs = event

    def let_go() -> None:
        event.set()
        site.store.hangs = None

    try:
        yield let_go
    finally:
        let_go()


@opened_sites(WAITS)
def test_nobody_who_knows_enough_waits_for_a_store_that_hangs(kind: Kind) -> None:
    with single(kind, refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        assert call(site, tokens).status == 200
        with hanging(site):
            site.clock.forward(1.5)
            for _ in range(20):
                assert call(site, tokens).status == 200
        assert site.store.calls["ended"] <= 2


@opened_sites(WAITS)
def test_who_waits_for_a_store_that_hangs_waits_once_and_goes_on(kind: Kind) -> None:
    with single(kind, refresh=QUICK) as site:
        tokens = site.ask("issue", "alice")
        assert call(site, tokens).status == 200
        with hanging(site):
            site.clock.forward(30)
            assert crowd(site, tokens, 20) == [200] * 20
            asked = site.store.calls["ended"]
            begin = time.monotonic()
            for _ in range(10):
                site.clock.forward(1)
                assert call(site, tokens).status == 200
            assert time.monotonic() - begin < 10, "one may take long on a busy machine"
            # Later than the limit nobody is let in, and nobody waits for long.
            site.clock.forward(200)
            assert crowd(site, tokens, 20) == [503] * 20
            assert site.store.calls["ended"] <= asked + 2
        told = [type(one) for one in site.events if isinstance(one, StoreFailed | SyncLate)]
        assert told == [StoreFailed, SyncLate]


@opened_sites(WAITS)
def test_a_store_that_hung_is_heard_when_it_comes_back(kind: Kind) -> None:
    with single(kind, refresh=QUICK) as site:
        tokens, other = site.ask("issue", "alice"), site.ask("issue", "bob")
        assert call(site, tokens).status == 200
        before = list(site.events)
        with hanging(site) as let_go:
            site.clock.forward(3)
            until(lambda: call(site, tokens).status == 200 and len(site.events) > len(before))
            end_behind_its_back(site, tokens.grant_id)
            let_go()
            until_status(site, tokens, 401)
        site.clock.forward(30)

        def told() -> list[type]:
            assert call(site, other).status == 200
            return [type(one) for one in site.events if isinstance(one, StoreFailed | StoreBack)]

        # A call waits half a second for the store at most, and may be over before it has answered.
        until(lambda: len(told()) > 1)
        assert told() == [StoreFailed, StoreBack]


@opened_sites(WAITS)
def test_a_store_that_is_slow_has_not_failed(kind: Kind) -> None:
    # A database that wakes, or the first connection to another continent.
    with single(kind, refresh=LIVES_LONG) as site:
        tokens, ended = site.ask("issue", "alice"), site.ask("issue", "bob")
        end_behind_its_back(site, ended.grant_id)
        with hanging(site) as let_go:
            site.clock.forward(600)
            wake = Timer(0.7, let_go if kind[1] is not WatchedAwaited else lambda: None)
            wake.start()
            if kind[1] is WatchedAwaited:
                site.runner.get_loop().call_later(0.7, let_go)
            assert crowd(site, tokens, 20) == [200] * 20
            wake.join()
        assert call(site, ended).reason == "grant_ended"
        assert not [one for one in site.events if isinstance(one, StoreFailed)]


@opened_sites((*WAITS, *FILES))
def test_a_known_token_waits_for_no_login(kind: Kind) -> None:
    """Logins take all threads of the store: its question for ended grants has one of its own."""
    with single(kind, refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        assert call(site, tokens).status == 200
        if kind not in FILES:
            site.store.takes = 0.008
        sent = Sent("GET", "/", encoded((), tokens.access_token))

        async def play() -> list[int]:
            logins = [asyncio.create_task(site.issuer.aissue(f"u{one}")) for one in range(LOGINS)]
            statuses = []
            while not all(one.done() for one in logins):
                site.clock.forward(0.5)
                statuses.append((await by_asgi(site.asgi, sent))[0])
                await asyncio.sleep(0.005)
            await asyncio.gather(*logins)
            return statuses

        if site.door == "asgi":
            assert set(site.runner.run(play())) == {200}
        else:
            logins = [Thread(target=site.issuer.issue, args=(f"u{one}",)) for one in range(LOGINS)]
            for one in logins:
                one.start()
            while any(one.is_alive() for one in logins):
                site.clock.forward(0.5)
                assert call(site, tokens).status == 200
        assert not [one for one in site.events if isinstance(one, StoreFailed)]


def test_where_no_thread_can_be_had_who_needs_it_asks_himself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with single(("wsgi", in_memory_that_waits), refresh=LIVES_LONG) as site:
        tokens, other = site.ask("issue", "alice"), site.ask("issue", "bob")
        end_behind_its_back(site, tokens.grant_id)
        monkeypatch.setattr(Thread, "start", start)
        for _ in range(3):
            assert call(site, tokens).reason == "grant_ended"
            assert call(site, other).status == 200
            site.clock.forward(1.5)


def test_of_those_who_ask_themselves_one_asks_for_all() -> None:
    with single(("wsgi", in_memory), refresh=QUICK) as site:
        tokens = site.ask("issue", "alice")
        live = Runtime.of(site.settings).live_store
        assert live is not None
        sent, answers = Sent("GET", "/", encoded((), tokens.access_token)), []
        waiting = Thread(target=lambda: answers.append(by_wsgi(site.wsgi, sent)))
        with live._turn:
            waiting.start()
            waiting.join()
        assert answers[0][0] == 503, "another had the turn for too long, and nothing is known"
    with single(("wsgi", in_memory), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        assert crowd(site, tokens) == [200] * CROWD
        assert site.store.calls["ended"] == 1


def test_a_thread_that_hangs_for_ever_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "HUNG", 0)
    monkeypatch.setattr(poller, "MOST_HUNG", 2)
    with single(("wsgi", in_memory_that_waits), refresh=QUICK) as site:
        tokens = site.ask("issue", "alice")
        assert call(site, tokens).status == 200
        with hanging(site) as let_go:
            for _ in range(6):
                site.clock.forward(30)
                assert call(site, tokens).status in (200, 503)
            assert site.store.calls["ended"] == 4, "the first, the one that hangs, and two more"
            let_go()
            until_status(site, tokens, 200)


def test_the_thread_ends_when_nobody_comes_and_begins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def runs() -> list[str]:
        return [one.name for one in enumerate_threads() if one.name == "jwt_middleware_poller"]

    before = len(runs())
    monkeypatch.setattr(poller, "IDLE_LIMIT", 0.05)
    with single(("wsgi", in_memory_that_waits), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        for _ in range(2):
            assert call(site, tokens).status == 200
            until(lambda: len(runs()) <= before)
            site.clock.forward(600)


def test_closed_settings_leave_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    with single(("wsgi", in_memory_that_waits), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        assert call(site, tokens).status == 200
        live = Runtime.of(site.settings).live_store
        assert live is not None
        thread = live._poller._thread
        assert thread is not None
        site.settings.close()
        thread.join(10)
        assert not thread.is_alive()
        site.clock.forward(600)
        assert call(site, tokens).status == 200


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


async def asked(site: Site, count: int) -> None:
    """Wait until the store has been asked so often."""
    for _ in range(10_000):
        if site.store.calls["ended"] >= count:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("nobody asks")


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
            site.clock.forward(30)
            return (await by_asgi(site.asgi, sent))[0]

        assert site.runner.run(play()) == 200


def test_a_loop_that_ends_during_a_question_holds_up_no_other_loop() -> None:
    with single(("asgi", WatchedAwaited), refresh=QUICK) as site:
        tokens = site.ask("issue", "alice")
        sent = Sent("GET", "/", encoded((), tokens.access_token))

        async def leave() -> None:
            site.store.hangs = asyncio.Event()
            task = asyncio.create_task(by_asgi(site.asgi, sent))
            await asked(site, 1)
            task.cancel()

        asyncio.run(leave())
        site.store.hangs = None
        site.clock.forward(30)
        assert call(site, tokens).status == 200


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


# --- a mass end, and a process that reads many ends


@opened_sites(WAITS)
def test_a_mass_end_is_in_force_everywhere_within_twice_sync_every(kind: Kind) -> None:
    with single(kind, refresh=LIVES_LONG) as site:
        old = site.ask("issue", "alice")
        site.clock.forward(5)
        assert call(site, old).status == 200
        site.store._store.end_before(None)
        site.clock.forward(1)
        young = site.ask("issue", "alice")
        site.clock.forward(1.5)
        assert call(site, old).reason == "grant_ended"
        assert site.send(refresh(old.refresh_token)).reason == "grant_ended"
        site.store.calls.clear()
        for _ in range(3):
            assert call(site, young).status == 200
        assert site.store.calls["is_living"] == 1, "asked for once, and known to live then"
        site.clock.forward(200)
        late = site.ask("issue", "alice")
        assert call(site, late).status == 200
        assert site.store.calls["is_living"] == 1, "begun long after it: no question"
        assert call(site, old).reason == "grant_ended"
        assert refreshed(site, young.refresh_token)


@opened_sites(WAITS)
def test_a_grant_that_survived_one_mass_end_is_asked_for_after_the_next(kind: Kind) -> None:
    with single(kind, refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        site.store._store.end_before(None)
        live = Runtime.of(site.settings).live_store
        assert live is not None
        site.clock.forward(600)
        real, later = site.store._store.is_living, Mark(site.clock(), site.clock() + 0.5)

        def is_living(grant_id: str) -> bool:
            answer: bool = real(grant_id)
            live.ended.heard((), later, site.clock(), more=False)  # meanwhile
            return answer

        site.store._store.is_living = is_living
        tokens = site.ask("issue", "alice")
        site.store._store.end_before(None)
        assert call(site, tokens).status == 200
        del site.store._store.is_living
        site.store.calls.clear()
        assert call(site, tokens).status == 200
        assert site.store.calls["is_living"] == 1, "what was said under the mark before is nothing"


@opened_sites(WAITS[:2])
def test_a_wrong_configuration_that_only_a_question_shows_is_raised(kind: Kind) -> None:
    with single(kind, refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")

        def refused(*_: Any) -> Any:
            raise ConfigurationError("refresh.store", "is for one process")

        site.store._store.ended = refused
        with pytest.raises(ConfigurationError, match="one process"):
            call(site, tokens)


@opened_sites(WAITS)
def test_where_the_store_fails_what_a_mass_end_leaves_open_is_refused(kind: Kind) -> None:
    with single(kind, refresh=LIVES_LONG) as site:
        site.ask("issue", "alice")
        site.store._store.end_before(None)
        tokens = site.ask("issue", "bob")
        assert call(site, site.ask("issue", "carol")).status == 200
        fail(site, fails=True)
        assert call(site, tokens).status == 503
        fail(site, fails=False)
        assert call(site, tokens).status == 200


@opened_sites(WAITS)
def test_a_process_that_reads_many_ends_answers_meanwhile(kind: Kind) -> None:
    with single(kind, refresh=LIVES_LONG) as site:
        tokens, ended = site.ask("issue", "alice"), site.ask("issue", "bob")
        end_behind_its_back(site, ended.grant_id)
        store = site.store._store
        whole, pages = store.ended, count()

        def paged(cursor: Any, horizon: float) -> Ended:
            if next(pages) == 0:
                return Ended((), None, more=True)
            assert gate.wait(20)
            return Ended(*whole(None, horizon))

        gate = Event()
        store.ended = paged
        if kind[1] is WatchedAwaited:
            gate.set()
        assert call(site, tokens).status == 200
        assert call(site, ended).reason == "grant_ended"
        gate.set()
        settled(site)
        site.store.calls.clear()
        assert call(site, tokens).status == 200
        assert site.store.calls == {}


def test_settings_that_are_closed_while_ends_are_read_tell_of_no_failure() -> None:
    with single(("wsgi", in_memory_that_waits), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        pages, gate = count(), Event()

        def endless(_: Any, __: float) -> Ended:
            if next(pages):
                assert gate.wait(20)
            return Ended((), None, more=True)

        site.store._store.ended = endless
        assert call(site, tokens).status == 200
        live = Runtime.of(site.settings).live_store
        assert live is not None
        thread = live._poller._thread
        assert thread is not None
        site.settings.close()
        gate.set()
        thread.join(20)
        assert not thread.is_alive()
        assert not [one for one in site.events if isinstance(one, StoreFailed | SyncLate)]


def test_a_question_that_is_cut_off_by_the_close_is_no_failure_of_the_store() -> None:
    with single(("wsgi", in_memory_that_waits), refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        asked, gate = Event(), Event()

        def cut_off(*_: Any) -> Any:
            asked.set()
            assert gate.wait(20)
            raise ValueError("I/O operation on closed file")

        site.store._store.ended = cut_off
        site.clock.forward(1.5)
        live = Runtime.of(site.settings).live_store
        assert live is not None
        one = live.join(site.clock())
        assert asked.wait(20)
        site.settings.close()
        gate.set()
        with pytest.raises(StoreUnavailable, match="closed"):
            one.done.result(20)
        assert not [one for one in site.events if isinstance(one, StoreFailed | SyncLate)]
        del site.store._store.ended
        site.clock.forward(30)
        assert call(site, tokens).status == 200


@opened_sites(WAITS)
def test_what_the_store_has_noticed_is_told(kind: Kind) -> None:
    with single(kind, refresh=LIVES_LONG) as site:
        tokens = site.ask("issue", "alice")
        whole = site.store._store.ended

        def with_notice(*asked: Any) -> Ended:
            return whole(*asked)._replace(notices=("another history",))

        site.store._store.ended = with_notice
        assert call(site, tokens).status == 200
        assert StoreNotice(notice="another history") in site.events


@opened_sites(WAITS)
def test_a_store_of_the_former_contract_answers_with_two_fields(kind: Kind) -> None:
    with single(kind, refresh=LIVES_LONG) as site:
        tokens, ended = site.ask("issue", "alice"), site.ask("issue", "bob")
        end_behind_its_back(site, ended.grant_id)
        whole = site.store._store.ended
        site.store._store.ended = lambda *asked: tuple(whole(*asked)[:2])
        assert call(site, tokens).status == 200
        assert call(site, ended).reason == "grant_ended"
