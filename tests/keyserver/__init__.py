"""An issuer's key server on loopback, scripted: it counts what is fetched, and plays every fault.

Real sockets, plain or TLS. Its threads are there from the start, so that a test can show what
happens where no thread is to be had. A play is a function of the connection: it says what is said.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any, Self

from jwt_middleware import KeySet
from jwt_middleware.jose.jwk import Key
from tests.engines.tls import Pair
from tests.waiting import PATIENCE

HOST = "127.0.0.1"

Play = Callable[["Line"], None]


class Line:
    """One connection, after its request has been read."""

    def __init__(self, server: KeyServer, connected: socket.socket, request: bytes) -> None:
        self.server = server
        self.request = request.decode("latin-1")
        self.path = self.request.split(" ")[1]
        self._connected = connected

    def send(self, octets: bytes) -> None:
        self._connected.sendall(octets)

    def wait_gone(self) -> None:
        """Say nothing until the other side goes, or the server closes."""
        self._connected.settimeout(0.02)
        while not self.server.is_closing:
            try:
                if not self._connected.recv(1):
                    return
            except TimeoutError:
                continue


def answer(body: bytes | str, *fields: str, status: int = 200, length: int | None = None) -> Play:
    """Answer with a body; `fields` are whole header lines."""
    octets = body.encode() if isinstance(body, str) else body
    size = len(octets) if length is None else length
    lines = (f"HTTP/1.1 {status} Said", f"Content-Length: {size}", *fields, "", "")

    def play(line: Line) -> None:
        line.send("\r\n".join(lines).encode() + octets)

    return play


def document(members: Any, *fields: str) -> Play:
    return answer(json.dumps(members), "Content-Type: application/json", *fields)


def key_set(*keys: KeySet | Key | Mapping[str, Any], fields: Iterable[str] = ()) -> Play:
    """Answer with a JWK Set: of public parts, or of members as they are given."""
    return document({"keys": [one for given in keys for one in _members(given)]}, *fields)


def _members(given: KeySet | Key | Mapping[str, Any]) -> list[Any]:
    if isinstance(given, KeySet):
        return given.public_jwks()["keys"]
    return [given.public_jwk()] if isinstance(given, Key) else [given]


def hang(line: Line) -> None:
    """Take the request, and say nothing."""
    line.wait_gone()


def drip(octets: bytes, every: float = 0.02) -> Play:
    """Say one octet after the other, for as long as anybody listens."""

    def play(line: Line) -> None:
        for number in range(1 << 20):
            line.send(octets[number : number + 1] or b"x")
            time.sleep(every)
            if line.server.is_closing:
                return

    return play


def endless(octets: bytes) -> Play:
    """Say the same again and again, for as long as anybody listens."""

    def play(line: Line) -> None:
        while not line.server.is_closing:
            line.send(octets)

    return play


def cut(octets: bytes) -> Play:
    """Say this much, and hang up."""
    return lambda line: line.send(octets)


class Gate:
    """A play that waits until it is opened: the fetch is under way for as long as a test likes."""

    def __init__(self, then: Play) -> None:
        self.then = then
        self.reached = Event()
        self._open = Event()

    def __call__(self, line: Line) -> None:
        self.reached.set()
        while not self._open.wait(0.02):
            if line.server.is_closing:
                return
        self.then(line)

    def open(self) -> None:
        self._open.set()


class KeyServer:
    """The server. `pages` has a play for each path; all else is 404. With a `pair`, it is TLS."""

    def __init__(self, pair: Pair | None = None, *, host: str = HOST, threads: int = 24) -> None:
        self.pages: dict[str, Play] = {}
        self.fetches: list[str] = []  # the paths that were asked for
        self.accepted = 0  # connections
        self.greets = True  # False: connections come in, and nothing is ever said
        self.raw: Play | None = None  # what is said before anything is asked, or shaken
        self.is_closing = False
        self._host = host
        self._context: ssl.SSLContext | None = None
        if pair is not None:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(*pair)
        self._lock = Lock()
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._is_up = Event()
        self._is_up.set()
        self._threads = [Thread(target=self._serve, daemon=True) for _ in range(threads)]
        for one in self._threads:
            one.start()

    @property
    def base(self) -> str:
        """The URL of the host: the issuer's name, as a rule."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._context is None else 'https'}://{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.base}/jwks"

    def publish(self, play: Play) -> None:
        """Let the key set be what this says."""
        self.pages["/jwks"] = play

    def describe(self, path: str = "/.well-known/openid-configuration", **members: Any) -> None:
        """Let metadata be found: of this host, with the key set above."""
        self.pages[path] = document({"issuer": self.base, "jwks_uri": self.url} | members)

    @property
    def count(self) -> int:
        """How many times the key set was asked for."""
        return self.fetches.count("/jwks")

    def go_down(self) -> None:
        """Close the port: connections are refused."""
        self._is_up.clear()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def come_up(self) -> None:
        """Listen again, at the same port."""
        self._listener = self._listen(self.port)
        self._is_up.set()

    def mend(self, play: Play) -> None:
        """End whatever is wrong, and let the key set be what this says."""
        self.greets = True
        self.publish(play)
        if not self._is_up.is_set():
            self.come_up()

    def _listen(self, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        return socket.create_server((self._host, port), family=family, backlog=128)

    def _serve(self) -> None:
        while not self.is_closing:
            self._is_up.wait()
            try:
                connected, _ = self._listener.accept()
            except OSError:
                time.sleep(0.01)
                continue
            with connected, suppress(OSError):
                self._talk(connected)

    def _talk(self, connected: socket.socket) -> None:
        with self._lock:
            self.accepted += 1
        connected.settimeout(PATIENCE)
        if not self.greets or self.raw is not None:
            (self.raw or hang)(Line(self, connected, b"- -"))
            return
        if self._context is not None:
            connected = self._context.wrap_socket(connected, server_side=True)
        with connected:
            request = b""
            while b"\r\n\r\n" not in request:
                octets = connected.recv(1 << 16)
                if not octets:
                    return
                request += octets
            line = Line(self, connected, request)
            with self._lock:
                self.fetches.append(line.path)
            self.pages.get(line.path, answer("not here", status=404))(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closing = True
        self.go_down()
        self._is_up.set()
        for one in self._threads:
            one.join()
