"""The table of docs/issuers.md, as settings: what stands there is what the tests try."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jwt_middleware import KeySet, Route, Settings, profiles
from jwt_middleware.keys import Fetcher
from jwt_middleware.keys.remote import Remote
from jwt_middleware.token.profiles import Profile
from tests.core.issuers import Served
from tests.core.issuers.served import API_ID, TENANT
from tests.world import standing

PAGE = Path(__file__).parents[3] / "docs" / "issuers.md"
HEAD = "| Issuer | `issuer` | `audience` | `profile` | `keys` | Seen |"
NAMES: dict[str, Any] = {
    "KeySet": KeySet,
    "profiles": profiles,
    "FOREIGN": profiles.FOREIGN,
    "MORE": profiles.FOREIGN.required,
    "TENANT": TENANT,
}


def rows() -> dict[str, list[str]]:
    """Return the cells of each row, by the issuer's name."""
    table = PAGE.read_text("utf-8").partition(HEAD)[2].partition("\n\n")[0]
    lines = [line.strip("| ") for line in table.splitlines()[2:]]
    cells = [
        [one.strip().replace(r"\|", "|") for one in re.split(r"(?<!\\)\|", li)] for li in lines
    ]
    return {
        name: [*(cell.strip("`") for cell in others[:-1]), others[-1]] for name, *others in cells
    }


def profile_of(name: str) -> Profile:
    """Return the profile that the row of an issuer names."""
    made: Profile = eval(rows()[name][2], dict(NAMES))
    return made


def settings_of(one: Served, fetcher: Fetcher | None = None, **changes: Any) -> Settings:
    """Return settings as the row of an issuer has them, with a route that asks for its scope.

    The issuer's server, or the `fetcher`, stands in for the network.
    """
    issuer, audience, _, keys, _ = rows()[one.name]
    source = eval(keys, dict(NAMES)).source
    assert isinstance(source, Remote)
    given: dict[str, Any] = {
        "issuer": issuer.replace("TENANT", TENANT),
        "audience": audience.replace("API_ID", API_ID),
        "profile": profile_of(one.name),
        "keys": KeySet.remote(source.url, algorithm=source.algorithm, fetcher=fetcher or one),
        "routes": (Route("/scoped", scope=one.scope or "any"), Route("/admin", scope="admin")),
        "clock": standing,
    }
    return Settings(**(given | changes))
