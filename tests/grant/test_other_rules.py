"""The columns of the table in docs/refresh.md that aren't ours: each rule, played in a few lines.

A rule keeps what a server of its kind keeps for one login. `present` returns the token that the
answer brings, or None: the login has ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TypeAlias

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs" / "refresh.md"
WINDOW = 30  # seconds; what servers have by default lies between 0 and 60
HOUR, DAY = 3600, 86400


class Rule:
    """Every second use of a token is theft."""

    def __init__(self) -> None:
        self.names = count(2)
        self.now = 0.0
        self.rotated_at = 0.0
        self.current: int = 1
        self.previous: int | None = None
        self.ended = False
        self.used: dict[int, float] = {}  # by those that begin lines
        self.generation = {1: 1}  # of each token

    def present(self, token: int) -> int | None:
        """Answer a refresh."""
        if self.ended:
            return None
        found = self.rotate() if token == self.current else self.answer_again(token)
        self.ended = found is None
        return found

    def rotate(self) -> int:
        self.previous, self.rotated_at = self.current, self.now
        self.current = next(self.names)
        return self.current

    def answer_again(self, token: int) -> int | None:
        """Answer a token that isn't the present one; None: theft."""
        return None

    @property
    def in_window(self) -> bool:
        return self.now - self.rotated_at <= WINDOW


class RotateAgain(Rule):
    """The token before is rotated once more for some seconds; what it had become is then old."""

    def answer_again(self, token: int) -> int | None:
        if token != self.previous or not self.in_window:
            return None
        self.current = next(self.names)
        return self.current


class SameAgain(Rule):
    """The token before is answered with the present one, for some seconds."""

    def answer_again(self, token: int) -> int | None:
        return self.current if token == self.previous and self.in_window else None


class Fork(Rule):
    """For some seconds, every use of a token begins a line of its own."""

    def present(self, token: int) -> int | None:
        first = self.used.setdefault(token, self.now)
        if token not in self.generation:  # lost in a failover
            self.ended = True
        self.ended |= self.now - first > WINDOW
        if self.ended:
            return None
        child = next(self.names)
        self.generation[child] = 0
        return child


class Predecessor(Rule):
    """The token before the present one is always good; nobody tells siblings apart."""

    def present(self, token: int) -> int | None:
        behind = max(self.generation.values()) - self.generation.get(token, -9)
        self.ended |= behind > 1
        if self.ended:
            return None
        child = next(self.names)
        self.generation[child] = self.generation[token] + 1
        return child


RULES: dict[str, type[Rule]] = {
    "strict": Rule,
    "fork within a window": Fork,
    "rotate again within one": RotateAgain,
    "the same answer again within one": SameAgain,
    "accept the predecessor": Predecessor,
}
Story: TypeAlias = Callable[[Rule], bool]


def lost(*waits: float) -> tuple[Story, ...]:
    def story(wait: float) -> Story:
        def play(rule: Rule) -> bool:
            rule.present(1)  # nobody gets this answer
            rule.now += wait
            return rule.present(1) is not None

        return play

    return tuple(map(story, waits))


def two_tabs(rule: Rule) -> bool:
    """Both ask at once, and the first answer comes last; the store holds what came last."""
    first, second = rule.present(1), rule.present(1)
    if first is None or second is None:
        return False
    rule.now += 600
    return rule.present(first) is not None


def failover(rule: Rule) -> bool:
    """The store has lost the last write, and the client has the token of it."""
    token = rule.present(1)
    assert token is not None
    rule.__init__()  # type: ignore[misc]
    return rule.present(token) is not None


def never_adopts(rule: Rule) -> bool:
    for _ in range(30):
        if rule.present(1) is None:
            return False
        rule.now += DAY
    return True


def two_copies(pace: float) -> Story:
    """Two refresh in turns, each going on with its own answers; return whether both still can."""

    def play(rule: Rule) -> bool:
        held: list[int | None] = [1, 1]
        for _ in range(20):
            for who in (0, 1):
                if held[who] is not None:
                    held[who] = rule.present(held[who] or 0)
                rule.now += pace
            rule.now += 600
        return None not in held

    return play


OK = {True: "ok", False: "logout"}
FOUND = {True: "never found in step", False: "found"}
# By the beginning of the row: the stories, and the words for their ends.
ROWS: dict[str, tuple[tuple[Story, ...], dict[bool, str]]] = {
    "answer lost": (lost(3, HOUR, 3 * DAY), OK),
    "two tabs": ((two_tabs,), OK),
    "client used": (lost(600), OK),
    "browser": (lost(5), OK),
    "failover": ((failover,), OK),
    "thief": ((two_copies(2),), FOUND),
    "a client that never": ((never_adopts,), OK),
}


def cells(row: str) -> dict[str, str]:
    """Return a row of the table, by the names of its columns."""
    text = PAGE.read_text("utf-8").partition("\n## What happens in real life\n")[2]
    lines = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
    table = [[cell.strip() for cell in line.split("|")] for line in lines]
    (found,) = (line for line in table if line[0].startswith(row))
    return dict(zip(table[0], found, strict=True))


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("name", RULES)
def test_the_table_says_what_the_rule_does(row: str, name: str) -> None:
    stories, words = ROWS[row]
    ends = [words[story(RULES[name]())] for story in stories]
    told = cells(row)[name]
    # Where siblings are all alike, no pace betrays a thief.
    assert " / ".join(ends).startswith(told)


@pytest.mark.parametrize("name", RULES)
def test_two_copies_live_only_as_far_as_a_window_goes(name: str) -> None:
    ends = {pace: two_copies(pace)(RULES[name]()) for pace in (2, HOUR)}
    said = cells("two clients")[name]
    if ends[2] == ends[HOUR]:
        assert said == OK[ends[2]]
    else:
        assert said == "ok within it, else logout"
        assert ends == {2: True, HOUR: False}


def test_a_long_window_forgives_a_late_retry_and_hides_a_slow_thief(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{__name__}.WINDOW", 30 * DAY)
    assert all(story(Fork()) for story in (*lost(3, HOUR, 3 * DAY), never_adopts))
    assert two_copies(HOUR)(Fork())
