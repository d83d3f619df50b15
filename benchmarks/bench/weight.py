"""The time of the package's import, and the memory of a token in the cache."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from statistics import median

from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.process.runtime import Runtime

from .report import AtMost, Row, Section, compared, number
from .scene import CLAIMS, Issuer, always, asgi, asgi_app

KEPT, LENGTH = 4096, 900
KNOWN = {"jwt_middleware", "jwt", "cryptography", *sys.stdlib_module_names}
UNUSED = {"asyncio", "concurrent.futures", "sqlite3", "jwt_middleware.keys.http"}
_IMPORT = """
import sys, time
begun = time.process_time_ns()
import {module}
print(time.process_time_ns() - begun, *sys.modules)
"""


def sections() -> Iterator[Section]:
    """Yield one section for each."""
    yield Section(
        "Importing it",
        ("ms", "`import jwt`, ms"),
        "over `import jwt`",
        imports,
        "CPU time in fresh processes, in turns.",
        rounds=25,
    )
    yield Section(
        f"A kept token of {LENGTH} octets",
        ("bytes",),
        "KB",
        memory,
        f"What {KEPT} of them take together, all of each: credentials, claims, entry.",
    )


def imports(rounds: int) -> Iterator[Row]:
    """Compare the import of both middlewares with that of PyJWT, and list what else is loaded."""
    modules = ("jwt", "jwt_middleware.asgi", "jwt_middleware.wsgi")
    found: dict[str, list[float]] = {name: [] for name in modules}
    loaded: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in modules:
            _imported(name, cache)  # this one compiles
        for _ in range(rounds):
            for name in modules:
                ns, *names = _imported(name, cache)
                found[name].append(float(ns))
                loaded[name] = set(names)
    base = found["jwt"]
    for name in modules[1:]:
        costs = (number(median(one) / 1e6) for one in (found[name], base))
        row = Row(f"`import {name}`", tuple(costs), gate=AtMost(1.75))
        yield compared(row, found[name], base)
    for name in modules[1:]:
        added = loaded[name] - loaded["jwt"]
        foreign = {one for one in added if one.split(".")[0] not in KNOWN} | added & UNUSED
        listed = f": {', '.join(sorted(foreign))}" if foreign else ""
        yield Row(
            f"`{name}`: frameworks, engines and HTTP clients that it loads{listed}",
            ("", ""),
            len(foreign),
            gate=AtMost(0),
        )


def _imported(module: str, cache: str) -> list[str]:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", _IMPORT.format(module=module)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return run.stdout.split()


def memory(rounds: int) -> Iterator[Row]:
    """Measure the memory of tokens in the cache."""
    issuer = Issuer()
    length = len(issuer.factory.token(**CLAIMS, name=""))
    name = "n" * ((LENGTH - length) * 3 // 4)
    tokens = [issuer.factory.token(**CLAIMS, name=name) for _ in range(KEPT)]
    settings = issuer.settings(entries=KEPT)
    app = JWTMiddleware(asgi_app, settings)
    cache = Runtime.of(settings).cache
    assert cache is not None
    asgi(app, always(issuer.token))()  # makes what is made only once
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for token in tokens:
        asgi(app, always(token))()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cache) == KEPT
    size = (after - before) / KEPT
    what = f"{len(tokens[0])} octets, RS256"
    yield Row(what, (f"{size:.0f}",), size / 1000, goal=2.1, gate=AtMost(3.2))
