"""What the applications under the real servers share: their settings, and a line to the test."""

import os
import socket
from typing import Any

from jwt_middleware import KeySet, Route, Settings, current_token

from .lifeline import end_with_the_test

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


end_with_the_test(int(os.environ["TEST_ALIVE"]))
