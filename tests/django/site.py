"""The project in examples/django_site, made and served as its README says."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.django.test_page import ROOT, Project
from tests.processes import free_port, running

SITE = ROOT / "examples" / "django_site"
SERVERS = {
    "gunicorn": "gunicorn --workers 2 --bind 127.0.0.1:{port} mysite.wsgi",
    "uvicorn": "uvicorn --port {port} mysite.asgi:application",
}


def make(folder: Path) -> Project:
    """Make a copy of the project, with keys, tables and a user, as its README says."""
    shutil.copytree(SITE, folder, ignore=shutil.ignore_patterns("*.db*", "*.sqlite3", "keys.json"))
    project = Project(folder)
    project.environment["DJANGO_SUPERUSER_PASSWORD"] = "wonderland"
    project.run("jwt-middleware keys new --out keys.json")
    project.run("python manage.py migrate")
    user = "--noinput --username alice --email a@example.com"
    project.run(f"python manage.py createsuperuser {user}")
    return project


@contextmanager
def serve(made: Path, folder: Path, server: str) -> Generator[Project]:
    """Serve a copy of a project; its address is its `SITE_URL`."""
    project, port, log = Project(folder / "django_site"), free_port(), folder / "log"
    shutil.copytree(made, project.folder)
    project.environment["SITE_URL"] = f"http://localhost:{port}"
    command = [sys.executable, "-m", *SERVERS[server].format(port=port).split()]
    with running(command, port, log, cwd=project.folder, env=project.environment):
        yield project
