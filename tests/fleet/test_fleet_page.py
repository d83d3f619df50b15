"""The three services of docs/fleet.md really run: its files, its code, a login and its end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from jwt_middleware import KeySet, Settings
from tests import serving
from tests.waiting import PATIENCE, until

PAGE = Path(__file__).parent.parent.parent / "docs" / "fleet.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's blocks, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    module = ModuleType("fleet_page")
    for block in BLOCKS:
        exec(block, module.__dict__)
    return module


@pytest.fixture
def services(page: ModuleType, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The URLs of three servers, with variables as a cluster gives them."""
    KeySet.generate().save(tmp_path / "keys.json")
    (tmp_path / "store").write_text(f"sqlite:///{tmp_path}/grants.db\n")
    made: list[Settings] = []
    with ExitStack() as stack:

        def settings(name: str, **variables: str) -> Settings:
            named = {f"JWT_MIDDLEWARE_{one}": value for one, value in variables.items()}
            made.append(page.settings_of(name, environ=named))
            return made[-1]

        store = str(tmp_path / "store")
        found: dict[str, str] = {}

        def login(url: str) -> Any:
            keys = str(tmp_path / "keys.json")
            return page.make_login(
                settings("login", ISSUER=url, KEYS=keys, REFRESH__STORE_FILE=store)
            )

        found["login"] = stack.enter_context(serving.asgi(login, lifespan="on"))
        issuer = found["login"]

        def orders(_: str) -> Any:
            given = settings("orders", ISSUER=issuer, REFRESH__STORE_FILE=store)
            return page.make_app(given, "/orders/mine")

        found["orders"] = stack.enter_context(serving.asgi(orders, lifespan="on"))

        def reports(_: str) -> Any:
            return page.make_app(settings("reports", ISSUER=issuer), "/reports/mine")

        found["reports"] = stack.enter_context(serving.asgi(reports, lifespan="on"))
        yield found


def test_three_services_log_a_user_in_and_out(services: dict[str, str]) -> None:
    login, orders, reports = services["login"], services["orders"], services["reports"]
    with httpx.Client(timeout=PATIENCE) as client:
        parts = {"store": True, "feed": True}
        assert client.get(f"{login}/ready").json() == {
            "ready": True,
            "parts": {"keys": True} | parts,
        }
        assert client.get(f"{orders}/ready").json() == {
            "ready": True,
            "parts": {"keys": True} | parts,
        }
        assert client.get(f"{reports}/ready").json() == {"ready": True, "parts": {"keys": True}}
        for url in services.values():
            assert client.get(f"{url}/health").json() == {"alive": True}
        tokens = client.post(f"{login}/login", json={"user": "alice"}).json()
        assert tokens["expires_in"] <= 300  # of login/service.toml
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert client.get(f"{orders}/orders/mine", headers=bearer).json() == {"of": "alice"}
        assert client.get(f"{reports}/reports/mine", headers=bearer).json() == {"of": "alice"}
        assert client.get(f"{orders}/orders/mine").status_code == 401
        body = {"token": tokens["refresh_token"]}
        assert client.post(f"{login}/auth/revoke", data=body).status_code == 200

        def is_out() -> bool:
            return client.get(f"{orders}/orders/mine", headers=bearer).status_code == 401

        until(is_out)  # it shares the store
        assert client.get(f"{reports}/reports/mine", headers=bearer).status_code == 200


def test_the_table_of_files_names_each(page: ModuleType) -> None:
    text = PAGE.read_text("utf-8")
    for name in page.FILES:
        assert f"| `{name}` |" in text
