"""Bodies: a refused one is drained, one of ours is read however it comes, and few threads wait."""

import asyncio
import io
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from threading import Event, Semaphore, Thread
from typing import Any

import pytest

from jwt_middleware.process import request_bodies
from jwt_middleware.process.request_bodies import DRAIN_LIMIT, DRAINS, READS
from tests.issuing import REFRESH, Site, form_octets, memory, posted, refresh_form, single
from tests.rules import accepts, refuses
from tests.waiting import PATIENCE
from tests.world import Answer, Receive, Sent, by_asgi, by_wsgi, encoded, shake_hands

UPLOAD = b"x" * 200_000
CHUNKED = [("Transfer-Encoding", "chunked")]


def asked(method: str, path: str, headers: Any = ()) -> Sent:
    return Sent(method, path, encoded(headers, None))


class Input(io.BytesIO):
    """What a WSGI server hands on, and how much of it was taken."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.taken += len(found)
        return found


class Messages:
    """What an ASGI server hands on, and how much of it was taken."""

    def __init__(self, body: bytes, size: int = 65536) -> None:
        self.left = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        self.taken = 0

    async def __call__(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        # Servers wait here for the client to go.
        assert self.left, "asked for more than there is"
        chunk = self.left.pop(0)
        self.taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(self.left)}


def coming(site: Site, body: bytes) -> Any:
    return Input(body) if site.door == "wsgi" else Messages(body)


def send(site: Site, sent: Sent, given: Any, **more: Any) -> Answer:
    """Send a request whose body comes as given."""
    before = len(site.events)
    if site.door == "wsgi":
        raw = by_wsgi(site.wsgi, sent, **({"wsgi.input": given} | more))
    else:
        receive: Receive = given
        raw = site.runner.run(by_asgi(site.asgi, sent, receive))
    return site.application.answer(raw, site.events[before:])


@pytest.fixture(params=["wsgi", "asgi"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with single((request.param, memory)) as one:
        yield one


@pytest.fixture
def wsgi() -> Iterator[Site]:
    with single(("wsgi", memory)) as one:
        yield one


@pytest.fixture
def asgi() -> Iterator[Site]:
    with single(("asgi", memory)) as one:
        yield one


# --- what is refused is drained


@pytest.mark.parametrize("size", [1, 1024, 200_000, DRAIN_LIMIT])
def test_the_body_of_a_refused_request_is_taken_in_before_the_answer(site: Site, size: int) -> None:
    given = coming(site, b"x" * size)
    assert send(site, posted("/upload", b"x" * size), given).status == 401
    assert given.taken == size


def test_so_is_that_of_any_other_answer_of_ours(site: Site) -> None:
    for method, path, status in (("PUT", REFRESH, 405), ("GET", "/.well-known/jwks.json", 200)):
        given = coming(site, UPLOAD)
        headers = [("Content-Length", str(len(UPLOAD)))]
        answer = send(site, asked(method, path, headers), given)
        assert (answer.status, given.taken) == (status, len(UPLOAD)), path


def test_a_body_in_chunks_is_drained_where_a_drain_can_be_given_up(site: Site) -> None:
    given = coming(site, UPLOAD)
    answer = send(site, asked("POST", "/upload", CHUNKED), given, **{"wsgi.input_terminated": True})
    assert answer.status == 401
    assert given.taken == (len(UPLOAD) if site.door == "asgi" else 0)


LEFT: dict[str, tuple[int, Sent]] = {
    "waits-for-a-100": (401, posted("/upload", UPLOAD, headers=[("Expect", "100-continue")])),
    "too-large-for-an-endpoint": (413, posted(REFRESH, UPLOAD)),
    "too-large-to-drain": (401, asked("POST", "/", [("Content-Length", str(DRAIN_LIMIT + 1))])),
    "far-too-large": (401, asked("POST", "/", [("Content-Length", "9" * 5000)])),
    "no-length": (401, asked("POST", "/")),
    "an-odd-length": (401, asked("POST", "/", [("Content-Length", "+1")])),
    "empty": (401, asked("POST", "/", [("Content-Length", "0")])),
}


@pytest.mark.parametrize(("status", "sent"), LEFT.values(), ids=LEFT)
def test_some_bodies_are_left(site: Site, status: int, sent: Sent) -> None:
    given = coming(site, UPLOAD)
    assert (send(site, sent, given).status, given.taken) == (status, 0)


def test_what_an_endpoint_has_read_is_not_asked_for_again(site: Site) -> None:
    body = form_octets(refresh_form("no token"))
    given = coming(site, body)  # it fails where it is asked for more than there is
    assert send(site, posted(REFRESH, body), given).status == 400
    assert given.taken == len(body)


def test_an_endless_upload_is_left_at_eight_mebibytes(asgi: Site) -> None:
    given = Messages(b"x" * (DRAIN_LIMIT + 10 * 65536))
    assert send(asgi, asked("POST", "/upload", CHUNKED), given).status == 401
    assert given.taken == DRAIN_LIMIT + 65536


def test_an_upload_that_stands_still_is_answered_after_a_while(
    asgi: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_bodies, "DRAIN_SECONDS", 0.02)

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    assert send(asgi, posted("/upload", UPLOAD), never).status == 401


def test_a_slow_upload_is_answered_after_a_while(
    wsgi: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_bodies, "DRAIN_SECONDS", -1)
    given = Input(UPLOAD)
    assert send(wsgi, posted("/upload", UPLOAD), given).status == 401
    assert not given.taken


def test_two_seconds_are_given_to_a_drain_and_eight_mebibytes() -> None:
    assert (request_bodies.DRAIN_SECONDS, DRAIN_LIMIT) == (2, 8 * 1024 * 1024)


@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_whatever_becomes_of_the_body_the_refusal_is_sent(door: str) -> None:
    class Broken(Input):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OverflowError("of a chunk's size")

    async def broken() -> dict[str, Any]:
        raise ConnectionResetError

    with single((door, memory)) as site:
        given: Any = Broken() if door == "wsgi" else broken
        assert send(site, posted("/upload", UPLOAD), given).status == 401


def test_a_drain_ends_where_the_client_goes(site: Site) -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    given: Any = Input(b"x" * 10) if site.door == "wsgi" else gone
    assert send(site, posted("/upload", UPLOAD), given).status == 401


def test_nothing_of_a_handshake_is_drained(asgi: Site) -> None:
    # Its messages are no body: the second would never come.
    length = [("Content-Length", "5")]
    answer = asgi.runner.run(shake_hands(asgi.asgi, "/", length))
    assert answer["status"] == 401


# --- what an endpoint reads


@accepts("RT-24")
@pytest.mark.parametrize("most", [1, 7, 600])
def test_a_read_may_return_less_than_was_asked_for(wsgi: Site, most: int) -> None:
    class Short(Input):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, most))

    body = form_octets(refresh_form(wsgi.ask("issue", "alice").refresh_token))
    assert send(wsgi, posted(REFRESH, body), Short(body)).status == 200
    chunked = [("Content-Type", "application/x-www-form-urlencoded"), *CHUNKED]
    terminated = {"wsgi.input_terminated": True}
    sent = asked("POST", REFRESH, chunked)
    assert send(wsgi, sent, Short(body), **terminated).status == 200


@refuses("RT-24")
@pytest.mark.parametrize("error", [ValueError, OverflowError, OSError, KeyError, AttributeError])
def test_whatever_a_server_raises_for_a_bad_body_is_400(wsgi: Site, error: type[Exception]) -> None:
    class Broken(Input):
        def read(self, size: int | None = -1, /) -> bytes:
            raise error("theirs")

    answer = send(wsgi, posted(REFRESH, b"a=1"), Broken())
    assert (answer.status, answer.reason) == (400, "body_malformed")


@refuses("RT-24")
def test_a_body_that_trickles_is_given_up(wsgi: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "READ_SECONDS", 0.02)

    class Trickle(Input):
        def read(self, size: int | None = -1, /) -> bytes:
            return b"x"

    answer = send(wsgi, posted(REFRESH, b"x" * 16000), Trickle())
    # On a machine that is quick enough all of it has come by then, and means nothing.
    assert answer.status == 400


@refuses("RT-24")
def test_a_body_that_is_late_is_given_up(wsgi: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "READ_SECONDS", -1)
    answer = send(wsgi, posted(REFRESH, b"a=1"), Input(b"a=1"))
    assert (answer.status, answer.reason) == (400, "body_too_slow")


@pytest.mark.parametrize("length", ["0", "00", ""])
def test_a_body_that_is_announced_empty_is_not_waited_for(site: Site, length: str) -> None:
    if site.door == "asgi" and not length:
        length = "0"

    class Hanging(Input):
        def read(self, size: int | None = -1, /) -> bytes:
            raise AssertionError("it would wait for ever")

    given: Any = Hanging() if site.door == "wsgi" else Messages(b"")
    if site.door == "asgi":
        given.left = []
    answer = send(site, asked("POST", REFRESH, [("Content-Length", length)]), given)
    assert (answer.status, answer.reason) == (400, "parameter_malformed")


# --- how many threads wait


class Hanging(Input):
    """A body that comes when the test says so."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.asked, self.comes = Event(), Event()

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked.set()
        assert self.comes.wait(PATIENCE)
        return super().read(size)


