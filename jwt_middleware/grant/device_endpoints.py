"""The endpoints that a browser itself asks, for device-bound cookies (DBSC, W3C draft).

    POST {path}/device/register    the device's key, for a login that was just answered
    POST {path}/device/refresh     the proof of that key, for the next cookies

No page of ours sends these requests, so that they have no field of ours; and the browser sends them
because of some request that it holds up, whose origin may be another's. So the origin doesn't
count: the proof decides, and what fails is answered 403. A browser takes any other 4xx for the end
of its session, so that whoever can cause such a request could log the user out.
"""

from __future__ import annotations

from collections.abc import Callable

from ..request.cookies import Jars
from ..request.documents import other_method
from ..request.origins import Origins
from ..settings.settings import timer
from ..values import reasons
from ..values.errors import DeviceProofNeeded, InvalidGrant, InvalidProof, OAuthError
from ..values.flows import Flow, ask
from ..values.requests import Headers, Reply, Request, Response
from ..values.tokens import Held, Hidden
from .continuing import ENDS, Exchanged
from .devices import Devices, DeviceSession
from .issuing import Issuing
from .refresh import Asked


class DeviceEndpoints:
    """The answers at `paths`. `exchange` exchanges the newest of the cookies, as a refresh does."""

    def __init__(
        self,
        issuing: Issuing,
        devices: Devices,
        jars: Jars,
        origins: Origins,
        exchange: Callable[[Held, Asked], Flow[Exchanged]],
    ) -> None:
        self._issuing = issuing
        self._devices = devices
        self._jars = jars
        self._origins = origins
        self._exchange = exchange
        self._timed = timer(issuing.settings.clock)
        self.paths: dict[str, Callable[[Request], Flow[Reply]]] = {
            devices.register_path: self._register,
            devices.refresh_path: self._refresh,
        }

    def _register(self, request: Request) -> Flow[Reply]:
        if request.method != "POST":
            return Reply(other_method(request, self._origins, "POST"))
        yield from ()  # a flow as the others are, with nothing to ask
        now = self._timed.time()
        try:
            session = self._devices.register(request, now)
        except InvalidProof as error:
            raise DeviceProofNeeded(error.reason, error.detail) from None
        return Reply(self._answer(request, session, now))

    def _refresh(self, request: Request) -> Flow[Reply]:
        if request.method != "POST":
            return Reply(other_method(request, self._origins, "POST"))
        now, devices = self._timed.time(), self._devices
        held = self._jars.held(request.header("cookie"))
        # Another process may have signed by a key that isn't known here, the session as well.
        yield from self._issuing.find_lacking_key([Hidden(text) for _, text in held.refresh], now)
        session = devices.session(request, now)
        if session is None:
            raise DeviceProofNeeded(reasons.DEVICE_SESSION)
        try:
            devices.check_proof(request, session, now)
        except InvalidProof as error:
            raise self._needed(session, now, error) from None
        # It is the device itself: from here on, the end of the grant ends the browser's session.
        name = self._jars.refresh.name(session.grant_id)
        refresh = tuple(one for one in held.refresh if one[0] == name and one[1])
        own = Held(refresh, held.access, devices=held.devices)
        if not refresh:
            if not (yield from ask(self._issuing.ports.store.is_living, session.grant_id)):
                raise InvalidGrant(reasons.GRANT_ENDED).of(session.grant_id)
            lacking = DeviceProofNeeded(reasons.DEVICE, "no refresh cookie")
            raise self._needed(session, now, lacking)
        shown = {session.grant_id: session.key}
        asked = Asked("", None, request.header("user-agent"), now, request, shown, binds=True)
        try:
            exchanged = yield from self._exchange(own, asked)
        except InvalidGrant as error:
            if error.reason in ENDS:
                raise
            raise self._needed(session, now, error) from None
        fields = exchanged.tokens.cookies + exchanged.cleared
        return Reply(self._answer(request, session, now, fields), exchanged.events)

    def _needed(self, session: DeviceSession, now: float, error: OAuthError) -> DeviceProofNeeded:
        needed = DeviceProofNeeded(error.reason, error.detail).of(session.grant_id, *error.events)
        needed.clears = self._devices.challenge(session.identifier, now)
        return needed

    def _answer(
        self, request: Request, session: DeviceSession, now: float, more: Headers = ()
    ) -> Response:
        body = self._devices.instructions(session)
        headers: Headers = (
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            *self._origins.headers(request),
            *more,
            *self._devices.cookie(session, now),
            *self._devices.challenge(session.identifier, now),
        )
        return Response(200, headers, body)
