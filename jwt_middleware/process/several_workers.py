"""Refuse a start as one of several workers with data that one process has, or warn of it.

Only the process that made them knows a store in memory and keys generated at start. With two
workers, half of all requests reach the worker that doesn't have them. uWSGI and mod_wsgi offer
their number of workers as a value. For other servers, it is read from the frames on the stack while
the application is made. docs/operating.md says what can be seen of which server.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any
from weakref import WeakValueDictionary

from ..settings.settings import Settings
from ..values.errors import ConfigurationError
from ..values.forks import is_before_silent_fork
from .event_log import logger

# Where the number of workers is, by the module of a frame: a variable of the frame and attributes
# from there on; or the number itself. The largest number found counts.
_ON_THE_STACK: dict[str, tuple[str, ...] | int] = {
    "gunicorn.arbiter": ("self", "cfg", "workers"),
    "granian.server.common": ("self", "workers"),  # where processes are forked
    "granian.server.mp": ("worker_id",),  # 2 in the second worker, whose refusal ends the server
    "hypercorn.run": ("config", "workers"),  # 0 is one process, without a parent
    "hypercorn.asyncio.run": ("config", "workers"),
    "hypercorn.trio.run": ("config", "workers"),
    # On the stack of workers only. With --reload it isn't there, and `config.workers` may be
    # anything.
    "uvicorn.supervisors.multiprocess": 2,
    "uvicorn.main": 1,
    "uvicorn.server": 1,
    "waitress.runner": 1,
    "flask.cli": 1,
    "django.core.management.commands.runserver": 1,
    "django.test.client": 1,
    "django.test.testcases": 1,  # its live server
}
# The same, in modules that a server adds to the interpreter; both are documented.
_IN_MODULES = (("uwsgi", "numproc"), ("mod_wsgi", "maximum_processes"))

_SEVERAL = "This server runs several: what one issues, the others refuse"
_UNSEEN = "How many this server runs can't be seen: of several, each refuses what another issued"
# Not every Python has this function. Without frames no number is found, which logs the warning.
_frame_at = getattr(sys, "_getframe", None)
_warned: WeakValueDictionary[int, Settings] = WeakValueDictionary()


def check_workers(settings: Settings, store: Any, *, at_startup: bool = False) -> bool:
    """Refuse to be one of several workers; where their number can't be seen, log one WARNING.

    Returns whether the answer would be a refusal, but comes too early or too late for one: then ask
    again at `lifespan.startup`, if there is one.

    Args:
        settings: whose keys are checked for where they come from.
        store: the live store of these settings, or None.
        at_startup: whether the server waits for this answer. An error doesn't stop the server when
            the application is only made at the first request: Starlette makes it anew at each
            request.

    Raises:
        ConfigurationError: for the first thing that other workers don't have.

    """
    workers, is_parent, is_serving = _see()
    unshared = list(_unshared(settings, store, is_parent=is_parent))
    if not unshared:
        return False
    if workers == 1:
        if is_parent and hasattr(store, "hand_over"):
            store.hand_over()
        return False
    if workers is not None and (at_startup or not is_serving):
        field, what, remedy = unshared[0]
        raise ConfigurationError(
            field,
            f"{what}, and this server runs several workers: what one issues, the others refuse",
            f"{remedy}, or one worker",
        )
    if id(settings) not in _warned:
        _warned[id(settings)] = settings
        logger().warning(
            "%s; that is good for one worker, and until it ends. %s (%s)",
            "; ".join(f"{field}: {what}" for field, what, _ in unshared),
            _UNSEEN if workers is None else _SEVERAL,
            "; ".join(dict.fromkeys(remedy for _, _, remedy in unshared)),
        )
    return workers is not None


def is_for_one_process(store: Any) -> bool:
    """Say whether a store is in memory: only such a store never waits."""
    return getattr(store, "blocking", None) is False


def _unshared(settings: Settings, store: Any, *, is_parent: bool) -> Iterator[tuple[str, str, str]]:
    """Yield what other workers don't have: the field, what is wrong with it, and the remedy.

    Keys that the parent process made before it forked are known to all workers.
    """
    if is_for_one_process(store):
        yield "refresh.store", "memory:// is one process's own", "use sqlite:///grants.db"
    if is_parent:
        return
    what = "KeySet.generate() made them in this process, and no other has them"
    remedy = 'KeySet.generate().save("keys.json") once, then KeySet.load("keys.json")'
    if settings.keys.is_made_here:
        yield "keys", what, remedy
    made_here = [
        position for position, one in enumerate(settings.trusted_issuers) if one.keys.is_made_here
    ]
    if made_here:  # one line for all of them: there may be a thousand
        more = f", as for {len(made_here) - 1} more" if made_here[1:] else ""
        yield f"trusted_issuers[{made_here[0]}].keys", what + more, remedy


def _see() -> tuple[int | None, bool, bool]:
    """Look at the modules, and at this thread's stack, on which the server makes the application.

    Returns how many workers there are, None where the server doesn't say; whether this is their
    parent, which makes the application once and is forked into each; and whether the application is
    made in the middle of a request, or of a lifespan.
    """
    found: list[Any] = [getattr(sys.modules.get(one), name, None) for one, name in _IN_MODULES]
    # Without lazy-apps, uWSGI makes the application before it forks, when there is no worker yet.
    is_parent, is_serving = is_before_silent_fork(), False
    frame = _frame_at() if _frame_at is not None else None
    while frame is not None:
        module, code = frame.f_globals.get("__name__"), frame.f_code
        found.append(_number_in(frame, _ON_THE_STACK.get(module)))
        is_parent |= module == "gunicorn.arbiter" and code.co_name == "setup"
        # An ASGI or WSGI call: `app(scope, receive, send)`, or `app(environ, start_response)`.
        names = code.co_varnames[: code.co_argcount]
        is_serving |= "start_response" in names or ("receive" in names and "send" in names)
        frame = frame.f_back
    numbers = [one for one in found if isinstance(one, int)]
    return max(1, *numbers) if numbers else None, is_parent, is_serving


def _number_in(frame: FrameType, way: tuple[str, ...] | int | None) -> Any:
    """Follow a way from a frame's variables, and return the value at its end."""
    if not isinstance(way, tuple):
        return way
    found = frame.f_locals.get(way[0])
    for name in way[1:]:
        found = getattr(found, name, None)
    return found
