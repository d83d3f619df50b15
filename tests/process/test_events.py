"""What happened is told once, in order, with what is known of it: to a callback and to the log."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Coroutine
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, assert_type, get_args

import pytest

from jwt_middleware import (
    AccessToken,
    EndGrant,
    Event,
    Grant,
    Issuer,
    Refresh,
    StoreUnavailable,
    Tokens,
    TrustedIssuer,
)
from jwt_middleware import events as public
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.process import event_log
from jwt_middleware.process.event_log import MANY
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.stores import new_grant_id
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import TokenFactory
from jwt_middleware.token import refresh
from jwt_middleware.values import events, reasons
from jwt_middleware.values.events import (
    Ahead,
    ConnectionEnded,
    Issued,
    KeyMismatch,
    KeysBack,
    KeysChanged,
    KeysFailed,
    KeySkipped,
    Refreshed,
    Refused,
    Restored,
    Reused,
    Revoked,
    StoreBack,
    StoreFailed,
    StoreNotice,
    SyncLate,
)
from jwt_middleware.values.reasons import Reason
from tests.issuing import (
    DOORS,
    FAULTY,
    HOUR,
    MINUTE,
    REFRESH,
    REVOKE,
    AwaitedStore,
    Clock,
    Site,
    form_octets,
    opened,
    posted,
)
from tests.issuing import World as Grants
from tests.waiting import PATIENCE, until
from tests.world import Answer, Application, Raw, Sent, World, by_asgi, encoded

ALL = get_args(Event)
FACTORY = TokenFactory()
BROWSER, UPDATED = "Browser/1", "Browser/2"


def refreshed(world: Grants, token: str, agent: str | None = BROWSER) -> Answer:
    headers = [("User-Agent", agent)] if agent is not None else []
    return world.refresh(token, headers=headers)


def rotated(world: Grants, token: str, times: int = 1) -> str:
    for _ in range(times):
        world.clock.forward(HOUR)
        token = refreshed(world, token).json["refresh_token"]
    return token


def refused(grant_id: str | None, reason: Reason, status: int = 400, **more: Any) -> Refused:
    given = {"method": "POST", "path": REFRESH} | more
    return Refused(reason=reason, status=status, grant_id=grant_id, **given)


# --- the list


def test_the_list_is_closed() -> None:
    found = {one for one in vars(events).values() if dataclasses.is_dataclass(one)}
    assert found == set(ALL)
    names = [one.name for one in ALL]
    assert len(set(names)) == len(names) == 17


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_an_event_is_a_value(kind: Any) -> None:
    fields = {one.name: f"<{one.name}>" for one in dataclasses.fields(kind)}
    one = kind(**fields)
    assert one == kind(**fields)
    assert hash(one) == hash(kind(**fields))
    assert not hasattr(one, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, next(iter(fields)), "x")
    assert all(value in repr(one) for value in fields.values())
    assert not {"token", "secret", "jti", "claims", "subject", "key"} & set(fields)


# --- logins and refreshes


def test_a_login_is_told(world: Grants) -> None:
    tokens = world.login(client_id="mobile")
    assert world.events == [Issued(grant_id=tokens.grant_id, client_id="mobile", ended=())]


@pytest.mark.parametrize(
    ("at_login", "later", "changed"),
    [
        (BROWSER, BROWSER, False),
        (BROWSER, UPDATED, True),
        (None, BROWSER, None),
        (BROWSER, None, None),
        (None, None, None),
        ("", "", False),
    ],
)
def test_a_refresh_is_told_with_whether_the_user_agent_changed(
    world: Grants, at_login: str | None, later: str | None, changed: bool | None
) -> None:
    tokens = world.login(user_agent=at_login)
    grant_id, first = tokens.grant_id, tokens.refresh_token
    whose: Any = {"grant_id": grant_id, "user_agent_changed": changed}
    expected = [
        Refreshed(how="kept", generation=1, **whose),
        Refreshed(how="rotated", generation=2, **whose),
        Refreshed(how="repeated", generation=2, **whose),
    ]
    found = list(refreshed(world, first, later).events)
    world.clock.forward(HOUR)
    found += refreshed(world, first, later).events
    found += refreshed(world, first, later).events
    assert found == expected


def test_from_the_next_rotation_on_the_new_user_agent_is_the_known_one(world: Grants) -> None:
    token = world.login(user_agent=BROWSER).refresh_token
    seen = []
    for agent in (BROWSER, UPDATED, UPDATED, BROWSER):
        world.clock.forward(HOUR)
        answer = refreshed(world, token, agent)
        token = answer.json["refresh_token"]
        (event,) = answer.events
        assert isinstance(event, Refreshed)
        seen.append(event.user_agent_changed)
    assert seen == [False, True, False, True]


def test_a_new_secret_is_no_new_user_agent() -> None:
    old, new = (sha256(text).digest() for text in (b"the old secret", b"the new secret"))
    with opened(DOORS, refresh={"secret": old}) as world:
        token = world.login(user_agent=BROWSER).refresh_token
        world.clock.forward(HOUR)

        def rotate_secret(site: Site) -> None:
            group = site.settings.refresh
            assert group is not None
            store = Runtime.of(site.settings).store
            changed = replace(group, secret=(new, old), store=store)
            site.settings = site.settings.replace(refresh=changed)
            site._open()

        world.each(rotate_secret)
        for changed, agent in ((False, BROWSER), (True, UPDATED)):
            (event,) = refreshed(world, token, agent).events
            assert isinstance(event, Refreshed)
            assert event.user_agent_changed is changed


@pytest.mark.parametrize("lost", [1, 2, 8])
def test_what_a_failover_lost_is_told(world: Grants, lost: int) -> None:
    tokens = world.login(user_agent=BROWSER)
    before = world.row(tokens.grant_id)
    token = rotated(world, tokens.refresh_token, lost)
    world.each(lambda site: site.put_back(before))
    assert refreshed(world, token, UPDATED).events == (
        Restored(grant_id=tokens.grant_id, generation=1 + lost, lost=lost, user_agent_changed=True),
    )


def test_an_old_backup_is_told(world: Grants) -> None:
    tokens = world.login()
    before = world.row(tokens.grant_id)
    token = rotated(world, tokens.refresh_token, 9)
    world.each(lambda site: site.put_back(before))
    assert refreshed(world, token).events == (
        Ahead(grant_id=tokens.grant_id, gap=9),
        refused(tokens.grant_id, reasons.AHEAD),
    )


@pytest.mark.parametrize("gap", [2, 3])
@pytest.mark.parametrize(("agent", "changed"), [(BROWSER, False), ("curl/8", True), (None, None)])
def test_a_reuse_is_told_with_its_distance(
    world: Grants, gap: int, agent: str | None, changed: bool | None
) -> None:
    tokens = world.login(user_agent=BROWSER)
    rotated(world, tokens.refresh_token, gap)
    world.clock.forward(90)
    assert refreshed(world, tokens.refresh_token, agent).events == (
        Reused(grant_id=tokens.grant_id, gap=gap, seconds=90, user_agent_changed=changed),
        refused(tokens.grant_id, reasons.REUSED),
    )
    # It is told once: who comes again meets a grant that has ended.
    assert refreshed(world, tokens.refresh_token, agent).events == (
        refused(tokens.grant_id, reasons.GRANT_ENDED),
    )


def test_a_sibling_of_the_parent_is_one_generation_away(world: Grants) -> None:
    tokens = world.login()
    sibling = rotated(world, tokens.refresh_token)
    other = refreshed(world, tokens.refresh_token).json["refresh_token"]
    rotated(world, other)
    event = refreshed(world, sibling).events[0]
    assert event == Reused(grant_id=tokens.grant_id, gap=1, seconds=0, user_agent_changed=False)


def test_a_bound_grant_without_proofs_is_told(world: Grants) -> None:
    # This service takes no proofs: the fault is its own, and logs nobody out.
    bound = world.row(world.login().grant_id)

    def add(site: Site) -> tuple[str, str]:
        grant = replace(bound, id=new_grant_id(bound.subject), bound_key="thumbprint")
        site.ask("grants", "alice")
        core = Runtime.of(site.settings).core(asynchronous=site.door == "asgi")
        assert core.issuing is not None
        answer = site.store.add(grant, 9)
        if hasattr(answer, "__await__"):
            site.runner.run(answer)
        keys, now = core.issuing.signing().refresh, world.clock.now
        agent = keys.agent(BROWSER)
        return grant.id, refresh.mint(keys, grant=grant, jti="j", now=now, agent=agent)

    grant_id, token = world.each(add)
    world.clock.forward(HOUR)
    (event,) = refreshed(world, token).events
    assert isinstance(event, Refused)
    assert (event.reason, event.status, event.grant_id) == (reasons.PROOFS_OFF, 503, grant_id)
    assert world.is_alive(grant_id)


# --- ends


def test_a_log_out_is_told_once(world: Grants) -> None:
    tokens = world.login()
    revoked = Revoked(grant_ids=(tokens.grant_id,), reason="logout")
    assert world.revoke(tokens.refresh_token).events == (revoked,)
    assert world.revoke(tokens.refresh_token).events == ()
    assert world.post(REVOKE, {"token": "x"}).events == ()


def test_revocations_by_the_application_are_told_with_their_reason(world: Grants) -> None:
    one, two = world.login(), world.login()
    for _ in range(2):
        world.each(lambda site: site.ask("revoke", one.grant_id, reason="device lost"))
        world.each(lambda site: site.ask("revoke_all", "alice", reason="password changed"))
    assert world.events[2:] == [
        Revoked(grant_ids=(one.grant_id,), reason="device lost"),
        Revoked(grant_ids=(two.grant_id,), reason="password changed"),
    ]


def test_a_login_that_replaces_and_makes_room_tells_both() -> None:
    with opened(refresh={"grants_per_subject": 1}) as world:
        first = world.login()
        second = world.login("bob")
        third = world.login("alice", replaces=second.refresh_token)
        assert world.events[2:] == [
            Revoked(grant_ids=(second.grant_id,), reason="replaced"),
            Issued(grant_id=third.grant_id, client_id="first-party", ended=(first.grant_id,)),
        ]


def test_a_refusal_of_the_hook_is_told_with_its_reason() -> None:
    def claims_for(grant: Grant) -> dict[str, Any]:
        if grant.generation > 1:
            raise EndGrant("user deactivated")
        return {}

    with opened(refresh={"claims_for": claims_for}) as world:
        tokens = world.login()
        world.clock.forward(HOUR)
        assert refreshed(world, tokens.refresh_token).events == (
            Revoked(grant_ids=(tokens.grant_id,), reason="user deactivated"),
            refused(tokens.grant_id, reasons.GRANT_REFUSED),
        )


def test_a_token_of_an_ended_grant_is_refused_by_name(world: Grants) -> None:
    tokens = world.login()
    world.revoke(tokens.refresh_token)
    (event,) = world.call(tokens.access_token).events
    assert event == refused(tokens.grant_id, reasons.GRANT_ENDED, 401, method="GET", path="/")


# --- the store


def test_a_store_that_fails_is_told_until_it_is_back() -> None:
    with opened(FAULTY) as world:
        tokens = world.login()
        world.clock.forward(HOUR)
        world.each(lambda site: site.store.fails.add("advance"))
        failed = StoreFailed(verb="advance", detail="no route to the engine")
        unavailable = refused(
            tokens.grant_id, reasons.STORE, 503, detail="advance: no route to the engine"
        )
        assert refreshed(world, tokens.refresh_token).events == (failed, unavailable)
        world.clock.forward(20)
        assert refreshed(world, tokens.refresh_token).events == (unavailable,)
        world.each(lambda site: site.store.fails.clear())
        world.clock.forward(22)
        back, event = refreshed(world, tokens.refresh_token).events
        assert back == StoreBack(seconds=42)
        assert isinstance(event, Refreshed)


def test_a_sync_that_is_late_is_told_once() -> None:
    with opened(FAULTY, refresh={"sync_limit": 30, "sync_failure": "open"}) as world:
        token = world.login().access_token
        world.call(token)
        world.each(lambda site: site.store.fails.add("ended"))
        for _ in range(10):
            world.clock.forward(6)
            world.call(token)
        told = [one for one in world.events if not isinstance(one, Issued)]
        assert told == [
            StoreFailed(verb="ended", detail="no route to the engine"),
            SyncLate(seconds=36, passing=True),
        ]


# --- a client that hangs up


class Slow(MemoryStore):
    """A store whose `end` waits until it may go on, in a thread of ours."""

    blocking = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock, retention=HOUR)
        self.asked, self.leave = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def end(self, grant_id: str, reason: str) -> bool:
        self.asked.set()
        self.leave.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return super().end(grant_id, reason)


class SlowAwaited(AwaitedStore):
    """The same, awaited."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, Path())
        self.asked, self.leave = threading.Event(), threading.Event()

    async def end(self, *args: Any) -> Any:
        self.asked.set()
        await asyncio.to_thread(self.leave.wait, PATIENCE)
        return await super().end(*args)


