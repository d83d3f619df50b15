"""What a release is checked for beside its archives: the tag, and the list of what it needs."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import release

ROOT = release.ROOT
VERSION = "1.2.3"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with one commit of version 1.2.3, and a key that git signs with."""
    root, home = tmp_path / "repository", tmp_path / "home"
    (root / release.PACKAGE).mkdir(parents=True)
    home.mkdir()
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "config"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    (root / "pyproject.toml").write_text(f'[project]\nversion = "{VERSION}"\n')
    (root / release.PACKAGE / "__init__.py").write_text(f'__version__ = "{VERSION}"\n')
    (root / "CHANGELOG.md").write_text(f"## {VERSION} (2026-11-30)\n")
    key = home / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (home / "signers").write_text(f"a@example.com {key.with_suffix('.pub').read_text('utf-8')}")
    settings = {
        "user.name": "A",
        "user.email": "a@example.com",
        "gpg.format": "ssh",
        "user.signingkey": str(key),
        "gpg.ssh.allowedSignersFile": str(home / "signers"),
    }
    for name, value in settings.items():
        release.git("config", "--global", name, value, root=root)
    release.git("init", "--quiet", root=root)
    release.git("add", "--all", root=root)
    release.git("commit", "--quiet", "--message", "First", root=root)
    return root


def test_a_signed_tag_of_this_version_is_good(repository: Path) -> None:
    release.git("tag", "--sign", "v1.2.3", "--message", "1.2.3", root=repository)
    assert release.faults("v1.2.3", repository) == []


def test_a_tag_that_nobody_signed_is_not(repository: Path) -> None:
    release.git("tag", "--annotate", "v1.2.3", "--message", "1.2.3", root=repository)
    (fault,) = release.faults("v1.2.3", repository)
    assert fault.startswith("its signature doesn't hold: ")


def test_a_signature_of_a_stranger_is_not(repository: Path) -> None:
    release.git("tag", "--sign", "v1.2.3", "--message", "1.2.3", root=repository)
    (repository.parent / "home" / "signers").write_text("")
    (fault,) = release.faults("v1.2.3", repository)
    assert fault.startswith("its signature doesn't hold: ")


def test_a_tag_names_the_version_and_this_commit(repository: Path) -> None:
    release.git("tag", "--sign", "v1.2.4", "--message", "1.2.4", root=repository)
    (repository / "new").write_text("")
    release.git("add", "--all", root=repository)
    release.git("commit", "--quiet", "--message", "Second", root=repository)
    assert release.faults("v1.2.4", repository) == [
        "v1.2.4 is not v1.2.3, the version of pyproject.toml",
        "v1.2.4 is another commit than HEAD",
    ]
    assert release.faults("v1.2.3", repository) == ["there is no tag v1.2.3"]


def test_the_changelog_has_a_date(repository: Path) -> None:
    (repository / "CHANGELOG.md").write_text(f"## {VERSION} (unreleased)\n")
    release.git("tag", "--sign", "v1.2.3", "--message", "1.2.3", root=repository)
    assert release.faults("v1.2.3", repository) == ["CHANGELOG.md has no heading '## 1.2.3 (date)'"]


def test_two_versions_are_an_error(repository: Path) -> None:
    (repository / release.PACKAGE / "__init__.py").write_text('__version__ = "1.2.4"\n')
    with pytest.raises(ValueError, match=r"1\.2\.3, __version__ 1\.2\.4"):
        release.version(repository)


def test_a_changed_file_is_no_release(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(release, "git", lambda *words: " M README.md")
    with pytest.raises(ValueError, match=r"README\.md"):
        release.dist(tmp_path / "dist")


def test_the_list_of_what_it_needs_is_the_lock(tmp_path: Path) -> None:
    first, second = tmp_path / "first" / "sbom.json", tmp_path / "second" / "sbom.json"
    release.sbom(first)
    release.sbom(second)
    assert first.read_bytes() == second.read_bytes()
    found = json.loads(first.read_text("utf-8"))
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    about = found["metadata"]["component"]
    assert about["name"] == "wsgi-asgi-jwt-middleware"
    assert about["version"] == release.version()
    lock = (ROOT / "requirements" / "runtime.txt").read_text("utf-8")
    assert {(one["name"], one["version"]) for one in found["components"]} == set(
        re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE)
    )
    for one in found["components"]:
        (hashes,) = (reference["hashes"] for reference in one["externalReferences"])
        assert hashes, one["name"]


def test_the_programs_that_sign_are_here() -> None:
    assert shutil.which("git")
    assert shutil.which("ssh-keygen")
