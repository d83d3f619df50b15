"""What the applications under the real servers share: their settings, and a line to the test."""

import os
import signal
import socket
import threading
from typing import Any

from jwt_middleware import KeySet, Route, Settings, current_token

SETTINGS = Settings(
    issuer=os.environ["TEST_ISSUER"],
    audience=os.environ["TEST_AUDIENCE"],
    keys=KeySet.from_jwks(os.environ["TEST_JWKS"]),  # the public parts only
    routes=(Route("/go", public=True), Route("/straße/*", scope="admin")),
)
PIECE = b"x" * 65536
PIECES = 4096  # 256 MiB: far more than any buffer between the application and a client holds

_notes = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
_test = "127.0.0.1", int(os.environ["TEST_NOTES"])


def who() -> str:
    """Return whose token is current."""
    token = current_token()
    return token.subject if token else "nobody"


def note(what: str) -> None:
    """Tell the test what happens here, and whose token is current while it does."""
    _notes.sendto(f"{what} by {who()}".encode(), _test)


def report(token: Any) -> dict[str, Any]:
    """Return what a request was given."""
    return {"same": current_token() is token, "claims": token.claims}


def _end_with_the_test() -> None:
    line = socket.create_connection(("127.0.0.1", int(os.environ["TEST_ALIVE"])))

    def wait() -> None:
        try:
            line.recv(1)  # nothing is ever sent: it ends when the test's process does
        finally:
            os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


# A test that is killed can't stop its servers.
_end_with_the_test()
