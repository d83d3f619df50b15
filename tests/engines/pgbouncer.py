"""PgBouncer for the tests, before a PostgreSQL server: the system's, an old one with Debian.

Where it must be a newer one, the environment names it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.processes import free_port
from tests.waiting import until

from .postgres import HOST, ask

SIZE = 4  # sessions of the server that it shares out


@contextmanager
def pgbouncer(
    server_url: str, mode: str, *, program: str | None = None, **settings: object
) -> Generator[str, None, None]:
    """Run a PgBouncer before a server, and give its address. A skip is a failure in CI."""
    program = program or shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("no PgBouncer: apt-get install pgbouncer")
    given = {"default_pool_size": SIZE, "max_client_conn": 500, **settings}
    where = urlsplit(server_url)
    folder, port = Path(tempfile.mkdtemp(prefix="jwt-pgb-")), free_port()
    user = where.username or "postgres"
    (folder / "users").write_text(f'"{user}" "{where.password or ""}"\n')
    (folder / "ini").write_text(
        f"[databases]\n* = host={where.hostname} port={where.port or 5432}\n"
        f"[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {folder}/users\nadmin_users = {user}\n"
        f"pool_mode = {mode}\nlog_connections = 0\nlog_disconnections = 0\n"
        + "".join(f"{name} = {value}\n" for name, value in given.items())
    )
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        nobody = pwd.getpwnam("nobody")
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
        for path in (folder, *folder.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen[bytes](
            [program, str(folder / "ini")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **as_user,
        )
    url = where._replace(netloc=f"{user}@{HOST}:{port}").geturl()
    try:
        until(lambda: ask(url, "SELECT 1"), passing=(psycopg.OperationalError,))
        yield url
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
