"""Issuers that other people wrote, each in a process of its own on loopback, and tokens of them.

Those of Python stand in an environment of their own, those of npm in a folder beside this file; the
Makefile knows how they come there. Glewlwyd and LemonLDAP::NG are Debian's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from jwt_middleware.keys import Fetched
from tests.processes import HOST, ROOT, free_port, started, wait_open
from tests.waiting import PATIENCE

HERE = Path(__file__).parent
PYTHON = ROOT / ".venv-issuers" / "bin" / "python"
CLIENT = "shop-web"
SECRET = "5f4dcc3b5aa765d61d8327deb882cf99"  # the client's, which is none
REDIRECT = "https://shop.example.com/callback"


def install() -> None:
    """Fetch the issuers, unless they are there; skip the test, loudly, where npm is missing."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH: apt-get install nodejs npm")
    done = subprocess.run(
        ["make", "--silent", "issuers"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def npm_version(package: str) -> str:
    said = (HERE / "node_modules" / package / "package.json").read_text("utf-8")
    version: str = json.loads(said)["version"]
    return version


def python_version(package: str) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.check_output([PYTHON, "-c", code], text=True).strip()


class Front(httpx2.BaseTransport):
    """What stands before an issuer and ends TLS: its public name outside, loopback inside.

    So the issuer has the name that its row has, and the row's settings stay as they are. It is what
    a client's requests go through, and what fetches keys (`keys.Fetcher`).
    """

    def __init__(self, port: int, inside: str = "http") -> None:
        self.port, self._scheme = port, inside
        self._inside = httpx2.HTTPTransport(verify=False)
        self.client = httpx2.Client(transport=self, trust_env=False, timeout=PATIENCE)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.scheme == "https", request.url
        said = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": request.url.host}
        inside = httpx2.Request(
            request.method,
            request.url.copy_with(scheme=self._scheme, host=HOST, port=self.port),
            headers={**request.headers, **said},
            stream=request.stream,
        )
        return self._inside.handle_request(inside)

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        answer = self.client.get(url)
        fields = answer.headers
        return Fetched(
            answer.status_code, answer.content, fields.get("cache-control"), fields.get("date")
        )

    def close(self) -> None:
        self.client.close()
        self._inside.close()


@dataclass(frozen=True, kw_only=True)
class Real:
    """One issuer at work, as far as the tests ask it."""

    version: str
    front: Front
    access: str  # an access token with one scope, for the audience of its row
    for_another: str  # the same for another audience
    id_token: str = ""  # of the same login; none: it has no ID tokens
    scope: str = ""  # where it can't be the fixture's
    # What its row can't know: names that it gives itself.
    given: Mapping[str, Any] = field(default_factory=dict)
    # Members in which it isn't what the row is about: those of one and not of the other.
    differs: Mapping[str, set[str]] = field(default_factory=dict)


Opening = Callable[[Path], AbstractContextManager[Real]]


class Program:
    """A process that hears its settings as one line of JSON, and says when it listens."""

    def __init__(self, *command: str | Path, log: Path, **told: object) -> None:
        self.front = Front(free_port())
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            command,
            cwd=HERE,
            env=os.environ | {"NO_PROXY": "*"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        settings = {"port": self.front.port, "client": CLIENT, "secret": SECRET} | told
        self._process.stdin.write(f"{json.dumps(settings)}\n")
        self._process.stdin.flush()
        said = (line.strip() == "listening" for line in self._process.stdout)
        assert any(said), log.read_text()

    def __enter__(self) -> Front:
        return self.front

    def __exit__(self, *_: object) -> None:
        self.front.close()
        with self._log, self._process:
            self._process.kill()


@contextmanager
def serving(
    command: Sequence[str], port: int, log: Path, inside: str = "http", **variables: str
) -> Generator[Front]:
    """Run a server that needs no telling, and give what stands before it."""
    process, front = started(command, port, log, **variables), Front(port, inside)
    try:
        wait_open(port, process, log)
        yield front
    finally:
        front.close()
        process.terminate()
        process.wait()


def key_pair() -> tuple[str, str]:
    """Return an RSA key and its public part in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def answer_of(front: Front, url: str, *, client: str = CLIENT, **form: str) -> Any:
    """Return what a token endpoint answers to a client."""
    answer = front.client.post(url, data=form, auth=(client, SECRET))
    assert answer.status_code == 200, answer.text
    return answer.json()
