"""What happened, as values: for the application's callback and for its log.

No event ever holds a token, a secret or the value of a claim.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from .errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request was refused. `reason` is stable, meant for alerts, and not told to the client."""

    name: ClassVar[str] = "refused"

    reason: Reason
    status: int
    method: str
    path: str
    detail: str = ""  # which claim, header or rule


Event: TypeAlias = Refused
