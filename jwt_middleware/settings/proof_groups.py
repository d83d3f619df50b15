"""The group of settings for tokens that are bound to a key of their client (RFC 9449)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from ..jose.algorithms import ALGORITHMS as KNOWN
from ..jose.jwk import Key
from ..request.client_certificate import UNIX
from ..token import proof
from ..token.nonces import Nonces
from ..token.proof_rules import NONCE_EVERY, NONCE_LIFETIME, ProofRules
from ..token.refresh import from_text
from ..token.target_uri import root_of
from ..values.arrays import Several
from ..values.errors import ConfigurationError
from . import field_checks, header_names
from .checking import Fault, check_fields, choice, each, in_turn, optional, seconds, setting

_algorithms = in_turn(
    each(
        Fault(
            lambda value: value not in KNOWN or KNOWN[value].kty == "oct",
            "{value!r} is no asymmetric algorithm that is known here",
            '("ES256",)',
        )
    ),
    Fault(lambda value: not value, "is empty: no proof could be made", '("ES256",)'),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Proofs:
    """Proof of possession: a login or a token may be bound to a key of its client (DPoP, RFC 9449).

    Then the token alone opens nothing: each use needs a proof, a small JWT in the field `DPoP`,
    made with the key for this very request. Without this group tokens that are bound are refused.

    Args:
        urls: the URLs at which clients reach the root of this application; a proof names the URL
            that it is for. None: `Refresh.public_url`, or the host of the issuer. They never come
            from a request's Host.
        algorithms: what proofs may be signed by.
        access: also bind the access tokens that we issue: each request needs a proof. False: only
            the refresh token of such a login is bound, and requests cost what they did.
        required: every route needs a bound token, unless it says `proof="accepted"`.
        nonces: a proof must have a nonce that we said in the last minutes. So none can be made
            ahead, and a client's clock may be wrong by a quarter of an hour.
        secret: what nonces are made with, at least 32 random octets; of several the first makes
            them, all recognize them. None: the secret of refresh tokens. All processes of a service
            need the same.
        lifetime: seconds for which a proof is good, where there are no nonces.
        replay: where it is remembered that a proof was used: "store": in that of `refresh`, for all
            processes; "process": in each process by itself, so that a proof can be used once in
            each. "": the store if there is one.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    urls: Several[str] = setting((), each(field_checks.root_url))
    algorithms: Several[str] = setting(proof.PROVED_BY, _algorithms)
    access: bool = setting(False, field_checks.true_or_false)
    required: bool = setting(False, field_checks.true_or_false)
    nonces: bool = setting(True, field_checks.true_or_false)
    secret: str | bytes | Several[str | bytes] = setting((), field_checks.secrets, repr=False)
    # a request on a slow network, and not the time in which somebody reads a log
    lifetime: float = seconds(60, 5, 300, "a proof that was copied is good for that long")
    replay: Literal["", "store", "process"] = setting(
        "", choice("", "store", "process", remedy="the store sees all processes")
    )

    def __post_init__(self) -> None:
        check_fields(self, "proofs.")


