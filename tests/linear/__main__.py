"""Judge a history that was kept: `python -m tests.linear FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from .history import History


def main(path: str) -> None:
    """Say which order explains it, or why none does."""
    verdicts = History.load(Path(path)).judge(Path(path))
    print(f"linearizable: {', '.join(f'{len(one.order)} operations' for one in verdicts)}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
