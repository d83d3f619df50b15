"""Firefox as Debian ships it, driven over WebDriver BiDi (W3C): no more of it than a test needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from json import dumps, loads
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PATIENCE = 60.0  # seconds for what takes one
NAMES = ("firefox-esr", "firefox")
# No first-run pages, and no calls home.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.search.update": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "remote.prefs.recommended": True,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


def firefox() -> str | None:
    """Return the browser's path, if one is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """A tab, in which scripts run."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)
        self.version = self._ask("session.new", capabilities={})["capabilities"]["browserVersion"]
        self._context = self._ask("browsingContext.create", type="tab")["context"]

    def goto(self, url: str) -> None:
        """Load a page, and wait until it has loaded."""
        self._ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Return what an expression, or the promise that it is, comes to: as JSON has it."""
        found = self._ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify((await ({expression})) ?? null))()",
            awaitPromise=True,
            target={"context": self._context},
        )
        if found["type"] != "success":
            raise AssertionError(found["exceptionDetails"]["text"])
        return loads(found["result"]["value"])

    def end(self) -> None:
        """Close the browser as a user does, so that it writes what it has."""
        self._ask("browser.close")

    def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._connection.send(dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = loads(self._connection.recv(timeout=PATIENCE))
            if said.get("id") == number:
                break  # the others are events
        if said["type"] == "error":
            raise AssertionError(f"{method}: {said['error']}: {said['message']}")
        return said["result"]


@contextmanager
def running(profile: Path) -> Generator[Tab, None, None]:
    """Start the browser with a profile of its own, and give a tab; it ends with the block."""
    lines = [f"user_pref({dumps(name)}, {dumps(value)});" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines))
    command = [str(firefox()), "--headless", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(
        [*command, "--remote-debugging-port=0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        found = filter(
            None, (re.search(r"BiDi listening on (ws://\S+)", one) for one in process.stderr)
        )
        with connect(f"{next(found)[1]}/session", max_size=None) as connection:
            tab = Tab(connection)
            yield tab
            tab.end()
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
