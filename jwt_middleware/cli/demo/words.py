"""Events in words that a person understands, for the demo's list."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, assert_never

from ...values import reasons
from ...values.events import (
    Ahead,
    Event,
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
    SyncLate,
)

Tone: TypeAlias = Literal["good", "calm", "warning", "bad"]


class Told(NamedTuple):
    """One event as the page shows it."""

    tone: Tone
    title: str
    text: str
    grant_ids: tuple[str, ...] = ()
    generation: int | None = None  # that the grant has now, where the event says it


def in_words(event: Event) -> Told:
    """Put an event into words."""
    match event:
        case Issued() | Refreshed() | Restored() | Reused() | Ahead() | KeyMismatch() | Revoked():
            return _of_grants(event)
        case Refused():
            why = _REASONS.get(event.reason, event.reason.replace("_", " "))
            text = f"{event.method} {event.path}: {why}."
            ids = () if event.grant_id is None else (event.grant_id,)
            return Told("warning", f"Refused with {event.status}", text, ids)
        case StoreFailed():
            return Told("bad", "Store failed", f"It can't {event.verb}: {event.detail}.")
        case StoreBack():
            return Told("good", "Store back", f"After {event.seconds:.0f} s.")
        case SyncLate():
            text = f"Nothing heard of ended grants for {event.seconds:.0f} s."
            return Told("bad", "Out of date", text)
        case KeysChanged() | KeySkipped() | KeysFailed() | KeysBack():
            return _of_keys(event)
        case _:
            assert_never(event)


def _of_grants(
    event: Issued | Refreshed | Restored | Reused | Ahead | KeyMismatch | Revoked,
) -> Told:
    match event:
        case Issued():
            return Told("good", "Logged in", "A grant begins.", (event.grant_id,), 1)
        case Refreshed():
            tone, title, text = _REFRESHED[event.how]
            text = text.format(event.generation)
            return Told(tone, title, text, (event.grant_id,), event.generation)
        case Restored():
            text = (
                f"The store had lost {_count(event.lost, 'rotation')}; the token brought them back."
            )
            return Told("warning", "Restored", text, (event.grant_id,), event.generation)
        case Reused():
            which = "a sibling of the parent" if event.gap == 1 else f"{event.gap} generations old"
            text = f"The token is {which}: two hold this grant's tokens, so it ends for both."
            return Told("bad", "Reuse found", text, (event.grant_id,))
        case Ahead():
            text = f"The token is {event.gap} generations ahead: the store is an old backup."
            return Told("bad", "Store too old", text, (event.grant_id,))
        case KeyMismatch():
            text = "The token came without the key that its grant is bound to."
            return Told("bad", "Wrong key", text, (event.grant_id,))
        case Revoked():
            text = f"{_count(len(event.grant_ids), 'grant')} ended: {event.reason}."
            return Told("calm", "Revoked", text, event.grant_ids)
        case _:
            assert_never(event)


def _of_keys(event: KeysChanged | KeySkipped | KeysFailed | KeysBack) -> Told:
    match event:
        case KeysChanged():
            added, removed = map(len, (event.added, event.removed))
            return Told("calm", "Keys changed", f"{added} added, {removed} gone.")
        case KeySkipped():
            return Told(
                "warning", "Key skipped", f"Key {event.kid} can't be used: {event.problem}."
            )
        case KeysFailed():
            return Told("bad", "Keys failed", f"The known ones serve on: {event.detail}.")
        case KeysBack():
            return Told("good", "Keys back", f"After {event.seconds:.0f} s.")
        case _:
            assert_never(event)


_REFRESHED: dict[str, tuple[Tone, str, str]] = {
    "rotated": ("good", "Rotated", "Generation {} begins."),
    "kept": ("calm", "Kept", "The refresh token is young, so it stays. The access token is new."),
    "repeated": (
        "calm",
        "Repeated",
        "The parent came again, from a retry or another tab: one more token of generation {}.",
    ),
}

_REASONS: dict[str, str] = {
    reasons.MISSING: "no token came with it",
    reasons.SIGNATURE: "the signature doesn't fit, somebody changed the token",
    reasons.EXPIRED: "the token has expired",
    reasons.SCOPE: "the token lacks the scope",
    reasons.GRANT_ENDED: "its grant has ended",
    reasons.REUSED: "the refresh token is a second holder's",
    reasons.CROSS_SITE: "another site may have caused it",
}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
