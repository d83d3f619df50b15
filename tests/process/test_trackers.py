"""Error trackers send the locals of frames: none of ours that calls others shows a token.

What `scope` and `environ` have is the server's and the application's, in their frames as in ours.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from sentry_sdk.scrubber import DEFAULT_DENYLIST, EventScrubber
from starlette.applications import Starlette
from starlette.routing import Route

from jwt_middleware import (
    ConnectionCut,
    Cookies,
    Issuer,
    KeySet,
    Refresh,
    Settings,
    TrustedIssuer,
    Unavailable,
)
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.asgi import renew
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import TokenFactory
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.doors.connecting import EVENTS, FILE, door, get, socket, streaming, until
from tests.doors.connecting import Site as OpenSite
from tests.grant.former import OLD_PATH, flask_jwt, migration
from tests.issuing import HOUR, REFRESH, REVOKE, Clock, form_octets, posted, refresh_form
from tests.trackers import Frame, Trackers
from tests.world import Sent, by_asgi, by_wsgi, encoded

ISSUER, AUDIENCE = "https://login.example", "https://api.example"
OWN = TokenFactory(issuer=ISSUER, audience=AUDIENCE)
FOREIGN = TokenFactory(issuer="https://other.example", audience=AUDIENCE)
TENANT = TokenFactory(issuer="https://tenant.example", audience=AUDIENCE)
SECRET = "8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd"
ONCE = "kq3v0zj1n8s5w2y7c4x9b6m1t8r5p2d0"
# RFC 7515 s7.1: what a header and a payload begin with.
SEGMENT = re.compile(r"eyJ[\w-]{12,}")
# Whatever of others we call.
CALLED = (
    *("application", "check", "claims_for", "clock", "issuer_for", "on_event", "signer", "user"),
    *("is_blocked", "subject", "store"),
)


class Probe:
    """What each call of others does: the trackers look, or look at the one kind that fails."""

    def __init__(self, fails: str | None) -> None:
        self.fails = fails
        self.is_on = False
        self.seen: set[str] = set()
        self.trackers = Trackers()

    def __call__(self, kind: str) -> None:
        if not self.is_on:
            return
        self.seen.add(kind)
        if self.fails in (None, kind):
            self.trackers.looked()
        if kind == self.fails:
            raise ZeroDivisionError(kind)


class Store:
    """A store of the application's own: in memory, and seen."""

    def __init__(self, probe: Probe, clock: Clock) -> None:
        self._probe = probe
        self._store = MemoryStore(clock=clock, retention=HOUR)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        real = getattr(self._store, verb)

        def call(*args: Any) -> Any:
            self._probe("store")
            return real(*args)

        return call


