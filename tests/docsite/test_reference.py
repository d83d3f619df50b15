"""Every public name is in the reference, with its parameters, their units, and what it raises."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest

# Django is set up only once in a process: as all its tests want it, before the reference does it.
import tests.django.project  # noqa: F401
from tools.docsite import reference

VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD
SECTION = re.compile(r"^(?:Args|Attributes):\n((?: {4}.*\n|\n)+)", re.MULTILINE)
TWIN = re.compile(r"(?:Do what|[Ss]ee) `(?:(\w+)\.)?(\w+)`")
UNIT = re.compile(
    r"second|connections|octets|characters|rotations|generation|number|how (?:many|far)|1970|"
    r"time|status|at most"
)


def public() -> Iterator[tuple[str, Any]]:
    """Yield every public name with its object, and every public member of its classes."""
    for module in reference.public_modules():
        for name in reference.names(module):
            value = getattr(reference.module(module), name)
            if inspect.ismodule(value) or reference.home(name, value) != module:
                continue
            yield f"{module}.{name}", value
            if reference.is_class(value):
                for member in reference.members(f"{module}.{name}", value):
                    yield f"{module}.{name}.{member}", getattr(value, member)


PUBLIC = dict(public())
DESCRIBED = {
    name: value
    for name, value in PUBLIC.items()
    if reference.is_class(value) or inspect.isroutine(value) or isinstance(value, property)
}


def words(name: str) -> str:
    return inspect.getdoc(DESCRIBED[name]) or ""


def parameters(value: Any) -> dict[str, inspect.Parameter]:
    """Return what a caller gives; nothing for what is never called, or made by us alone."""
    if isinstance(value, property) or (inspect.isclass(value) and issubclass(value, Enum)):
        return {}
    if inspect.isclass(value):
        if getattr(value, "_is_protocol", False):
            return {}
        if issubclass(value, BaseException) and "__init__" not in vars(value):
            return {}
    given = inspect.signature(value).parameters
    return {name: one for name, one in given.items() if name not in ("self", "cls")}


def told(text: str) -> dict[str, str]:
    """Return what a docstring says of each parameter."""
    found: dict[str, str] = {}
    for section in SECTION.findall(text + "\n"):
        entries = re.split(r"^ {4}(?=\S)", section, flags=re.MULTILINE)[1:]
        for entry in entries:
            names, _, said = entry.partition(":")
            found |= {one.strip(" *"): " ".join(said.split()) for one in names.split(",")}
    return found


def twin(name: str) -> str | None:
    """Return the name of what a docstring refers to: "Do what `close` does"."""
    found = TWIN.search(words(name).partition("\n")[0])
    if found is None:
        return None
    own = f"{name.rpartition('.')[0]}.{found[2]}"
    ends = f".{found[1]}.{found[2]}"
    known = (one for one in DESCRIBED if (one.endswith(ends) if found[1] else one == own))
    return next(known, None)


@pytest.mark.parametrize("name", DESCRIBED)
def test_each_parameter_has_its_words_and_its_unit(name: str) -> None:
    assert words(name), "there is no docstring"
    given = parameters(DESCRIBED[name])
    other = twin(name)
    if other is not None:
        assert given.keys() == parameters(DESCRIBED[other]).keys()
        return
    said = told(words(name))
    further = said.keys() - given.keys()  # options by their own names, in place of `**options`
    lacking = [one for one in given if not said.get(one)]
    assert [one for one in lacking if given[one].kind is not VAR_KEYWORD or not further] == []
    numbers = [
        one
        for one, it in given.items()
        if one in said and re.match(r"(int|float)\b", str(it.annotation))
    ]
    assert [one for one in numbers if not UNIT.search(said[one])] == []


def raised(value: Any) -> set[str]:
    """Return the errors that a function raises itself, by the names in its source."""
    if isinstance(value, property) or inspect.isclass(value):
        return set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(value))))
    found = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return {
        one.func.id for one in found if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)
    }


@pytest.mark.parametrize("name", [name for name, value in DESCRIBED.items() if raised(value)])
def test_what_is_raised_is_told(name: str) -> None:
    assert [one for one in raised(DESCRIBED[name]) if one not in words(name)] == []


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in DESCRIBED])
def test_each_constant_has_its_words(name: str) -> None:
    assert reference.words_of_data(name.rpartition(".")[2])


def test_every_name_of_a_public_module_is_on_its_page() -> None:
    pages = reference.pages()
    for module in reference.public_modules():
        text = pages[f"reference/{module}.rst"]
        for name in reference.names(module):
            assert re.search(rf"(?:{re.escape(module)}\.|``){name}\b", text), (module, name)


def test_the_words_of_a_parameter_are_found() -> None:
    text = (
        "Do it.\n\nArgs:\n    one: the first,\n        and more.\n    **two: the rest.\n\nMore.\n"
    )
    assert told(text) == {"one": "the first, and more.", "two": "the rest."}
