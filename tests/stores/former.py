"""A process that holds a store and does to it what it is told: `python former.py URL`.

It runs with the package of a former version, so it uses nothing else of this repository.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

import jwt_middleware
from jwt_middleware import Grant
from jwt_middleware.stores.opening import open_store

# Where the former package has it.
FrozenDict: Any = importlib.import_module("jwt_middleware.values.model").FrozenDict


def plain(value: Any) -> Any:
    """Return an answer as JSON has it."""
    if isinstance(value, Grant):
        fields = {name: getattr(value, name) for name in Grant.__dataclass_fields__}
        return fields | {"claims": dict(value.claims)}
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def main() -> None:
    store = open_store(sys.argv[1], clock=time.time, retention=float(sys.argv[2])).plain
    store.check()
    sys.stdout.write(f"{json.dumps(jwt_middleware.__file__)}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        verb, *args = json.loads(line)
        if verb == "add":
            args[0] = Grant(**args[0] | {"claims": FrozenDict(args[0]["claims"])})
        sys.stdout.write(f"{json.dumps(plain(getattr(store, verb)(*args)))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
