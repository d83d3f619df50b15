"""The cookie jar, model-checked: all runs of a browser whose answers come as late as they like.

**What is modelled.** One browser with one jar, which all its pages share. A cookie is (the login
that it is of, when its token was minted). Pages log in, refresh and log out; each login is another
user's. A request brings the cookies that the jar holds when it is sent. The server handles it some
time later; a refresh in two steps, between which its grant may end. The answer comes after any
number of other answers, or never. **A Set-Cookie always wins by its name**, however late it comes
(so it was measured in three engines). A log-out names the login that its page shows, which may be
an earlier one, as our client does, or it names none, as a plain page does. It is repeated until its
answer has come: by our client even after a new login, by a plain page then only with `repeats`.

**The three properties.** Each is looked at in every state, by asking what the jar's next refresh
would be served as. (1) From the moment when the answer to a login has come, and until a log-out of
it or a later login is asked for: as this login, whatever was under way before. (2) From the moment
when the answer to a log-out has come, and until a login is asked for: not at all. Here the log-out
was one of the login that the browser showed, and no login was under way when it was asked for.
(3) What a thief has copied of one login is never served as another. It is enough to look at a
refresh that is sent and handled at once: no ended grant lives again, so one that is handled later
meets nothing else as long as the property is to hold.

**What is left out, and why.** Rotation: within one login a cookie's tokens are alike here, because
`rotation_model.py` has what late answers do to one login by itself. For the same reason a kept
answer in Set-Cookie makes no difference here; it is found there. Cookies with access tokens: their
names have the same endings, and the same answers set and clear them. Two names that are equal by
chance: 48 random bits. What a page does with the body of a late answer: our client compares the
login. Two logins at once, of which neither brings the other's cookie, are a world of their own
(`logins_at_once`), in which less holds: `test_jar_model.py` shows what.

**Why it is enough.** The rules count nothing but the cookies that are tried, so that three logins
show what an old one, a present one and a later one do to each other. Times are only compared, and a
state keeps their order. Up to three requests are under way at once, any number in a run. With
`clocks_differ` what is newest may be anything, as where two workers' clocks differ, or where two
tokens are minted in one second. `test_jar_model.py` walks through the model at random and does the
same at the doors, which must agree.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import permutations
from typing import NamedTuple

FOUR = 4  # cookies that a refresh tries
USERS = ("alice", "bob", "carol", "dave")


class Cookie(NamedTuple):
    """A refresh token in the jar."""

    login: int  # in the order in which the server handled them
    minted: int


Jar = tuple[Cookie, ...]


class Kind(IntEnum):
    """What a request asks for."""

    LOGIN = 0
    REFRESH = 1
    LOGOUT = 2

    @property
    def told(self) -> str:
        """Tell it in words."""
        return ("logs in", "refreshes", "logs out")[self]


class Phase(IntEnum):
    """How far a request has come."""

    SENT = 0
    TAKEN = 1  # a refresh whose grant lived when it was looked up
    ANSWERED = 2


class Life(IntEnum):
    """What the store knows of a grant."""

    NONE = 0
    LIVES = 1
    ENDED = 2


# --- The rules, each a pure function


def own_name(login: int) -> int:
    """Return the name of the cookie of a login: its own."""
    return login


def newest_first(brought: Jar) -> Jar:
    """Return which cookies a refresh tries, going on to the next only over Gone."""
    return tuple(sorted(brought, key=lambda cookie: -cookie.minted))[:FOUR]


def ended_by_login(brought: Jar) -> set[int]:
    """Return which logins end when somebody logs in anew."""
    return {cookie.login for cookie in brought}


def ended_by_logout(brought: Jar, named: int | None) -> set[int]:
    """Return which logins end by a log-out that names one of them, or none."""
    came = {cookie.login for cookie in brought}
    return came if named is None else came & {named}


def cleared(kind: Kind, brought: Jar, ended: set[int]) -> set[int]:
    """Return the logins whose cookies an answer clears; `ended` is what the store knows."""
    return {cookie.login for cookie in brought} & ended


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules as they are, or broken on purpose."""

    name: Callable[[int], int] = own_name
    tried: Callable[[Jar], Jar] = newest_first
    ended_by_login: Callable[[Jar], set[int]] = ended_by_login
    ended_by_logout: Callable[[Jar, int | None], set[int]] = ended_by_logout
    cleared: Callable[[Kind, Jar, set[int]], set[int]] = cleared
    follows: bool = False  # what a login has replaced is served as that login
    refusal_clears_jar: bool = False  # a refused refresh clears all cookies of the browser


