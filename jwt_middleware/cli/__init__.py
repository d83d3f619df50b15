"""The command line: `jwt-middleware demo`, `keys` and `grants`."""


class Refusal(Exception):
    """What the user asked for can't be done; the message says why, and what can."""
