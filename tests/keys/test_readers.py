"""The rows of docs/readers.md whose libraries are here: what a cell says is what happens."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jwt
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet as JoserfcKeys

from jwt_middleware import KeySet
from jwt_middleware.jose.strict_json import b64url_encode
from jwt_middleware.testing import TokenFactory

PAGE = (Path(__file__).parent.parent.parent / "docs" / "readers.md").read_text("utf-8")
# The columns of the table, each with the algorithms that it is about.
COLUMNS = (
    *(("ES256",), ("RS256",), ("PS256",), ("ES384", "ES512"), ("HS256",), ("Ed25519",), ("EdDSA",)),
)


def published(factory: TokenFactory) -> dict[str, Any]:
    key = factory.key
    if not key.is_symmetric:
        return dict(factory.keys.public_jwks())
    secret = b64url_encode(bytes(key.private)).decode()  # type: ignore[arg-type]
    return {"keys": [{"kty": "oct", "kid": key.kid, "k": secret, "alg": key.algorithm.name}]}


def pyjwt(factory: TokenFactory, algorithms: list[str] | None) -> str:
    keys = jwt.PyJWKSet.from_dict(published(factory))
    token = factory.token()
    key = keys[jwt.get_unverified_header(token)["kid"]]
    found = jwt.decode(token, key, [key.algorithm_name], audience=factory.audience)
    return str(found["sub"])


def joserfc(factory: TokenFactory, algorithms: list[str] | None) -> str:
    keys: Any = JoserfcKeys.import_key_set(published(factory))  # type: ignore[arg-type]
    return str(joserfc_jwt.decode(factory.token(), keys, algorithms=algorithms).claims["sub"])


READERS: dict[str, Callable[[TokenFactory, list[str] | None], str]] = {
    "PyJWT": pyjwt,
    "joserfc": joserfc,
}


def outcome(read: Callable[[TokenFactory, list[str] | None], str], algorithm: str) -> str:
    """Return what stands in the cell of an algorithm."""
    factory = TokenFactory(algorithm=algorithm)
    for cell, algorithms in (("ok", None), ("`algorithms=`", [algorithm])):
        try:
            assert read(factory, algorithms) == "alice"
        except (jwt.PyJWTError, JoseError, NotImplementedError):
            continue
        return cell
    return "no"


@pytest.mark.parametrize("name", READERS)
def test_a_row_says_what_its_library_does(name: str) -> None:
    (row,) = re.findall(rf"^\| ({name} {re.escape(version(name))} \|.*)$", PAGE, re.MULTILINE)
    cells = [cell.strip() for cell in row.split("|")][1 : 1 + len(COLUMNS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joserfc warns of EdDSA
        for cell, algorithms in zip(cells, COLUMNS, strict=True):
            assert {outcome(READERS[name], one) for one in algorithms} == {cell}, algorithms


def test_pyjwt_must_be_told_the_audience() -> None:
    assert re.search(r"^\| PyJWT .*\| `audience=` must be given \|$", PAGE, re.MULTILINE)
    factory = TokenFactory()
    key = jwt.PyJWKSet.from_dict(published(factory))[factory.key.kid]
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(factory.token(), key, ["ES256"])


def test_joserfc_warns_of_eddsa() -> None:
    assert re.search(r"^\| joserfc .*\| warns of `EdDSA` \|$", PAGE, re.MULTILINE)
    with pytest.warns(SecurityWarning, match="EdDSA"):
        joserfc(TokenFactory(algorithm="EdDSA"), ["EdDSA"])


def test_what_is_generated_has_the_name_that_was_asked_for() -> None:
    """EdDSA is the old name of Ed25519, which more readers know."""
    for name in ("EdDSA", "Ed25519"):
        keys = KeySet.generate(name)
        (member,) = keys.public_jwks()["keys"]
        assert (member["alg"], member["crv"]) == (name, "Ed25519")
        token = TokenFactory(algorithm=name).token()
        assert jwt.get_unverified_header(token)["alg"] == name
    assert KeySet.generate().algorithms == {"ES256"}
