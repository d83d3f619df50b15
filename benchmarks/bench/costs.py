"""The measurements of this process: requests around frameworks, tokens, refusals, refreshes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from benchmarks import refresh as refreshes
from benchmarks import verify
from benchmarks.measure import Times, measure
from jwt_middleware import asgi as asgi_door
from jwt_middleware import wsgi as wsgi_door
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.values.tokens import Hidden

from . import peers, refreshing
from .report import AtLeast, AtMost, Limit, Row, Section, added, compared, micros
from .scene import (
    LIVE,
    PATH,
    Function,
    Issuer,
    NextToken,
    always,
    any_of,
    asgi,
    asgi_app,
    asgi_in_loop,
    asgi_status,
    checked,
    wsgi,
    wsgi_app,
    wsgi_status,
)

RAW = "raw RS256"
PACE = 2.2  # of raw, that PyJWT takes beyond it under Debian's Python on a machine at rest
SIZES = (500, 1000, 2000, 4000, 8000)  # octets of a token
ENOUGH = 2 * LIVE  # entries for all live tokens


class Scene:
    """An issuer whose tokens all sections share, because making keys and tokens is slow."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        self.tokens = self.issuer.tokens(LIVE)
        self.raw: Function = verify.raw(self.issuer.factory, self.issuer.token)

    def asgi(self, app: Any = asgi_app, **settings: Any) -> Any:
        """Return an ASGI application with ours around it."""
        door = asgi_door.JWTMiddleware(app, self.issuer.settings(**settings))
        return checked(asgi_status, door, self.issuer.token, self.issuer.forged)

    def wsgi(self, app: Any = wsgi_app, **settings: Any) -> Any:
        """Return a WSGI application with ours around it."""
        door = wsgi_door.JWTMiddleware(app, self.issuer.settings(**settings))
        return checked(wsgi_status, door, self.issuer.token, self.issuer.forged)


def sections(scene: Scene, *, is_gate: bool) -> Iterator[Section]:
    """Yield the sections; with `is_gate`, only those that have a gate."""
    yield Section(
        "What it adds to a request",
        ("one request, µs", "added, µs"),
        "ratio",
        partial(warm, scene),
        "In ratios, `raw` is one check of an RS256 signature by `cryptography` alone; bare is the "
        "first example in a framework's documentation.",
    )
    yield Section(
        "Beside other packages for Python",
        ("one request, µs", "added, µs"),
        "added, times ours",
        partial(beside, scene),
        "Ours is warm, one token, around a raw ASGI or WSGI application, as above.",
        rounds=60,
    )
    yield Section(
        "A token that is new",
        ("ours, µs", "raw, µs"),
        "over raw",
        cold,
        "Strict parser, header, key, signature and every claim, over the signature's check alone.",
        rounds=150,
    )
    yield Section(
        "Beside other libraries",
        ("ours, µs", "theirs, µs"),
        "theirs over ours",
        partial(libraries, is_gate=is_gate),
        "The same token, checked for signature, issuer, audience and times; keys are prepared.",
        rounds=60,
    )
    yield Section(
        "A refresh",
        ("µs", "raw ES256 signature, µs"),
        "over raw",
        refresh,
        "From the form to the answer, on the store in memory.",
        rounds=2000,
    )
    if is_gate:
        return
    yield Section(
        "A refresh beside others",
        ("one request, µs", "signs with"),
        "times ours",
        refreshing.rows,
        "Whole requests through WSGI, each package as it is set up at first, rotation turned on "
        "where there is one. Of these, ours alone finds reuse.",
        rounds=60,
    )
    yield Section(
        "By size of the token",
        ("warm, µs", "cold, µs"),
        "cold over raw",
        partial(sizes, scene),
        "RS256. Warm is what is added to a raw ASGI application; raw checks the same octets.",
    )
    yield Section(
        "By tokens in use at one time",
        ("added, µs", "hits"),
        "over raw",
        partial(working_set, scene),
        "Added to a raw ASGI application. What isn't kept is verified anew.",
    )


# --- warm


