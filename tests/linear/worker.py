"""One process of the histories: `python -m tests.linear.worker MODULE:CLASS URL OPTIONS`.

It lives for many histories, because a process takes longer to start than a history to run. For each
it reads a line of JSON, what to run and when, and answers with another, what its threads have seen.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import Any

from jwt_middleware.testing import Clock, store_contract
from jwt_middleware.values.errors import StoreUnavailable

from .program import TURNS, Plan, perform

SWITCH: float = 20e-6  # seconds; by default a thread has 5 ms, and would be done before the next


class Yielding(Clock):
    """A store inside the process looks at it in the middle of a verb: then it's others' turn."""

    def __call__(self) -> float:
        time.sleep(0)
        return super().__call__()


def main(store: str, url: str, options: str) -> None:
    """Serve histories until standard input ends."""
    sys.setswitchinterval(SWITCH)
    module, name = store.split(":")
    kind: Any = getattr(import_module(module), name)

    def make(clock: Clock, retention: float) -> Any:
        return kind.from_url(url, clock=clock, retention=retention, **json.loads(options))

    with (
        store_contract._made_store(make, Yielding()) as opened,
        ThreadPoolExecutor(max(TURNS)) as threads,
    ):
        with suppress(StoreUnavailable):
            opened.grants("nobody")  # what is opened at first use is opened now
        say("ready")
        for line in sys.stdin:
            asked = json.loads(line)
            plan = Plan(**asked["plan"])
            say(perform(opened, plan, range(*asked["numbers"]), asked["at"], threads))


def say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
