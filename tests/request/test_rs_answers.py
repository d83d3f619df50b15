"""RS-04 to RS-08, RS-39, RS-41: what a refusal says, and what nothing of ours ever says."""

import logging
import re
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware import AccessToken, ConfigurationError, Event, KeySet, Route
from jwt_middleware.jose import jws
from jwt_middleware.request.refusals import challenge
from jwt_middleware.testing import ABSENT, TokenFactory
from jwt_middleware.values import reasons
from jwt_middleware.values.errors import InsufficientScope, InvalidToken
from jwt_middleware.values.reasons import Reason
from tests.rules import accepts, refuses
from tests.world import Answer, World

NOW = 1_800_000_000
FACTORY = TokenFactory(clock=lambda: NOW)
ROUTES = (
    Route("/open", public=True),
    Route("/write", scope="write admin"),
    Route("/pay", max_age=60, acr_values=("mfa", "hwk")),
    Route("/recent", max_age=0),
    Route("/strong", acr_values=("mfa",)),
)
WORLD = World(FACTORY.settings(routes=ROUTES))

# RFC 9110 s11.6.1 and RFC 6750 s3: the characters of a value, and parameters with commas between.
PARAMETER = r'([a-z_]+)="([ !#-\[\]-~]*)"'
CHALLENGE = re.compile(rf"Bearer {PARAMETER}(?:, {PARAMETER})*")


def parameters(text: str) -> dict[str, str]:
    """Return the parameters of a challenge, after checking its grammar."""
    assert CHALLENGE.fullmatch(text), text
    found = re.findall(PARAMETER, text)
    assert len(dict(found)) == len(found), "a parameter comes twice"
    return dict(found)


def scope_at(path: str) -> dict[str, str]:
    return {"scope": "write admin"} if path == "/write" else {}


@refuses("RS-04")
@pytest.mark.parametrize("path", ["/", "/no/such/path", "/write", "/pay"])
def test_without_credentials_there_is_a_challenge_and_no_error_code(path: str) -> None:
    answer = WORLD.get(path)
    assert (answer.status, answer.reached, answer.error) == (401, False, None)
    assert parameters(answer.challenge) == {"realm": "api"} | scope_at(path)


@accepts("RS-04")
def test_a_public_route_needs_no_credentials_and_reads_none() -> None:
    for headers in ([], [("Authorization", "Bearer bad")], [("Authorization", "Bearer")]):
        answer = WORLD.get("/open", headers=headers)
        assert (answer.status, answer.reached, answer.token) == (200, True, None)
        assert answer.header("www-authenticate") is None


@refuses("RS-05")
@pytest.mark.parametrize(
    "token",
    [
        pytest.param("bad", id="malformed"),
        pytest.param(FACTORY.token(exp=NOW - 3600), id="expired"),
        pytest.param(FACTORY.token(iss="https://other.example"), id="foreign-issuer"),
        pytest.param(FACTORY.token(aud="https://other.example"), id="foreign-audience"),
        pytest.param(FACTORY.token(header={"kid": "unknown"}), id="unknown-key"),
        pytest.param(TokenFactory(clock=FACTORY.clock).token(), id="foreign-key"),
        pytest.param(FACTORY.token()[:-8], id="cut-signature"),
    ],
)
def test_a_bad_token_is_invalid_token_whatever_the_route_needs(token: str) -> None:
    for path in ("/", "/write", "/pay"):
        answer = WORLD.get(path, token)
        assert (answer.status, answer.error, answer.reached) == (401, "invalid_token", False)
        expected = {"realm", "error", "error_description"}
        assert set(parameters(answer.challenge)) == expected | scope_at(path).keys()


@refuses("RS-05")
@pytest.mark.parametrize(
    "scope", [ABSENT, "", "read", "write", "admin", "write  admin", "Write admin"]
)
def test_too_small_a_scope_is_forbidden_and_told_which_is_needed(scope: str) -> None:
    answer = WORLD.get("/write", FACTORY.token(scope=scope))
    if scope == "write  admin":  # two spaces: no list of scopes at all
        assert (answer.status, answer.error) == (401, "invalid_token")
        return
    assert (answer.status, answer.error, answer.reached) == (403, "insufficient_scope", False)
    assert parameters(answer.challenge)["scope"] == "write admin"


@accepts("RS-05")
@pytest.mark.parametrize("scope", ["write admin", "admin write", "read admin x:y write"])
def test_a_good_token_with_the_scope_is_let_in(scope: str) -> None:
    answer = WORLD.get("/write", FACTORY.token(scope=scope))
    assert (answer.status, answer.reached) == (200, True)


@accepts("RS-06")
@pytest.mark.parametrize("path", ["/", "/write", "/pay", "/recent", "/strong"])
@pytest.mark.parametrize("token", [None, "bad", FACTORY.token()], ids=["none", "bad", "good"])
def test_every_challenge_is_of_the_grammar(path: str, token: str | None) -> None:
    answer = WORLD.get(path, token)
    if not answer.reached:
        assert parameters(answer.challenge)["realm"] == "api"
        assert answer.header("cache-control") == "no-store"


