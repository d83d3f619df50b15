"""Build what is published, and check that a tag names it.

    python -m tools.release dist      # dist/: the sdist, the wheel that is built from it, checked
    python -m tools.release sbom      # dist/sbom.cdx.json: what `requirements/runtime.txt` locks
    python -m tools.release tag v1.2.3  # that this tag is signed, and names this version

The same commit gives the same octets, on any machine, at any time: the files are those that git
tracks, in a folder of its own, and every time in the archives is that of the commit.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "jwt_middleware"


def git(*words: str, root: Path = ROOT) -> str:
    """Return what git says."""
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def version(root: Path = ROOT) -> str:
    """Return the version of the distribution. Raises ValueError if the package says another one."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    found: str = project["version"]
    text = (root / PACKAGE / "__init__.py").read_text("utf-8")
    said = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if said is None or said[1] != found:
        raise ValueError(f"pyproject.toml says {found}, __version__ {said and said[1]}")
    return found


def tracked(into: Path, root: Path = ROOT) -> None:
    """Copy the files that git tracks, as they are in the work tree."""
    for name in filter(None, git("ls-files", "-z", root=root).split("\0")):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, target)  # programs stay programs


def build(source: Path, into: Path, epoch: str) -> tuple[Path, Path]:
    """Build the sdist of a folder and from it the wheel; return both.

    The build backend is the locked one of this environment, so nothing is fetched.
    """
    # PyPA's build makes the wheel from the sdist: whoever installs from either gets the same.
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), str(source)],
        env={**os.environ, "SOURCE_DATE_EPOCH": epoch},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (sdist,), (wheel,) = into.glob("*.tar.gz"), into.glob("*.whl")
    return sdist, wheel


def check(*paths: Path) -> None:
    """Check the metadata, and that the README can be shown where it is published."""
    words = ["-m", "twine", "check", "--strict", *map(str, paths)]
    subprocess.run([sys.executable, *words], check=True)


def dist(into: Path) -> None:
    """Build and check both archives of the last commit. Raises ValueError if files differ."""
    if changed := git("status", "--porcelain", "--untracked-files=no"):
        raise ValueError(f"a release is built from a commit, and these differ:\n{changed}")
    version()
    shutil.rmtree(into, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        tracked(Path(folder))
        check(*build(Path(folder), into, git("log", "-1", "--format=%ct")))


def sbom(into: Path, root: Path = ROOT) -> None:
    """Write the list of all that the package needs at run time, in CycloneDX 1.6.

    cyclonedx-py checks it against the standard's schema. It has no serial number and no time but
    the commit's, so that it can be remade.
    """
    into.parent.mkdir(exist_ok=True)
    subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements"),
            *("--pyproject", "pyproject.toml", "--mc-type", "library", "--sv", "1.6"),
            *("--output-reproducible", "--validate", "--output-file", str(into)),
            "requirements/runtime.txt",
        ],
        cwd=root,
        env={**os.environ, "SOURCE_DATE_EPOCH": git("log", "-1", "--format=%ct", root=root)},
        check=True,
    )


def faults(tag: str, root: Path = ROOT) -> list[str]:
    """Return what is wrong with a tag of this commit: none, if it may be published."""
    found = []
    number = version(root)
    if tag != f"v{number}":
        found.append(f"{tag} is not v{number}, the version of pyproject.toml")
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    if not re.search(rf"^## {re.escape(number)} \(\d{{4}}-\d\d-\d\d\)$", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no heading '## {number} (date)'")
    try:
        if git("rev-parse", f"{tag}^{{commit}}", root=root) != git("rev-parse", "HEAD", root=root):
            found.append(f"{tag} is another commit than HEAD")
    except subprocess.CalledProcessError:
        return [*found, f"there is no tag {tag}"]
    try:
        git("verify-tag", tag, root=root)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines() or ["no reason given"]
        found.append(f"its signature doesn't hold: {reason[-1]}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("dist", "sbom"):
        verbs.add_parser(verb).add_argument("--into", type=Path, default=ROOT / "dist")
    verbs.add_parser("tag").add_argument("name")
    arguments = parser.parse_args()
    if arguments.verb == "tag":
        found = faults(arguments.name)
        print("\n".join(found) or f"{arguments.name}: signed, and the version of this commit")
        return bool(found)
    if arguments.verb == "dist":
        dist(arguments.into)
    else:
        sbom(arguments.into / "sbom.cdx.json")
    print(*sorted(path.name for path in arguments.into.iterdir()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
