"""Proofs and nonces by themselves: what is kept of them, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from jwt_middleware import Cookies, KeySet, Proofs, Refresh
from jwt_middleware.testing import Prover, TokenFactory
from jwt_middleware.token.nonces import Nonces
from jwt_middleware.token.proof import ProofReader
from jwt_middleware.values.errors import ConfigurationError, InvalidProof
from tests.proofs.shown import Shown
from tests.rules import accepts, refuses
from tests.world import NOW


@accepts("RS-50")
@pytest.mark.parametrize("most", [0, 1, 2])
def test_the_keys_of_good_proofs_are_kept_up_to_a_number(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("jwt_middleware.token.proof.MOST_HOLDERS", most)
    reader, provers = ProofReader(), [Prover() for _ in range(4)]
    for prover in provers * 2:
        proof = reader.read(prover.proof("GET", "/"))
        assert proof.thumbprint == prover.thumbprint
        reader.keep(proof)
        reader.keep(proof)
    seen = {id(reader.read(one.proof("GET", "/")).holder) for one in provers}
    again = {id(reader.read(one.proof("GET", "/")).holder) for one in provers}
    assert len(seen & again) >= most


@accepts("RS-54")
@refuses("RS-50")
def test_the_time_of_a_proof_is_any_number_of_json() -> None:
    shown = Shown()
    assert shown.ask(iat=NOW + 0.25).status == 200
    spoilt: Any
    for spoilt in (-1, 1e300, 253402300800, [int(NOW)], None, {}):
        assert shown.ask(iat=spoilt).reason == "proof_claim"


@refuses("RS-56")
@pytest.mark.parametrize("nonce", ["", "!" * 28, "A" * 27, "A" * 29, "=" * 28, "A" * 24 + "===="])
def test_what_is_no_base64url_is_no_nonce(nonce: str) -> None:
    (key,) = KeySet.secret("wq8eZ1v-8RkTn5iB0yq2mJxUa4cLs7dHf3gPo6tVb9E").keys
    nonces = Nonces(lambda: [key], every=300, lifetime=600)
    assert not nonces.is_current(nonce, NOW)
    made = nonces.make(NOW)
    assert nonces.is_current(made, NOW)
    assert not nonces.is_current(made, nonces.end_of(made))
    assert nonces.is_current(made, nonces.end_of(made) - 1)


@refuses("RS-50")
def test_a_proof_of_someone_else_is_read_for_what_it_says() -> None:
    with pytest.raises(InvalidProof):
        ProofReader(("ES384",)).read(Prover().proof("GET", "/"))


@accepts("RS-51")
def test_the_url_of_the_endpoints_is_that_of_the_application() -> None:
    factory = TokenFactory(clock=lambda: NOW)
    group = Refresh(store="memory://", public_url="https://shop.example/app")
    shown = Shown(proofs=Proofs(nonces=False), refresh=group)
    shown.prover.root = "https://shop.example/app"
    assert shown.ask().status == 200
    with pytest.raises(ConfigurationError, match=r"proofs\.access"):
        factory.settings(
            proofs=Proofs(access=True),
            refresh=Refresh(store="memory://", cookies=Cookies(access=True)),
        )