def _is_no_network(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    if value == UNIX:
        return False
    try:
        ip_network(value)
    except ValueError:
        return True
    return False


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientCertificates:
    """Tokens may be bound to the certificate that a client shows in TLS (RFC 8705 s3).

    Args:
        header: the field in which a proxy that ends TLS hands the certificate on, as RFC 9440 says:
            "Client-Cert". The proxy must remove what a client sends under that name. "": the server
            ends TLS itself, and hands the certificate on (ASGI's extension "tls", WSGI's
            SSL_CLIENT_CERT).
        proxies: the networks whose peers may send `header`, as in "10.0.0.0/8"; "unix" for a socket
            in the file system. The field of any other peer is ignored.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    header: str = setting("", optional(header_names.credentials_header, ""))
    proxies: Several[str] = setting(
        (),
        each(Fault(_is_no_network, "{value!r} is no network", '("10.0.0.0/8",), or ("unix",)')),
    )

    def __post_init__(self) -> None:
        check_fields(self, "client_certificates.")
        if bool(self.header) is not bool(self.proxies):
            raise ConfigurationError(
                "client_certificates.proxies",
                "and header go together: a field counts only from the proxies that may send it",
                'header="Client-Cert", proxies=("10.0.0.0/8",); or neither, where the server ends '
                "TLS",
            )


def proof_rules(
    settings: Any, shared: Callable[[], Sequence[Key]] | None = None
) -> ProofRules | None:
    """Return the rules of `Settings.proofs`, or None. `shared` returns the refresh secrets."""
    group: Proofs | None = settings.proofs
    if group is None:
        return None
    given = [from_text(one) for one in cast("tuple[str | bytes, ...]", group.secret)]
    secrets = (lambda: given) if given or shared is None else shared
    nonces = Nonces(secrets, every=NONCE_EVERY, lifetime=NONCE_LIFETIME) if group.nonces else None
    return ProofRules(
        filter(None, map(root_of, urls_of(settings, group))),
        tuple(group.algorithms),
        lifetime=group.lifetime,
        leeway=settings.leeway,
        nonces=nonces,
    )


def urls_of(settings: Any, group: Proofs) -> tuple[str, ...]:
    """Return the URLs at which clients reach the root of the application; none: not known."""
    issuing = settings.refresh
    if group.urls or issuing is None or not issuing.serve:
        return tuple(group.urls)
    if issuing.public_url:
        return (issuing.public_url,)
    parts = urlsplit(settings.issuer)
    return (f"{parts.scheme}://{parts.netloc}",) if parts.netloc else ()


def check_bindings(settings: Any) -> None:
    """Check what tokens may be bound to, and who wants that. Raises ConfigurationError."""
    if settings.proofs is not None:
        _check_proofs(settings, settings.proofs)
    if confirmations(settings):
        return
    routes = ((f"Route({one.path!r})", one) for one in settings.routes)
    issuers = ((f"trusted_issuers[{at}]", one) for at, one in enumerate(settings.trusted_issuers))
    for field, one in (*routes, *issuers):
        if one.proof == "required":
            raise ConfigurationError(
                f"{field}.proof",
                "is required, and nothing that a token is bound to is checked: all are refused",
                "proofs=Proofs(...), or client_certificates=ClientCertificates(...)",
            )


def _check_proofs(settings: Any, group: Proofs) -> None:
    issuing = settings.refresh
    serves = issuing is not None and issuing.serve
    if not urls_of(settings, group):
        raise ConfigurationError(
            "proofs.urls",
            "is empty, and a proof is of one URL, which can't be taken from the request",
            'the URL of this service\'s root, as its clients know it: urls=("https://...",)',
        )
    for url in urls_of(settings, group):
        if root_of(url) is None:
            raise ConfigurationError(
                "proofs.urls",
                f"{url!r} is no URL as clients write it: no proof would be for it",
                "https, a host in ASCII, and no user; without urls it is the issuer's host",
            )
    if group.nonces and not serves and not group.secret:
        raise ConfigurationError(
            "proofs.secret",
            "is missing, and a service that issues nothing has no other secret for nonces",
            "the same 32 random octets for all of its processes, or nonces=False",
        )
    if group.replay == "store" and issuing is None:
        raise ConfigurationError(
            "proofs.replay", "is the store, and there is none", 'replay="process", or a store'
        )
    if group.access and not serves:
        raise ConfigurationError(
            "proofs.access", "is about tokens that are issued here, and none are", "leave it out"
        )
    cookies = issuing.cookies if issuing is not None else None
    if group.access and cookies is not None and cookies.access:
        raise ConfigurationError(
            "proofs.access",
            "binds access tokens, and a page load sends a cookie without a proof",
            "Cookies(access=False), or only the refresh tokens: access=False here",
        )


def confirmations(settings: Any) -> frozenset[str]:
    """Return the members of `cnf` (RFC 7800 s3) that requests are checked for."""
    by_proof = () if settings.proofs is None else ("jkt",)
    by_certificate = () if settings.client_certificates is None else ("x5t#S256",)
    return frozenset((*by_proof, *by_certificate))


def remembers_in_store(settings: Any) -> bool:
    """Say whether the store remembers which proofs were used, for all processes."""
    group, issuing = settings.proofs, settings.refresh
    # A service that only reads the store has no right to write in it, unless it is asked for.
    serves = issuing is not None and issuing.serve
    return group is not None and (group.replay == "store" or (not group.replay and serves))


def needs_proof(settings: Any) -> bool:
    """Say whether every route needs a bound token, unless it says otherwise."""
    return settings.proofs is not None and settings.proofs.required
