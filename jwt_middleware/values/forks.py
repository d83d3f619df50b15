"""Forks: a child process begins with locks and connections of its own.

Python's hooks (`os.register_at_fork`) run where Python forks. uWSGI forks in C and runs none of
them, so whoever takes a lock or a connection calls `notice` first: it compares process ids.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import Lock

_beginnings: list[Callable[[], None]] = []
_pid = os.getpid()
_locks: dict[int, Lock] = {}  # by process: the parent's may be held by a thread that isn't here


def in_child(begin: Callable[[], None]) -> None:
    """Let `begin` be called once in every child, before anything of ours is used there."""
    _beginnings.append(begin)


def notice() -> None:
    """Begin anew if this process was forked since the last call: one comparison if not."""
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
        # Threads of the child may come here at once: one begins, the others wait until it is done.
        if pid != _pid:
            for begin in _beginnings:
                begin()
            _pid = pid


# Windows doesn't fork, and has no such function: `dict` takes the same names and does nothing.
getattr(os, "register_at_fork", dict)(after_in_child=_begin_in_child)
