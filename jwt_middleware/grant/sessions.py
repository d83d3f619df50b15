"""The endpoints where users see and end their own logins: "your devices" (`Refresh.sessions`).

    GET {path}/sessions                the living logins, the newest first
    DELETE {path}/sessions/{id}        end one
    POST {path}/sessions/end-others    end all but the one that asks

Each needs an access token of a login here, in the Authorization header or in a cookie, and is about
the logins of that token's subject alone. Another's id is answered as one that doesn't exist.
"""

from __future__ import annotations

from collections.abc import Callable

from ..jose.strict_json import to_json
from ..request.cookies import Jars, check_own_origin
from ..request.documents import other_method
from ..request.origins import Origins
from ..settings.settings import timer
from ..values.errors import NoLogin, NotFound, OAuthError
from ..values.events import Revoked
from ..values.flows import Flow, ask
from ..values.requests import Headers, Reply, Request, Response
from ..values.tokens import AccessToken, Forward, Grant
from .endpoints import NO_STORE
from .issuing import Issuing
from .rotation_rule import is_over

_REASON = "logout"  # why a grant ended, as by /revoke


class Sessions:
    """The answers to requests below `path`. `authenticate` returns who is asking."""

    def __init__(
        self,
        issuing: Issuing,
        origins: Origins,
        authenticate: Callable[[Request], Flow[Forward]],
        jars: Jars | None,
        known_origins: frozenset[str],
    ) -> None:
        self._known_origins = known_origins
        self._issuing = issuing
        self._origins = origins
        self._authenticate = authenticate
        self._jars = jars
        self._timed = timer(issuing.settings.clock)
        self.path = f"{issuing.group.path}/sessions"
        self._below = self.path + "/"
        self._others = self._below + "end-others"

    def __contains__(self, path: str) -> bool:
        return path == self.path or path.startswith(self._below)

    def refusal_headers(self, request: Request, _: OAuthError) -> Headers:
        """Return the extra header fields of a refusal."""
        return self._origins.headers(request)

    def answer(self, request: Request) -> Flow[Reply]:
        """Answer a request to one of the endpoints. Raises OAuthError."""
        path = request.path
        methods = ("GET", "HEAD") if path == self.path else ("DELETE",)
        if path == self._others:
            methods = ("POST",)
        if request.method not in methods:
            return Reply(other_method(request, self._origins, *methods))
        # A gateway adds a token to whatever a browser sends, another site's form, too.
        check_own_origin(request, self._known_origins)
        forward = yield from self._authenticate(request)
        token, grant_id = forward.token, forward.grant_id
        # A client that acts for itself, and another issuer's user, have no logins here.
        if token is None or grant_id is None or token.is_client:
            raise NoLogin
        if path == self.path:
            return (yield from self._list(request, token, grant_id))
        if path == self._others:
            return (yield from self._end_others(request, token, grant_id))
        return (yield from self._end(request, token, path.removeprefix(self._below)))

    def _list(self, request: Request, token: AccessToken, grant_id: str) -> Flow[Reply]:
        grants = yield from ask(self._issuing.ports.store.grants, token.subject)
        now, limits = self._timed.time(), self._issuing.limits
        found = [
            _shown(grant, grant_id)
            for grant in grants
            if grant.id == grant_id or not is_over(grant, now, limits)
        ]
        content = to_json({"sessions": found}).encode()
        headers: Headers = (
            ("content-type", "application/json"),
            ("content-length", str(len(content))),
            *NO_STORE,
            *self._origins.headers(request),
        )
        return Reply(Response(200, headers, b"" if request.method == "HEAD" else content))

    def _end(self, request: Request, token: AccessToken, grant_id: str) -> Flow[Reply]:
        now = self._timed.time()
        events = yield from self._issuing.end_own(grant_id, token.subject, _REASON, now)
        if not events:
            raise NotFound
        return self._ended(request, (grant_id,), events)

    def _end_others(self, request: Request, token: AccessToken, grant_id: str) -> Flow[Reply]:
        now = self._timed.time()
        yield from self._issuing.end_former(token.subject, now)
        grants = yield from ask(self._issuing.ports.store.grants, token.subject)
        others = tuple(grant.id for grant in grants if grant.id != grant_id)
        events = yield from self._issuing.end_each(others, _REASON, now)
        return self._ended(request, others, events)

    def _ended(
        self, request: Request, grant_ids: tuple[str, ...], events: tuple[Revoked, ...]
    ) -> Reply:
        """Return the answer to a request that ended logins, whose cookies go if they came."""
        cleared: Headers = ()
        if self._jars is not None:
            cleared = self._jars.cleared(self._jars.held(request.header("cookie")), grant_ids)
        headers = (*NO_STORE, *self._origins.headers(request), *cleared)
        return Reply(Response(204, headers, b""), events)


def _shown(grant: Grant, own_id: str) -> dict[str, object]:
    """Return what a user sees of a login; times are whole seconds since 1970-01-01 UTC."""
    return {
        "id": grant.id,
        "label": grant.label,
        "created_at": int(grant.created_at),
        "last_used_at": int(grant.used_at),
        "expires_at": int(grant.expires_at),
        "current": grant.id == own_id,
        "client_id": grant.client_id,
    }
