"""A server for one machine: the standard library's, a thread for each connection."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

IDLE = 30  # seconds; browsers open connections ahead and don't use all of them


class DemoServer(ThreadingMixIn, WSGIServer):
    """Listens when it is made. Not for production: it has no limits that attackers would meet."""

    daemon_threads = True  # Ctrl-C doesn't wait for browsers
    request_queue_size = 64  # five is the default, and six is what one tab opens at once

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), _Connection)

    @property
    def url(self) -> str:
        """Return where a browser finds this."""
        # Of all addresses the link names localhost, where nobody else reads plain HTTP.
        is_everywhere = ip_address(self.server_name).is_unspecified
        return f"http://{'localhost' if is_everywhere else self.server_name}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind without a look-up of the own name in DNS, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that went away, which they do all the time."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Connection(WSGIRequestHandler):
    timeout = IDLE

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the page shows what happens, and the terminal would fill with polls."""
