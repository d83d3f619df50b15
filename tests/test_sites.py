"""The sites of examples/: their own tests pass anywhere, and they start as their pages say.

In a browser: tests/e2e/test_sites.py. The one in FastAPI: test_fastapi_site.py, here and there.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.processes import ROOT, free_port, wait_open
from tests.waiting import PATIENCE, until

SITES = sorted(path.parent for path in (ROOT / "examples").glob("*/pytest.ini"))
NAMES = [path.name for path in SITES]
BIN = Path(sys.executable).parent
PAGE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}
# Beside the server that a site's page names, one that people use.
OTHERS = {
    "flask_site": "gunicorn -w 2 --bind=127.0.0.1:{port} --no-control-socket"
    " 'flask_site:create_app()'",
    "starlette_site": "granian --interface=asgi --factory --port={port}"
    " starlette_site.app:make_app",
    "native_and_browser": "waitress-serve --listen=127.0.0.1:{port}"
    " --call native_and_browser.server:make_app",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the sites alone, as somebody copies them."""
    return copied(tmp_path)


def copied(folder: Path) -> Path:
    """Copy the sites into a folder, and return it."""
    for site in SITES:
        shutil.copytree(site, folder / site.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def alone() -> dict[str, str]:
    """Return the environment without what this test run has put there."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return found | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def test_there_are_these_sites() -> None:
    assert NAMES == ["fastapi_site", "flask_site", "native_and_browser", "starlette_site"]


@pytest.mark.parametrize("name", NAMES)
def test_its_own_tests_pass(name: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", name]
    found = subprocess.run(
        command, cwd=folder, env=alone(), capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout
    assert re.search(r"^\d+ passed in ", found.stdout, re.MULTILINE), found.stdout


def lines(name: str) -> list[str]:
    """Return the shell lines with which a site's page says that it starts."""
    page = (ROOT / "examples" / name / "README.md").read_text("utf-8")
    block = re.search(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1].splitlines()


Meet = Callable[[], httpx2.Client]


@contextmanager
def started(name: str, folder: Path, *, other: bool = False, by: str = "") -> Generator[Meet]:
    """Start a site as its page says, or by another command; give what makes browsers for it."""
    *before, serve = lines(name)
    for line in before:
        # The password is asked for; nobody sits at a terminal here.
        asked = f"{line} --password wonderland" if "add-user" in line else line
        subprocess.run(asked, shell=True, cwd=folder, env=alone(), check=True, timeout=PATIENCE)
    port = free_port()
    named = by or (OTHERS[name] if other else serve.replace("8000", "{port}"))
    command = named.format(port=port)
    url, log = f"http://127.0.0.1:{port}", folder / "log"
    with (
        log.open("wb") as said,
        subprocess.Popen(
            f"exec {command}",
            shell=True,
            cwd=folder,
            env=alone() | {"SITE_URL": url},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            wait_open(port, process, log)
            with ExitStack() as stack:
                yield lambda: stack.enter_context(browser(url))
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def browser(url: str) -> httpx2.Client:
    headers = PAGE | {"Origin": url}
    return httpx2.Client(
        base_url=url, headers=headers, follow_redirects=True, timeout=PATIENCE, trust_env=False
    )


def heading(answer: httpx2.Response) -> str:
    found = re.search(r"<h1>(.*?)</h1>", answer.text)
    assert found is not None, (answer.status_code, answer.text)
    return found[1]


def log_in(client: httpx2.Client, name: str = "alice", **more: str) -> httpx2.Response:
    asked = client.get("/notes" if "notes" not in more else more.pop("notes"))
    assert heading(asked) == "Log in"
    assert urlsplit(str(asked.url)).path == "/login"
    return client.post(str(asked.url), data={"name": name, "password": "wonderland", **more})


def forget_access(client: httpx2.Client) -> None:
    """Do what a browser does when the Max-Age of a cookie is over."""
    for cookie in list(client.cookies.jar):
        if cookie.name.startswith("access_token"):
            client.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)


def names(client: httpx2.Client) -> set[str]:
    return {cookie.name for cookie in client.cookies.jar}


both = pytest.mark.parametrize("other", [False, True], ids=["as its page says", "another server"])


@both
def test_the_site_in_flask_serves_a_person_from_login_to_log_out(
    folder: Path, *, other: bool
) -> None:
    with started("flask_site", folder, other=other) as meet:
        alice, bob, phone, stolen = meet(), meet(), meet(), meet()
        assert heading(log_in(alice, "alice")) == "Notes of alice"
        assert heading(log_in(bob, "bob", stay="yes")) == "Notes of bob"
        assert heading(log_in(phone, "bob")) == "Notes of bob"
        assert bob.post("/notes", data={"text": "No"}).status_code == 403
        # A role that changes during a login, and a form whose access token is gone.
        page = alice.get("/admin").text
        found = re.search(
            r'action="/admin/(\w+)/role">\s*<select name="role" aria-label="Role of bob"', page
        )
        assert found is not None
        alice.post(f"/admin/{found[1]}/role", data={"role": "editor"})
        forget_access(bob)
        before = names(bob)
        answer = bob.post("/notes", data={"text": "Call the <b>plumber"})
        assert "Call the &lt;b&gt;plumber" in answer.text
        assert names(bob) > before
        # Devices: one's own, ended in every process.
        assert bob.get("/devices").text.count('<th scope="row">') == 2
        assert bob.post("/devices/end-others").text.count('<th scope="row">') == 1
        until(lambda: heading(phone.get("/notes")) == "Log in")
        # An admin logs a user out everywhere; nobody else does.
        assert bob.post(f"/admin/{found[1]}/log-out").status_code == 403
        alice.post(f"/admin/{found[1]}/log-out")
        until(lambda: heading(bob.get("/notes")) == "Log in")
        stolen.cookies.update(alice.cookies)
        assert heading(alice.post("/logout")) == "Hello stranger"
        assert not alice.cookies
        until(lambda: heading(stolen.get("/notes")) == "Log in")


@both
def test_the_site_in_starlette_serves_a_person_from_login_to_log_out(
    folder: Path, *, other: bool
) -> None:
    with started("starlette_site", folder, other=other) as meet:
        alice, stolen = meet(), meet()
        assert heading(log_in(alice)) == "Notes of alice"
        forget_access(alice)
        answer = alice.post("/notes", data={"text": "Call the <b>plumber"})
        assert "Call the &lt;b&gt;plumber" in answer.text
        stolen.cookies.update(alice.cookies)
        assert heading(alice.post("/logout")) == "Hello stranger"
        assert not alice.cookies
        assert heading(stolen.get("/notes")) == "Log in"


@both
def test_a_program_and_a_browser_share_a_server(folder: Path, *, other: bool) -> None:
    with started("native_and_browser", folder, other=other) as meet:
        alice = meet()
        tokens = folder / "tokens" / "tokens.json"
        places = {"NOTES_URL": str(alice.base_url).rstrip("/"), "NOTES_TOKENS": str(tokens)}

        def program(*arguments: str) -> str:
            found = subprocess.run(
                [sys.executable, "native_and_browser/notes.py", *arguments],
                cwd=folder,
                env=alone() | places,
                input="wonderland\n",
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
                start_new_session=True,  # without a terminal the password is read from the input
            )
            return found.stdout + found.stderr * bool(found.returncode)

        assert program("login", "alice") == ""
        assert program("add", "By the program") == ""
        assert heading(log_in(alice, notes="/")) == "Your notes"
        assert "By the program" in alice.post("/", data={"text": "By the browser"}).text
        assert program("list") == "By the program\nBy the browser\n"
        assert heading(alice.post("/logout")) == "Log in"
        assert program("list") == "By the program\nBy the browser\n"
        assert program("logout") == ""
        assert not tokens.exists()
        assert program("list").startswith("You are not logged in")
