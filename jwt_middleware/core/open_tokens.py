"""Whether a verified token still holds: its grant may have ended, a connection outlives `exp`."""

from __future__ import annotations

from typing import Literal

from ..grant.ended_grants import LONGEST, EndedGrants, Plan
from ..grant.ports import Ports
from ..request.refusals import told
from ..settings.settings import Settings, timer
from ..token.claims import lifetime
from ..values import reasons
from ..values.errors import InvalidToken, Unavailable
from ..values.events import ConnectionEnded
from ..values.flows import Flow, ask
from ..values.reasons import Reason
from ..values.tokens import NOBODY, AccessToken
from .known_tokens import Entry

LONGEST_PAUSE, SHORTEST_PAUSE = 1.0, 0.05  # seconds


def is_event_stream(headers: object) -> bool:
    """Say whether a response with these fields, of names and values, is `text/event-stream`.

    The fields of an iterator have been read by the server: they count as those of an event stream.
    """
    if not isinstance(headers, list | tuple):
        return True
    for name, value in headers:
        if _octets(name).lower() == b"content-type":
            return _octets(value).strip().lower().startswith(b"text/event-stream")
    return False


def _octets(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


class OpenTokens:
    """Checks of tokens that were verified, just now or at any time before.

    Args:
        settings: what is configured.
        ports: what flows may ask for.
        ended: the grants that this process knows to have ended; None: there are no grants.

    """

    def __init__(self, settings: Settings, ports: Ports, ended: EndedGrants | None) -> None:
        self.ended = ended
        self.timed = timer(settings.clock)
        every = settings.refresh.sync_every if settings.refresh is not None else 0
        # Seconds between two looks at what is open. 0, that every request asks, is no time here.
        self.pause = max(min(every or LONGEST_PAUSE, LONGEST_PAUSE), SHORTEST_PAUSE)
        self._ports = ports
        self._leeway = settings.leeway
        self._issuer = settings.issuer

    def end_of(self, token: AccessToken) -> float:
        """Return when a token has expired, by `Settings.clock`."""
        return token.expires_at + self._leeway

    def check_current(self, token: AccessToken) -> Flow[None]:
        """Check a token that was verified at any time, in any process. Raises as `check_open`."""
        if token.own and token.issuer != self._issuer:  # the settings are another issuer's
            raise InvalidToken(reasons.ISSUER)
        entry = Entry(token, NOBODY)
        entry.life = lifetime(token.claims, self._leeway)[2]
        entry.prepare_grant()
        yield from self.check_open(entry)

    def check_open(self, entry: Entry, *, has_end: bool = True) -> Flow[None]:
        """Check that a verified token still opens what it has opened.

        Raises:
            InvalidToken: it has expired, which counts where `has_end`, or its grant has ended.
            Unavailable: that isn't known at the moment.

        """
        token, now = entry.verified, self.timed.time()
        # RFC 7519 s4.1.4: "on or after which the JWT MUST NOT be accepted".
        if has_end and now >= self.end_of(token):
            raise InvalidToken(reasons.EXPIRED)
        if self.ended is not None and entry.grant_id is not None:
            yield from self.check_ended(self.ended, entry, entry.grant_id, now)

    def check_ended(
        self, ended: EndedGrants, entry: Entry, grant_id: str, now: float
    ) -> Flow[None]:
        """Check that a grant hasn't ended, after a question to the store if one is needed."""
        life, octets, issued = entry.life, entry.grant_octets, entry.issued
        if life > LONGEST:
            # Our `Issuer` doesn't make tokens that live so long, and stores don't keep ends for so
            # long.
            raise InvalidToken(reasons.LIFE).of(grant_id)
        # An end is for ever: the store needn't be asked.
        if not (ended.has(octets) or ended.is_marked(issued, now)):
            try:
                plan = yield from self._synced(ended, octets, life, issued, now)
                if plan == "ask":
                    yield from self._ask_for_grant(ended, octets, grant_id)
                    plan = "go on"
            except Unavailable:
                plan = ended.without_sync(now, octets, life, issued)
            if plan != "go on":
                raise Unavailable(reasons.SYNC).of(grant_id)
        if ended.has(octets) or ended.is_marked(issued, now):
            raise InvalidToken(reasons.GRANT_ENDED).of(grant_id)

    def _synced(
        self, ended: EndedGrants, octets: bytes, life: float, issued: float, now: float
    ) -> Flow[Plan]:
        """Return what to do when the store was asked, if that was due. Raises StoreUnavailable."""
        plan = ended.plan(now, octets, life, issued)
        if plan == "wait":
            yield from ask(self._ports.sync, now)
            return ended.after_sync(octets, life, issued)
        if ended.is_due(now):
            yield from ask(self._ports.begin_sync, now)
            if plan == "refuse":
                plan = ended.plan(now, octets, life, issued)  # it may have been answered at once
        return plan

    def _ask_for_grant(self, ended: EndedGrants, octets: bytes, grant_id: str) -> Flow[None]:
        """Ask the store for one grant. Raises StoreUnavailable."""
        mark = ended.mark
        if not (yield from ask(self._ports.store.is_living, grant_id)):
            ended.add((grant_id,), self.timed.time())
        elif ended.mark == mark:
            ended.survived(octets)


def ended_event(
    entry: Entry, reason: Reason, path: str, *, is_websocket: bool = False
) -> ConnectionEnded:
    """Return the event that a connection was ended."""
    kind: Literal["websocket", "stream"] = "websocket" if is_websocket else "stream"
    return ConnectionEnded(reason=reason, kind=kind, path=told(path), grant_id=entry.grant_id)
