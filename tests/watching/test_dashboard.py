"""The dashboard and the alerts, on a real Prometheus that scrapes a real application of ours."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from jwt_middleware.events import Event
from jwt_middleware.stores.contract import STORE_VERBS
from jwt_middleware.values import metrics
from tests.waiting import until

from .scraped import ALERTS, DASHBOARD, ROOT, Served, found, prometheus, shop

BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
TARGETS = [
    (panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel["targets"]
]
EXPORTED = {
    one.name.replace(".", "_") + end
    for one in metrics.INSTRUMENTS
    for end in {
        "counter": ("_total",),
        "gauge": ("_seconds",) if one.unit == "s" else ("",),
        "histogram": ("_seconds_bucket", "_seconds_count", "_seconds_sum"),
    }[one.kind]
}
# The values of each label that expressions may compare with.
VALUES = {
    "event": {one.name for one in get_args(Event)},
    "reason": metrics.REASONS,
    "token": {metrics.KNOWN_TOKEN, metrics.NEW_TOKEN, metrics.NO_TOKEN},
    "outcome": {"ok", "failed", "broken_off", *metrics.OUTCOMES},
    "verb": set(STORE_VERBS),
    "job": {"$job"},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give a Prometheus that has scraped a shop in use."""
    with shop() as (made, port), prometheus(tmp_path_factory.mktemp("prometheus"), port) as server:
        for _ in range(2):  # rates need what grows
            for _ in range(5):
                made.log_in()
            for _ in range(60):
                made.browse()
            for user in made.users:
                made.refresh(user)
            made.steal()
            made.log_out()
            made.get("/items", "forged")
            made.get("/items", made.partner.factory.token(aud="https://shop.example"))
            scrapes = _scrapes(server)
            until(partial(_more_scrapes, server, scrapes + 2))
        yield server


def _scrapes(server: Served) -> int:
    """Return how often the counter of logins has been scraped so far."""
    series = server.query('count_over_time(jwt_middleware_events_total{event="issued"}[1h])')
    return int(series[0]["value"][1]) if series else 0


def _more_scrapes(server: Served, enough: int) -> bool:
    return _scrapes(server) >= enough


def runnable(expression: str) -> str:
    """Return an expression as Grafana sends it."""
    return expression.replace("$__rate_interval", "1m").replace("$job", ".+")


@pytest.mark.xdist_group("prometheus")
@pytest.mark.parametrize(("title", "expression"), TARGETS)
def test_each_panel_has_a_series(served: Served, title: str, expression: str) -> None:
    found = until(lambda: served.query(runnable(expression)))
    assert all(one["value"][1] != "NaN" or "quantile" in expression for one in found)


@pytest.mark.xdist_group("prometheus")
def test_the_alerts_are_evaluated_and_a_theft_fires(served: Served) -> None:
    def rules() -> dict[str, Any]:
        (group,) = served.get("rules")["groups"]
        return {one["name"]: one for one in group["rules"]}

    until(lambda: all(one["health"] == "ok" for one in rules().values()))
    assert until(lambda: rules()["JwtRefreshTokenStolen"]["state"] == "firing")
    assert [one["lastError"] for one in rules().values() if one.get("lastError")] == []


@pytest.mark.xdist_group("prometheus")
def test_the_job_of_the_variable_is_found(served: Served) -> None:
    assert served.get("label/job/values") == ["shop"]
    (source, job) = BOARD["templating"]["list"]
    assert (source["type"], job["definition"]) == (
        "datasource",
        "label_values(jwt_middleware_events_total, job)",
    )


def test_the_alerts_fire_where_they_must() -> None:
    promtool = found("promtool")
    for command in (("check", ALERTS), ("test", ROOT / "tests/watching/alerts_test.yml")):
        done = subprocess.run(
            [promtool, command[0], "rules", str(command[1])],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_expressions_name_only_what_there_is() -> None:
    alerts = ALERTS.read_text("utf-8")
    for expression in (alerts, *(expression for _, expression in TARGETS)):
        assert set(re.findall(r"jwt_middleware_\w+", expression)) <= EXPORTED
        for label, values in re.findall(r'(\w+)[=!]~?"([^"]*)"', expression):
            assert set(values.split("|")) <= VALUES[label], (label, values)


def test_the_dashboard_can_be_imported() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]]
    assert len(set(places)) == len(places)
    for panel in BOARD["panels"]:
        assert panel["title"]
        assert panel["description"]
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_every_alert_says_what_to_do() -> None:
    text = Path(ALERTS).read_text("utf-8")
    assert text.count("- alert:") == text.count("runbook:") == text.count("summary:") == 9


PAGE = (ROOT / "docs" / "watching.md").read_text("utf-8")


def test_the_page_has_every_metric_and_every_alert() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
    found = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    ends = {"counter": "_total", "gauge": "", "histogram": ""}
    assert found == {
        one.name.replace(".", "_") + ("_seconds" if one.unit == "s" else "") + ends[one.kind]: (
            one.kind,
            one.labels,
        )
        for one in metrics.INSTRUMENTS
    }
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text("utf-8"))
    assert re.findall(r"^\| `(Jwt\w+)` \|", PAGE, re.MULTILINE) == alerts
    waits = re.findall(r"for: (\d+)m", ALERTS.read_text("utf-8"))
    assert re.findall(r"^\| `Jwt\w+` \| (\d+) minutes? \|", PAGE, re.MULTILINE) == waits


def test_the_page_shows_gunicorn_as_it_is_tested() -> None:
    hook = (ROOT / "tests/watching/multi_conf.py").read_text("utf-8")
    assert "multiprocess.mark_process_dead(worker.pid)" in hook
    assert "multiprocess.mark_process_dead(worker.pid)" in PAGE
