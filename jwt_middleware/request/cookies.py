"""Tokens in cookies (RFC 6265bis, RFC 10017): read strictly, set and cleared alike."""

from __future__ import annotations

from ..values import reasons
from ..values.errors import CrossSite, InvalidRequest
from ..values.later import record
from ..values.model import Request

MAX_COOKIE = 4096  # octets of name and value; browsers drop larger ones silently (RFC 6265bis s5.6)
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))  # RFC 9110 s9.2.1, without TRACE


@record
class Jar:
    """One cookie: name and attributes, prepared once so that clearing matches setting."""

    name: str
    attributes: str

    def read(self, request: Request) -> str | None:
        """Return the cookie's value, or None. Raises InvalidRequest when its name comes twice."""
        header = request.header("cookie")
        if header is None or self.name not in header:
            return None
        found = []
        for pair in header.split(";"):
            name, equals, value = pair.strip(" \t").partition("=")
            if equals and name == self.name:
                found.append(value)
        # A cookie that another host of the same site tossed has the same name; frameworks take the
        # first or the last. Neither is known to be ours.
        if len(found) > 1:
            raise InvalidRequest(reasons.COOKIE_TWICE)
        return found[0] or None if found else None

    def check_size(self, value: str) -> None:
        """Check that a browser takes this value. Raises ValueError."""
        size = len(self.name) + len(value)
        if size > MAX_COOKIE:
            raise ValueError(
                f"claims, scope: they make a cookie of {size} octets, and browsers drop those of "
                f"more than {MAX_COOKIE}: put an identifier into the token and the rest into a "
                "database"
            )

    def set(self, value: str, max_age: int) -> tuple[str, str]:
        """Return the Set-Cookie field; `max_age` is in seconds."""
        return "set-cookie", f"{self.name}={value}; Max-Age={max_age}; {self.attributes}"

    def clear(self) -> tuple[str, str]:
        """Return the Set-Cookie field that removes the cookie."""
        # `Expires`, too, for clients that know nothing else; a value would be kept by some.
        return (
            "set-cookie",
            f"{self.name}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; {self.attributes}",
        )


def check_sender(request: Request, header: str, origins: frozenset[str]) -> None:
    """Check who sent a request to the application that a cookie vouches for. Raises CrossSite."""
    # A browser sends the cookie whoever asks it to; a handshake is a GET that opens a way to write.
    # Under WSGI nothing but its header tells it from others.
    if request.method not in SAFE_METHODS:
        check_same_site(request, header, origins)
    elif request.is_websocket or "websocket" in (request.header("upgrade") or "").lower():
        check_origin(request, origins)


def check_same_site(request: Request, header: str, origins: frozenset[str]) -> None:
    """Check that a request with cookies comes from a page of ours. Raises CrossSite.

    `header` is one that no form can send: another origin's script needs a preflight for it, which
    only `origins` pass. `Origin` and `Sec-Fetch-Site` are set by browsers and can't be set by
    scripts.
    """
    if request.header(header) is None:
        raise CrossSite(reasons.CROSS_SITE, "header")
    check_origin(request, origins)


def check_origin(request: Request, origins: frozenset[str]) -> None:
    """Check `Origin` and `Sec-Fetch-Site`. A client that sends neither is no browser."""
    origin, site = request.header("origin"), request.header("sec-fetch-site")
    if origin in origins or site == "same-origin":
        return
    if origin is not None or site is not None:
        raise CrossSite(reasons.CROSS_SITE, "origin")
