"""The site with settings of its own, but the keys and the clock of a factory: docs/testing.md."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from jwt_middleware import KeySet, Settings
from jwt_middleware.testing import TokenFactory

from .app import make_app
from .settings import make_settings
from .users import Users


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table with one user of each role: made once, because hashing takes its time."""
    path = tmp_path_factory.mktemp("users") / "users.db"
    found = Users(path)
    for name, role in (("alice", "editor"), ("bob", "reader"), ("grace", "admin")):
        found.add(name, f"{name}'s password", role)
    return path


@pytest.fixture
def users(table: Path, tmp_path: Path) -> Users:
    """Return a copy of the table, which a test may change."""
    return Users(Path(shutil.copy(table, tmp_path)))


@pytest.fixture
def jwt_settings(users: Users) -> Settings:
    """Return the settings that are tested."""
    return make_settings("http://127.0.0.1:8000", KeySet.generate(), users, "memory://")


@pytest.fixture
def client(jwt_factory: TokenFactory, users: Users, tmp_path: Path) -> Iterator[TestClient]:
    """Give a client without cookies; with one event loop for all it does."""
    (tmp_path / "archive.bin").write_bytes(b"x" * 100_000)
    app = make_app(jwt_factory.settings(), users, tmp_path / "archive.bin")
    with TestClient(app, base_url="http://127.0.0.1:8000") as found:
        yield found
