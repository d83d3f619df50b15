"""`jwt-middleware doctor`: try the key sources and the store that the settings name.

Keys are fetched as the middleware fetches them, the store is checked as at a start. Only what a
start changes is changed: a store makes its schema.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import time
from argparse import Namespace
from asyncio import run
from collections.abc import Iterable, Iterator
from contextlib import suppress
from glob import escape as glob_escape
from glob import glob
from pkgutil import resolve_name
from statistics import median

import cryptography
import jwt
from cryptography.exceptions import InvalidSignature

from .. import ConfigurationError, Settings, __version__
from ..jose.jwk import Key
from ..keys.signer import ExternalKey, checked
from ..process.runtime import Runtime
from ..stores.contract import Ended
from ..values.errors import StoreUnavailable
from . import waited
from .commands import Subcommand
from .configured import AS_JSON, SOURCE, in_memory, settings_of, source_of
from .key_checks import key_lines
from .lines import Line, write_lines

STORE_ROUNDS = 5  # questions to the store, for its latency
LATELY = 600.0  # seconds; ends in this time are counted
SLOW_STORE = 0.1  # seconds; a slower answer is worth a warning, because requests wait for it
PACKAGE = "jwt_middleware"
MESSAGE = b"jwt-middleware doctor"  # without a dot, so its signature can't be that of a token


def _doctor(arguments: Namespace) -> int:
    settings = settings_of(arguments).replace(on_event=None)

    def lines() -> Iterator[Line]:
        yield from _installed()
        yield from _foreign(sys.path)
        yield Line("ok", "settings", f"from {source_of(arguments)}, issuer {settings.issuer!r}")
        yield from key_lines("keys", settings, settings)
        yield from _signer_lines(settings.keys.signer)
        for position, one in enumerate(settings.trusted_issuers):
            yield from key_lines(f"trusted[{position}]", one, settings)
        if settings.issuer_for is not None:
            yield Line("-", "issuer_for", "only the application knows whom to try")
        yield from _store_lines(settings)

    return write_lines(lines(), as_json=arguments.json)


# --- what is installed


def _installed() -> Iterator[Line]:
    yield Line("ok", "package", f"{PACKAGE} {__version__} in {_home()}")
    versions = [
        f"Python {platform.python_version()}",
        f"PyJWT {jwt.__version__}",
        f"cryptography {cryptography.__version__}",
        f"SQLite {sqlite3.sqlite_version}",
    ]
    for name in ("psycopg", "redis"):
        with suppress(ImportError):
            versions.append(f"{name} {resolve_name(name).__version__}")
    yield Line("ok", "versions", ", ".join(versions))


def _home() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _foreign(path: Iterable[str]) -> Iterator[Line]:
    """Look for another package with the same import name: PyPI has one."""
    home = os.path.realpath(_home())
    for folder in dict.fromkeys(os.path.realpath(one or os.curdir) for one in path):
        here = os.path.join(folder, PACKAGE)
        for found in (os.path.join(here, "__init__.py"), f"{here}.py"):
            if os.path.isfile(found) and os.path.dirname(found) != home:
                yield Line(
                    "FAIL",
                    "package",
                    f"{found} is another package of the same name: which of the two an application "
                    "gets depends on its path",
                    "uninstall it, or keep the two in environments of their own",
                )
        for found in sorted(glob(os.path.join(glob_escape(folder), f"{PACKAGE}-*.dist-info"))):
            yield Line(
                "FAIL",
                "package",
                f"{found}: somebody else's distribution, whose files have the same names as ours",
                "uninstall it, and install wsgi-asgi-jwt-middleware anew",
            )


# --- the signer


def _signer_lines(key: Key | None) -> Iterator[Line]:
    """Let an external key sign a message that isn't a token."""
    if not isinstance(key, ExternalKey):
        return
    started = time.monotonic()
    try:
        checked(key, MESSAGE, run(waited(key.signer.sign, MESSAGE)))
    except InvalidSignature:
        yield Line(
            "FAIL",
            "signer",
            f"what it signs isn't signed by {key.kid}: no login and no refresh works",
            "give the public part of the key that it has",
        )
    except Exception as error:  # noqa: BLE001 (the application's signer may raise anything)
        yield Line(
            "FAIL",
            "signer",
            f"raised {type(error).__name__}: {error}; no login and no refresh works meanwhile",
            "its service: is it up, and may we use the key?",
        )
    else:
        took = time.monotonic() - started
        yield Line("ok", "signer", f"signs as {key.kid} does, in {took * 1000:.0f} ms")


# --- the store


def _store_lines(settings: Settings) -> Iterator[Line]:
    if settings.refresh is None:
        yield Line("-", "store", "none: these settings only verify")
        return
    if in_memory(settings.refresh.store):
        yield Line("-", "store", "memory:// is each process's own: nothing of it is seen from here")
        return
    try:
        yield from run(_tried(settings))
    except ConfigurationError as error:
        yield Line("FAIL", "store", error.problem, error.remedy)
    except StoreUnavailable as error:
        yield Line("FAIL", "store", f"doesn't answer: {error.detail}", "is it up, and reachable?")
    except Exception as error:  # noqa: BLE001 (the application's store may raise anything)
        yield Line(
            "FAIL",
            "store",
            f"raised {type(error).__name__}: {error}",
            "a store may raise StoreUnavailable only",
        )


async def _tried(settings: Settings) -> list[Line]:
    runtime = Runtime.of(settings)
    store = runtime.astore
    took, count = [], 0
    try:
        check = getattr(store, "check", None)
        if check is not None:
            await waited(check)
        for _ in range(STORE_ROUNDS):
            started = time.monotonic()
            answer = Ended(*await waited(store.ended, None, LATELY))
            took.append(time.monotonic() - started)
            count = len(answer.grant_ids)
    finally:
        await runtime.aclose()
    name, half = type(store).__name__, median(took)
    seen = f"{name} answers in {half * 1000:.2f} ms; {count:,} grants ended lately"
    slow = Line("warn", "store", seen, "a store in the same place: requests wait for it")
    return [
        Line("ok", "store", f"{name}: address, rights and schema are right"),
        slow if half > SLOW_STORE else Line("ok", "store", seen),
    ]


DOCTOR_COMMAND = Subcommand(
    "doctor",
    "try what the settings name: keys, clock, store, and what is installed",
    _doctor,
    (*SOURCE, AS_JSON),
    more="Exit status: 0 all is well, 1 something isn't, 2 there are no settings to go by.",
)
