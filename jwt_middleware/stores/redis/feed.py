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

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

from redis import exceptions as errors

from ...values.flows import Flow
from ..contract import PAGE, SHARDS, Cursor, Ended
from . import server_facts
from .commands import FORMER_OVERLAP, Commands, mark_beside
from .links import Command
from .rows import milliseconds, unpacked_mark

PAGE_OF_A_SHARD: Final = PAGE // len(SHARDS)
LOOK_EVERY: Final = 60  # polls, after which a server's memory is looked at
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


class Place(NamedTuple):
    """How far one log was read. Times are those of its node, in milliseconds, as scores are."""

    bound: bytes  # from where to read on; with a "(" from above it
    highest: float  # the highest score that was read, or the bound where nothing was
    time: int  # when it was asked last
    begun: int | None  # when it was asked for the first of several pages, before the last of them
    history: bytes
    known: frozenset[bytes] = frozenset()  # ids that are read a second time from this bound on


class Memory(NamedTuple):
    """What was seen last of a server's memory."""

    may_forget: bool
    evicted: int


class Position(NamedTuple):
    """The cursor: a place in each log; how often it was asked; by history, each server's memory."""

    places: dict[str, Place]
    polls: int
    memory: dict[bytes, Memory]


def ended(commands: Commands, cursor: Cursor | None, horizon: float) -> Flow[Ended]:
    """See `Store.ended`."""
    reader = Reader(commands, cast("Position | None", cursor), horizon)
    for letters in (yield from commands.link().groups(commands.logs)):
        yield from reader.begin([one for one in letters if one not in reader.places])
        yield from reader.ask(letters)
    if reader.anew:
        reader.looks = False
        yield from reader.begin(list(reader.anew))
        yield from reader.ask(list(reader.anew))
    return reader.answer()


class Reader:
    """One answer of the feed in the making."""

    def __init__(self, commands: Commands, position: Position | None, horizon: float) -> None:
        known = position or Position({}, 0, {})
        self.places = dict(known.places)
        self.anew: dict[str, int] = {}  # shards that must be read anew, and how far back
        self._commands = commands
        self._horizon = milliseconds(horizon)
        self._polls = known.polls
        self.looks = commands.serve and known.polls % LOOK_EVERY == 0
        self._memory = known.memory
        self._ids: list[bytes] = []
        self._more = False
        self._mark: bytes | None = None
        self._notices: dict[str, None] = {}

    def answer(self) -> Ended:
        """Return what was found."""
        return Ended(
            tuple(map(bytes.decode, self._ids)),
            Position(self.places, self._polls + 1, self._memory),
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
                place = Place(b"(" + _octets(highest), highest, now, None, history)
            else:
                place = Place(b"%d" % since, since, now, None, history)
            self.places[letter] = place

    def ask(self, letters: Sequence[str]) -> Flow[None]:
        """Read on in some logs, all in one packet to the node of the first."""
        logs = self._commands.logs
        ranges = [_range(logs[one], self.places[one]) for one in letters]
        first = logs[letters[0]]
        extras: list[Command] = []
        if letters[0] == SHARDS[0]:  # a mass end writes its mark there last
            extras.append((b"GET", mark_beside(first)))
        if self.looks:
            extras += [server_facts.MEMORY, server_facts.STATS]
        replies = yield from self._commands.link().send(first, (*_ABOUT, *ranges, *extras))
        now, history = self._about(replies)
        rest = replies[2:]
        found = list(zip(letters, ranges, rest, strict=False))
        if letters[0] == SHARDS[0]:
            self._mark = rest[len(letters)]
            if isinstance(self._mark, Exception):
                (self._mark,) = yield from self._commands.follow(first, extras[0])
        if self.looks:
            self._look(history, *rest[-2:])
        for letter, command, answer in found:
            if isinstance(answer, Exception):
                # The slot has moved, or is moving.
                replies = yield from self._commands.follow(logs[letter], *_ABOUT, command)
                yield from self._take(letter, *self._about(replies), replies[2])
            else:
                yield from self._take(letter, now, history, answer)

    def _about(self, replies: list[Any]) -> tuple[int, bytes]:
        """Return the time and the history of a node, from its answers to `_ABOUT`."""
        for reply in replies[:2]:
            if isinstance(reply, Exception):
                raise reply
        return self._commands.now(replies[0]), server_facts.history(replies[1])

    def _take(self, letter: str, now: int, history: bytes, answer: list[Any]) -> Flow[None]:
        """Take the answer about one log; or note that the log must be read anew."""
        place = self.places[letter]
        if place.time > now or place.history != history or place.highest > place.time:
            back, notice = self._broken(place, now, history, answer)
            if back:
                if notice:
                    self._notices[notice] = None
                self.anew[letter] = back
                return
        begun = now if place.begun is None else place.begun
        if not answer:
            self.places[letter] = _done(place.highest, now, begun, history, ())
            return
        ids, scores = _columns(answer)
        highest = max(place.highest, float(scores[-1]))
        if len(ids) < PAGE_OF_A_SHARD:
            self._ids += ids if not place.known else (one for one in ids if one not in place.known)
            found = zip(ids, scores, strict=True)
            self.places[letter] = _done(highest, now, begun, history, found)
            return
        # A process of the former version gives many ends one score. They may go on behind the page:
        # leave them for the next one or, where the page has no others, take all of them.
        count = scores.index(scores[-1])
        score = scores[count - 1] if count else scores[0]
        if not count:
            log, only = self._commands.logs[letter], _octets(float(score))
            (ids,) = yield from self._commands.follow(log, (b"ZRANGEBYSCORE", log, only, only))
        self._more = True
        self._ids += ids[: count or None]
        self.places[letter] = Place(b"(" + _octets(float(score)), highest, now, begun, history)

    def _broken(
        self, place: Place, now: int, history: bytes, answer: list[Any]
    ) -> tuple[int, str | None]:
        """Return how far back a log must be read anew, 0 if it needn't be, and what to tell."""
        if place.history != history:
            return self._horizon, OTHER_HISTORY
        is_checked = place.begun is None and place.highest > place.time + MOST_BACK
        if is_checked and (not answer or float(_columns(answer)[1][0]) != place.highest):
            return self._horizon, LOST_SCORE
        back = place.time - now
        if back > 1000:
            return self._horizon, CLOCK_SET_BACK.format(back // 1000)
        return (MOST_BACK, None) if back > 0 else (0, None)

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


def _done(
    highest: float, now: int, begun: int, history: bytes, found: Iterable[tuple[bytes, Any]]
) -> Place:
    """Return the place of a log that was read to its end; `found` are ids and scores.

    Ends by former processes may still come with scores from `begun` on. Not so much is read again
    if a clock was set back: there the highest score must only be found again.
    """
    if highest < begun:
        return Place(b"(" + _octets(highest), highest, now, None, history)
    bound = begun if highest <= begun + MOST_BACK else highest
    known = frozenset(one for one, score in found if float(score) >= bound)
    return Place(_octets(bound), highest, now, None, history, known)


def _octets(score: float) -> bytes:
    return repr(score).encode()


def _columns(answer: list[Any]) -> tuple[list[bytes], list[Any]]:
    """Return ids and scores: in RESP2 they take turns, in RESP3 they are pairs."""
    if isinstance(answer[0], list):
        ids, scores = zip(*answer, strict=True)
        return list(ids), list(scores)
    return answer[::2], answer[1::2]


def _range(log: bytes, place: Place) -> Command:
    limit = b"LIMIT", b"0", _COUNT
    return b"ZRANGEBYSCORE", log, place.bound, b"+inf", b"WITHSCORES", *limit
