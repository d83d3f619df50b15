"""Call the application's own functions for the core; log their faults, and turn them into 503.

These are `claims_for`, those of `Migration`, the signer of an external key, and `issuer_for`. There
is one call of `issuer_for` for a name at a time, and all requests with tokens of that name wait for
it. An unknown name first needs one of few places (`keys/stranger_limits.py`), because anybody can
send made-up names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import isawaitable, iscoroutinefunction
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from ..core.trusted_issuers import Issuers, Trust
from ..keys.freshness import JOINED
from ..keys.signer import ExternalKey, checked
from ..keys.waits import new_future
from ..values import forks, reasons
from ..values.errors import ConfigurationError, EndGrant, InvalidToken, OAuthError, Unavailable
from ..values.flows import Flow, ask
from ..values.tokens import Hidden
from .event_log import EventLog

if TYPE_CHECKING:
    from concurrent.futures import Future

SYNC_KIND = "give its sync kind"  # of a store
CALL_LIMIT = 10.0  # seconds, where calls can be given up; every store's own time-out is shorter
STRANGERS = "strangers"  # the threads for calls about unknown names

_FAULTS = {
    "claims_for": reasons.CLAIMS_HOOK,
    "is_blocked": reasons.MIGRATION_HOOK,
    "subject": reasons.MIGRATION_HOOK,
    "issuer_for": reasons.ISSUER_HOOK,
    "signer": reasons.SIGNER,
}
_UNANSWERED = Unavailable(reasons.ISSUER_HOOK, "it hasn't answered yet")
_BUSY = Unavailable(reasons.UNAVAILABLE, "too many issuers that nobody knows, at a time")


class Caller(Protocol):
    """How one kind of code, sync or async, calls and waits."""

    # `call(threads, hook, args)`; `threads` names those that run what would block an event loop.
    call: Callable[[str, Callable[..., Any], Hidden[tuple[Any, ...]]], Any]
    wait: Callable[[Future[Any], float], Any]  # for a result; raises TimeoutError
    carry: Callable[[Flow[None]], Any]  # runs a flow to its end, even if no request waits any more


@dataclass(slots=True)
class _Question:
    """One call of `issuer_for`: when it began, on the monotonic clock, and its outcome."""

    begun: float
    outcome: Future[Trust | OAuthError]


class Hooks:
    """The calls of hooks, and the running questions, of sync and async code."""

    def __init__(self, issuers: Issuers, log: EventLog, clock: Callable[[], float]) -> None:
        self._issuers = issuers
        self._log = log
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin with no running question, as a forked child must."""
        self._lock = Lock()
        self.questions: dict[str, _Question] = {}  # by the issuer's name

    def answer(
        self, caller: Caller, name: str, hook: Callable[[Any], Any], asked: Any, threads: str = ""
    ) -> Flow[Any]:
        """Return a hook's answer. Raises Unavailable, and EndGrant, if `claims_for` raises it."""
        try:
            return (yield from ask(caller.call, threads or name, hook, Hidden((asked,))))
        except Exception as error:
            # Whatever it is, the client may come again.
            if isinstance(error, EndGrant) and name == "claims_for":
                raise
            raise self._failed(name, error) from None

    def sign(self, caller: Caller, key: ExternalKey, message: Hidden[bytes]) -> Flow[bytes]:
        """Return the signature of `message` by an external key. Raises Unavailable."""
        try:
            signature = yield from ask(
                caller.call, "signer", key.signer.sign, Hidden((message.value,))
            )
            return checked(key, message.value, signature)
        except Exception as error:  # noqa: BLE001  (whatever it is, the client may come again)
            raise self._failed("signer", error) from None

    def _failed(self, name: str, error: Exception) -> Unavailable:
        """Log the fault, and return the error for the request, which doesn't tell it."""
        self._log.fault(name, error)
        return Unavailable(_FAULTS[name], type(error).__name__)

    # --- whose tokens are taken

    def find_issuer(self, caller: Caller, hook: Callable[[str], Any], name: str) -> Flow[Trust]:
        """Return the issuer called `name`.

        Raises:
            InvalidToken: it is none that the application trusts.
            Unavailable: the application can't say, hasn't yet, or is asked too much.

        """
        question, is_new = self._join(name)
        if is_new:
            yield from ask(caller.carry, self._put(caller, hook, name, question))
        try:
            outcome: Trust | OAuthError = yield from ask(caller.wait, question.outcome, JOINED)
        except TimeoutError:
            outcome = _UNANSWERED
        if isinstance(outcome, OAuthError):
            # A new object for each waiting request, because several threads raise at once.
            kind = InvalidToken if isinstance(outcome, InvalidToken) else Unavailable
            raise kind(outcome.reason, outcome.detail)
        return outcome

    def _join(self, name: str) -> tuple[_Question, bool]:
        """Return the question about a name, and whether it is new: then the caller must ask it."""
        forks.notice()
        with self._lock:
            question, now = self.questions.get(name), monotonic()
            # Within this time a question gets a place, and then its answer or a time-out. An older
            # question was lost.
            if question is not None and now - question.begun < JOINED + CALL_LIMIT:
                return question, False
            question = self.questions[name] = _Question(now, new_future())
            # Marked as running: now a request that stops waiting can't cancel it for the others.
            question.outcome.set_running_or_notify_cancel()
            return question, True

    def _put(
        self, caller: Caller, hook: Callable[[str], Any], name: str, question: _Question
    ) -> Flow[None]:
        """Ask the application, and give the outcome to all requests that wait for it."""
        outcome: Trust | OAuthError = _UNANSWERED
        threads, place, places = "issuer_for", None, self._issuers.places
        try:
            # An earlier question may have been answered in the meantime.
            found = self._issuers.find(name, self._clock())
            if found is None:
                if not self._issuers.is_known(name):
                    threads, place = STRANGERS, places.ask()
                    if place is None:  # none would come free in time
                        raise TimeoutError
                    yield from ask(caller.wait, place, JOINED)
                answer = yield from self.answer(caller, "issuer_for", hook, name, threads)
                found = self._issuers.adopt(name, answer, self._clock())
            outcome = found
        except TimeoutError:
            outcome = _BUSY
        except OAuthError as error:
            outcome = error
        finally:
            if place is not None and not place.cancel():  # it was given
                places.leave()
            with self._lock:
                if self.questions.get(name) is question:
                    del self.questions[name]
            question.outcome.set_result(outcome)


def is_async(call: Callable[..., Any]) -> bool:
    """Say whether a function, or an object that is called, is written with `async def`."""
    return iscoroutinefunction(call) or iscoroutinefunction(type(call).__call__)


def unawaited(answer: Any, subject: str) -> Any:
    """Return an answer of the store, unless it must be awaited. Raises ConfigurationError."""
    # A tuple can't be awaited, and most answers are one: that is seen sooner than by `isawaitable`.
    if not isinstance(answer, tuple) and isawaitable(answer):
        getattr(answer, "close", dict)()  # or Python would warn that it was never awaited
        raise asynchronous("refresh.store", subject, SYNC_KIND)
    return answer


def asynchronous(field: str, subject: str, remedy: str) -> ConfigurationError:
    """Return the error for what is asynchronous where nothing can await it."""
    return ConfigurationError(
        field,
        f"{subject} asynchronous, and a WSGI door can't await",
        f"{remedy}; in asynchronous code the door of ASGI, and await issuer.aissue(...)",
    )
