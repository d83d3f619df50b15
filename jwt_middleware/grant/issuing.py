"""What all flows of grants share: settings, ports, known ends, and the secrets that sign."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from hashlib import sha256

from ..keys.live_keys import LiveKeys
from ..request.cookies import Jars
from ..settings.issuing_groups import Refresh
from ..settings.proof_groups import proof_rules
from ..settings.refresh_secrets import follows_keys
from ..settings.settings import Settings
from ..token import refresh
from ..token.refresh import RefreshToken
from ..values import reasons
from ..values.errors import InvalidGrant, KeysUnavailable, Unavailable
from ..values.events import Revoked
from ..values.flows import Flow, ask, ask_to_the_end
from ..values.tokens import Hidden
from .devices import Devices
from .ended_grants import EndedGrants
from .ports import Ports
from .rotation_rule import Limits
from .signing import Signing

LONGEST_MIGRATION = 400 * 86400.0  # seconds: the most that `absolute_limit` can be
GRANT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # as `new_grant_id` makes it, and longer


class Issuing:
    """Made once for sync and once for async callers. `signing` follows the issuer's keys."""

    def __init__(
        self,
        settings: Settings,
        group: Refresh,
        ports: Ports,
        ended: EndedGrants,
        keys: LiveKeys,
        jars: Jars | None,
    ) -> None:
        self.settings = settings
        self.group = group
        self.ports = ports
        self.ended = ended
        self.jars = jars
        self.limits = Limits(
            settle=group.settle, idle=group.idle_limit, restore=group.restore_limit
        )
        self.former = group.migrate.tokens(settings) if group.migrate is not None else None
        self.purged_at = float("-inf")
        self.logins = 0  # since then
        self.is_purge_behind = False  # the last purge has found many rows
        self._keys = keys
        self._follows_keys = follows_keys(group, settings.keys.source)
        self._signing = self._sign_with_present_keys()
        self.proofs = proof_rules(settings, lambda: self.signing().refresh.present)
        jar = jars.device if jars is not None else None
        self.devices = (
            None
            if jar is None
            else Devices(group, jar, settings.origins, lambda: self.signing().refresh)
        )

    def signing(self) -> Signing:
        """Return the keys and templates that make tokens now."""
        if self._signing.generation != self._keys.fresh.generation:
            self._signing = self._sign_with_present_keys()
        return self._signing

    def _sign_with_present_keys(self) -> Signing:
        # The number is read before the keys. If the keys change between the two reads, the number
        # is old, and the next call makes this anew. In the other order old keys would be taken for
        # new ones.
        generation = self._keys.fresh.generation
        key_set = self._keys.key_set
        return Signing(key_set, generation, self.settings, self.group, self.ports, self.jars)

    def renew_keys(self, now: float) -> Flow[None]:
        """Look for other keys of our own, if it is time. If there are any, they sign."""
        fresh = self._keys.fresh
        if not fresh.since <= now < fresh.due:
            with suppress(Unavailable):  # the known keys go on signing
                yield from ask(self.ports.renew_keys, self._keys, now)

    # --- refresh tokens that came

    def check(self, text: Hidden[str], now: float) -> RefreshToken:
        """Return a verified refresh token of ours. Raises InvalidGrant or KeysUnavailable."""
        try:
            return refresh.check(text.value, self.signing().refresh, now=now)
        except InvalidGrant as error:
            # Another process may have signed it by a key of a file that can't be read here: that
            # isn't the client's fault.
            fresh = self._keys.fresh
            if error.reason == reasons.KEY_UNKNOWN and fresh.is_failing and self._follows_keys:
                raise KeysUnavailable("of refresh tokens", fresh.retry_after(now)) from None
            raise

    def find_lacking_key(self, texts: Iterable[Hidden[str]], now: float) -> Flow[None]:
        """Look for new keys if a token may be signed by one that only other processes know."""
        if any(self._lacks_key(text, now) for text in texts):
            renew = partial(self.ports.renew_keys, lacking=True)
            yield from ask(renew, self._keys, now)

    def _lacks_key(self, text: Hidden[str], now: float) -> bool:
        try:
            self.check(text, now)
        except InvalidGrant as error:
            return error.reason == reasons.KEY_UNKNOWN and self._follows_keys
        return False

    def read(
        self, texts: Iterable[Hidden[str]], now: float
    ) -> tuple[list[tuple[Hidden[str], RefreshToken]], tuple[str, ...]]:
        """Return the refresh tokens of ours among some texts, and the grants of those too old."""
        living, over = [], []
        for text in texts:
            try:
                living.append((text, refresh.check(text.value, self.signing().refresh, now=now)))
            except InvalidGrant as error:
                # This error is raised for authentic tokens only: the token has expired.
                if error.reason == reasons.EXPIRED and error.grant_id is not None:
                    over.append(error.grant_id)
        return living, tuple(over)

    # --- ends

    def end(self, grant_id: str, reason: str, now: float) -> Flow[bool]:
        """End a grant, and say whether it was alive. From here on its tokens are refused."""
        try:
            was_alive = yield from ask_to_the_end(self.ports.store.end, grant_id, reason)
        except Unavailable as error:
            raise error.of(grant_id) from None
        self.ended.add((grant_id,), now)
        return was_alive

    def end_each(
        self, grant_ids: Iterable[str], reason: str, now: float
    ) -> Flow[tuple[Revoked, ...]]:
        """End several grants, one after the other, and return the events to report."""
        ended: tuple[str, ...] = ()
        for grant_id in grant_ids:
            was_alive = yield from self.end(grant_id, reason, now)
            ended += (grant_id,) if was_alive else ()
        return (Revoked(grant_ids=ended, reason=reason),) if ended else ()

    def end_own(
        self, grant_id: str, subject: str, reason: str, now: float
    ) -> Flow[tuple[Revoked, ...]]:
        """End a grant if it is this subject's, and return the events; none: it wasn't, or is over.

        The id may come from a client: what can be no id isn't shown to the store.
        """
        if not GRANT_ID.fullmatch(grant_id):
            return ()
        # With source = target this only reads.
        _, row = yield from ask(self.ports.store.advance, grant_id, 0, 0, None)
        if row is None or row.subject != subject or now >= row.expires_at:
            return ()
        return (yield from self.end_each((grant_id,), reason, now))

    def end_subject(self, subject: str, reason: str, now: float) -> Flow[tuple[str, ...]]:
        """End all grants of a subject, and return their ids."""
        yield from self.end_former(subject, now)
        grant_ids = yield from ask_to_the_end(self.ports.store.end_subject, subject, reason)
        self.ended.add(grant_ids, now)
        return grant_ids

    def end_former(self, subject: str, now: float) -> Flow[None]:
        """Let no grant begin any more by an old token of this subject, where such are taken."""
        if self.former is not None:
            yield from ask_to_the_end(
                self.ports.store.admit, former_mark(subject), now + LONGEST_MIGRATION
            )


def former_mark(subject: str) -> str:
    """Return the key by which a store remembers that a subject's old tokens are over."""
    return f"former tokens of {sha256(subject.encode()).hexdigest()}"
