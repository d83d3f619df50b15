"""docs/security-model.md names rules that exist, and are kept."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
RULES = tomllib.loads((ROOT / "tests" / "rules.toml").read_text("utf-8"))


def test_the_rules_of_the_page_are_kept() -> None:
    page = (ROOT / "docs" / "security-model.md").read_text("utf-8")
    named = set(re.findall(r"\bR[ST]-\d\d\b", page))
    assert len(named) > 20
    assert [rule for rule in sorted(named) if not RULES.get(rule, {}).get("done")] == []
