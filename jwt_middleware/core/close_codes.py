"""The codes by which a websocket that isn't let in is closed, so that its page learns why."""

from __future__ import annotations

from ..request.cookies import check_request_origin
from ..settings.settings import Settings
from ..values.errors import (
    CrossSite,
    InsufficientAuthentication,
    InsufficientScope,
    OAuthError,
)
from ..values.requests import Request

OTHER_TOKEN_NEEDED = 4403  # RFC 6455 s7.4.2: 4000 to 4999 are private
TRY_AGAIN_LATER = 1013  # registered with IANA


class CloseCodes:
    """The codes of one service.

    Args:
        settings: what is configured.
        known_origins: where our own pages are.
        by_cookie: whether the access token may come in a cookie.

    """

    def __init__(
        self, settings: Settings, known_origins: frozenset[str], *, by_cookie: bool
    ) -> None:
        group = settings.websockets
        self._explains = group.explain
        self._by_status = {401: group.close_code, 503: TRY_AGAIN_LATER}
        self._known_origins = known_origins
        self._by_cookie = by_cookie

    def of(self, request: Request, error: OAuthError) -> int | None:
        """Return the code for a refused request; None: it is no websocket, or isn't to be told."""
        if not (request.is_websocket and self._explains):
            return None
        if self._by_cookie:
            # Another site's page must not learn whether the browser has a cookie of ours.
            try:
                check_request_origin(request, self._known_origins)
            except CrossSite:
                return None
        if isinstance(error, InsufficientScope | InsufficientAuthentication):
            return OTHER_TOKEN_NEEDED
        return self._by_status.get(error.status)
