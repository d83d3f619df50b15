"""Where events go, to the log and to `on_event`; and what else the log is told: faults of others.

A process that doesn't set up logging sees warnings and errors on its stderr.
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

INFO, WARNING, ERROR = 20, 30, 40  # as `logging` has them
FIELD_PREFIX = "jwt_"  # in a log record: `name` and others are fields that every record has
FAULT_EVERY = 60.0  # seconds between two tracebacks of the same fault
MANY = 10  # refusals for one reason, before any token was good, that are worth a warning

# The log level of each event and its text, by the event's name.
_WORDS: dict[str, tuple[int, str]] = {
    "refused": (INFO, "%(method)s %(path)s was answered with %(status)s: %(reason)s %(detail)s"),
    "issued": (INFO, "a login of client %(client_id)s began grant %(grant_id)s"),
    "refreshed": (INFO, "grant %(grant_id)s, generation %(generation)s: %(how)s"),
    "restored": (WARNING, "the store had lost %(lost)s rotations of grant %(grant_id)s"),
    "reused": (WARNING, "two hold tokens of grant %(grant_id)s, one of them a thief: it has ended"),
    "ahead": (ERROR, "a token of grant %(grant_id)s is %(gap)s generations ahead of the store"),
    "key_mismatch": (WARNING, "a token of grant %(grant_id)s came without the key it is bound to"),
    "revoked": (INFO, "ended on purpose (%(reason)s): %(grant_ids)s"),
    "connection_ended": (INFO, "a %(kind)s at %(path)s was ended: %(reason)s"),
    "store_failed": (ERROR, "the store stopped answering: %(verb)s: %(detail)s"),
    "store_back": (WARNING, "the store answers again, after %(seconds).1f s"),
    "sync_late": (
        ERROR,
        "no news of ended grants for %(seconds).1f s; their tokens pass meanwhile: %(passing)s",
    ),
    "store_notice": (WARNING, "of the store: %(notice)s"),
    "keys_changed": (INFO, "the key set of %(issuer)s: %(added)s came, %(removed)s went"),
    "key_skipped": (WARNING, "a key of %(issuer)s can't be used: %(kid)s: %(problem)s"),
    "keys_failed": (WARNING, "the key set of %(issuer)s can't be had: %(detail)s"),
    "keys_back": (WARNING, "the key set of %(issuer)s can be had again, after %(seconds).1f s"),
}
_LINES = {name: (level, f"{name}: {words}") for name, (level, words) in _WORDS.items()}
# The application's functions that run for each token: the reason of the refusal when one raises,
# and the setting that holds the function.
_OF_THE_APPLICATION = {reasons.CHECK_FAILED: "checks", reasons.USER_HOOK: "user"}
# Reasons for which good tokens are refused when a setting is wrong, and that setting. Expired and
# missing tokens are not here: they are normal, and say nothing about the settings.
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


def logger() -> Logger:
    """Return the logger `jwt_middleware`."""
    from logging import getLogger  # not at the top: it would be a thirtieth of the import's time

    return getLogger("jwt_middleware")


class EventLog:
    """The logger `jwt_middleware` and `Settings.on_event`, and what was told already."""

    def __init__(
        self,
        clock: Callable[[], float],
        on_event: Callable[[Event], object] | None,
        count: Callable[[Event], None] | None = None,
    ) -> None:
        self._count = count
        self._clock = clock
        self._on_event = on_event
        self._told_at: dict[tuple[str, str], float] = {}  # the faults
        self._refused: dict[str, int] = {}  # counts by reason, as long as no token was good

    def tell(self, events: tuple[Event, ...]) -> None:
        """Log the events and hand them to the application; log what its callback raises, too."""
        for event in events:
            self._log(event)
            if self._count is not None:
                self._count(event)
            if self._on_event is None:
                continue
            try:
                self._on_event(event)
            except Exception:  # noqa: BLE001
                # The answer is decided: a fault of the callback must not change it.
                logger().exception("on_event failed for %s", event.name)

    def _log(self, event: Event) -> None:
        """Log an event: its text as the message, its fields as fields of the record."""
        level, line = _LINES[event.name]
        if not logger().isEnabledFor(level):
            return
        fields = {one.name: _one_line(getattr(event, one.name)) for one in dataclass_fields(event)}
        extra = {FIELD_PREFIX + name: value for name, value in fields.items()}
        logger().log(level, line, fields, extra={**extra, FIELD_PREFIX + "event": event.name})

    def raised(self, what: str, error: BaseException) -> None:
        """Log, with the traceback, that code of others raised: a hook, a check, a store."""
        logger().error("%s raised %s", what, type(error).__name__, exc_info=error)

    def fault(self, what: str, error: BaseException) -> None:
        """Do what `raised` does, but at most once a minute for the same error."""
        if self._is_news(what, error):
            self.raised(what, error)

    def refusal(self, error: OAuthError, *, has_let_in: bool) -> None:
        """Log the cause of a refusal, if it is a fault of the application or of a setting."""
        what, cause = _OF_THE_APPLICATION.get(error.reason), error.__cause__
        if what is not None and cause is not None and self._is_news(what, cause):
            # Without the text of the error: the function was given a token, and the text often
            # names the user that it didn't find.
            from traceback import format_tb  # not at the top: most processes have no use for it

            name, where = type(cause).__name__, "".join(format_tb(cause.__traceback__)).rstrip()
            logger().error("%s raised %s, and the token was refused\n%s", what, name, where)
        if not has_let_in and error.reason in _BY_SETTINGS:
            count = self._refused[error.reason] = self._refused.get(error.reason, 0) + 1
            if count == MANY:
                logger().warning(
                    "%s tokens were refused for %s before any was good: is a setting wrong (%s)? "
                    "`jwt-middleware token verify` explains one of them",
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


def _one_line(value: Any) -> Any:
    """Return a field for the log, with line breaks and control characters in texts escaped."""
    if isinstance(value, str) and not value.isprintable():
        return repr(value)[1:-1]
    if isinstance(value, tuple):
        return [_one_line(one) for one in value]
    return value
