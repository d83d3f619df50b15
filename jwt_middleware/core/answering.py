"""Whom we answer, as the settings have it: origins that read it, senders, and the challenges."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..request.cookies import check_sender
from ..request.origins import Origins
from ..request.refusals import Refusals
from ..settings.settings import Settings
from ..token.proof_rules import ProofRules
from ..values.requests import Request


def origins_of(settings: Settings) -> Origins:
    """Return the origins whose scripts may read our answers."""
    cookies = settings.refresh.cookies if settings.refresh is not None else None
    return Origins(
        settings.origins,
        credentials=cookies is not None,
        header=cookies.header if cookies is not None else "",
        proofs=settings.proofs is not None,
    )


def sender_check(
    settings: Settings, origins: frozenset[str]
) -> tuple[Callable[[Request], None], bool]:
    """Return the check of a request with cookies, and whether forms of our pages pass it."""
    cookies = settings.refresh.cookies if settings.refresh is not None else None
    header, forms = ("", False) if cookies is None else (cookies.header, cookies.forms)
    return partial(check_sender, header=header, origins=origins, forms=forms), forms


def refusals_of(settings: Settings, rules: ProofRules | None) -> Refusals:
    """Return what makes answers of errors."""
    return Refusals(
        realm=settings.realm,
        metadata_url=settings.resource.metadata_url if settings.resource is not None else "",
        problem_details=settings.problem_details,
        proofs_by=rules.algorithms if rules is not None else "",
    )
