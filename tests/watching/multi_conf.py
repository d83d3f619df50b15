"""Gunicorn's settings for multi_app.py: as docs/watching.md has them."""

from typing import Any

from prometheus_client import multiprocess

workers = 2


def child_exit(server: Any, worker: Any) -> None:
    multiprocess.mark_process_dead(worker.pid)
