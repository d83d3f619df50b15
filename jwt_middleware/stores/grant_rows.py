"""A grant as the row of a table, its claims as JSON text: what the SQL engines share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..jose.strict_json import parse_object, to_json
from ..values.errors import StoreUnavailable
from ..values.tokens import FrozenDict, Grant

FIELDS: Final = tuple(Grant.__dataclass_fields__)
MORE: Final = FIELDS[
    FIELDS.index("last_used_at") :
]  # most grants have these as they are by default
_NO_CLAIMS: Final = FrozenDict()


def written(grant: Grant) -> dict[str, Any]:
    """Return the columns of a grant."""
    row = {name: getattr(grant, name) for name in FIELDS}
    row["claims"] = to_json(grant.claims) if grant.claims else None
    return row


def has_more(grant: Grant) -> bool:
    """Say whether a grant has one of `MORE` that isn't as it is by default."""
    values = (getattr(grant, name) for name in MORE)
    return any(value is not None and value is not False for value in values)


def read(row: Sequence[Any]) -> Grant:
    """Return the grant of a row, in the order of `FIELDS`. Raises StoreUnavailable."""
    found = dict(zip(FIELDS, row, strict=True))
    found["claims"] = read_claims(found["claims"])
    found["is_session"] = bool(found["is_session"])  # SQLite has numbers only
    return Grant(**found)


def read_claims(text: str | None) -> FrozenDict:
    """Return claims as they were written; there are none in an empty text. Raises the same."""
    if not text:
        return _NO_CLAIMS
    try:
        return parse_object(text.encode())
    except ValueError:
        raise StoreUnavailable("a damaged row") from None
