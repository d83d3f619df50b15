"""Forks: a child process begins with locks and connections of its own.

Python's hooks (`os.register_at_fork`) run where Python forks. uWSGI forks in C and runs none of
them. So code that takes a lock or a connection calls `notice` first, which compares process ids.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import Lock

_beginnings: list[Callable[[], None]] = []
_pid = os.getpid()
_locks: dict[int, Lock] = {}  # by process: a parent's thread may hold its lock


def in_child(begin: Callable[[], None]) -> None:
    """Have `begin` called once in every child, before any of our objects is used there."""
    _beginnings.append(begin)


def notice() -> None:
    """Call every `begin` if this process was forked since the last call. Else do nothing."""
    if os.getpid() != _pid:
        _begin_in_child()


def is_before_silent_fork() -> bool:
    """Say whether this is a process of uWSGI that may fork its workers, without Python's hooks."""
    worker_id = getattr(sys.modules.get("uwsgi"), "worker_id", None)
    return worker_id is not None and worker_id() == 0


def _begin_in_child() -> None:
    global _pid
    pid = os.getpid()
    with _locks.setdefault(pid, Lock()):
        # Several threads of the child may come here at once: one does the work, the others wait for
        # it.
        if pid != _pid:
            for begin in _beginnings:
                begin()
            _pid = pid


# Windows has no fork and no such function: `dict` takes the same keywords and has no effect.
getattr(os, "register_at_fork", dict)(after_in_child=_begin_in_child)
