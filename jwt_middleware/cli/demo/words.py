"""Events described in words, for the demo's list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from ...values import reasons
from ...values.events import Event, KeysChanged, Refreshed, Refused, Restored, Reused, Revoked

Tone: TypeAlias = Literal["good", "calm", "warning", "bad"]


class Told(NamedTuple):
    """One event as the page shows it."""

    tone: Tone
    title: str
    text: str
    grant_ids: tuple[str, ...] = ()
    generation: int | None = None  # the grant's present generation, where the event has it


def in_words(event: Event) -> Told:
    """Return an event as words."""
    tone, title, text = _IN_WORDS[event.how if isinstance(event, Refreshed) else event.name]
    grant_id = getattr(event, "grant_id", None)
    return Told(
        tone,
        title.format(event),
        text.format(event, _computed(event)),
        event.grant_ids if isinstance(event, Revoked) else (grant_id,) if grant_id else (),
        1 if event.name == "issued" else getattr(event, "generation", None),
    )


# By the event's name; a refresh by its `how`. {0} is the event, {1} the result of `_computed`.
_IN_WORDS: Mapping[str, tuple[Tone, str, str]] = {
    "issued": ("good", "Logged in", "A grant begins."),
    "rotated": ("good", "Rotated", "Generation {1} begins."),
    "kept": (
        "calm",
        "Kept",
        "The refresh token is young, or bound to a key: it stays. The access token is new.",
    ),
    "migrated": ("good", "Moved in", "A token of the former library: a grant begins."),
    "repeated": (
        "calm",
        "Repeated",
        "The parent came again, from a retry or another tab: one more token of generation {1}.",
    ),
    "restored": (
        "warning",
        "Restored",
        "The store had lost {1}; the token brought them back.",
    ),
    "reused": (
        "bad",
        "Reuse found",
        "The token is {1}: two hold this grant's tokens, so it ends for both.",
    ),
    "ahead": (
        "bad",
        "Store too old",
        "The token is {0.gap} generations ahead: the store is an old backup.",
    ),
    "key_mismatch": (
        "bad",
        "Wrong key",
        "The token came without the key that its grant is bound to.",
    ),
    "revoked": ("calm", "Revoked", "{1} ended: {0.reason}."),
    "refused": ("warning", "Refused with {0.status}", "{0.method} {0.path}: {1}."),
    "connection_ended": (
        "calm",
        "Connection ended",
        "The {0.kind} at {0.path} was closed: {0.reason}.",
    ),
    "store_failed": ("bad", "Store failed", "It can't {0.verb}: {0.detail}."),
    "store_back": ("good", "Store back", "After {0.seconds:.0f} s."),
    "store_notice": ("warning", "Store noticed", "It says: {0.notice}."),
    "sync_late": ("bad", "Out of date", "Nothing heard of ended grants for {0.seconds:.0f} s."),
    "keys_changed": ("calm", "Keys changed", "{1}."),
    "key_skipped": ("warning", "Key skipped", "Key {0.kid} can't be used: {0.problem}."),
    "keys_failed": ("bad", "Keys failed", "The known ones serve on: {0.detail}."),
    "keys_back": ("good", "Keys back", "After {0.seconds:.0f} s."),
}

_REASONS: Mapping[str, str] = {
    reasons.MISSING: "no token came with it",
    reasons.SIGNATURE: "the signature doesn't fit, somebody changed the token",
    reasons.EXPIRED: "the token has expired",
    reasons.SCOPE: "the token lacks the scope",
    reasons.GRANT_ENDED: "its grant has ended",
    reasons.REUSED: "the refresh token is a second holder's",
    reasons.PROOF_NONCE: "its proof must have our nonce, and comes again with it",
    reasons.PROOF_MISSING: "the token is bound to a key, and no proof came with it",
    reasons.KEY_MISMATCH: "the refresh token is bound to a key, and came without it",
    reasons.CROSS_SITE: "another site may have caused it",
}


def _computed(event: Event) -> str:
    match event:
        case Refused():
            return _REASONS.get(event.reason, event.reason.replace("_", " "))
        case Refreshed():
            return f"{event.generation}"
        case Restored():
            return _count(event.lost, "rotation")
        case Reused():
            near = "a sibling of the parent"
            return near if event.gap == 1 else f"{event.gap} generations old"
        case Revoked():
            return _count(len(event.grant_ids), "grant")
        case KeysChanged():
            return f"{len(event.added)} added, {len(event.removed)} gone"
        case _:
            return ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
