"""Pgpool-II of the system with a standby for the tests, and PGlite, PostgreSQL in WebAssembly."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import waiting
from tests.engines.postgres import HOST, Server, ask
from tests.processes import free_port

HERE = Path(__file__).parent / "pglite"
SBIN = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))  # not on a user's PATH


def found(program: str, package: str) -> str:
    """Return the path of a program; skip the test, loudly, where there is none."""
    path = shutil.which(program, path=SBIN)
    if path is None:
        pytest.skip(f"no {program} on the PATH: apt-get install {package}")
    return path


@contextmanager
def running(
    command: list[str],
    folder: Path,
    is_up: Callable[[], bool],
    **options: Any,
) -> Generator[None]:
    """Run a program until the block is left; give it when it is up."""
    log = folder / "log"
    with log.open("ab") as said:
        process = subprocess.Popen[bytes](
            command, stdout=said, stderr=said, start_new_session=True, **options
        )
    try:
        waiting.until(lambda: _has_not_ended(process, log) and is_up())
        yield
    finally:
        # All that it has started: none of them has data that it must save.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _has_not_ended(process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    return True


def is_open(port: int) -> bool:
    try:
        socket.create_connection((HOST, port)).close()
    except OSError:
        return False
    return True


@contextmanager
def folder_of(server: Server) -> Generator[Path]:
    """Give a folder that belongs to the user of a server: none of these run as root."""
    folder = Path(tempfile.mkdtemp(prefix="jwt-pool-")).resolve()
    user = server.as_user().get("user")
    if user is not None:
        os.chown(folder, user, -1)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def standby(primary: Server) -> Generator[Server]:
    """Give a streaming standby, which has all that its primary has had so far."""
    one = Server(standby_of=primary, hot_standby="on")
    try:
        one.start()
        waiting.until(lambda: one.ask("SELECT count(*) FROM pg_stat_wal_receiver"))
        yield one
    finally:
        one.stop()


@contextmanager
def pgpool(primary: Server, replica: Server) -> Generator[str]:
    """Give the address of a Pgpool-II that balances its load: what it takes for a read, it sends
    to the standby.
    """
    path, port, pcp = found("pgpool", "pgpool2"), free_port(), free_port()
    with folder_of(primary) as folder:
        given: dict[str, object] = {
            "backend_clustering_mode": "streaming_replication",
            "listen_addresses": HOST,
            "port": port,
            "pcp_port": pcp,
            "socket_dir": folder,
            "pcp_socket_dir": folder,
            "pid_file_name": folder / "pid",
            "logdir": folder,
            "num_init_children": 60,
            "load_balance_mode": "on",
            "sr_check_user": "postgres",
            "sr_check_period": 1,
            "log_min_messages": "warning",
        }
        # The weights decide which sessions read where: here all that can read at the standby do.
        for number, one in enumerate((primary, replica)):
            given |= {
                f"backend_hostname{number}": HOST,
                f"backend_port{number}": one.port,
                f"backend_weight{number}": number,
            }
        config = folder / "pgpool.conf"
        config.write_text("".join(f"{name} = '{value}'\n" for name, value in given.items()))
        for name in ("pcp.conf", "pool_hba.conf"):
            (folder / name).touch()
        files = ("-f", str(config), "-F", str(folder / "pcp.conf"))
        command = [path, "-n", *files, "-a", str(folder / "pool_hba.conf")]
        with running(command, folder, lambda: is_open(port), cwd=folder, **primary.as_user()):
            url = f"postgresql://postgres@{HOST}:{port}/postgres"
            # It sends reads to the standby when it has seen that this one streams.
            is_replica = "SELECT current_setting('transaction_read_only') = 'on'"
            waiting.until(lambda: ask(url, is_replica), passing=(psycopg.OperationalError,))
            yield url


@contextmanager
def pglite(connections: int = 1) -> Generator[str]:
    """Give the address of a PGlite, whose clients share one session; by default it takes one."""
    for program in ("node", "npm"):
        found(program, "nodejs npm")
    done = HERE / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < (HERE / "package-lock.json").stat().st_mtime:
        got = subprocess.run(["npm", "ci"], cwd=HERE, capture_output=True, text=True, check=False)
        if got.returncode:
            pytest.skip(f"npm ci in {HERE.name}: {got.stderr.strip()[-300:]}")
        done.touch()
    port = free_port()
    server = HERE / "node_modules" / "@electric-sql" / "pglite-socket" / "dist/scripts/server.js"
    options = (f"--port={port}", f"--host={HOST}", f"--max-connections={connections}")
    command = ["node", str(server), *options]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Nobody connects before the test: that connection would be the one for a while.
        with running(command, folder, lambda: "listening" in (folder / "log").read_text()):
            yield f"postgresql://postgres@{HOST}:{port}/postgres?sslmode=disable"
