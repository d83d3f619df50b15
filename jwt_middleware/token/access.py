"""An access token, from text to a verified value (RFC 9068 s4)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..jose.jws import Parsed
from ..values.errors import InvalidToken, Reason
from ..values.model import AccessToken
from .claims import check
from .profiles import Profile

Check = Callable[[AccessToken], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one issuer's access tokens must satisfy."""

    issuer: str
    audience: frozenset[str]
    profile: Profile
    leeway: float  # seconds
    checks: tuple[Check, ...] = field(default=())
    own: bool = True  # our own issuer: its subjects are our users, its `sid` is a grant of ours


def check_type(parsed: Parsed, profile: Profile) -> None:
    """Check the header `typ`, before any key is looked up. Raises InvalidToken."""
    typ = parsed.header.members.get("typ", "")
    # RFC 7515 s4.1.9: a `typ` without "/" is to be read as with "application/" in front; case
    # doesn't count.
    if type(typ) is not str or (not typ and "typ" in parsed.header.members):
        raise InvalidToken(Reason.TYPE)
    if typ.lower().removeprefix("application/") not in profile.types:
        raise InvalidToken(Reason.TYPE)


def accept(parsed: Parsed, policy: Policy, now: float) -> AccessToken:
    """Return the token, its signature being good, when its claims hold. Raises InvalidToken."""
    claims = parsed.claims
    check(claims, policy, now)
    token = AccessToken(claims, policy.own)
    for one in policy.checks:
        try:
            accepted = one(token)
        except Exception as error:
            # A check that can't decide doesn't let in. The kind of error goes to the log, its text
            # doesn't: it may quote a claim.
            raise InvalidToken(Reason.CHECK_FAILED, type(error).__name__) from error
        # `True` and nothing that is merely true or that was forgotten to be returned.
        if accepted is not True:
            raise InvalidToken(Reason.CHECK_REFUSED, getattr(one, "__name__", "check"))
    return token
