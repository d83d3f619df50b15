"""Pages: which requests load one, where they go without a valid token, and what `next` may be.

A browser says whether a request loads a page (Fetch Metadata). Only such a request is sent to the
login page: a script wants a status, and in a frame nobody should type a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ..values import reasons
from ..values.errors import (
    CrossSite,
    InvalidGrant,
    InvalidRequest,
    InvalidToken,
    MissingCredentials,
    OAuthError,
)
from ..values.requests import Headers, Request, Response
from ..values.tokens import Held
from .body_parameters import MAX_FIELDS
from .cookies import Jars
from .refusals import TITLES
from .route import is_odd
from .routes import below_root

MAX_NEXT = 2048  # characters: it comes back in a Location, and proxies take fields of 4096 octets
# Printable ASCII without space, backslash (a browser reads it as a slash) and fragment.
_NEXT = re.compile(r"/[!\"$-\[\]-~]*")
_ROOT = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)*")
_PATH_SAFE = "/!$&'()*+,;=:@-._~"
_QUERY_SAFE = _PATH_SAFE + "?%"
_NOTHING = re.compile(r"q=0(?:\.0*)?")  # RFC 9110 s12.4.2: a weight that means "not acceptable"
_AHEAD = ("sec-purpose", "purpose", "x-purpose", "x-moz")
# What an answer depends on. It isn't stored; a cache that stores it all the same must tell these.
VARY = (
    "vary",
    "Accept, Authorization, Cookie, Sec-Fetch-Dest, Sec-Fetch-Mode, Sec-Fetch-Site, Sec-Purpose",
)
_REDIRECT: Headers = (
    ("content-type", "text/plain"),
    ("content-length", "0"),
    ("cache-control", "no-store"),
    VARY,
)
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>One moment</title>'
    '<meta http-equiv="refresh" content="0;url={url}"><p><a href="{url}">Continue</a></p></html>'
)

_REFUSAL = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    "<h1>{title}</h1><p>{text}</p></html>"
)


def is_navigation(request: Request) -> bool:
    """Say whether a browser loads a page that a user is about to see, in a tab of its own."""
    if request.is_websocket or is_ahead(request):
        return False
    mode = request.header("sec-fetch-mode")
    if mode is None:  # browsers before 2023, and clients that are none
        return _wants_html(request.header("accept") or "")
    # "empty": a service worker has handed the page load on, by `fetch(event.request)`. No script
    # can ask for this mode itself (Fetch standard), and a frame is called "iframe".
    return mode == "navigate" and request.header("sec-fetch-dest") in ("document", "empty")


def is_ahead(request: Request) -> bool:
    """Say whether a browser loads something in advance, which its user may never ask for."""
    told = " ".join(request.header(name) or "" for name in _AHEAD).lower()
    return any(word in told for word in ("prefetch", "prerender", "preview"))


def lacks_strict_cookies(request: Request) -> bool:
    """Say whether the browser keeps back cookies with SameSite=Strict: another site led here."""
    return request.header("sec-fetch-site") == "cross-site"


def is_local(text: str) -> bool:
    """Say whether a text is a path of this very host, perhaps with a query, for every browser."""
    # RFC 9700 s4.11: an address that a request names is an open redirector, unless it is checked.
    path = text.partition("?")[0]
    return (
        len(text) <= MAX_NEXT
        and _NEXT.fullmatch(text) is not None
        # Decoded, as the application will see it: it may redirect to what it has seen.
        and not is_odd(unquote(path))
    )


def _wants_html(accept: str) -> bool:
    for one in accept.lower().split(","):
        kind, *parameters = (part.strip(" \t") for part in one.split(";"))
        if kind == "text/html":
            return not any(map(_NOTHING.fullmatch, parameters))
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Where page loads without a valid token go.

    Args:
        login_url: the path of the login page, below the root of the application.
        continue_path: the path of our endpoint that exchanges the cookie and leads back.
        is_endpoint: says whether a path is one of ours, to which `next` may not lead.
        root: what stands before these paths, for a server that doesn't say it.
        jars: the cookies' names.
        check: checks that a page of ours made a request with cookies. Raises CrossSite.

    """

    login_url: str
    continue_path: str
    is_endpoint: Callable[[str], bool]
    root: str
    jars: Jars
    check: Callable[[Request], None]

    def instead(
        self, request: Request, error: OAuthError, held: Held | None = None
    ) -> Response | None:
        """Return the answer to a page load in place of a refusal; None: refuse it.

        `held` are the cookies, where they have been taken out of the request already.
        """
        if not is_navigation(request):
            return None
        if request.path == self.continue_path and isinstance(error, InvalidGrant | InvalidToken):
            return self.to_login(request, self.asked(request)[0])
        if error.status != 401 or self.is_endpoint(request.path):
            return None
        is_form = request.method == "POST"
        if request.method not in ("GET", "HEAD") and not (is_form and self._is_ours(request)):
            return None
        # Another token helps in place of none, or of a bad one; for a stronger or a newer login
        # the user is needed, and a user who is refused would be again, round and round.
        is_curable = (
            isinstance(error, MissingCredentials | InvalidToken)
            and error.reason is not reasons.USER_REFUSED
        )
        found = held if held is not None else self.jars.held(request.header("cookie"))
        # Some clients keep a cookie that was removed, with an empty value (Django's test client).
        has_cookie = any(value for _, value in found.refresh + found.former)
        next_ = self._here(request)
        if is_curable and (has_cookie or (lacks_strict_cookies(request) and not is_form)):
            # 307: the browser sends the form once more, there and then here (RFC 9110 s15.4.8).
            return redirect(307 if is_form else 303, self._with_next(request, next_))
        return self.to_login(request, next_)

    def to_login(self, request: Request, next_: str) -> Response:
        """Return the redirect to the login page, which leads to `next_` afterwards.

        After a form that can't be sent again, it leads to the page on which the form stood.
        """
        if request.method == "POST":
            next_ = self._page_of_form(request) or next_
        return redirect(303, f"{self._root(request)}{self.login_url}?next={_quoted(next_)}")

    def back(self, request: Request, next_: str, cookies: Headers) -> Response:
        """Return the redirect to where a page load began, with the new cookies."""
        return redirect(307 if request.method == "POST" else 303, next_, cookies)

    def pause(self, request: Request, next_: str) -> Response:
        """Return a page of this site that loads our endpoint, with the cookies this time."""
        # A redirect would still be another site's request. What a page of ours loads is our own.
        url = escape(self._with_next(request, next_) + "&again=1")
        body = _PAGE.format(url=url).encode()
        more = (("referrer-policy", "same-origin"), ("cache-control", "no-store"), VARY)
        return Response(200, (*_html(body), *more), body)

    def asked(self, request: Request) -> tuple[str, bool]:
        """Return `next`, and whether this is the second round. Raises InvalidRequest."""
        found = dict(pairs := _pairs(request))
        # Nothing else may come: never is a token taken from an address (RFC 9700 s4.3.2).
        if len(found) < len(pairs) or not {"next"} <= found.keys() <= {"next", "again"}:
            raise _bad_next()
        return self._checked(request, found["next"]), "again" in found

    def check_login(self, request: Request) -> None:
        """Check the `next` that the login page may go on to. Raises InvalidRequest."""
        # With and without a last slash: some frameworks serve both alike.
        if request.path.rstrip("/") != self.login_url.rstrip("/"):
            return
        given = [value for name, value in _pairs(request) if name == "next"]
        if len(given) > 1:
            raise _bad_next()
        for one in filter(None, given):
            self._checked(request, one)

    def _checked(self, request: Request, text: str) -> str:
        path = unquote(text.partition("?")[0])
        if not is_local(text) or self.is_endpoint(below_root(path, self._root(request))):
            raise _bad_next()
        return text

    def _is_ours(self, request: Request) -> bool:
        try:
            self.check(request)
        except CrossSite:
            return False
        return True

    def _root(self, request: Request) -> str:
        """Return what stands before our paths in the browser's address."""
        # Some servers let a client name the root: only a plain path may stand in a Location.
        root = (request.place()[0] or self.root).rstrip("/")
        return root if _ROOT.fullmatch(root) and not is_odd(root + "/") else ""

    def _here(self, request: Request) -> str:
        """Return the address of a request, as a path of this host; the root if it can't be one."""
        root, query = self._root(request), request.place()[1]
        path = root + quote(request.path, safe=_PATH_SAFE, errors="replace")
        whole = f"{path}?{quote(query, safe=_QUERY_SAFE, encoding='latin-1')}" if query else path
        return next(filter(is_local, (whole, path)), root + "/")

    def _page_of_form(self, request: Request) -> str | None:
        """Return the page that has sent a form, if the browser says it and `next` may lead there.

        It is one of this host: a form of another site comes no further than a refusal.
        """
        try:
            parts = urlsplit(request.header("referer") or "")
            page = f"{parts.path}?{parts.query}" if parts.query else parts.path
            return self._checked(request, page)
        except (InvalidRequest, ValueError):  # of `urlsplit`, for what is no URL
            return None

    def readable(self, request: Request, error: OAuthError, refusal: Response) -> Response:
        """Return a refusal of a page load as a page, with the same status and header fields."""
        if not is_navigation(request):
            return refusal
        title = TITLES[error.status]
        body = _REFUSAL.format(title=title, text=escape(error.description)).encode()
        made = ("content-type", "content-length")
        kept = tuple(one for one in refusal.headers if one[0] not in made)
        return Response(refusal.status, (*_html(body), *kept, VARY), body)

    def _with_next(self, request: Request, next_: str) -> str:
        return f"{self._root(request)}{self.continue_path}?next={_quoted(next_)}"


def _html(body: bytes) -> Headers:
    return (
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", str(len(body))),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    )


def redirect(status: int, location: str, more: Headers = ()) -> Response:
    """Return a redirect that no cache keeps."""
    return Response(status, (("location", location), *_REDIRECT, *more), b"")


def _quoted(text: str) -> str:
    return quote(text, safe="/")


def _pairs(request: Request) -> list[tuple[str, str]]:
    try:
        return parse_qsl(request.place()[1], keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:  # more parameters than any page has
        raise _bad_next() from None


def _bad_next() -> InvalidRequest:
    return InvalidRequest(
        reasons.NEXT, description="The parameter next must be the path of a page of this host"
    )
