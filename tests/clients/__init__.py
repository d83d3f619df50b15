"""Honest clients before both doors, while the store has a fault; and what they must never see.

A client keeps to the rule of `examples/browser/jwt-client.js`: one token store for all its tabs; on
503, or where the answer got lost, it comes again with the same refresh token; what a 200 brings is
kept. Everything else that it may hear is a failure of the product.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from random import Random
from threading import Condition, Lock, Thread
from typing import Any, NamedTuple, Protocol, Self

from jwt_middleware import Issuer, Refresh, Settings, StoreUnavailable, Tokens
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.values.events import Event as Told
from jwt_middleware.values.events import Refreshed, Restored, Reused
from jwt_middleware.values.tokens import Grant
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.grant.test_rt_exchange import claims_of
from tests.issuing import (
    AUDIENCE,
    HOUR,
    ISSUER,
    KEYS,
    REFRESH,
    REVOKE,
    form_octets,
    posted,
    refresh_form,
)
from tests.world import Application, Raw, Sent, by_asgi, by_wsgi, encoded

PATIENCE = 40.0  # seconds for what takes a fraction of one, on a machine that does ten other things
PAUSE = 0.02  # seconds between two tries; Retry-After would be kinder, and harder on nobody
PACE = 0.005  # seconds between two steps of a client


class Heard(NamedTuple):
    """An answer, as it comes to a client."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def heard(raw: Raw) -> Heard:
    status, headers, body = raw
    return Heard(status, {name.lower(): value for name, value in headers}, body)


def is_put_off(answer: Heard) -> bool:
    """Say whether the client is to come again, and hold that it is told so as it must be."""
    if answer.status != 503:
        return False
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["error"] == "temporarily_unavailable"
    return True


class Door(Protocol):
    """One process of the fleet, with a store of its own before the engine that all share."""

    settings: Settings

    def send(self, sent: Sent) -> Heard: ...
    def log_in(self, subject: str) -> Tokens: ...
    def close(self) -> None: ...


