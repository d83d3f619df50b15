"""Importing the package loads nothing beyond what `import jwt` loads."""

import subprocess
import sys

import pytest


def loaded_by(statement: str) -> set[str]:
    """Return the names of the modules that a fresh interpreter has after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["jwt_middleware", "jwt_middleware.asgi", "jwt_middleware.wsgi"])
def test_an_import_loads_nothing_that_jwt_does_not(module: str) -> None:
    beyond = loaded_by(f"import {module}") - loaded_by("import jwt")
    assert {name for name in beyond if name.split(".")[0] != "jwt_middleware"} == set()