class Hung:
    """An application under ASGI with a grant, and a request that hangs up while it ends."""

    def __init__(self, store: Any, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.events: list[Event] = []
        settings = TokenFactory(clock=clock).settings(refresh=Refresh(store=store))
        self.settings = settings.replace(on_event=self.events.append)
        self.app = ASGIMiddleware(Application().asgi, self.settings)

    async def refresh(self, token: str) -> Raw:
        form = form_octets({"grant_type": "refresh_token", "refresh_token": token})
        return await by_asgi(self.app, posted(REFRESH, form))

    async def stolen(self) -> Tokens:
        tokens = await Issuer(self.settings).aissue("alice")
        token = tokens.refresh_token
        for _ in range(2):
            self.clock.forward(HOUR)
            token = json.loads((await self.refresh(token))[2])["refresh_token"]
        return tokens

    async def hang_up(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        await asyncio.to_thread(self.store.asked.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def heard(self) -> None:
        self.store.leave.set()
        before = len(self.events)
        await asyncio.to_thread(until, lambda: len(self.events) > before)


@pytest.mark.parametrize("kind", [Slow, SlowAwaited])
def test_a_theft_is_told_though_the_client_hangs_up(
    kind: type[Slow | SlowAwaited], clock: Clock
) -> None:
    hung = Hung(kind(clock), clock)

    async def play() -> None:
        tokens = await hung.stolen()
        await hung.hang_up(hung.refresh(tokens.refresh_token))
        assert not [one for one in hung.events if one.name == "reused"]
        await hung.heard()
        assert hung.events[-1] == Reused(grant_id=tokens.grant_id, gap=2, seconds=0)
        # And in this process its access tokens are dead.
        sent = Sent("GET", "/", encoded((), tokens.access_token))
        assert (await by_asgi(hung.app, sent))[0] == 401
        (last,) = [one for one in hung.events if one.name == "reused"]
        assert last.grant_id == tokens.grant_id

    asyncio.run(play())


@pytest.mark.parametrize("kind", [Slow, SlowAwaited])
def test_a_revocation_is_told_though_its_caller_hangs_up(
    kind: type[Slow | SlowAwaited], clock: Clock
) -> None:
    hung = Hung(kind(clock), clock)

    async def play() -> None:
        issuer = Issuer(hung.settings)
        tokens = await issuer.aissue("alice")
        await hung.hang_up(issuer.arevoke(tokens.grant_id))
        await hung.heard()
        assert hung.events[-1] == Revoked(grant_ids=(tokens.grant_id,), reason="revoked")

    asyncio.run(play())


@pytest.mark.parametrize("kind", [Slow, SlowAwaited])
def test_a_login_is_told_once_though_its_caller_hangs_up(
    kind: type[Slow | SlowAwaited], clock: Clock
) -> None:
    hung = Hung(kind(clock), clock)

    async def play() -> None:
        issuer = Issuer(hung.settings)
        former = await issuer.aissue("alice")
        hung.events.clear()
        await hung.hang_up(issuer.aissue("alice", replaces=former.refresh_token))
        await hung.heard()
        await asyncio.to_thread(until, lambda: len(hung.events) >= 2)
        await asyncio.sleep(0.05)
        assert [one.name for one in hung.events] == ["revoked", "issued"]

    asyncio.run(play())


def test_an_end_that_fails_after_the_client_hung_up_is_no_theft_told(clock: Clock) -> None:
    hung = Hung(Slow(clock), clock)
    hung.store.error = StoreUnavailable("no route to the engine")

    async def play() -> None:
        tokens = await hung.stolen()
        await hung.hang_up(hung.refresh(tokens.refresh_token))
        await hung.heard()
        assert hung.events[-1].name == "store_failed"

    asyncio.run(play())
    assert not [one for one in hung.events if one.name == "reused"]


def test_a_loop_that_ends_meanwhile_ends_the_flow(clock: Clock) -> None:
    hung = Hung(SlowAwaited(clock), clock)

    async def play() -> None:
        tokens = await hung.stolen()
        task = asyncio.create_task(hung.refresh(tokens.refresh_token))
        await asyncio.to_thread(hung.store.asked.wait, PATIENCE)
        task.cancel()
        await asyncio.wait([task])
        others = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        for one in others:
            one.cancel()
        hung.store.leave.set()
        await asyncio.wait(others)

    asyncio.run(play())
    assert not [one for one in hung.events if one.name == "reused"]


# --- how it is told


EVERY = (
    Refused(reason="expired", status=401, method="GET\n", path="/a\r\nb\u2028", detail="exp"),
    Issued(grant_id="g", client_id="c", ended=("x\ny",)),
    Refreshed(grant_id="g", how="kept", generation=1),
    Restored(grant_id="g", generation=2, lost=1),
    Reused(grant_id="g", gap=2, seconds=1.5),
    Ahead(grant_id="g", gap=9),
    KeyMismatch(grant_id="g"),
    Revoked(grant_ids=("g",), reason="log\nout"),
    StoreFailed(verb="advance", detail="no\nroute"),
    StoreBack(seconds=1.5),
    StoreNotice(notice="another\nhistory"),
    SyncLate(seconds=121.0, passing=True),
    KeysChanged(issuer="https://i", added=("a",), removed=()),
    KeySkipped(issuer="https://i", kid="k\n", problem="p"),
    KeysFailed(issuer="https://i", detail="d\n"),
    KeysBack(issuer="https://i", seconds=1.5),
    ConnectionEnded(reason="expired", kind="websocket", path="/a\nb", grant_id="m1"),
)
LEVELS = {
    logging.INFO: {
        *("refused", "issued", "refreshed", "revoked", "keys_changed", "connection_ended"),
    },
    logging.WARNING: {
        *("restored", "reused", "key_mismatch", "key_skipped", "keys_failed"),
        *("store_back", "store_notice", "keys_back"),
    },
    logging.ERROR: {"ahead", "store_failed", "sync_late"},
}


@pytest.mark.parametrize("event", EVERY, ids=lambda one: one.name)
def test_an_event_is_logged_by_its_weight_in_words_and_with_its_fields(
    event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Runtime.of(FACTORY.settings()).tell((event,))
    (record,) = caplog.records
    assert event.name in LEVELS[record.levelno]
    message = record.getMessage()
    assert message.startswith(f"{event.name}: ")
    assert message.isprintable()
    assert "%(" not in message
    for one in dataclasses.fields(event):
        value, logged = getattr(event, one.name), vars(record)[f"jwt_{one.name}"]
        is_text = isinstance(value, str)
        assert logged == value or is_text or isinstance(value, tuple)
        assert str(logged).isprintable()
        if is_text and value.isprintable():
            assert logged == value
    assert vars(record)["jwt_event"] == event.name


def test_every_event_has_a_weight_and_the_page_says_which() -> None:
    assert {one.name for one in EVERY} == {one.name for one in ALL} == set().union(*LEVELS.values())
    page = (Path(__file__).parent.parent.parent / "docs/events.md").read_text()
    for level, names in LEVELS.items():
        for name in names:
            assert f"| `{name}` | {logging.getLevelName(level)} |" in page


def test_what_nobody_listens_for_is_not_made_into_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "jwt_middleware")
    Runtime.of(FACTORY.settings()).tell((EVERY[0], EVERY[4]))
    (record,) = caplog.records
    assert record.getMessage().startswith("reused: ")


def test_a_theft_is_seen_under_pythons_defaults() -> None:
    code = (
        "import sys\n"
        "from jwt_middleware import Issuer, KeySet, Refresh, Settings\n"
        "from jwt_middleware.events import Issued, Reused\n"
        "from jwt_middleware.process.runtime import Runtime\n"
        "settings = Settings(issuer='https://i', audience='a', keys=KeySet.generate('ES256'))\n"
        "Runtime.of(settings).tell((Issued(grant_id='g1', client_id='c'),))\n"
        "Runtime.of(settings).tell((Reused(grant_id='g2', gap=1, seconds=2.0),))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = run.stderr.splitlines()
    assert line.startswith("reused: ")
    assert "g2" in line


def test_a_name_tells_type_checkers_which_event_it_is() -> None:
    """`make check` runs two of them over this."""

    def told(event: Event) -> int:
        if event.name == "reused":
            assert_type(event, Reused)
            return event.gap
        return 0

    assert [told(one) for one in EVERY[:5:4]] == [0, 2]


def test_the_events_are_public() -> None:
    for one in ALL:
        assert getattr(public, one.__name__) is one
        assert one.__name__ in public.__all__
    assert public.Event is Event
    assert len(public.__all__) == len(ALL) + 1


# --- faults of the application's own code, and of settings


def faults(caplog: pytest.LogCaptureFixture, level: int = logging.ERROR) -> list[str]:
    found = [one.getMessage() for one in caplog.records if one.levelno == level]
    caplog.clear()
    return [one for one in found if not one.startswith("keys: KeySet.generate()")]


def test_a_check_that_raises_is_told_once_a_minute_with_where(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [KeyError("alice"), KeyError("alice"), ValueError("alice")]

    def broken_check(token: AccessToken) -> bool:
        raise errors[0]

    factory = TokenFactory(clock=clock)
    world = World(factory.settings(checks=(broken_check,)))
    for _ in range(3):
        assert world.get(token=factory.token()).reason == "check_failed"
    (line,) = faults(caplog)
    assert line.startswith("checks raised KeyError, and the token was refused\n")
    assert "in broken_check" in line
    assert "alice" not in line
    clock.forward(60)
    world.get(token=factory.token())
    assert len(faults(caplog)) == 1
    del errors[:2]
    world.get(token=factory.token())
    assert len(faults(caplog)) == 1, "another kind of error is another fault"
    clock.forward(-HOUR)
    world.get(token=factory.token(iat=int(clock())))
    assert len(faults(caplog)) == 1, "a clock that is set back silences nothing"


def test_a_user_hook_that_raises_is_told(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    factory, theirs = TokenFactory(clock=clock), TokenFactory(issuer="https://b", clock=clock)

    def user(token: AccessToken) -> str:
        raise LookupError(token.subject)

    trusted = TrustedIssuer(
        issuer=theirs.issuer, audience=theirs.audience, keys=theirs.keys, user=user
    )
    world = World(factory.settings(trusted_issuers=(trusted,)))
    for _ in range(3):
        assert world.get(token=theirs.token()).reason == "user_hook_failed"
    (line,) = faults(caplog)
    assert line.startswith("user raised LookupError")
    assert "alice" not in line


def test_a_hook_that_strangers_can_make_fail_is_told_once_a_minute(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def issuer_for(name: str) -> None:
        raise LookupError("the database is down")

    world = World(TokenFactory(clock=clock).settings(issuer_for=issuer_for))
    strange = TokenFactory(issuer="https://b", clock=clock)
    for _ in range(5):
        assert world.get(token=strange.token()).status == 503
    assert faults(caplog) == ["issuer_for raised LookupError"]


def test_tokens_that_are_all_refused_for_one_reason_are_one_warning(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    factory = TokenFactory(clock=clock)
    world = World(factory.settings(), ["wsgi"])

    def send(count: int, **claims: Any) -> list[str]:
        for _ in range(count):
            sent = encoded((), factory.token(**claims))
            world.through_wsgi("GET", "/", sent)
        return faults(caplog, logging.WARNING)

    assert send(MANY - 1, aud="https://other") == []
    (line,) = send(5, aud="https://other")
    assert "10 tokens were refused for audience_not_ours before any was good" in line
    assert "audience" in line
    assert "https://other" not in line
    assert len(send(2 * MANY, typ="x", header={"typ": "x"})) == 1
    # Old tokens come to every process.
    assert send(2 * MANY, exp=int(clock() - HOUR)) == []
    assert send(1) == []
    assert send(2 * MANY, iss="https://other") == [], "since one was good, the settings are"


def test_every_reason_that_points_to_a_setting_is_one_of_tokens() -> None:
    assert set(event_log._BY_SETTINGS) <= {
        value for value in vars(reasons).values() if isinstance(value, str)
    }


def test_the_log_has_what_the_callback_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jwt_middleware")
    with opened(FAULTY) as world:
        tokens = world.login(user_agent=BROWSER)
        token = rotated(world, tokens.refresh_token, 2)
        world.each(lambda site: site.store.fails.add("advance"))
        refreshed(world, token)
        world.each(lambda site: site.store.fails.clear())
        refreshed(world, tokens.refresh_token)
        world.revoke(token)
        told = [event for site in world.sites for event in site.events]
    written = [vars(one) for one in caplog.records if hasattr(one, "jwt_event")]
    fields = [(one["jwt_event"], one) for one in written]
    for event in told:
        values = {f"jwt_{one.name}": getattr(event, one.name) for one in dataclasses.fields(event)}
        values = {name: list(one) if one == () else one for name, one in values.items()}
        assert any(name == event.name and values.items() <= one.items() for name, one in fields)
    assert len(fields) == len(told)
    assert {event.name for event in told} == {
        *("issued", "refreshed", "store_failed", "store_back", "reused", "refused")
    }


def test_a_callback_that_fails_takes_nothing_from_anyone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with opened(DOORS) as world:

        def broken(site: Site) -> None:
            def fail(event: Event) -> None:
                site.events.append(event)
                raise ZeroDivisionError("a counter of theirs")

            site.settings = site.settings.replace(on_event=fail)
            site._open()

        world.each(broken)
        tokens = world.login()
        token = rotated(world, rotated(world, tokens.refresh_token))
        assert refreshed(world, tokens.refresh_token).status == 400
        assert world.refresh(token).reason == "grant_ended"
        assert [one.name for one in world.events] == [
            *("issued", "refreshed", "refreshed", "reused", "refused", "refused")
        ]
    assert caplog.text.count("on_event failed for reused") == 2


def test_who_is_told_may_ask_the_issuer() -> None:
    # The natural reaction to a theft: end all of the user's other grants, too.
    with opened((("wsgi", DOORS[0][1]),)) as world:
        (site,) = world.sites

        def react(event: Event) -> None:
            if isinstance(event, Reused):
                site.issuer.revoke_all("alice", reason="theft")

        site.settings = site.settings.replace(on_event=react)
        site._open()
        stolen, other = site.issuer.issue("alice"), site.issuer.issue("alice")
        rotated(world, stolen.refresh_token, 2)
        assert refreshed(world, stolen.refresh_token).status == 400
        assert world.row(other.grant_id).end_reason == "theft"
        assert world.call(other.access_token).status == 401


def test_minutes_of_traffic_tell_nothing_but_what_happened(world: Grants) -> None:
    tokens = world.login()
    for _ in range(20):
        world.clock.forward(MINUTE / 4)
        assert world.call(tokens.access_token).events == ()
