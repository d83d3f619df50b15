"""An old PyJWT on the path, or something else that is called jwt: the error says what is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('__version__ = "1.7.1"', "1.7.1"),
        ('__version__ = "2.10.0"', "2.10.0"),
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
    assert told.startswith("ImportError: jwt_middleware needs PyJWT 2.10.1 or newer")
    assert f"version {found} is found at {tmp_path}" in told
