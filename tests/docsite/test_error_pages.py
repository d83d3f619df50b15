"""Each reason, code and exception has its page, and what the pages say of the code is so."""

import ast
import re
from collections.abc import Iterator
from inspect import isclass

import pytest

import jwt_middleware
from jwt_middleware.values import errors as classes
from jwt_middleware.values import reasons
from jwt_middleware.values.errors import OAuthError
from tools import house
from tools.docsite import errors

NAMES = {name: value for name, value in vars(reasons).items() if name.isupper()}
DESCRIBED = errors.described()
REFUSALS = {
    name: one for name, one in vars(classes).items() if isclass(one) and issubclass(one, OAuthError)
}
PAGES = errors.pages()


def raised() -> Iterator[tuple[str, str]]:
    """Yield each class of errors that is made in the package with the reason that it is given."""
    for path, tree in house.modules(house.ROOT).values():
        if "cli" in path.parts:
            continue
        for call in ast.walk(tree):
            match call:
                case ast.Call(func=ast.Name(id=name), args=[given, *_]) if name in REFUSALS:
                    for node in ast.walk(given):
                        if isinstance(node, ast.Attribute) and node.attr in NAMES:
                            yield name, NAMES[node.attr]
                case _:
                    pass


def test_each_reason_is_described_and_no_other() -> None:
    assert sorted(DESCRIBED["reasons"]) == sorted(NAMES.values())


def test_the_answers_are_those_that_the_code_gives() -> None:
    found = set(raised())
    assert len(found) > 50
    lacking = [
        (name, one) for name, one in found if name not in DESCRIBED["reasons"][one]["answers"]
    ]
    assert lacking == []


@pytest.mark.parametrize("reason", DESCRIBED["reasons"])
def test_a_reason_has_the_statuses_and_the_code_of_its_answers(reason: str) -> None:
    one = DESCRIBED["reasons"][reason]
    made = [errors.error_of(name, reason) for name in one["answers"]]
    assert all(error.reason == reason for error in made)
    told = re.findall(r"\d{3}", one["status"])
    assert set(told) <= {str(error.status) for error in made}
    assert told[0] == str(made[0].status)
    assert all(one[part] for part in ("happened", "todo", "means", "who", "way_out"))
    text = PAGES[f"errors/{reason}.md"]
    for error in made:
        assert f"HTTP/1.1 {error.status} " in text
        assert f"({errors.code_of(error)}.md)" in text


def test_each_code_is_described_and_leads_to_a_reason() -> None:
    told = {one.error or errors.NO_CODE for one in REFUSALS.values() if one is not OAuthError}
    assert sorted(DESCRIBED["codes"]) == sorted(told)
    for code in told:
        assert "* [`" in PAGES[f"errors/{code}.md"]


def test_each_public_exception_has_a_page() -> None:
    public = {
        name
        for name in jwt_middleware.__all__
        if isclass(one := getattr(jwt_middleware, name)) and issubclass(one, BaseException)
    }
    kinds = {name for one in DESCRIBED["reasons"].values() for name in one["answers"]}
    assert public - kinds == DESCRIBED["exceptions"].keys()


def test_no_two_pages_have_one_address() -> None:
    names = [name for part in DESCRIBED.values() for name in part]
    assert len({name.lower() for name in names}) == len(names) == len(PAGES)


def test_the_tables_of_the_page_are_up_to_date() -> None:
    text = errors.PAGE.read_text("utf-8")
    for table in errors.tables().values():
        assert table in text, "make map"


def test_reasons_and_codes_of_tables_become_links() -> None:
    text = errors.linked(
        "| `expired` | 401 |\n| 401 | `invalid_token` | `leeway` |\nThe `expired` one.\n"
    )
    assert text.splitlines() == [
        "| [`expired`](errors/expired.md) | 401 |",
        "| 401 | [`invalid_token`](errors/invalid_token.md) | `leeway` |",
        "The `expired` one.",
    ]