@refuses("RS-06")
@given(
    realm=st.text(),
    text=st.text(alphabet=st.sampled_from('"\\\r\n\0,= é€x') | st.characters(), min_size=1),
)
def test_no_text_breaks_out_of_a_challenge(realm: str, text: str) -> None:
    found = parameters(challenge(realm, InsufficientScope("admin"), scope=text))
    assert set(found) == {"realm", "error", "error_description", "scope"}
    kept = [a for a, b in zip(text, found["scope"], strict=True) if a == b]
    assert not set(kept) & set('"\\\r\n\0é€')


@refuses("RS-06")
@pytest.mark.parametrize("realm", ["", 'a"b', "a\\b", "a\r\nX: y", "é", "a\tb", None, b"api"])
def test_a_realm_outside_the_grammar_is_refused_at_the_start(realm: object) -> None:
    with pytest.raises(ConfigurationError, match="realm"):
        FACTORY.settings(realm=realm)


def told(answer: Answer) -> tuple[object, ...]:
    return answer.status, answer.headers, answer.body


@accepts("RS-08")
@pytest.mark.parametrize("problem_details", [False, True], ids=["oauth", "problem"])
def test_all_bad_tokens_get_one_and_the_same_answer(*, problem_details: bool) -> None:
    world = World(FACTORY.settings(problem_details=problem_details))
    answers = [world.get(headers=attack.headers) for attack in FACTORY.attacks()]
    invalid = [answer for answer in answers if answer.error == "invalid_token"]
    assert len({told(answer) for answer in invalid}) == 1
    # Inside, all of them can be told apart.
    assert len({answer.reason for answer in invalid}) >= 15


@refuses("RS-08")
def test_no_answer_repeats_what_was_sent_or_why_it_was_refused() -> None:
    sent: dict[str, Any] = {
        "sub": "marker-sub",
        "jti": "marker-jti",
        "iss": "https://marker.example",
    }
    for token in (FACTORY.token(**sent), FACTORY.token(header={"kid": "marker-kid"}, **sent)):
        answer = WORLD.request("GET", "/marker-path", token)
        text = repr(told(answer))
        assert "marker" not in text
        assert token not in text
        assert str(answer.reason) not in text


@accepts("RS-39", "RS-39.answer")
@pytest.mark.parametrize(
    ("path", "auth_time", "acr"),
    [
        ("/pay", NOW, "mfa"),
        ("/pay", NOW - 60, "hwk"),
        ("/pay", NOW - 60 - 30, "hwk"),  # 30 s of leeway
        ("/pay", NOW - 60.5, "mfa"),
        ("/pay", NOW + 30, "mfa"),
        ("/recent", NOW, ABSENT),
        ("/strong", ABSENT, "mfa"),
        ("/", ABSENT, ABSENT),
    ],
)
def test_a_recent_and_strong_login_opens_what_asks_for_it(
    path: str, auth_time: float, acr: str
) -> None:
    assert WORLD.get(path, FACTORY.token(auth_time=auth_time, acr=acr)).reached


@refuses("RS-39", "RS-39.answer")
@pytest.mark.parametrize(
    ("path", "auth_time", "acr", "reason"),
    [
        ("/pay", NOW - 60 - 31, "mfa", reasons.AUTHENTICATION_AGE),
        ("/pay", ABSENT, "mfa", reasons.AUTHENTICATION_AGE),
        ("/pay", None, "mfa", reasons.AUTHENTICATION_AGE),
        ("/pay", True, "mfa", reasons.AUTHENTICATION_AGE),
        ("/pay", str(NOW), "mfa", reasons.AUTHENTICATION_AGE),
        ("/pay", NOW * 1000, "mfa", reasons.AUTHENTICATION_AGE),
        ("/pay", -1, "mfa", reasons.AUTHENTICATION_AGE),
        ("/pay", NOW + 31, "mfa", reasons.AUTHENTICATION_AGE),
        ("/recent", NOW + 3600, ABSENT, reasons.AUTHENTICATION_AGE),
        ("/recent", NOW - 31, ABSENT, reasons.AUTHENTICATION_AGE),
        ("/pay", NOW, "pwd", reasons.AUTHENTICATION_CONTEXT),
        ("/pay", NOW, "MFA", reasons.AUTHENTICATION_CONTEXT),
        ("/pay", NOW, "mfa hwk", reasons.AUTHENTICATION_CONTEXT),
        ("/pay", NOW, ["mfa"], reasons.AUTHENTICATION_CONTEXT),
        ("/pay", NOW, ABSENT, reasons.AUTHENTICATION_CONTEXT),
        ("/strong", NOW, None, reasons.AUTHENTICATION_CONTEXT),
    ],
)
def test_an_old_or_weak_login_is_told_what_to_do(
    path: str, auth_time: object, acr: object, reason: Reason
) -> None:
    answer = WORLD.get(path, FACTORY.token(auth_time=auth_time, acr=acr))
    # RFC 9470 s3: this error code, and the parameters that the client takes to its next request.
    assert (answer.status, answer.error) == (401, "insufficient_user_authentication")
    assert (answer.reached, answer.reason) == (False, reason)
    wanted = {"/pay": {"acr_values": "mfa hwk", "max_age": "60"}, "/recent": {"max_age": "0"}}
    found = parameters(answer.challenge)
    assert {name: found[name] for name in ("acr_values", "max_age") if name in found} == wanted.get(
        path, {"acr_values": "mfa"}
    )