class Signing:
    """A signer of the application's own."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._key = OWN.keys.keys[0]

    def sign(self, message: bytes) -> bytes:
        self._probe("signer")
        return self._key.sign(message)


class Site:
    """A door, an application that calls the issuer, and hooks that are all looked at."""

    def __init__(self, door: str, probe: Probe, *, cookies: bool) -> None:
        self.door, self.probe, self.tokens = door, probe, [""]
        self.moves = Clock()

        def seen(kind: str, answer: Any) -> Callable[[Any], Any]:
            def hook(asked: Any) -> Any:
                probe(kind)
                return answer

            return hook

        def clock() -> float:
            probe("clock")
            return self.moves()

        store: Any = Store(probe, self.moves)
        tenant = TrustedIssuer(issuer=TENANT.issuer, audience=AUDIENCE, keys=TENANT.keys)
        foreign = TrustedIssuer(
            issuer=FOREIGN.issuer,
            audience=AUDIENCE,
            keys=FOREIGN.keys,
            user=seen("user", "somebody"),
        )
        self.settings = Settings(
            issuer=ISSUER,
            audience=AUDIENCE,
            keys=KeySet.external(OWN.keys.keys[0].public_jwk(), Signing(probe)),
            clock=clock,
            checks=(seen("check", True),),
            on_event=seen("on_event", None),
            issuer_for=seen("issuer_for", tenant),
            trusted_issuers=(foreign,),
            refresh=Refresh(
                store=store,
                secret=SECRET,
                claims_for=seen("claims_for", {"role": "editor"}),
                cookies=Cookies(access=True) if cookies else None,
                migrate=migration(
                    is_blocked=seen("is_blocked", False), subject=seen("subject", "alice")
                ),
            ),
        )
        self.issuer = Issuer(self.settings)
        self.app = (
            ASGIMiddleware(self._asgi, self.settings)
            if door == "asgi"
            else WSGIMiddleware(self._wsgi, self.settings)
        )

    def _wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        self.probe("application")
        if environ["PATH_INFO"] == "/login":
            self.issuer.issue("alice", replaces=environ["jwt_middleware.held"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        self.probe("application")
        if scope["path"] == "/login":
            await self.issuer.aissue("alice", replaces=scope["jwt_middleware.held"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def issue(self, **more: Any) -> Any:
        if self.door == "asgi":
            tokens = await self.issuer.aissue("alice", **more)
        else:
            tokens = self.issuer.issue("alice", **more)
        self.tokens += [tokens.access_token, tokens.refresh_token]
        return tokens

    async def send(self, sent: Sent) -> int:
        """Send a request as a server does, which logs what is raised; return the status."""
        try:
            if self.door == "asgi":
                return (await by_asgi(self.app, sent))[0]
            return by_wsgi(self.app, sent)[0]
        except Exception as error:  # noqa: BLE001
            self.probe.trackers.caught(error)
            return 500

    async def get(self, token: str = "", path: str = "/", cookie: str = "") -> int:
        headers = [("X-Requested-With", "x")] + ([("Cookie", cookie)] if cookie else [])
        self.tokens.append(token)
        return await self.send(Sent("GET", path, encoded(headers, token or None)))

    async def post(self, path: str, form: dict[str, str], cookie: str = "") -> int:
        headers = [("X-Requested-With", "x")] + ([("Cookie", cookie)] if cookie else [])
        return await self.send(posted(path, form_octets(form) if form else b"", headers=headers))


async def by_header(site: Site) -> list[int]:
    """Do all that a client without cookies can do."""
    tokens, other, used = await site.issue(), await site.issue(), await site.issue()
    site.moves.forward(10)
    site.probe.is_on = True
    found = [await site.get(tokens.access_token) for _ in range(2)]
    for issuer in (FOREIGN, TENANT):
        now = int(site.moves.now)
        found.append(await site.get(issuer.token(iat=now, exp=now + 60)))
    found.append(await site.post(REFRESH, refresh_form(tokens.refresh_token)))
    site.moves.forward(HOUR / 10)
    found.append(await site.post(REFRESH, refresh_form(tokens.refresh_token)))
    found.append(await site.post(REVOKE, {"token": used.access_token}))
    found.append(await site.post(REVOKE, {"token": other.refresh_token}))
    old, older = flask_jwt("refresh"), flask_jwt("refresh", "bob")
    site.tokens += [old, older]
    found += [await site.get(flask_jwt("access"), "/api/x") for _ in range(2)]
    found += [await site.post(REFRESH, refresh_form(old)) for _ in range(2)]
    found.append(await site.post(OLD_PATH, {"refresh_token": old}))
    found.append(await site.post(REVOKE, {"token": older}))
    with suppress(ZeroDivisionError, Unavailable):
        for _ in range(2):
            await site.issue(once=ONCE)
    try:
        await site.issue(replaces=tokens.refresh_token)
    except Exception as error:  # noqa: BLE001
        site.probe.trackers.caught(error)
        found.append(500)
    return found


async def by_cookie(site: Site) -> list[int]:
    """Do all that a browser can do."""
    tokens = await site.issue()
    old = await site.issue()

    def cookie(of: Any) -> str:
        return "; ".join(value.partition(";")[0] for _, value in of.cookies)

    site.moves.forward(10)
    site.probe.is_on = True
    found = [await site.get(cookie=cookie(tokens)) for _ in range(2)]
    former = {user: flask_jwt("refresh", user) for user in ("alice", "bob", "carol")}
    site.tokens += former.values()
    held = f"{cookie(old)}; refresh_token_cookie={former['carol']}"
    found.append(await site.get(path="/login", cookie=held))
    for _ in range(2):
        found.append(await site.post(REFRESH, {}, cookie(tokens)))
        site.moves.forward(HOUR / 10)
    found.append(await site.post(REVOKE, {}, cookie(tokens)))
    for user, path in (("alice", REFRESH), ("bob", REVOKE)):
        found.append(await site.post(path, {}, f"refresh_token_cookie={former[user]}"))
    access = flask_jwt("access")
    site.tokens.append(access)
    found.append(await site.get(path="/api/x", cookie=f"access_token_cookie={access}"))
    return found


def played(probe: Probe, door: str, play: Any, caplog: pytest.LogCaptureFixture) -> list[int]:
    """Play in a thread, where the only frames are those of a server."""
    caplog.set_level(logging.ERROR, "jwt_middleware")

    def run() -> tuple[list[int], list[str]]:
        site = Site(door, probe, cookies=play is by_cookie)
        return asyncio.run(play(site)), site.tokens

    with ThreadPoolExecutor(1) as thread:
        found, tokens = thread.submit(run).result()
    for record in caplog.records:
        if record.exc_info and record.exc_info[1]:
            probe.trackers.caught(record.exc_info[1])
    probe.trackers.sent.append({"tokens": tokens})
    return found


@pytest.fixture
def probe(request: pytest.FixtureRequest) -> Iterator[Probe]:
    made = Probe(getattr(request, "param", None))
    yield made
    made.trackers.close()


def searched(probe: Probe) -> list[Frame]:
    """Search what would be sent; return the frames of ours."""
    (tokens,) = (one["tokens"] for one in probe.trackers.sent if "tokens" in one)
    ours = [frame for frame in probe.trackers.taken() if frame.is_ours]
    segments = {part[:16] for token in tokens for part in token.split(".") if part}
    segments.add(ONCE)
    leaks = {
        where
        for frame in ours
        for where, text in frame.shown()
        if SEGMENT.search(text) or any(part in text for part in segments)
    }
    assert not leaks
    return ours


doors = pytest.mark.parametrize("door", ["wsgi", "asgi"])
plays = pytest.mark.parametrize("play", [by_header, by_cookie], ids=["header", "cookie"])


@doors
@plays
def test_no_frame_of_ours_that_calls_others_shows_a_token(
    probe: Probe, door: str, play: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answers = played(probe, door, play, caplog)
    assert set(answers) == {200}
    assert probe.seen >= {*CALLED} - ({"user", "issuer_for"} if play is by_cookie else set())
    ours = searched(probe)
    # The search does find what is there.
    assert any(SEGMENT.search(frame.shown_of_the_server()) for frame in ours)


@doors
@plays
@pytest.mark.parametrize("probe", [one for one in CALLED if one != "clock"], indirect=True)
def test_nor_does_it_when_what_was_called_fails(
    probe: Probe, door: str, play: Any, caplog: pytest.LogCaptureFixture
) -> None:
    played(probe, door, play, caplog)
    assert bool(searched(probe)) is (probe.fails in probe.seen)


# What the page says (docs/operating.md), beside the defaults.
NO_LOCALS: dict[str, Any] = {
    "sentry": {"include_local_variables": False},
    "elastic": {"collect_local_variables": "off"},
    "show_locals": False,
}
BY_NAME = EventScrubber(denylist=[*DEFAULT_DENYLIST, "scope", "environ", "headers"], recursive=True)


@pytest.mark.parametrize(
    ("options", "is_shown"),
    [({}, True), (NO_LOCALS, False), (NO_LOCALS | {"sentry": {"event_scrubber": BY_NAME}}, False)],
    ids=["defaults", "no-locals", "by-name"],
)
def test_starlettes_frames_show_tokens_unless_they_are_told_not_to(
    options: dict[str, Any], is_shown: bool
) -> None:
    def fails(request: Any) -> None:
        raise ZeroDivisionError

    app = ASGIMiddleware(Starlette(routes=[Route("/", fails)]), OWN.settings())
    sent = Sent("GET", "/", encoded([("Cookie", f"session={OWN.token()}")], OWN.token()))
    trackers = Trackers(**options)
    with pytest.raises(ZeroDivisionError) as raised:
        asyncio.run(by_asgi(app, sent))
    # Where a server would see it, in the frames below those of the test.
    trackers.caught(raised.value.with_traceback(below(raised.tb, "asgi.py")))
    for one in trackers.sent:
        assert bool(SEGMENT.search(json.dumps(one, default=repr))) is is_shown
    assert len(trackers.sent) == 4
    trackers.close()


def below(traceback: Any, name: str) -> Any:
    """Return the part of a traceback that begins in a file of this name."""
    while not traceback.tb_frame.f_code.co_filename.endswith(f"jwt_middleware/{name}"):
        traceback = traceback.tb_next
    return traceback


@pytest.mark.parametrize("headers", [EVENTS, FILE])
async def test_nor_does_the_error_of_a_response_that_was_cut(headers: Any) -> None:
    site, trackers = OpenSite(), Trackers()
    tokens = await site.login()
    fields = [*headers, (b"set-cookie", f"session={tokens.access_token}".encode())]
    one = get(door(site, streaming(fields)), tokens.access_token)
    await until(lambda: len(one.sent) == 2)
    await site.issuer.arevoke(tokens.grant_id)
    error = await one.over()
    assert isinstance(error, ConnectionCut)
    trackers.caught(error)
    ours = [frame for frame in trackers.taken() if frame.is_ours]
    assert "asgi.py:__call__" in {one.name for one in ours}
    assert not [where for one in ours for where, shown in one.shown() if SEGMENT.search(shown)]
    trackers.close()


async def test_nor_does_a_check_that_fails_while_a_websocket_is_renewed() -> None:
    trackers = Trackers()

    def check(token: Any) -> bool:
        trackers.looked()
        return True

    settings = OWN.settings(checks=(check,))
    text = OWN.token()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        trackers.sent.clear()
        await renew(scope, OWN.token(jti="another"))

    assert await socket(ASGIMiddleware(app, settings), text).over() is None
    ours = [frame for frame in trackers.taken() if frame.is_ours]
    assert {"asgi.py:renew", "process/open_connections.py:verify"} <= {one.name for one in ours}
    assert not [where for one in ours for where, shown in one.shown() if SEGMENT.search(shown)]
    trackers.close()
