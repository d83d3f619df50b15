"""Whether a verified token still holds: its grant may have ended, a connection outlives `exp`."""

from __future__ import annotations

from ..grant.ended_grants import LONGEST, EndedGrants, Plan
from ..grant.ports import Ports
from ..settings.settings import Settings, timer
from ..token.claims import lifetime
from ..values import reasons
from ..values.errors import InvalidToken, Unavailable
from ..values.flows import Flow, ask
from ..values.tokens import NOBODY, AccessToken
from .known_tokens import Entry


class OpenTokens:
    """Checks of tokens that were verified, just now or at any time before.

    Args:
        settings: what is configured.
        ports: what flows may ask for.
        ended: the grants that this process knows to have ended; None: there are no grants.

    """

    def __init__(self, settings: Settings, ports: Ports, ended: EndedGrants | None) -> None:
        self._ports = ports
        self._ended = ended
        self._timed = timer(settings.clock)
        self._leeway = settings.leeway

    def entry_of(self, token: AccessToken) -> Entry:
        """Return what `check_open` takes, of a token that was verified at any time."""
        entry = Entry(token, NOBODY)
        entry.life = lifetime(token.claims, self._leeway)[2]
        entry.issued = float(token.claims.get("iat", 0))
        return entry

    def check_open(self, entry: Entry, *, has_end: bool = True) -> Flow[None]:
        """Check that a verified token still opens what it has opened.

        Raises:
            InvalidToken: it has expired, which counts where `has_end`, or its grant has ended.
            Unavailable: that isn't known at the moment.

        """
        token, now = entry.verified, self._timed.time()
        # RFC 7519 s4.1.4: "on or after which the JWT MUST NOT be accepted".
        if has_end and now >= token.expires_at + self._leeway:
            raise InvalidToken(reasons.EXPIRED)
        if self._ended is not None and entry.grant_id is not None:
            yield from self.check_ended(self._ended, entry, entry.grant_id, now)

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
            ended.add((grant_id,), self._timed.time())
        elif ended.mark == mark:
            ended.survived(octets)
