"""Clients that other people wrote prove their key to us, at a login, a refresh and a request.

Nothing is made easy for them: nonces are asked for, and change between two requests. No library is
refused for more than a nonce that it can't have known.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from jwt_middleware import Proofs
from tests.libraries import HERE, PYTHON, install, version_of
from tests.proofs.bound_site import BoundSite, served
from tests.rules import accepts

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("libraries")]


PAGE = (Path(__file__).parent.parent.parent / "docs" / "proofs.md").read_text("utf-8")


class Library(NamedTuple):
    """What is one library's own."""

    language: str
    algorithms: tuple[str, ...]


LIBRARIES = {
    "dpop": Library("npm", ("ES256", "Ed25519")),
    "jose": Library("npm", ("ES256", "ES384", "ES512", "Ed25519")),
    "oauth4webapi": Library("npm", ("ES256", "ES384", "ES512", "Ed25519")),
    "openid-client": Library("npm", ("ES256", "Ed25519")),
    "oidc-client-ts": Library("npm", ("ES256",)),
    "requests-oauth2client": Library("python", ("ES256", "ES384", "ES512", "EdDSA")),
}
EACH = [
    pytest.param(name, algorithm, id=f"{name}, {algorithm}")
    for name, library in LIBRARIES.items()
    for algorithm in library.algorithms
]
PATHS = ("/", "/orders/1", "/orders/1/", "/orders?page=2&more", "/a%20b/%C3%A4", "/a/../b")


class Client:
    """One library at work, with a key of its own."""

    def __init__(self, name: str, url: str, algorithm: str) -> None:
        library = LIBRARIES[name]
        program = (
            [str(PYTHON), "provers.py"] if library.language == "python" else ["node", "provers.mjs"]
        )
        self._process = subprocess.Popen(
            [*program, name, url, algorithm],
            cwd=HERE,
            env=os.environ | {"NO_PROXY": "*"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, path: str = "") -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps({'do': do, 'path': path})}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()


def kind(said: Any) -> str:
    """Return the type of the token that a client has got. Some write it in lower case."""
    assert "error" not in said, said
    found: str = said["token_type"].lower()
    return found


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    install()


@pytest.fixture(params=["asgi", "wsgi"])
def door(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def site(door: str) -> Generator[BoundSite]:
    with served(door, Proofs(access=True)) as one:
        yield one


@accepts("RS-50", "RS-51", "RS-52", "RS-56", "RT-22")
@pytest.mark.parametrize(("name", "algorithm"), EACH)
def test_a_login_a_refresh_and_requests_with_proofs(
    site: BoundSite, name: str, algorithm: str
) -> None:
    with Client(name, site.url, algorithm) as client:
        first = client.ask("log in")
        assert kind(first) == "dpop"
        assert len(site.bound_keys) == 1
        assert site.bound_keys[0] is not None
        assert set(site.refused()) == {"proof_nonce"}
        for seconds in (0, 620):  # then the nonce is over, and the client's clock is behind ours
            site.clock.forward(seconds)
            found = client.ask("refresh")
            assert kind(found) == "dpop"
            assert found["refresh_token"] == first["refresh_token"]
            for path in PATHS:
                answer = client.ask("get", path)
                assert answer.get("status") == 200, answer
            assert set(site.refused()) <= {"proof_nonce"}


@accepts("RT-22")
@pytest.mark.parametrize("name", LIBRARIES)
def test_only_the_login_is_bound(door: str, name: str) -> None:
    with served(door, Proofs()) as site, Client(name, site.url, "ES256") as client:
        first = client.ask("log in")
        assert kind(first) == "bearer"
        found = client.ask("refresh")
        assert (kind(found), found["refresh_token"]) == ("bearer", first["refresh_token"])


def test_one_takes_every_token_for_a_bound_one() -> None:
    # RFC 9449 s5: `token_type: Bearer` says that the access token isn't bound.
    with served("asgi", Proofs()) as site:
        with Client("requests-oauth2client", site.url, "ES256") as client:
            client.ask("log in")
            assert client.ask("get", "/")["error"] == "MissingDPoPNonce"
        assert site.refused()[-1] == "token_not_bound"


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_versions_are_those_of_the_page(name: str) -> None:
    version = version_of(LIBRARIES[name].language, name)
    assert f"| {name} {version} |" in PAGE