SECRET = "N7v2Qx9LrT4bKw8ZfY1mHc6DgJ3sPaE5uVtXoR0i"
MARKED: dict[str, Any] = {
    "sub": "marker-sub",
    "email": "marker@example.com",
    "roles": ["marker-role"],
}


def broken(token: AccessToken) -> bool:
    raise LookupError(f"no such user: {token.subject}")


@refuses("RS-41")
def test_no_log_holds_a_token_a_secret_or_a_claim(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[Event] = []

    def counter(event: Event) -> None:
        events.append(event)
        raise RuntimeError("the counter is broken")

    settings = FACTORY.settings(on_event=counter, routes=ROUTES)
    worlds = World(settings), World(settings.replace(checks=(broken,)))
    good = FACTORY.token(scope="marker-scope", jti="marker-jti", **MARKED)
    tokens = [
        good,
        good[:-4],
        f"{good}.",
        FACTORY.token(sub="marker\n"),
        FACTORY.token(exp="marker"),
    ]
    tokens += [FACTORY.token(header={"kid": "marker-kid"}), FACTORY.token(header={"typ": "marker"})]
    for world in worlds:
        for path in ("/", "/write", "/pay"):
            for token in tokens:
                world.get(path, token)
                world.get(path, headers=[("Authorization", f"Bearer {token}, {token}")])
    written = caplog.text + repr(events) + "".join(map(str, events))
    assert "check_failed" in written
    assert "marker" not in written
    assert not any(part in written for token in tokens for part in token.split(".") if part)


@accepts("RS-41")
def test_the_log_tells_the_reason_the_status_and_the_path(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    WORLD.get("/write", FACTORY.token(scope="read"))
    assert {record.name for record in caplog.records} == {"jwt_middleware"}
    for word in ("scope_insufficient", "403", "GET", "/write"):
        assert word in caplog.text


@refuses("RS-41")
def test_no_repr_holds_a_token_a_secret_or_a_claim() -> None:
    keys = KeySet.secret(SECRET)
    factory = TokenFactory(algorithm="HS256")
    token = World(factory.settings()).get(token=factory.token(scope="marker", **MARKED)).token
    private = FACTORY.key.to_jwk()["d"]
    shown = [keys, keys.keys, factory.settings(keys=keys), FACTORY.keys, FACTORY.settings(), token]
    text = "".join(f"{one!r}{one!s}" for one in shown)
    assert not [part for part in (SECRET, private, "marker") if part in text]
    assert "alg=HS256 secret" in text  # what it does show: enough to know which key it is


WORDS = "marker word password " * 3
BAD_KEYS = {
    "short": lambda: KeySet.secret(SECRET[:20]),
    "repeated": lambda: KeySet.secret(SECRET[:4] * 8),
    "of-words": lambda: KeySet.secret(WORDS),
    "wrong-algorithm": lambda: KeySet.secret(SECRET, algorithm="RS256"),
    "broken-pem": lambda: KeySet.pem(
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"
    ),
    "no-pem": lambda: KeySet.pem(SECRET),
    "no-json": lambda: KeySet.from_jwks(f'{{"k":"{SECRET}"'),
    "no-set": lambda: KeySet.from_jwks(f'{{"k":"{SECRET}"}}'),
    "no-base64": lambda: KeySet.from_jwks(
        {"keys": [{"kty": "oct", "k": f"{SECRET}!", "alg": "HS256"}]}
    ),
    "no-alg": lambda: KeySet.from_jwks({"keys": [{"kty": "oct", "k": SECRET}]}),
    "no-point": lambda: KeySet.from_jwks({"keys": [FACTORY.key.to_jwk() | {"d": SECRET}]}),
}


@refuses("RS-41")
@pytest.mark.parametrize("make", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_no_error_about_a_key_shows_it(make: Callable[[], KeySet]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    shown = f"{caught.value!s}{caught.value!r}" + "".join(traceback.format_exception(caught.value))
    assert SECRET[:4] not in shown
    assert "marker" not in shown


@refuses("RS-41")
@pytest.mark.parametrize("token", ["marker\N{EURO SIGN}", "marker", "bWFya2Vy.bWFya2Vy.bWFya2Vy"])
def test_no_error_about_a_token_shows_it(token: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        jws.parse(token)
    shown = f"{caught.value!s}{caught.value!r}" + "".join(traceback.format_exception(caught.value))
    assert token not in shown
