"""What happened is told once, in order, with what is known of it: to a callback and to the log."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import replace
from hashlib import sha256
from typing import Any, get_args

import pytest

from jwt_middleware import EndGrant, Event, Grant
from jwt_middleware.runtime import Runtime
from jwt_middleware.stores import new_grant_id
from jwt_middleware.token import refresh
from jwt_middleware.values import events, reasons
from jwt_middleware.values.events import (
    Ahead,
    Issued,
    KeyMismatch,
    Refreshed,
    Refused,
    Restored,
    Reused,
    Revoked,
    StoreBack,
    StoreFailed,
    SyncLate,
)
from jwt_middleware.values.reasons import Reason
from tests.issuing import DOORS, FAULTY, HOUR, MINUTE, REFRESH, REVOKE, Site, World, opened
from tests.world import Answer

ALL = get_args(Event)
BROWSER, UPDATED = "Browser/1", "Browser/2"


def refreshed(world: World, token: str, agent: str | None = BROWSER) -> Answer:
    headers = [("User-Agent", agent)] if agent is not None else []
    return world.refresh(token, headers=headers)


def rotated(world: World, token: str, times: int = 1) -> str:
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
    assert len(set(names)) == len(names) == 15


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


def test_a_login_is_told(world: World) -> None:
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
    world: World, at_login: str | None, later: str | None, changed: bool | None
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


def test_from_the_next_rotation_on_the_new_user_agent_is_the_known_one(world: World) -> None:
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
def test_what_a_failover_lost_is_told(world: World, lost: int) -> None:
    tokens = world.login(user_agent=BROWSER)
    before = world.row(tokens.grant_id)
    token = rotated(world, tokens.refresh_token, lost)
    world.each(lambda site: site.put_back(before))
    assert refreshed(world, token, UPDATED).events == (
        Restored(grant_id=tokens.grant_id, generation=1 + lost, lost=lost, user_agent_changed=True),
    )


def test_an_old_backup_is_told(world: World) -> None:
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
    world: World, gap: int, agent: str | None, changed: bool | None
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


def test_a_sibling_of_the_parent_is_one_generation_away(world: World) -> None:
    tokens = world.login()
    sibling = rotated(world, tokens.refresh_token)
    other = refreshed(world, tokens.refresh_token).json["refresh_token"]
    rotated(world, other)
    event = refreshed(world, sibling).events[0]
    assert event == Reused(grant_id=tokens.grant_id, gap=1, seconds=0, user_agent_changed=False)


def test_a_proof_by_another_key_is_told(world: World) -> None:
    # Nothing issues bound grants yet; the rule knows them.
    bound = world.row(world.login().grant_id)

    def add(site: Site) -> tuple[str, str]:
        grant = replace(bound, id=new_grant_id(bound.subject), bound_key="thumbprint")
        site.ask("grants", "alice")
        core = Runtime.of(site.settings).core(asynchronous=site.door == "asgi")
        assert core.exchange is not None
        answer = site.store.add(grant, 9)
        if hasattr(answer, "__await__"):
            site.runner.run(answer)
        keys, now = core.exchange.keys, world.clock.now
        agent = keys.agent(BROWSER)
        return grant.id, refresh.mint(keys, grant=grant, jti="j", now=now, agent=agent)

    grant_id, token = world.each(add)
    world.clock.forward(HOUR)
    assert refreshed(world, token).events == (
        KeyMismatch(grant_id=grant_id, user_agent_changed=False),
        refused(grant_id, reasons.KEY_MISMATCH),
    )
    assert world.is_alive(grant_id)


# --- ends


def test_a_log_out_is_told_once(world: World) -> None:
    tokens = world.login()
    revoked = Revoked(grant_ids=(tokens.grant_id,), reason="logout")
    assert world.revoke(tokens.refresh_token).events == (revoked,)
    assert world.revoke(tokens.refresh_token).events == ()
    assert world.post(REVOKE, {"token": "x"}).events == ()


def test_revocations_by_the_application_are_told_with_their_reason(world: World) -> None:
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


def test_a_token_of_an_ended_grant_is_refused_by_name(world: World) -> None:
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


# --- how it is told


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


def test_minutes_of_traffic_tell_nothing_but_what_happened(world: World) -> None:
    tokens = world.login()
    for _ in range(20):
        world.clock.forward(MINUTE / 4)
        assert world.call(tokens.access_token).events == ()
