"""Choose the access cookie: of several logins of one browser, the newest that hasn't ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

from ..jose import jws
from ..values import reasons
from ..values.errors import InvalidRequest, InvalidToken
from ..values.requests import Request
from .cookies import Jar, Jars, check_once
from .credentials import Credentials


@dataclass(frozen=True, slots=True)
class AccessCookie:
    """Reads the access token of a request from its cookies.

    Args:
        jars: the cookies' names.
        jar: the one of these that is for access tokens.
        check: checks that a page of ours made a request. Raises CrossSite.
        issuer: our own, the only one whose tokens are put into cookies.
        has_key: says whether our own issuer may have signed with the key of this `kid`.
        has_ended: says whether a grant is known to have ended.
        is_known: says whether a token was verified before; such a token isn't parsed again.

    """

    jars: Jars
    jar: Jar
    _: KW_ONLY
    check: Callable[[Request], None]
    issuer: str
    has_key: Callable[[str | None], bool]
    has_ended: Callable[[str], bool]
    is_known: Callable[[str], bool]

    def choose(self, came: Credentials | None, request: Request) -> Credentials | None:
        """Return the token of the header (`came`), or of a cookie, which is cached by its own text.

        Raises:
            InvalidRequest: both came, or one cookie twice.
            CrossSite: the cookie came, and no page of ours made the request.

        """
        text = self.read(request)
        if text is None:
            return came and Credentials(came.text, came.text)
        if came is not None:
            raise InvalidRequest(reasons.CREDENTIALS_TWICE)
        self.check(request)
        return Credentials(text, text)

    def read(self, request: Request) -> str | None:
        """Return the token, unverified, or None: no such cookie came. Raises InvalidRequest.

        Another issuer's token is ignored: it belongs to another application of this host.
        """
        found = self.jars.held(request.header("cookie")).access
        check_once(found)
        cookies = [pair for pair in found if pair[1] and not self._is_others(pair[1])]
        if not cookies:
            return None
        return cookies[0][1] if len(cookies) == 1 else self._newest(cookies)

    def _is_others(self, text: str) -> bool:
        if self.is_known(text):
            return False
        try:
            return jws.parse(text).claims.get("iss") != self.issuer
        except InvalidToken:
            return False  # not a token: the request is refused because of it

    def _newest(self, cookies: list[tuple[str, str]]) -> str:
        # This only chooses a token, without verifying it; it is verified like any other afterwards.
        found = []
        for name, text in cookies:
            try:
                parsed = jws.parse(text)
            except InvalidToken:
                continue
            grant_id, issued_at = parsed.claims.get("sid"), parsed.claims.get("iat")
            if (
                isinstance(grant_id, str)
                and self.jar.name(grant_id) == name
                and type(issued_at) in (int, float)
                and self.has_key(parsed.header.kid)
                and not self.has_ended(grant_id)
            ):
                # By the grant's id, too: where two logins began in one second, a refresh makes the
                # same choice.
                found.append((issued_at, grant_id, text))
        return max(found)[2] if found else cookies[0][1]
