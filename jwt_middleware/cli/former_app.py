"""What an application's former library is, and how it is configured: the value that readers make.

A secret is handed on to be judged, and is in no text.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pkgutil import resolve_name
from typing import Any

from .lines import Line


@dataclass(frozen=True)
class FormerApp:
    """What an application has now."""

    library: str  # as people call it, with its version
    preset: str  # its name in `migrations`; "": its tokens or sessions aren't JWT
    secret: Any = field(default=None, repr=False)  # verifies its tokens: never shown
    secret_name: str = ""  # the setting that holds it
    algorithm: str = "HS256"
    issuer: str = ""
    audience: tuple[str, ...] = ()
    access: float | None = 0  # seconds; None: for ever; 0: it has no such token
    refresh: float | None = 0
    cookies: bool = False  # tokens travel in cookies
    forms: bool = False  # and pages send forms with them, without a script
    changes: Mapping[str, Any] = field(default_factory=dict)  # of the preset's fields
    blocklist: str = ""  # the function that is asked: MODULE:NAME, or "?" where it has none
    lines: tuple[Line, ...] = ()  # what is to be decided because of this library


def unknown() -> FormerApp:
    """Return what can be said where no known library is found: PyJWT by hand, or none at all."""
    line = Line(
        "warn",
        "by hand",
        "where an application calls PyJWT itself, only its code says the algorithm, the claims, "
        "and how long tokens live",
        "look at its calls of jwt.encode, and fill in the parts in < >: docs/from-pyjwt.md; a "
        "server of Authlib has a guide of its own: docs/from-authlib.md",
    )
    kinds = {one: {"<claim>": f"<{one}>"} for one in ("refresh", "access")}
    return FormerApp(
        "none that is known here: tokens made by hand?",
        "PYJWT",
        secret_name="the secret",
        refresh=30 * 86400.0,
        changes=kinds,
        lines=(line,),
    )


def versioned(name: str, package: str) -> str:
    """Return what people call a library, and its version, if it is to be had."""
    with suppress(ImportError):
        return f"{name} {resolve_name(package).__version__}"
    return name


def lasting(life: Any) -> float | None:
    """Return a lifetime; None: for ever, however the library spells it."""
    if life is None or isinstance(life, bool):
        return None
    return life.total_seconds() if isinstance(life, timedelta) else float(life)


def texts(value: Any) -> tuple[str, ...]:
    """Return one text or several as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def dotted(function: Any) -> str:
    """Return a function as MODULE:NAME; "?": it has no such name."""
    return (
        "?"
        if {"<", "."} & {*function.__qualname__}
        else f"{function.__module__}:{function.__qualname__}"
    )
