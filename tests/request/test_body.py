"""RT-24: the body of a token request, bounded in octets, fields and time."""

import asyncio
import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware.process import request_bodies
from jwt_middleware.request.body_parameters import MAX_BODY, MAX_FIELDS, check_length, parameters
from jwt_middleware.values.errors import InvalidRequest, TooLarge
from tests.issuing import (
    FORM,
    HOUR,
    JSON,
    REFRESH,
    REVOKE,
    Site,
    form_octets,
    memory,
    posted,
    refresh_form,
    single,
)
from tests.rules import accepts, refuses
from tests.world import Answer, Receive, Sent, by_asgi, by_wsgi

# --- what the octets mean

READ: dict[str, tuple[str | None, bytes, dict[str, str]]] = {
    "nothing": (None, b"", {}),
    "nothing-of-any-type": ("text/plain", b"", {}),
    "a-form": (FORM, b"a=1&b=2", {"a": "1", "b": "2"}),
    "escapes": (FORM, b"a=%C3%A9+%26%3D&b%5B=x", {"a": "é &=", "b[": "x"}),
    "a-semicolon": (FORM, b"a=1;b=2", {"a": "1;b=2"}),
    "no-equals-sign": (FORM, b"a&b=2", {"b": "2"}),
    "two-equals-signs": (FORM, b"a==1=", {"a": "=1="}),
    "empty-values": (FORM, b"a=&b=2&=3", {"b": "2", "": "3"}),
    "ampersands": (FORM, b"&&a=1&&", {"a": "1"}),
    "no-escape": (FORM, b"a=%zz%", {"a": "%zz%"}),
    "a-nul": (FORM, b"a=%00", {"a": "\0"}),
    "json": (JSON, b' {"a": "1", "b": ""} ', {"a": "1"}),
    "json-escapes": (JSON, rb'{"a":"\u00e9\ud83d\ude00"}', {"a": "é😀"}),
    "no-members": (JSON, b"{}", {}),
    "json-with-a-charset": ("Application/JSON ; charset=utf-8", b'{"a":"1"}', {"a": "1"}),
}


@accepts("RT-24")
@pytest.mark.parametrize(("kind", "body", "expected"), READ.values(), ids=READ)
def test_a_body_is_read(kind: str | None, body: bytes, expected: dict[str, str]) -> None:
    assert parameters(kind, body) == expected


FULL = "&".join(f"p{number}=x" for number in range(MAX_FIELDS)).encode()
NOT_READ: dict[str, tuple[str | None, bytes]] = {
    "no-type": (None, b"a=1"),
    "an-empty-type": ("", b"a=1"),
    "multipart": ("multipart/form-data; boundary=b", b"--b--"),
    "text": ("text/plain", b"a=1"),
    "a-longer-type": (f"{FORM}x", b"a=1"),
    "two-types": (f"{FORM}, {JSON}", b"a=1"),
    "a-type-with-json-inside": ("application/problem+json", b"{}"),
    "one-field-too-many": (FORM, FULL + b"&a=1"),
    "one-empty-field-too-many": (FORM, FULL + b"&"),
    "twice": (FORM, b"a=1&a=1"),
    "twice-in-two-spellings": (FORM, b"a=1&%61=2"),
    "twice-without-a-value": (FORM, b"a&a"),
    "octets-beyond-ascii": (FORM, "a=é".encode()),
    "no-utf-8": (FORM, b"a=%ff"),
    "a-surrogate": (FORM, b"a=%ed%a0%80"),
    "no-json": (JSON, b"a=1"),
    "an-array": (JSON, b"[]"),
    "a-number": (JSON, b'{"a":1}'),
    "a-huge-number": (JSON, b'{"a":' + b"9" * 16000 + b"}"),
    "null": (JSON, b'{"a":null}'),
    "nan": (JSON, b'{"a":NaN}'),
    "an-object-inside": (JSON, b'{"a":{}}'),
    "json-twice": (JSON, b'{"a":"1","a":"1"}'),
    "json-twice-in-two-spellings": (JSON, rb'{"a":"1","\u0061":"2"}'),
    "deep": (JSON, b'{"a":' + b"[" * 8000 + b"]" * 8000 + b"}"),
    "a-lone-surrogate": (JSON, rb'{"a":"\ud800"}'),
    "utf-16": (JSON, '{"a":"1"}'.encode("utf-16")),
    "a-mark-of-byte-order": (JSON, b'\xef\xbb\xbf{"a":"1"}'),
    "more-behind": (JSON, b'{"a":"1"}{}'),
    "too-many-members": (JSON, b"{%s}" % b",".join(b'"p%d":"x"' % one for one in range(33))),
}


