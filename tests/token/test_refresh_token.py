"""The refresh token's short way: what is recognized word for word is what would be read."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware import Grant
from jwt_middleware.jose.jws import MAX_TOKEN
from jwt_middleware.testing.mint import json_octets, seal
from jwt_middleware.token import refresh
from jwt_middleware.token.refresh import RefreshKeys, from_text, mint
from jwt_middleware.values.errors import InvalidGrant
from jwt_middleware.values.tokens import FrozenDict

ISSUER = "https://login.example.com/?a+b"  # with what a pattern would take for more than itself
KEYS = RefreshKeys([from_text("8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd")], ISSUER)
HEADER = json_octets({"alg": "HS256", "kid": KEYS.signer.kid, "typ": "rt+jwt"})


WORD = st.text("abcXYZ019-_", min_size=1, max_size=30)
NUMBER = st.integers(1, 10**17)
GRANTS = st.builds(
    Grant,
    id=WORD,
    subject=st.just("alice"),
    client_id=st.text(st.characters(codec="utf-8"), max_size=12) | WORD,
    scope=st.sampled_from(["", "read", "read write", "!#$[]~ a:b"]),
    claims=st.just(FrozenDict()),
    bound_key=st.none() | WORD,
    generation=NUMBER,
    parent=st.none(),
    rotated_at=st.just(0.0),
    created_at=st.just(0.0),
    expires_at=NUMBER,
    idle_limit=st.none() | NUMBER,
)


@given(GRANTS, WORD, NUMBER, st.none() | WORD)
def test_a_token_as_we_write_it_is_recognized_as_what_any_reader_would_read(
    grant: Grant, jti: str, now: int, agent: str | None
) -> None:
    text = mint(KEYS, grant=grant, jti=jti, now=now, agent=agent)
    found = refresh._recognize(text, KEYS)
    read, exp = refresh._read_token(text, KEYS, 0)
    assert (read.grant_id, read.generation, read.jti) == (grant.id, grant.generation, jti)
    assert (read.client_id, read.scope, read.issued_at) == (grant.client_id, grant.scope, now)
    assert (read.bound_key, read.agent, exp) == (grant.bound_key, agent, grant.expires_at)
    assert read.idle == grant.idle_limit
    if found is None:  # then the short way is none
        is_plain = re.fullmatch(r"[ !#-\[\]-~]*", grant.client_id)
        most = max(grant.generation, now, grant.expires_at, grant.idle_limit or 0)
        assert not is_plain or most >= 10**16
    else:
        assert found == (read, exp)


PLAIN = {
    "iss": ISSUER, "aud": ISSUER, "sid": "a", "gen": 7, "jti": "b", "client_id": "c",
    "scope": "d", "iat": 8, "exp": 9, "idle": 6, "agent": "ABCD", "cnf": {"jkt": "e"},
}  # fmt: skip


@given(st.data())
def test_what_is_recognized_is_never_what_no_reader_would_read(data: st.DataObject) -> None:
    payload = json.dumps(PLAIN, separators=(",", ":"))
    at = data.draw(st.integers(0, len(payload)))
    cut = data.draw(st.integers(0, 3))
    piece = data.draw(
        st.sampled_from(["", " ", "0", '"', "\\", "é", "\x1f", "٣", ',"x":1', "\ud800"])
    )
    payload = payload[:at] + piece + payload[at + cut :]
    text = seal(
        HEADER,
        payload.encode("utf-8", "surrogatepass"),
        KEYS.signer,
    )
    found = refresh._recognize(text, KEYS)
    try:
        read = refresh._read_token(text, KEYS, 0)
    except InvalidGrant:
        assert found is None
    else:
        assert found in (None, read)


@given(st.data())
def test_a_token_that_was_changed_anywhere_is_not_recognized(data: st.DataObject) -> None:
    text = seal(HEADER, json_octets(PLAIN), KEYS.signer)
    assert refresh._recognize(text, KEYS) is not None
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 2))
    other = text[:at] + data.draw(st.text("aA0-_.=é ", max_size=2)) + text[at + cut :]
    assert other == text or refresh._recognize(other, KEYS) is None


def test_an_idle_limit_that_is_no_whole_number_is_none() -> None:
    for idle in ("5", 5.5, True, None):
        text = seal(HEADER, json_octets(PLAIN | {"idle": idle}), KEYS.signer)
        assert refresh._recognize(text, KEYS) is None
        assert refresh.check(text, KEYS, now=0).idle is None


def test_what_is_longer_than_any_token_is_not_looked_into() -> None:
    claims = PLAIN | {"jti": "b" * MAX_TOKEN}
    assert refresh._recognize(seal(HEADER, json_octets(claims), KEYS.signer), KEYS) is None
