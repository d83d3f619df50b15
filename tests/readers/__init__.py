"""Libraries that other people wrote, each in a process of its own, and the tokens that they read.

The libraries of Python stand in an environment of their own, those of npm in a folder beside this
file; the Makefile knows how they come there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette

from jwt_middleware import KeySet, Refresh
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.testing import TokenFactory
from tests.keys.test_readers import COLUMNS, published
from tests.serving import asgi

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
PYTHON = ROOT / ".venv-readers" / "bin" / "python"
PROGRAMS = {"python": (str(PYTHON), "readers.py"), "npm": ("node", "readers.mjs")}

ALGORITHMS = tuple(one for column in COLUMNS for one in column)
# Sets of two keys: the one whose tokens are read, and one beside it that the reader may not know.
READ = ("ES256", "RS256")
BESIDE = ("Ed25519", "EdDSA")
MIXED = tuple(
    f"{one} {where} {other}" for one in READ for where in ("before", "after") for other in BESIDE
)


class Case(NamedTuple):
    """What a reader is told of one key set, and what makes its tokens.

    The readers are processes of their own, with the machine's clock, and the last one starts long
    after the cases were made. So each gets new tokens.
    """

    told: dict[str, Any]
    tokens: Callable[[], dict[str, str]]


def install() -> None:
    """Fetch the libraries, unless they are there; skip the test, loudly, where npm is missing."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH: apt-get install nodejs npm")
    done = subprocess.run(
        ["make", "--silent", "readers"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def served() -> Generator[list[Case]]:
    """Serve the key set and the metadata of each case, as we publish them; give the cases."""
    with ExitStack() as stack:
        cases: list[Case] = []

        def serve(name: str) -> None:
            def made(url: str) -> Any:
                factory, keys = _keys(name, url)
                settings = factory.settings(
                    keys=keys, refresh=Refresh(store="memory://", cookies=None)
                )
                stack.callback(settings.close)
                cases.append(_case(name, factory, keys))
                return JWTMiddleware(Starlette(), settings=settings)

            stack.enter_context(asgi(made))

        for name in (*ALGORITHMS, *MIXED):
            serve(name)
        yield cases


def _keys(name: str, url: str) -> tuple[TokenFactory, KeySet]:
    """Return who signs the tokens of a case, and the key set that is published."""
    algorithm, _, rest = name.partition(" ")
    factory = TokenFactory(algorithm=algorithm, issuer=url)
    if factory.key.is_symmetric:  # people configure a secret as text
        factory.keys = KeySet.secret(token_urlsafe(32), algorithm=algorithm)
    if not rest:
        return factory, factory.keys
    where, other = rest.split(" ")
    both = (*factory.keys.keys, *TokenFactory(algorithm=other).keys.keys)
    return factory, KeySet(both if where == "before" else both[::-1])


def _case(name: str, factory: TokenFactory, keys: KeySet) -> Case:
    key = factory.key
    forger = TokenFactory(algorithm=key.algorithm.name, issuer=factory.issuer)
    pem: str | None = None
    if not key.is_symmetric and len(keys.keys) == 1:
        public: Any = key.public
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    told = {
        "name": name,
        "algorithm": key.algorithm.name,
        "issuer": factory.issuer,
        "audience": factory.audience,
        "jwks": published(factory) if key.is_symmetric else dict(keys.public_jwks()),
        "pem": pem,
        "secret": bytes(key.private).decode() if key.is_symmetric else None,  # type: ignore[arg-type]
    }
    return Case(told, lambda: _tokens(factory, forger))


def _tokens(factory: TokenFactory, forger: TokenFactory) -> dict[str, str]:
    life: dict[str, Any] = {
        "exp": int(time.time()) + 3600
    }  # a reader of a busy machine takes minutes
    return {
        "ours": factory.token(**life),
        "of typ JWT": factory.token(header={"typ": "JWT"}, **life),
        "with an array in aud": factory.token(
            aud=["https://other.example", factory.audience], **life
        ),
        "of another key": forger.token(header={"kid": factory.key.kid}, **life),
        "of another audience": factory.token(aud="https://other.example", **life),
        "of another issuer": factory.token(iss="https://other.example", **life),
        "too old": factory.token(iat=1_700_000_000, exp=1_700_000_600),
    }


def read(language: str, reader: str, cases: list[Case]) -> Any:
    """Let a library read all tokens; return its version, and what it says of each token."""
    told = [case.told | {"tokens": case.tokens()} for case in cases]
    done = subprocess.run(
        [*PROGRAMS[language], reader],
        cwd=HERE,
        env=os.environ | {"NO_PROXY": "*"},
        input=json.dumps(told),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)
