"""How far a reader of ended grants has read. Pure: nothing here waits or reads a clock.

PostgreSQL gives transactions their numbers when they begin to write, and they commit in another
order. So the cursor keeps the snapshot of the last answer: a new end is one that was committed
since then. Ends are looked for from the snapshot's `xmin` on, the oldest transaction that ran.

A transaction that is left open, also a prepared one of any database, holds `xmin` back for days.
Therefore the cursor also notes the `xmax` of its answers. No statement of a store takes as long as
`LONGEST_END`, so what was below an `xmax` that long ago is over: ends are looked for from there.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

LONGEST_END: Final = 60.0  # seconds between the number of an end and its commit, at most
NOTED_EVERY: Final = 10.0  # seconds between two notes
# Seconds that may pass between two answers. A longer silence counts as this: the server may have
# stood still with an end under way, and such time doesn't bring the end nearer to its commit.
LONGEST_SILENCE: Final = 30.0

# The number of the transaction as text, or the time while it reads by time; and the id.
FeedPlace: TypeAlias = tuple[str | float, str]


class FeedAnswer(NamedTuple):
    """What the server says of its ended grants."""

    history: str
    snapshot: str  # what the statement saw: xmin:xmax:the numbers between that were running
    mark: str | None  # of a mass end, as text
    grant_ids: list[str]
    last: FeedPlace | None  # the last one of a full page; None: there are no more
    asked_at: float  # monotonic seconds
    answered_at: float


class FeedCursor(NamedTuple):
    """How far a reader has read."""

    history: str
    seen: str | None  # the snapshot up to which all is read; None: it reads by time as yet
    bound: int  # from which number on the next ends are looked for
    age: float  # seconds since the first answer, without the long silences
    answered_at: float  # monotonic seconds
    mark: str | None = None  # as it was in the last answer
    is_quiet: bool = False  # nothing at all was committed between the last two answers
    notes: tuple[tuple[float, int], ...] = ()  # at which age the server had which `xmax`
    # Between two pages: the snapshot and the bound that hold after the last one.
    goal: tuple[str, int] | None = None
    place: FeedPlace | None = None

    def contradiction(self, answer: FeedAnswer) -> str:
        """Say why the server's numbers can't be compared with the cursor's; empty: they can."""
        if self.history != answer.history:
            return _changed(self.history.split(), answer.history.split())
        known = self.goal[0] if self.goal is not None else self.seen
        if known is not None and _xmax(answer.snapshot) < _xmax(known):
            return _GONE_BACK
        return ""

    def unchanged(
        self, history: str, snapshot: str, times: tuple[float, float]
    ) -> FeedAnswer | None:
        """Return the answer of a server where nothing was committed since; None: it is not so.

        Whatever changes, the table's oid and the mark, too, comes by a transaction, and then the
        snapshot is another one, or the history is.
        """
        if snapshot != self.seen or history != self.history.rpartition(" ")[0]:
            return None
        return FeedAnswer(self.history, snapshot, self.mark, [], None, *times)

    def after(self, answer: FeedAnswer) -> FeedCursor:
        """Return the cursor behind an answer."""
        silence = min(answer.asked_at - self.answered_at, LONGEST_SILENCE)
        asked, took = self.age + silence, answer.answered_at - answer.asked_at
        # At the latest when it was answered, so the notes are rather too young.
        notes, age = self.notes, asked + took
        if not notes or age - notes[-1][0] >= NOTED_EVERY:
            notes = (*notes, (age, _xmax(answer.snapshot)))
        over = [number for noted, number in notes if asked - noted >= LONGEST_END]
        notes = notes[max(len(over) - 1, 0) :]
        goal = self.goal
        if goal is None:
            goal = answer.snapshot, max((int(answer.snapshot.split(":")[0]), *over))
        cursor = self._replace(
            age=age,
            answered_at=answer.answered_at,
            mark=answer.mark,
            is_quiet=answer.snapshot == self.seen,
            notes=notes,
        )
        if answer.last is not None:
            return cursor._replace(goal=goal, place=answer.last)
        return cursor._replace(seen=goal[0], bound=goal[1], goal=None, place=None)


def first_cursor(answer: FeedAnswer) -> FeedCursor:
    """Return the cursor behind the first answer."""
    return FeedCursor(answer.history, None, 0, 0.0, answer.asked_at).after(answer)


def _xmax(snapshot: str) -> int:
    return int(snapshot.split(":")[1])


_GONE_BACK = (
    "The numbers of PostgreSQL's transactions have gone back: an earlier state of the same server "
    "was restored, and ends made since are lost. All that is still kept is read again."
)


def _changed(before: list[str], now: list[str]) -> str:
    """Return the sentence for another history: the schema's `history()`, and the table's oid."""
    server, timeline, _, table = before
    if server != now[0] or table != now[3]:
        return (
            "The grants are in another database than before: another server, one that was restored "
            "or upgraded, or a dump that was loaded. Ends that it doesn't have are not in force; "
            "all that it has are read again."
        )
    if timeline == now[1]:
        return (
            "PostgreSQL has recovered from a crash (or its statistics were reset). All ends that "
            "are kept are read again, because a crash lets it give out numbers a second time."
        )
    numbers = [int(one, 16) if one != "-" else 0 for one in (timeline, now[1])]
    if numbers[1] < numbers[0]:
        return (
            f"PostgreSQL was on timeline {numbers[0]}, and is on {numbers[1]}: a former primary "
            "has come back and takes writes. Stop it: an end is in force on one of the two only."
        )
    return (
        f"PostgreSQL was on timeline {numbers[0]}, and is on {numbers[1]}: a standby was promoted, "
        "or a backup restored. The last ends before that may be lost; all kept ones are read again."
    )
