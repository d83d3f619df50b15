"""The sdist and the wheel: what is in them, that they can be remade, and that they can be used."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tools import release

ROOT = release.ROOT
EPOCH = "1800000000"  # any time will do: the archives have no other
# Coverage doesn't follow these processes: they run what is installed elsewhere.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
VERSION = release.version()
NAME = "wsgi_asgi_jwt_middleware"
INFO = f"{NAME}-{VERSION}.dist-info"
DEMO = {"icon.svg", "index.html", "jwt-client.js", "page.js", "style.css"}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(path: Path) -> list[str]:
    """Return the files of an archive."""
    if path.suffix == ".whl":
        return zipfile.ZipFile(path).namelist()
    with tarfile.open(path) as archive:
        return [one.name for one in archive.getmembers() if one.isfile()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return a copy of the tracked files, the sdist, and the wheel that was built from it."""
    where = tmp_path_factory.mktemp("first")
    release.tracked(where / "source")
    return where / "source", *release.build(where / "source", where / "dist", EPOCH)


def test_another_folder_and_another_time_give_the_same_octets(
    built: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "another place" / "source"
    shutil.copytree(built[0], elsewhere)
    for path in elsewhere.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    before = os.umask(0o077)
    try:
        again = release.build(elsewhere, tmp_path / "dist", EPOCH)
    finally:
        os.umask(before)
    assert [digest(path) for path in again] == [digest(path) for path in built[1:]]


def test_the_wheel_of_the_sdist_is_that_of_the_files(
    built: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--wheel",
            "--outdir",
            tmp_path,
            built[0],
        ],
        env={**ENVIRONMENT, "SOURCE_DATE_EPOCH": EPOCH},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert digest(wheel) == digest(built[2])


def test_the_wheel_has_the_package_and_no_more(built: tuple[Path, Path, Path]) -> None:
    found = names(built[2])
    assert built[2].name == f"{NAME}-{VERSION}-py3-none-any.whl"
    assert {name.split("/")[0] for name in found} == {"jwt_middleware", INFO}
    other = {name for name in found if name.startswith("jwt_middleware/") and name[-3:] != ".py"}
    pages = {f"jwt_middleware/cli/demo/{name}" for name in DEMO}
    assert other == {"jwt_middleware/py.typed", *pages}
    modules = {f"jwt_middleware/{path.relative_to(built[0] / 'jwt_middleware').as_posix()}"
               for path in (built[0] / "jwt_middleware").rglob("*.py")}  # fmt: skip
    assert {name for name in found if name.endswith(".py")} == modules
    assert {name for name in found if name.startswith(INFO)} == {
        f"{INFO}/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }


def test_the_sdist_has_what_it_takes_to_build_and_to_test(built: tuple[Path, Path, Path]) -> None:
    found = names(built[1])
    assert {name.split("/")[0] for name in found} == {f"{NAME}-{VERSION}"}
    inside = {name.partition("/")[2] for name in found} - {"PKG-INFO"}
    # Every file that git tracks, but for what only git and editors read.
    tracked = {
        path.relative_to(built[0]).as_posix() for path in built[0].rglob("*") if path.is_file()
    }
    assert inside == tracked - {".gitignore", ".editorconfig"}
    with tarfile.open(built[1]) as archive:
        programs = {
            one.name.partition("/")[2] for one in archive if one.isfile() and one.mode & 0o100
        }
    assert {".ci/run", "tools/interpreters"} <= programs


def test_the_metadata_say_what_pyproject_says(built: tuple[Path, Path, Path]) -> None:
    found = Parser().parsestr(zipfile.ZipFile(built[2]).read(f"{INFO}/METADATA").decode())
    assert found["Name"] == NAME.replace("_", "-")
    assert found["Version"] == VERSION
    assert found["Requires-Python"] == ">=3.11"
    assert (found["License-Expression"], found["License-File"]) == ("Apache-2.0", "LICENSE")
    extras = found.get_all("Provides-Extra", [])
    assert {"django", "mcp", "postgres", "redis"} <= set(extras)
    required = found.get_all("Requires-Dist", [])
    assert [one for one in required if "extra" not in one] == [
        "PyJWT>=2.14",
        "cryptography>=42.0.4",
    ]
    for extra in extras:
        assert any(re.search(rf"extra == ['\"]{extra}['\"]", one) for one in required), extra
    said = found.get_all("Classifier", [])
    tested = (ROOT / "tools" / "interpreters").read_text("utf-8")
    for minor in re.findall(r"Python :: (3\.\d+)$", "\n".join(said), re.MULTILINE):
        assert minor == "3.11" or minor in tested, minor
    shown = found.get_payload()
    assert isinstance(shown, str)
    assert shown.strip() == (ROOT / "README.md").read_text("utf-8").strip()


def test_twine_finds_nothing(built: tuple[Path, Path, Path]) -> None:
    release.check(*built[1:])


def test_the_wheel_works_in_an_environment_that_has_nothing_else(
    built: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    # What `requirements/runtime.txt` locks, without the network: as it is installed here.
    locked = (ROOT / "requirements" / "runtime.txt").read_text("utf-8")
    for name in re.findall(r"^([\w.-]+)==", locked, re.MULTILINE):
        one = distribution(name)
        for file in one.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(one.locate_file(file)), site / file)
    bin_ = tmp_path / "venv" / "bin"
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    uv = shutil.which("uv", path=search)
    assert uv is not None
    words = ("pip", "install", "--quiet", "--offline", "--no-index", "--python", bin_ / "python")
    subprocess.run([uv, *words, built[2]], check=True)
    done = subprocess.run(
        [bin_ / "jwt-middleware", "--help"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=True,
    )
    assert "demo" in done.stdout
    code = (
        "import jwt_middleware as j, jwt_middleware.asgi, jwt_middleware.wsgi;"
        "print(j.__version__, j.__file__)"
    )
    done = subprocess.run(
        [bin_ / "python", "-I", "-c", code],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=True,
    )
    assert done.stdout.split() == [VERSION, str(site / "jwt_middleware" / "__init__.py")]


@pytest.mark.long
def test_the_suite_of_the_sdist_can_be_collected(
    built: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / f"{NAME}-{VERSION}",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert int(re.findall(r"(\d+)(?:/\d+)? tests collected", done.stdout)[0]) > 1000
