"""The kit for tests of applications: its tokens are good, its attacks are what they say."""

import subprocess
import sys

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route as Endpoint
from starlette.testclient import TestClient

from jwt_middleware import ConfigurationError, KeySet
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.jose.algorithms import ALGORITHMS
from jwt_middleware.testing import ABSENT, Attack, TokenFactory
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.world import World, standing

# Attacks are made when tests are collected, and run much later.
FACTORY = TokenFactory(clock=standing)
WORLD = World(FACTORY.settings())
ATTACKS = FACTORY.attacks()

# Why an attack must have been refused: else it was an accident, and the attack not what it says.
# An unsigned token ends at its empty signature, before anyone reads its header.
REASONS = {
    "RS-01": {"credentials_missing", "credentials_malformed"},
    "RS-03": {"credentials_twice"},
    "RS-04": {"credentials_missing"},
    "RS-05": {"signature_invalid"},
    "RS-09": {"credentials_missing"},
    "RS-10": {"token_segments", "token_encoding", "token_too_long", "credentials_malformed"},
    "RS-11": {"token_encoding"},
    "RS-12": {"token_json"},
    "RS-13": {"token_json"},
    "RS-14": {"algorithm_not_allowed", "token_encoding"},
    "RS-16": {"algorithm_not_allowed"},
    "RS-21": {"signature_invalid"},
    "RS-22": {"header_unsupported"},
    "RS-23": {"header_unsupported", "token_segments", "algorithm_not_allowed"},
    "RS-24": {"type_not_allowed"},
    "RS-25": {"type_not_allowed"},
    "RS-26": {"key_unknown", "kid_malformed"},
    "RS-30": {"expired", "claim_malformed", "token_json"},
    "RS-31": {"not_yet_valid", "claim_malformed", "token_json"},
    "RS-32": {"issued_in_future", "claim_malformed", "token_json"},
    "RS-33": {"issuer_not_trusted"},
    "RS-34": {"audience_not_ours", "claim_malformed"},
    "RS-68": {"credentials_missing"},
    "RS-35": {"claim_missing", "claim_malformed"},
    "RS-36": {"claim_malformed"},
    "RS-38": {"claim_malformed"},
    "RS-53": {"sender_constrained"},
    "RS-59": {"sender_constrained"},
}


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_an_attack_is_refused_for_what_it_is_named_after(attack: Attack) -> None:
    answer = WORLD.get(headers=attack.headers)
    assert not answer.reached
    assert answer.status in attack.statuses
    # A JSON serialization has commas, as two credentials in one line have.
    reasons = REASONS[attack.rule] | ({"credentials_twice"} if "json" in attack.name else set())
    assert answer.reason in reasons


def test_attacks_have_names_of_their_own_and_hide_their_tokens() -> None:
    assert len({str(attack) for attack in ATTACKS}) == len(ATTACKS) >= 250
    assert all(FACTORY.token()[:20] not in repr(attack) for attack in ATTACKS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_has_good_tokens(algorithm: str) -> None:
    factory = TokenFactory(algorithm=algorithm)
    assert World(factory.settings()).get(token=factory.token()).reached


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES512", "Ed25519"])
def test_every_kind_of_key_has_attacks_that_are_refused(algorithm: str) -> None:
    factory = TokenFactory(algorithm=algorithm)
    world = World(factory.settings())
    answers = {attack: world.get(headers=attack.headers) for attack in factory.attacks()}
    wrong = {a.name: b.status for a, b in answers.items() if b.status not in a.statuses}
    assert wrong == {}
    assert not any(answer.reached for answer in answers.values())


@pytest.mark.parametrize(("issuer", "audience"), [("1", "2"), ("https://alice.example", "alice")])
def test_attacks_are_attacks_whatever_the_names(issuer: str, audience: str) -> None:
    factory = TokenFactory(issuer=issuer, audience=audience)
    world = World(factory.settings())
    assert world.get(token=factory.token()).reached
    assert [a for a in factory.attacks() if world.get(headers=a.headers).reached] == []


def test_attacks_can_be_sent_by_clients_of_every_kind() -> None:
    settings = FACTORY.settings()
    flask = Flask(__name__)
    flask.add_url_rule("/", view_func=lambda: "in")
    flask.wsgi_app = WSGIMiddleware(flask.wsgi_app, settings)  # type: ignore[method-assign]
    starlette = Starlette(routes=[Endpoint("/", lambda request: PlainTextResponse("in"))])
    starlette.add_middleware(ASGIMiddleware, settings=settings)
    by_pairs, by_octets = flask.test_client(), TestClient(starlette)
    assert by_pairs.get("/", headers=FACTORY.bearer()).text == "in"
    assert by_octets.get("/", headers=FACTORY.bearer()).text == "in"
    wrong = [
        attack.name
        for attack in ATTACKS
        if by_pairs.get("/", headers=list(attack.headers)).status_code not in attack.statuses
        or by_pairs.get("/", headers=attack.joined).status_code not in attack.statuses
        or by_octets.get("/", headers=attack.raw).status_code not in attack.statuses
    ]
    assert wrong == []


def test_a_dict_of_headers_keeps_both_of_two_headers() -> None:
    (two,) = (attack for attack in ATTACKS if attack.name == "two-headers")
    assert two.joined == {"Authorization": ", ".join(value for _, value in two.headers)}


def test_a_claim_and_a_header_member_can_be_set_and_left_out() -> None:
    token = FACTORY.token(sub="bob", roles=["editor"], scope="read")
    answer = WORLD.get(token=token)
    assert answer.token is not None
    assert (answer.user, answer.token.scope) == ("bob", "read")
    assert answer.token.claims["roles"] == ("editor",)
    assert WORLD.get(token=FACTORY.token(jti=ABSENT)).reason == "claim_missing"
    assert WORLD.get(token=FACTORY.token(jti=None)).reason == "claim_malformed"
    # One key needs no name: without kid the token is as good.
    assert WORLD.get(token=FACTORY.token(header={"kid": ABSENT, "note": 1})).reached
    assert WORLD.get(headers=list(FACTORY.bearer(header={"typ": "JWT"}).items())).status == 401
    assert repr(ABSENT) == "ABSENT"
    with pytest.raises(ValueError, match="JSON"):
        FACTORY.token(exp=float("nan"))


def test_the_settings_take_any_field_and_the_factorys_clock() -> None:
    factory = TokenFactory(issuer="https://i.example", audience="a", clock=lambda: 1_800_000_000.5)
    world = World(factory.settings(realm="other"))
    answer = world.get(token=factory.token())
    assert answer.token is not None
    assert answer.token.expires_at == 1_800_000_600
    assert 'realm="other"' in world.get().challenge
    with pytest.raises(ConfigurationError, match="algorithm"):
        TokenFactory(algorithm="none")


def test_settings_of_ones_own_can_be_made_to_trust_a_factory() -> None:
    mine = TokenFactory().settings(realm="mine", keys=KeySet.generate())
    theirs = TokenFactory(issuer="https://other.example")
    world = World(mine.replace(issuer=theirs.issuer, audience=theirs.audience, keys=theirs.keys))
    assert world.get(token=theirs.token()).reached
    assert not world.get(token=FACTORY.token()).reached


def test_the_kit_imports_neither_a_framework_nor_a_test_runner() -> None:
    code = (
        "import sys, jwt_middleware.testing as t; t.TokenFactory().attacks();"
        "print({'pytest', 'hypothesis', 'starlette', 'werkzeug', 'httpx'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
