"""Importing the package loads nothing beyond what `import jwt` loads, and makes little itself."""

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


def test_an_import_makes_no_dataclass_and_compiles_no_pattern() -> None:
    assert loaded_by(
        "import dataclasses, jwt, re\n"
        "re.compile = dataclasses.dataclass = sys.exit\n"
        "import jwt_middleware.asgi, jwt_middleware.wsgi"
    )


def test_what_only_verifies_loads_nothing_that_issues() -> None:
    made = loaded_by(
        "from jwt_middleware import KeySet, Settings, asgi, wsgi\n"
        "settings = Settings(issuer='https://i', audience='a', keys=KeySet.generate('ES256'))\n"
        "asgi.JWTMiddleware(print, settings), wsgi.JWTMiddleware(print, settings)"
    )
    ours = {name.removeprefix("jwt_middleware.") for name in made}
    assert not {name for name in ours if name.startswith(("grant", "stores", "issuer."))}
    assert not ours & {
        "token.refresh",
        "request.body",
        "request.cookies",
        "keys.remote",
        "keys.file",
        "metadata",
        "group_checks",
    }
