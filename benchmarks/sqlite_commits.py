"""Threads that refresh at once, while the disk syncs slowly: `python -m benchmarks.sqlite_commits`.

    git worktree add --detach /tmp/before main
    python -m benchmarks.sqlite_commits /tmp/before [DIRECTORY]

Compares this build with the one in a folder, in turns. A library of a few lines, which is compiled
here (`cc`), lets every fsync and fdatasync take 5 ms more, as a disk in the cloud does. At the end
the power is cut: what wasn't synced is thrown away, and each refresh that was acknowledged must
still be there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from itertools import count, islice
from pathlib import Path
from statistics import median
from threading import Lock, Thread
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
SECONDS = 2.0
BURST, BURSTS = 10, 200  # of one thread
DELAY = 0.005  # seconds that a sync takes more
# A file that was synced is copied beside itself: what a power cut leaves, at the least.
SLOW_DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void keep(int fd) {
    char link[64], path[4096], part[4200], copy[4200], buffer[65536];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return;
    path[size] = 0;
    snprintf(part, sizeof part, "%s.part", path);
    snprintf(copy, sizeof copy, "%s.synced", path);
    int to = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (off_t at = 0; (size = pread(fd, buffer, sizeof buffer, at)) > 0; at += size)
        if (pwrite(to, buffer, size, at) != size) abort();
    close(to);
    rename(part, copy);  /* the process may be killed meanwhile */
}

static int slow(const char *name, int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    usleep(atoi(getenv("SLOW_DISK_US")));
    if (getenv("SLOW_DISK_KEEPS")) keep(fd);
    return real(fd);
}

int fsync(int fd) { return slow("fsync", fd); }
int fdatasync(int fd) { return slow("fdatasync", fd); }
"""


def compiled(folder: Path) -> Path:
    source, library = folder / "slow_disk.c", folder / "slow_disk.so"
    source.write_text(SLOW_DISK)
    command = ["cc", "-O2", "-shared", "-fPIC", str(source), "-o", str(library), "-ldl"]
    subprocess.run(command, check=True)
    return library


def refresh(
    path: str, threads: int, seconds: float, *, tells: bool = False, burst: int = 0
) -> None:
    """Let threads refresh a grant each, and say how many refreshes a second there were.

    With `burst` one thread refreshes so many times for each line that it reads, before that.
    """
    # Imported here: in a process of its own, from the folder of one build or the other.
    from jwt_middleware.stores.contract import new_grant_id
    from jwt_middleware.stores.sqlite import SQLiteStore
    from jwt_middleware.values.bare_grants import bare_grant

    store = SQLiteStore(path, clock=time.time, retention=700)
    now = time.time()
    grants = [
        bare_grant(new_grant_id(str(one)), str(one), now=now, expires_at=now + 1e6)
        for one in range(threads)
    ]
    for grant in grants:
        store.add(grant, 100)
    generations = count(1)
    for _ in sys.stdin if burst else ():
        begun = time.perf_counter()
        for generation in islice(generations, burst):
            assert store.advance(grants[0].id, generation, generation + 1, "p" * 22).advanced
        print(time.perf_counter() - begun, flush=True)
    told, done = Lock(), [0] * threads
    begun = time.perf_counter()

    def climb(number: int) -> None:
        for generation in count(1):
            if time.perf_counter() > begun + seconds:
                return
            assert store.advance(grants[number].id, generation, generation + 1, "p" * 22).advanced
            done[number] += 1
            if tells:
                with told:
                    print(json.dumps([grants[number].id, generation + 1]), flush=True)

    running = [Thread(target=climb, args=(number,)) for number in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    print(json.dumps(sum(done) / (time.perf_counter() - begun)), flush=True)


def started(build: Path, asked: dict[str, Any], **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, "--child", json.dumps(asked)],
        env=os.environ | {"PYTHONPATH": str(build)} | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # it is told that a file is made
        text=True,
    )


def rate(build: Path, folder: Path, threads: int, **variables: str) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        asked = {"path": f"{made}/grants.db", "threads": threads, "seconds": SECONDS}
        with started(build, asked, **variables) as process:
            found = process.communicate()[0]
    return float(found)


def one_thread(before: Path, folder: Path, **variables: str) -> tuple[float, float]:
    """Return the rates of one thread: the builds take turns in bursts."""
    times: dict[Path, list[float]] = {before: [], ROOT: []}
    processes: dict[Path, subprocess.Popen[str]] = {}
    for build in times:
        path = folder / f"{variables.get('SLOW_DISK_US')} {len(processes)}.db"
        asked = {"path": str(path), "threads": 1, "seconds": 0, "burst": BURST}
        processes[build] = started(build, asked, **variables)
    for _ in range(BURSTS):
        for build, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            times[build].append(float(process.stdout.readline()))
    for process in processes.values():
        process.communicate()
    old, new = (BURST / median(one) for one in times.values())
    return old, new


def cut_power(folder: Path, **variables: str) -> str:
    """Refresh in threads, cut the power, and look for what was acknowledged."""
    path, acknowledged = folder / "grants.db", dict[str, int]()
    asked = {"path": str(path), "threads": 32, "seconds": 60, "tells": True}
    with started(ROOT, asked, SLOW_DISK_KEEPS="1", **variables) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):
                grant_id, generation = json.loads(line)
                acknowledged[grant_id] = generation
            if sum(acknowledged.values()) > 5000:
                process.send_signal(signal.SIGKILL)
    for name in ("grants.db", "grants.db-wal"):
        shutil.copyfile(folder / f"{name}.synced", folder / name)
    (folder / "grants.db-shm").unlink(missing_ok=True)
    db = sqlite3.connect(path)
    rows = dict(db.execute("SELECT id, generation FROM grants").fetchall())
    intact = db.execute("PRAGMA integrity_check").fetchone()[0]
    db.close()
    lost = [one for one, generation in acknowledged.items() if rows.get(one, 0) < generation]
    return f"{sum(acknowledged.values()):,} acknowledged, {len(lost)} lost, integrity: {intact}"


def print_row(delay: float, threads: int, before: float, now: float) -> None:
    disk = f"a sync takes {delay * 1000:.0f} ms more" if delay else "as it is"
    print(f"| {disk} | {threads} | {before:,.0f} | {now:,.0f} | {now / before:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("before", type=Path, help="a folder with the build to compare with")
    parser.add_argument("directory", type=Path, nargs="?", help="on the disk that is measured")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    if "--child" in sys.argv:
        refresh(**json.loads(sys.argv[-1]))
        return
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as made:
        folder = Path(made)
        library = str(compiled(folder))
        print("Refreshes per second, medians\n")
        print("| disk | threads | before | now | ratio |\n|---|---:|---:|---:|---:|", flush=True)
        for delay in (DELAY, 0.0):
            slow = {"LD_PRELOAD": library, "SLOW_DISK_US": f"{delay * 1e6:.0f}"}
            variables = slow if delay else {}
            print_row(delay, 1, *one_thread(arguments.before, folder, **variables))
            for threads in (8, 32):
                rates: dict[Path, list[float]] = {arguments.before: [], ROOT: []}
                for _ in range(ROUNDS):
                    for build, found in rates.items():
                        found.append(rate(build, folder, threads, **variables))
                print_row(delay, threads, *map(median, rates.values()))
        slow = {"LD_PRELOAD": library, "SLOW_DISK_US": f"{DELAY * 1e6:.0f}"}
        print(f"\nThe power is cut: {cut_power(folder, **slow)}")


if __name__ == "__main__":
    main()
