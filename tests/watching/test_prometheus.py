"""Prometheus: what its client shows, alone and for several processes that answer as one."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from jwt_middleware import ConfigurationError, Issuer, KeySet, Refresh, Settings
from jwt_middleware import prometheus as bridge
from jwt_middleware.prometheus import IN_DEFAULT_REGISTRY, Prometheus
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.metrics import INSTRUMENTS
from tests.processes import free_port, started
from tests.waiting import until
from tests.world import NOW, World


def shown(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    return parsed(generate_latest(registry).decode())


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """Return the samples by name and the values of their labels, in the order of the labels."""
    return {
        (
            sample.name.removeprefix("jwt_middleware_"),
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_registry_shows_the_table() -> None:
    registry, factory = CollectorRegistry(), TokenFactory(clock=lambda: NOW)
    settings = factory.settings(metrics=Prometheus(registry), refresh=Refresh(store="memory://"))
    world = World(settings)
    before = shown(registry)
    assert before["requests_let_in_total", "other", "known"] == 0
    assert ("feed_synced_timestamp_seconds",) not in before  # it would be 1970
    tokens = Issuer(world.settings).issue("alice")
    for _ in range(3):
        world.get("/", tokens.access_token)
    world.get("/")
    found = shown(registry)
    assert found["requests_let_in_total", "other", "known"] == 4
    assert found["requests_refused_total", "credentials_missing", "other"] == 2
    assert found["events_total", "issued"] == 1
    assert found["tokens_known",] == 2
    assert found["feed_synced_timestamp_seconds",] == NOW
    assert found["store_duration_seconds_count", "ok", "add"] == 1
    assert {one.name for one in registry.collect()} <= {
        one.name.replace(".", "_") + ("_seconds" if one.unit == "s" else "") for one in INSTRUMENTS
    }
    world.settings.close()
    # A part of the registry, as some ask for it.
    part = registry.restricted_registry(["jwt_middleware_tokens_known"])
    assert [one.name for one in part.collect()] == ["jwt_middleware_tokens_known"]


def test_settings_of_one_registry_are_added_up() -> None:
    registry, factory = CollectorRegistry(), TokenFactory()
    worlds = [World(factory.settings(metrics=Prometheus(registry))) for _ in range(2)]
    for world in worlds:
        world.get("/", factory.token())
    assert shown(registry)["requests_let_in_total", "other", "new"] == 4


def test_the_default_registry_is_the_clients() -> None:
    factory = TokenFactory(issuer="https://in-the-default.example")
    keys = KeySet.remote("https://keys.example/jwks")
    World(factory.settings(keys=keys, metrics=IN_DEFAULT_REGISTRY))
    assert shown(REGISTRY)["keys_fetches_total", factory.issuer, "ok"] == 0


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return tmp_path


def test_where_several_answer_as_one_each_writes_soon(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "WRITE_EVERY", 0.01)
    registry, factory = CollectorRegistry(), TokenFactory()
    world = World(factory.settings(metrics=Prometheus(registry)))
    published = bridge._registries[registry]
    assert published._thread is None  # a parent that serves nobody has no thread when it forks
    world.get("/", factory.token())
    until(lambda: published._told)
    world.get("/", factory.token())
    world.settings.close()
    assert (
        sum(number for (one, _), number in published._told.items() if one.name.endswith("in")) == 4
    )
    assert not list(registry.collect())  # nobody asks this process: it isn't registered


def test_where_no_thread_can_be_had_it_is_written_at_the_end(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", full)
    registry, factory = CollectorRegistry(), TokenFactory()
    world = World(factory.settings(metrics=Prometheus(registry)))
    world.through_wsgi("GET", "/", [])
    assert not bridge._registries[registry]._told
    world.settings.close()
    assert bridge._registries[registry]._told


def test_a_thread_that_failed_is_followed_by_another(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "WRITE_EVERY", 0)
    registry, factory = CollectorRegistry(), TokenFactory()
    world = World(factory.settings(metrics=Prometheus(registry)))
    published = bridge._registries[registry]
    with monkeypatch.context() as patch:
        patch.setattr(published, "write", lambda: 1 / 0)
        patch.setattr("threading.excepthook", lambda _: None)
        world.get("/", factory.token())
        until(lambda: published._thread is None)
    world.get("/", factory.token())
    until(lambda: published._told)


FORKED = """
import os, sys
from prometheus_client import CollectorRegistry
from jwt_middleware.prometheus import Prometheus
from jwt_middleware.testing import TokenFactory
from tests.watching.test_prometheus import shown
from tests.world import World
registry, factory = CollectorRegistry(), TokenFactory()
world, token = World(factory.settings(metrics=Prometheus(registry))), factory.token()
world.get("/", token)
key = "requests_let_in_total", "other", "known"
new = "requests_let_in_total", "other", "new"
totals = lambda: {labels: number for (one, labels), number in published.totals.totals().items()
                  if one.name.endswith("let_in")}
