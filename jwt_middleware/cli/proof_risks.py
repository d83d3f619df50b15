"""The rules of `jwt-middleware check` about tokens that are bound to a key or a certificate."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from .. import ClientCertificates, Proofs, Settings
from ..request.client_certificate import UNIX
from ..settings.proof_groups import remembers_in_store
from .configured import issuing
from .risk import Risk, group_field

WIDE_NETWORK = 8  # bits of its prefix; 10.0.0.0/8 is the largest private one


def _remembers_alone(_: Proofs, settings: Settings) -> Iterator[str]:
    if not remembers_in_store(settings):
        yield (
            "each process remembers by itself which proofs were used: of several workers each "
            "takes one once, and at most some hundred in a second"
        )


def _binds_no_login(_: Proofs, settings: Settings) -> Iterator[str]:
    if issuing(settings) and not any(route.own_origin for route in settings.routes):
        yield "no login can be bound: a proof is taken on a route with own_origin=True, and none is"


def _requires_what_is_not_made(group: Proofs, settings: Settings) -> Iterator[str]:
    by_others = settings.trusted_issuers or settings.client_certificates is not None
    if group.required and issuing(settings) and not (group.access or by_others):
        yield "our own access tokens aren't bound, so that they open no route"


def _nearly_everybody(group: ClientCertificates, _: Settings) -> Iterator[str]:
    for one in group.proxies:
        if one != UNIX and ip_network(one).prefixlen < WIDE_NETWORK:
            yield f"{one} is nearly everybody, who then says which certificate he has"


PROOF_RULES = (
    Risk(
        "proofs-per-process",
        group_field("proofs", "replay"),
        _remembers_alone,
        'a store that all share: refresh=Refresh(store=...), and replay="store"',
    ),
    Risk(
        "no-bound-login",
        group_field("proofs", "access"),
        _binds_no_login,
        'Route("/login", public=True, own_origin=True)',
    ),
    Risk(
        "unbound-everywhere",
        group_field("proofs", "required"),
        _requires_what_is_not_made,
        "access=True",
    ),
    Risk(
        "wide-proxies",
        group_field("client_certificates", "proxies"),
        _nearly_everybody,
        "the addresses of the proxies themselves",
    ),
)
