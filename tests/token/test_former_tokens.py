"""How former tokens are told apart and verified: pure."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware import ConfigurationError, KeySet, Migration, migrations
from jwt_middleware.jose import jws
from jwt_middleware.token.former_tokens import FormerTokens
from jwt_middleware.values.errors import InvalidToken
from tests.grant.former import OTHER, SECRET, UNTIL, fastapi_users, flask_jwt, migration, written
from tests.rules import accepts, refuses
from tests.world import NOW

OURS = "https://login.example"
ES = KeySet.generate("ES256")
MONTH = 30 * 86400


class Own:
    leeway, issuer = 30.0, OURS


def tokens(**changes: Any) -> FormerTokens:
    return migration(**changes).tokens(Own)


def is_one(text: str, **changes: Any) -> bool:
    return tokens(**changes).is_one(jws.parse(text))


def verified(text: str, kind: Any = "access", **changes: Any) -> Any:
    made = tokens(**changes)
    parsed = jws.parse(text)
    assert made.is_one(parsed)
    return made.verified(parsed, kind, NOW)


def signed(claims: dict[str, Any], **headers: Any) -> str:
    """Return a token that the pair of keys signed."""
    (key,) = ES.keys
    return jwt.encode(claims, key.private, algorithm="ES256", headers=headers)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@accepts("RT-34")
def test_tokens_are_told_apart_by_issuer_and_type() -> None:
    with_issuer = flask_jwt("access", iss="https://old.example")
    assert is_one(flask_jwt("access"))
    assert not is_one(with_issuer)
    assert is_one(with_issuer, issuer="https://old.example")
    assert not is_one(flask_jwt("access"), issuer="https://old.example")
    assert not is_one(flask_jwt("access", iss=OURS), issuer="https://old.example")
    assert not is_one(flask_jwt("access", iss=""))
    for typ in ("at+jwt", "rt+jwt", "", 5):
        text = written({"sub": "a"}, headers={"typ": typ} if typ != 5 else {"typ": "dpop+jwt"})
        assert not is_one(text)
    assert is_one(written({"sub": "a"}, headers={"typ": "application/JWT"}))


@accepts("RT-34")
@refuses("RT-34")
def test_where_the_issuer_and_the_type_are_ours_the_key_decides() -> None:
    group: dict[str, Any] = {
        "library": migrations.AUTHLIB,
        "issuer": OURS,
        "audience": "shop",
        "secret": (),
        "keys": KeySet.from_jwks(ES.public_jwks()),
        "path": "",
    }
    claims = {"iss": OURS, "aud": "shop", "sub": "7", "exp": NOW + 60, "client_id": "web"}
    (key,) = ES.keys
    for kid in ({}, {"kid": key.kid}):
        found = verified(signed(claims, typ="at+jwt", **kid), **group)
        assert (found.subject, found.client_id) == ("7", "web")
    assert not is_one(signed(claims, typ="at+jwt", kid="of ours"), **group)
    with pytest.raises(InvalidToken, match="type_not_allowed"):
        verified(signed(claims, typ="at+jwt"), "refresh", **group)


@accepts("RT-34")
@refuses("RT-34")
def test_each_of_several_secrets_verifies() -> None:
    for secret in (SECRET, OTHER):
        text = flask_jwt("access", secret=secret)
        assert verified(text, secret=(OTHER, SECRET)).subject == "alice"
    with pytest.raises(InvalidToken, match="signature_invalid"):
        verified(flask_jwt("access", secret="z" + SECRET), secret=(OTHER, SECRET))


@refuses("RT-34")
@pytest.mark.parametrize("audience", [["other"], None, "fastapi-users:reset", []])
def test_the_audience_tells_fastapi_users_tokens_apart(audience: Any) -> None:
    group: dict[str, Any] = {"library": migrations.FASTAPI_USERS, "path": ""}
    assert verified(fastapi_users(), **group).issued_at == 0
    with pytest.raises(InvalidToken):
        verified(fastapi_users(aud=audience), **group)


@accepts("RT-34")
def test_separate_keys_need_no_claim() -> None:
    library = migrations.PYJWT.replace(separate_keys=True)
    text = written({"sub": "a", "exp": NOW + 60})
    assert verified(text, "refresh", library=library, routes=()).subject == "a"
    with pytest.raises(ConfigurationError, match=r"^refresh\.migrate\.routes"):
        tokens(library=library)


@accepts("RT-34")
def test_times_may_have_fractions() -> None:
    text = flask_jwt("access", iat=NOW - 0.25, exp=NOW + 60.75)
    assert verified(text, library=migrations.AUTHX).expires_at == NOW + 60.75
    assert repr(verified(text)) == "<FormerToken>"


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.text())


@refuses("RT-34")
@given(
    st.dictionaries(
        st.sampled_from(["type", "sub", "exp", "nbf", "iat", "aud", "iss", "cnf", "jti"]), VALUES
    )
)
def test_whatever_the_claims_are_an_access_token_is_no_refresh_token(claims: Any) -> None:
    """No claims make a token that counts as both kinds, and what counts has what is relied on."""
    parsed = jws.parse(jwt_of(claims))
    made = tokens()
    if not made.is_one(parsed):
        return
    good = []
    kinds: tuple[Any, ...] = ("refresh", "access")
    for kind in kinds:
        try:
            found = made.verified(parsed, kind, NOW)
        except InvalidToken:
            continue
        good.append(kind)
        assert found.expires_at + 30 > NOW
        assert found.subject.isprintable()
        assert found.subject
        assert found.claims["type"] == kind
    assert len(good) < 2


def jwt_of(claims: dict[str, Any]) -> str:
    """Sign any claims: PyJWT refuses some."""
    (key,) = KeySet.secret(SECRET).keys
    return jws.sign(claims, key, typ="JWT")


@refuses("RT-34")
@given(st.floats(min_value=0, max_value=10 * MONTH))
def test_nothing_is_taken_from_the_date_on(later: float) -> None:
    text = flask_jwt("refresh", exp=NOW + 20 * MONTH)
    with pytest.raises(InvalidToken, match="expired"):
        tokens().verified(jws.parse(text), "refresh", UNTIL + later)


@refuses("RS-19", "RS-20")
@pytest.mark.parametrize("secret", ["short", "a" * 64, "django-insecure-" + SECRET, b"\0" * 64])
def test_a_weak_secret_is_refused_with_the_way_out(secret: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^refresh\.migrate\.secret") as found:
        Migration(library=migrations.SIMPLEJWT, until=UNTIL, secret=secret)
    assert "let users log in again" in found.value.remedy
