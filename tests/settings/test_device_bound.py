"""`Cookies.device_bound`: all sources mean the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Cookies, KeySet, Refresh, Settings


def test_all_sources_mean_the_same(tmp_path: Path) -> None:
    KeySet.generate().save(tmp_path / "keys.json")
    mapping: dict[str, Any] = {
        "issuer": "https://login.example",
        "audience": "https://api.example",
        "keys": {"file": str(tmp_path / "keys.json")},
        "refresh": {"store": "memory://", "cookies": {"device_bound": True}},
    }
    variables = {
        "JWT_MIDDLEWARE_ISSUER": "https://login.example",
        "JWT_MIDDLEWARE_AUDIENCE": "https://api.example",
        "JWT_MIDDLEWARE_KEYS__FILE": str(tmp_path / "keys.json"),
        "JWT_MIDDLEWARE_REFRESH__STORE": "memory://",
        "JWT_MIDDLEWARE_REFRESH__COOKIES__DEVICE_BOUND": "true",
    }
    toml = tmp_path / "settings.toml"
    toml.write_text(
        f"""[jwt_middleware]
issuer = "https://login.example"
audience = "https://api.example"
keys.file = "{tmp_path}/keys.json"
refresh.store = "memory://"
refresh.cookies = {{ device_bound = true }}
""",
        "utf-8",
    )
    for found in (
        Settings.from_mapping(mapping),
        Settings.from_env(variables),
        Settings.from_toml(toml),
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
