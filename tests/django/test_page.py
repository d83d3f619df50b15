"""The pages docs/django.md and docs/django-pages.md build a project each, which run."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import free_port, wait_open

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```(python|html|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:#|<!--) (\S+\.(?:py|html))(, at the end)?(?: -->)?\n")
SOCKETS = """
import django
from django.contrib.auth import get_user_model
from starlette.testclient import TestClient, WebSocketDenialResponse
from mysite.asgi import application
from jwt_middleware.django import jwt_issuer
from mysite.roles import claims_for

client = TestClient(application, base_url="http://localhost:8000")
try:
    client.websocket_connect("/chat").__enter__()
except WebSocketDenialResponse as refused:
    assert refused.status_code == 401
else:
    raise AssertionError("a socket without a token")
user = get_user_model().objects.get(username="alice")
token = jwt_issuer().issue(str(user.pk)).access_token
assert claims_for(jwt_issuer().grants(str(user.pk))[0]) == {"roles": []}
sent = {"Authorization": f"Bearer {token}"}
user.groups.create(name="editors")
assert client.get("/roles", headers=sent).json() == {"roles": []}
tokens = jwt_issuer().issue(str(user.pk))
later = {"Authorization": f"Bearer {tokens.access_token}"}
assert client.get("/roles", headers=later).json() == {"roles": ["editors"]}
with client.websocket_connect("/chat", headers=sent) as socket:
    assert socket.receive_json() == {"hello": "alice"}
"""

# What the page says beside its own tests.
MORE = """
from django.contrib.messages import get_messages, info
from django.http import HttpResponse
from django.test import TestCase, override_settings
from django.urls import path

from . import tests, urls

def say(request):
    info(request, "of alice")
    return HttpResponse()

def hear(request):
    return HttpResponse(" ".join(map(str, get_messages(request))))

urlpatterns = [*urls.urlpatterns, path("say", say), path("hear", hear)]

@override_settings(ROOT_URLCONF="mysite.tests_more")
class Messages(TestCase):
    setUp, browser = tests.Pages.setUp, tests.Pages.browser

    def test_messages_that_wait_go_with_their_user(self):
        for kind in ("cookie.CookieStorage", "session.SessionStorage"):
            storage = f"django.contrib.messages.storage.{kind}"
            for out in (True, False):
                with self.subTest(kind, out=out), self.settings(MESSAGE_STORAGE=storage):
                    browser = self.browser()
                    browser.post("/login", tests.ALICE)
                    browser.get("/say")
                    if out:
                        browser.post("/logout")
                    browser.post("/login", tests.BOB)
                    self.assertEqual(browser.get("/hear").content, b"")

    def test_a_login_without_a_session_of_before_leaves_one_row(self):
        from django.contrib.sessions.models import Session
        browser = self.browser()
        browser.post("/login", tests.ALICE)
        browser.post("/login", tests.BOB)
        self.assertEqual(Session.objects.count(), 1)
        browser.post("/logout")
        self.assertEqual(Session.objects.count(), 0)
"""


class Project:
    """A project that grows block by block."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.environment = {
            **{
                one: value
                for one, value in os.environ.items()
                if not one.startswith(("COV", "DJANGO_"))
            },
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def write(self, text: str) -> None:
        """Write a block into the file that its first line names."""
        named = FILE.match(text)
        assert named is not None, text
        path = self.folder / named[1]
        path.parent.mkdir(exist_ok=True)
        before = path.read_text("utf-8") if named[2] else ""
        text = text.replace("ws://localhost:8000", f"ws://127.0.0.1:{self.port}")
        path.write_text(before + "\n" + text, "utf-8")

    def run(self, line: str) -> str:
        """Run a line of a shell; return what it printed."""
        done = subprocess.run(
            line, shell=True, cwd=self.folder, env=self.environment, capture_output=True,
            text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def serve(self, command: str) -> subprocess.Popen[bytes]:
        """Start a server of this environment's; return it when it listens."""
        port, log = self.port, self.folder / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, *shlex.split(command)],
                cwd=self.folder, env=self.environment, stdout=said, stderr=said,
            )  # fmt: skip
        wait_open(port, process, log)
        return process

    def told(self, lines: list[str]) -> list[Any]:
        """Send the requests of a block one after the other; return the answers' contents."""
        found: list[Any] = []
        known = {"ACCESS": "access_token", "REFRESH": "refresh_token"}
        for shown in lines:
            line = shown
            for word, member in known.items():
                newest = next((one[member] for one in reversed(found) if member in one), "")
                line = line.replace(word, newest)
            _, *rest = shlex.split(line.replace("localhost:8000", f"127.0.0.1:{self.port}"))
            text = self.run(
                shlex.join([sys.executable, str(ROOT / "tests" / "curl.py"), "-i", *rest])
            )
            assert text.startswith("HTTP/1.1 200 "), text
            body = text.partition("\n\n")[2]
            found.append(json.loads(body) if body else {})
        return found


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Give a list for processes, and end them."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for one in processes:
        one.terminate()
        one.wait()


def build(project: Project, page: str, started: list[subprocess.Popen[bytes]]) -> None:
    """Write a page's files and run its lines, one after the other."""
    for kind, text in BLOCK.findall((ROOT / "docs" / page).read_text("utf-8")):
        if kind != "sh":
            project.write(text)
            continue
        lines = text.splitlines()
        if lines[-1].startswith("python chat.py "):
            (login,) = project.told(lines[:-1])
            assert '"alice"' in project.run(lines[-1].replace("ACCESS", login["access_token"]))
            continue
        if lines[0].startswith("curl"):
            login, me, fresh, gone = project.told(lines)
            assert me == {"name": "alice", "scope": "write"}
            assert fresh["access_token"] != login["access_token"]
            assert gone == {}
            continue
        for line in lines:
            if line.startswith("pip install "):
                continue
            if line.endswith("runserver"):
                command = f"manage.py runserver --noreload 127.0.0.1:{project.port}"
                started.append(project.serve(command))
            elif line.startswith("uvicorn "):
                started[-1].terminate()  # as the page says
                started[-1].wait()
                started.append(project.serve(f"-m {line.replace('8000', str(project.port))}"))
            else:
                project.run(line)
    assert "no issues" in project.run("python manage.py check --fail-level WARNING")


def test_the_first_page_builds_a_project_that_runs(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    project = Project(tmp_path)
    build(project, "django.md", started)
    assert "issued: a login of client" in (tmp_path / "log").read_text("utf-8")
    (tmp_path / "sockets.py").write_text(SOCKETS, "utf-8")
    project.run("python sockets.py")
    # Without the door the check fails.
    settings = tmp_path / "mysite" / "asgi.py"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace("JWTAuthMiddleware(URLRouter(", "(URLRouter("), "utf-8")
    assert "jwt_middleware.E005" in project.run("python manage.py check 2>&1 || true")


def test_the_page_about_pages_builds_a_site_that_runs(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    project = Project(tmp_path)
    build(project, "django-pages.md", started)
    port = project.port
    (tmp_path / "mysite" / "tests_more.py").write_text(MORE, "utf-8")
    project.run("python manage.py test mysite.tests_more")
    curl = shlex.join([sys.executable, str(ROOT / "tests" / "curl.py"), "-i"])
    page = project.run(f"{curl} -H 'Accept: text/html' http://127.0.0.1:{port}/notes")
    assert page.startswith("HTTP/1.1 303 ")
    assert "location: /login?next=/notes" in page.lower()
    assert "<h1>Log in</h1>" in project.run(f"{curl} http://127.0.0.1:{port}/login?next=/notes")
