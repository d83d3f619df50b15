"""The first screen of the README, as a reader types it: a file, a server, three calls."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.processes import free_port, wait_open

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
FLASK, *CALLS = (
    re.findall(r"^```sh\n(flask .*?)^```$", README, re.MULTILINE | re.DOTALL)[0].strip().split("\n")
)


def test_the_first_screen_does_what_it_says(tmp_path: Path) -> None:
    block = re.search(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert block is not None
    (tmp_path / "shop.py").write_text(block[1], "utf-8")
    log, port = tmp_path / "log", free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [*FLASK.removesuffix(" &").split(), "--port", str(port)]
    with (
        log.open("w") as told,
        subprocess.Popen(
            [sys.executable, "-m", *command], cwd=tmp_path, stdout=told, stderr=told
        ) as server,
    ):
        try:
            wait_open(port, server, log)
            calls = "\n".join(CALLS).replace(":5000", f":{port}").replace("curl ", "curl -s ")
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", calls],
                env=os.environ | {"PATH": path, "NO_PROXY": "*"},
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            server.terminate()
    name, answer = done.stdout.split("HTTP/1.1 ", 1)
    assert name == "alice"
    assert answer.startswith("401 ")
    assert "www-authenticate: bearer" in answer.lower()


def test_it_shows_no_more_than_runs() -> None:
    """No block needs what a reader doesn't see."""
    assert "<!-- setup" not in README
    assert "no-run" not in README
