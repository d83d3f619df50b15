"""What the pages say in tables is so; their code runs in test_docs.py."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from jwt_middleware import Route, Settings, sources
from jwt_middleware.jose.algorithms import ALGORITHMS
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.errors import Reason
from tests.world import World

ROOT = Path(__file__).parent.parent
CODE = "\n".join(path.read_text("utf-8") for path in (ROOT / "jwt_middleware").rglob("*.py"))


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def rows(name: str) -> list[list[str]]:
    """Return the cells of every table row whose first cell is code."""
    lines = re.findall(r"^\| (`.+) \|$", page(name), re.MULTILINE)
    return [line.split(" | ") for line in lines]


def test_settings_has_every_field_with_its_variable_and_default() -> None:
    found = {cells[0].strip("`"): cells for cells in rows("settings.md")}
    assert list(found) == [field.name for field in fields(Settings)]
    for field in fields(Settings):
        _, variable, _, default, reason = found[field.name]
        assert variable == f"`JWT_MIDDLEWARE_{field.name.upper()}`"
        assert reason
        if isinstance(field.default, str | float | int | tuple):
            assert default == f"`{field.default!r}`"


def test_keys_has_every_way_with_its_variable() -> None:
    found = [cells[:2] for cells in rows("keys.md") if "JWT_MIDDLEWARE" in cells[1]]
    ways = ["file", "jwks", "pem", "secret"]
    assert found == [[f"`{way}`", f"`JWT_MIDDLEWARE_KEYS__{way.upper()}`"] for way in ways]
    for field in fields(sources.Keys):
        assert f"`{field.name}`" in page("keys.md")


def test_keys_has_every_algorithm() -> None:
    named = set(re.findall(r"\b(?:[HRPE]S\d{3}|Ed25519|EdDSA)\b", page("keys.md")))
    assert named == set(ALGORITHMS)


def test_keys_has_the_words_of_the_refusals() -> None:
    refusals = [cells[0] for cells in rows("keys.md") if "JWT_MIDDLEWARE" not in cells[1]]
    words = re.findall(r"`([^`]+)`", " ".join(refusals))
    assert len(words) > 12
    assert [one for one in words if one not in CODE] == []


def test_errors_has_every_reason_with_its_status() -> None:
    found = {cells[0].strip("`"): cells[1] for cells in rows("errors.md")}
    assert found.keys() == set(Reason)
    assert set(found.values()) == {"400", "401", "403", "503"}


@pytest.mark.parametrize(
    ("reason", "path", "headers"),
    [
        (Reason.MISSING, "/", ()),
        (Reason.CREDENTIALS_MALFORMED, "/", (("Authorization", "Bearer"),)),
        (Reason.PATH_ODD, "//edit", ()),
        (Reason.SEGMENTS, "/", (("Authorization", "Bearer opaque"),)),
        (Reason.SCOPE, "/edit", tuple((factory := TokenFactory()).bearer().items())),
    ],
)
def test_errors_has_the_status_that_is_sent(
    reason: Reason, path: str, headers: tuple[tuple[str, str], ...]
) -> None:
    answer = World(factory.settings(routes=(Route("/edit", scope="editor"),))).get(
        path, headers=headers
    )
    assert answer.reason == reason
    assert f"| `{reason}` | {answer.status} |" in page("errors.md")


def test_routes_has_the_answers_that_are_sent() -> None:
    namespace: dict[str, tuple[Route, ...]] = {}
    code = re.search(r"^```python\n(.*?)^```$", page("routes.md"), re.MULTILINE | re.DOTALL)
    assert code is not None
    exec(code[1], namespace)
    world = World(factory.settings(routes=namespace["routes"]))
    examples = [
        cells for cells in rows("routes.md") if cells[0].startswith(("`GET", "`P", "`HEAD"))
    ]
    assert len(examples) == 12
    for request, _, said in examples:
        method, path = request.strip("`").split()
        answer = world.request(method, path)
        assert said == ("reaches the application" if answer.reached else str(answer.status)), path
