"""A process whose threads live as users do: `python -m tests.stores.load`, for the load tests.

They log in, are let in, refresh and log out, all through the middleware, and each answer is
compared with what the thread knows: a grant that lives is never refused, nothing of one that was
logged out is let in when 2 s have passed, and nothing is the server's fault. The ends of all
processes are in one folder, so that each watches those of the others, too.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, NamedTuple
from urllib.parse import urlencode

from jwt_middleware import Issuer, KeySet, Refresh, Route, Settings, StoreUnavailable
from jwt_middleware.wsgi import JWTMiddleware

BOUND = 2.0  # seconds from the answer to a log-out until it holds everywhere: 2 x `sync_every`
RESTS = 0.002  # seconds of a thread between two requests
SHOWN = 20  # wrong answers that are told
REFRESHES = 6  # of each login
LOGIN, HOME, REFRESH, REVOKE = "/login", "/", "/auth/refresh", "/auth/revoke"


class Answered(NamedTuple):
    """What a request was answered, and when it was sent."""

    status: int
    body: bytes
    sent: float


class Over(NamedTuple):
    """A grant that was logged out, whose tokens must open nothing from a moment on."""

    at: float
    access_token: str
    refresh_token: str


class Site:
    """The application behind the middleware."""

    def __init__(self, url: str, keys: Path, options: dict[str, Any]) -> None:
        self.events: Counter[str] = Counter()
        settings = Settings(
            issuer="https://login.example",
            audience="https://api.example",
            keys=KeySet.load(keys),
            routes=(Route(LOGIN, public=True),),
            refresh=Refresh(store=url, settle=0, **options),
            on_event=lambda event: self.events.update([type(event).__name__]),
        )
        self._issuer = Issuer(settings)
        self._app = JWTMiddleware(self._application, settings)
        self.close = settings.close

    def _application(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        if environ["PATH_INFO"] != LOGIN:
            return [b"{}"]
        tokens = self._issuer.issue(environ["QUERY_STRING"], scope="read")
        return [json.dumps(dict(tokens)).encode()]

    def send(self, path: str, form: dict[str, str] | None = None, **more: str) -> Answered:
        body = urlencode(form).encode() if form else b""
        environ = {
            "REQUEST_METHOD": "POST" if form else "GET",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "api.example",
            "SERVER_PORT": "443",
            "wsgi.url_scheme": "https",
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            **more,
        }
        heard: list[str] = []
        sent = time.monotonic()

        def start_response(status: str, headers: Any, _: Any = None) -> Any:
            heard.append(status)

        try:
            chunks: Any = self._app(environ, start_response)
            answer = b"".join(chunks)
            getattr(chunks, "close", lambda: None)()
        except StoreUnavailable as error:  # of a login: a server answers 500
            return Answered(500, repr(error).encode(), sent)
        return Answered(int(heard[0][:3]), answer, sent)


class Load:
    """The threads of one process, and what they were answered."""

    def __init__(self, site: Site, folder: Path, name: str) -> None:
        self._site, self._folder, self._name = site, folder, name
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.is_over = Event()
        self._lock = Lock()

    def call(self, what: str, expected: int, *args: Any, **more: Any) -> Answered:
        """Send a request, and note what isn't as expected."""
        found = self._site.send(*args, **more)
        with self._lock:
            self.counts[what] += 1
        if found.status != expected:
            self.note(f"{what}: {found.status} {found.body[:120].decode(errors='replace')}")
        return found

    def note(self, what: str) -> None:
        with self._lock:
            self.counts["wrong"] += 1
            self.wrong.append(what)

    def known(self, access_token: str, expected: int = 200, what: str = "known") -> None:
        self.call(what, expected, HOME, HTTP_AUTHORIZATION=f"Bearer {access_token}")

    def exchanged(self, refresh_token: str, expected: int = 200, what: str = "refresh") -> Any:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        found = self.call(what, expected, REFRESH, form)
        if found.status == expected == 400 and b"invalid_grant" not in found.body:
            self.note(f"{what}: {found.body[:120].decode(errors='replace')}")
        return json.loads(found.body) if found.status == 200 else None

    def live(self, number: int) -> None:
        """Log in, refresh and log out, time and again."""
        sessions = 0
        with (self._folder / f"{self._name}-{number}.ends").open("a", buffering=1) as ends:
            while not self.is_over.is_set():
                subject = f"user-{self._name}-{number}-{sessions % 5}"
                sessions += 1
                found = self.call("login", 200, LOGIN, QUERY_STRING=subject)
                if found.status == 200:
                    self._session(json.loads(found.body), ends)

    def _session(self, tokens: Any, ends: Any) -> None:
        for _ in range(REFRESHES):
            for _ in range(3):
                self.known(tokens["access_token"])
                self.is_over.wait(RESTS)
            parent, fresh = tokens, self.exchanged(tokens["refresh_token"])
            if fresh is None:
                continue  # it was noted; what a client does then is to come again
            tokens = tokens | fresh
            # The answer was lost, it says: it gets another one.
            self.exchanged(parent["refresh_token"], what="repeat")
        found = self.call("log-out", 200, REVOKE, {"token": tokens["refresh_token"]})
        if found.status == 200:
            over = Over(time.monotonic(), tokens["access_token"], tokens["refresh_token"])
            self.exchanged(over.refresh_token, 400, "refresh after the log-out")
            ends.write(f"{json.dumps(over)}\n")

    def watch(self) -> None:
        """Present what was logged out in any process as soon as it must open nothing."""
        read: dict[Path, int] = {}
        due: deque[Over] = deque()
        while True:
            is_last = self.is_over.is_set()
            found = [one for path in self._folder.glob("*.ends") for one in lines(path, read)]
            due.extend(sorted(Over(*one) for one in found))
            if not due and is_last:
                return
            while due and due[0].at + BOUND < time.monotonic():
                over = due.popleft()
                self.known(over.access_token, 401, "after a log-out")
            time.sleep(0.02)


def lines(path: Path, read: dict[Path, int]) -> list[Any]:
    """Return what was added to a file since the last call."""
    with path.open("rb") as file:
        file.seek(read.get(path, 0))
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    read[path] = read.get(path, 0) + len(whole)
    return [json.loads(line) for line in whole.splitlines()]


def main(given: dict[str, Any]) -> dict[str, Any]:
    """Let the threads live for some seconds, and return what came of it."""
    folder = Path(given["folder"])
    site = Site(given["url"], folder / "keys.json", given["options"])
    load = Load(site, folder, given["name"])
    watcher = Thread(target=load.watch)
    threads = [Thread(target=load.live, args=(number,)) for number in range(given["threads"])]
    for thread in (watcher, *threads):
        thread.start()
    time.sleep(given["seconds"])
    load.is_over.set()
    for thread in (*threads, watcher):
        thread.join()
    site.close()
    told = {"counts": load.counts, "events": site.events, "wrong": load.wrong[:SHOWN]}
    return told | {"kinds": Counter(one[:60] for one in load.wrong)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
