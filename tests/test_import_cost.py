"""Importing the package loads nothing beyond what `import jwt` loads, and makes little itself."""

import subprocess
import sys

import pytest


def printed_by(code: str) -> set[str]:
    """Return the words that a fresh interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def loaded_by(statement: str) -> set[str]:
    """Return the names of the modules that a fresh interpreter has after a statement."""
    return printed_by(f"import sys\n{statement}\nprint(*sys.modules)")


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


def test_an_import_makes_no_record_but_the_profiles() -> None:
    assert printed_by(
        "import inspect, sys, jwt_middleware.asgi, jwt_middleware.wsgi\n"
        "ours = [one for name, one in sys.modules.items() if name.startswith('jwt_middleware')]\n"
        "classes = [one for module in ours for one in vars(module).values() if type(one) is type]\n"
        "records = [one for one in classes if '__record__' in vars(one)]\n"
        "print(*[one.__name__ for one in records if inspect.isfunction(vars(one)['__init__'])])"
    ) == {"Profile"}


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
        "keys.http",
        "keys.file",
        "metadata",
        "group_checks",
    }


def test_who_fetches_keys_himself_loads_no_client_of_ours() -> None:
    code = (
        "from jwt_middleware import KeySet\n"
        "class Mine:\n"
        "    def fetch(self, url, *, timeout, limit): ...\n"
        "KeySet.remote(%s)"
    )
    assert "jwt_middleware.keys.http" not in loaded_by(code % "fetcher=Mine()")
    # Before a process can fork in the middle of it: see `_load` in keys/remote.py.
    assert {"jwt_middleware.keys.http", "encodings.idna"} <= loaded_by(code % "")
