"""What the options of all stores share: the error for a wrong one, and the bounds of a time-out."""

from __future__ import annotations

from typing import Final

from ..values.errors import ConfigurationError

STORE_TIMEOUT: Final = 5.0  # seconds for a verb, where the address gives none


def wrong_store(problem: str, remedy: str = "") -> ConfigurationError:
    """Return the error that says what is wrong with `refresh.store`, and the way out."""
    return ConfigurationError("refresh.store", problem, remedy)


def check_store_timeout(seconds: float) -> None:
    """Raise ConfigurationError unless a store's time-out is below 10 seconds, as `Store` says."""
    if not 0 < seconds < 10:
        raise wrong_store("timeout must be more than 0 and less than 10 seconds", "5 is usual")


def check_engine_version(
    engine: str, found: tuple[int, ...], oldest: tuple[int, ...], remedy: str
) -> None:
    """Raise ConfigurationError where an engine is older than the first one that will do."""
    if found < oldest:
        versions = (".".join(map(str, one)) for one in (found, oldest))
        raise wrong_store(f"{engine} {' is older than '.join(versions)}", remedy)
