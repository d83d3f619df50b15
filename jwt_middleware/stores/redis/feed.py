"""The feed of ended grants: what has ended since a reader asked last.

A shard's log has the ids of ended grants, with scores that only grow (see `scripts.py`). A reader
remembers the highest score that it has read of each log, and asks for what is above it.

* A process of the former version beside this one writes the time as score, in whole milliseconds.
  That may be below a score that a reader has read: then it asks from the time of its last question.
* A server has another history after a failover and after a start, and may have lost ends that a
  reader knows; then new ends may have lower scores. A clock that was set back has the same effect
  on the ends of a former process. Then the reader asks for all ends since its horizon, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from redis import exceptions as errors

from ...values.flows import Flow
from ..contract import PAGE, SHARDS, Cursor, Ended
from . import server_facts
from .commands import FORMER_OVERLAP, Commands, mark_beside
from .links import Command, Question
from .rows import milliseconds, unpacked_mark

PAGE_OF_A_SHARD: Final = PAGE // len(SHARDS)
MEMORY_EVERY: Final = 60  # polls, after which a server's memory is looked at
MOST_BACK: Final = milliseconds(FORMER_OVERLAP)
_COUNT: Final = b"%d" % PAGE_OF_A_SHARD
_ABOUT: Final[tuple[Command, ...]] = (b"TIME",), server_facts.REPLICATION  # asked with all else

OTHER_HISTORY: Final = (
    "a Redis server has another replication id than before: it was started anew, another server "
    "took its place, or its first replica came or its last one left. If writes were lost by that, "
    "grants whose end was among them live again. All ends within the horizon were read anew"
)
LOST_SCORE: Final = (
    "a Redis server no longer has an end that was read from it: its data was replaced, and grants "
    "that had ended may live again. All ends within the horizon were read anew"
)
CLOCK_SET_BACK: Final = (
    "the clock of a Redis server was set back by {} seconds. All ends within the horizon were read "
    "anew; ends by processes of a former version may be missed until the clock has caught up"
)
MAY_FORGET: Final = (
    "the maxmemory-policy of a Redis server lets it forget logins, and who has logged out, when it "
    "is full: set it to noeviction"
)
HAS_FORGOTTEN: Final = (
    "a Redis server has evicted {} keys for want of memory: if grants were among them, users are "
    "logged out, or log-outs are forgotten. Set maxmemory-policy to noeviction"
)


class LogPlace(NamedTuple):
    """How far one log was read. Times are those of its node, in milliseconds, as scores are."""

    question: Question  # what reads on
    highest: float  # the highest score that was read, or the bound where nothing was
    history: bytes  # of the node
    begun: int | None = None  # where pages are to follow: when the first one was asked for
    known: frozenset[bytes] = frozenset()  # ids that will be read a second time
    is_settled: bool = False  # nothing can come below the bound, so it stays until something comes
    is_checked: bool = False  # the highest score must be found again


class Memory(NamedTuple):
    """What was seen last of a server's memory."""

    may_forget: bool
    evicted: int


class RedisCursor(NamedTuple):
    """The cursor: a place in each log, and how often it was asked; and by history what was seen."""

    places: dict[str, LogPlace]
    polls: int
    clocks: dict[bytes, int]
    memory: dict[bytes, Memory]


def ended(commands: Commands, cursor: Cursor | None, horizon: float) -> Flow[Ended]:
    """See `Store.ended`."""
    reader = Reader(commands, cast("RedisCursor | None", cursor), horizon)
    for letters in (yield from commands.link().groups(commands.logs)):
        yield from reader.begin([one for one in letters if one not in reader.places])
        yield from reader.ask(letters)
    yield from reader.begin_anew()
    return reader.answer()


