"""A wire between a client and a server that counts what goes over it, and can be cut."""

from __future__ import annotations

import select
import socket
import struct
import time
from contextlib import suppress
from threading import Event, Thread
from typing import Self

HOST = "127.0.0.1"
LOOK_EVERY = 0.02  # seconds


class Proxy:
    """Carries TCP connections to a server on this machine, until told otherwise.

    `trips` counts how often a client has spoken after the server, or first.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.trips = 0
        self.connections = 0
        self.delay = 0.0  # seconds that each part takes, in each direction
        self._is_reset_after_answer = False
        self._hanging = Event()
        self._stopping = Event()
        self._cutting = Event()
        self._threads = [Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._threads[0].join()
        self._listener.close()
        for thread in self._threads[1:]:
            thread.join()

    def hang(self) -> None:
        """Carry nothing on, in neither direction, and say nothing about it."""
        self._hanging.set()

    def resume(self) -> None:
        self._hanging.clear()

    def cut(self) -> None:
        """Reset all connections, at both ends; when this returns they are gone."""
        self._cutting.set()
        for thread in self._threads[1:]:
            thread.join()
        self._cutting.clear()

    def reset_after_answer(self) -> None:
        """Carry one more question to the server, and reset in place of the answer."""
        self._is_reset_after_answer = True

    def _accept(self) -> None:
        while not self._stopping.is_set():
            if not select.select([self._listener], [], [], LOOK_EVERY)[0]:
                continue
            client, _ = self._listener.accept()
            self.connections += 1
            try:
                server = socket.create_connection((HOST, self._target))
            except OSError:
                client.close()
                continue
            thread = Thread(target=self._carry, args=(client, server), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        last = server
        with client, server, suppress(OSError, ValueError):
            while not self._stopping.is_set():
                if self._cutting.is_set():
                    _reset(client)
                    _reset(server)
                    return
                if self._hanging.is_set():
                    self._stopping.wait(LOOK_EVERY)
                    continue
                for one in select.select([client, server], [], [], LOOK_EVERY)[0]:
                    data = one.recv(1 << 16)
                    if not data:
                        return
                    if one is client and last is server:
                        self.trips += 1
                    last = one
                    if one is server and self._is_reset_after_answer:
                        self._is_reset_after_answer = False
                        _reset(client)
                        return
                    time.sleep(self.delay)
                    other[one].sendall(data)


def _reset(one: socket.socket) -> None:
    with suppress(OSError):
        # RFC 9293 s3.6: with no time to linger, a close is a reset.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