def warm(scene: Scene, rounds: int) -> Iterator[Row]:
    """Compare what ours adds with a raw check, and with the cost of frameworks alone."""
    one, many = always(scene.issuer.token), any_of(scene.tokens)
    starlette, fastapi, flask = peers.starlette(), peers.fastapi(), peers.flask()
    functions: dict[str, Function] = {
        RAW: scene.raw,
        "raw ASGI": asgi(asgi_app, one),
        "ASGI": asgi(scene.asgi(), one),
        "raw ASGI, live": asgi(asgi_app, many),
        "ASGI, live": asgi(_filled(scene), many),
        "ASGI, cold": asgi(scene.asgi(entries=0), one),
        "raw WSGI": wsgi(wsgi_app, one),
        "WSGI": wsgi(scene.wsgi(), one),
        "WSGI, cold": wsgi(scene.wsgi(entries=0), one),
        # No entry follows a similar one, which would leave fitting data in the processor's caches.
        "Starlette": asgi(starlette, one),
        "FastAPI": asgi(fastapi, one),
        "Flask": wsgi(flask, one),
        "Starlette, ours": asgi(scene.asgi(starlette), one),
        "FastAPI, ours": asgi(scene.asgi(fastapi), one),
        "Flask, ours": wsgi(scene.wsgi(flask), one),
    }
    times = measure(functions, rounds=rounds)
    line = partial(_added, times)
    yield line("ASGI, one token, over raw", "ASGI", "raw ASGI", RAW, 0.07, AtMost(0.14, 0))
    live = f"ASGI, {LIVE:,} live tokens, over raw"
    yield line(live, "ASGI, live", "raw ASGI, live", RAW, 0.13, AtMost(0.19, 0))
    share = "ASGI, one token, over bare"
    yield line(f"{share} Starlette", "ASGI", "raw ASGI", "Starlette", 0.14, AtMost(0.20))
    yield line(f"{share} FastAPI", "ASGI", "raw ASGI", "FastAPI", None, AtMost(0.05))
    yield line("WSGI, one token, over raw", "WSGI", "raw WSGI", RAW, 0.045, AtMost(0.08, 0))
    yield line("WSGI, one token, over bare Flask", "WSGI", "raw WSGI", "Flask", None, AtMost(0.03))
    for door, goal, gate in (("ASGI", 1.75, 2.3), ("WSGI", 1.55, 1.95)):
        new = f"new token, {door} door, cache off, over {RAW}"
        yield line(new, f"{door}, cold", f"raw {door}", RAW, goal, AtMost(gate, 1))
    for name in ("Starlette", "FastAPI", "Flask"):
        yield line(f"around {name}, over {name}", f"{name}, ours", name, name)
    for name in ("raw ASGI", "raw WSGI", "Starlette", "FastAPI", "Flask", RAW):
        yield Row(f"({name})", (micros(times.typical(name)), ""))


def _filled(scene: Scene, entries: int = ENOUGH) -> Any:
    """Return ours after a request with each live token."""
    app = scene.asgi(entries=entries)
    for token in scene.tokens:
        asgi(app, always(token))()
    return app


