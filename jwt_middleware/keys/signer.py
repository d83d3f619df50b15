"""Keys that stay in their KMS or HSM: the private part signs there, we have the public part.

Nothing here waits: the middlewares call the signer (`process/hooks.py`). Its signature is checked
with the public key before the token is sent, so a wrong key or a fault of the KMS makes no bad
token.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.utils import der_to_raw_signature

from ..jose import jwk
from ..jose.binding import UnusableKey
from ..jose.jwk import Key


class Signer(Protocol):
    """An object that signs outside of this process: its method calls the client of your KMS."""

    def sign(self, message: bytes) -> Any:
        """Return the signature of `message`, by the key and the algorithm that it was made for.

        An ECDSA signature may be DER, as most services give it, or as JWS has it (RFC 7518 s3.4).
        Under WSGI this must return or raise within the time that a
        login may take; many threads call it at once. For ASGI it may be `async def`; if it isn't,
        it runs in a thread, and counts as failed after ten seconds. Whatever it raises makes the
        answer a 503, and the client tries again.

        Args:
            message: what to sign; it is not hashed yet.

        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ExternalKey(Key):
    """A public key whose private part signs elsewhere."""

    signer: Any = None

    def __repr__(self) -> str:
        return f"<Key kid={self.kid!r} alg={self.algorithm.name} external>"

    @property
    def signs(self) -> bool:
        """Say whether this key signs: then the signer is called."""
        return "sign" in self.operations

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return external, (self.public_jwk(), self.signer)


def external(
    public: Mapping[str, Any] | bytes,
    signer: Signer,
    algorithm: str | None = None,
    kid: str | None = None,
) -> ExternalKey:
    """Return a key whose public part is a JWK or in PEM, and whose private part `signer` has.

    Raises:
        UnusableKey: the key isn't public, or the signer is none.

    """
    if isinstance(public, Mapping):
        named = public if kid is None else {**public, "kid": kid}
        key = jwk.from_jwk(named, algorithm=algorithm)
    else:
        key = jwk.from_pem(public, algorithm, kid=kid)
    if key.private is not None:
        raise UnusableKey("it has its private part, which a signer keeps: give the public one")
    if not callable(getattr(signer, "sign", None)):
        raise UnusableKey(f"{type(signer).__name__} is no signer: it needs a method sign(message)")
    return ExternalKey(key.kid, key.algorithm, key.public, None, signer=signer)


def checked(key: ExternalKey, message: bytes, signature: object) -> bytes:
    """Return a signature as JWS has it, if it is the key's for `message`. Raises InvalidSignature.

    Raises:
        TypeError: the signature isn't octets.

    """
    if not isinstance(signature, bytes):
        raise TypeError(f"a signature must be bytes, not {type(signature).__name__}")
    if key.verify(message, signature):
        return signature
    if isinstance(key.public, ec.EllipticCurvePublicKey):
        with suppress(ValueError):  # not DER
            raw = der_to_raw_signature(signature, key.public.curve)
            if key.verify(message, raw):
                return raw
    raise InvalidSignature
