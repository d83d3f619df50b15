"""A test that is killed can't stop its servers: they end with it by themselves."""

import os
import signal
import socket
import threading


def end_with_the_test(port: int) -> None:
    """End this process's group when the test does, which listens on a port until then."""
    line = socket.create_connection(("127.0.0.1", port))

    def wait() -> None:
        try:
            line.recv(1)  # nothing is ever sent: it ends when the test's process does
        finally:
            os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()
