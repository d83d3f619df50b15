"""jwt-client.js with a login that is bound to a key, in Firefox."""

from __future__ import annotations

from json import dumps
from pathlib import Path

import pytest

from . import firefox
from .bound import KEYS, LOG_IN, LOGIN, ME, REFRESH, REFRESHES, WHO, serving

pytestmark = pytest.mark.long


def open_page(tab: firefox.Tab, url: str, mode: str) -> None:
    tab.goto(f"{url}/page")
    options = dumps({"mode": mode, "key": "required"})
    assert tab.evaluate(f"make({options}) ?? [client.mode, client.key]") == [mode, "required"]


@pytest.mark.parametrize("access", [False, True])
@pytest.mark.parametrize("mode", ["header", "cookie"])
def test_firefox_proves_a_key_that_no_script_can_export_and_keeps_it(
    tmp_path: Path, mode: str, *, access: bool
) -> None:
    if firefox.firefox() is None:
        pytest.skip("LEFT OUT: no test ran in Firefox (apt-get install firefox-esr)")
    with serving(mode, access=access) as service:
        for is_first in (True, False):
            with firefox.running(tmp_path) as tab:
                open_page(tab, service.url, mode)
                if is_first:
                    assert tab.evaluate(LOG_IN) == 200
                for _ in range(2):
                    assert tab.evaluate(REFRESHES)
                    assert tab.evaluate(WHO) == "alice"
                    found = tab.evaluate(KEYS)
                    assert found["types"] == ["private"]
                    assert (found["exported"], found["tried"]) == (0, 3)
                    open_page(tab, service.url, mode)  # as a reload does
                assert tab.evaluate("client.isBound")
        made = service.proofs()
        assert len({one.thumbprint for one in made}) == 1
        assert len({one.jti for one in made}) == len(made)
        assert [one.status for one in service.to(LOGIN)] == [401, 200]
        assert {one.status for one in service.to(REFRESH)} == {200}
        assert {one.scheme for one in service.to(ME)} == {"DPoP" if access else "Bearer"}
