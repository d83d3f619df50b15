"""Test an application behind the middleware: real tokens, and a catalogue of hostile requests.

    factory = TokenFactory()
    client = TestClient(make_app(factory.settings(routes=...)))

    def test_the_answer_is_for_alice() -> None:
        assert client.get("/", headers=factory.bearer(sub="alice")).status_code == 200

    @pytest.mark.parametrize("attack", factory.attacks(), ids=str)
    def test_an_attack_is_refused(attack: Attack) -> None:
        assert client.get("/", headers=attack.raw).status_code in attack.statuses

Nothing here needs a network, a test framework or a web framework.
"""

from __future__ import annotations

from .attack import Attack
from .clock import Clock
from .factory import TokenFactory
from .mint import ABSENT
from .prover import Prover
from .users import as_browser, as_user

__all__ = ["ABSENT", "Attack", "Clock", "Prover", "TokenFactory", "as_browser", "as_user"]
