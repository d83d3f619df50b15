"""The groups of settings for what verifies tokens: issuers, the cache, and published metadata.

Each field has its default, its check and what its bounds are for. Where `Resource` is None, its
feature is off. The docstring of a group says what each field means; the JSON Schema takes its
descriptions from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from ..keys.key_set import KeySet
from ..token.profiles import RFC_9068, Profile
from ..values.arrays import Several
from ..values.tokens import AccessToken
from . import field_checks, profile_checks
from .checking import check_fields, checked_by, choice, count, each, optional, setting
from .consistency import OF_AN_ISSUER, check_together


@dataclass(frozen=True, kw_only=True)
class TokenCache:
    """Verified access tokens, kept so that the next request with one costs next to nothing.

    Every hit checks again what can change: the token's times, its issuer's keys, ended grants, the
    route. Tokens of more than 4 KiB aren't kept.

    Args:
        entries: how many tokens are kept at most, about 2.5 KB each; 0: none.
        hashed: keep their SHA-256 instead, so that no usable token stays in memory.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    # more than most processes have users at one time
    entries: int = count("tokens", 4096, 0, 1_000_000, "more take over 2.5 GB in each process")
    hashed: bool = setting(False, field_checks.true_or_false)

    def __post_init__(self) -> None:
        check_fields(self, "token_cache.")


@dataclass(frozen=True, kw_only=True)
class WebSockets:
    """How a websocket gets its token where a page can't send headers, and how it is ended.

    Args:
        subprotocol: also read the token from Sec-WebSocket-Protocol, behind the word `bearer`:
            `new WebSocket(url, ["bearer", token])`. Neither is shown to the application.
        explain: tell a page why it isn't let in, which a refused handshake doesn't: accept the
            websocket, and close it at once with `close_code`, or with 4403 where another token
            would be needed, or with 1013 where the token can't be checked at the moment.
        close_code: the number with which a websocket is closed whose token no longer holds.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    subprotocol: bool = setting(False, field_checks.true_or_false)
    explain: bool = setting(False, field_checks.true_or_false)
    close_code: int = count(
        "as a close code", 4401, 3000, 4999, "RFC 6455 s7.4.2 leaves these to applications"
    )

    def __post_init__(self) -> None:
        check_fields(self, "websockets.")


@dataclass(frozen=True, kw_only=True, eq=False)
class TrustedIssuer:
    """Another issuer whose access tokens are accepted. Its keys verify only its own tokens.

    Args:
        issuer: the exact `iss` of its tokens.
        audience: the name or names that its tokens call this service by.
        keys: its keys, in general `KeySet.remote()`.
        profile: which header type and which claims are required: most issuers need
            `profiles.FOREIGN`, and then an audience that their ID tokens don't have.
        scopes: the scope values that it may give; other values in its tokens permit nothing here.
            None: it may give all.
        proof: "required": only tokens that are bound to a key of their client are accepted; "":
            others as well. A bound token needs a proof in any case, and `Settings.proofs`.
        user: a function of the verified `AccessToken` that returns our user's name, or None for no
            user. Without it no user is set, because another issuer's "admin" is not our "admin". It
            must be pure: its answer is kept with the token.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    issuer: str = field(metadata=checked_by(field_checks.exact_name))
    audience: str | Several[str] = field(metadata=checked_by(field_checks.audiences))
    keys: KeySet = field(metadata=checked_by(field_checks.key_set))
    profile: Profile = setting(RFC_9068, profile_checks.profile)
    scopes: Several[str] | None = setting(None, optional(field_checks.scopes))
    proof: Literal["", "required"] = setting(
        "", choice("", "required", remedy='"" takes unbound tokens, too')
    )
    user: Callable[[AccessToken], str | None] | None = setting(
        None, optional(field_checks.function)
    )

    def __post_init__(self) -> None:
        check_fields(self)
        check_together(self, OF_AN_ISSUER)


@dataclass(frozen=True, kw_only=True, eq=False)
class Resource:
    """Publish what a client must know to get a token for this service (RFC 9728).

    A client that comes without a good token finds the document by the challenge, and in it the
    issuers to ask. Anybody can read it.

    Args:
        identifier: the https URL that names this service, one of `Settings.audience`. Compared code
            point by code point: with a slash at the end it is a different name.
        authorization_servers: the issuers to ask. None: all that are trusted for the identifier and
            whose name is a URL.
        scopes_supported: the scopes that a client may ask for. Clients ask for all that stand here:
            leave out those that most clients don't need, and those that outsiders must not know.
        name: what people call this service.
        documentation: the URL of a page for developers.
        policy_uri: the URL of a page about what clients may do with the data.
        tos_uri: the URL of the terms of service.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    identifier: str = field(metadata=checked_by(field_checks.resource_url))
    authorization_servers: Several[str] | None = setting(
        None, optional(each(field_checks.https_url))
    )
    scopes_supported: Several[str] = setting((), field_checks.scopes)
    name: str = setting("", field_checks.readable)
    documentation: str = setting("", optional(field_checks.https_url, ""))
    policy_uri: str = setting("", optional(field_checks.https_url, ""))
    tos_uri: str = setting("", optional(field_checks.https_url, ""))

    def __post_init__(self) -> None:
        check_fields(self, "resource.")

    @property
    def metadata_path(self) -> str:
        """Return the path of the document, from the root of the host."""
        # RFC 9728 s3.1: "any terminating slash (/) following the host component MUST be removed
        # before inserting /.well-known/ [...] between the host component and the path". No other
        # slash is.
        path = urlsplit(self.identifier).path
        return "/.well-known/oauth-protected-resource" + ("" if path == "/" else path)

    @property
    def metadata_url(self) -> str:
        """Return the URL of the document, made from the settings, never from a client's request."""
        parts = urlsplit(self.identifier)
        return f"{parts.scheme}://{parts.netloc}{self.metadata_path}"
