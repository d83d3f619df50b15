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


# What nobody shall pay for who doesn't use it. PyJWT loads http.client and ssl itself.
UNUSED = {
    *("asyncio", "concurrent.futures", "sqlite3", "tomllib"),
    *("psycopg", "psycopg_pool", "redis", "mcp"),
    *("starlette", "fastapi", "django", "flask", "werkzeug", "falcon", "anyio"),
    *("prometheus_client", "opentelemetry"),
    *("asgiref", "channels", "rest_framework", "drf_spectacular"),
    *("jwt_middleware.keys.http", "jwt_middleware.cli", "jwt_middleware.testing"),
}
MADE = """
from jwt_middleware import KeySet, Settings
settings = Settings(issuer='https://i', audience='a', keys=KeySet.generate('ES256'))
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import jwt_middleware",
        "import jwt_middleware.wsgi",
        "from jwt_middleware import Issuer",
        MADE,
        MADE + "from jwt_middleware.wsgi import JWTMiddleware; JWTMiddleware(print, settings)",
    ],
)
def test_no_framework_engine_or_http_client_is_loaded_unless_it_is_used(statement: str) -> None:
    assert loaded_by(statement) & UNUSED == set()


def test_what_issues_is_loaded_where_something_issues() -> None:
    door = "from jwt_middleware.wsgi import JWTMiddleware; JWTMiddleware(print, settings)"
    issuing = MADE + "from dataclasses import replace; from jwt_middleware import Refresh\n"
    issuing += "settings = replace(settings, refresh=Refresh(store='memory://'))\n"
    parts = {f"jwt_middleware.grant.{one}" for one in ("issuing", "endpoints", "sessions")}
    assert loaded_by(MADE + door) & parts == set()
    assert loaded_by(issuing + door) >= parts


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
