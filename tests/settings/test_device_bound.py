"""`Cookies.device_bound`: all sources mean the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from jwt_middleware import ConfigurationError, Cookies, Refresh

from .each_source import from_each


def test_all_sources_mean_the_same(tmp_path: Path) -> None:
    for found in from_each(
        tmp_path,
        mapping={"refresh": {"cookies": {"device_bound": True}}},
        variables={"REFRESH__COOKIES__DEVICE_BOUND": "true"},
        toml="refresh.cookies = { device_bound = true }",
    ):
        assert found.refresh is not None
        assert found.refresh.cookies is not None
        assert found.refresh.cookies.device_bound is True


def test_it_is_off_unless_it_is_asked_for() -> None:
    assert Cookies().device_bound is False
    assert Cookies().jars("https://login.example").device is None
    with pytest.raises(ConfigurationError, match=r"refresh\.cookies\.device_bound"):
        Cookies(device_bound="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/auth/device", "/auth/device/refresh"])
def test_its_paths_are_its_own(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"refresh\.jwks_path: is another endpoint's"):
        Refresh(store="memory://", cookies=Cookies(device_bound=True), jwks_path=path)
    assert Refresh(store="memory://", cookies=Cookies(), jwks_path=path).jwks_path == path
