"""Every rule has its tests: at least one that accepts and one that refuses, by id.

The marks are read from the source and not from a collection, so that the outcome is the same for a
partial run, under xdist, and for a test that can't be imported.
"""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.docsite.rules import TITLES, cited

TESTS = Path(__file__).parent
RULES = tomllib.loads((TESTS / "rules.toml").read_text("utf-8"))
PENDING = tomllib.loads((TESTS / "rules_pending.toml").read_text("utf-8"))
DONE = {rule for rule, entry in RULES.items() if entry.get("done")}
POLARITIES = {"accepts", "refuses"}


def marks(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield what marks a test: decorators of tests, and the `marks` of a parameter."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ) if name.lower().startswith("test"):
                yield from node.decorator_list
            case ast.keyword(arg="marks", value=ast.Tuple(elts=several) | ast.List(elts=several)):
                yield from several
            case ast.keyword(arg="marks", value=one):
                yield one
            case _:
                pass


def shown(source: str) -> Iterator[tuple[str, str]]:
    """Yield (id, polarity) for every mark of a rule in a module."""
    for mark in marks(ast.parse(source)):
        match mark:
            case ast.Call(func=ast.Name(id=polarity), args=args) if polarity in POLARITIES:
                assert args, f"line {mark.lineno}: {polarity} without an id"
                for arg in args:
                    rule = ast.literal_eval(arg)  # write the ids out: this test reads the source
                    assert isinstance(rule, str), f"line {mark.lineno}: an id is a string"
                    yield rule, polarity
            case _:
                pass


@pytest.fixture(scope="module")
def polarities() -> dict[str, set[str]]:
    """Return, for every id that a test bears, the polarities that are shown."""
    found = defaultdict[str, set[str]](set)
    for path in sorted(TESTS.rglob("test_*.py")):
        for rule, polarity in shown(path.read_text("utf-8")):
            found[rule].add(polarity)
    return found


def test_a_rule_is_either_done_or_pending() -> None:
    assert {rule for rule in RULES if rule not in DONE and rule not in PENDING} == set()
    assert PENDING.keys() & DONE == set(), "a rule that is done never goes back to pending"
    assert PENDING.keys() - RULES.keys() == set(), "unknown ids"


def test_every_rule_has_a_title_and_a_source_and_what_is_pending_says_why() -> None:
    for rule, entry in RULES.items():
        assert entry["title"], rule
        assert entry["source"], rule
        assert all(cited(source)[0] in TITLES for source in entry["source"]), rule
        assert entry.keys() <= {"title", "source", "done"}, rule
    assert all(isinstance(reason, str) and reason for reason in PENDING.values())


def test_every_rule_is_shown_in_both_polarities(polarities: dict[str, set[str]]) -> None:
    lacking = {rule: sorted(POLARITIES - polarities.get(rule, set())) for rule in sorted(DONE)}
    assert {rule: which for rule, which in lacking.items() if which} == {}


def test_a_rule_leaves_the_pending_list_with_its_tests(polarities: dict[str, set[str]]) -> None:
    assert [rule for rule in PENDING if polarities.get(rule) == POLARITIES] == []


def test_no_test_bears_an_unknown_rule(polarities: dict[str, set[str]]) -> None:
    assert polarities.keys() - RULES.keys() == set()


def test_marks_are_found_on_functions_classes_and_parameters() -> None:
    source = """
@accepts("A", "B")
async def test_one(): ...
@pytest.mark.parametrize("x", [param(1, marks=refuses("A")), param(2, marks=[refuses("B")])])
def test_two(x): ...
@refuses("C")
class TestThree: ...
@refuses("D")
def helper(): ...
"""
    assert sorted(shown(source)) == [
        ("A", "accepts"),
        ("A", "refuses"),
        ("B", "accepts"),
        ("B", "refuses"),
        ("C", "refuses"),
    ]
