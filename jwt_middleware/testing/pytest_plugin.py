"""Fixtures for pytest, which finds them by itself where this package is installed.

`jwt_factory` makes tokens, and settings that accept them; `jwt_clock` is their clock; a test that
takes `jwt_attack` runs once for each attack. Override `jwt_settings` to test with your own.
"""

from __future__ import annotations

import pytest

from ..settings.settings import Settings
from .attack import Attack
from .clock import Clock
from .factory import TokenFactory


@pytest.fixture
def jwt_settings() -> Settings | None:
    """Return your own settings: override this fixture. None: those of a service that verifies."""
    return None


@pytest.fixture
def jwt_clock() -> Clock:
    """Return the clock of `jwt_factory` and its settings: `jwt_clock.advance(600)`."""
    return Clock()


@pytest.fixture
def jwt_factory(jwt_settings: Settings | None, jwt_clock: Clock) -> TokenFactory:
    """Return a factory of tokens; give your application `jwt_factory.settings()`."""
    if jwt_settings is None:
        return TokenFactory(clock=jwt_clock)
    return TokenFactory.like(jwt_settings, clock=jwt_clock)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `jwt_attack` once for each attack."""
    if "jwt_attack" in metafunc.fixturenames:
        names = [attack.name for attack in TokenFactory().attacks()]
        metafunc.parametrize("jwt_attack", names, indirect=True)


@pytest.fixture
def jwt_attack(request: pytest.FixtureRequest, jwt_factory: TokenFactory) -> Attack:
    """Return one hostile request, with tokens of `jwt_factory`; see `Attack`."""
    return next(one for one in jwt_factory.attacks() if one.name == request.param)
