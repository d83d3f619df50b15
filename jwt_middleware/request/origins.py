"""Cross-origin requests: which origins may read answers of ours (Fetch standard, CORS)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from ..values.errors import ConfigurationError
from ..values.loopback import is_loopback_host
from ..values.requests import Request

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?P<port>:[0-9]{1,5})?"
)
PREFLIGHT_MAX_AGE = 600  # seconds; Chromium's most is 7200
_DEFAULT_PORTS = {"https": ":443", "http": ":80"}


def is_preflight(request: Request) -> bool:
    """Say whether this is a browser's CORS preflight, which never carries credentials."""
    return (
        request.method == "OPTIONS"
        and request.header("origin") is not None
        and request.header("access-control-request-method") is not None
        and request.header("authorization") is None
    )


class Origins:
    """The origins that may read our own answers; the application's answers are never touched.

    With `credentials`, their scripts may send cookies, and must then send the header `header`, too.
    With `proofs`, they may send the field `DPoP`, and read the nonce that they are to use.
    """

    __slots__ = ("_fields", "_headers")

    def __init__(
        self,
        origins: Iterable[str],
        *,
        credentials: bool = False,
        header: str = "",
        proofs: bool = False,
    ) -> None:
        allow = (("access-control-allow-credentials", "true"),) if credentials else ()
        fields = ("Authorization", "Content-Type", header, "DPoP" if proofs else "")
        self._fields = ", ".join(filter(None, fields))
        # RFC 9449 s7.1, s8: scripts need both.
        readable = "WWW-Authenticate, Retry-After" + (", DPoP-Nonce" if proofs else "")
        self._headers = {
            origin: (
                ("access-control-allow-origin", origin),
                *allow,
                ("access-control-expose-headers", readable),
                ("vary", "Origin"),
            )
            for origin in origins
        }

    def knows(self, request: Request) -> bool:
        """Say whether `Origin` is one of the configured origins."""
        return request.header("origin") in self._headers

    def headers(self, request: Request) -> tuple[tuple[str, str], ...]:
        """Return the fields of our answer that say which origins may read it."""
        if not self._headers:
            return ()
        # `Vary` stands in every answer, or a cache would give one origin's answer to another
        # origin.
        return self._headers.get(request.header("origin") or "", (("vary", "Origin"),))

    def preflight(self, request: Request, methods: str) -> tuple[tuple[str, str], ...]:
        """Return the answer to a preflight for an endpoint of ours."""
        headers = self.headers(request)
        if len(headers) <= 1:
            return headers
        return (
            *headers,
            ("access-control-allow-methods", methods),
            ("access-control-allow-headers", self._fields),
            ("access-control-max-age", str(PREFLIGHT_MAX_AGE)),
        )


class Anyone:
    """All origins: for public answers, which are the same for every client.

    With "*" browsers send no credentials (Fetch standard), so a page learns only what its author
    can fetch without a browser. Clients that run in a browser need it (those of MCP servers, for
    example), and their origins aren't known beforehand.
    """

    __slots__ = ()

    def headers(self, _: Request) -> tuple[tuple[str, str], ...]:
        """Return the fields of our answer that say which origins may read it."""
        return (("access-control-allow-origin", "*"),)

    def preflight(self, request: Request, methods: str) -> tuple[tuple[str, str], ...]:
        """Return the answer to a preflight: clients send fields such as MCP-Protocol-Version."""
        return (
            *self.headers(request),
            ("access-control-allow-methods", methods),
            ("access-control-allow-headers", "*"),
            ("access-control-max-age", str(PREFLIGHT_MAX_AGE)),
        )


def is_loopback(url: str) -> bool:
    """Say whether `url` is an http URL or origin of this very machine."""
    match = _ORIGIN.match(url)
    return (
        match is not None
        and match["scheme"] == "http"
        and is_loopback_host(match["host"])
        and url[match.end() : match.end() + 1] in ("", "/")
    )


def origin_of(url: str) -> str | None:
    """Return the origin of a URL as a browser sends it, or None if the URL has no origin."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        # As a browser writes it: names of other alphabets in ASCII, an IP address in its shortest
        # form.
        host = f"[{IPv6Address(host)}]" if ":" in host else host.encode("idna").decode()
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        return None
    named = "" if port is None or f":{port}" == _DEFAULT_PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{host}{named}"


def check_origin(origin: object) -> None:
    """Check one configured origin: exact, as a browser sends it. Raises ConfigurationError."""
    match = _ORIGIN.fullmatch(origin) if isinstance(origin, str) else None
    if match is None or match["port"] == _DEFAULT_PORTS.get(match["scheme"], ""):
        raise ConfigurationError(
            "origins",
            f"{origin!r} is no origin as a browser sends it",
            "scheme://host in lower case, a port only if it isn't the scheme's, no path, no *",
        )
    if match["scheme"] == "http" and not is_loopback(match[0]):
        raise ConfigurationError(
            "origins",
            f"{origin!r}: pages that come in clear can be changed on the way",
            "use https; http is only for loopback",
        )
