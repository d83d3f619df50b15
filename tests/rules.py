"""The marks that tie a test to the rules it shows: `@accepts("RS-12")`, `@refuses("RS-1", "RS-2")`.

`accepts`: conforming input is let through, or the required behaviour is seen. `refuses`: input that
breaks the rule is turned away. Both stand on a test function, on a test class or in the `marks` of
a `pytest.param`; the ids are literal strings, because test_rules.py reads the source.
"""

import pytest


def accepts(*ids: str) -> pytest.MarkDecorator:
    """Mark a test that shows what the rules demand or permit."""
    return pytest.mark.rule("accepts", *ids)


def refuses(*ids: str) -> pytest.MarkDecorator:
    """Mark a test that shows what the rules forbid being refused."""
    return pytest.mark.rule("refuses", *ids)
