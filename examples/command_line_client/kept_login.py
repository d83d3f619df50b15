"""A login that a command-line program keeps: several processes use it at once, bound to one key.

    with httpx2.Client(base_url=url, auth=KeptLogin(url, folder)) as client:
        client.get("/notes")

The key is made once, in a file of its own with mode 0600, and signs a proof (DPoP, RFC 9449) for
the login and each refresh. The tokens are in another file. Who copies that one has nothing; who
copies both has everything: keep the key in an agent or a TPM where you have one.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import time
from base64 import urlsafe_b64encode
from collections.abc import Generator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

AHEAD = 60  # seconds before its end in which an access token is refreshed
TRIES = 6  # of a request that got no answer, or 503
# Seconds before one of them: that a server is away for hours is told to the user.
LONGEST_WAIT = 60.0


class LoggedOut(Exception):
    """There is no login, or it is over: the user has to log in."""


class ClientKey:
    """An ES256 key in a file that only its user can read; made at the first use."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            _write(file, _new_key())
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{file}: no EC key; remove it, and log in again")
        self._key = key
        numbers = key.public_key().public_numbers()
        x, y = (_b64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        self._header = {
            "typ": "dpop+jwt",
            "alg": "ES256",
            "jwk": {"kty": "EC", "crv": "P-256", "x": x, "y": y},
        }

    def proof(self, method: str, url: str, nonce: str | None) -> str:
        """Return a proof for one request (RFC 9449 s4.2)."""
        claims: dict[str, Any] = {"jti": _b64url(os.urandom(16)), "htm": method, "htu": url}
        claims["iat"] = int(time.time())
        if nonce is not None:
            claims["nonce"] = nonce
        message = f"{_b64url(_json(self._header))}.{_b64url(_json(claims))}"
        r, s = decode_dss_signature(self._key.sign(message.encode(), ec.ECDSA(SHA256())))
        return f"{message}.{_b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class KeptLogin(httpx2.Auth):
    """Sends the access token of a kept login, and refreshes it ahead of its end.

    Args:
        url: the root of the service.
        folder: where the tokens are kept.
        key_folder: where the key is; not beside the tokens.

    """

    def __init__(self, url: str, folder: Path, key_folder: Path) -> None:
        self._url = url.rstrip("/")
        for one in (folder, key_folder):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tokens = folder / "tokens.json"
        self._lock = folder / "lock"
        with self._locked():
            self._key = ClientKey(key_folder / "key.pem")

    def log_in(self, user: str, password: str) -> None:
        """Begin a login that is bound to the key. Raises LoggedOut if it is refused."""
        with self._locked():
            self._exchange("/login", {"user": user, "password": password})

    def log_out(self) -> None:
        """End the login, everywhere."""
        with self._locked():
            kept = self._read()
            if kept:
                self._send("/auth/revoke", {"token": kept["refresh_token"]}, kept.get("nonce"))
            self._tokens.unlink(missing_ok=True)

    def sync_auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send the token; if it is refused, once more with a fresh one."""
        token = self.access_token()
        request.headers["Authorization"] = f"Bearer {token}"
        answer = yield request
        if answer.status_code == 401 and "invalid_token" in answer.headers.get(
            "WWW-Authenticate", ""
        ):
            request.headers["Authorization"] = f"Bearer {self.access_token(other_than=token)}"
            yield request

    def access_token(self, other_than: str | None = None) -> str:
        """Return an access token that is good for a while. Raises LoggedOut."""
        kept = self._read()
        if not _is_good(kept, other_than):
            # One process refreshes, and the others find what it has got. Without the lock it would
            # work, too: a bound login isn't rotated. It saves requests.
            with self._locked():
                kept = self._read()
                if not kept:
                    raise LoggedOut
                if not _is_good(kept, other_than):
                    text = kept["refresh_token"]
                    members = {"grant_type": "refresh_token", "refresh_token": text}
                    kept = self._exchange("/auth/refresh", members, kept.get("nonce"))
        return str(kept["access_token"])

    def _exchange(
        self, path: str, members: dict[str, str], nonce: str | None = None
    ) -> dict[str, Any]:
        answer, nonce = self._send(path, members, nonce)
        if answer.status_code in (400, 401):
            # A wrong proof isn't the end of the login: it may be the fault of a clock.
            if path == "/auth/refresh" and answer.json().get("error") == "invalid_grant":
                self._tokens.unlink(missing_ok=True)
            raise LoggedOut(answer.json().get("error"))
        answer.raise_for_status()
        kept: dict[str, Any] = {**self._read(), **answer.json(), "nonce": nonce}
        kept["ends_at"] = time.time() + kept["expires_in"]
        _write(self._tokens, _json(kept))
        return kept

    def _send(
        self, path: str, members: dict[str, str], nonce: str | None
    ) -> tuple[httpx2.Response, str | None]:
        """Send a request with a proof, again where it was lost; return the answer and the nonce."""
        url, wait = self._url + path, 0.5
        with httpx2.Client(timeout=10) as client:
            for left in reversed(range(TRIES)):
                proof = self._key.proof("POST", url, nonce)  # a new one for each try
                try:
                    answer = client.post(url, json=members, headers={"DPoP": proof})
                except httpx2.TransportError:
                    if not left:
                        raise
                else:
                    nonce = answer.headers.get("DPoP-Nonce", nonce)
                    is_told = "use_dpop_nonce" in answer.text if answer.is_client_error else False
                    if is_told and left:
                        continue
                    if answer.status_code != 503 or not left:
                        return answer, nonce
                    wait = _seconds(answer.headers.get("Retry-After"), wait)
                # Not all of them at the same moment.
                time.sleep(wait * random.uniform(1, 1.5))  # noqa: S311
                wait = min(2 * wait, 10)
        raise AssertionError("not reached")

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._tokens.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found

    @contextmanager
    def _locked(self) -> Generator[None]:
        with self._lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _is_good(kept: dict[str, Any], other_than: str | None) -> bool:
    return (
        bool(kept) and kept["access_token"] != other_than and time.time() < kept["ends_at"] - AHEAD
    )


def _seconds(retry_after: str | None, otherwise: float) -> float:
    """Return how long to wait: a number of seconds, or until a date (RFC 9110 s10.2.3)."""
    given = retry_after or ""
    if given.isdecimal():
        return min(float(given), LONGEST_WAIT)
    try:
        found = parsedate_to_datetime(given).timestamp() - time.time()
    except ValueError:
        return otherwise
    return min(max(found, 0.0), LONGEST_WAIT)


def _write(file: Path, octets: bytes) -> None:
    """Write a file as a whole, readable by its user alone: a reader sees the old or the new one."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(octets)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _b64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