@contextmanager
def hanging(
    count: int, request: Callable[[Hanging], Answer], body: bytes
) -> Generator[list[Answer]]:
    """Let so many requests wait for their body meanwhile; afterwards all have their answer."""
    bodies = [Hanging(body) for _ in range(count)]
    answers: list[Answer] = []
    threads = [Thread(target=lambda one=one: answers.append(request(one))) for one in bodies]
    for thread in threads:
        thread.start()
    try:
        for one in bodies:
            assert one.asked.wait(PATIENCE)
        yield answers
    finally:
        for one in bodies:
            one.comes.set()
        for thread in threads:
            thread.join()


HERE, ELSEWHERE = {"REMOTE_ADDR": "203.0.113.9"}, {"REMOTE_ADDR": "198.51.100.7"}


@refuses("RT-24")
def test_one_address_has_two_bodies_waited_for_and_no_other_is_kept_out(wsgi: Site) -> None:
    body = form_octets(refresh_form(wsgi.ask("issue", "alice").refresh_token))

    def refresh(given: Any, address: dict[str, str] = HERE) -> Answer:
        return send(wsgi, posted(REFRESH, body), given, **address)

    with hanging(READS, refresh, body) as served:
        refused = refresh(Input(body))
        assert (refused.status, refused.reason) == (503, "bodies_awaited")
        assert refused.header("retry-after") == "1"
        assert refresh(Input(body), ELSEWHERE).status == 200
        # What has no body waits for none.
        assert send(wsgi, asked("POST", REFRESH), Input(), **HERE).status == 400
    assert [one.status for one in served] == [200] * READS
    assert refresh(Input(body)).status == 200


