"""The `WWW-Authenticate` header (RFC 9110 s11.6.1, RFC 6750 s3), and the one home of quoting."""

from collections.abc import Iterable

from ..values.errors import OAuthError
from ..values.later import pattern

# RFC 6750 s3: values "MUST NOT include characters outside the set %x20-21 / %x23-5B / %x5D-7E".
QUOTABLE = pattern(r"[ !#-\[\]-~]*")
_UNQUOTABLE = pattern(r"[^ !#-\[\]-~]")


def quoted(value: str) -> str:
    """Return a quoted-string; a character that can't stand in one becomes "?"."""
    return '"' + _UNQUOTABLE().sub("?", value) + '"'


def challenge(realm: str, error: OAuthError, metadata_url: str = "") -> str:
    """Return the challenge for `error`, with every parameter at most once and at least one."""
    parameters = [("realm", realm)]
    if metadata_url:
        # RFC 9728 s5.1: where a client learns whom to ask for a token.
        parameters.append(("resource_metadata", metadata_url))
    if error.error is not None:
        parameters += [("error", error.error), ("error_description", error.description)]
    return "Bearer " + _join((*parameters, *error.parameters()))


def _join(parameters: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={quoted(value)}" for name, value in parameters)
