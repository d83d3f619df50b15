"""Grants without scope and claims."""

from __future__ import annotations

from .tokens import FrozenDict, Grant


def bare_grant(
    grant_id: str, subject: str, *, now: float, expires_at: float, client_id: str = ""
) -> Grant:
    """Return a grant that begins now, as a login without scope and claims makes it."""
    return Grant(
        id=grant_id,
        subject=subject,
        client_id=client_id,
        scope="",
        claims=FrozenDict(),
        bound_key=None,
        generation=1,
        parent=None,
        rotated_at=now,
        created_at=now,
        expires_at=expires_at,
    )
