"""Our own answers, as the settings have them: which origins read them, and the challenges."""

from __future__ import annotations

from ..request.origins import Origins
from ..request.refusals import Refusals
from ..settings.settings import Settings
from ..token.proof_rules import ProofRules


def origins_of(settings: Settings) -> Origins:
    """Return the origins whose scripts may read our answers."""
    cookies = settings.refresh.cookies if settings.refresh is not None else None
    return Origins(
        settings.origins,
        credentials=cookies is not None,
        header=cookies.header if cookies is not None else "",
        proofs=settings.proofs is not None,
    )


def refusals_of(settings: Settings, rules: ProofRules | None) -> Refusals:
    """Return what makes answers of errors."""
    return Refusals(
        realm=settings.realm,
        metadata_url=settings.resource.metadata_url if settings.resource is not None else "",
        problem_details=settings.problem_details,
        proofs_by=rules.algorithms if rules is not None else "",
    )
