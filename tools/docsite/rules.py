"""The pages about the rules of tests/rules.toml: by RFC and section, and each with its tests."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from functools import cache
from typing import Any

from .staging import ROOT

TESTS = ROOT / "tests"
OURS = "ours"  # the source of a rule that no standard has
TITLES = {
    "RFC 4648": "base64url",
    "RFC 6749": "OAuth 2.0",
    "RFC 6750": "bearer tokens",
    "RFC 7009": "token revocation",
    "RFC 7515": "JSON Web Signature",
    "RFC 7517": "JSON Web Key",
    "RFC 7518": "JSON Web Algorithms",
    "RFC 7519": "JSON Web Token",
    "RFC 7797": "JWS with an unencoded payload",
    "RFC 8414": "authorization server metadata",
    "RFC 8705": "mutual TLS",
    "RFC 8725": "JWT best current practices",
    "RFC 8725bis": "the draft of its next edition",
    "RFC 9068": "the JWT profile for access tokens",
    "RFC 9110": "HTTP semantics",
    "RFC 9449": "DPoP, proofs of a key",
    "RFC 9470": "step-up authentication",
    "RFC 9700": "OAuth 2.0 security",
    "RFC 9728": "protected resource metadata",
    "RFC 9864": "fully specified algorithms",
    "RFC 10017": "OAuth for browser-based applications",
    "ASVS": "OWASP ASVS 5.0",
    "FAPI 2.0": "the security profile",
    "MCP authorization": "of the version of 2026-07-28",
    OURS: "what no standard says",
}
ABOUT_STANDARDS = """# Rules by RFC

Which sentences of which standard are enforced here, each by a rule with an id.
[All rules](rules.md) have the tests that show them."""
ABOUT_RULES = """# All rules

RS: what is checked of an access token. RT: the refresh and revocation endpoints. Each rule has
tests that show conforming input accepted, and tests that show a violation refused. Most of them
send it through both middlewares. [By RFC](rfcs.md)."""
SOURCE = re.compile(r"(RFC \d+(?:bis)?|ASVS|FAPI 2\.0|MCP authorization|ours)(?: s?(\d[\d.]*))?")
POLARITIES = ("accepts", "refuses")


@cache
def rules() -> dict[str, Any]:
    """Return the rules by their ids."""
    return tomllib.loads((TESTS / "rules.toml").read_text("utf-8"))


def cited(source: str) -> tuple[str, str]:
    """Return the standard and the section of a rule's source; "": none. Raises ValueError."""
    found = SOURCE.fullmatch(source)
    if found is None:
        raise ValueError(f"{source!r}: a source is a standard and a section, as in RFC 7519 s4.1.4")
    return found[1], found[2] or ""


@cache
def shown_by() -> dict[tuple[str, str], list[str]]:
    """Return the tests that show a rule, by the rule and what they show: `accepts` or `refuses`."""
    found = defaultdict[tuple[str, str], list[str]](list)
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text("utf-8")
        for node in ast.parse(text).body if "tests.rules" in text else ():
            name = getattr(node, "name", "")
            place = path.relative_to(ROOT).as_posix() + (f"::{name}" if name else "")
            for call in ast.walk(node):
                match call:
                    case ast.Call(func=ast.Name(id="accepts" | "refuses" as polarity), args=args):
                        for arg in args:
                            if isinstance(arg, ast.Constant):
                                tests = found[str(arg.value), polarity]
                                tests += [place] if place not in tests else []
                    case _:
                        pass
    return found


def pages() -> dict[str, str]:
    """Return both pages."""
    return {"rfcs.md": by_standard(), "rules.md": by_id()}


def by_standard() -> str:
    """Return the page that begins with the standards."""
    found = defaultdict[str, dict[str, list[str]]](lambda: defaultdict(list))
    for rule, one in rules().items():
        for source in one["source"]:
            standard, section = cited(source)
            found[standard][section].append(rule)
    lines = [ABOUT_STANDARDS]
    for standard, title in TITLES.items():
        if standard in found:
            lines += [
                "",
                f"## {standard}: {title}" if standard != OURS else f"## {title.capitalize()}",
            ]
            lines += ["", "| Section | Rule | In one sentence |", "|---|---|---|"]
            for section in sorted(found[standard], key=_numbers):
                for rule in found[standard][section]:
                    link = f"[`{rule}`](rules.md#{_anchor(rule)})"
                    lines.append(f"| {section} | {link} | {rules()[rule]['title']} |")
    return "\n".join([*lines, ""])


def by_id() -> str:
    """Return the page with a section for each rule."""
    lines = [ABOUT_RULES]
    for rule, one in rules().items():
        sources = "; ".join(one["source"])
        lines += ["", f"## {rule}", "", f"{one['title'][0].upper()}{one['title'][1:]}."]
        lines += ["", f"Source: {sources.replace(OURS, 'this project')}."]
        if not one.get("done"):
            lines += ["", "Not built yet."]
        for polarity in POLARITIES:
            tests = shown_by()[rule, polarity]
            if tests:
                lines += ["", f"{polarity.capitalize()}:", "", *(f"* `{test}`" for test in tests)]
    return "\n".join([*lines, ""])


def _numbers(section: str) -> list[int]:
    return [int(number) for number in section.split(".") if number]


def _anchor(rule: str) -> str:
    return rule.lower().replace(".", "")  # as GitHub makes it of the heading
