"""A grant as a row of a table, with its claims as JSON text, for all SQL engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..jose.strict_json import parse_object, to_json
from ..values.errors import StoreUnavailable
from ..values.tokens import FrozenDict, Grant

FIELDS: Final = tuple(Grant.__dataclass_fields__)
MORE: Final = FIELDS[FIELDS.index("last_used_at") :]  # in most grants, these have their defaults
_NO_CLAIMS: Final = FrozenDict()


def written(grant: Grant) -> dict[str, Any]:
    """Return the columns of a grant."""
    row = {name: getattr(grant, name) for name in FIELDS}
    row["claims"] = to_json(grant.claims) if grant.claims else None
    return row


def has_more(grant: Grant) -> bool:
    """Say whether one of the fields `MORE` of a grant differs from its default."""
    values = (getattr(grant, name) for name in MORE)
    return any(value is not None and value is not False for value in values)


def read(row: Sequence[Any]) -> Grant:
    """Return the grant of a row, in the order of `FIELDS`. Raises StoreUnavailable."""
    found = dict(zip(FIELDS, row, strict=True))
    found["claims"] = read_claims(found["claims"])
    found["is_session"] = bool(found["is_session"])  # SQLite has no bool, only numbers
    return Grant(**found)


def read_claims(text: str | None) -> FrozenDict:
    """Return claims from their JSON text; empty text: no claims. Raises StoreUnavailable."""
    if not text:
        return _NO_CLAIMS
    try:
        return parse_object(text.encode())
    except ValueError:
        raise StoreUnavailable("a damaged row") from None
