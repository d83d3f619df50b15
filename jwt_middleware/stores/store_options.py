"""The options of all stores: how a URL gives them, their bounds, and the errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from ..values.errors import ConfigurationError

STORE_TIMEOUT: Final = 5.0  # seconds for a verb, where the address gives none


def wrong_store(problem: str, remedy: str = "") -> ConfigurationError:
    """Return the error that says what is wrong with `refresh.store`, and the remedy."""
    return ConfigurationError("refresh.store", problem, remedy)


def read_options(query: str, readers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Return the options of a URL's query, each read by its own function.

    Raises KeyError with the name of an option that has no reader, and ConfigurationError for a
    value that can't be read or is given twice. The error never quotes a value, which may be a
    password.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        found = {name: readers[name](value) for name, value in pairs}
    except ValueError:
        raise wrong_store("an option can't be read", "as in ?timeout=2.5") from None
    if len(found) < len(pairs):
        raise wrong_store("an option is given twice", "give it once")
    return found


def check_store_timeout(seconds: float) -> None:
    """Raise ConfigurationError unless a store's time-out is below 10 seconds, as `Store` says."""
    if not 0 < seconds < 10:
        raise wrong_store("timeout must be more than 0 and less than 10 seconds", "5 is usual")


def check_engine_version(
    engine: str, found: tuple[int, ...], oldest: tuple[int, ...], remedy: str
) -> None:
    """Raise ConfigurationError where an engine is older than the oldest supported version."""
    if found < oldest:
        versions = (".".join(map(str, one)) for one in (found, oldest))
        raise wrong_store(f"{engine} {' is older than '.join(versions)}", remedy)
