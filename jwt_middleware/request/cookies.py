"""Tokens in cookies (RFC 6265bis, RFC 10017): each login has cookies with names of its own.

A browser has one set of cookies for all tabs, and the last answer wins, however late it comes. So
the name of a cookie ends in characters of its grant's id: an answer about one login can't change
the cookie of another. The store decides which login is the present one, not the order of answers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..values import reasons
from ..values.errors import CrossSite, InvalidRequest
from ..values.requests import Headers, Request
from ..values.tokens import Held, Hidden

MAX_COOKIE = 4096  # octets of name and value; browsers drop larger ones silently (RFC 6265bis s5.6)
OF_A_GRANT = 8  # characters of its id, 48 random bits: two logins of one browser never share them
_JOINED = re.compile(r"(?s),[ \t]*[!#-'*+\-.0-9A-Z^-z|~]+=.*")  # a token of RFC 9110 s5.6.2 and "="
# RFC 9110 s9.2.1, without TRACE; and without QUERY (RFC 10008), which code that is older than it
# takes for a change: where it asks "is it a GET?", all else saves something.
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """The cookies of one kind of token: names and attributes, so that clearing matches setting."""

    prefix: str  # of the names; characters of the grant's id follow
    attributes: str

    def name(self, grant_id: str) -> str:
        """Return the name of the cookie of a grant's token."""
        return self.prefix + grant_id[-OF_A_GRANT:]

    def has(self, name: str) -> bool:
        """Say whether a cookie of this name belongs to this jar."""
        return name.startswith(self.prefix) and len(name) == len(self.prefix) + OF_A_GRANT

    def check_size(self, value: str) -> None:
        """Check that a browser takes this value. Raises ValueError."""
        size = len(self.prefix) + OF_A_GRANT + len(value)
        if size > MAX_COOKIE:
            raise ValueError(
                f"claims, scope: they make a cookie of {size} octets, and browsers drop those of "
                f"more than {MAX_COOKIE}: put an identifier into the token and the rest into a "
                "database"
            )

    def set(self, grant_id: str, value: str, max_age: int | None) -> tuple[str, str]:
        """Return the Set-Cookie field; `max_age` is in seconds, None: until the browser closes."""
        lasts = "" if max_age is None else f"Max-Age={max_age}; "
        return "set-cookie", f"{self.name(grant_id)}={value}; {lasts}{self.attributes}"

    def clear(self, name: str) -> tuple[str, str]:
        """Return the Set-Cookie field that removes a cookie."""
        # `Expires`, too, for clients that don't know Max-Age. No value: some clients would keep it.
        return (
            "set-cookie",
            f"{name}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; {self.attributes}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Jars:
    """The cookies of both kinds of tokens, or of refresh tokens alone."""

    refresh: Jar
    access: Jar | None
    former: tuple[str, ...] = ()  # cookies of the library that the application comes from
    # Of devices that have shown their key. Its prefix begins with that of `refresh`.
    device: Jar | None = None

    def held(self, header: str | None) -> Held:
        """Return our cookies of a Cookie field, in its order; a name may come twice."""
        if header is None or not self._may_have(header):
            return Held((), ())
        pairs = [one.strip(" \t").partition("=") for one in header.split(";")]
        named = [(name, _cut(value)) for name, equals, value in pairs if equals]

        def of(jar: Jar | None) -> tuple[tuple[str, str], ...]:
            return tuple(pair for pair in named if jar is not None and jar.has(pair[0]))

        former = tuple(pair for pair in named if pair[0] in self.former)
        return Held(of(self.refresh), of(self.access), former, of(self.device))

    def _may_have(self, header: str) -> bool:
        access = self.access
        return (
            self.refresh.prefix in header
            or (access is not None and access.prefix in header)
            or any(name in header for name in self.former)
        )

    def former_cleared(self, held: Held) -> Headers:
        """Return the fields that remove the cookies of the former library, if they came.

        Where they have another path or domain they stay, and lead to the grant that they began.
        """
        names = dict.fromkeys(name for name, _ in held.former)
        return tuple(self.refresh.clear(name) for name in names)

    def without_refresh(self, header: str) -> str:
        """Return a Cookie field without refresh tokens, which the application doesn't need.

        Nor what a device has shown.
        """
        if self.refresh.prefix not in header:
            return header
        # Split at commas, too: a second Cookie line that a server joined isn't read, but must be
        # removed.
        kept = []
        for pair in header.split(";"):
            left = [one for one in pair.split(",") if not self._is_refresh(one)]
            if left:
                kept.append(",".join(left))
        return ";".join(kept).lstrip(" \t")

    def _is_refresh(self, pair: str) -> bool:
        name = pair.strip(" \t").partition("=")[0]
        return self.refresh.has(name) or (self.device is not None and self.device.has(name))

    def cleared(self, held: Held, grant_ids: Collection[str]) -> Headers:
        """Return the fields that remove the cookies of these grants, if the request brought them.

        A name that came twice stays: another host may have set one of the two, and the field would
        remove the other. The two differ in path or domain (RFC 6265bis s5.7), and a request doesn't
        say these.
        """
        ends = {grant_id[-OF_A_GRANT:] for grant_id in grant_ids}
        found: list[tuple[str, str]] = []
        for jar, pairs in (
            (self.refresh, held.refresh),
            (self.access, held.access),
            (self.device, held.devices),
        ):
            names = [name for name, _ in pairs]
            found += [
                jar.clear(name)
                for name in names
                if jar is not None and name[-OF_A_GRANT:] in ends and names.count(name) == 1
            ]
        return tuple(found)


def one_value(pairs: Iterable[tuple[str, str]], name: str) -> Hidden[str] | None:
    """Return the value of the cookie called `name`; None: it didn't come, or is empty.

    Raises:
        InvalidRequest: it came with two values.

    """
    found = {value for one, value in pairs if one == name and value}
    if len(found) > 1:
        raise InvalidRequest(reasons.COOKIE_TWICE)
    return Hidden(found.pop()) if found else None


def _cut(value: str) -> str:
    """Return the value without a second Cookie line that a server has joined to it by a comma.

    No token of ours has a comma. The pair after the comma isn't read: it may be a part of another
    cookie's value, which another host of the domain can set, while it can't set a cookie whose name
    begins with `__Host-`. Browsers send one line (RFC 6265 s5.4), and HTTP/2's are joined by "; "
    (RFC 9113 s8.2.3).
    """
    return _JOINED.sub("", value)


def check_once(pairs: Iterable[tuple[str, str]]) -> None:
    """Check that each cookie came once. Raises InvalidRequest."""
    names = [name for name, _ in pairs]
    # Another host of the domain may have set one of the two, or it has another path. Frameworks
    # take the first or the last, and we can't tell which one is ours.
    if len(set(names)) < len(names):
        raise InvalidRequest(reasons.COOKIE_TWICE)


def check_sender(
    request: Request, header: str, origins: frozenset[str], *, forms: bool = False
) -> None:
    """Check that no other site caused a request whose token is in a cookie. Raises CrossSite."""
    # A browser sends the cookie with requests that other sites cause, too. A WebSocket handshake is
    # a GET after which a client can write; under WSGI only a header shows that it isn't a plain
    # GET.
    if request.method not in SAFE_METHODS:
        check_same_site(request, header, origins, forms=forms)
    elif request.is_websocket or "websocket" in (request.header("upgrade") or "").lower():
        check_request_origin(request, origins)


def check_same_site(
    request: Request, header: str, origins: frozenset[str], *, forms: bool = False
) -> None:
    """Check that a request with cookies comes from a page of ours. Raises CrossSite.

    `header` is one that no form can send: another origin's script needs a preflight for it, which
    only `origins` pass. `Origin` and `Sec-Fetch-Site` are set by browsers and can't be set by
    scripts. With `forms`, a POST that a browser says comes from this origin needs no `header`.
    """
    if forms and request.header(header.lower()) is None and _is_own_post(request):
        # A page with the policy `no-referrer` sends the Origin "null" (Fetch standard). So does a
        # sandboxed frame, but that is never same-origin.
        if request.header("origin") not in (*origins, "null"):
            raise CrossSite(reasons.CROSS_SITE, "origin")
        return
    if request.header(header.lower()) is None:
        raise CrossSite(reasons.CROSS_SITE, "header", header=header, forms=forms)
    check_request_origin(request, origins)


def _is_own_post(request: Request) -> bool:
    """Say whether a browser says that a page of this very origin has sent a form."""
    return request.method == "POST" and request.header("sec-fetch-site") == "same-origin"


def check_own_origin(request: Request, origins: frozenset[str]) -> None:
    """Check that no other site caused a request that may log in. Raises CrossSite."""
    # RFC 10017 asks for it where an answer sets cookies: a form of another site could log the user
    # in to the account of that site's author. What the user then writes, the author could read.
    if request.method not in SAFE_METHODS:
        check_request_origin(request, origins)


def check_request_origin(request: Request, origins: frozenset[str]) -> None:
    """Check `Origin` and `Sec-Fetch-Site`. A client that sends neither is no browser."""
    origin, site = request.header("origin"), request.header("sec-fetch-site")
    if origin in origins or site == "same-origin":
        return
    if origin is not None or site is not None:
        raise CrossSite(reasons.CROSS_SITE, "origin")
