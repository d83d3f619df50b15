"""Grants that are bound to a key at their login (RFC 9449 s5): each refresh proves that key.

Such a grant isn't rotated: whoever holds the key may come as often as he likes, in as many
processes as he likes, and a refresh token that was copied without the key buys nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from ..token.refresh import RefreshToken
from ..values import reasons
from ..values.errors import InvalidGrant, InvalidProof, Unavailable
from ..values.events import KeyMismatch
from ..values.requests import Headers, Request
from ..values.tokens import Held
from .issuing import Issuing


def check_key(
    issuing: Issuing,
    token: RefreshToken,
    request: Request | None,
    changed: bool | None,
    now: float,
) -> str:
    """Return the thumbprint of the key that a bound refresh token needs, and that was proved.

    Nothing is asked of the store: a proof is good for some minutes, and only for whoever has the
    token, too.

    Raises:
        InvalidProof: a proof came, and isn't good.
        InvalidGrant: none came, or one by another key. The grant stays as it is.
        Unavailable: this service takes no proofs.

    """
    rules = issuing.proofs
    if rules is None:
        # Not the client's fault, which would throw its tokens away at `invalid_grant`.
        raise Unavailable(reasons.PROOFS_OFF, "proofs").of(token.grant_id)
    text = request.header("dpop") if request is not None else None
    if text is None or request is None:
        _refuse(token, changed)
    try:
        proof = rules.check(text, request.method, request.path, now)
    except InvalidProof as error:
        error.status = 400  # RFC 9449 s5: as RFC 6749 s5.2 says for a token endpoint
        raise error.of(token.grant_id) from None
    if proof.thumbprint != token.bound_key:
        _refuse(token, changed)
    rules.reader.keep(proof)
    return proof.thumbprint


def shown_keys(issuing: Issuing, held: Held, now: float) -> Mapping[str, str]:
    """Return the keys that devices have shown, by grant; a marked refresh token needs one."""
    return {} if issuing.devices is None else issuing.devices.shown(held, now)


def nonce_field(issuing: Issuing, request: Request, now: float) -> Headers:
    """Return the field with the nonce for the next proof, for a client that sends proofs."""
    # RFC 9449 s8.2: an answer may say a new one, so that the next request needs no second try.
    rules = issuing.proofs
    if rules is None or request.header("dpop") is None:
        return ()
    nonce = rules.nonce(now)
    return () if nonce is None else (("dpop-nonce", nonce),)


def _refuse(token: RefreshToken, changed: bool | None) -> NoReturn:
    mismatch = KeyMismatch(grant_id=token.grant_id, user_agent_changed=changed)
    raise InvalidGrant(reasons.KEY_MISMATCH).of(token.grant_id, mismatch)
