"""A process that is killed at any point of a refresh costs nobody his session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import KeySet, Tokens
from jwt_middleware.values.events import Restored, Reused
from tests.issuing import (
    HOUR,
    REFRESH,
    REVOKE,
    Clock,
    Form,
    Site,
    form_octets,
    posted,
    refresh_form,
    sqlite,
)
from tests.races import SECRET, Process
from tests.rules import accepts, refuses
from tests.world import Answer, Sent, encoded


class Bench:
    """One file, served by this process and by others that are killed."""

    def __init__(self, folder: Path, program: Process) -> None:
        self.path = folder / "grants.db"
        self.clock = Clock()
        self.site = Site(
            ("wsgi", sqlite), self.clock, folder, refresh={}, keys=KeySet.secret(SECRET)
        )
        self._program = program

    def send(self, path: str, form: Form) -> Answer:
        return self.site.send(posted(path, form_octets(form)))

    def refresh(self, token: str) -> Answer:
        return self.send(REFRESH, refresh_form(token))

    def renewed(self, token: str) -> str:
        """Return the refresh token that this one is exchanged for, an hour later."""
        self.clock.forward(HOUR)
        answer = self.refresh(token)
        assert answer.status == 200
        found: str = answer.json["refresh_token"]
        return found

    def ends(self, point: int, door: str, path: str, form: Form) -> Any:
        """Have a request served by a process that is killed at a point; say how it ended."""
        asked = {"point": point, "door": door, "at": path, "form": form}
        self._program.tell({**asked, "path": str(self.path), "now": self.clock.now})
        return self._program.hear()

    def is_in(self, token: str) -> bool:
        return self.site.send(Sent("GET", "/", encoded((), token))).status == 200


@pytest.fixture(scope="module")
def program() -> Iterator[Process]:
    with Process("die") as one:
        yield one


@pytest.fixture
def bench(tmp_path: Path, program: Process) -> Iterator[Bench]:
    one = Bench(tmp_path, program)
    yield one
    one.site.close()


doors = pytest.mark.parametrize("door", ["wsgi", "asgi"])
KILLED: Any = "killed"
Prepare = Callable[[Bench], tuple[Tokens, str]]


def logged_in(bench: Bench) -> tuple[Tokens, str]:
    tokens = bench.site.ask("issue", "alice")
    bench.clock.forward(HOUR)
    return tokens, tokens.refresh_token


def answer_lost(bench: Bench) -> tuple[Tokens, str]:
    tokens, token = logged_in(bench)
    bench.renewed(token)
    return tokens, token


def write_lost(bench: Bench) -> tuple[Tokens, str]:
    tokens, token = logged_in(bench)
    before = bench.site.row(tokens.grant_id)
    token = bench.renewed(bench.renewed(token))
    bench.site.put_back(before)
    bench.clock.forward(HOUR)
    return tokens, token


BEFORE: dict[str, tuple[Prepare, int]] = {
    # What happened before, and how many verbs of the store the refresh needs.
    "a rotation": (logged_in, 1),
    "a lost answer": (answer_lost, 1),
    "a lost write": (write_lost, 2),
}


@accepts("RT-12")
@doors
@pytest.mark.parametrize(("prepare", "verbs"), BEFORE.values(), ids=BEFORE)
def test_the_retry_succeeds_wherever_the_process_was_killed(
    bench: Bench, prepare: Prepare, verbs: int, door: str
) -> None:
    point, how = -1, KILLED
    while how == KILLED:
        point += 1
        tokens, token = prepare(bench)
        how = bench.ends(point, door, REFRESH, refresh_form(token))
        answer = bench.refresh(token)  # the client comes again
        assert answer.status == 200, (point, answer.reason)
        assert bench.is_in(answer.json["access_token"])
        # And goes on as if nothing had been.
        token = answer.json.get("refresh_token", token)
        for _ in range(2):
            token = bench.renewed(token)
        assert bench.site.row(tokens.grant_id).ended_at is None
    assert how == 200
    assert point >= 4 * verbs, "before a verb, before each of its statements, and after it"
    assert not [one for one in bench.site.events if isinstance(one, Reused)]
    assert bool([one for one in bench.site.events if isinstance(one, Restored)]) is (verbs > 1)


@refuses("RT-13")
@doors
def test_a_thief_wins_nothing_by_a_process_that_was_killed(bench: Bench, door: str) -> None:
    point, how = -1, KILLED
    while how == KILLED:
        point += 1
        tokens, stolen = logged_in(bench)
        newest = bench.renewed(bench.renewed(stolen))
        bench.clock.forward(HOUR)
        how = bench.ends(point, door, REFRESH, refresh_form(stolen))
        for _ in range(2):
            assert bench.refresh(stolen).status == 400
        assert bench.refresh(newest).status == 400
        assert bench.site.row(tokens.grant_id).end_reason == "reused"
    assert (how, point >= 8) == (400, True)


@refuses("RT-14")
@doors
def test_a_log_out_is_done_or_to_be_repeated(bench: Bench, door: str) -> None:
    point, how = -1, KILLED
    while how == KILLED:
        point += 1
        tokens, token = logged_in(bench)
        how = bench.ends(point, door, REVOKE, {"token": token})
        was_done = bench.site.row(tokens.grant_id).ended_at is not None
        assert was_done or how == KILLED, "an answer that went out holds"
        assert bench.send(REVOKE, {"token": token}).status == 200
        assert bench.refresh(token).status == 400
    assert (how, point >= 4) == (200, True)
