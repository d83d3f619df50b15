"""The endpoint that continues a page load: the refresh cookie is exchanged, and the page is loaded.

It serves page loads only, and lets no request name a token or another host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..request.cookies import check_once
from ..request.documents import other_method
from ..request.navigation import Pages, is_navigation, lacks_strict_cookies
from ..request.origins import Origins
from ..values import reasons
from ..values.errors import InvalidRequest
from ..values.events import Event
from ..values.flows import Flow
from ..values.requests import Headers, Reply, Request
from ..values.tokens import AccessToken, Held, Hidden, Tokens

# The reasons for which a grant is over. (A token ahead of its row isn't one: the old backup may be
# replaced.)
ENDS = (reasons.GRANT_ENDED, reasons.REUSED, reasons.GRANT_REFUSED, reasons.EXPIRED)


class Exchanged(NamedTuple):
    """What the exchange of a cookie gave: the tokens with their cookies, and others to clear."""

    tokens: Tokens
    cleared: Headers
    events: tuple[Event, ...]


class Continuing:
    """The answers at `pages.continue_path`.

    Args:
        pages: where page loads go.
        origins: which origins may read our answers.
        exchange: exchanges the newest of the cookies. Raises as `Endpoints` does.
        verify: returns the access token that a text is. Raises InvalidToken.

    """

    def __init__(
        self,
        pages: Pages,
        origins: Origins,
        exchange: Callable[[Request, Held], Flow[Exchanged]],
        verify: Callable[[Hidden[str]], AccessToken],
    ) -> None:
        self._pages = pages
        self._origins = origins
        self._exchange = exchange
        self._verify = verify

    def answer(self, request: Request) -> Flow[Reply]:
        """Exchange the cookie and lead back. Raises OAuthError: `Pages.instead` says what then."""
        pages = self._pages
        if request.method not in ("GET", "POST"):
            return Reply(other_method(request, self._origins, "GET", "POST"))
        if not is_navigation(request):
            # In advance: the user may never open the page, and its answer would be kept.
            raise InvalidRequest(
                reasons.NAVIGATION, description="Only a browser that loads a page is served here"
            )
        next_, is_second = pages.asked(request)
        if request.method == "POST":
            pages.check(request)
        held = pages.jars.held(request.header("cookie"))
        check_once(held.refresh)
        if not any(value for _, value in held.refresh + held.former):
            # Once: a browser that sends no cookies at all must not go round.
            if request.method == "GET" and lacks_strict_cookies(request) and not is_second:
                return Reply(pages.pause(request, next_))
            return Reply(pages.to_login(request, next_))
        exchanged = yield from self._exchange(request, held)
        tokens = exchanged.tokens
        # A token that the page would refuse, because of `checks` say, must not send it here again.
        self._verify(Hidden(tokens.access_token))
        response = pages.back(request, next_, tokens.cookies + exchanged.cleared)
        return Reply(response, exchanged.events)