@dataclass(frozen=True, kw_only=True)
class World:
    """How much may happen in a run."""

    logins: int = 2
    requests: int = 3  # under way at once
    logins_at_once: bool = False  # one may be asked for while another's answer is to come
    names: tuple[bool, ...] = (True, False)  # a log-out names its login, or none
    repeats: bool = False  # a log-out that names none is repeated even after a new login
    clocks_differ: bool = False
    lag: bool = True  # that a grant ended while it was served may be found too late


class Flight(NamedTuple):
    """A request on its way, or its answer."""

    kind: Kind
    brought: Jar
    login: int | None  # that is begun, served, or named
    phase: Phase = Phase.SENT
    latest: bool = False  # a login: none was handled since; a log-out: none was asked for, either
    sets: Cookie | None = None
    clears: tuple[int, ...] = ()
    clears_jar: bool = False


class State(NamedTuple):
    """Everything that matters at one moment."""

    jar: Jar
    lives: tuple[Life, ...]
    replaced: tuple[int | None, ...]  # by which login, where that matters
    flights: tuple[Flight, ...]
    asked: int  # logins
    shown: tuple[int, ...]  # the logins that pages show, the latest last
    unanswered: tuple[int | None, ...]  # the log-out that may be repeated: what it names, or ()
    expected: int | None  # the login as which the next refresh must be served
    nobody: bool  # it must not be served


class Move(NamedTuple):
    """One thing that can happen."""

    what: str
    after: State


class Finding(NamedTuple):
    """What a search has found."""

    states: int
    broken: int  # the property; 0: none
    trace: str


def names(cookies: Iterable[Cookie]) -> str:
    """Tell cookies in words."""
    return " and ".join(f"{USERS[cookie.login]}'s" for cookie in sorted(cookies)) or "no"


