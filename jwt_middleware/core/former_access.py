"""Old access tokens of a former library: taken on named routes only, until a date.

They are kept apart from the other known tokens: the warm path doesn't look at them, and no other
route can find one here.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import cast

from ..grant.ended_grants import EndedGrants
from ..grant.migrating import claims_here, former_subject
from ..grant.ports import Ports
from ..jose import jws
from ..request.cookies import Jars, one_value
from ..request.credentials import Credentials
from ..request.route import Route
from ..request.routes import Routes
from ..settings.issuing_groups import Refresh
from ..settings.migration_group import Migration
from ..settings.settings import Settings, timer
from ..token.claims import check_by_application, lifetime
from ..token.former_tokens import FormerToken
from ..values import reasons
from ..values.errors import InvalidToken
from ..values.flows import Flow
from ..values.requests import Request
from ..values.tokens import AccessToken
from .known_tokens import Cache, Entry, know_nothing, warm_path


class _Unchanging:
    """The state of keys that are configured here, and never change."""

    generation = 0
    since = -inf
    due = inf


class FormerAccess:
    """Verifies old access tokens, and keeps those that are known.

    Args:
        settings: what is configured; their `refresh.migrate` has routes.
        ports: what flows may ask for.
        ended: knows the mark of a mass end.
        check: checks that a page of ours made a request whose token is in a cookie.
        jars: the cookies' names; None: tokens in cookies aren't read.

    """

    def __init__(
        self,
        settings: Settings,
        ports: Ports,
        ended: EndedGrants | None,
        check: Callable[[Request], None],
        jars: Jars | None,
    ) -> None:
        group = cast("Refresh", settings.refresh)
        migration = self._migration = cast("Migration", group.migrate)
        self._settings = settings
        self._client_id = group.client_id
        self._ports = ports
        self._ended = ended
        self._check = check
        self._jars = jars
        self._timed = timer(settings.clock)
        self._tokens = migration.tokens(settings)
        self._routes = Routes([Route(path, public=True) for path in migration.routes])
        kept = settings.token_cache
        self._cache = Cache(kept.entries, hashed=kept.hashed) if kept.entries else None
        get = self._cache.get if self._cache is not None else know_nothing
        self._recall = warm_path(get, self._timed)

    def at(self, path: str) -> FormerAccess | None:
        """Return this where old access tokens are taken at a path, else None."""
        return self if self._routes.find("GET", path, unchecked=True).public else None

    def in_cookie(self, request: Request) -> Credentials | None:
        """Return the token in the library's own cookie. Raises InvalidRequest and CrossSite."""
        if self._jars is None:
            return None
        held = self._jars.held(request.header("cookie"))
        text = one_value(held.former, self._migration.library.access_cookie)
        if text is None:
            return None
        self._check(request)
        return Credentials(text.value, text.value)

    def admit(self, came: Credentials) -> Flow[Entry | None]:
        """Return the decision about an old access token; None: it is none of the library's.

        Raises:
            InvalidToken: it isn't good.
            Unavailable: a hook of the application's fails.

        """
        entry = self._recall("", "", came.name) if came.name is not None else None
        if entry is not None:
            return entry
        parsed = jws.parse(came.text)
        if not self._tokens.is_one(parsed):
            return None
        former = self._tokens.verified(parsed, "access", self._timed.time())
        mark = self._ended.mark if self._ended is not None else None
        if mark is not None and former.issued_at < mark.before:
            raise InvalidToken(reasons.GRANT_ENDED)
        subject = yield from former_subject(self._ports, former)
        entry = self._entry(former, subject)
        if self._cache is not None and came.name is not None:
            self._cache.put(came.name, entry)
        return entry

    def _entry(self, former: FormerToken, subject: str) -> Entry:
        claims, scopes = claims_here(
            former,
            subject,
            issuer=self._settings.issuer,
            audience=tuple(self._settings.audience),
            client_id=self._client_id,
            scope=self._migration.scope,
            until=self._tokens.until,
        )
        token = AccessToken(claims, scopes=scopes)
        check_by_application(token, self._settings.checks)
        entry = Entry(token)
        entry.prepare_grant()
        entry.keys, entry.generation, entry.seen = _UNCHANGING, 0, False
        entry.start, end, entry.life = lifetime(claims, self._settings.leeway)
        # The leeway goes beyond `exp`, and never beyond the date.
        entry.end = float(min(end, self._tokens.until))
        return entry


_UNCHANGING = _Unchanging()


def former_access(
    settings: Settings,
    ports: Ports,
    ended: EndedGrants | None,
    check: Callable[[Request], None],
    jars: Jars | None,
) -> FormerAccess | None:
    """Return what takes old access tokens; None: no route does."""
    migration = settings.refresh.migrate if settings.refresh is not None else None
    if migration is None or not migration.routes:
        return None
    return FormerAccess(settings, ports, ended, check, jars)
