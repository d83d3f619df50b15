"""What this service tells about itself as a protected resource (RFC 9728)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from . import field_checks
from .checking import Rule, by, check_fields, checked, each, optional, or_empty

# What every server and every client takes for the same path; a query names no document of ours.
_SAME_FOR_ALL = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?")


_resource_url = by(
    field_checks.IS_HTTPS,
    Rule(
        # RFC 9728 s1.2: "SHOULD NOT include a query component".
        lambda value: "?" in value or not _SAME_FOR_ALL.fullmatch(urlsplit(value).path),
        "{value!r} has a query, or a path that isn't the same for every client",
        "a path of letters, digits and ._~!$&'()*+,=:@-",
    ),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Resource:
    """Publish what a client must know to get a token for this service (RFC 9728).

    A client that comes without a good token finds the document by the challenge, and in it the
    issuers to ask. Anybody can read it.

    Args:
        identifier: the https URL that this service goes by, one of `Settings.audience`. Compared
            code point by code point: a slash at the end makes another.
        authorization_servers: the issuers to ask. None: all that are trusted for the identifier and
            whose name is a URL.
        scopes_supported: the scopes that a client may ask for. Clients ask for all that stand here:
            leave out what most don't need, and what nobody outside has to know of.
        name: what people call this service.
        documentation: the URL of a page for developers.
        policy_uri: the URL of a page about what clients may do with the data.
        tos_uri: the URL of the terms of service.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    identifier: str = field(metadata=checked(_resource_url))
    authorization_servers: tuple[str, ...] | None = field(
        default=None, metadata=checked(optional(each(field_checks.https_url)))
    )
    scopes_supported: tuple[str, ...] = field(default=(), metadata=checked(field_checks.scopes))
    name: str = field(default="", metadata=checked(field_checks.readable))
    documentation: str = field(default="", metadata=checked(or_empty(field_checks.https_url)))
    policy_uri: str = field(default="", metadata=checked(or_empty(field_checks.https_url)))
    tos_uri: str = field(default="", metadata=checked(or_empty(field_checks.https_url)))

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
        """Return the URL of the document: of what is configured, never of what a client sent."""
        parts = urlsplit(self.identifier)
        return f"{parts.scheme}://{parts.netloc}{self.metadata_path}"