class Reader:
    """One answer of the feed in the making."""

    def __init__(self, commands: Commands, position: RedisCursor | None, horizon: float) -> None:
        known = position or RedisCursor({}, 0, {}, {})
        self.places = dict(known.places)
        self.anew: dict[str, int] = {}  # shards that must be read anew, and how far back
        self._commands = commands
        self._horizon = milliseconds(horizon)
        self._polls = known.polls
        self.looks = commands.serve and known.polls % MEMORY_EVERY == 0
        self._former_clocks = known.clocks
        self._clocks: dict[bytes, int] = {}
        self._memory = known.memory
        self._ids: list[bytes] = []
        self._more = False
        self._mark: bytes | None = None
        self._notices: dict[str, None] = {}

    def answer(self) -> Ended:
        """Return what was found."""
        return Ended(
            tuple(map(bytes.decode, self._ids)),
            RedisCursor(self.places, self._polls + 1, self._clocks, self._memory),
            self._more,
            unpacked_mark(self._mark),
            tuple(self._notices),
        )

    def begin(self, letters: Sequence[str]) -> Flow[None]:
        """Find the places from which all ends within the horizon are read."""
        if not letters:
            return
        logs = [self._commands.logs[one] for one in letters]
        asked: list[Command] = [(b"ZREVRANGE", log, b"0", b"0", b"WITHSCORES") for log in logs]
        replies = yield from self._commands.link().send(logs[0], (*_ABOUT, *asked))
        now, history = self._about(replies)
        for letter, command, last in zip(letters, asked, replies[2:], strict=True):
            if isinstance(last, Exception):
                replies = yield from self._commands.follow(command[1], *_ABOUT, command)
                now, history = self._about(replies)
                last = replies[2]  # noqa: PLW2901
            since = now - self.anew.get(letter, self._horizon)
            highest = float(_columns(last)[1][0]) if last else float("-inf")
            if highest < since:
                # The next end may have a lower score than `since`, if the clock was set back.
                question, first = self._above(letter, highest), highest
            else:
                question, first = self._from(letter, since), float(since)
            self.places[letter] = LogPlace(question, first, history)

    def begin_anew(self) -> Flow[None]:
        """Read from the horizon on what can't be read on."""
        letters = list(self.anew)
        if letters:
            self.looks = False
            self._former_clocks = {}
            yield from self.begin(letters)
            yield from self.ask(letters)

    def ask(self, letters: Sequence[str]) -> Flow[None]:
        """Read on in some logs, all in one packet to the node of the first."""
        places = [self.places[one] for one in letters]
        first = self._commands.logs[letters[0]]
        extras: list[Command] = []
        if letters[0] == SHARDS[0]:  # a mass end writes its mark there last
            extras.append((b"GET", mark_beside(first)))
        if self.looks:
            extras += [server_facts.MEMORY, server_facts.STATS]
        packet = *_ABOUT, *(one.question for one in places), *extras
        replies = yield from self._commands.link().send(first, packet)
        now, history = self._about(replies)
        if letters[0] == SHARDS[0]:
            self._mark = replies[2 + len(letters)]
            if isinstance(self._mark, Exception):
                (self._mark,) = yield from self._commands.follow(first, extras[0])
        if self.looks:
            self._look(history, *replies[-2:])
        is_back = now < self._former_clocks.get(history, now)
        for letter, place, answer in zip(letters, places, replies[2:], strict=False):
            if answer or is_back or place.history != history or not place.is_settled:
                yield from self._take(letter, now, history, answer)

    def _about(self, replies: list[Any]) -> tuple[int, bytes]:
        """Return the time and the history of a node, from its answers to `_ABOUT`."""
        for reply in replies[:2]:
            if isinstance(reply, Exception):
                raise reply
        now, history = self._commands.now(replies[0]), server_facts.history(replies[1])
        self._clocks[history] = now
        return now, history

    def _take(self, letter: str, now: int, history: bytes, answer: Any) -> Flow[None]:
        """Take the answer about one log; or note that the log must be read anew."""
        place = self.places[letter]
        if isinstance(answer, Exception):
            # The slot has moved, or is moving.
            log = self._commands.logs[letter]
            replies = yield from self._commands.follow(log, *_ABOUT, place.question)
            (now, history), answer = self._about(replies), replies[2]
        back, notice = self._broken(place, now, history, answer)
        if back:
            self._notices |= dict.fromkeys(notice)
            self.anew[letter] = back
            return
        begun = now if place.begun is None else place.begun
        ids, scores = _columns(answer) if answer else ([], [])
        if len(ids) < PAGE_OF_A_SHARD:
            self._ids += ids if not place.known else [one for one in ids if one not in place.known]
            self._finish(letter, history, begun, ids, scores)
            return
        # A process of the former version gives many ends one score. They may go on behind the page:
        # leave them for the next one or, where the page has no others, take all of them.
        count = scores.index(scores[-1])
        score = float(scores[count - 1] if count else scores[0])
        if not count:
            log, only = self._commands.logs[letter], _octets(score)
            (ids,) = yield from self._commands.follow(log, (b"ZRANGEBYSCORE", log, only, only))
        self._more = True
        self._ids += ids[: count or None]
        highest = max(place.highest, score)
        self.places[letter] = LogPlace(self._above(letter, score), highest, history, begun)

    def _finish(
        self, letter: str, history: bytes, begun: int, ids: list[bytes], scores: list[Any]
    ) -> None:
        """Note that a log was read to its end, from the time `begun` on.

        Ends by former processes may still come with scores from then on, so that is where to go on,
        if a higher score was read. Where that is so for more than a moment, a clock was set back;
        then so much isn't read again, and the highest score is only to be found again.
        """
        place = self.places[letter]
        highest = max(place.highest, float(scores[-1])) if scores else place.highest
        if highest < begun:
            question = self._above(letter, highest)
            self.places[letter] = LogPlace(question, highest, history, is_settled=True)
            return
        is_checked = highest > begun + MOST_BACK
        bound = highest if is_checked else begun
        found = zip(ids, scores, strict=True)
        known = frozenset(one for one, score in found if float(score) >= bound)
        question = self._from(letter, bound)
        self.places[letter] = LogPlace(
            question, highest, history, known=known, is_checked=is_checked
        )

    def _above(self, letter: str, score: float) -> Question:
        return self._question(letter, b"(" + _octets(score))

    def _from(self, letter: str, score: float) -> Question:
        return self._question(letter, _octets(score))

    def _question(self, letter: str, bound: bytes) -> Question:
        log, limit = self._commands.logs[letter], (b"LIMIT", b"0", _COUNT)
        asked = b"ZRANGEBYSCORE", log, bound, b"+inf", b"WITHSCORES", *limit
        return self._commands.link().prepared(asked)

    def _broken(
        self, place: LogPlace, now: int, history: bytes, answer: list[Any]
    ) -> tuple[int, tuple[str, ...]]:
        """Return how far back a log must be read anew, 0 if it needn't be, and what to tell."""
        if place.history != history:
            return self._horizon, (OTHER_HISTORY,)
        if place.is_checked and (not answer or float(_columns(answer)[1][0]) != place.highest):
            return self._horizon, (LOST_SCORE,)
        back = self._former_clocks.get(history, now) - now
        if back > 1000:
            return self._horizon, (CLOCK_SET_BACK.format(back // 1000),)
        return (MOST_BACK if back > 0 else 0), ()

    def _look(self, history: bytes, memory: Any, stats: Any) -> None:
        """Look at the memory of a server, and tell what has changed there."""
        if isinstance(memory, errors.ResponseError) or isinstance(stats, errors.ResponseError):
            return  # the user needn't have this right
        seen = Memory(server_facts.may_forget(memory), server_facts.evicted(stats))
        before = self._memory.get(history, Memory(may_forget=False, evicted=seen.evicted))
        if seen.may_forget and not before.may_forget:
            self._notices[MAY_FORGET] = None
        if seen.evicted > before.evicted:
            self._notices[HAS_FORGOTTEN.format(seen.evicted - before.evicted)] = None
        self._memory = {**self._memory, history: seen}


def _octets(score: float) -> bytes:
    return b"%d" % score if float(score).is_integer() else repr(score).encode()


def _columns(answer: list[Any]) -> tuple[list[bytes], list[Any]]:
    """Return ids and scores: in RESP2 they take turns, in RESP3 they are pairs."""
    if isinstance(answer[0], list):
        ids, scores = zip(*answer, strict=True)
        return list(ids), list(scores)
    return answer[::2], answer[1::2]
