"""The command line: `jwt-middleware demo`, `keys`, `grants`, `token`, `check` and `doctor`."""

import re

# What people put on a command line, or into a file's name, by mistake.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_.-]*)?")


class Refusal(Exception):
    """What the user asked for can't be done; the message says why, and what can."""


def told(text: str) -> str:
    """Return a text without tokens, and without what a terminal would obey."""
    return "".join(
        one if one.isprintable() else ascii(one)[1:-1] for one in _TOKEN.sub("[token]", text)
    )