class WSGIDoor:
    """Serves each request in its client's thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._issuer = Issuer(settings)
        self._app = WSGIMiddleware(Application().wsgi, settings)

    def send(self, sent: Sent) -> Heard:
        return heard(by_wsgi(self._app, sent))

    def log_in(self, subject: str) -> Tokens:
        return self._issuer.issue(subject, client_id="web", scope="read")

    def close(self) -> None:
        self.settings.close()


class ASGIDoor:
    """Serves each request as a task of one event loop, which has a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._issuer = Issuer(settings)
        self._app = ASGIMiddleware(Application().asgi, settings)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def send(self, sent: Sent) -> Heard:
        return heard(self._do(by_asgi(self._app, sent)))

    def log_in(self, subject: str) -> Tokens:
        tokens: Tokens = self._do(self._issuer.aissue(subject, client_id="web", scope="read"))
        return tokens

    def close(self) -> None:
        self._do(self.settings.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Held(NamedTuple):
    """What the token store of a client holds; a new one for each answer that it keeps."""

    grant_id: str
    refresh: str
    access: str


def held_of(tokens: Tokens) -> Held:
    return Held(tokens.grant_id, tokens.refresh_token, tokens.access_token)


def patient(door: Door, sent: Sent) -> Heard:
    """Send until there is an answer, where nothing is wrong but that the machine is busy."""
    deadline = time.monotonic() + PATIENCE
    while is_put_off(answer := door.send(sent)):
        assert time.monotonic() < deadline, answer
        time.sleep(PAUSE)
    return answer


def let_in(door: Door, held: Held, send: Callable[[Door, Sent], Heard] = patient) -> bool:
    """Call the application; say whether it was reached."""
    answer = send(door, Sent("GET", "/", encoded((), held.access)))
    assert answer.status in (200, 401), answer
    return answer.status == 200


def refreshed(door: Door, token: str) -> str | None:
    """Refresh once; None: the grant has ended, or ends by this."""
    answer = patient(door, posted(REFRESH, form_octets(refresh_form(token))))
    if answer.status != 200:
        assert (answer.status, answer.json["error"]) == (400, "invalid_grant"), answer
        return None
    found: str = answer.json.get("refresh_token", token)
    return found


def is_out(door: Door, held: Held) -> bool:
    """Say whether neither of the tokens is good any more."""
    return refreshed(door, held.refresh) is None and not let_in(door, held)


def settled(refresh: Refresh, on_event: Callable[[Told], None] = lambda _: None) -> Settings:
    """Return settings by which every refresh rotates, at once."""
    return Settings(issuer=ISSUER, audience=AUDIENCE, keys=KEYS, refresh=refresh, on_event=on_event)


# --- lines of one grant

NEWEST = 4  # tokens that are tried with each other; older ones are tried with one of them


def two_lines(row: Grant, tokens: list[str]) -> list[tuple[int, int]]:
    """Return the generations of any two tokens that both lead on, whoever holds them.

    Each pair is tried on a copy of the grant's row, in both orders; a token with itself, too, as
    two who hold a copy each.
    """
    tokens = sorted(tokens, key=generation)
    newest, older = tokens[-NEWEST:], tokens[:-NEWEST]
    pairs = [*product(newest, repeat=2), *((one, tokens[-1]) for one in older[-NEWEST:])]
    return [(generation(a), generation(b)) for a, b in pairs if both_go_on(row, a, b)]


def both_go_on(row: Grant, *tokens: str) -> bool:
    store = MemoryStore(clock=time.time, retention=HOUR)
    store.add(row, 1)
    door = WSGIDoor(settled(Refresh(store=store, settle=0, cookies=None)))
    held: list[str | None] = list(tokens)
    for _ in range(3):
        held = [one and refreshed(door, one) for one in held]
    return all(held)


def generation(token: str) -> int:
    found: int = claims_of(token)["gen"]
    return found


# --- clients


class Client:
    """What all clients have: the doors by turns, and patience."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.name = f"{type(self).__name__.lower()} {number}"
        self.random = Random(number)
        self.steps = 0  # that were taken to their end
        self.leave = float("inf")  # steps that it may take
        self._turn = number

    def step(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""

    def door(self) -> Door:
        # As behind a balancer that knows nobody.
        self._turn += 1
        return self.crowd.doors[self._turn % len(self.crowd.doors)]

    def log_in(self) -> Held:
        while True:
            door = self.door()
            try:
                tokens = door.log_in(self.name)
            except StoreUnavailable:
                self.crowd.put_off(door)
                continue
            self.crowd.answered(tokens.grant_id, tokens.refresh_token)
            return held_of(tokens)

    def persists(self, sent: Sent, is_still: Callable[[], bool] = lambda: True) -> Any:
        """Send until there is an answer; None: there is nothing to send any more."""
        while is_still():
            door = self.door()
            answer = door.send(sent)
            if not is_put_off(answer):
                return door, answer
            self.crowd.put_off(door)
        return None

    def exchanged(self, held: Held, is_still: Callable[[], bool] = lambda: True) -> Held | None:
        """Refresh; where another tab did it meanwhile, None."""
        sent = posted(REFRESH, form_octets(refresh_form(held.refresh)))
        while found := self.persists(sent, is_still):
            _, answer = found
            assert answer.status == 200, f"{self.name} is logged out: {answer}"
            # RFC 6749 s6: where no new refresh token comes, the old one stays good.
            token = answer.json.get("refresh_token", held.refresh)
            self.crowd.answered(held.grant_id, token)
            if self.random.random() > self.crowd.loses:
                return Held(held.grant_id, token, answer.json["access_token"])
        return None

    def is_let_in(self, held: Held) -> None:
        # Without the store, too: what a process heard of ended grants serves for two minutes.
        is_in = let_in(self.door(), held, lambda door, sent: door.send(sent))
        assert is_in, f"{self.name} is not let in"


class Visitor(Client):
    """Stays logged in, whatever happens, with now and then two tabs that refresh at once."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        super().__init__(crowd, number)
        self.held = self.log_in()
        self._saving = Lock()
        self._tabs = ThreadPoolExecutor(2)

    def step(self) -> None:
        seen = self.held
        tabs = [
            self._tabs.submit(self._refresh, seen) for _ in range(self.random.choice((1, 1, 2)))
        ]
        for tab in tabs:
            tab.result()
        self.is_let_in(self.held)

    def _refresh(self, seen: Held) -> None:
        found = self.exchanged(seen, lambda: self.held is seen)
        with self._saving:
            if found is not None and self.held is seen:
                self.held = found

    def close(self) -> None:
        self._tabs.shutdown()


class Passer(Client):
    """Logs in, refreshes and logs out, again and again."""

    def step(self) -> None:
        held = self.exchanged(self.log_in())
        assert held is not None
        self.is_let_in(held)
        self.log_out(held)

    def log_out(self, held: Held) -> None:
        door, answer = self.persists(posted(REVOKE, form_octets({"token": held.refresh})))
        assert answer.status == 200, f"{self.name} can't log out: {answer}"
        self.crowd.gone.append(held)
        # Whoever answered knows at once.
        assert not let_in(door, held)


class Crowd:
    """Clients at both doors of one store, at work until the `with` block ends; then all is checked.

    `keeps` says whether the engine keeps what it has acknowledged, for the whole time.
    """

    loses = 0.05  # of the answers get lost on their way to the client

    def __init__(
        self, url: str, *, visitors: int = 4, passers: int = 1, keeps: bool = True
    ) -> None:
        self.events: list[Told] = []
        self.refusals: Counter[Door] = Counter()  # by 503
        self.gone: list[Held] = []  # logged out, and told so
        self.tokens: dict[str, dict[str, None]] = {}  # each that was answered, by grant, in order
        self._url = url
        self._keeps = keeps
        self._strange: list[BaseException] = []
        self._moving = Condition()
        self._resting: set[Client] = set()
        self._is_over = self._is_given_up = False
        with ExitStack() as stack:  # what is open is closed, should the next thing fail
            self.doors: list[Door] = []
            for kind in (WSGIDoor, ASGIDoor):
                self.doors.append(kind(self.settings()))
                stack.callback(self.doors[-1].close)
            self.visitors = [Visitor(self, number) for number in range(visitors)]
            for door in self.doors:  # which has heard of ended grants then
                assert let_in(door, self.visitors[0].held)
            self.clients = [*self.visitors, *(Passer(self, number) for number in range(passers))]
            for client in self.clients:
                stack.callback(client.close)
            self._open = stack.pop_all()
        self._threads = [Thread(target=self._work, args=(one,)) for one in self.clients]

    def settings(self) -> Settings:
        """Return the settings of one more process."""
        return settled(Refresh(store=self._url, settle=0, cookies=None), self.events.append)

    @property
    def restored(self) -> set[str]:
        """The grants of which the engine had lost a rotation."""
        return {one.grant_id for one in self.events if isinstance(one, Restored)}

    # --- what clients say

    def answered(self, grant_id: str, token: str) -> None:
        self.tokens.setdefault(grant_id, {})[token] = None

    def put_off(self, door: Door) -> None:
        assert not self._is_given_up
        self.refusals[door] += 1
        time.sleep(PAUSE)

    def _work(self, client: Client) -> None:
        try:
            while self._has_leave(client):
                client.step()
                client.steps += 1
                time.sleep(PACE)
        except BaseException as error:  # noqa: BLE001
            self._strange.append(error)

    def _has_leave(self, client: Client) -> bool:
        with self._moving:
            self._resting.add(client)
            self._moving.notify_all()
            self._moving.wait_for(lambda: self._is_over or client.steps < client.leave)
            self._resting.discard(client)
        return not self._is_over

    # --- what a test does

    def goes_on(self) -> None:
        """Wait until every client has taken some more steps to their end."""
        goals = [(one, one.steps + 3) for one in self.clients]
        self.until(lambda: all(one.steps >= goal for one, goal in goals))

    def is_put_off(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until clients have been put off at both doors, from now on."""
        before = self.refusals.copy()

        def is_everywhere() -> bool:
            meanwhile()
            return all(self.refusals[door] > before[door] for door in self.doors)

        self.until(is_everywhere)

    def rests(self, **steps: int) -> None:
        """Let a kind of clients take so many steps more, the others none; wait until all rest."""
        with self._moving:
            for one in self.clients:
                one.leave = one.steps + steps.get(type(one).__name__.lower(), 0)
            self._moving.notify_all()
            is_done = self._moving.wait_for(self._is_at_rest, PATIENCE)
        assert is_done, self._strange or self._told()

    def _is_at_rest(self) -> bool:
        return len(self._resting) == len(self.clients) and all(
            one.steps >= one.leave for one in self.clients
        )

    def resumes(self) -> None:
        with self._moving:
            for one in self.clients:
                one.leave = float("inf")
            self._moving.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self._strange:
                raise self._strange[0]
            assert time.monotonic() < deadline, f"it doesn't come true: {self._told()}"
            time.sleep(PAUSE)

    def _told(self) -> str:
        """Say how far everybody is, for who reads that it took too long."""
        steps = ", ".join(f"{one.name} {one.steps} steps" for one in self.clients)
        doors = ", ".join(f"{type(one).__name__} {self.refusals[one]}" for one in self.doors)
        return f"{steps}; put off by {doors}; {self.events[-3:]}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._open:
            with self._moving:
                self._is_over, self._is_given_up = True, kind is not None
                self._moving.notify_all()
            for thread in self._threads:
                thread.join()
            if kind is None:
                if self._strange:
                    raise self._strange[0]
                self._check()

    # --- what must hold at the end

    def _check(self) -> None:
        fresh = WSGIDoor(self.settings())  # as a process that has just started
        self.doors.append(fresh)
        try:
            for visitor in self.visitors:
                self._check_is_in(visitor, fresh)
            for held in self.gone:
                assert is_out(fresh, held), "an answered log-out doesn't stand"
            self._check_events()
            for visitor in self.visitors:
                self._check_lines(visitor.held, fresh)
        finally:
            fresh.close()

    def _check_is_in(self, visitor: Visitor, fresh: Door) -> None:
        for _ in self.doors:
            visitor.step()
        assert let_in(fresh, visitor.held)

    def _check_events(self) -> None:
        assert not [one for one in self.events if isinstance(one, Reused)]
        if not self._keeps:
            return
        assert self.restored == set()
        rotated = Counter(
            (one.grant_id, one.generation)
            for one in self.events
            if isinstance(one, Refreshed) and one.how == "rotated"
        )
        assert set(rotated.values()) == {1}, "a generation began twice"

    def _check_lines(self, held: Held, fresh: Door) -> None:
        row = Runtime.of(fresh.settings).store.advance(held.grant_id, 0, 0, None).grant
        tokens = list(self.tokens[held.grant_id])
        assert two_lines(row, tokens) == []
        # And on the engine itself: whoever comes with an old one ends the grant, for all.
        assert refreshed(fresh, tokens[0]) is None
        assert is_out(fresh, held)
