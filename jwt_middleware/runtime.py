"""The live side of one Settings, in this process: its core, its drivers, its log."""

from inspect import isawaitable
from threading import Lock
from typing import TYPE_CHECKING

from .core import Core
from .settings import Settings
from .values.errors import OAuthError, Unavailable
from .values.events import Event
from .values.model import AccessToken, Request
from .values.steps import Ask, Forward, Reply, Step

if TYPE_CHECKING:
    from contextvars import ContextVar

_lock = Lock()


class Runtime:
    """What the doors of one settings object share."""

    __slots__ = ("_log", "_on_event", "core", "current")

    def __init__(self, settings: Settings) -> None:
        # Not at the top: importing the package costs what `import jwt` costs.
        from logging import getLogger

        self.core = Core(settings)
        self.current = _context_variable()
        self._on_event = settings.on_event
        self._log = getLogger("jwt_middleware")

    @classmethod
    def of(cls, settings: Settings) -> "Runtime":
        """Return the runtime of a settings object, and make it at the first call."""
        with _lock:
            live = vars(settings)
            if "_runtime" not in live:
                live["_runtime"] = cls(settings)
            runtime: Runtime = live["_runtime"]
            return runtime

    def tell(self, events: tuple[Event, ...]) -> None:
        """Log the events and hand them to the application; what its callback raises, too."""
        for event in events:
            self._log.info("%s: %s", event.name, event)
            if self._on_event is None:
                continue
            try:
                self._on_event(event)
            except Exception:  # noqa: BLE001
                # The answer is decided; a broken counter must not change it.
                self._log.exception("on_event failed for %s", event.name)


def run(core: Core, request: Request) -> Forward | Reply:
    """Lead a request to its end, waiting in this thread."""
    try:
        step: Step = core.begin(request)
        while isinstance(step, Ask):
            try:
                answer = step.call(*step.args)
            except Unavailable as error:
                step = _failed(step, error)
            else:
                step = step.then(answer)
    except OAuthError as error:
        return core.refuse(request, error)
    return step


async def arun(core: Core, request: Request) -> Forward | Reply:
    """Lead a request to its end, awaiting what has to be awaited."""
    try:
        step: Step = core.begin(request)
        while isinstance(step, Ask):
            try:
                answer = step.call(*step.args)
                if isawaitable(answer):
                    answer = await answer
            except Unavailable as error:
                step = _failed(step, error)
            else:
                step = step.then(answer)
    except OAuthError as error:
        return core.refuse(request, error)
    return step


def _failed(step: Ask, error: Unavailable) -> Step:
    if step.failed is None:
        raise error
    return step.failed(error)


_current: "list[ContextVar[AccessToken | None]]" = []


def _context_variable() -> "ContextVar[AccessToken | None]":
    from contextvars import ContextVar

    if not _current:
        _current.append(ContextVar("jwt_middleware.token", default=None))
    return _current[0]


def current_token() -> AccessToken | None:
    """Return the verified token of the request that this code serves, or None."""
    return _context_variable().get()