def test_whose_turn_comes_soon_is_not_turned_away(
    wsgi: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_waited = Event()

    class Watched(Semaphore):
        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            if super().acquire(blocking=False):
                return True
            has_waited.set()
            return super().acquire(blocking, timeout)

    monkeypatch.setattr(request_bodies, "TURN_SECONDS", PATIENCE)
    monkeypatch.setattr(request_bodies, "Semaphore", Watched)
    body = form_octets(refresh_form(wsgi.ask("issue", "alice").refresh_token))
    answers: list[Answer] = []

    def refresh(given: Any) -> Answer:
        return send(wsgi, posted(REFRESH, body), given, REMOTE_ADDR="192.0.2.1")

    last = Input(body)
    waiting = Thread(target=lambda: answers.append(refresh(last)))
    with hanging(READS, refresh, body):
        waiting.start()
        assert has_waited.wait(PATIENCE)
        assert not last.taken
    waiting.join()
    assert [one.status for one in answers] == [200]


def test_strangers_hold_two_threads_by_uploads_that_stand_still(wsgi: Site) -> None:
    def upload(given: Any) -> Answer:
        return send(wsgi, posted("/upload", UPLOAD), given)

    with hanging(DRAINS, upload, UPLOAD) as refused:
        given = Input(UPLOAD)
        assert upload(given).status == 401
        assert not given.taken
        body = form_octets(refresh_form(wsgi.ask("issue", "alice").refresh_token))
        assert send(wsgi, posted(REFRESH, body), Input(body)).status == 200
    assert [one.status for one in refused] == [401] * DRAINS


def test_a_child_process_waits_for_no_thread_of_its_parent() -> None:
    assert request_bodies._turns(1) is request_bodies._turns(1)
    assert request_bodies._turns(1) is not request_bodies._turns(2)
