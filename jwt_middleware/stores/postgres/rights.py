"""The rights that a role needs which doesn't own the schema. This module needs no driver."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .schema import expanded

# The rights of a role that doesn't own the schema: for all verbs, or for `ended` and
# `is_living` only.
RIGHTS: Final = {
    True: (
        ("USAGE", "SCHEMA <schema>"),
        ("SELECT", "<schema>.version"),
        ("SELECT, INSERT, UPDATE", "<schema>.facts"),
        ("SELECT, INSERT, UPDATE, DELETE", "<schema>.grants"),
        ("SELECT, INSERT, UPDATE", "<schema>.grants_more"),
        ("SELECT, UPDATE, DELETE", "<schema>.ends"),
        ("SELECT, INSERT, UPDATE, DELETE", "<schema>.admitted"),
        ("EXECUTE", "FUNCTION <schema>.<add>"),
        ("EXECUTE", "FUNCTION <schema>.<add with>"),
        ("EXECUTE", "FUNCTION <schema>.<end>"),
        ("EXECUTE", "FUNCTION <schema>.<advance>"),
    ),
    False: (
        ("USAGE", "SCHEMA <schema>"),
        ("SELECT", "<schema>.version"),
        ("SELECT (id, created_at, ended_at)", "<schema>.grants"),
        ("SELECT", "<schema>.facts"),
        ("SELECT", "<schema>.ends"),
    ),
}


def rights_sql(role: str, schema: str = "jwt_middleware", *, serve: bool = True) -> str:
    """Return the GRANTs for a role that doesn't own the schema.

    With `serve=False`, for a service of `Refresh(serve=False)`: it can call `ended` and
    `is_living`, and nothing else; it can't read the list of logins.
    """
    return "".join(f"{grant_sql(*right, role, schema)};\n" for right in RIGHTS[serve])


def grant_sql(right: str, where: str, role: str, schema: str) -> str:
    """Return the statement that gives a role, whatever its name is, a right of `RIGHTS`."""
    name = role.replace('"', '""')
    return f'GRANT {right} ON {expanded(where, schema)} TO "{name}"'


def rights_asked_sql(rights: Iterable[tuple[str, str]], schema: str) -> str:
    """Return the SQL that asks of each of some `RIGHTS` whether the role has it."""
    asked = ", ".join(_asked(*one, schema) for one in rights)
    return expanded(f"SELECT {asked} FROM <at primary>", schema)  # noqa: S608 (names of ours)


def _asked(right: str, where: str, schema: str) -> str:
    name = expanded(where, schema)
    if right.startswith("SELECT ("):
        columns = right.removeprefix("SELECT (").removesuffix(")").split(", ")
        asked = [f"has_column_privilege('{name}', '{column}', 'SELECT')" for column in columns]
    elif where.startswith("SCHEMA"):
        asked = [f"has_schema_privilege('{schema}', '{right}')"]
    elif where.startswith("FUNCTION"):
        asked = [f"has_function_privilege('{name.removeprefix('FUNCTION ')}', '{right}')"]
    else:
        asked = [f"has_table_privilege('{name}', '{one}')" for one in right.split(", ")]
    return " AND ".join(asked)
