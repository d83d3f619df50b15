"""Measure, print tables in Markdown, and say which gates were missed: `make bench`.

With `--gate` a line that misses is measured again, three times at most, and may be off by a tenth.
Where Python is slow compared with OpenSSL, Python's part of a limit is larger by the same factor.
"""

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
from pathlib import Path

from .report import ATTEMPTS, NONE, TOLERANCE, Allowance, Section, put

PEERS = (
    "cryptography", "PyJWT", "joserfc", "Authlib", "Starlette", "FastAPI", "Flask",
    "auth0-fastapi-api", "authx", "mcp", "Flask-JWT-Extended", "djangorestframework-simplejwt",
    "uvicorn", "granian", "gunicorn",
)  # fmt: skip


def sections(*, is_gate: bool, parts: str) -> Iterator[Section]:
    """Yield the sections of these parts; of a gate, what has limits."""
    warnings.simplefilter("ignore")  # peers warn about their own dependencies
    from . import costs, flat, measured, node, scopes, servers, weight

    if "process" in parts:
        scene = costs.Scene()
        yield from costs.sections(scene, is_gate=is_gate)
        yield from measured.sections(scene)
        yield from scopes.sections()
        yield from flat.sections()
        yield from weight.sections()
    if "node" in parts:
        yield from node.sections()
    if "servers" in parts:
        yield from servers.sections()


def machine() -> str:
    """Return the machine, the interpreter and the versions of the packages."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    versions = ", ".join(f"{name} {version(name)}" for name in PEERS)
    load = os.getloadavg()[0]
    return (
        f"{python} on {platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the start. "
        f"Beside {versions}."
    )


def allowance() -> Allowance:
    """Return by how much this machine may miss a limit."""
    from . import costs

    pace = costs.pace()
    print(
        f"\nBeside OpenSSL, Python takes {pace:.2f} times what it took where the gates are from; "
        f"so does what is Python's in a limit, but never less. Off by {TOLERANCE:.0%} is noise.",
        flush=True,
    )
    return Allowance(TOLERANCE, max(pace, 1.0))


def main() -> int:
    """Return 1 if a gate was asked for and missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--gate",
        action="store_true",
        help="only what has a gate; exit with 1 where one is missed",
    )
    options.add_argument("--share", type=float, default=1.0, help="of the usual rounds")
    options.add_argument(
        "--parts",
        help="which, by commas: process, node, servers; by default all, and of a gate the first, "
        "which a machine with other work on it can hold",
    )
    options.add_argument("--only", default="", help="sections whose title has this in it")
    options.add_argument("--into", type=Path, help="a page that has places for the tables")
    given = options.parse_args()
    parts = given.parts or ("process" if given.gate else "process,node,servers")
    begun, missed = time.monotonic(), 0
    texts = {"Machine": machine()}
    print(texts["Machine"], flush=True)
    allowed, attempts = (allowance(), ATTEMPTS) if given.gate else (NONE, 1)
    for section in sections(is_gate=given.gate, parts=parts):
        if given.only not in section.title:
            continue
        print(f"\n## {section.title}\n", flush=True)
        # Collections during the measurement skip all objects that were made before it.
        gc.collect()
        gc.freeze()
        rows = section.measured(share=given.share, allowed=allowed, attempts=attempts)
        lines = [section.head()]
        print(section.head(), flush=True)
        for row in rows:
            lines.append(row.text(allowed))
            print(lines[-1], flush=True)
            missed += not row.kept(allowed)
        texts[section.title] = "\n".join(lines)
    if given.into:
        page = given.into.read_text("utf-8")
        for name, text in texts.items():
            page = put(page, name, text)
        given.into.write_text(page, "utf-8")
    verdict = f"{missed} gates missed" if missed else "all gates kept"
    off = f", with a tolerance of {allowed.tolerance:.0%}" if allowed.tolerance else ""
    print(f"\n{verdict}{off}, in {time.monotonic() - begun:.0f} s")
    return 1 if given.gate and missed else 0


if __name__ == "__main__":
    sys.exit(main())
