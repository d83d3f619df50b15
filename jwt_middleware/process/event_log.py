"""What the log is told: events, by level and in words, and faults of the application's own code.

A process that sets up no logging sees what is a WARNING or worse, on its stderr.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any

from ..values import reasons
from ..values.errors import OAuthError
from ..values.events import Event

if TYPE_CHECKING:
    from logging import Logger
    from types import TracebackType

INFO, WARNING, ERROR = 20, 30, 40  # as `logging` has them, which isn't loaded before it is used
PREFIX = "jwt_"  # of the fields of a record: `name` and others would be those of the record itself
FAULT_EVERY = 60.0  # seconds between two tracebacks of the same fault
MANY = 10  # tokens that were refused for one reason before any was good

# How loud each event is, and in which words, by its name.
_WORDS: dict[str, tuple[int, str]] = {
    "refused": (INFO, "%(method)s %(path)s was answered with %(status)s: %(reason)s %(detail)s"),
    "issued": (INFO, "a login of client %(client_id)s began grant %(grant_id)s"),
    "refreshed": (INFO, "grant %(grant_id)s, generation %(generation)s: %(how)s"),
    "restored": (WARNING, "the store had lost %(lost)s rotations of grant %(grant_id)s"),
    "reused": (WARNING, "two hold tokens of grant %(grant_id)s, one of them a thief: it has ended"),
    "ahead": (ERROR, "a token of grant %(grant_id)s is %(gap)s generations ahead of the store"),
    "key_mismatch": (WARNING, "a token of grant %(grant_id)s came without the key it is bound to"),
    "revoked": (INFO, "ended on purpose (%(reason)s): %(grant_ids)s"),
    "store_failed": (ERROR, "the store stopped answering: %(verb)s: %(detail)s"),
    "store_back": (WARNING, "the store answers again, after %(seconds).1f s"),
    "sync_late": (
        ERROR,
        "no news of ended grants for %(seconds).1f s; their tokens pass meanwhile: %(passing)s",
    ),
    "keys_changed": (INFO, "the key set of %(issuer)s: %(added)s came, %(removed)s went"),
    "key_skipped": (WARNING, "a key of %(issuer)s can't be used: %(kid)s: %(problem)s"),
    "keys_failed": (WARNING, "the key set of %(issuer)s can't be had: %(detail)s"),
    "keys_back": (WARNING, "the key set of %(issuer)s can be had again, after %(seconds).1f s"),
}
_LINES = {name: (level, f"{name}: {words}") for name, (level, words) in _WORDS.items()}
# What runs for each token and raises: named as the setting is.
_OF_THE_APPLICATION = {reasons.CHECK_FAILED: "checks", reasons.USER_HOOK: "user"}
# What a wrong setting refuses tokens for, and which it is. A token that is old, or none at all,
# comes to every process, and says nothing.
_BY_SETTINGS = {
    reasons.ISSUER: "issuer, trusted_issuers",
    reasons.AUDIENCE: "audience",
    reasons.KEY_UNKNOWN: "keys",
    reasons.KEY_USE: "keys",
    reasons.ALGORITHM: "keys",
    reasons.SIGNATURE: "keys",
    reasons.TYPE: "profile",
    reasons.CLAIM_MISSING: "profile",
    reasons.CLAIM_MALFORMED: "profile",
    reasons.SENDER_CONSTRAINED: "profile",
    reasons.NOT_YET_VALID: "leeway, or this machine's clock",
    reasons.ISSUED_IN_FUTURE: "leeway, or this machine's clock",
    reasons.CHECK_REFUSED: "checks",
    reasons.CHECK_FAILED: "checks",
    reasons.USER_HOOK: "user",
}


class EventLog:
    """The logger `jwt_middleware`, and what it has been told already."""

    def __init__(self, logger: Logger, clock: Callable[[], float]) -> None:
        self._logger = logger
        self._clock = clock
        self._told_at: dict[tuple[str, str], float] = {}  # the faults
        self._refused: dict[str, int] = {}  # tokens by reason, while none was good

    def event(self, event: Event) -> None:
        """Log an event: its message in words, its fields as those of the record."""
        level, line = _LINES[event.name]
        if not self._logger.isEnabledFor(level):
            return
        fields = {one.name: _shown(getattr(event, one.name)) for one in dataclass_fields(event)}
        extra = {PREFIX + name: value for name, value in fields.items()}
        self._logger.log(level, line, fields, extra={**extra, PREFIX + "event": event.name})

    def fault(self, what: str, error: BaseException) -> None:
        """Log that code of the application's raised, with the traceback, once a minute."""
        if self._is_news(what, error):
            self._logger.error("%s raised %s", what, type(error).__name__, exc_info=error)

    def refusal(self, error: OAuthError, *, has_let_in: bool) -> None:
        """Log what stands behind a refusal, if it is a fault of the application's or a setting."""
        what, cause = _OF_THE_APPLICATION.get(error.reason), error.__cause__
        if what is not None and cause is not None and self._is_news(what, cause):
            # Not with the words of the error: such a function is given a token, and whoever can't
            # find the user says in them whom.
            name, where = type(cause).__name__, _where(cause.__traceback__)
            self._logger.error("%s raised %s, and the token was refused\n%s", what, name, where)
        if not has_let_in and error.reason in _BY_SETTINGS:
            count = self._refused[error.reason] = self._refused.get(error.reason, 0) + 1
            if count == MANY:
                self._logger.warning(
                    "%s tokens were refused for %s before any was good: is a setting wrong (%s)? "
                    "`jwt-middleware verify` explains one of them",
                    count,
                    error.reason,
                    _BY_SETTINGS[error.reason],
                )

    def _is_news(self, what: str, error: BaseException) -> bool:
        kind, now = (what, type(error).__name__), self._clock()
        if 0 <= now - self._told_at.get(kind, float("-inf")) < FAULT_EVERY:
            return False
        self._told_at[kind] = now
        return True


def _shown(value: Any) -> Any:
    """Return a field for the log: no text in it breaks a line, whoever it is from."""
    if isinstance(value, str) and not value.isprintable():
        return repr(value)[1:-1]
    if isinstance(value, tuple):
        return [_shown(one) for one in value]
    return value


def _where(frames: TracebackType | None) -> str:
    from traceback import format_tb  # not at the top: nothing goes wrong in most processes

    return "".join(format_tb(frames)).rstrip()
