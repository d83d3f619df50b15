"""The rules for proofs at one service: its URLs, how old a proof may be, and nonces.

Made once from the settings; used where a token is bound (login, refresh) and where it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..values import reasons
from ..values.errors import InvalidProof, NonceNeeded
from .nonces import Nonces
from .proof import Proof, ProofReader, check_age, check_request
from .target_uri import Target

# Seconds that a proof with a good nonce may say that it is old, or from ahead: the nonce has shown
# that it is new, and the clocks of honest clients are wrong by minutes.
CLOCK_ERROR = 900.0
NONCE_EVERY = 300.0  # seconds; each costs a client one more request
NONCE_LIFETIME = 600.0  # seconds, so that one which was just said is good for as long again


class ProofRules:
    """Which proofs hold here.

    Args:
        roots: the URLs at which clients reach the root of the application.
        algorithms: what proofs may be signed by.
        lifetime: seconds that a proof is good for, where there are no nonces.
        leeway: seconds that the client's clock may differ from ours.
        nonces: makes and recognizes nonces; None: proofs need none.

    """

    def __init__(
        self,
        roots: Iterable[Target],
        algorithms: Sequence[str],
        *,
        lifetime: float,
        leeway: float,
        nonces: Nonces | None,
    ) -> None:
        self.reader = ProofReader(algorithms)
        self.algorithms = " ".join(algorithms)  # as a challenge names them (RFC 9449 s7.1)
        self._roots = tuple(roots)
        self._nonces = nonces
        self._lifetime = lifetime if nonces is None else CLOCK_ERROR
        self._leeway = leeway if nonces is None else CLOCK_ERROR - lifetime
        self._memory = lifetime + leeway

    def check(self, text: str | None, method: str, path: str, now: float) -> Proof:
        """Return the proof of a request, whose field `DPoP` is `text`; None: it has none.

        It is authentic, of this very request, and new. Whose key it must be by, and whether it came
        before, is for the caller to check.

        Raises:
            NonceNeeded: the client must make another, with the nonce that the error has.
            InvalidProof: it isn't good.

        """
        if text is None:
            raise InvalidProof(reasons.PROOF_MISSING)
        # RFC 9449 s4.3, check 1: "There is not more than one DPoP HTTP request header field".
        # Servers join two with a comma, and no JWT has one.
        if "," in text:
            raise InvalidProof(reasons.PROOF_TWICE)
        proof = self.reader.read(text.strip(" \t"))
        check_request(proof, method, self._roots, path)
        nonces = self._nonces
        if nonces is not None and (proof.nonce is None or not nonces.is_current(proof.nonce, now)):
            raise NonceNeeded(nonces.make(now))
        check_age(proof, now, lifetime=self._lifetime, leeway=self._leeway)
        return proof

    def nonce(self, now: float) -> str | None:
        """Return the nonce of this time, or None: proofs need none."""
        return None if self._nonces is None else self._nonces.make(now)

    def until(self, proof: Proof) -> float:
        """Return until when a proof must be remembered, so that it is good only once.

        Seconds since 1970-01-01 UTC.
        """
        # RFC 9449 s11.1: for the time in which the proof would be accepted. With a nonce, that is
        # the time of the nonce, which another process may have made, whose clock is ahead.
        if self._nonces is None or proof.nonce is None:
            return proof.issued_at + self._memory
        return self._nonces.end_of(proof.nonce)
