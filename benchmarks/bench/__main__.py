"""Measure, print tables in Markdown, and say which gates were missed: `make bench`."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version

from .report import ATTEMPTS, TOLERANCE, Section

PEERS = (
    "cryptography", "PyJWT", "joserfc", "Authlib", "Starlette", "FastAPI", "Flask",
    "auth0-fastapi-api", "authx", "mcp", "Flask-JWT-Extended", "djangorestframework-simplejwt",
    "uvicorn", "granian", "gunicorn",
)  # fmt: skip


def sections(*, is_gate: bool, parts: str) -> Iterator[Section]:
    """Yield all sections, or those that a machine with other work on it can hold."""
    warnings.simplefilter("ignore")  # what peers say about their own dependencies
    from . import costs, flat, node, servers, weight

    if "process" in parts:
        scene = costs.Scene()
        yield from costs.sections(scene, is_gate=is_gate)
        yield from flat.sections()
        yield from weight.sections()
    if is_gate:
        return
    if "node" in parts:
        yield from node.sections()
    if "servers" in parts:
        yield from servers.sections()


def machine() -> str:
    """Say what it runs on, and beside what."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    versions = ", ".join(f"{name} {version(name)}" for name in PEERS)
    load = os.getloadavg()[0]
    return (
        f"{python} on {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}.\n"
        f"Beside {versions}."
    )


def main() -> int:
    """Return 1 if a gate was asked for and missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--gate",
        action="store_true",
        help=f"only what has a gate; exit with 1 where one is missed {ATTEMPTS} times by more than "
        f"{TOLERANCE:.0%}",
    )
    options.add_argument("--share", type=float, default=1.0, help="of the usual rounds")
    options.add_argument("--parts", default="process,node,servers", help="which, by commas")
    options.add_argument("--only", default="", help="sections whose title has this in it")
    given = options.parse_args()
    tolerance, attempts = (TOLERANCE, ATTEMPTS) if given.gate else (0.0, 1)
    begun, missed = time.monotonic(), 0
    print(machine(), flush=True)
    for section in sections(is_gate=given.gate, parts=given.parts):
        if given.only not in section.title:
            continue
        print(section.head(), flush=True)
        # What was made for the measuring is no garbage to look through while measuring.
        gc.collect()
        gc.freeze()
        for row in section.measured(share=given.share, tolerance=tolerance, attempts=attempts):
            print(row.text(tolerance), flush=True)
            missed += not row.kept(tolerance)
    verdict = f"{missed} gates missed" if missed else "all gates kept"
    allowed = f", with a tolerance of {tolerance:.0%}" if tolerance else ""
    print(f"\n{verdict}{allowed}, in {time.monotonic() - begun:.0f} s")
    return 1 if given.gate and missed else 0


if __name__ == "__main__":
    sys.exit(main())
