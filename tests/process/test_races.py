"""Many at once with one refresh token: one line goes on. Refresh against revocation: none does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from jwt_middleware import KeySet, Tokens
from jwt_middleware.values.events import Refreshed, Reused
from tests.grant.former import flask_jwt
from tests.grant.test_rt_exchange import claims_of
from tests.issuing import (
    HOUR,
    MINUTE,
    REFRESH,
    REVOKE,
    SITES,
    Clock,
    Kind,
    Site,
    form_octets,
    posted,
    refresh_form,
    single,
    sqlite,
)
from tests.races import SECRET, Process
from tests.rules import accepts, refuses
from tests.world import Raw, Sent, by_asgi, by_wsgi, encoded

THREADS, PROCESSES, ROUNDS = 50, 4, 1000
KEYS = KeySet.secret(SECRET)


def refreshing(token: str) -> Sent:
    return posted(REFRESH, form_octets(refresh_form(token)))


def calling(token: str) -> Sent:
    return Sent("GET", "/", encoded((), token))


def new_token(site: Site, token: str) -> str | None:
    """Refresh; return what is to be presented next, or None where there is nothing more."""
    answer = site.send(refreshing(token))
    return answer.json.get("refresh_token", token) if answer.status == 200 else None


def follow(site: Site, grant_id: str, siblings: list[str]) -> None:
    """Follow every answer: one goes on, the second is found, and then nobody is served."""
    site.clock.forward(2 * MINUTE)
    served = [new_token(site, one) for one in siblings]
    assert [one is not None for one in served] == [True] + [False] * (len(siblings) - 1)
    assert site.row(grant_id).end_reason == "reused"
    for one in served[:1]:
        assert one is not None
        assert new_token(site, one) is None
    assert len([one for one in site.events if isinstance(one, Reused)]) == 1


# --- one token, presented by many at once


@pytest.fixture(params=["wsgi", "asgi"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with single((request.param, sqlite), keys=KEYS) as one:
        yield one


@accepts("RT-11")
@refuses("RT-11")
def test_of_fifty_at_once_one_rotates_and_all_are_served(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    site.clock.forward(HOUR)
    answers = site.at_once([refreshing(tokens.refresh_token)] * THREADS)
    assert [status for status, _, _ in answers] == [200] * THREADS
    hows = sorted(one.how for one in site.events if isinstance(one, Refreshed))
    assert hows == ["repeated"] * (THREADS - 1) + ["rotated"]
    found = [json.loads(body) for _, _, body in answers]
    for one in found:
        assert site.send(calling(one["access_token"])).status == 200
    siblings = [one["refresh_token"] for one in found]
    assert len({claims_of(one)["jti"] for one in siblings}) == THREADS
    assert site.row(tokens.grant_id).generation == 2
    follow(site, tokens.grant_id, siblings)


@accepts("RT-11")
@refuses("RT-11")
def test_of_four_processes_at_once_one_rotates_and_all_are_served(tmp_path: Path) -> None:
    path, clock = tmp_path / "grants.db", Clock()
    site = Site(("wsgi", sqlite), clock, tmp_path, refresh={}, keys=KEYS)
    with ExitStack() as stack:
        stack.callback(site.close)
        tokens = site.ask("issue", "alice")
        clock.forward(HOUR)
        each = THREADS // PROCESSES + 1
        programs = [
            stack.enter_context(Process("present", door, path, clock.now, each))
            for door in ("wsgi", "asgi") * (PROCESSES // 2)
        ]
        assert [one.hear() for one in programs] == ["ready"] * PROCESSES
        for program in programs:
            program.tell(tokens.refresh_token)
        answers = [answer for program in programs for answer in program.hear()]
        assert {status for status, _ in answers} == {200}
        assert len(answers) == each * PROCESSES > THREADS
        siblings = [found["refresh_token"] for _, found in answers]
        assert len({claims_of(one)["jti"] for one in siblings}) == len(answers)
        assert {claims_of(one)["gen"] for one in siblings} == {2}
        follow(site, tokens.grant_id, siblings)


@accepts("RT-33")
def test_an_old_token_in_four_processes_at_once_begins_one_grant(tmp_path: Path) -> None:
    path, clock = tmp_path / "grants.db", Clock()
    site = Site(("wsgi", sqlite), clock, tmp_path, refresh={}, keys=KEYS)
    with ExitStack() as stack:
        stack.callback(site.close)
        site.ask("issue", "bob")  # so that the file is there
        programs = [
            stack.enter_context(Process("present", door, path, clock.now, THREADS // 4, "former"))
            for door in ("wsgi", "asgi") * 2
        ]
        assert [one.hear() for one in programs] == ["ready"] * 4
        for program in programs:
            program.tell(flask_jwt("refresh"))
        answers = [answer for program in programs for answer in program.hear()]
        assert {status for status, _ in answers} == {200}
        (grant,) = site.ask("grants", "alice")
        siblings = [found["refresh_token"] for _, found in answers]
        assert {claims_of(one)["sid"] for one in siblings} == {grant.id}
        assert {claims_of(one)["gen"] for one in siblings} == {1}
        assert len({claims_of(one)["jti"] for one in siblings}) == len(answers)
        clock.forward(HOUR)
        follow(site, grant.id, siblings)


@refuses("RT-13")
@pytest.mark.parametrize("kind", SITES, ids=lambda kind: f"{kind[0]}-{kind[1].__name__}")
def test_of_two_holders_at_once_at_most_one_is_served(kind: Kind) -> None:
    with single(kind) as site:
        for _ in range(10):
            tokens = site.ask("issue", "alice")
            site.clock.forward(HOUR)
            siblings = [new_token(site, tokens.refresh_token) for _ in range(6)]
            site.clock.forward(HOUR)
            answers = site.at_once([refreshing(one) for one in siblings if one])
            statuses = [status for status, _, _ in answers]
            assert statuses.count(200) <= 1
            assert statuses.count(400) >= 5
            assert site.row(tokens.grant_id).end_reason == "reused"
            for status, _, body in answers:
                if status == 200:
                    assert site.send(calling(json.loads(body)["access_token"])).status == 401


# --- refresh against revocation


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """Open two runtimes that share a file, as two processes do."""
    clock = Clock()
    first = Site(("wsgi", sqlite), clock, tmp_path, refresh={}, keys=KEYS)
    second = Site(("wsgi", sqlite), clock, tmp_path, refresh={}, keys=KEYS)
    yield first, second
    first.close()
    second.close()


def endings(site: Site, tokens: Tokens) -> list[Callable[[], Any]]:
    """Return the ways in which an application, or a client, ends a grant."""
    by_refresh = posted(REVOKE, form_octets({"token": tokens.refresh_token}))
    by_access = posted(REVOKE, form_octets({"token": tokens.access_token}))
    return [
        lambda: site.issuer.revoke(tokens.grant_id),
        lambda: site.issuer.revoke_all("alice"),
        lambda: by_wsgi(site.wsgi, by_refresh),
        lambda: by_wsgi(site.wsgi, by_access),
        lambda: site.issuer.issue("bob", replaces=tokens.refresh_token),
    ]


@refuses("RT-14")
def test_nothing_is_alive_after_any_of_a_thousand_races(pair: tuple[Site, Site]) -> None:
    first, second = pair
    served = 0
    barrier = Barrier(2)

    def at_once(do: Callable[[], Any]) -> Any:
        barrier.wait()
        return do()

    with ThreadPoolExecutor(2) as pool:
        for number in range(ROUNDS):
            # In one process, and in two.
            here, there = (first, first) if number % 2 else (first, second)
            tokens = here.issuer.issue("alice")
            here.clock.forward(2 * MINUTE)
            refresh = refreshing(tokens.refresh_token)
            end = endings(there, tokens)[number % 5]
            refreshed = pool.submit(at_once, lambda r=refresh: by_wsgi(first.wsgi, r))  # type: ignore[misc]
            pool.submit(at_once, end).result()
            status, _, body = refreshed.result()
            assert here.row(tokens.grant_id).ended_at is not None
            presentable, access = [tokens.refresh_token], [tokens.access_token]
            if status == 200:
                served += 1
                found = json.loads(body)
                presentable.append(found["refresh_token"])
                access.append(found["access_token"])
            assert nothing_opens(there, presentable, access)
            if there is not here:
                here.clock.forward(2.001)
                assert nothing_opens(here, presentable, access)
    assert 0 < served < ROUNDS, "no race"


def nothing_opens(site: Site, presentable: list[str], access: list[str]) -> bool:
    statuses = [by_wsgi(site.wsgi, refreshing(one))[0] for one in presentable]
    statuses += [by_wsgi(site.wsgi, calling(one))[0] for one in access]
    return not {200, 503}.intersection(statuses)


@refuses("RT-14")
def test_nothing_is_alive_after_a_race_of_tasks() -> None:
    # Each `await` of a verb lets the others go on: every order comes about.
    with single(SITES[-1]) as site:

        async def one(sent: Sent, turns: int) -> Raw:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await by_asgi(site.asgi, sent)

        served = 0
        for before in range(6):
            for after in range(6):
                tokens = site.ask("issue", "alice")
                site.clock.forward(2 * MINUTE)
                end = posted(REVOKE, form_octets({"token": tokens.refresh_token}))

                async def race(sent: Sent, end: Sent, turns: tuple[int, int]) -> tuple[Raw, Raw]:
                    return await asyncio.gather(one(sent, turns[0]), one(end, turns[1]))

                refresh = refreshing(tokens.refresh_token)
                (status, _, body), _ = site.runner.run(race(refresh, end, (before, after)))
                assert site.row(tokens.grant_id).end_reason == "logout"
                if status == 200:
                    served += 1
                    found = json.loads(body)
                    assert new_token(site, found["refresh_token"]) is None
                    assert site.send(calling(found["access_token"])).reason == "grant_ended"
                assert new_token(site, tokens.refresh_token) is None
        assert 0 < served < 36


def test_logins_of_one_user_at_once_never_exceed_the_limit() -> None:
    with single(("wsgi", sqlite), refresh={"grants_per_subject": 5}) as site:
        with ThreadPoolExecutor(20) as pool:
            tokens = list(pool.map(lambda _: site.issuer.issue("alice"), range(40)))
        living = {one.id for one in site.issuer.grants("alice")}
        assert len(living) == 5
        for one in tokens:
            expected = 200 if one.grant_id in living else 401
            assert site.send(calling(one.access_token)).status == expected
