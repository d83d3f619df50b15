"""Attacks with tokens that are bound to a key (`Settings.proofs`): without it, or with another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..jose.jws import join
from ..jose.strict_json import b64url_encode, to_json
from ..settings.proof_groups import proof_rules, urls_of
from ..settings.refresh_secrets import present_secrets
from ..settings.settings import Settings
from ..token.proof import token_hash
from .attack import Attack, Forge
from .mint import ABSENT
from .prover import Prover

_METHOD, _PATH = "GET", "/"


def proof_attacks(forge: Forge, settings: Settings) -> Iterator[Attack]:
    """Yield requests with a token that is bound, each without what would show its key.

    That a proof is good once can't be shown by one request: send `Prover.headers(...)` twice.
    """
    if settings.proofs is None:
        return
    owner, thief = (_prover(settings) for _ in range(2))
    token = forge.token(cnf=owner.cnf)
    unbound = forge.token()

    def good(prover: Prover = owner, **spoilt: Any) -> str:
        return prover.proof(_METHOD, _PATH, token, **spoilt)

    for name, rule, text, proofs in (
        ("proof-missing", "RS-50", token, ()),
        ("proof-twice", "RS-50", token, (good(), good())),
        ("proof-empty", "RS-50", token, ("",)),
        ("proof-is-the-token", "RS-50", token, (token,)),
        ("proof-of-another-type", "RS-50", token, (good(header={"typ": "at+jwt"}),)),
        ("proof-without-a-type", "RS-50", token, (good(header={"typ": ABSENT}),)),
        ("proof-without-a-key", "RS-50", token, (good(header={"jwk": ABSENT}),)),
        ("proof-with-a-private-key", "RS-50", token, (good(header={"jwk": owner.key.to_jwk()}),)),
        ("proof-by-none", "RS-50", token, (_unsigned(owner, token),)),
        ("proof-by-hmac", "RS-50", token, (good(header={"alg": "HS256"}),)),
        ("proof-signed-by-another", "RS-50", token, (good(thief, header={"jwk": owner.jwk}),)),
        ("proof-with-crit", "RS-50", token, (good(header={"crit": ["exp"]}),)),
        ("proof-without-a-jti", "RS-50", token, (good(jti=ABSENT),)),
        ("proof-of-another-method", "RS-51", token, (good(htm="POST"),)),
        ("proof-of-a-method-in-lower-case", "RS-51", token, (good(htm="get"),)),
        ("proof-for-another-path", "RS-51", token, (good(htu=f"{owner.root}/elsewhere"),)),
        ("proof-for-another-host", "RS-51", token, (good(htu="https://attacker.example/"),)),
        ("proof-of-no-token", "RS-52", token, (good(ath=ABSENT),)),
        ("proof-of-another-token", "RS-52", token, (good(ath=token_hash(unbound)),)),
        ("proof-by-another-key", "RS-52", token, (good(thief),)),
        ("proof-of-an-unbound-token", "RS-53", unbound, (owner.proof(_METHOD, _PATH, unbound),)),
        ("proof-of-yesterday", "RS-54", token, (good(iat=int(owner.clock()) - 86400),)),
        ("proof-of-tomorrow", "RS-54", token, (good(iat=int(owner.clock()) + 86400),)),
        *_about_nonces(owner, token),
    ):
        fields = (("Authorization", f"DPoP {text}"), *(("DPoP", one) for one in proofs))
        yield Attack(name, fields, rule, method=_METHOD, path=_PATH)
    for name, proofs in (("bound-as-bearer", ()), ("bound-as-bearer-with-a-proof", (good(),))):
        fields = (("Authorization", f"Bearer {token}"), *(("DPoP", one) for one in proofs))
        yield Attack(name, fields, "RS-53", method=_METHOD, path=_PATH)


def _about_nonces(owner: Prover, token: str) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    if owner.nonce is None:
        return
    for name, nonce in (
        ("proof-without-a-nonce", ABSENT),
        ("proof-with-a-nonce-cut-short", owner.nonce[:-1]),
        ("proof-with-a-nonce-made-up", "A" * len(owner.nonce)),
    ):
        yield name, "RS-56", token, (owner.proof(_METHOD, _PATH, token, nonce=nonce),)


def _prover(settings: Settings) -> Prover:
    """Return a client with a key of its own, which knows the service's nonce."""
    group, issuing = settings.proofs, settings.refresh
    found = Prover(urls_of(settings, group)[0] if group else "", clock=settings.clock)
    keys = [] if issuing is None else [*present_secrets(settings.keys, issuing, settings.issuer)]
    rules = proof_rules(settings, lambda: keys)
    found.nonce = rules.nonce(settings.clock()) if rules is not None else None
    return found


def _unsigned(owner: Prover, token: str) -> str:
    header = to_json({"typ": "dpop+jwt", "alg": "none", "jwk": owner.jwk}).encode()
    payload = owner.proof(_METHOD, _PATH, token).split(".")[1].encode()
    return join(b64url_encode(header) + b"." + payload, b"")
