"""Cookies that are bound to a device (DBSC, W3C draft): what is said to browsers, and checked.

A login's answer offers a registration. A browser that knows the draft makes a key, and from then on
has one more cookie, of some minutes, which only this key renews. The next refresh tokens of the
grant are marked with the key, and a marked one needs that cookie beside it. The grant's row knows
nothing of it: only a login could bind the grant, and no browser says beforehand that it will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ..jose.strict_json import to_json
from ..request.cookies import Jar
from ..settings.issuing_groups import Refresh
from ..token import device
from ..token.refresh import RefreshKeys, RefreshToken
from ..values import reasons
from ..values.errors import InvalidGrant, InvalidProof, Unavailable
from ..values.events import KeyMismatch
from ..values.requests import Headers, Request
from ..values.tokens import Held, Tokens

COOKIE_LASTS = (
    300.0  # seconds that the cookie lasts: a thief's copy of all cookies is good for as long
)
SLOW_REQUEST = 30.0  # seconds: a request that began with the cookie may be slow
TO_REGISTER = 600.0  # seconds after the login; a TPM takes some to make a key
# Seconds. Browsers keep the last challenge, and its signature, for their next refresh.
CHALLENGE_LIFETIME = 600.0


class DeviceSession(NamedTuple):
    """What a browser has registered: its identifier, which says the rest, and what that is."""

    identifier: str
    grant_id: str
    key: str  # the device's public key, a compressed point in base64url


class Devices:
    """Made once from the settings. `keys` returns the secrets of refresh tokens of now."""

    def __init__(
        self, group: Refresh, jar: Jar, origins: Iterable[str], keys: Callable[[], RefreshKeys]
    ) -> None:
        self._jar = jar
        self._keys = keys
        self.register_path, self.refresh_path = (
            f"{group.path}/device/{name}" for name in ("register", "refresh")
        )
        self._root = urlsplit(group.public_url).path.rstrip("/")
        # Browsers renew the cookie before it expires, and the access token with it.
        self._lasts = int(min(group.access_lifetime / 2, COOKIE_LASTS))
        self._initiators = [host for host in (urlsplit(one).hostname for one in origins) if host]

    # --- what is said

    def offer(self, tokens: Tokens, now: float) -> Headers:
        """Return the field of a login's answer by which a browser may register its device."""
        ends_at = int(now) + int(tokens["authorization_expires_in"])
        challenge = device.write_note(
            self._keys(), "login", tokens.grant_id, str(ends_at), until=now + TO_REGISTER
        )
        path = self._root + self.register_path
        value = f'({device.DEVICE_ALGORITHM});path="{path}";challenge="{challenge}"'
        return (("secure-session-registration", value),)

    def challenge(self, identifier: str, now: float) -> Headers:
        """Return the field with the challenge for the next proof of a session."""
        text = device.write_note(
            self._keys(), "challenge", until=now + CHALLENGE_LIFETIME, about=identifier
        )
        return (("secure-session-challenge", f'"{text}";id="{identifier}"'),)

    def cookie(self, session: DeviceSession, now: float) -> Headers:
        """Return the cookie of a device that has just shown its key."""
        until = now + self._lasts + SLOW_REQUEST
        text = device.write_note(self._keys(), "cookie", session.grant_id, session.key, until=until)
        return (self._jar.set(session.grant_id, text, self._lasts),)

    def instructions(self, session: DeviceSession) -> bytes:
        """Return what a browser is to do from now on: hold requests while the cookie is missing."""
        found: dict[str, object] = {
            "session_identifier": session.identifier,
            "refresh_url": self._root + self.refresh_path,
            "scope": {"include_site": False},
            "credentials": [
                {
                    "type": "cookie",
                    "name": self._jar.name(session.grant_id),
                    "attributes": self._jar.attributes,
                }
            ],
        }
        if self._initiators:
            found["allowed_refresh_initiators"] = self._initiators
        return to_json(found).encode()

    # --- what is checked

    def register(self, request: Request, now: float) -> DeviceSession:
        """Return the session that a browser begins, for the login that it names.

        Raises InvalidProof.
        """
        key, challenge = device.registered(_proof(request))
        keys = self._keys()
        found = device.read_note(keys, "login", challenge, now)
        if found is None:
            raise InvalidProof(reasons.PROOF_NONCE)
        grant_id, ends_at = found
        identifier = device.write_note(keys, "session", grant_id, key, until=float(ends_at))
        return DeviceSession(identifier, grant_id, key)

    def session(self, request: Request, now: float) -> DeviceSession | None:
        """Return the session that a browser names; None: it is none of ours, or it is over."""
        identifier = _string(request.header("sec-secure-session-id") or "")
        found = device.read_note(self._keys(), "session", identifier, now)
        return None if found is None else DeviceSession(identifier, *found)

    def check_proof(self, request: Request, session: DeviceSession, now: float) -> None:
        """Check that the session's key has signed a challenge of ours. Raises InvalidProof.

        Any of the last minutes: another may have been said while the browser signed.
        """
        challenge = device.challenge_signed(_proof(request), session.key)
        about = session.identifier
        if device.read_note(self._keys(), "challenge", challenge, now, about=about) is None:
            raise InvalidProof(reasons.PROOF_NONCE)

    def shown(self, held: Held, now: float) -> Mapping[str, str]:
        """Return the keys that devices have shown of late, by their grants."""
        keys = self._keys()
        found = (device.read_note(keys, "cookie", text, now) for _, text in held.devices)
        return {one[0]: one[1] for one in found if one is not None}

    def check(
        self, token: RefreshToken, shown: str | None, request: Request | None, changed: bool | None
    ) -> None:
        """Check that a marked refresh token came with its device's key: `shown`.

        Raises:
            InvalidGrant: it didn't. The grant stays as it is.
            Unavailable: the browser says that it couldn't renew the cookie at the moment.

        """
        if token.device is None or token.device == shown:
            return
        if shown is None and request is not None and request.header("secure-session-skipped"):
            raise Unavailable(reasons.DEVICE, "skipped").of(token.grant_id)
        mismatch = KeyMismatch(grant_id=token.grant_id, user_agent_changed=changed)
        raise InvalidGrant(reasons.DEVICE).of(token.grant_id, mismatch)


def _proof(request: Request) -> str:
    text = request.header("secure-session-response")
    if text is None:
        raise InvalidProof(reasons.PROOF_MISSING)
    return _string(text)


def _string(field: str) -> str:
    """Return the string of a field, without parameters (RFC 9651 s3.3.3)."""
    # The draft has it in quotes, and Chromium 156 sends it without.
    return field.partition(";")[0].strip(' \t"')