from jwt_middleware import prometheus
published = prometheus._registries[registry]
assert totals()["other", "new"] == 2
pid = os.fork()
world.get("/", token)
if not pid:
    assert totals() == {("other", "new"): 0, ("other", "known"): 2, ("other", "none"): 0}
    published.write()  # its lock is its own
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert totals() == {("other", "new"): 2, ("other", "known"): 2, ("other", "none"): 0}
assert shown(registry)[new] == 2
"""


def test_a_forked_child_counts_from_zero() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=True, cwd=ROOT)


def test_nothing_is_written_during_a_fork(files: Path) -> None:
    registry = CollectorRegistry()
    Prometheus(registry).begin(Nothing())
    published = bridge._registries[registry]
    bridge._hold()
    assert published.lock.locked()
    bridge._let_go()
    assert not published.lock.locked()
    bridge._hold()
    bridge._renew()  # in the child
    assert not published.lock.locked()


class Nothing:
    """A source that has measured nothing."""

    def counts(self) -> tuple[()]:
        return ()

    def gauges(self) -> tuple[()]:
        return ()


def test_without_the_client_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    refused_to_load(bridge, "prometheus")


def refused_to_load(module: ModuleType, extra: str) -> None:
    spec = importlib.util.spec_from_file_location("jwt_middleware.another", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ConfigurationError, match=rf"pip install .*\[{extra}\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


ROOT = Path(__file__).parent.parent.parent


def _get(port: int, path: str, token: str = "") -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=30) as answer:
        found: str = answer.read().decode()
        return found


@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_gunicorns_workers_answer_as_one(tmp_path: Path, preload: tuple[str, ...]) -> None:
    factory = TokenFactory(issuer="https://login.example", audience="https://api.example")
    factory.settings().keys.save(tmp_path / "keys.json")
    (tmp_path / "metrics").mkdir()
    port = free_port()
    server = started(
        (
            *("gunicorn", "-c", "tests/watching/multi_conf.py", "-b", "127.0.0.1:{port}"),
            *(*preload, "tests.watching.multi_app:app"),
        ),
        port,
        tmp_path / "log",
        KEYS=str(tmp_path / "keys.json"),
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "metrics"),
    )
    try:
        until(lambda: _get(port, "/pid"), passing=(OSError,))
        token, pids, sent = factory.token(), set[str](), 0

        def served() -> bool:
            nonlocal sent
            sent += 1
            pids.add(_get(port, "/items", token))
            return len(pids) == 2

        until(served)

        def let_in() -> float:
            found = parsed(_get(port, "/metrics"))
            return sum(
                value
                for (name, *labels), value in found.items()
                if name == "requests_let_in_total" and labels[:1] == ["other"]
            )

        # The client fails at a file that another worker has just made, and that is still empty.
        until(lambda: let_in() == sent, passing=(HTTPError,))
        # What a worker has counted stays when it is gone; another takes its place.
        one, _ = pids
        os.kill(int(one), signal.SIGTERM)
        until(lambda: _get(port, "/pid") not in pids, passing=(OSError,))
        until(lambda: let_in() == sent, passing=(HTTPError,))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_settings_from_a_file_name_it() -> None:
    mapping: dict[str, Any] = {
        "issuer": "https://login.example",
        "audience": "https://api.example",
        "keys": KeySet.generate(),
    }
    name = "jwt_middleware.prometheus:IN_DEFAULT_REGISTRY"
    both = [name, "jwt_middleware.otel:TO_GLOBAL_PROVIDERS"]
    assert Settings.from_mapping(mapping | {"metrics": name}).metrics == (IN_DEFAULT_REGISTRY,)
    found = Settings.from_mapping(mapping | {"metrics": both}).metrics
    assert isinstance(found, tuple)
    assert len(found) == 2
