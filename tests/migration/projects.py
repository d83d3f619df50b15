"""The Django projects that guides build: before, and after the switch."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.django.test_page import Project

from .pages import text_of

GUNICORN = (
    "gunicorn",
    "--chdir={module}",
    "--bind=127.0.0.1:{port}",
    "--workers=2",
    "--threads=4",
    "mysite.wsgi:application",
)
# What a test of many clients on one small file wants, and no reader of the page.
# Blocks of a project's files say that they don't run by themselves.
BLOCK = re.compile(r"^```(python no-run|python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FOR_TESTS = """
ALLOWED_HOSTS = ["127.0.0.1"]
CSRF_TRUSTED_ORIGINS = ["https://shop.example.com"]  # forms come from there, without a proxy
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES["default"]["OPTIONS"] = {"timeout": 60}
"""
_USERS = """
from django.contrib.auth.models import User
User.objects.bulk_create(User(username=f"user{n}") for n in range(COUNT))
for user in User.objects.all():
    user.set_password(f"password{user.username.removeprefix('user')}")
    user.save()
"""


def build(
    page: str,
    folder: Path,
    *,
    users: int,
    without: Mapping[str, str] | None = None,
    **variables: str,
) -> None:
    """Build the page's project in `before`, with users, and in `after` as it is then.

    `without`: patterns of what an application doesn't have, by their replacements.
    """
    before, after = folder / "before", folder / "after"
    before.mkdir()
    text = text_of(page).partition("\n## The settings")[0]
    for pattern, replacement in (without or {}).items():
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    first, _, then = text.partition("\n## After\n")
    _run_blocks(first, Project(before), variables)
    script = _USERS.replace("COUNT", str(users))
    _project(before, variables).run(f"{sys.executable} manage.py shell -c '{_quoted(script)}'")
    shutil.copytree(before, after)
    (after / "db.sqlite3").unlink()
    (after / "db.sqlite3").symlink_to(before / "db.sqlite3")  # they share the users
    _run_blocks(then, Project(after), variables)
    with (after / "mysite" / "settings.py").open("a", encoding="utf-8") as file:
        file.write(
            "JWT_MIDDLEWARE = JWT_MIDDLEWARE.replace(refresh__settle=0)  # each one rotates\n"
        )


def _quoted(script: str) -> str:
    return script.replace("'", "'\\''")


def _project(folder: Path, variables: Mapping[str, str]) -> Project:
    project = Project(folder)
    project.environment |= variables
    return project


def _run_blocks(text: str, project: Project, variables: Mapping[str, str]) -> None:
    project.environment |= variables
    settings = project.folder / "mysite" / "settings.py"
    for kind, block in BLOCK.findall(text):
        if kind.startswith("python"):
            project.write(block)
            continue
        if settings.exists() and _FOR_TESTS not in settings.read_text("utf-8"):
            with settings.open("a", encoding="utf-8") as file:
                file.write(_FOR_TESTS)
        for line in block.splitlines():
            if not line.startswith("pip install "):
                project.run(line)


def checked(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Ask `migrate check` about the project as it was."""
    return subprocess.run(
        [sys.executable, "-m", "jwt_middleware.cli", "migrate", "check", "mysite.wsgi:application"],
        cwd=folder / "before",
        env=Project(folder).environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )
