"""A random secret is a secret, whatever octet it begins with."""

from hashlib import sha512

import pytest

from jwt_middleware.jose.jwk import from_secret


@pytest.mark.parametrize("first", [b"{", b" {", b"\n\t{"])
def test_random_octets_are_no_json_because_they_begin_with_a_brace(first: bytes) -> None:
    secret = first + sha512(first).digest()
    assert from_secret(secret, "HS256").private == secret
