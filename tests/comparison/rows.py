"""What each library is asked; the answers are the cells of docs/comparison.md.

Each library has a module here, which is run in a process of its own and prints its answers: some
configure a framework for the whole process. Each is used as its own documentation shows.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

SECRET = "4f6b1e0c9d7a4c3fa1b27e58d0c6937f5e1a"  # 36 characters: long enough for everyone here
SHORT = "k3yk3yk3"

TYP = "`typ` of an access token"
ALG = "`alg` taken without a setting"
WEAK = "a secret of 8 characters"
CONFUSED = "a refresh token, sent to the API"
RENEWED = "a refresh gives a new refresh token"
LOST = "the answer was lost: the old one again"
REUSED = "the old one comes once more, after its successor was used"
LOGGED_OUT = "an access token after the log-out"
ASKED = "questions to a store or database for a good token"
COOKIE = "a POST with the cookie alone, without a header or token against CSRF"
ROWS = (TYP, ALG, WEAK, CONFUSED, RENEWED, LOST, REUSED, LOGGED_OUT, ASKED, COOKIE)


def tell(library: str, answers: Mapping[str, str]) -> None:
    """Print what was seen."""
    sys.stdout.write(json.dumps({"version": version(library), **answers}) + "\n")


def warned(call: Callable[[], Any]) -> str:
    """Say whether a call warns, raises, or does neither."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            call()
        except Exception as error:  # noqa: BLE001, whatever its own error is
            return f"`{type(error).__name__}`"
    names = sorted({one.category.__name__ for one in seen})
    return f"taken, with `{names[0]}`" if names else "taken"
