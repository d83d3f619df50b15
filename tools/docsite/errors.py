"""From errors.toml: a page for each reason, code and exception, and the tables of errors.md."""

from __future__ import annotations

import http
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.bench.report import put
from jwt_middleware.request.refusals import Refusals
from jwt_middleware.values import errors
from jwt_middleware.values.reasons import Reason

from .staging import ORPHAN, ROOT

SOURCE = ROOT / "docs" / "errors.toml"
PAGE = ROOT / "docs" / "errors.md"
NO_CODE = "no_error"
IN_LOG = "The cause is in the service's log, as `reason`:\n"
HEAD = "| Reason | Status | What happened | What to do |\n|---|---|---|---|"
PLACES = {
    "application": "Refusals in front of the application",
    "endpoint": "Refusals of the endpoints",
}
REFUSALS = Refusals(realm="api", metadata_url="", problem_details=False)


@cache
def described() -> dict[str, Any]:
    """Return what errors.toml says."""
    return tomllib.loads(SOURCE.read_text("utf-8"))


def tables() -> dict[str, str]:
    """Return the tables of errors.md, by the name of their place there."""
    found: dict[str, str] = {}
    for at, name in PLACES.items():
        rows = [
            f"| `{reason}` | {one['status']} | {one['happened']} | {one['todo']} |"
            for reason, one in described()["reasons"].items()
            if one["at"] == at
        ]
        found[name] = "\n".join([HEAD, *rows])
    return found


def error_of(name: str, reason: str) -> errors.OAuthError:
    """Return an error as a request meets it: its class by name, and the reason."""
    made: errors.OAuthError
    match name:
        case "MissingCredentials" | "NoLogin" | "NotFound" | "OtherClient" | "StoreUnavailable":
            made = getattr(errors, name)()
        case "KeysUnavailable":
            made = errors.KeysUnavailable(retry_after=30)
        case "InsufficientScope":
            made = errors.InsufficientScope("orders:write")
        case "InsufficientAuthentication" if reason == "authentication_too_old":
            made = errors.InsufficientAuthentication(Reason(reason), max_age=300)
        case "InsufficientAuthentication":
            made = errors.InsufficientAuthentication(
                Reason(reason), acr_values=("urn:example:mfa",)
            )
        case "NotAllowed":
            made = errors.NotAllowed("POST")
        case "CrossSite":
            made = errors.CrossSite(Reason(reason), "origin")
        case _:
            made = getattr(errors, name)(Reason(reason))
    return made


def answer(error: errors.OAuthError, *, at_resource: bool) -> str:
    """Return the answer to an error as it goes over the wire."""
    scope = "orders:write" if isinstance(error, errors.InsufficientScope) else ""
    made = REFUSALS.answer(error, at_resource=at_resource, scope=scope)
    fields = [f"{name}: {value}" for name, value in made.headers if name != "content-length"]
    status = f"HTTP/1.1 {made.status} {http.HTTPStatus(made.status).phrase}"
    return "\n".join(["```http", status, *fields, "", made.body.decode(), "```"])


def code_of(error: errors.OAuthError) -> str:
    """Return the name of the page about the code that a client sees."""
    return error.error or NO_CODE


def pages() -> dict[str, str]:
    """Return a page for each reason, code and exception."""
    given = described()
    found = {name: reason_page(name, one) for name, one in given["reasons"].items()}
    found |= {name: code_page(name, one) for name, one in given["codes"].items()}
    found |= {name: exception_page(name, one) for name, one in given["exceptions"].items()}
    return {f"errors/{name}.md": text for name, text in found.items()}


def reason_page(reason: str, one: Mapping[str, Any]) -> str:
    """Return the page about a reason."""
    seen = list[str]()
    for name in one["answers"]:
        error = error_of(name, reason)
        refreshing = one["at"] == "endpoint" or isinstance(error, errors.InvalidGrant)
        if refreshing and one["at"] == "application":
            seen.append("At the refresh endpoint, where the same is wrong with a refresh token:")
        seen.append(answer(error, at_resource=not refreshing))
        seen.append(
            f"What a client does then: [{code_title(code_of(error))}]({code_of(error)}.md)."
        )
    status = (
        f"Status {one['status']}. In logs and events: `reason` = `{reason}`. Clients don't see it."
    )
    return _page(
        f"`{reason}`", one["means"], status,
        ("Who causes it", one["who"]),
        ("What the client sees", "\n\n".join(seen)), ("The way out", one["way_out"]),
    )  # fmt: skip


def code_title(code: str) -> str:
    """Return what a code is called."""
    return str(described()["codes"][code]["title"])


def code_page(code: str, one: Mapping[str, Any]) -> str:
    """Return the page about a code that clients see."""
    lines = list[str]()
    statuses = set[int]()
    for reason, other in described()["reasons"].items():
        found = [error_of(name, reason) for name in other["answers"]]
        found = [error for error in found if code_of(error) == code]
        if found:
            statuses |= {error.status for error in found}
            sentence = other["means"].partition(". ")[0].rstrip(".")
            lines.append(f"* [`{reason}`]({reason}.md): {sentence}.")
    told = " or ".join(map(str, sorted(statuses)))
    return _page(
        one["title"], one["means"], f"Status {told}.",
        ("What a client does", one["client"]),
        ("What it may be", "\n".join([IN_LOG, *lines])),
    )  # fmt: skip


def exception_page(name: str, one: Mapping[str, Any]) -> str:
    """Return the page about an exception that Python code meets."""
    return _page(
        f"`{name}`", one["means"], f"A Python exception: `from jwt_middleware import {name}`.",
        ("Who causes it", one["who"]),
        ("The way out", one["way_out"]),
    )  # fmt: skip


def _page(title: str, means: str, place: str, *sections: tuple[str, str]) -> str:
    below = [f"## {head}\n\n{text}" for head, text in sections]
    return "\n\n".join([f"{ORPHAN}\n# {title}", means, place, *below]) + "\n"


def linked(page: str) -> str:
    """Return errors.md with each reason and code of its tables as a link to its page."""
    known = {*described()["reasons"], *described()["codes"]}

    def led(cell: re.Match[str]) -> str:
        return f"{cell[1]}[`{cell[2]}`](errors/{cell[2]}.md)" if cell[2] in known else cell[0]

    return re.sub(r"(^\| (?:\d+ \| )?)`(\w+)`", led, page, flags=re.MULTILINE)


def put_tables(page: Path = PAGE) -> None:
    """Put the tables into errors.md."""
    text = page.read_text("utf-8")
    for name, table in tables().items():
        text = put(text, name, table)
    page.write_text(text, "utf-8")
