"""A thief has a bound token, and what he tries with it: spellings, other ways in, old proofs."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from jwt_middleware import (
    ConfigurationError,
    Cookies,
    Issuer,
    KeySet,
    Proofs,
    Refresh,
    Route,
    Settings,
    TokenCache,
    TrustedIssuer,
    WebSockets,
)
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.asgi import renew
from jwt_middleware.core.possession import STORE_CLOCK
from jwt_middleware.core.used_proofs import UsedProofs
from jwt_middleware.process.view_rules import refusal, view_rule
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import Prover, TokenFactory
from jwt_middleware.token.proof_rules import NONCE_LIFETIME
from jwt_middleware.token.target_uri import root_of, target_of
from jwt_middleware.values.errors import NonceNeeded, OAuthError, Unavailable
from jwt_middleware.values.events import Refused
from jwt_middleware.wsgi import JWTMiddleware, inside_asgi, is_current
from tests.proofs.shown import Shown
from tests.proofs.test_rt_bound import ROOT, Service
from tests.rules import accepts, refuses
from tests.world import NOW, Sent, World, by_asgi, by_wsgi, shake_hands

API = "https://api.example"
NO_NONCES = Proofs(urls=(API,), nonces=False)
CACHES = {
    "": TokenCache(),
    "hashed": TokenCache(hashed=True),
    "no cache": TokenCache(entries=0),
}


def spellings(token: str) -> list[list[tuple[str, str]]]:
    """Return Authorization fields that have the token, without a proof."""
    single = [
        *(f"{scheme} {token}" for scheme in ("Bearer", "bearer", "BEARER", "DPoP", "dpop", "DPOP")),
        *(f"Bearer{space}{token}" for space in ("", "  ", "\t", " \t", ",", ", ", "\x00", "\xa0")),
        *(f"DPoP{space}{token}" for space in ("", "  ", "\t", ",", "\x00", "\xa0", ":")),
        *(f"{before}Bearer {token}" for before in (" ", "\t", "\xa0", "DPoP ", "é ")),
        *(f"Bearer {token}{after}" for after in (" ", "=", ",", ", x", "\x00", "\xa0", ", DPoP x")),
        *(f"DPoP {token}{after}" for after in (" ", "=", ",", ", Bearer x", "\x00")),
        *(
            f"Token {token}",
            f"Basic {token}",
            token,
            f"Bearer DPoP {token}",
            f"DPoP Bearer {token}",
        ),
    ]
    pairs = [("Bearer", "DPoP"), ("DPoP", "Bearer"), ("Bearer", "Bearer"), ("DPoP", "DPoP")]
    return [
        *([("Authorization", one)] for one in single),
        *([("Authorization", f"{scheme} {token}") for scheme in pair] for pair in pairs),
    ]


def fields(sent: list[tuple[str, str]]) -> list[tuple[str, bytes]]:
    return [(name, value.encode("latin-1")) for name, value in sent]


@refuses("RS-50", "RS-53")
@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("path", ["/", "/bound", "/admin"])
def test_no_spelling_of_a_token_that_is_known_opens_anything(cache: str, path: str) -> None:
    shown = Shown(token_cache=CACHES[cache])
    token = shown.token(scope="admin")
    for _ in range(3):
        assert shown.ask(path=path, token=token).status == 200
    used = shown.prover.headers("GET", path, token)
    shown.world.through_wsgi("GET", path, fields([*used.items()]))
    for sent in spellings(token):
        for proofs in ([], [("DPoP", used["DPoP"])], [("DPoP", "")], [("X-DPoP", used["DPoP"])]):
            for door in (shown.world.through_wsgi, shown.world.through_asgi):
                answer = door("GET", path, fields([*sent, *proofs]))
                assert answer.status in (400, 401), (sent, proofs)
                assert not answer.reached
    assert shown.ask(path=path, token=token).status == 200


@refuses("RS-53")
def test_no_other_way_in_takes_a_bound_token() -> None:
    shown = Shown(
        credentials_header="X-Token",
        websockets=WebSockets(subprotocol=True),
        routes=(),
    )
    token = shown.token()
    assert shown.ask(token=token).status == 200
    proof = ("DPoP", shown.prover.proof("GET", "/", token))
    for more in ([], [proof]):
        answer = shown.world.get(headers=[("X-Token", token), *more])
        assert (answer.status, answer.reason) == (401, "sender_constrained")
        both = [("X-Token", token), ("Authorization", f"DPoP {token}"), *more]
        assert shown.world.get(headers=both).status == 400
        offered = [("Sec-WebSocket-Protocol", f"bearer, {token}"), *more]
        said = asyncio.run(shake_hands(shown.world.asgi, "/", offered))
        assert said["type"] == "websocket.http.response.start"
        told = shown.world.events[-1]
        assert isinstance(told, Refused)
        assert told.reason == "sender_constrained"


@refuses("RS-53")
def test_a_cookie_has_no_proof() -> None:
    shown = Shown(
        proofs=Proofs(nonces=False),
        routes=(),
        refresh=Refresh(store="memory://", cookies=Cookies(access=True)),
    )
    shown.prover.root = shown.factory.issuer
    issuer = Issuer(shown.settings)
    grant = issuer.issue("alice")
    names = [cookie.split("=")[0] for _, cookie in grant.cookies]
    token = shown.token(sid=issuer.grants("alice")[0].id)
    for name in names:
        for more in ([], [("DPoP", shown.prover.proof("GET", "/", token))]):
            sent = [("Cookie", f"{name}={token}"), *more]
            answer = shown.world.get(headers=sent)
            assert answer.status == 401
            assert not answer.reached


@accepts("RS-50", "RS-51")
@refuses("RS-50", "RS-51", "RS-55")
@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_a_handshake_needs_its_proof(scheme: str) -> None:
    shown = Shown()
    token = shown.token()

    def said(sent: list[tuple[str, str]], path: str = "/socket") -> Any:
        return asyncio.run(shake_hands(shown.world.asgi, path, sent))

    url = f"{scheme}://api.example/socket"
    good = [*shown.prover.headers("GET", "/socket", token, htu=url).items()]
    said(good)
    assert shown.world.application.seen
    for sent in (
        good,  # for the second time
        [("Authorization", f"DPoP {token}")],
        [("Authorization", f"Bearer {token}"), good[1]],
        [*shown.prover.headers("CONNECT", "/socket", token, htu=url).items()],
        [*shown.prover.headers("GET", "/other", token).items()],
    ):
        assert said(sent)["type"] == "websocket.http.response.start"


@accepts("RS-57")
@refuses("RS-57")
def test_a_preflight_brings_no_token_and_opens_only_for_known_origins() -> None:
    shown = Shown(origins=("https://app.example",))
    asked = [("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "dpop")]
    known = shown.world.request("OPTIONS", "/", headers=[*asked, ("Origin", "https://app.example")])
    assert known.reached
    unknown = shown.world.request(
        "OPTIONS", "/", headers=[*asked, ("Origin", "https://evil.example")]
    )
    assert (unknown.status, unknown.reached) == (401, False)
    token = shown.token()
    with_token = shown.world.request(
        "OPTIONS",
        "/",
        headers=[*asked, ("Origin", "https://app.example"), ("Authorization", f"DPoP {token}")],
    )
    assert (with_token.status, with_token.reached) == (401, False)


# --- URLs


@accepts("RS-51")
@pytest.mark.parametrize(
    ("root", "url"),
    [
        ("http://[::1]:8000", "http://[0:0:0:0:0:0:0:1]:8000/a"),
        ("https://[2001:db8:0::1]", "https://[2001:db8::1]/a"),
        ("https://api.example", "https://api.example/./a"),
        ("https://api.example", "https://api.example/../a"),
        ("https://api.example", "https://api.example:/a"),
        ("https://api.example", "https://api.example/%61"),
        ("https://api.example", "wss://api.example/a"),
        ("https://api.example/", "https://api.example/b/../a"),
        ("https://api.example/x", "https://api.example/x/a"),
    ],
)
def test_one_url_in_several_spellings(root: str, url: str) -> None:
    shown = Shown(proofs=Proofs(urls=(root.rstrip("/"),), nonces=False))
    assert shown.ask(path="/a", htu=url).status == 200


@refuses("RS-51")
@pytest.mark.parametrize(
    "url",
    [
        "https://api.example//a",
        "https://api.example///./a",
        "https://api.example/a/",
        "https://api.example/a/.",
        "https://api.example/a/..",
        "https://api.example/a;x",
        "https://api.example/A",
        "https://api.example/a%2F",
        "https://api.example/a%00",
        "https://api.example/%2561",
        "https://api.example.:443/a",
        "https://api.example@evil.example/a",
        "https://evil.example/https://api.example/a",
        "https://api.example\\@evil.example/a",
        "https://api.example:443@evil.example/a",
        "https://[::1]/a",
        "https://[api.example]/a",
        "https://[::1/a",
        "https://api.example%2Fa",
        "https://api.example:80/a",
        "http://api.example:443/a",
        "ws://api.example/a",
        " https://api.example/a",
        "https://api.example/a\n",
        "javascript:https://api.example/a",
    ],
)
def test_another_url_however_alike(url: str) -> None:
    answer = Shown().ask(path="/a", htu=url)
    assert (answer.status, answer.reached) == (401, False)
    assert answer.reason == "proof_of_another_url"


@accepts("RS-51")
def test_dot_segments_go_as_the_standard_says() -> None:
    # RFC 3986 s5.4, as far as its examples are about paths.
    for given, expected in {
        "/b/c/./g": "/b/c/g",
        "/b/c/g/.": "/b/c/g/",
        "/b/c/./": "/b/c/",
        "/b/c/..": "/b/",
        "/b/c/../": "/b/",
        "/b/c/../g": "/b/g",
        "/b/c/../..": "/",
        "/b/c/../../../g": "/g",
        "/b/c/..g": "/b/c/..g",
        "/b/c/.g": "/b/c/.g",
        "/b/c/g;x=1/../y": "/b/c/y",
        "///a/./b": "///a/b",
        "//a/./b": "//a/b",
        "/.": "/",
        "/..": "/",
        "": "/",
    }.items():
        found = target_of(f"https://h.example{given}")
        assert found is not None
        assert found.path == expected, given


@refuses("RS-51")
@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://b\xfccher.example", "proofs": Proofs()},
        {"issuer": "https://user@login.example", "proofs": Proofs()},
        {"proofs": Proofs(urls=("https://api.example/%FF",))},
    ],
)
def test_urls_that_no_proof_can_name_are_a_fault_of_the_settings(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"proofs\.urls"):
        TokenFactory().settings(refresh=Refresh(store="memory://"), **change)
    assert root_of("https://api.example/%FF") is None


@accepts("RS-51")
@pytest.mark.parametrize("mounted", ["", "/api"])
def test_a_mounted_application_is_below_its_root(mounted: str) -> None:
    shown = Shown(proofs=Proofs(urls=(f"{API}{mounted}",), nonces=False), routes=())
    token = shown.token()
    for path in ("/a", "/a/", "//a", "/a%2Fb", "/\xe4"):
        for url, status in ((f"{API}{mounted}{path}", 200), (f"{API}/elsewhere{path}", 401)):
            sent = Sent("GET", path, [])

            def made(url: str = url) -> dict[str, str]:
                escaped = url.replace("%", "%25").replace("\xe4", "%C3%A4")
                return shown.prover.headers("GET", "/", token, htu=escaped)

            sent.headers[:] = fields([*made().items()])
            assert by_wsgi(shown.world.wsgi, sent, SCRIPT_NAME=mounted)[0] == status, url
            sent.headers[:] = fields([*made().items()])
            whole: dict[str, Any] = {"path": mounted + path, "root_path": mounted}
            assert asyncio.run(by_asgi(shown.world.asgi, sent, **whole))[0] == status, url


# --- the routes that want a proof


@refuses("RS-58")
@pytest.mark.parametrize(
    "path", ["/older", "/Old", "/old/%2e%2e/x", "//old", "/old/..", "/./old", "/old;x"]
)
def test_what_is_excepted_is_this_path_alone(path: str) -> None:
    proofs = Proofs(urls=(API,), nonces=False, required=True)
    shown = Shown(proofs=proofs, routes=(Route("/old", proof="accepted"),))
    bearer = shown.factory.token()
    assert shown.world.get("/old", bearer).status == 200
    answer = shown.world.get(path, bearer)
    assert answer.status in (400, 401)
    assert not answer.reached


@accepts("RS-58")
@refuses("RS-58")
def test_where_all_must_be_bound_the_list_of_logins_must_be_too() -> None:
    shown = Shown(
        proofs=Proofs(nonces=False, required=True, access=True),
        routes=(Route("/login", public=True, own_origin=True),),
        refresh=Refresh(store="memory://", sessions=True),
    )
    shown.prover.root = shown.factory.issuer
    issuer = Issuer(shown.settings)
    unbound = issuer.issue("alice").access_token
    answer = shown.world.get("/auth/sessions", unbound)
    assert (answer.status, answer.reason) == (401, "token_not_bound")
    assert answer.challenge.startswith("DPoP ")
    assert "Bearer" not in answer.challenge
    sid = issuer.grants("alice")[0].id
    assert shown.ask(path="/auth/sessions", token=shown.token(sid=sid)).status == 200
    stolen = shown.token(sid=sid)
    assert shown.world.get("/auth/sessions", stolen).status == 401


# --- old proofs


@refuses("RS-55")
def test_a_nonce_of_a_process_that_is_ahead_lets_no_proof_in_twice() -> None:
    secret = "n" * 8 + "QW3rT9zXc5vB7nM1kL2jH4gF6dS8aP0o"
    given = Proofs(urls=(API,), secret=secret)
    ahead, shown = Shown(proofs=given), Shown(proofs=given)
    ahead.now += 500
    shown.prover.nonce = ahead.ask().header("dpop-nonce")
    token = shown.token(exp=int(NOW) + 5000)
    sent = fields([*shown.prover.headers("GET", "/", token).items()])
    assert shown.world.through_wsgi("GET", "/", sent).status == 200
    seen = set()
    for _ in range(150):
        seen.add(shown.world.through_wsgi("GET", "/", sent).reason)
        shown.now += 10
    assert seen == {"proof_replayed", "proof_nonce"}


@refuses("RS-55")
def test_a_store_whose_clock_is_ahead_forgets_no_proof_that_is_good() -> None:
    now = [NOW]
    store = MemoryStore(clock=lambda: now[0] + STORE_CLOCK - 1, retention=900)
    shown = Shown(proofs=NO_NONCES, refresh=Refresh(store=store, cookies=None), routes=())
    token = shown.token()
    sent = fields([*shown.prover.headers("GET", "/", token).items()])
    assert shown.world.through_wsgi("GET", "/", sent).status == 200
    seen = []
    for _ in range(100):
        now[0] = shown.now
        seen.append(shown.world.through_wsgi("GET", "/", sent).reason)
        shown.now += 1
    assert set(seen) == {"proof_replayed", "proof_too_old"}


@refuses("RS-55")
def test_both_doors_of_a_process_share_what_was_used() -> None:
    shown = Shown(proofs=NO_NONCES)
    for first, second in (("wsgi", "asgi"), ("asgi", "wsgi")):
        sent = fields([*shown.prover.headers("GET", "/", shown.token()).items()])
        assert getattr(shown.world, f"through_{first}")("GET", "/", sent).status == 200
        assert getattr(shown.world, f"through_{second}")("GET", "/", sent).status == 401


@accepts("RS-55")
def test_strangers_at_a_login_fill_no_memory_and_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jwt_middleware.core.possession.MOST_LOGINS", 20)
    monkeypatch.setattr("jwt_middleware.stores.memory.MemoryStore.admit", None)
    service = Service("wsgi", proofs=Proofs(nonces=False))
    prover = Prover(ROOT, clock=lambda: service.now)
    once = prover.proof("POST", "/login")
    assert service.send("POST", "/login", {"DPoP": once})[0] == 200
    assert service.send("POST", "/login", {"DPoP": once})[0] == 401
    for _ in range(50):
        stranger = Prover(ROOT, clock=lambda: service.now)
        assert service.login(stranger)[0] == 200
    assert service.login(prover)[0] == 200
    service.settings.close()


@accepts("RS-55")
def test_a_full_memory_makes_room_only_where_it_may() -> None:
    now = [0.0]
    strict, kind = UsedProofs(lambda: now[0], 3), UsedProofs(lambda: now[0], 3, makes_room=True)
    for number in range(3):
        assert strict.admit(f"{number}", 10)
        assert kind.admit(f"{number}", 10)
    with pytest.raises(Unavailable):
        strict.admit("3", 10)
    assert not strict.admit("0", 10)
    assert kind.admit("3", 10)
    assert not kind.admit("3", 10)
    assert kind.admit("0", 10)  # the oldest, which had to go
    now[0] = 10
    assert strict.admit("3", 20)


@refuses("RS-55")
def test_of_many_threads_with_one_proof_one_is_let_in() -> None:
    used, threads, rounds = UsedProofs(lambda: 0.0), 8, 300
    barrier = Barrier(threads)

    def admitted(_: int) -> list[bool]:
        found = []
        for number in range(rounds):
            barrier.wait()
            found.append(used.admit(f"{number}", 1.0 if number % 2 else -1.0))
        return found

    with ThreadPoolExecutor(threads) as pool:
        by_thread = [*pool.map(admitted, range(threads))]
    for number in range(1, rounds, 2):
        assert sum(one[number] for one in by_thread) == 1, number


@accepts("RS-55")
def test_threads_that_add_and_forget_at_once_hinder_no_other() -> None:
    threads, rounds, before = 4, 4000, sys.getswitchinterval()
    used, now, barrier = UsedProofs(time.monotonic), time.monotonic(), Barrier(threads)

    def admitted(thread: int) -> int:
        barrier.wait()
        return sum(used.admit(f"{thread} {one}", now + 0.001 * one) for one in range(rounds))

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            assert [*pool.map(admitted, range(threads))] == [rounds] * threads
    finally:
        sys.setswitchinterval(before)


# --- nonces and keys


@accepts("RS-56")
@refuses("RS-56")
def test_nonces_outlive_a_new_key_and_are_the_same_in_every_process() -> None:
    old, new = KeySet.generate("ES256"), KeySet.generate("ES256")
    both = KeySet((*new.keys, *old.keys))

    def shown(keys: KeySet) -> Shown:
        one = Shown(
            proofs=Proofs(urls=(API,)),
            routes=(),
            keys=keys,
            refresh=Refresh(store="memory://", cookies=None),
        )
        one.factory.keys = keys
        return one

    before, beside, after, stranger = shown(old), shown(old), shown(both), shown(new)
    nonce = before.ask().header("dpop-nonce")
    assert nonce == beside.ask().header("dpop-nonce")
    for one, status in ((before, 200), (beside, 200), (after, 200), (stranger, 401)):
        one.prover.nonce = nonce
        assert one.ask().status == status
    # One that knows the new key already says a nonce that the others don't know yet: they say
    # theirs, which it knows.
    newest = after.ask(nonce="x").header("dpop-nonce")
    assert newest != nonce
    before.prover.nonce = newest
    refused = before.ask()
    assert (refused.error, refused.header("dpop-nonce")) == ("use_dpop_nonce", nonce)


# --- what isn't a request


@accepts("RS-53")
def test_jobs_go_on_with_a_bound_token_that_was_let_in() -> None:
    shown = Shown()
    answer = shown.ask()
    assert answer.token is not None
    assert is_current(answer.token, shown.settings)


def test_a_check_of_the_applications_own_sees_bound_tokens() -> None:
    seen: list[str | None] = []

    def own(token: Any) -> bool:
        seen.append(token.bound_key)
        return True

    shown = Shown(checks=(own,))
    assert shown.ask().status == 200
    assert set(seen) == {shown.prover.thumbprint}


# --- settings


@accepts("RS-53")
def test_settings_are_copied_pickled_and_changed() -> None:
    secret = "n" * 8 + "QW3rT9zXc5vB7nM1kL2jH4gF6dS8aP0o"
    settings = Settings(
        issuer="https://login.example",
        audience=API,
        keys=KeySet.secret(secret),
        proofs=Proofs(secret=secret),
        refresh=Refresh(store="memory://"),
    )
    assert secret not in repr(settings)
    assert settings.proofs is not None
    for one in (copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
        assert one.proofs is not None
        assert (one.proofs.secret, one.proofs.access) == (
            settings.proofs.secret,
            False,
        )
        changed = one.replace(proofs__access=True)
        assert changed.proofs is not None
        assert changed.proofs.access
        assert changed.proofs.secret == one.proofs.secret


@refuses("RS-53")
@pytest.mark.parametrize(
    "change",
    [
        {"routes": (Route("/x", proof="required"),)},
        {
            "trusted_issuers": (
                TrustedIssuer(
                    issuer="https://other.example",
                    audience=API,
                    keys=KeySet.generate(),
                    proof="required",
                ),
            )
        },
    ],
)
def test_who_wants_proofs_without_taking_any_lets_nobody_in(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="proof"):
        TokenFactory().settings(**change)


def test_the_nonces_live_as_long_as_they_are_remembered() -> None:
    shown = Shown(proofs=Proofs(urls=(API,), secret="n" * 8 + "QW3rT9zXc5vB7nM1kL2jH4gF6dS8aP0o"))
    nonce = shown.ask().header("dpop-nonce")
    shown.prover.nonce = nonce
    token = shown.token(exp=int(NOW) + 5000)
    sent = fields([*shown.prover.headers("GET", "/", token).items()])
    assert shown.world.through_asgi("GET", "/", sent).status == 200
    shown.now += NONCE_LIFETIME - (NOW % 300) - 1
    assert shown.world.through_asgi("GET", "/", sent).reason == "proof_replayed"
    shown.now += 1
    assert shown.world.through_asgi("GET", "/", sent).reason == "proof_nonce"


def test_the_application_always_finds_the_key_of_a_login() -> None:
    for proofs in (None, Proofs(nonces=False)):
        for route in (
            Route("/login", public=True, own_origin=True),
            Route("/login", optional=True, own_origin=True),
        ):
            factory = TokenFactory()
            settings = factory.settings(
                routes=(route,), proofs=proofs, refresh=Refresh(store="memory://", cookies=None)
            )
            found: list[Any] = []

            def app(environ: Any, start_response: Any, found: list[Any] = found) -> list[bytes]:
                found.append(environ["jwt_middleware.proof"])
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b""]

            door, prover = JWTMiddleware(app, settings), Prover(factory.issuer)
            proof = prover.proof("POST", "/login").encode()
            for sent in ([], [("DPoP", proof)], fields([*factory.bearer().items()])):
                if sent and route.public and sent[0][0] != "DPoP":
                    continue
                assert by_wsgi(door, Sent("POST", "/login", sent))[0] == 200
            expected = None if proofs is None else prover.thumbprint
            assert found[0] is None
            assert (found[1] and found[1].thumbprint) == expected
            settings.close()


# --- step-up (RFC 9470)


@accepts("RS-58")
@pytest.mark.parametrize(
    ("route", "said"),
    [
        (Route("/pay", max_age=300), 'max_age="300"'),
        (Route("/pay", acr_values=("mfa",)), 'acr_values="mfa"'),
    ],
)
def test_a_bound_token_is_asked_to_step_up_in_its_scheme(route: Route, said: str) -> None:
    shown = Shown(routes=(route,))
    fresh = shown.token(auth_time=int(NOW) - 10, acr="mfa")
    assert shown.ask(path="/pay", token=fresh).status == 200
    stale = shown.token(auth_time=int(NOW) - 3600, acr="pwd")
    answer = shown.ask(path="/pay", token=stale)
    assert (answer.status, answer.error) == (401, "insufficient_user_authentication")
    first, _, second = answer.challenge.partition(", Bearer ")
    assert first.startswith('DPoP realm="api", error="insufficient_user_authentication"')
    assert said in first
    assert 'algs="ES256' in first
    assert second == 'realm="api"'
    bearer = shown.world.get("/pay", shown.factory.token(auth_time=int(NOW) - 3600, acr="pwd"))
    assert bearer.challenge.startswith('Bearer realm="api", error="insufficient_user')
    # A proof that isn't good is told before: what a route wants is for the token's holder.
    assert shown.ask(path="/pay", token=stale, ath="x").error == "invalid_dpop_proof"


@accepts("RS-58")
def test_where_only_bound_tokens_serve_the_step_up_names_no_other() -> None:
    shown = Shown(routes=(Route("/pay", max_age=300, proof="required"),))
    answer = shown.ask(path="/pay", token=shown.token(auth_time=int(NOW) - 3600))
    assert answer.error == "insufficient_user_authentication"
    assert answer.challenge.startswith("DPoP ")
    assert "Bearer" not in answer.challenge
    assert 'max_age="300"' in answer.challenge


def test_a_world_without_proofs_has_no_other_scheme() -> None:
    world = World(TokenFactory(clock=lambda: NOW).settings())
    assert "DPoP" not in world.get().challenge


# --- rules that stand beside a view


class Views:
    """An application whose one view has a rule of its own, under either interface."""

    def __init__(self, rule: Any) -> None:
        self.rule = rule

    def wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        refused = refusal(environ, self.rule)
        status = "200 OK" if refused is None else f"{refused.status} No"
        found = [("content-type", "text/plain")] if refused is None else [*refused.headers]
        start_response(status, found)
        return [b"in" if refused is None else refused.body]

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        refused = refusal(scope, self.rule)
        status, found, body = 200, [], b"in"
        if refused is not None:
            status, body = refused.status, refused.body
            found = [(name.encode(), value.encode()) for name, value in refused.headers]
        await send({"type": "http.response.start", "status": status, "headers": found})
        await send({"type": "http.response.body", "body": body})


@accepts("RS-58")
@pytest.mark.parametrize(
    ("rule", "status", "said"),
    [
        (view_rule("write"), 403, 'error="insufficient_scope"'),
        (view_rule(max_age=60), 401, 'max_age="60"'),
        (view_rule(acr_values=("mfa",)), 401, 'acr_values="mfa"'),
    ],
)
def test_a_rule_beside_a_view_refuses_in_the_scheme_of_the_token(
    rule: Any, status: int, said: str
) -> None:
    shown, views = Shown(routes=()), Views(rule)
    wsgi, asgi = (
        JWTMiddleware(views.wsgi, shown.settings),
        ASGIMiddleware(views.asgi, shown.settings),
    )
    fresh: dict[str, Any] = {"scope": "write", "auth_time": int(NOW), "acr": "mfa"}
    stale: dict[str, Any] = {"scope": "read"}
    for claims, expected in ((fresh, 200), (stale, status)):
        bound, bearer = shown.token(**claims), shown.factory.token(**claims)
        for is_bound in (True, False):
            answers = []
            for door in ("wsgi", "asgi"):
                made = (
                    shown.prover.headers("GET", "/", bound)
                    if is_bound
                    else {"Authorization": f"Bearer {bearer}"}
                )
                sent = Sent("GET", "/", fields([*made.items()]))
                answers.append(
                    by_wsgi(wsgi, sent) if door == "wsgi" else asyncio.run(by_asgi(asgi, sent))
                )
            assert [one[0] for one in answers] == [expected] * 2
            if expected != 200:
                challenges = [dict(one[1])["www-authenticate"] for one in answers]
                assert challenges[0] == challenges[1]
                schemes = ("DPoP", "Bearer") if is_bound else ("Bearer", "DPoP")
                assert challenges[0].startswith(f'{schemes[0]} realm="api", error=')
                assert said in challenges[0]
                assert f", {schemes[1]} realm=" in challenges[0]


@refuses("RS-53")
def test_a_socket_goes_on_with_no_bound_token_alone() -> None:
    shown = Shown(routes=())
    bound, bearer = shown.token(), shown.factory.token()
    said: list[Any] = []

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for text in (bound, f"DPoP {bound}", bound + "=", shown.token(), bearer):
            try:
                said.append((await renew(scope, text)).bound_key)
            except OAuthError as error:
                said.append(error.reason)

    app = ASGIMiddleware(echo, shown.settings)
    for made in (
        {"Authorization": f"Bearer {bearer}"},
        shown.prover.headers("GET", "/", bound),
    ):
        said.clear()
        asyncio.run(shake_hands(app, "/", [*made.items()]))
        assert said[0] == said[3] == "sender_constrained"
        assert said[4] is None
        assert len(said) == 5


@accepts("RS-50", "RS-55")
@refuses("RS-50", "RS-51", "RS-54", "RS-55")
def test_a_socket_goes_on_with_a_bound_token_and_its_proof() -> None:
    shown = Shown(routes=())
    thief, said = Shown().prover, []
    before, after = shown.token(), shown.token(jti="next")
    bearer, others = shown.factory.token(), shown.token(sub="bob")

    def proved(htu: str = f"{API}/socket", token: str = after, **claims: Any) -> str:
        return shown.prover.proof("GET", "/socket", token, htu=htu, **claims)

    once = proved(htu="wss://api.example/socket")
    tries = (
        (after, once),
        (after, once),
        (after, ""),
        (after, thief.proof("GET", "/socket", after)),
        (after, proved(htu=f"{API}/other")),
        (after, proved(token=before)),
        (after, proved(iat=int(NOW) - 600)),
        (after, shown.prover.proof("POST", "/socket", after)),
        (bearer, proved(token=bearer)),
        (others, proved(token=others)),
        (before, proved(token=before)),
    )

    async def renewing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for text, proof in tries:
            try:
                token = await renew(scope, text, proof=proof)
                assert scope["jwt_middleware.token"] == token
                said.append(token.claims["jti"])
            except OAuthError as error:
                said.append(error.reason)

    app = ASGIMiddleware(renewing, shown.settings)
    made = shown.prover.headers("GET", "/socket", before)
    asyncio.run(shake_hands(app, "/socket", [*made.items()]))
    first = said.pop()
    assert first not in ("next", "proof_replayed")
    assert said == [
        "next",
        "proof_replayed",
        "proof_malformed",
        "proof_by_another_key",
        "proof_of_another_url",
        "proof_of_another_token",
        "proof_too_old",
        "proof_of_another_method",
        "token_not_bound",
        "renewed_by_another_login",
    ]


@accepts("RS-56")
@refuses("RS-56")
def test_a_socket_is_told_the_nonce_that_its_next_proof_needs() -> None:
    shown = Shown(proofs=Proofs(urls=(API,), secret="n" * 8 + "QW3rT9zXc5vB7nM1kL2jH4gF6dS8aP0o"))
    shown.prover.nonce = shown.ask(path="/socket").header("dpop-nonce")
    token, renewed = shown.token(), []

    async def renewing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        shown.prover.nonce = None
        with pytest.raises(NonceNeeded) as told:
            await renew(scope, token, proof=shown.prover.proof("GET", "/socket", token))
        shown.prover.nonce = told.value.nonce
        proof = shown.prover.proof("GET", "/socket", token)
        renewed.append(await renew(scope, token, proof=proof))

    app = ASGIMiddleware(renewing, shown.settings)
    made = shown.prover.headers("GET", "/socket", token)
    asyncio.run(shake_hands(app, "/socket", [*made.items()]))
    assert renewed[0].bound_key == shown.prover.thumbprint


def test_wsgi_is_told_the_scheme_of_the_token() -> None:
    shown = Shown(routes=())
    inside = inside_asgi(lambda environ, start_response: [environ["AUTH_TYPE"].encode()])

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        assert inside({**environ}, start_response) == [environ["AUTH_TYPE"].encode()]
        return [environ["AUTH_TYPE"].encode()]

    door, bearer, bound = (
        JWTMiddleware(app, shown.settings),
        shown.factory.token(),
        shown.token(),
    )
    for _ in range(2):  # new, and known
        for made, scheme in (
            ({"Authorization": f"Bearer {bearer}"}, b"Bearer"),
            (shown.prover.headers("GET", "/", bound), b"DPoP"),
        ):
            assert by_wsgi(door, Sent("GET", "/", fields([*made.items()])))[2] == scheme