class Model:
    """The world's moves under some rules."""

    def __init__(self, rules: Rules, world: World) -> None:
        self.rules = rules
        self.world = world

    def start(self) -> State:
        """Return the state in which nobody has logged in."""
        count = self.world.logins
        return State((), (Life.NONE,) * count, (None,) * count, (), 0, (), (), None, False)

    # The server.

    def chosen(self, state: State, brought: Jar) -> set[int | None]:
        """Return what a refresh may be served as; None: it is refused."""
        orders: Iterable[Jar] = [self.rules.tried(brought)]
        if self.world.clocks_differ:
            orders = (self.rules.tried(self._dated(order)) for order in permutations(brought))
        return {self._first(state, order) for order in orders}

    @staticmethod
    def _dated(order: Jar) -> Jar:
        return tuple(Cookie(cookie.login, -at) for at, cookie in enumerate(order))

    def _first(self, state: State, order: Jar) -> int | None:
        for login, _ in order:
            if state.lives[login] is Life.LIVES:
                return login
            successor = state.replaced[login]
            if successor is not None and state.lives[successor] is Life.LIVES:
                return successor
        return None

    def _end(self, state: State, logins: set[int]) -> State:
        lives = list(state.lives)
        for login in logins:
            if lives[login] is Life.LIVES:
                lives[login] = Life.ENDED
        return state._replace(lives=tuple(lives))

    def _answered(self, state: State, rest: tuple[Flight, ...], flight: Flight) -> State:
        """Let the answer to a request go out."""
        ended = {login for login, life in enumerate(state.lives) if life is Life.ENDED}
        clears = self.rules.cleared(flight.kind, flight.brought, ended)
        flight = flight._replace(phase=Phase.ANSWERED, clears=tuple(sorted(clears)), brought=())
        if flight.kind is Kind.REFRESH and not (flight.sets or clears or flight.clears_jar):
            return state._replace(flights=rest)  # whenever it comes, it changes nothing
        return state._replace(flights=(*rest, flight))

    def handle(self, state: State, rest: tuple[Flight, ...], flight: Flight) -> Iterator[Move]:
        """Yield what the server can do with a request that has arrived."""
        kind, brought, login = flight.kind, flight.brought, flight.login
        if kind is Kind.LOGIN:
            after = self._end(state, self.rules.ended_by_login(brought))
            login = after.lives.index(Life.NONE)
            lives = list(after.lives)
            lives[login] = Life.LIVES
            after = after._replace(lives=tuple(lives))
            if self.rules.follows:
                came = {cookie.login for cookie in brought}
                replaced = [login if at in came else by for at, by in enumerate(state.replaced)]
                after = after._replace(replaced=tuple(replaced))
            # Of two logins at once, the one that the server handles last is the later one.
            rest = tuple([one._replace(latest=False) for one in rest])
            after = after._replace(expected=None)
            flight = flight._replace(login=login, sets=Cookie(login, NEW), latest=True)
            what = f"the server logs {USERS[login]} in"
            yield Move(what, self._answered(after, rest, flight))
        elif kind is Kind.LOGOUT:
            after = self._end(state, self.rules.ended_by_logout(brought, login))
            over = [
                USERS[one] for one, life in enumerate(state.lives) if after.lives[one] is not life
            ]
            what = f"the server handles a log-out, and ends {' and '.join(over) or 'nothing'}"
            yield Move(what, self._answered(after, rest, flight))
        else:
            for chosen in self.chosen(state, brought):
                if chosen is None:
                    what = f"the server refuses the refresh that brought {names(brought)} cookie"
                    refused = flight._replace(clears_jar=self.rules.refusal_clears_jar)
                    yield Move(what, self._answered(state, rest, refused))
                else:
                    taken = flight._replace(login=chosen, phase=Phase.TAKEN)
                    what = f"the server begins to serve a refresh as {USERS[chosen]}"
                    yield Move(what, state._replace(flights=(*rest, taken)))

    def serve(self, state: State, rest: tuple[Flight, ...], flight: Flight) -> Iterator[Move]:
        """Yield how a refresh can end whose grant lived when it was looked up."""
        login = flight.login
        assert login is not None
        is_over = state.lives[login] is Life.ENDED
        if is_over:
            what = f"the server finds that {USERS[login]} is out, and refuses the refresh"
            refused = flight._replace(login=None, clears_jar=self.rules.refusal_clears_jar)
            yield Move(what, self._answered(state, rest, refused))
        if not is_over or self.world.lag:
            what = f"the server answers the refresh with a new cookie of {USERS[login]}"
            served = flight._replace(login=None, sets=Cookie(login, NEW))
            yield Move(what, self._answered(state, rest, served))
            what = f"the server answers the refresh as {USERS[login]}, who keeps the cookie"
            yield Move(what, self._answered(state, rest, flight._replace(login=None)))

    # The browser.

    def moves(self, state: State) -> Iterator[Move]:
        """Yield everything that can happen next."""
        if len(state.flights) < self.world.requests:
            yield from self.ask(state)
        for at, flight in enumerate(state.flights):
            rest = state.flights[:at] + state.flights[at + 1 :]
            if flight.phase is Phase.SENT:
                yield from self.handle(state, rest, flight)
            elif flight.phase is Phase.TAKEN:
                yield from self.serve(state, rest, flight)
            else:
                yield self.arrive(state._replace(flights=rest), flight)
            if flight.phase is not Phase.TAKEN:
                where = "request" if flight.phase is Phase.SENT else "answer"
                what = f"the {where} is lost of a page that {flight.kind.told}"
                yield Move(what, state._replace(flights=rest))

    def ask(self, state: State) -> Iterator[Move]:
        """Yield what pages can ask for."""
        jar, flights = state.jar, state.flights
        comes = any(one.kind is Kind.LOGIN for one in flights)
        if state.asked < self.world.logins and (not comes or self.world.logins_at_once):
            earlier = tuple(one._replace(latest=False) for one in flights)
            yield Move(
                f"a page asks for a login, and brings {names(jar)} cookie",
                state._replace(
                    flights=(*earlier, Flight(Kind.LOGIN, jar, None)),
                    asked=state.asked + 1,
                    unanswered=self._repeatable(state),
                    expected=None,
                    nobody=False,
                ),
            )
        if jar:
            what = f"a page refreshes, and brings {names(jar)} cookie"
            sent = (*flights, Flight(Kind.REFRESH, jar, None))
            yield Move(what, state._replace(flights=sent))
        for named in (*(state.shown * (True in self.world.names)), *self._unnamed(state)):
            of_it = named is None or named == state.expected
            told = "" if named is None else f", naming {USERS[named]}"
            yield Move(
                f"a page logs out{told}, and brings {names(jar)} cookie",
                state._replace(
                    flights=(*flights, self._logout(state, named, comes)),
                    unanswered=(named,),
                    expected=None if of_it else state.expected,
                ),
            )
        for named in state.unanswered:
            told = "" if named is None else f", naming {USERS[named]}"
            yield Move(
                f"a page REPEATS its log-out{told}, and brings {names(jar)} cookie",
                state._replace(
                    flights=(*flights, self._logout(state, named, comes)),
                    expected=None if named == state.expected else state.expected,
                ),
            )

    def _unnamed(self, state: State) -> tuple[None, ...]:
        return (None,) if state.shown and False in self.world.names else ()

    @staticmethod
    def _logout(state: State, named: int | None, comes: bool) -> Flight:
        # A page that isn't the latest logs out of an earlier login only.
        latest = not comes and (named is None or (named,) == state.shown[-1:])
        return Flight(Kind.LOGOUT, state.jar, named, latest=latest)

    def _repeatable(self, state: State) -> tuple[int | None, ...]:
        """Return the log-out that is still repeated when there is a new login."""
        return () if state.unanswered == (None,) and not self.world.repeats else state.unanswered

    def arrive(self, state: State, flight: Flight) -> Move:
        """Let an answer come: what it clears goes, and then what it sets is in the jar."""
        name, kind = self.rules.name, flight.kind
        held = {name(cookie.login): cookie for cookie in state.jar}
        gone = set(held) if flight.clears_jar else {name(login) for login in flight.clears}
        held = {one: cookie for one, cookie in held.items() if one not in gone}
        if flight.sets:
            held[name(flight.sets.login)] = flight.sets
        state = state._replace(jar=tuple(held.values()))
        if kind is Kind.LOGIN:
            assert flight.login is not None
            shown = (*state.shown, flight.login)
            state = state._replace(shown=shown, unanswered=self._repeatable(state))
            if flight.latest:
                state = state._replace(expected=flight.login, nobody=False)
        if kind is Kind.LOGOUT:
            if state.unanswered == (flight.login,):
                state = state._replace(unanswered=())
            left = tuple(one for one in state.shown if one != flight.login)
            state = state._replace(shown=left)
            if flight.latest:
                state = state._replace(shown=(), nobody=True)
        what = f"the answer comes to a page that {kind.told}: the jar has {names(state.jar)} cookie"
        return Move(what, state)

    # The properties.

    def broken(self, state: State) -> tuple[int, str]:
        """Return which property is broken in a state, if any, and how."""
        served = self.chosen(state, state.jar)
        told = " or ".join("nobody" if one is None else USERS[one] for one in served)
        if state.expected is not None and served != {state.expected}:
            return 1, f"THE NEXT REFRESH IS SERVED AS {told}, and not as {USERS[state.expected]}"
        if state.nobody and served != {None}:
            return 2, f"THE NEXT REFRESH IS SERVED AS {told}, after the log-out"
        for login in range(self.world.logins):
            as_whom = self._first(state, (Cookie(login, 0),))
            if as_whom not in (login, None):
                return 3, f"A THIEF WITH {USERS[login]}'s OLD COOKIE IS SERVED AS {USERS[as_whom]}"
        return 0, ""

    def canonical(self, state: State) -> State:
        """Return the state with times by their order, and requests in one order."""
        cookies = [*state.jar]
        for flight in state.flights:
            if flight.phase is Phase.SENT and flight.kind is Kind.REFRESH:
                cookies += flight.brought
            if flight.sets:
                cookies.append(flight.sets)
        times = {time: at for at, time in enumerate(sorted({one.minted for one in cookies}))}
        if self.world.clocks_differ:
            times = dict.fromkeys(times, 0)

        def cookie(one: Cookie) -> Cookie:
            return Cookie(one.login, times[one.minted])

        def jar(one: Jar) -> Jar:
            return tuple(sorted(map(cookie, one)))

        flights = []
        for one in state.flights:
            if one.phase is Phase.SENT and one.kind is Kind.REFRESH:
                brought = jar(one.brought)
            else:  # which is the newest makes no difference
                brought = tuple(sorted([Cookie(login, 0) for login, _ in one.brought]))
            flights.append(one._replace(brought=brought, sets=one.sets and cookie(one.sets)))
        flights.sort(key=_order)
        return state._replace(jar=jar(state.jar), flights=tuple(flights))


def _order(flight: Flight) -> tuple[object, ...]:
    return (
        *flight[:2],
        -1 if flight.login is None else flight.login,
        *flight[3:5],
        flight.sets or (),
        *flight[6:],
    )


NEW = 1_000  # the time of a token that was just minted; `canonical` gives it a proper one


def search(rules: Rules, world: World) -> Finding:
    """Look at every state that a world can come to, shortest runs first."""
    model = Model(rules, world)
    states = [model.canonical(model.start())]
    came_from: dict[State, tuple[State, str] | None] = {states[0]: None}
    for state in states:  # it grows meanwhile
        for what, moved in model.moves(state):
            after = model.canonical(moved)
            if after in came_from:
                continue
            came_from[after] = state, what
            states.append(after)
            broken, how = model.broken(after)
            if broken:
                run, at = [how], after
                while (before := came_from[at]) is not None:
                    at, told = before
                    run.append(told)
                return Finding(len(states), broken, "\n".join(reversed(run)))
    return Finding(len(states), 0, "")
