"""Other processes that a test lets race, fork or die: `python -m tests.races.programs NAME ...`."""

from __future__ import annotations

from hashlib import sha256

from tests import processes

NOW = 1_800_000_000.0  # as `tests.issuing.Clock` begins
SECRET = sha256(b"the processes of a test share it").digest()


class Process(processes.Process):
    """A program of `tests.races.programs` in a process of its own."""

    module = "tests.races.programs"
