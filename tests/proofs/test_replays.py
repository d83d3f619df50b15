"""One proof, at four processes at once: one of them lets it in, in every store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import KeySet
from jwt_middleware.testing import Prover, TokenFactory
from tests.engines.redis import park  # noqa: F401
from tests.processes import ROOT
from tests.rules import accepts, refuses

SECRET = "Zt9vQ3mN7xR2kL5wB8cY1dF4gH6jP0sA-eUiOqTrWyXz"
PROCESSES, PROOFS = 4, 12


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/grants.db"
    if request.param == "redis":
        url: str = request.getfixturevalue("park")("own", "redis").url
        return url
    url = request.getfixturevalue("postgres_url")
    between = "&" if "?" in url else "?"
    return f"{url}{between}schema={request.getfixturevalue('schema')}"


@pytest.fixture
def services(store: str) -> Generator[list[subprocess.Popen[str]]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.proofs.one_service", store, SECRET],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(PROCESSES)
        ]


def ask(services: list[subprocess.Popen[str]], fields: dict[str, str], number: int) -> list[Any]:
    """Send one request to all of them, for the same moment; return the answers."""
    at = time.time() + 0.05
    for index, one in enumerate(services):
        door = "wsgi" if (number + index) % 2 else "asgi"
        assert one.stdin is not None
        one.stdin.write(json.dumps({"door": door, "fields": [*fields.items()], "at": at}) + "\n")
        one.stdin.flush()
    return [json.loads(one.stdout.readline()) for one in services if one.stdout is not None]


@accepts("RS-54", "RS-55")
@refuses("RS-54", "RS-55")
def test_a_proof_at_four_processes_at_once_is_good_in_one(
    services: list[subprocess.Popen[str]],
) -> None:
    factory = TokenFactory(algorithm="HS256")
    factory.keys = KeySet.secret(SECRET)
    prover = Prover("https://api.example")
    token = factory.token(cnf=prover.cnf)
    first = prover.headers("GET", "/", token)
    ask(services, first, 0)  # until all are there
    for number in range(PROOFS):
        answers = ask(services, prover.headers("GET", "/", token), number)
        assert sorted(status for status, _ in answers) == [200, 401, 401, 401]
        refused = [told for status, told in answers if status == 401]
        assert all('error="invalid_dpop_proof"' in told for told in refused)
    for one in services:
        assert one.stdin is not None
        one.stdin.close()