@refuses("RT-24")
@pytest.mark.parametrize(("kind", "body"), NOT_READ.values(), ids=NOT_READ)
def test_a_body_is_malformed(kind: str | None, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parameters(kind, body)


def test_as_many_fields_as_may_be_are_read() -> None:
    assert len(parameters(FORM, FULL)) == MAX_FIELDS


KINDS = st.sampled_from([FORM, JSON, f"{FORM};charset=utf-7"]) | st.text() | st.none()


@given(KINDS, st.binary() | st.text('ab=&;+%[]{}":,0\\u\0é').map(str.encode))
def test_reading_raises_one_error_only(kind: str | None, body: bytes) -> None:
    try:
        found = parameters(kind, body)
    except InvalidRequest:
        return
    assert all(type(name) is str and type(value) is str and value for name, value in found.items())


@given(st.dictionaries(st.text(), st.text(), max_size=MAX_FIELDS))
def test_what_a_client_writes_is_what_is_read(members: dict[str, str]) -> None:
    found = parameters(FORM, urlencode(members).encode())
    assert found == {name: value for name, value in members.items() if value}


@given(st.text("ab=&;", max_size=40) | st.text("ab=&%61+;", max_size=40))
def test_two_readers_of_one_form_never_disagree(body: str) -> None:
    # A parser that takes the first of two, one that takes the last, and ours: all say the same.
    pairs = parse_qsl(body, keep_blank_values=True, separator="&")
    try:
        found = parameters(FORM, body.encode())
    except InvalidRequest:
        return
    first = dict(reversed(pairs))
    assert found == {name: value for name, value in first.items() if value}
    assert first == dict(pairs)


@given(st.text("0123456789+-_ ,.eExX\t²٣", max_size=20) | st.integers().map(str))
def test_a_length_is_digits_and_bounded(length: str) -> None:
    try:
        check_length(length)
    except InvalidRequest:
        assert not (length.isascii() and length.isdigit())
    except TooLarge:
        assert int(length) > MAX_BODY
    else:
        assert not length or int(length) <= MAX_BODY


# --- through the doors


@pytest.fixture(params=[("wsgi", memory), ("asgi", memory)], ids=["wsgi", "asgi"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with single(request.param) as one:
        yield one


class Input(io.BytesIO):
    """What a server hands on, and how much of it was asked for."""

    read_so_far = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.read_so_far += len(found)
        return found


class Chunks:
    """The messages of a request in pieces, and how many were taken."""

    def __init__(self, *chunks: bytes, ends: bool = True) -> None:
        self.chunks = list(chunks)
        self.ends = ends
        self.taken = 0

    async def __call__(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.taken += 1
        left = len(self.chunks) > self.taken or not self.ends
        body = self.chunks[min(self.taken, len(self.chunks)) - 1]
        return {"type": "http.request", "body": body, "more_body": left}


def send(site: Site, sent: Sent, body: Input | Receive | None = None, **more: Any) -> Answer:
    """Send a request whose body comes as given."""
    if site.door == "wsgi":
        given = {} if body is None else {"wsgi.input": body}
        return site.application.answer(by_wsgi(site.wsgi, sent, **given, **more), site.events)
    receive: Any = body
    raw = site.runner.run(by_asgi(site.asgi, sent, receive))
    return site.application.answer(raw, site.events)


def padded(token: str, size: int) -> bytes:
    """Return a form of exactly this many octets."""
    form = form_octets(refresh_form(token)) + b"&pad="
    return form + b"x" * (size - len(form))


@accepts("RT-24")
def test_a_body_of_16_kib_is_taken(site: Site) -> None:
    token = site.ask("issue", "alice").refresh_token
    assert send(site, posted(REFRESH, padded(token, MAX_BODY))).status == 200


@refuses("RT-24")
@pytest.mark.parametrize("path", [REFRESH, REVOKE])
def test_one_octet_more_is_not_even_read(site: Site, path: str) -> None:
    token = site.ask("issue", "alice").refresh_token
    body = padded(token, MAX_BODY + 1)
    given: Any = Input(body) if site.door == "wsgi" else Chunks(body)
    answer = send(site, posted(path, body), given)
    assert (answer.status, answer.json["error"]) == (413, "invalid_request")
    assert answer.header("cache-control") == "no-store"
    assert not (given.read_so_far if isinstance(given, Input) else given.taken)


LENGTHS = [
    *("-1", "-0", "+1", "1e3", "0x10", "1_0", " 1", "1 ", "1,1", "1, 1", "²", "x", "1.0", "--1"),
    *("99999999999999999999999", "16385", "9" * 5000),
]


@refuses("RT-24")
@pytest.mark.parametrize("length", LENGTHS, ids=lambda text: repr(text[:8]))
def test_an_odd_length_is_an_error_and_nothing_is_read(site: Site, length: str) -> None:
    body = form_octets(refresh_form(site.ask("issue", "alice").refresh_token))
    headers = [("Content-Type", FORM.encode()), ("Content-Length", length.encode("latin-1"))]
    given: Any = Input(body) if site.door == "wsgi" else Chunks(body)
    answer = send(site, Sent("POST", REFRESH, headers), given)
    assert answer.status in (400, 413)
    assert not (given.read_so_far if isinstance(given, Input) else given.taken)


CHUNKED = [("Content-Type", FORM.encode()), ("Transfer-Encoding", b"chunked")]


@accepts("RT-24")
@pytest.mark.parametrize("size", [1, 7, 100, 16384])
def test_a_body_in_pieces_is_one(size: int) -> None:
    with single(("asgi", memory)) as site:
        body = padded(site.ask("issue", "alice").refresh_token, 2000)
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        given = Chunks(b"", *pieces, b"")
        assert send(site, Sent("POST", REFRESH, CHUNKED), given).status == 200


@refuses("RT-24")
def test_an_endless_body_is_left_when_it_is_too_large() -> None:
    with single(("asgi", memory)) as site:
        token = site.ask("issue", "alice").refresh_token
        given = Chunks(padded(token, 1000), b"x" * 1000, ends=False)
        answer = send(site, Sent("POST", REFRESH, CHUNKED), given)
        assert (answer.status, given.taken) == (413, 17)


@refuses("RT-24")
def test_a_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "READ_SECONDS", 0.05)

    async def trickle() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    with single(("asgi", memory)) as site:
        for slow in (trickle, never):
            answer = send(site, Sent("POST", REFRESH, CHUNKED), slow)
            assert (answer.status, answer.reason) == (400, "body_too_slow")


def test_a_body_may_take_ten_seconds_and_no_more() -> None:
    assert request_bodies.READ_SECONDS == 10


@refuses("RT-24")
@pytest.mark.parametrize("before", [[], [b"grant_type=refresh_token&refresh_token="]])
def test_a_client_that_goes_away_changes_nothing(before: list[bytes]) -> None:
    with single(("asgi", memory)) as site:
        tokens = site.ask("issue", "alice")
        site.clock.forward(HOUR)
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": one + tokens.refresh_token.encode(), "more_body": True}
            for one in before
        ]
        messages.append({"type": "http.disconnect"})

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        answer = send(site, Sent("POST", REFRESH, CHUNKED), receive)
        assert (answer.status, answer.reason) == (400, "body_malformed")
        assert site.row(tokens.grant_id).generation == 1


@pytest.fixture
def wsgi() -> Iterator[Site]:
    with single(("wsgi", memory)) as one:
        yield one


@refuses("RT-24")
def test_a_body_shorter_than_its_length_changes_nothing(wsgi: Site) -> None:
    tokens = wsgi.ask("issue", "alice")
    wsgi.clock.forward(HOUR)
    body = form_octets(refresh_form(tokens.refresh_token))
    answer = send(wsgi, posted(REFRESH, body + b"&more=x"), Input(body))
    assert (answer.status, answer.reason) == (400, "body_malformed")
    assert wsgi.row(tokens.grant_id).generation == 1


@accepts("RT-24")
def test_no_more_than_the_length_is_read(wsgi: Site) -> None:
    body = form_octets(refresh_form(wsgi.ask("issue", "alice").refresh_token))
    given = Input(body + b"GET / HTTP/1.1\r\n\r\n")  # the next request on this connection
    assert send(wsgi, posted(REFRESH, body), given).status == 200
    assert given.read_so_far == len(body)


@refuses("RT-24")
def test_a_connection_that_breaks_is_no_fault_of_ours(wsgi: Site) -> None:
    class Broken(Input):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError("request data read error")

    answer = send(wsgi, posted(REFRESH, b"a=1"), Broken())
    assert (answer.status, answer.reason) == (400, "body_malformed")


def test_without_a_length_a_body_is_read_where_the_server_says_it_ends(wsgi: Site) -> None:
    token = wsgi.ask("issue", "alice").refresh_token
    for terminated, size, status in ((True, 9000, 200), (True, 17000, 413), (False, 9000, 400)):
        given = Input(padded(token, size))
        more = {"wsgi.input_terminated": terminated}
        answer = send(wsgi, Sent("POST", REFRESH, CHUNKED), given, **more)
        assert answer.status == status
        # Where it doesn't, to read would be to wait for ever.
        assert given.read_so_far == (min(size, MAX_BODY + 1) if terminated else 0)


def test_an_applications_body_is_left_to_the_application(site: Site) -> None:
    given: Any = Input(b"x" * 20000) if site.door == "wsgi" else Chunks(b"x" * 20000)
    token = site.ask("issue", "alice").access_token
    sent = posted("/upload", b"x" * 20000, headers=[("Authorization", f"Bearer {token}")])
    assert send(site, sent, given).reached
    assert not (given.read_so_far if isinstance(given, Input) else given.taken)
