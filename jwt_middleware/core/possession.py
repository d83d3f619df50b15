"""Check that a request with a bound token shows the key that the token is bound to (RFC 9449 s7).

A bound token alone opens nothing. It is kept as other tokens are, once verified, but apart from
them: what is found here needs its proof, each time.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import cast

from ..grant.ports import Ports
from ..request.client_certificate import CertificateReader
from ..request.credentials import Credentials
from ..settings.proof_groups import remembers_in_store
from ..settings.settings import Settings
from ..token.proof import Proof, check_token, token_hash
from ..token.proof_rules import ProofRules
from ..values import reasons
from ..values.errors import InvalidProof, InvalidToken
from ..values.flows import Flow, ask
from ..values.proved_key import ForwardLogin, ProvedKey
from ..values.requests import Request
from .known_tokens import Cache, Entry, WarmPath, know_nothing, warm_path
from .used_proofs import MOST_LOGINS, UsedProofs

# Seconds for which a store remembers a proof beyond its end: by its own clock, which may be ahead.
STORE_CLOCK = 60.0


class Possession:
    """What requests with bound tokens are checked for, at one service.

    `used` are the proofs that this process has seen used, where no store remembers them.
    """

    def __init__(
        self,
        settings: Settings,
        rules: ProofRules | None,
        ports: Ports,
        timed: object,
        used: UsedProofs,
    ) -> None:
        cache = settings.token_cache
        by = settings.client_certificates
        self._certificates = None if by is None else CertificateReader(by.header, by.proxies)
        self._rules = rules
        self._ports = ports
        # Apart from the cache of the warm path, which looks at no proof.
        self.cache = Cache(cache.entries, hashed=cache.hashed) if cache.entries else None
        get = know_nothing if self.cache is None else self.cache.get
        self.recall: WarmPath = warm_path(get, timed)
        self._used = None if remembers_in_store(settings) else used
        self._used_at_logins = UsedProofs(settings.clock, MOST_LOGINS, makes_room=True)

    def check(self, request: Request, came: Credentials, entry: Entry, now: float) -> Proof | None:
        """Return the good proof of a request, or None: its token isn't bound to a key.

        Whether the proof came before isn't known yet.

        Raises:
            InvalidToken: a bound token came as a bearer token, or one that isn't bound with DPoP;
                or the client hasn't shown the certificate.
            InvalidProof: the proof isn't good.

        """
        token = entry.verified
        bound = token.bound_key
        certificate = token.bound_certificate if bound is None else None  # never both
        # RFC 9449 s7.2: "MUST reject [...] a DPoP-bound access token received as a bearer token";
        # s7.1: the scheme DPoP is for bound tokens.
        if came.is_proved is (bound is None):
            raise InvalidToken(reasons.SENDER_CONSTRAINED if bound else reasons.NOT_BOUND)
        if certificate is not None:
            reader = cast("CertificateReader", self._certificates)
            shown = reader.thumbprint(request)
            # RFC 8705 s3: "MUST reject [...] with an HTTP 401 status code and the "invalid_token"
            # error code".
            if shown is None or not compare_digest(shown, certificate):
                raise InvalidToken(reasons.CERTIFICATE)
        if bound is None:
            return None
        rules = cast("ProofRules", self._rules)
        proof = rules.check(request.header("dpop"), request.method, request.path, now)
        if not entry.hashed:
            entry.hashed = token_hash(came.text)
        check_token(proof, entry.hashed, bound)
        rules.reader.keep(proof)
        return proof

    def is_known(self, name: str) -> bool:
        """Say whether a token is kept under this name, which has the scheme DPoP in front of it."""
        return self.cache is not None and name[:5] == "DPoP " and self.cache.get(name) is not None

    def of_login(self, request: Request, now: float) -> ForwardLogin:
        """Let in a request to a route that logs in, with the key that it proves, if it does.

        Raises:
            InvalidProof: a proof came, and isn't good.

        """
        text = request.header("dpop")
        if text is None or self._rules is None:
            return ForwardLogin(None)
        proof = self._rules.check(text, request.method, request.path, now)
        # No store is asked, or any stranger could have us write to it, without a login. Nothing is
        # lost: who has a proof, but not the password, could bind only his own login, to a key that
        # isn't his.
        if not self._used_at_logins.admit(proof.replay_key, self._rules.until(proof)):
            raise InvalidProof(reasons.PROOF_REPLAYED)
        return ForwardLogin(ProvedKey(proof.thumbprint))

    def use(self, proof: Proof) -> Flow[None]:
        """Record that a proof is used, after all other checks. Raises InvalidProof: it was before.

        RFC 9449 s11.1: so that a request that fails for another reason doesn't use it up.
        """
        key, until = proof.replay_key, cast("ProofRules", self._rules).until(proof)
        if self._used is not None:
            is_first = self._used.admit(key, until)
        else:
            is_first = yield from ask(self._ports.store.admit, key, until + STORE_CLOCK)
        if not is_first:
            raise InvalidProof(reasons.PROOF_REPLAYED)


def possession_of(
    settings: Settings,
    rules: ProofRules | None,
    ports: Ports,
    timed: object,
    used: UsedProofs | None,
) -> Possession | None:
    """Return what checks bound tokens; None: there are none that are good here."""
    if rules is None and settings.client_certificates is None:
        return None
    return Possession(settings, rules, ports, timed, used or UsedProofs(settings.clock))
