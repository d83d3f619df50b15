"""The demo: a login from its first token to its end, on one page, without installation."""

from __future__ import annotations

import os
import signal
import sys
import webbrowser
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.parse import quote

from ...settings.settings import wall_clock
from .app import Demo
from .server import DemoServer

__all__ = ["Demo", "has_screen", "run_demo", "serving"]


def run_demo(
    host: str, port: int, *, opens_browser: bool, access_lifetime: float, settle: float
) -> None:
    """Serve the demo until Ctrl-C or SIGTERM.

    Raises:
        OSError: the address isn't free, or isn't of this machine.
        ConfigurationError: for a lifetime out of bounds.

    """
    # Handled like Ctrl-C, so that the temporary directory is removed.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with serving(host, port, access_lifetime=access_lifetime, settle=settle) as server:
            sys.stdout.write(f"The demo is at {server.url} until you press Ctrl-C.\n")
            sys.stdout.flush()
            if opens_browser and has_screen(os.environ):
                # In a thread, because it may block until the browser is closed, and the page needs
                # the server.
                Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
            server.serve_forever()
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def serving(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    access_lifetime: float = 20,
    settle: float = 3,
    clock: Callable[[], float] = wall_clock,
) -> Generator[DemoServer, None, None]:
    """Give a listening server with a demo on its own database. The caller starts serving."""
    with (
        TemporaryDirectory(prefix="jwt-middleware-") as directory,
        DemoServer(host, port) as server,
    ):
        # Made here, because the store warns of a file that it has to make.
        Path(directory, "grants.db").touch(0o600)
        demo = Demo(
            server.url,
            f"sqlite:///{quote(directory)}/grants.db",
            access_lifetime=access_lifetime,
            settle=settle,
            clock=clock,
        )
        server.set_app(demo)
        try:
            yield server
        finally:
            demo.settings.close()


def has_screen(environ: Mapping[str, str]) -> bool:
    """Say whether a browser opens in a window: one in the terminal would take Ctrl-C."""
    return sys.platform in ("darwin", "win32") or any(
        environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
