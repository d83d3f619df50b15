"""A streamed response under WSGI, which ends at its next chunk when its token no longer holds."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from ..core.decide import Core
from ..core.known_tokens import Entry
from ..core.open_tokens import ended_event, is_event_stream
from ..values import reasons
from ..values.errors import ConnectionCut, InvalidToken, Unavailable
from ..values.flows import run
from .runtime import Runtime


class Watch:
    """Looks, for one response, whether its token still holds.

    Args:
        runtime: of the settings.
        core: its sync kind.
        entry: the decision about the token.
        path: of the request.
        fields: those of the response.

    """

    __slots__ = ("_end", "_entry", "_looked_at", "_path", "_runtime", "_tokens")

    def __init__(
        self,
        runtime: Runtime,
        core: Core,
        entry: Entry,
        path: str,
        fields: Iterable[tuple[str, str]],
    ) -> None:
        self._runtime = runtime
        self._tokens = core.open_tokens
        self._entry = entry
        self._path = path
        self._looked_at = -inf
        is_events = is_event_stream(tuple(fields))
        self._end = self._tokens.end_of(entry.verified) if is_events else inf

    def look(self) -> None:
        """Let the next chunk pass, or raise ConnectionCut: then the server can't complete it."""
        tokens, entry = self._tokens, self._entry
        ended, now = tokens.ended, tokens.timed.time()
        if now < self._end and (
            ended is None
            or entry.grant_id is None
            or (0 <= now - self._looked_at < tokens.pause and not ended.has(entry.grant_octets))
        ):
            return
        self._looked_at = now
        try:
            run(tokens.check_open(entry, has_end=self._end < inf))
            return
        except InvalidToken as error:
            reason = error.reason
        except Unavailable:
            # As long as the knowledge is new enough, a response isn't ended because of the store.
            if ended is None or not ended.is_late(now):
                return
            reason = reasons.SYNC
        self._runtime.tell((ended_event(entry, reason, self._path),))
        raise ConnectionCut(reason)
