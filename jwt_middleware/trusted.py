"""Issuers that are not our own: each with its keys, its rules, and what its word is worth here."""

from collections.abc import Callable, Mapping
from typing import Any

from . import fields
from .keys import KeySet
from .token.profiles import RFC_9068, Profile
from .values.later import record
from .values.model import AccessToken

User = Callable[[AccessToken], str | None]


@record(slots=False, eq=False)
class TrustedIssuer:
    """Another issuer whose access tokens are taken. Its keys verify its own tokens and no other's.

    Args:
        issuer: the exact `iss` of its tokens.
        audience: the name or names that its tokens call this service by.
        keys: its keys, in general `KeySet.remote()`.
        profile: which header type and which claims are required: most issuers need
            `profiles.FOREIGN`, and then an audience that their ID tokens don't have.
        scopes: the scope values that it may give; what else its tokens say opens nothing here.
            None: whatever they say.
        user: a function of the verified `AccessToken` that returns our user's name, or None for
            nobody. Without it nobody is set: another issuer's "admin" is not ours. It must be pure:
            its answer is kept with the token.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    issuer: str
    audience: str | tuple[str, ...]
    keys: KeySet
    profile: Profile = RFC_9068
    scopes: tuple[str, ...] | None = None
    user: User | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        fields.check_source(self.issuer, self.keys)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "issuer": fields.identifier,
    "audience": fields.audience,
    "keys": fields.key_set,
    "profile": fields.profile,
    "scopes": fields.optional(fields.scopes),
    "user": fields.optional(fields.function),
}
