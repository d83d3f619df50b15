"""An old PyJWT on the path, or something else that is called jwt: the error says what is needed."""

import importlib
import subprocess
import sys
from pathlib import Path

import jwt
import pytest

from jwt_middleware import jose
from tests.processes import ROOT


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('__version__ = "1.7.1"', "1.7.1"),
        ('__version__ = "2.13.0"', "2.13.0"),
        ("class JWT: ...", "unknown"),
    ],
)
def test_the_error_says_which_version_is_needed(tmp_path: Path, line: str, found: str) -> None:
    (tmp_path / "jwt").mkdir()
    (tmp_path / "jwt" / "__init__.py").write_text(line)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import jwt_middleware"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    told = done.stderr.splitlines()[-1]
    assert told.startswith("ImportError: jwt_middleware needs PyJWT 2.14 or newer")
    assert f"version {found} is found at {tmp_path}" in told


def test_it_is_told_in_this_process_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwt, "__version__", "2.13.1")
    with pytest.raises(ImportError, match=r"PyJWT 2\.14 or newer, and version 2\.13\.1"):
        importlib.reload(jose)
    monkeypatch.setattr(jwt, "__version__", "3.0.0b1")
    importlib.reload(jose)
