"""Whether a process can serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this process can serve, and which of its parts are well. True where it can.

    Args:
        is_ready: whether requests may be sent here.
        parts: by name, whether a part is well: `keys`, and where there are such, `trusted_issuers`,
            `store` and `feed`. Empty: nothing is known yet, or the settings were closed.

    """

    is_ready: bool
    parts: Mapping[str, bool]

    def __bool__(self) -> bool:
        return self.is_ready
