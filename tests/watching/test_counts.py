"""What is counted: each request once, by rule, in cells that no request can add to."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable
from secrets import token_urlsafe
from threading import Thread
from typing import Any, cast, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware import (
    ConfigurationError,
    Cookies,
    EndGrant,
    KeySet,
    KeysUnavailable,
    Refresh,
    Route,
    Settings,
    TokenCache,
    TrustedIssuer,
    profiles,
)
from jwt_middleware.events import Event, Refreshed
from jwt_middleware.keys import Fetched
from jwt_middleware.process.measures import Totals
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values import metrics
from jwt_middleware.values.metrics import Counts
from tests.grant.former import flask_jwt, migration
from tests.issuing import (
    DOORS,
    FAULTY,
    AwaitedStore,
    FaultyStore,
    Site,
    opened,
    posted,
    refresh_form,
)
from tests.world import NOW, Sent, World, encoded

from .recording import Recorder

ROUTES = (
    Route("/login", public=True),
    Route("/news", optional=True),
    Route("/admin/*", scope="admin"),
    Route("/pay", methods=("GET", "POST"), max_age=60),
)
LET_IN, REFUSED = "requests.let_in", "requests.refused"


class Watched:
    """A world whose requests are counted; each goes through both doors."""

    def __init__(self, **settings: Any) -> None:
        self.recorder = Recorder()
        self.factory = TokenFactory(clock=lambda: NOW)
        given: dict[str, Any] = {"routes": ROUTES, "metrics": self.recorder}
        self.world = World(self.factory.settings(**(given | settings)))

    def counts(self) -> dict[str, dict[tuple[str, ...], float]]:
        return self.recorder.counts()


def test_a_known_token_is_told_from_a_new_one_by_rule() -> None:
    watched = Watched()
    token = watched.factory.token(scope="admin", auth_time=int(NOW))
    for path in ("/items", "/items/1", "/admin/users", "/admin", "/pay"):
        assert watched.world.get(path, token).status == 200
    # It is new once in each door: one has it as text, the other as octets.
    assert watched.counts()[LET_IN] == {
        ("other", "new"): 2,
        ("other", "known"): 2,
        ("/admin/*", "known"): 4,
        ("GET,POST /pay", "known"): 2,
    }


def test_without_rules_all_are_one() -> None:
    watched = Watched(routes=())
    token = watched.factory.token()
    watched.world.get("/", token)
    watched.world.get("//odd", token)
    assert watched.counts()[LET_IN] == {("other", "new"): 2, ("other", "known"): 2}


@pytest.mark.parametrize(
    ("cache", "new"), [(TokenCache(entries=0), 4), (TokenCache(hashed=True), 1)]
)
def test_what_isnt_kept_is_always_new(cache: TokenCache, new: int) -> None:
    watched = Watched(token_cache=cache)
    token = watched.factory.token()
    watched.world.get("/", token)
    watched.world.get("/", token)
    # By its digest, a token is the same in both doors.
    known = {("other", "known"): 4 - new} if new < 4 else {}
    assert watched.counts()[LET_IN] == {("other", "new"): new, **known}
    assert watched.recorder.gauges().get("tokens.known", {}) == ({(): 1} if known else {})


def test_requests_without_a_token_count_where_they_may_pass() -> None:
    watched = Watched()
    watched.world.get("/login", watched.factory.token())  # it isn't read there
    watched.world.get("/news")
    watched.world.get("/news", watched.factory.token())
    assert watched.counts()[LET_IN] == {
        ("/login", "none"): 2,
        ("/news", "none"): 2,
        ("/news", "new"): 2,
    }
    assert REFUSED not in watched.counts()


def test_refusals_count_by_rule_and_reason() -> None:
    watched = Watched()
    known, expired = watched.factory.token(), watched.factory.token(exp=NOW - 60)
    watched.world.get("/x", known)
    watched.world.get("/admin/users", known)
    watched.world.get("/admin//users", known)
    watched.world.get("/x")
    watched.world.get("/x/y/z", expired)
    assert watched.counts()[REFUSED] == {
        ("/admin/*", "scope_insufficient"): 2,
        ("/admin/*", "path_odd"): 2,
        ("other", "credentials_missing"): 2,
        ("other", "expired"): 2,
    }
    assert watched.counts()["events"] == {("refused",): 8}


def test_a_known_token_whose_grant_has_ended_is_refused_and_not_let_in() -> None:
    recorder = Recorder()
    with opened(DOORS, metrics=recorder) as world:
        for number, site in enumerate(world.sites, 1):
            tokens = site.ask("issue", "alice")
            for _ in range(2):
                assert site.send(_get("/", tokens)).status == 200
            assert site.ask("revoke", tokens.grant_id)
            assert site.send(_get("/", tokens)).status == 401
            counts = recorder.counts()
            assert sum(counts[LET_IN].values()) == 2 * number
            assert counts[REFUSED] == {("other", "grant_ended"): number}


def _get(path: str, tokens: Any) -> Sent:
    return Sent("GET", path, encoded([], tokens.access_token))


def test_a_token_in_a_cookie_counts_as_well() -> None:
    recorder = Recorder()
    cookies = Cookies(access=True)
    with opened(DOORS[:1], metrics=recorder, refresh={"cookies": cookies}) as world:
        for site in world.sites:
            tokens = site.ask("issue", "alice")
            cookie = "; ".join(one.split(";")[0] for _, one in tokens.cookies)
            for _ in range(3):
                assert site.send(Sent("GET", "/", encoded([("Cookie", cookie)], None))).reached
    assert recorder.counts()[LET_IN] == {("other", "new"): 1, ("other", "known"): 2}


def test_an_old_cookie_on_a_page_for_all_is_no_token() -> None:
    recorder = Recorder()
    with opened(
        DOORS[:1],
        metrics=recorder,
        routes=(Route("/", optional=True),),
        refresh={"cookies": Cookies(access=True, forms=True)},
    ) as world:
        for site in world.sites:
            tokens = site.ask("issue", "alice")
            cookie = "; ".join(one.split(";")[0] for _, one in tokens.cookies)
            world.clock.forward(900)
            assert site.send(Sent("GET", "/", encoded([("Cookie", cookie)], None))).reached
    assert recorder.counts()[LET_IN] == {("/", "none"): 1}


def test_our_own_endpoints_are_named_and_their_users_arent_counted() -> None:
    recorder = Recorder()
    with opened(DOORS, metrics=recorder, refresh={"sessions": True}) as world:
        for site in world.sites:
            tokens = site.ask("issue", "alice")
            assert site.send(_get("/auth/sessions", tokens)).status == 200
            assert site.send(_get("/auth/sessions/no-such", tokens)).status in (404, 405)
            assert site.send(Sent("GET", "/auth/refresh")).status == 405
            assert site.send(Sent("DELETE", "/.well-known/jwks.json")).status == 405
    counts = recorder.counts()
    assert LET_IN not in counts
    assert {rule for rule, _ in counts[REFUSED]} == {
        "/auth/refresh",
        "/auth/sessions/*",
        "/.well-known/jwks.json",
    }


def test_the_rotation_rules_outcomes_and_ends_are_counted() -> None:
    recorder = Recorder()

    left: set[str] = set()

    def claims_for(grant: Any) -> dict[str, Any]:
        if grant.subject in left:
            raise EndGrant("employee left")
        return {}

    limits = {"settle": 0, "claims_for": claims_for, "grants_per_subject": 1}
    with opened(DOORS[:1], metrics=recorder, refresh=limits) as world:
        for site in world.sites:
            first = site.ask("issue", "alice")
            world.clock.forward(1)
            second = _refreshed(site, first.refresh_token)
            assert _refreshed(site, first.refresh_token) is not None  # the answer was lost
            world.clock.forward(1)
            _refreshed(site, second)
            world.clock.forward(1)
            assert _refreshed(site, first.refresh_token) is None  # a thief
            carol = site.ask("issue", "carol")
            site.ask("issue", "carol")  # takes the room of the other
            assert _refreshed(site, carol.refresh_token) is None
            bob = site.ask("issue", "bob")
            left.add("bob")
            assert _refreshed(site, bob.refresh_token) is None
            site.ask("revoke", site.ask("issue", "dave").grant_id, reason="logout")
    counts = recorder.counts()
    assert counts["refreshes"] == {("rotated",): 2, ("repeated",): 1, ("reused",): 1}
    assert counts["grants.ended"] == {
        ("reused",): 1,
        ("room",): 1,
        ("other",): 1,
        ("logout",): 1,
    }
    assert counts["events"] == {
        ("issued",): 5,
        ("refreshed",): 3,
        ("reused",): 1,
        ("refused",): 3,
        ("revoked",): 2,
    }


def _refreshed(site: Site, token: str | None) -> str | None:
    answer = site.send(posted("/auth/refresh", _form(str(token))))
    return answer.json.get("refresh_token") if answer.status == 200 else None


def _form(token: str) -> bytes:
    from tests.issuing import form_octets

    return form_octets(refresh_form(token))


def test_a_token_of_a_former_library_is_counted_and_its_counter_begins_at_zero() -> None:
    for door in DOORS:
        recorder = Recorder()
        with opened((door,), metrics=recorder, refresh={"migrate": migration()}) as world:
            (site,) = world.sites
            assert recorder.counts(zeros=True)["refreshes"][("migrated",)] == 0
            assert _refreshed(site, flask_jwt("refresh")) is not None
            assert recorder.counts()["refreshes"] == {("migrated",): 1}
            assert _refreshed(site, flask_jwt("refresh")) is not None  # the answer was lost
            assert recorder.counts()["refreshes"] == {("migrated",): 1, ("repeated",): 1}
        outcomes = {outcome for (outcome,) in recorder.counts(zeros=True)["refreshes"]}
        assert outcomes == {*metrics.OUTCOMES}


def test_each_way_to_be_refreshed_is_an_outcome() -> None:
    assert {*get_args(get_type_hints(Refreshed)["how"])} < {*metrics.OUTCOMES}


def test_each_call_of_the_store_is_timed_with_its_outcome() -> None:
    recorder = Recorder()
    with opened(FAULTY, metrics=recorder) as world:
        for site in world.sites:
            recorder.observed.clear()
            recorder.spans.clear()
            tokens = site.ask("issue", "alice")
            store: FaultyStore = site.store
            store.fails = {"advance"}
            assert site.send(posted("/auth/refresh", _form(tokens.refresh_token))).status == 503
            assert recorder.observed.count(("jwt_middleware.store.duration", ("add", "ok"))) == 1
            failed = ("jwt_middleware.store.duration", ("advance", "failed"))
            assert recorder.observed.count(failed) == 1
            names = [(name, error) for name, _, error in recorder.spans]
            assert ("jwt_middleware.store add", "") in names
            assert ("jwt_middleware.store advance", "StoreUnavailable") in names
            # What is asked for all requests belongs to no trace.
            assert site.send(_get("/", tokens)).status == 200
            verbs = {verb for _, (verb, _) in recorder.observed}
            assert "ended" in verbs
            assert not any(name.endswith(" ended") for name, _, _ in recorder.spans)
            assert recorder.gauges()["feed.synced_timestamp"] == {(): world.clock.now}


def test_a_cancelled_call_is_neither_good_nor_failed() -> None:
    class Slow(AwaitedStore):
        async def advance(self, *args: Any) -> Any:
            called.set()
            await asyncio.sleep(60)

    called, recorder = asyncio.Event(), Recorder()
    with opened((("asgi", Slow),), metrics=recorder) as world:
        for site in world.sites:
            tokens = site.ask("issue", "alice")
            sent = posted("/auth/refresh", _form(tokens.refresh_token))

            async def given_up(site: Site = site, sent: Sent = sent) -> None:
                from tests.world import by_asgi

                task = asyncio.create_task(by_asgi(site.asgi, sent))
                await called.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

            site.runner.run(given_up())
    assert ("jwt_middleware.store.duration", ("advance", "broken_off")) in recorder.observed


# --- keys


class Keys:
    """A fetcher that serves a key set, or fails."""

    def __init__(self, factory: TokenFactory) -> None:
        self.body = json.dumps(factory.settings().keys.public_jwks()).encode()
        self.fails = False

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        if self.fails:
            raise KeysUnavailable("down")
        return Fetched(200, self.body, "", url)


def test_fetches_are_counted_by_configured_issuer_and_strangers_together() -> None:
    recorder = Recorder()
    own, partner, tenant = (TokenFactory(issuer=f"https://{name}.example") for name in "abc")

    def trusted(factory: TokenFactory) -> TrustedIssuer:
        return TrustedIssuer(
            issuer=factory.issuer, audience=factory.audience, keys=KeySet.remote(
                "https://keys.example/jwks", fetcher=Keys(factory))
        )  # fmt: skip

    settings = own.settings(
        trusted_issuers=(trusted(partner),),
        issuer_for=lambda name: trusted(tenant) if name == tenant.issuer else None,
        metrics=recorder,
    )
    world = World(settings)
    for factory in (own, partner, tenant):
        assert world.get("/", factory.token()).status == 200
    for number in range(20):
        stranger = TokenFactory(issuer=f"https://{number}.example")
        assert world.get("/", stranger.token()).status == 401
    counts = recorder.counts()
    assert counts["keys.fetches"] == {(partner.issuer, "ok"): 1, ("others", "ok"): 1}
    assert set(recorder.gauges()["keys.fetched_timestamp"]) == {(partner.issuer,), ("others",)}
    spans = [attributes["jwt_middleware.issuer"] for _, attributes, _ in recorder.spans]
    assert spans == [partner.issuer, "others"]


def test_a_failed_fetch_is_counted_and_no_time_is_made_up() -> None:
    recorder = Recorder()
    factory = TokenFactory()
    keys = Keys(factory)
    keys.fails = True
    settings = factory.settings(
        keys=KeySet.remote("https://keys.example/jwks", fetcher=keys), metrics=recorder
    )
    assert World(settings).get("/", factory.token()).status == 503
    assert recorder.counts()["keys.fetches"] == {(factory.issuer, "failed"): 1}
    assert "keys.fetched_timestamp" not in recorder.gauges()
    assert recorder.spans[0][2] == "KeysUnavailable"


# --- the table is closed


def _table(settings: Settings) -> set[tuple[str, ...]]:
    """Return every series that these settings can ever have, as the documentation says."""
    rules = {"other"} | {
        " ".join(filter(None, (",".join(one.methods), one.path))) for one in settings.routes
    }
    ours = {"/auth/refresh", "/auth/revoke", "/auth/sessions/*", "/.well-known/jwks.json"}
    reasons = metrics.REASONS | {"other"}
    events = {one.name for one in get_args(Event)}
    return {
        *((LET_IN, rule, token) for rule in rules for token in ("known", "new", "none")),
        *((REFUSED, rule, reason) for rule in rules | ours for reason in reasons),
        *(("events", name) for name in events),
        *(("refreshes", name) for name in metrics.OUTCOMES),
        *(("grants.ended", name) for name in metrics.END_REASONS),
        *(
            ("keys.fetches", name, outcome)
            for name in (settings.issuer, "others")
            for outcome in ("ok", "failed")
        ),
    }


FACTORY = TokenFactory(clock=lambda: NOW)
RECORDER = Recorder()
WORLD = World(
    FACTORY.settings(
        routes=ROUTES,
        metrics=RECORDER,
        issuer_for=lambda name: None,
        refresh=Refresh(store="memory://", sessions=True),
    )
)
_text = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)
_paths = st.one_of(
    st.builds(lambda base, more: base + more, st.sampled_from(
        ["/", "/login", "/news", "/admin/", "/pay", "/auth/refresh", "/auth/sessions/", "//", ""]
    ), _text),
)  # fmt: skip
_claims = st.fixed_dictionaries(
    {}, optional={"iss": _text, "sub": _text, "scope": _text, "sid": _text, "client_id": _text}
)
_tokens = st.one_of(
    st.none(),
    _text,
    _claims.map(lambda claims: FACTORY.token(**cast("dict[str, Any]", claims))),
)


@given(st.sampled_from(["GET", "POST", "DELETE", "BREW", "get"]), _paths, _tokens, st.data())
def test_no_request_and_no_token_makes_a_series_outside_the_table(
    method: str, path: str, token: str | None, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["Cookie", "Origin", "Host", "User-Agent"]))
    sent = encoded([(name, data.draw(_text).encode("latin-1"))], token)
    WORLD.through_wsgi(method, path, sent)
    WORLD.through_asgi(method, path, sent)
    assert _series() <= _table(WORLD.settings)


PLAIN = World(FACTORY.settings(routes=ROUTES, refresh=Refresh(store="memory://", sessions=True)))
KNOWN = [FACTORY.token(), FACTORY.token(scope="admin", auth_time=int(NOW))]


@given(st.sampled_from(["GET", "POST", "get"]), _paths, st.sampled_from(KNOWN))
def test_counting_changes_no_decision(method: str, path: str, token: str) -> None:
    sent = encoded([], token)
    for door in ("through_wsgi", "through_asgi"):
        counted, plain = (getattr(one, door)(method, path, sent) for one in (WORLD, PLAIN))
        assert counted == plain
        assert counted.reason == plain.reason


def test_a_clock_that_fails_shows_no_token() -> None:
    def clock() -> float:
        if fails:
            raise OSError("no clock")
        return NOW

    fails: list[bool] = []
    factory = TokenFactory(clock=clock)
    settings = factory.settings(metrics=Recorder(), routes=ROUTES, clock=clock)
    world = World(settings)
    token = factory.token()
    world.get("/items", token)
    warm = world.wsgi._core.warm
    assert warm("GET", "/items", f"Bearer {token}") is not None
    fails.append(True)
    with pytest.raises(OSError, match="no clock") as raised:
        warm("GET", "/items", f"Bearer {token}")
    frame = raised.traceback[1:]  # ours: the first is this test's
    shown = [repr(one.frame.f_locals) for one in frame]
    assert len(shown) == 3
    assert not any(token in one for one in shown)


def test_no_attack_makes_a_series_outside_the_table() -> None:
    for attack in FACTORY.attacks():
        sent = [(name, value.encode("latin-1")) for name, value in attack.headers]
        WORLD.through_wsgi(attack.method, attack.path or "/", sent)
        WORLD.through_asgi(attack.method, attack.path or "/", sent)
    assert _series() <= _table(WORLD.settings)
    assert len([one for one in _series() if one[0] == REFUSED]) > 10


def _series() -> set[tuple[str, ...]]:
    return {
        (instrument, *labels)
        for instrument, by_labels in RECORDER.counts(zeros=True).items()
        for labels in by_labels
    }


def test_a_reason_in_other_words_is_other() -> None:
    counts = Counts((), (), (), lambda: None)
    counts.refused("other", "made up by an application")
    assert [labels for one, labels, number in counts.read() if number] == [("other", "other")]


def test_all_that_has_few_series_begins_at_zero() -> None:
    watched = Watched()
    zeros = watched.recorder.counts(zeros=True)
    assert zeros["events"].keys() == {(one.name,) for one in get_args(Event)}
    assert zeros[LET_IN].keys() == {
        (rule, token)
        for rule in ("other", "/login", "/news", "/admin/*", "GET,POST /pay")
        for token in ("known", "new", "none")
    }
    assert REFUSED not in zeros


# --- the setting


def test_without_metrics_nothing_is_measured() -> None:
    factory = TokenFactory()
    runtime = Runtime.of(factory.settings())
    assert runtime.measures is None
    warm: Any = runtime.core(asynchronous=False).warm
    assert warm.__qualname__ == "warm_path.<locals>.warm"  # no function around it


def test_metrics_are_one_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    factory, one, two = TokenFactory(), Recorder(), Recorder()
    assert factory.settings(metrics=one).metrics == (one,)
    world = World(factory.settings(metrics=[one, two]))
    world.get("/", factory.token())
    assert one.counts() == two.counts() != {}
    world.settings.close()
    assert one.is_closed


@pytest.mark.parametrize("wrong", ["prometheus", 1, Recorder, (Recorder(), object())])
def test_what_takes_no_metrics_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"metrics.*Prometheus"):
        TokenFactory().settings(metrics=wrong)


# --- sums


def test_totals_of_several_settings_never_fall() -> None:
    totals = Totals()
    first, second = Counts(("other",), (), (), lambda: None), Counts((), (), (), lambda: None)

    class Source:
        def __init__(self, counts: Counts) -> None:
            self.counts: Callable[[], Any] = counts.read

        def gauges(self) -> list[Any]:
            return [(metrics.KNOWN, (), 2.0), (metrics.SYNCED, (), NOW)]

    kept, gone = Source(first), Source(second)
    totals.add(kept)
    totals.add(gone)
    first.refused("other", "expired")
    second.refused("other", "expired")
    key = metrics.REFUSED, ("other", "expired")
    assert totals.totals()[key] == 2
    assert totals.gauges() == {(metrics.KNOWN, ()): 4.0, (metrics.SYNCED, ()): NOW}
    del gone
    assert totals.totals()[key] == 2
    totals.forget()
    first.refused("other", "expired")
    assert totals.totals()[key] == 1


def test_threads_lose_no_count() -> None:
    counts = Counts((), (), (), lambda: None)
    add = counts.adder(metrics.LET_IN, "other", "known")

    def adding() -> None:
        for _ in range(20_000):
            add()

    threads = [Thread(target=adding) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [number for _, _, number in counts.read() if number] == [80_000]


def test_settings_with_metrics_are_pickled() -> None:
    from jwt_middleware.prometheus import Prometheus

    settings = TokenFactory().settings(keys=KeySet.secret(token_urlsafe(64)), metrics=Prometheus())
    again: Settings = pickle.loads(pickle.dumps(settings))
    assert [type(one) for one in cast(Any, again.metrics)] == [Prometheus]
    assert again.profile == profiles.RFC_9068