def _added(
    times: Times,
    what: str,
    name: str,
    bare: str,
    base: str,
    goal: float | None = None,
    gate: Limit | None = None,
) -> Row:
    extra = added(times, name, bare)
    costs = micros(times.typical(name)), micros(sorted(extra)[len(extra) // 2])
    return compared(Row(what, costs, goal=goal, gate=gate), extra, times.rounds[base])


# --- peers


def beside(scene: Scene, rounds: int) -> Iterator[Row]:
    """Compare what peers add to their framework with what ours adds."""
    one = always(scene.issuer.token)
    starlette, fastapi, flask = peers.starlette(), peers.fastapi(), peers.flask()
    with closing(asyncio.new_event_loop()) as loop:
        in_loop = partial(asgi_in_loop, loop=loop)
        functions: dict[str, Function] = {
            "raw ASGI": asgi(asgi_app, one),
            "ASGI": asgi(scene.asgi(), one),
            "raw WSGI": wsgi(wsgi_app, one),
            "WSGI": wsgi(scene.wsgi(), one),
            "Starlette": asgi(starlette, one),
            "FastAPI": asgi(fastapi, one),
            "FastAPI in a loop": in_loop(fastapi, one),
            "Flask": wsgi(flask, one),
        }
        bare, ours = {}, {}
        for peer in peers.peers(scene.issuer):
            call = wsgi if peer.bare == "Flask" else in_loop if peer.waits else asgi
            functions[peer.name] = call(peer.app, always(peer.token))
            bare[peer.name] = f"{peer.bare} in a loop" if peer.waits else peer.bare
            ours[peer.name] = "WSGI" if peer.bare == "Flask" else "ASGI"
        times = measure(functions, rounds=rounds)
    for name, framework in bare.items():
        row = _added(times, name, name, framework, "ASGI", 80, AtLeast(50))
        mine = added(times, ours[name], f"raw {ours[name]}")
        yield compared(row, added(times, name, framework), mine)


# --- cold


# A goal for each, and OpenSSL's part of the limit in `verify`: all of raw, or nothing where no
# signature is checked.
_COLD = {
    "RS256": (1.4, 1),
    "ES256": (1.2, 1),
    "Ed25519": (1.08, 1),
    "HS256": (4.5, 1),
    "RS256, 8 KB": (3, 1),
    "malformed: five segments": (0.06, 0),
    "malformed: padding": (0.06, 0),
    "malformed: not canonical": (0.06, 0),
    "unknown kid": (0.3, 0),
    "bad signature": (1.3, 1),
}


def cold(rounds: int) -> Iterator[Row]:
    """Compare our check of a token with the check of its signature alone."""
    functions = dict(verify.functions())
    for line in verify.LINES:
        if line.gate is None:
            continue
        what, base = line.what, line.base
        goal, openssl = _COLD[what]
        times = measure({name: functions[name] for name in (what, base)}, rounds=rounds)
        costs = micros(times.typical(what)), micros(times.typical(base))
        row = Row(what, costs, goal=goal, gate=AtMost(line.gate, openssl))
        yield compared(row, times.rounds[what], times.rounds[base])


_LIBRARIES = {"PyJWT": (2.8, 2.3), "joserfc": (2.0, 1.5), "Authlib": (1.6, 1.3)}


def libraries(rounds: int, *, is_gate: bool) -> Iterator[Row]:
    """Compare our check with those of libraries, by algorithm; gates are for RS256."""
    # Two of these libraries know Ed25519 only by the name of its family, EdDSA.
    algorithms = ("RS256",) if is_gate else ("RS256", "PS256", "ES256", "EdDSA", "HS256")
    for algorithm in algorithms:
        issuer = Issuer(algorithm)
        functions = {"ours": ours_cold(issuer, issuer.token)}
        for name, check in peers.decoders(issuer, algorithm):
            functions[name] = checking(check, issuer)
        times = measure(functions, rounds=rounds)
        for name, (goal, gate) in _LIBRARIES.items():
            costs = micros(times.typical("ours")), micros(times.typical(name))
            row = Row(f"{name}, {algorithm}", costs)
            if algorithm == "RS256":
                row = Row(f"{name}, {algorithm}", costs, goal=goal, gate=AtLeast(gate))
            yield compared(row, times.rounds[name], times.rounds["ours"])


def ours_cold(issuer: Issuer, token: str, **settings: Any) -> Function:
    """Return our check of a token, as if it had not been seen before."""
    core = Runtime.of(issuer.settings(entries=0, **settings)).core(asynchronous=False)
    clock, text = issuer.factory.clock, Hidden(token)
    assert core.verify(text, clock()).subject
    return lambda: core.verify(text, clock())


def checking(check: Callable[[str], Any], issuer: Issuer) -> Function:
    """Return a library's check of a good token, after seeing that it refuses a bad one."""
    check(issuer.token)
    try:
        check(issuer.forged)
    except Exception:  # noqa: BLE001  (each has errors of its own)
        return partial(check, issuer.token)
    raise AssertionError(f"{check} takes a forged token")


def pace(rounds: int = 60) -> float:
    """Return how slow Python is here, compared with OpenSSL; 1: as where the gates are from.

    It depends on the interpreter's build and the processor's caches, which change PyJWT's check and
    ours alike: on all machines so far, ours takes between 0.22 and 0.24 of what PyJWT takes beyond
    the signature's check.
    """
    issuer = Issuer()
    functions = {
        RAW: verify.raw(issuer.factory, issuer.token),
        "PyJWT": checking(dict(peers.decoders(issuer, "RS256"))["PyJWT"], issuer),
    }
    times = measure(functions, rounds=rounds)
    return (times.ratio("PyJWT", RAW) - 1) / PACE


# --- refresh


def refresh(rounds: int) -> Iterator[Row]:
    """Compare a refresh with the signature that it has to make."""
    times = measure(dict(refreshes.functions()), rounds=rounds, burst=1)
    base = refreshes.RAW
    gates = {"rotated": (refreshes.GOAL, AtMost(refreshes.GATE, 1))}
    for how in ("rotated", "repeated", "kept"):
        goal, gate = gates.get(how, (None, None))
        costs = micros(times.typical(how)), micros(times.typical(base))
        yield compared(Row(how, costs, goal=goal, gate=gate), times.rounds[how], times.rounds[base])


# --- growth that is shown


def sizes(scene: Scene, rounds: int) -> Iterator[Row]:
    """Show what the length of a token costs."""
    factory = scene.issuer.factory
    for size in SIZES:
        token = factory.token(groups="")
        # base64url has four characters for three octets.
        token = factory.token(groups="g" * max((size - len(token)) * 3 // 4, 0))
        one = always(token)
        functions = {
            "raw": verify.raw(factory, token),
            "cold": ours_cold(scene.issuer, token),
            "raw ASGI": asgi(asgi_app, one),
            "warm": asgi(scene.asgi(), one),
        }
        times = measure(functions, rounds=rounds)
        extra = sorted(added(times, "warm", "raw ASGI"))[rounds // 2]
        costs = micros(extra), micros(times.typical("cold"))
        what = f"{len(token)} octets" + ("" if size <= 4000 else ", too long to be kept")
        yield compared(Row(what, costs), times.rounds["cold"], times.rounds["raw"])


def working_set(scene: Scene, rounds: int) -> Iterator[Row]:
    """Show the cost of more tokens than fit into the cache, chosen evenly or as in real use."""
    zipf = [1 / rank for rank in range(1, LIVE + 1)]
    cases: dict[str, tuple[NextToken, int]] = {
        "1": (always(scene.tokens[0]), 4096),
        "100": (any_of(scene.tokens[:100]), 4096),
        "1,000": (any_of(scene.tokens[:1000]), 4096),
        f"{LIVE:,}, entries for all": (any_of(scene.tokens), ENOUGH),
        f"{LIVE:,}, 4096 entries, some much more often (Zipf)": (
            any_of(scene.tokens, weights=zipf), 4096
        ),
        f"{LIVE:,}, 4096 entries, all as often": (any_of(scene.tokens), 4096),
    }  # fmt: skip
    for what, (token, entries) in cases.items():
        app = _filled(scene, entries)
        hits = _hits(app, token)
        functions = {RAW: scene.raw, "raw ASGI": asgi(asgi_app, token), "warm": asgi(app, token)}
        times = measure(functions, rounds=rounds)
        extra = added(times, "warm", "raw ASGI")
        costs = micros(sorted(extra)[rounds // 2]), f"{hits:.0%}"
        yield compared(Row(what, costs), extra, times.rounds[RAW])


def _hits(app: Any, token: NextToken) -> float:
    """Fill the cache, then return the share of requests that it served."""
    core = app._core
    for _ in range(LIVE):
        asgi(app, token)()
    found = 0
    for _ in range(LIVE):
        credentials = f"Bearer {token()}".encode()
        if core.warm("GET", PATH, credentials):
            found += 1
        else:
            asgi(app, always(credentials[7:].decode()))()
    return found / LIVE
