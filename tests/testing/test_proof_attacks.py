"""The attacks with bound tokens: each is refused for what it is named after."""

from __future__ import annotations

from typing import Any

import pytest

from jwt_middleware import Proofs, Refresh
from jwt_middleware.testing import Attack, Prover, TokenFactory
from tests.rules import refuses
from tests.world import World, standing

FACTORY = TokenFactory(clock=standing)
ROOT = "https://api.example"
KINDS: dict[str, dict[str, Any]] = {
    "nonces": {"proofs": Proofs(), "refresh": Refresh(store="memory://")},
    "no nonces": {"proofs": Proofs(urls=(ROOT,), nonces=False)},
}
WORLDS = {kind: World(FACTORY.settings(**given)) for kind, given in KINDS.items()}
COMMON = {attack.name for attack in FACTORY.attacks()}
ATTACKS = [
    pytest.param(kind, attack, id=f"{attack}, {kind}")
    for kind, world in WORLDS.items()
    for attack in FACTORY.attacks(world.settings)
    if attack.name not in COMMON
]
REASONS = {
    "RS-50": {
        *("proof_missing", "proof_twice", "proof_malformed", "proof_type", "proof_algorithm"),
        *("proof_key", "proof_signature", "proof_claim"),
    },
    "RS-51": {"proof_of_another_method", "proof_of_another_url"},
    "RS-52": {"proof_of_another_token", "proof_by_another_key"},
    "RS-53": {"sender_constrained", "token_not_bound"},
    "RS-54": {"proof_too_old"},
    "RS-56": {"proof_nonce"},
}


@refuses("RS-50", "RS-51", "RS-52", "RS-53", "RS-54", "RS-56")
@pytest.mark.parametrize(("kind", "attack"), ATTACKS)
def test_an_attack_is_refused_for_what_it_is_named_after(kind: str, attack: Attack) -> None:
    answer = WORLDS[kind].request(attack.method, attack.path, headers=attack.headers)
    assert answer.status in attack.statuses
    assert not answer.reached
    assert answer.reason in REASONS[attack.rule]


def test_there_are_names_for_all_that_bound_tokens_are_for() -> None:
    by_kind = {kind: [p.values[1] for p in ATTACKS if p.values[0] == kind] for kind in KINDS}
    assert {kind: len(found) for kind, found in by_kind.items()} == {"nonces": 28, "no nonces": 25}


def test_without_proofs_there_are_none() -> None:
    found = {attack.name for attack in FACTORY.attacks(FACTORY.settings())}
    assert not {name for name in found if name.startswith("proof")}


def test_a_good_request_of_the_same_client_is_let_in() -> None:
    world = WORLDS["no nonces"]
    prover = Prover(ROOT, clock=standing)
    token = FACTORY.token(cnf=prover.cnf)
    for door in (world.through_wsgi, world.through_asgi):
        headers = prover.headers("GET", "/", token)
        sent = [(name, value.encode()) for name, value in headers.items()]
        assert door("GET", "/", sent).status == 200
        assert door("GET", "/", sent).reason == "proof_replayed"
