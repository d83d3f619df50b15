"""A log-out reaches every process of a fleet in time, and a store that hangs slows nobody.

Four processes share one store, two under gunicorn and two under uvicorn. What is asserted is what
their clients see: a request counts by the moment at which it was sent, so that whatever was let in
after the bound was let in wrongly, however slow the machine is.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import Tokens
from jwt_middleware.grant.ended import BACK_OFF

from .fleet import PATIENCE, THREADS, Call, Fleet, Member, load
from .fleet.shared import WORK
from .fleet.stores import LONG_TIME_OUT, STORES

SYNC_EVERY = 1.0  # seconds: the default
BOUND = 2 * SYNC_EVERY + 0.5
CROWD = 100
MINUTE = 60.0
IDLE = 10 * MINUTE
SYNC_LIMIT = 2 * MINUTE  # the default
KINDS = ("gunicorn", "uvicorn")

quick = [pytest.param(name, marks=pytest.mark.xdist_group(f"fleet {name}")) for name in STORES]


class World:
    """A fleet of four, and which of its processes serves where."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.members = fleet.start(*KINDS, *KINDS)
        self.pids = pids(self.members, fleet.issuer.issue("scout"))


def pids(members: list[Member], tokens: Tokens) -> dict[Member, int]:
    """Return the one process behind each of these servers."""
    found = {member: member.call(tokens).pid for member in members}
    return {member: pid for member, pid in found.items() if pid is not None}


@pytest.fixture(scope="module", params=quick)
def store(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def world(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Fleet(store, tmp_path_factory.mktemp(store)) as fleet:
        yield World(fleet)


def let_in(calls: list[Call], *, after: float = 0, before: float = float("inf")) -> list[Call]:
    return [one for one in calls if one.status == 200 and after < one.sent < before]


def assert_out(world: World, calls: dict[Member, list[Call]], revoked: float) -> None:
    """Assert that each process let its client in until about the revocation, and not for long."""
    for member, seen in calls.items():
        assert {one.status for one in seen} == {200, 401}
        assert {one.pid for one in let_in(seen)} == {world.pids[member]}
        assert let_in(seen, before=revoked)
        assert let_in(seen, after=revoked + BOUND) == []
        assert seen[-1].sent > revoked + BOUND, "it was asked for long enough"
        last = max(one.sent for one in let_in(seen))
        print(f"{member.name}: {len(seen)} calls, out {last - revoked:+.2f} s after the log-out")


# --- a log-out


def test_under_load_it_holds_everywhere_in_time_for_one_store_call_a_second(world: World) -> None:
    fleet = world.fleet
    tokens, other = fleet.issuer.issue("alice"), fleet.issuer.issue("bob")
    begun = time.monotonic()
    with load(world.members, tokens) as calls:
        time.sleep(2)
        fleet.issuer.revoke(tokens.grant_id)
        revoked = time.monotonic()
        time.sleep(BOUND + 0.5)
    elapsed = time.monotonic() - begun
    assert_out(world, calls, revoked)
    assert {member.call(other).status for member in world.members} == {200}
    asked = fleet.asked(begun)
    assert set(asked) == set(world.pids.values())
    assert all(len(times) <= 1 + elapsed / SYNC_EVERY for times in asked.values()), asked


def test_after_ten_idle_minutes_no_one_of_a_crowd_slips_through(world: World) -> None:
    fleet = world.fleet
    tokens, other = fleet.issuer.issue("alice"), fleet.issuer.issue("bob")
    assert {member.call(tokens).status for member in world.members} == {200}
    fleet.page.forward(IDLE)
    fleet.issuer.revoke(tokens.grant_id)
    for member in world.members:
        begun = time.monotonic()
        assert [one.status for one in member.crowd(tokens, CROWD)] == [401] * CROWD
        elapsed = time.monotonic() - begun
        asked = fleet.asked(begun)
        assert set(asked) == {world.pids[member]}
        assert len(asked[world.pids[member]]) <= 1 + elapsed / SYNC_EVERY
        assert member.call(other).status == 200


def test_the_first_request_of_a_process_that_just_started_is_refused(world: World) -> None:
    fleet = world.fleet
    tokens, other = fleet.issuer.issue("alice"), fleet.issuer.issue("bob")
    fleet.issuer.revoke(tokens.grant_id)
    fleet.page.forward(IDLE)  # longer ago than a process that knows more looks back
    for member in fleet.start(*KINDS):
        assert member.call(tokens).status == 401
        assert member.call(other).status == 200
        member.kill()


def test_a_child_knows_nothing_of_what_its_parent_heard(store: str, tmp_path: Path) -> None:
    # For a minute what is known is good enough, so that who knew it goes on. The parent heard
    # it when it served a request, before it forked.
    with Fleet(store, tmp_path, sync_every=MINUTE) as fleet:
        tokens, other = fleet.issuer.issue("alice"), fleet.issuer.issue("bob")
        (member,) = fleet.start("gunicorn-preload", warm=tokens)
        parent = member.process.pid
        assert set(fleet.asked(0)) == {parent}
        first = workers(member, tokens)
        assert set(fleet.asked(0)) == {parent, *first}, "each asked before it answered"
        fleet.issuer.revoke(tokens.grant_id)
        assert workers(member, tokens) == first, "known for a minute"
        begun = time.monotonic()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        second: set[int] = set()
        while len(second) < len(first):
            assert time.monotonic() < begun + PATIENCE
            assert member.call(tokens).status == 401
            second |= set(fleet.asked(begun))
        assert not second & {parent, *first}
        assert workers(member, other) == second


def workers(member: Member, tokens: Tokens) -> set[int]:
    """Call until both workers of a server have answered; return which they are."""
    found: set[int] = set()
    deadline = time.monotonic() + PATIENCE
    while len(found) < 2:
        assert time.monotonic() < deadline
        found |= {one.pid for one in member.crowd(tokens, 2 * THREADS) if one.pid is not None}
    return found


# --- a store that hangs


def rate(calls: list[Call], begun: float, ended: float) -> float:
    return len([one for one in calls if begun < one.heard <= ended]) / (ended - begun)


@pytest.mark.parametrize("path", ["/", WORK])
def test_a_store_that_hangs_slows_no_known_token(world: World, path: str) -> None:
    fleet, member = world.fleet, world.members[0]
    assert member.name == "gunicorn"
    tokens = fleet.issuer.issue("alice")
    with load([member], tokens, path=path, clients=2 * THREADS) as found:
        calls = found[member]
        time.sleep(1.5)
        begun = time.monotonic()
        fleet.store.pause()
        time.sleep(4)
        hung = time.monotonic()
        fleet.store.go_on()
        fleet.hear("store_back", [world.pids[member]], since=hung, within=PATIENCE)
    asked = fleet.asked(begun)[world.pids[member]]
    before, meanwhile = rate(calls, begun - 1, begun), rate(calls, begun, hung)
    print(f"{path}: {before:.0f}/s, and while the store hangs {meanwhile:.0f}/s,", end=" ")
    print(f"{meanwhile / before:.2f} of it; {len(asked)} store calls")
    assert {one.status for one in calls} == {200}
    slow = [one for one in calls if one.took > 0.4]
    print([round(one.took, 2) for one in slow])
    assert len(slow) <= len(asked), "who waits is who asks"
    # One thread asks, and may be held up all the time. The other three serve.
    assert meanwhile / before > (THREADS - 1) / THREADS
