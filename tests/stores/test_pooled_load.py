"""Two processes of eight threads at each engine and pooler: no answer is wrong.

`--load SECONDS` makes it longer. What was asked is in the log: `-o log_cli=true
-o log_cli_level=INFO`.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import KeySet
from tests.engines import zoo
from tests.processes import ROOT

PROCESSES, THREADS = 2, 8
ASKED = ("login", "known", "refresh", "repeat", "log-out", "after a log-out")

log = logging.getLogger(__name__)


def load(url: str, folder: Path, seconds: float, **options: Any) -> list[Any]:
    """Let processes live at a store, and return what each of them tells."""
    KeySet.generate("Ed25519").save(folder / "keys.json")
    given = {"url": url, "folder": str(folder), "seconds": seconds, "options": options}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.stores.load", json.dumps(one)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for one in (
            given | {"name": str(number), "threads": THREADS} for number in range(PROCESSES)
        )
    ]
    said = [one.communicate() for one in processes]
    assert [one.returncode for one in processes] == [0] * PROCESSES, said[0][1] + said[1][1]
    return [json.loads(text) for text, _ in said]


@pytest.mark.parametrize("engine", zoo.parameters(zoo.USUAL, zoo.OTHERS, zoo.BUILT))
def test_no_answer_is_wrong(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seconds: Any = request.config.getoption("--load")
    with zoo.ALL[engine]() as running:
        told = load(running.url, tmp_path, seconds)
    for one in told:
        log.info("%s: %s, events %s", engine, one["counts"], one["events"])
    assert [one["kinds"] for one in told] == [{}] * PROCESSES
    for one in told:
        assert all(one["counts"][what] for what in ASKED), one["counts"]
        assert not {"StoreFailed", "SyncLate", "StoreBack"} & set(one["events"])
