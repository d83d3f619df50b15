"""A server whose answers the test decides, and pages on it that use the browser's client."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from threading import Condition, Event
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import jwt_middleware.cli
from jwt_middleware.cli.demo.server import DemoServer

from .browsing import listening

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Frame, Page

CLIENT = Path(jwt_middleware.cli.__file__).parent / "demo" / "jwt-client.js"
ALLOWED = "Authorization, Content-Type, X-Requested-With"
PATIENCE = 20.0  # seconds for what takes a fraction of one
PAGE = b"""<!doctype html><title>A page</title><link rel="icon" href="data:,">
<script type="module">
import * as all from "/jwt-client.js";
window.make = (options) => {
    window.client = new all.JWTClient({ delays: [], ...options });
    window.told = [];
    for (const type of ["login", "refresh", "retry", "logout", "unstored", "unbound"]) {
        client.addEventListener(type, ({ detail }) => {
            told.push([type, detail.reason ?? detail.elsewhere ?? detail.cause?.name]);
        });
    }
};
// What becomes of a call: what it returns, a response's status, or the error's name.
window.begin = (call) => {
    window.outcome = call().then(
        (found) => (found instanceof Response ? found.status : (found ?? null)),
        (error) => error.name,
    );
};
</script>"""


@dataclass
class Answer:
    """What the server says. It waits for `gate` first."""

    status: int = 200
    body: object = None  # text is HTML, all else JSON
    fields: tuple[tuple[str, str], ...] = ()
    gate: Event | None = None

    @property
    def content(self) -> tuple[str, bytes]:
        if isinstance(self.body, str):
            return "text/html", self.body.encode()
        return "application/json", json.dumps(self.body).encode()


@dataclass(frozen=True)
class Asked:
    """What a page sent."""

    method: str
    path: str
    form: dict[str, str]
    authorization: str | None
    cookie: str | None
    proof: str | None


def tokens(number: int, *, sid: str | None = None, **more: object) -> dict[str, object]:
    """Return a token response: of header mode, or, with `sid`, of cookie mode."""
    found: dict[str, object] = {"access_token": f"a{number}", "token_type": "Bearer"}
    found["expires_in"] = 600
    found |= {"refresh_token": f"r{number}"} if sid is None else {"sid": sid}
    return found | more


@dataclass
class Scripted:
    """Says what it is told to: of the answers for a path each once, and the last for ever."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    allows: str | None = None  # the origin whose scripts may read all answers
    _answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    _without: dict[str, Answer] = field(default_factory=dict)
    _changed: Condition = field(default_factory=Condition)

    def say(self, path: str, *answers: Answer) -> None:
        self._answers[path] = list(answers)
        self._without.pop(path, None)

    def answers_by_cookie(self, path: str, with_one: Answer, without: Answer) -> None:
        self.say(path, with_one)
        self._without[path] = without

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == "/jwt-client.js":
            answer, kind, content = Answer(), "text/javascript", CLIENT.read_bytes()
        elif path.startswith("/page"):
            answer, kind, content = Answer(), "text/html", PAGE
        else:
            answer = Answer(204) if method == "OPTIONS" else self._answer(method, path, environ)
            kind, content = answer.content
        if answer.gate is not None:
            assert answer.gate.wait(PATIENCE)
        fields = [("Content-Type", kind), ("Content-Length", str(len(content))), *answer.fields]
        if self.allows:
            fields += [("Access-Control-Allow-Origin", self.allows)]
            fields += [("Access-Control-Allow-Headers", ALLOWED)]
            fields += [("Access-Control-Allow-Credentials", "true")]
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", fields)
        return [b"" if answer.status == HTTPStatus.NO_CONTENT else content]

    def _answer(self, method: str, path: str, environ: dict[str, Any]) -> Answer:
        octets = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        form = {name: value for name, [value] in parse_qs(octets.decode()).items()}
        names = ("HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_DPOP")
        asked = Asked(method, path, form, *map(environ.get, names))
        with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()
            if path in self._without and asked.cookie is None:
                return self._without[path]
            answers = self._answers[path]
            if not answers:
                return Answer(404, {"error": "not_found"})
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def wait(self, path: str, count: int = 1) -> list[Asked]:
        """Wait until so many requests for a path have come, and return them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.to(path)) >= count, PATIENCE), path
        return self.to(path)

    def to(self, path: str) -> list[Asked]:
        return [one for one in self.asked if one.path == path]


@contextmanager
def scripted(context: BrowserContext, count: int = 1) -> Generator[list[Scripted], None, None]:
    """Give servers on ports of their own."""
    found = []
    with ExitStack() as stack:
        for _ in range(count):
            server = stack.enter_context(DemoServer("127.0.0.1", 0))
            one = Scripted(server.url)
            server.set_app(one)
            stack.enter_context(listening(server))
            found.append(one)
        yield found
        context.close()  # before the servers: it may be waiting for an answer


def make(page: Page | Frame, **options: Any) -> None:
    """Make the page's `client`."""
    page.wait_for_function("window.make !== undefined")
    page.evaluate("make", options)


def open_page(context: BrowserContext, url: str, **options: Any) -> Page:
    page = context.new_page()
    page.goto(url)
    make(page, **options)
    return page


def begin(page: Page | Frame, call: str) -> None:
    """Let the page begin something, and don't wait for it."""
    page.evaluate(f"begin(async () => {call})")


def outcome(page: Page | Frame) -> Any:
    """Wait for what the page began, and return what became of it."""
    return page.evaluate(
        """(patience) => Promise.race([
            outcome,
            new Promise((_, reject) => setTimeout(reject, patience, new Error("nothing came"))),
        ])""",
        PATIENCE * 1000,
    )
