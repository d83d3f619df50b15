"""What the repository promises about itself: it names no place, and says nothing that isn't so."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

# This file is searched too: a pattern with escapes in it does not match itself.
FORBIDDEN = {
    "the address of a package registry": r"\b(?:pypi|pythonhosted|npmjs|debian)\.org\b",
    # That name is somebody else's package, with the same import name.
    "an invitation to install another package": r"\binstall (?:-\S+ )*['\"]?jwt[-_]middleware\b",
    "a path of one machine": r"(?<![\w.~/-])/(?:work|root|Users)/\w",
}


@cache
def files() -> tuple[Path, ...]:
    """Return every text file of the repository, whether committed yet or not."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths = {ROOT / name for name in listing.stdout.split("\0") if name}
    return tuple(sorted(p for p in paths if p.is_file() and b"\0" not in p.read_bytes()[:8192]))


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "pieces"),
    [
        ("the address of a package registry", ("files.pythonhosted", ".org/x.whl")),
        ("an invitation to install another package", ("pip install -U jwt", "-middleware")),
        ("a path of one machine", ("see /", "root/x")),
    ],
)
def test_the_search_finds(what: str, pieces: tuple[str, str]) -> None:
    assert re.search(FORBIDDEN[what], "".join(pieces))
    assert not re.search(FORBIDDEN[what], "pip install wsgi-asgi-jwt-middleware; GET /work")


def test_readme_can_be_read() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 200
    first_screen = "\n".join(lines[:40])
    for fact in ("WSGI", "ASGI", "refresh", "make demo", "make test"):
        assert fact in first_screen, fact


def test_links_inside_the_repository_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in files()
        if page.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
        if "://" not in target and not target.startswith("mailto:")
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_changelog_knows_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## {re.escape(PROJECT['version'])}\b", changelog, re.MULTILINE)


def test_locked_requirements_have_hashes_and_no_addresses() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        entries = re.split(r"\n(?=[a-z0-9])", path.read_text("utf-8"), flags=re.IGNORECASE)[1:]
        assert entries, path
        for entry in entries:
            assert re.match(r"\S+==\S+ ", entry), entry
            assert "--hash=sha256:" in entry, entry
            assert "://" not in entry


def test_coverage_is_excluded_in_pyproject_only() -> None:
    marked = [p for p in files() if p.parts[len(ROOT.parts)] == "jwt_middleware"
              if "pragma: no" in p.read_text("utf-8")]  # fmt: skip
    assert marked == []


def test_the_package_is_typed() -> None:
    assert (ROOT / "jwt_middleware" / "py.typed").is_file()
