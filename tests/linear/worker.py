"""One process of the histories: `python -m tests.linear.worker MODULE:CLASS URL OPTIONS`.

It lives for many histories, because a process takes longer to start than a history to run. For each
it reads a line of JSON, what to run and when, and answers with another, what its threads have seen.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from jwt_middleware.testing import store_contract

from .program import THREADS, Plan, perform

SWITCH: float = 20e-6  # seconds; by default a thread has 5 ms, and would be done before the next


def main(store: str, url: str, options: str) -> None:
    """Serve histories until standard input ends."""
    sys.setswitchinterval(SWITCH)
    module, name = store.split(":")
    kind: Any = getattr(import_module(module), name)

    def make(clock: store_contract.Clock, retention: float) -> Any:
        return kind.from_url(url, clock=clock, retention=retention, **json.loads(options))

    with (
        store_contract._opened(make, store_contract.Clock()) as opened,
        ThreadPoolExecutor(max(THREADS)) as threads,
    ):
        opened.grants("nobody")  # what is opened at first use is opened now
        say(time.monotonic_ns())
        for line in sys.stdin:
            asked = json.loads(line)
            plan = Plan(asked["run"], asked["seed"])
            say(perform(opened, plan, range(*asked["numbers"]), asked["at"], threads))


def say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
