"""The project in examples/django_site: its own tests, and its story through real servers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.django import site
from tests.django.site import SITE
from tests.django.test_page import Project
from tests.waiting import until

LOAD = {
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "same-origin",
}
EDITOR = """
from django.contrib.auth.models import Group, User
User.objects.get().groups.add(Group.objects.create(name="editors"))
User.objects.create_user("bob").note_set.create(text="of bob")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the project, with keys, tables and a user."""
    return site.make(tmp_path_factory.mktemp("site") / "django_site").folder


def test_its_own_tests_pass(made: Path) -> None:
    project = Project(made)
    assert "no issues" in project.run("python manage.py check --fail-level WARNING")
    assert "No changes" in project.run("python manage.py makemigrations --check --dry-run")
    assert re.search(r"Ran 1\d tests", project.run("python -W error manage.py test"))


def test_its_page_names_every_file() -> None:
    text = (SITE / "README.md").read_text("utf-8")
    named = re.findall(r"^\| \[(mysite/\w+\.py)\]", text, re.MULTILINE)
    assert len(named) == 6
    assert all((SITE / one).is_file() for one in named)


@pytest.fixture(params=site.SERVERS)
def served(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> Iterator[Project]:
    with site.serve(made, tmp_path, request.param) as project:
        yield project


def client(url: str, agent: str, **fields: str) -> httpx2.Client:
    fields |= {"User-Agent": agent}
    return httpx2.Client(
        base_url=url, headers=fields, trust_env=False, timeout=60, follow_redirects=True
    )


def browser(url: str, agent: str) -> httpx2.Client:
    """Return a browser in which alice has logged in: its page is the one that she asked for."""
    one = client(url, agent, **LOAD, Origin=url)
    page = one.get("/devices")
    assert page.url.raw_path == b"/login?next=/devices"
    field = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert field is not None
    form = {"username": "alice", "password": "wonderland", "csrfmiddlewaretoken": field[1]}
    assert one.post("/login?next=/devices", data=form | {"password": "x"}).status_code == 403
    page = one.post("/login?next=/devices", data=form)
    assert (page.status_code, page.url.path) == (200, "/devices"), page.text
    return one


def test_from_login_to_log_out_everywhere(served: Project) -> None:
    url = served.environment["SITE_URL"]
    with (
        closing(browser(url, "Laptop")) as laptop,
        closing(browser(url, "Phone")) as phone,
        closing(client(url, "App")) as app,
    ):
        # Pages, and roles that are fresh after a refresh.
        assert "a &lt;note" in laptop.post("/notes", data={"text": "a <note"}).text
        served.run(f"python manage.py shell -c {shlex.quote(EDITOR)}")
        assert "of bob" not in laptop.get("/").text
        fetched = {"X-Requested-With": "fetch", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
        fresh = laptop.post("/auth/refresh", headers=fetched)
        assert fresh.status_code == 200, fresh.text
        assert "of bob" in laptop.get("/").text

        # An app, with its own tokens.
        login = {"username": "alice", "password": "wonderland", "scope": "notes:read"}
        tokens = app.post("/api/login", data=login).json()
        app.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        assert [one["text"] for one in app.get("/api/notes").json()] == ["a <note"]
        assert app.post("/api/notes", data={"text": "x"}).status_code == 403
        body = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        fresh = app.post("/auth/refresh", data=body)
        assert fresh.status_code == 200, fresh.text

        # Devices: the phone is logged out from the laptop.
        page = laptop.get("/devices").text
        found = re.findall(r"<li>(\w+),.*?/devices/([\w-]+)/end", page, re.DOTALL)
        assert [label for label, _ in found] == ["App", "Phone", "Laptop"]
        laptop.post(f"/devices/{found[1][1]}/end")
        # Within two seconds: the other worker hears of it.
        until(lambda: phone.get("/devices").url.path == "/login")

        # Everywhere.
        assert "Hello stranger" in laptop.post("/log-out-everywhere").text
        assert laptop.get("/devices").url.path == "/login"
        until(lambda: app.get("/api/notes").status_code == 401)
        assert laptop.get("/admin").url.path == "/admin/login/"
