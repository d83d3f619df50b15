"""Why a proof is refused (RFC 9449), and what to do: a text for each reason."""

from __future__ import annotations

from collections.abc import Mapping

from ..values import reasons

_URLS = (
    "the proof names another URL than Proofs.urls and --path make: the public URL of this "
    "service's root, scheme and port included, which a proxy in front may have changed"
)

PROOF_ADVICE: Mapping[str, str] = {
    reasons.PROOF_MISSING: "the token is bound to a key: give the proof of a request, --proof FILE",
    reasons.PROOF_TWICE: "the field DPoP holds one proof; a proxy may have added its own",
    reasons.PROOF_MALFORMED: "a proof is a signed JWT of at most 4 KiB",
    reasons.PROOF_TYPE: "its header needs typ dpop+jwt (RFC 9449 s4.2)",
    reasons.PROOF_ALGORITHM: "the client signs with another algorithm than Proofs.algorithms name",
    reasons.PROOF_KEY: "its header needs the public key as `jwk`, without a private member",
    reasons.PROOF_SIGNATURE: "it isn't signed by the key in its header: damaged, or forged",
    reasons.PROOF_CLAIM: "it needs jti, htm and htu as texts, and iat as a number",
    reasons.PROOF_METHOD: "it is for another method, compared with case; see --method",
    reasons.PROOF_TARGET: _URLS,
    reasons.PROOF_AGE: "made too long ago, or by a clock that is wrong: make one for each request",
    reasons.PROOF_TOKEN: "its `ath` must be the SHA-256 of this very token, in base64url",
    reasons.PROOF_OTHER_KEY: "another key has signed it than the token is bound to (cnf.jkt): the "
    "client has made a new key since its login, or it isn't that client",
    reasons.PROOF_REPLAYED: "a proof is good for one request: make one for each",
    reasons.PROOF_NONCE: "it needs a nonce that the service has said (DPoP-Nonce) in the last ten "
    "minutes; a running service says one, this command another",
    reasons.NOT_BOUND: "the token is bound to no key: send it with the scheme Bearer; for a route "
    'with proof="required" log in with a proof',
    reasons.CERTIFICATE: "the token is bound to a certificate, which this command can't show",
    reasons.PROOFS_OFF: "the grant is bound to a key: set Settings.proofs again",
    reasons.PROOFS_FULL: "more proofs in some minutes than one process remembers: a store",
}
