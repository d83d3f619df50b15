"""The standard library's server with a thread for each connection, for one machine."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

IDLE = 30  # seconds; browsers open connections ahead and don't use all of them


class DemoServer(ThreadingMixIn, WSGIServer):
    """Listens when it is made. Not for production: it has no limits against attackers."""

    daemon_threads = True  # Ctrl-C doesn't wait for browsers
    request_queue_size = 64  # the default is five, and one tab opens six at once

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), _Connection)

    @property
    def url(self) -> str:
        """Return the URL for a browser."""
        # If it listens on all addresses, name localhost: plain HTTP to it stays on this machine.
        is_everywhere = ip_address(self.server_name).is_unspecified
        return f"http://{'localhost' if is_everywhere else self.server_name}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind without looking up this machine's name in DNS, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing when a browser disconnects, which happens all the time."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Connection(WSGIRequestHandler):
    timeout = IDLE

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the page shows what happens, and its polls would fill the terminal."""
