"""Whether this process can serve: for probes, and for the application's own question.

At first all must be there: keys, and an answer of the store. That makes the first request quick,
too, because pools are open and keys are fetched by then. After that only what would make this
process refuse good tokens counts. A store that is away isn't that, until the ended grants are known
too badly: all processes share the store, and if all said that they can't serve, no request with a
known token would get an answer, which needs no store.

A check asks at most once a second, however many probes come, and one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf
from threading import Lock

from ..core.trusted_issuers import Issuers
from ..grant.ended_grants import EndedGrants
from ..grant.ports import Ports
from ..jose.strict_json import to_json
from ..keys.live_keys import LiveKeys
from ..keys.signer import ExternalKey
from ..request.documents import other_method
from ..request.origins import Origins
from ..settings.settings import Settings, timer
from ..values.errors import InvalidToken, OAuthError, Unavailable
from ..values.flows import Flow, ask
from ..values.readiness import Readiness
from ..values.requests import Headers, Reply, Request, Response
from ..values.tokens import Hidden

EVERY = 1.0  # seconds between two checks
LEASE = 30.0  # seconds; a check that takes longer counts as lost. All that it asks gives up before
TO_SIGN = b"jwt-middleware ready"  # without a dot, so its signature can't be that of a token
NO_GRANT = "ready"  # the id of no grant: ours are longer
_NO_ORIGIN = Origins(())
_UNKNOWN = Readiness(is_ready=False, parts={})


class Probe:
    """Looks whether this process can serve, and answers at `Settings.ready_path`.

    Args:
        settings: what is configured.
        ports: what flows may ask for.
        issuers: whose keys must be known.
        ended: the grants that this process knows to have ended; None: there are no grants.
        is_closed: whether the settings were closed, and nothing was asked since.

    """

    def __init__(
        self,
        settings: Settings,
        ports: Ports,
        issuers: Issuers,
        ended: EndedGrants | None,
        is_closed: Callable[[], bool],
    ) -> None:
        self._ports = ports
        self._is_closed = is_closed
        group = settings.refresh
        self._signs = group is not None and group.serve
        self._passing = group is not None and group.sync_failure == "open"
        self._own = issuers.own.keys
        self._others = issuers.others
        self._ended = ended
        self._timed = timer(settings.clock)
        self.reset()

    def reset(self) -> None:
        """Know nothing, as a forked child must."""
        self._lock = Lock()
        self._next = -inf  # when the next check may begin
        self._known = _UNKNOWN
        self._has_signed = False

    def answer(self, request: Request) -> Flow[Reply]:
        """Return the answer to a probe: names of parts, and never why. Raises NotAllowed."""
        if request.method not in ("GET", "HEAD"):
            return Reply(other_method(request, _NO_ORIGIN, "GET", "HEAD"))
        found = yield from self.look()
        body = to_json({"ready": found.is_ready, "parts": found.parts}).encode()
        headers: Headers = (
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
        )
        if not found:
            headers += (("retry-after", "1"),)
        return Reply(
            Response(200 if found else 503, headers, b"" if request.method == "HEAD" else body)
        )

    def refusal_headers(self, _: Request, __: OAuthError) -> Headers:
        """Return the header fields of a refusal at this path, beside the usual ones."""
        return ()

    def look(self) -> Flow[Readiness]:
        """Return what the last check has found, after a new one where it is time for one."""
        if self._is_closed():  # a look would open the store again
            return _UNKNOWN
        now = self._timed.time()
        with self._lock:
            if 0 < self._next - now <= LEASE:
                return self._known
            self._next = now + LEASE
        try:
            self._known = yield from self._check(now)
        finally:
            self._next = now + EVERY
        return self._known

    def _check(self, now: float) -> Flow[Readiness]:
        for keys in self._others:
            if not keys.fresh.is_usable(now):
                yield from ask(keys.begin, now)  # all at once
        parts = {"keys": (yield from self._has_keys())}
        if self._others:
            parts["trusted_issuers"] = yield from self._has_keys_of_others()
        if self._ended is not None:
            parts["store"] = yield from self._has_store(self._ended, now)
            is_late = self._ended.is_late(self._timed.time())
            parts["feed"] = self._passing or not is_late
        # Keys of others don't count: their key server would decide about all of our users.
        is_open = self._known.is_ready or parts.get("store", True)
        return Readiness(parts["keys"] and parts.get("feed", True) and is_open, parts)

    def _has_keys(self) -> Flow[bool]:
        """Say whether our issuer's keys are known and, where we issue, whether they sign."""
        is_known = yield from self._find(self._own)
        signer = self._own.key_set.signer if self._signs and is_known else None
        if isinstance(signer, ExternalKey) and not self._has_signed:
            # Once, because each signature of a KMS costs something.
            try:
                yield from ask(self._ports.sign, signer, Hidden(TO_SIGN))
            except Unavailable:
                return False
            self._has_signed = True
        return is_known

    def _has_keys_of_others(self) -> Flow[bool]:
        are_known = True
        for keys in self._others:
            # After one that was waited for in vain no other is: all have had the same time.
            are_known = are_known and (yield from self._find(keys))
        return are_known

    def _find(self, keys: LiveKeys) -> Flow[bool]:
        """Say whether keys are known, after a fetch where they aren't."""
        if not keys.fresh.is_usable(self._timed.time()):
            with suppress(Unavailable, InvalidToken):
                yield from ask(self._ports.find_key, keys, None, self._timed.time())
        return keys.fresh.is_usable(self._timed.time())

    def _has_store(self, ended: EndedGrants, now: float) -> Flow[bool]:
        """Say whether the store answers now, or did within `sync_every`."""
        if ended.is_resting(now):
            return False  # it has just failed
        try:
            if not self._known:
                # Opens a connection for requests, and looks at the schema. A sync has its own.
                yield from ask(self._ports.store.is_living, NO_GRANT)
            if not (ended.synced_at <= now and ended.serves(ended.synced_at, now)):
                yield from ask(self._ports.sync, now)
        except Unavailable:
            return False
        return True
