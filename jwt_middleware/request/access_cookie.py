"""Which access cookie speaks for a browser: of several logins the newest that isn't over."""

from __future__ import annotations

from collections.abc import Callable

from ..jose import jws
from ..values import reasons
from ..values.errors import InvalidRequest, InvalidToken
from ..values.requests import Request
from .cookies import Jar, Jars, check_once
from .credentials import Credentials


class AccessCookie:
    """Reads the access token of a request from its cookies.

    Args:
        jars: the cookies' names.
        jar: the one of these that has access tokens.
        check: checks that a page of ours made the request. Raises CrossSite.
        issuer: our own, the only one whose tokens are put into cookies.
        has_key: says of a `kid` whether our own issuer may have signed by it.
        has_ended: says of a grant whether it is known to have ended.
        is_known: says of a token whether it was verified before, which spares a look at it.

    """

    __slots__ = ("_check", "_has_ended", "_has_key", "_is_known", "_issuer", "_jar", "_jars")

    def __init__(
        self,
        jars: Jars,
        jar: Jar,
        *,
        check: Callable[[Request], None],
        issuer: str,
        has_key: Callable[[str | None], bool],
        has_ended: Callable[[str], bool],
        is_known: Callable[[str], bool],
    ) -> None:
        self._jars = jars
        self._jar = jar
        self._check = check
        self._issuer = issuer
        self._has_key = has_key
        self._has_ended = has_ended
        self._is_known = is_known

    def choose(self, came: Credentials | None, request: Request) -> Credentials | None:
        """Return the token of the header that `came`, or of a cookie, by its own text as its name.

        Raises:
            InvalidRequest: both came, or one cookie twice.
            CrossSite: the cookie came, and no page of ours made the request.

        """
        text = self.read(request)
        if text is None:
            return came and Credentials(came.text, came.text)
        if came is not None:
            raise InvalidRequest(reasons.CREDENTIALS_TWICE)
        self._check(request)
        return Credentials(text, text)

    def read(self, request: Request) -> str | None:
        """Return the token, unverified, or None: no such cookie came. Raises InvalidRequest.

        Another issuer's doesn't count: it is of another application of this host.
        """
        found = self._jars.held(request.header("cookie")).access
        check_once(found)
        cookies = [pair for pair in found if pair[1] and not self._is_others(pair[1])]
        if not cookies:
            return None
        return cookies[0][1] if len(cookies) == 1 else self._newest(cookies)

    def _is_others(self, text: str) -> bool:
        if self._is_known(text):
            return False
        try:
            return jws.parse(text).claims.get("iss") != self._issuer
        except InvalidToken:
            return False  # nobody's: it is refused as what it is

    def _newest(self, cookies: list[tuple[str, str]]) -> str:
        # Nothing is verified here: it is to choose only, and what is chosen is checked as any
        # token is.
        found = []
        for name, text in cookies:
            try:
                parsed = jws.parse(text)
            except InvalidToken:
                continue
            grant_id, issued_at = parsed.claims.get("sid"), parsed.claims.get("iat")
            if (
                isinstance(grant_id, str)
                and self._jar.name(grant_id) == name
                and type(issued_at) in (int, float)
                and self._has_key(parsed.header.kid)
                and not self._has_ended(grant_id)
            ):
                # Of two logins of one second a refresh takes the same one.
                found.append((issued_at, grant_id, text))
        return max(found)[2] if found else cookies[0][1]
