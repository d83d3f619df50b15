"""What this service tells about itself as a protected resource (RFC 9728)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..values.errors import ConfigurationError
from . import fields

# What every server and every client takes for the same path; a query names no document of ours.
_PATH = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?")


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

    identifier: str
    authorization_servers: tuple[str, ...] | None = None
    scopes_supported: tuple[str, ...] = ()
    name: str = ""
    documentation: str = ""
    policy_uri: str = ""
    tos_uri: str = ""

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(f"resource.{name}", getattr(self, name)))

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


def _identifier(name: str, value: Any) -> str:
    url = fields.url(name, value)
    parts = urlsplit(url)
    if "?" in url or not _PATH.fullmatch(parts.path):
        # RFC 9728 s1.2: "SHOULD NOT include a query component".
        raise ConfigurationError(
            name,
            f"{url!r} has a query, or a path that isn't the same for every client",
            "a path of letters, digits and ._~!$&'()*+,=:@-",
        )
    return url


def _issuers(name: str, value: Any) -> tuple[str, ...]:
    return tuple(fields.url(name, one) for one in fields.listed(name, value))


def _name(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ConfigurationError(name, "must be text that people can read", '"" for none')
    return value


def _page(name: str, value: Any) -> str:
    return value if value == "" else fields.url(name, value)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "identifier": _identifier,
    "authorization_servers": fields.optional(_issuers),
    "scopes_supported": fields.scopes,
    "name": _name,
    "documentation": _page,
    "policy_uri": _page,
    "tos_uri": _page,
}
