"""The application's own door: logins begin grants, hooks fill tokens, revocations end them."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
import pprint
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient as FastAPIClient
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route as StarletteRoute
from starlette.testclient import TestClient

from jwt_middleware import (
    ConfigurationError,
    EndGrant,
    Grant,
    Issuer,
    KeySet,
    Settings,
    StoreUnavailable,
    Tokens,
)
from jwt_middleware.jose.jws import MAX_TOKEN
from jwt_middleware.values.events import Issued, Refused, Revoked
from tests.grant.test_rt_exchange import claims_of
from tests.issuing import (
    AUDIENCE,
    DAY,
    DOORS,
    FAULTY,
    HOUR,
    ISSUER,
    KEYS,
    LASTS,
    MINUTE,
    Clock,
    Kind,
    Site,
    World,
    memory,
    opened,
    single,
)
from tests.rules import accepts, refuses

IN_MEMORY: Kind = ("wsgi", memory)


@pytest.fixture
def site() -> Iterator[Site]:
    with single(IN_MEMORY) as one:
        yield one


def grants(world: World, subject: str = "alice") -> tuple[Grant, ...]:
    found: tuple[Grant, ...] = world.each(lambda site: site.ask("grants", subject))
    return found


# --- issue


def test_a_login_gives_the_members_of_rfc_6749(world: World) -> None:
    tokens = world.login(scope="read write")
    assert list(tokens) == [
        *("access_token", "token_type", "expires_in", "refresh_token"),
        *("refresh_token_expires_in", "refresh_token_timeout", "authorization_expires_in", "scope"),
    ]
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", "read write")
    assert type(tokens["expires_in"]) is int
    assert tokens["access_token"] == tokens.access_token
    assert tokens["refresh_token"] == tokens.refresh_token
    claims = claims_of(tokens.access_token)
    assert claims["sid"] == tokens.grant_id
    assert claims["exp"] == world.clock.now + tokens["expires_in"]
    assert (claims["iss"], claims["aud"], claims["sub"]) == (ISSUER, AUDIENCE, "alice")
    assert (claims["client_id"], claims["auth_time"]) == ("first-party", world.clock.now)
    answer = world.call(tokens.access_token)
    assert (answer.user, answer.token and answer.token.grant_id) == ("alice", tokens.grant_id)


def test_every_verb_and_its_twin_do_the_same(world: World) -> None:
    one, other = world.login(), world.login()
    assert [grant.id for grant in grants(world)] == [other.grant_id, one.grant_id]
    assert world.each(lambda site: site.ask("revoke", one.grant_id)) is True
    assert world.each(lambda site: site.ask("revoke", one.grant_id)) is False
    assert world.each(lambda site: site.ask("revoke", "unknown")) is False
    assert world.revoke_all("alice") == (other.grant_id,)
    assert world.revoke_all("alice") == ()
    assert grants(world) == ()
    revoked = [event for event in world.events if isinstance(event, Revoked)]
    assert [event.grant_ids for event in revoked] == [(one.grant_id,), (other.grant_id,)]


@pytest.mark.parametrize(
    ("verb", "given", "way"),
    [
        ("revoke", 5, "grant_id: must be text, not int: tokens.grant_id"),
        ("revoke_all", 5, r"subject: must be text, not int: str\(user.id\)"),
        ("grants", 5, r"subject: must be text, not int: str\(user.id\)"),
    ],
)
def test_what_can_be_no_name_finds_nothing_and_says_so(
    site: Site, verb: str, given: Any, way: str
) -> None:
    with pytest.raises(ValueError, match=way):
        site.ask(verb, given)


def test_reasons_are_kept_with_the_grant(world: World) -> None:
    first, second = world.login(), world.login()
    world.each(lambda site: site.ask("revoke", first.grant_id, reason="device lost"))
    world.each(lambda site: site.ask("revoke_all", "alice", reason="password changed"))
    assert world.row(first.grant_id).end_reason == "device lost"
    assert world.row(second.grant_id).end_reason == "password changed"


def test_an_issuer_needs_settings_that_issue() -> None:
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, keys=KEYS)
    with pytest.raises(ConfigurationError, match=r"refresh: is None"):
        Issuer(settings)


LOOP: dict[str, Any] = {}
LOOP["itself"] = LOOP
BAD: dict[str, dict[str, Any]] = {
    "no subject": {"subject": ""},
    "a subject that is no text": {"subject": 5},
    "a subject with a line break": {"subject": "alice\nroot"},
    "a subject that nobody can see": {"subject": "alice\u200b"},
    "a lone surrogate": {"subject": "alice\ud800"},
    "the client's name": {"subject": "first-party"},
    "this client's name": {"subject": "mobile", "client_id": "mobile"},
    "a client that is no text": {"client_id": 5},
    "a client with a line break": {"client_id": "a\r\nb"},
    "a scope that is no text": {"scope": ["read"]},
    "a scope with two spaces": {"scope": "read  write"},
    "a scope with quotes": {"scope": 'read "write"'},
    "a scope with a tab": {"scope": "read\twrite"},
    "claims that are no mapping": {"claims": 5},
    "claims that are a list": {"claims": ["sub"]},
    "claims with a set": {"claims": {"roles": {"editor"}}},
    "claims that are not a number": {"claims": {"x": float("nan")}},
    "claims that refer to themselves": {"claims": LOOP},
    "claims with a lone surrogate": {"claims": {"name": "\ud800"}},
    "claims that are too deep": {"claims": json.loads('{"a":' * 40 + "1" + "}" * 40)},
    "claims that are too large": {"claims": {"picture": "x" * MAX_TOKEN}},
    **{f"the claim {name}": {"claims": {name: "x"}} for name in ("iss", "sub", "aud", "exp")},
    **{f"the claim {name}": {"claims": {name: 1}} for name in ("nbf", "iat", "jti", "client_id")},
    **{f"the claim {name}": {"claims": {name: {}}} for name in ("scope", "sid", "cnf")},
    "a reserved claim in pairs": {"claims": [("sub", "root")]},
}


@refuses("RT-05")
@pytest.mark.parametrize("given", BAD.values(), ids=BAD)
def test_what_cannot_be_issued_is_a_value_error_and_changes_nothing(
    given: dict[str, Any],
) -> None:
    with opened(FAULTY) as world:

        def issue(site: Site) -> str:
            with pytest.raises(ValueError, match=r"^(subject|client_id|scope|claims): ") as raised:
                site.ask("issue", given.get("subject", "alice"), **options)
            return str(raised.value)

        options = {name: value for name, value in given.items() if name != "subject"}
        world.each(lambda site: site.store.calls.clear())
        message = world.each(issue)
        assert "root" not in message
        assert world.each(lambda site: list(site.store.calls)) == []
        assert world.events == []


GOOD: dict[str, dict[str, Any]] = {
    "an address": {"subject": "alice@example.org"},
    "letters of the world": {"subject": "Zoë 李"},
    "a number as text": {"subject": "4711"},
    "another client": {"client_id": "mobile app"},
    "no scope": {"scope": ""},
    "many scopes": {"scope": "read write urn:x:y https://api.example/z"},
    "claims of every kind": {"claims": {"a": [1, 2.5, None, True, {"b": "ü"}], "": ""}},
    "when the user authenticated": {"claims": {"auth_time": 1}},
    "nearly too much": {"claims": {"picture": "x" * 5000}},
}


@accepts("RT-05")
@pytest.mark.parametrize("given", GOOD.values(), ids=GOOD)
def test_what_can_be_issued_comes_back_from_the_token(world: World, given: dict[str, Any]) -> None:
    options = {name: value for name, value in given.items() if name != "subject"}
    tokens = world.login(given.get("subject", "alice"), **options)
    answer = world.call(tokens.access_token)
    assert answer.status == 200
    token = answer.token
    assert token is not None
    assert token.subject == given.get("subject", "alice")
    assert token.scope == given.get("scope", "")
    assert token.client_id == given.get("client_id", "first-party")
    claims = json.loads(json.dumps(token.claims))
    for name, value in given.get("claims", {}).items():
        assert claims[name] == value


def test_claims_that_are_changed_later_change_nothing(world: World) -> None:
    roles = ["reader"]
    claims = {"roles": roles}
    tokens = world.login(claims=claims)
    roles.append("admin")
    claims["sub"] = roles
    world.clock.forward(HOUR)
    found = claims_of(world.renewed(tokens.refresh_token)["access_token"])
    assert (found["roles"], found["sub"]) == (["reader"], "alice")


def test_claims_given_at_a_login_last_as_long_as_the_grant(world: World) -> None:
    token = world.login(claims={"tenant": "t1"}).refresh_token
    for _ in range(3):
        world.clock.forward(HOUR)
        found = world.renewed(token)
        token = found["refresh_token"]
        assert claims_of(found["access_token"])["tenant"] == "t1"


# --- lifetimes


def test_lifetimes_are_shortened_by_up_to_five_percent(site: Site) -> None:
    # A fleet that logged in together must not refresh together.
    lives = [site.issuer.issue(f"user {number}")["expires_in"] for number in range(200)]
    assert min(lives) >= 570
    assert max(lives) <= 600
    assert len(set(lives)) > 15


@accepts("RT-09")
@refuses("RT-09")
def test_no_access_token_outlives_its_grant() -> None:
    limits = {"absolute_limit": HOUR, "idle_limit": HOUR, "access_lifetime": 1800}
    with opened(refresh=limits) as world:
        tokens = world.login()
        end = world.clock.now + HOUR
        assert world.row(tokens.grant_id).expires_at == end
        token = tokens.refresh_token
        for left in (10 * MINUTE, MINUTE, 1):
            world.clock.now = end - left
            found = world.renewed(token)
            token = found.get("refresh_token", token)
            assert claims_of(found["access_token"])["exp"] <= end
            assert 0 <= found["expires_in"] <= left
        world.clock.now = end
        assert world.refresh(token).reason == "expired"
        assert grants(world) == ()


@refuses("RT-10")
def test_an_idle_grant_still_stands_among_the_users_until_its_absolute_end(world: World) -> None:
    tokens = world.login()
    world.clock.forward(8 * DAY)
    assert world.refresh(tokens.refresh_token).reason == "grant_ended"
    assert [one.id for one in grants(world)] == [tokens.grant_id]
    world.clock.forward(23 * DAY)
    assert grants(world) == ()


# --- devices


@accepts("RT-25")
def test_devices_stand_side_by_side_and_the_oldest_makes_room() -> None:
    with opened(refresh={"grants_per_subject": 3}) as world:
        devices = []
        for number in range(5):
            world.clock.forward(MINUTE)
            devices.append(world.login(scope=f"device{number}"))
        other = world.login("bob")
        assert [one.scope for one in grants(world)] == ["device4", "device3", "device2"]
        for tokens in devices[:2]:
            assert world.row(tokens.grant_id).end_reason == "limit"
            assert world.call(tokens.access_token).reason == "grant_ended"
            assert world.refresh(tokens.refresh_token).reason == "grant_ended"
        for tokens in (*devices[2:], other):
            assert world.call(tokens.access_token).status == 200
        issued = [event for event in world.events if isinstance(event, Issued)]
        assert [event.ended for event in issued] == [
            (),
            (),
            (),
            (devices[0].grant_id,),
            (devices[1].grant_id,),
            (),
        ]


def test_what_has_ended_takes_no_room() -> None:
    with opened(refresh={"grants_per_subject": 2}) as world:
        first, second = world.login(), world.login()
        world.each(lambda site: site.ask("revoke", second.grant_id))
        third = world.login(replaces=first.refresh_token)
        fourth = world.login()
        assert {one.id for one in grants(world)} == {third.grant_id, fourth.grant_id}


def test_a_grant_says_what_a_list_of_devices_needs_and_nothing_to_present(world: World) -> None:
    tokens = world.login(scope="read", client_id="mobile", claims={"device": "phone"})
    world.clock.forward(HOUR)
    world.renewed(tokens.refresh_token)
    (grant,) = grants(world)
    assert (grant.id, grant.subject, grant.client_id) == (tokens.grant_id, "alice", "mobile")
    assert (grant.claims, grant.scope) == ({"device": "phone"}, "read")
    assert (grant.created_at, grant.rotated_at) == (world.clock.now - HOUR, world.clock.now)
    shown = repr(grant)
    assert "alice" not in shown
    assert "phone" not in shown


# --- replaces


def test_a_login_replaces_what_the_browser_still_held(world: World) -> None:
    old, other = world.login(), world.login("bob")
    new = world.login(replaces=old.refresh_token)
    assert world.refresh(old.refresh_token).reason == "grant_ended"
    assert world.call(old.access_token).reason == "grant_ended"
    assert world.call(new.access_token).status == 200
    # A shared computer: whoever was logged in is out, and be it another user.
    bob = world.login("carol", replaces=other.refresh_token)
    assert world.call(other.access_token).reason == "grant_ended"
    assert world.call(bob.access_token).user == "carol"


@pytest.mark.parametrize("what", ["", "x", "..", "x" * 9000, "é", None])
def test_what_replaces_nothing_is_no_error(world: World, what: str | None) -> None:
    held = world.login()
    assert world.call(world.login(replaces=what).access_token).status == 200
    world.login(replaces=held.access_token)  # opens nothing here
    assert world.is_alive(held.grant_id)


def test_where_the_store_fails_there_is_no_grant() -> None:
    with opened(FAULTY) as world:
        old = world.login()

        def fails(site: Site, *verbs: str) -> None:
            site.store.fails = set(verbs)

        def issue(site: Site) -> str:
            with pytest.raises(StoreUnavailable) as raised:
                site.ask("issue", "alice", replaces=old.refresh_token)
            return str(raised.value)

        world.each(lambda site: fails(site, "end"))
        world.each(issue)
        assert world.is_alive(old.grant_id)
        world.each(lambda site: fails(site, "add"))
        world.each(issue)
        world.each(fails)
        assert [one.id for one in grants(world)] in ([], [old.grant_id])


def test_nobodys_login_fails_because_old_rows_cannot_be_forgotten() -> None:
    with opened(FAULTY) as world:
        world.each(lambda site: site.store.fails.add("purge"))
        tokens = world.login()
        assert world.call(tokens.access_token).status == 200


def test_old_rows_are_forgotten_by_logins() -> None:
    limits = {"absolute_limit": HOUR, "idle_limit": HOUR}
    with opened(FAULTY, refresh=limits) as world:
        for _ in range(30):
            world.login()
            world.clock.forward(20 * MINUTE)

        def rows(site: Site) -> int:
            return len(site.store._store._grants)

        # Three of the last hour, and those that await their turn.
        assert world.each(rows) <= 8
        assert world.each(lambda site: site.store.calls.count("purge")) == 30


# --- the hook


class Directory:
    """An application's users, whose roles change."""

    def __init__(self) -> None:
        self.answer: Any = {"roles": ["editor"]}
        self.seen: list[Grant] = []

    def claims_for(self, grant: Grant) -> Any:
        self.seen.append(grant)
        if isinstance(self.answer, Exception):
            raise self.answer.with_traceback(None)
        return self.answer


@pytest.fixture
def users() -> Directory:
    return Directory()


@pytest.fixture
def hooked(users: Directory) -> Iterator[World]:
    with opened(refresh={"claims_for": users.claims_for}) as one:
        yield one


@accepts("RT-16")
def test_the_hook_fills_the_first_token_and_every_other(hooked: World, users: Directory) -> None:
    tokens = hooked.login(scope="read")
    assert claims_of(tokens.access_token)["roles"] == ["editor"]
    assert users.seen[0].id == tokens.grant_id
    assert (users.seen[0].generation, users.seen[0].scope) == (1, "read")
    token = tokens.refresh_token
    for roles in (["admin"], []):
        hooked.clock.forward(HOUR)
        users.answer = {"roles": roles}
        found = hooked.renewed(token)
        token = found["refresh_token"]
        assert claims_of(found["access_token"])["roles"] == roles
    assert users.seen[-1].generation == 3
    # The same for a young token, and for one that is presented again.
    users.answer = {"roles": ["kept"]}
    assert claims_of(hooked.renewed(token)["access_token"])["roles"] == ["kept"]


@refuses("RT-16")
def test_a_claim_of_a_login_that_the_hook_would_drop_is_refused(
    hooked: World, users: Directory
) -> None:
    """It would be in the first access token, and silently missing from the next."""

    def issue(site: Site) -> str:
        with pytest.raises(ValueError, match=r"^claims: 'acr' isn't in what claims_for") as raised:
            site.ask("issue", "alice", claims={"acr": "mfa", "roles": ["editor"]})
        return str(raised.value)

    assert hooked.each(issue).endswith("return it there, too, as grant.claims.get('acr')")
    assert grants(hooked) == ()
    assert hooked.events == []


@accepts("RT-16")
def test_what_a_login_gave_is_in_its_grant_for_the_hook_at_every_refresh() -> None:
    roles = [["editor"], ["editor"], []]

    def claims_for(grant: Grant) -> dict[str, Any]:
        return {"acr": grant.claims["acr"], "roles": roles[0]}

    with opened(refresh={"claims_for": claims_for}) as world:
        # The hook's answer is the whole, from the first token on, also where both name a claim.
        tokens = world.login(claims={"acr": "mfa", "roles": ["admin"]})
        found = claims_of(tokens.access_token)
        assert (found["acr"], found["roles"]) == ("mfa", ["editor"])
        assert world.row(tokens.grant_id).claims == {"acr": "mfa", "roles": ("admin",)}
        token = tokens.refresh_token
        while len(roles) > 1:
            roles.pop(0)
            world.clock.forward(HOUR)
            answer = world.renewed(token)
            token, found = answer["refresh_token"], claims_of(answer["access_token"])
            assert (found["acr"], found["roles"]) == ("mfa", roles[0])


def test_the_hook_is_asked_at_every_login(hooked: World, users: Directory) -> None:
    for claims in (None, {}, {"roles": ["editor"]}):
        tokens = hooked.login(claims=claims)
        assert claims_of(tokens.access_token)["roles"] == ["editor"]
        assert users.seen[-1].id == tokens.grant_id


@refuses("RT-16")
def test_a_hook_that_refuses_a_login_begins_nothing(hooked: World, users: Directory) -> None:
    users.answer = EndGrant("banned")

    def issue(site: Site) -> str:
        with pytest.raises(EndGrant) as raised:
            site.ask("issue", "alice")
        return raised.value.reason

    assert hooked.each(issue) == "banned"
    assert grants(hooked) == ()
    assert hooked.events == []


@refuses("RT-16")
def test_a_hook_that_refuses_a_refresh_ends_the_grant(hooked: World, users: Directory) -> None:
    tokens = hooked.login()
    users.answer = EndGrant("deactivated")
    answer = hooked.refresh(tokens.refresh_token)
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
    assert "deactivated" not in answer.body.decode()
    assert answer.events[0] == Revoked(grant_ids=(tokens.grant_id,), reason="deactivated")
    assert hooked.row(tokens.grant_id).end_reason == "deactivated"
    assert hooked.call(tokens.access_token).reason == "grant_ended"


FAULTS: dict[str, Any] = {
    "an error": LookupError("no such table"),
    "an error of ours": StoreUnavailable("theirs"),
    "a refusal of ours": ConfigurationError("x", "y"),
    "nothing": None,
    "a number": 5,
    "a list": ["sub"],
    "pairs that forge": [("sub", "root")],
    "a reserved claim": {"sid": "x"},
    "no JSON": {"roles": {"editor"}},
    "too much": {"picture": "x" * MAX_TOKEN},
}


@refuses("RT-16")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_hook_that_fails_is_our_fault_and_the_grant_lives(
    hooked: World, users: Directory, fault: Any
) -> None:
    tokens = hooked.login()
    hooked.clock.forward(HOUR)
    users.answer = fault
    for _ in range(2):
        answer = hooked.refresh(tokens.refresh_token)
        assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")
        assert answer.header("retry-after") == "1"
        assert answer.reason == "claims_hook_failed"
    assert hooked.is_alive(tokens.grant_id)
    # And when it works again nobody has lost anything.
    users.answer = {}
    token = tokens.refresh_token
    for _ in range(2):
        token = hooked.renewed(token)["refresh_token"]
        hooked.clock.forward(HOUR)


def test_what_is_wrong_with_the_hook_is_told_to_those_who_can_mend_it(
    hooked: World, users: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = hooked.login()
    for what, fault in FAULTS.items():
        caplog.clear()
        users.answer = fault
        (refused,) = hooked.refresh(tokens.refresh_token).events
        assert isinstance(refused, Refused)
        assert refused.detail, what
        assert refused.grant_id == tokens.grant_id
        errors = [one for one in caplog.records if one.levelno >= logging.ERROR]
        raised = isinstance(fault, Exception)
        assert len(errors) == raised * len(hooked.sites), what
        assert all(one.exc_info and one.exc_info[1] is fault for one in errors)


@refuses("RT-16")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_hook_that_fails_at_a_login_begins_nothing(
    hooked: World, users: Directory, fault: Any
) -> None:
    users.answer = fault

    def issue(site: Site) -> None:
        with pytest.raises(Exception):  # noqa: B017  (of either kind)
            site.ask("issue", "alice")

    hooked.each(issue)
    assert grants(hooked) == ()


# --- Tokens


def members(tokens: Tokens) -> dict[str, Any]:
    return {name: tokens[name] for name in tokens}


def test_tokens_are_a_mapping_that_does_not_change(site: Site) -> None:
    tokens = site.issuer.issue("alice", scope="read")
    assert isinstance(tokens, dict)
    assert json.loads(json.dumps(tokens)) == members(tokens) == dict(tokens) == {**tokens}
    assert tokens == dict(tokens)
    for change in (
        lambda: tokens.update(x=1),
        lambda: tokens.pop("scope"),
        lambda: tokens.clear(),
        lambda: tokens.__setitem__("access_token", "x"),
        lambda: tokens.__delitem__("access_token"),
        lambda: tokens.setdefault("x", 1),
    ):
        with pytest.raises(TypeError):
            change()


def test_no_representation_of_tokens_shows_one(site: Site) -> None:
    tokens = site.issuer.issue("alice")
    shown = [
        repr(tokens),
        str(tokens),
        f"{tokens}",
        f"{tokens!r:>5}",
        "%s %r" % (tokens, tokens),  # noqa: UP031
        pprint.pformat(tokens),
        pprint.pformat({"tokens": [tokens]}),
        repr([tokens]),
        repr(site.issuer),
        repr(site.settings),
        ascii(tokens),
    ]
    for one in shown:
        assert not [text for text in (tokens.access_token, tokens.refresh_token) if text in one]
        assert "eyJ" not in one
    assert repr(tokens) == f"<Tokens of grant {tokens.grant_id}>"


def test_tokens_in_a_log_show_none(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tokens = site.issuer.issue("alice")
    logging.getLogger("theirs").info("issued %s", tokens)
    logging.getLogger("theirs").info(tokens)
    assert "eyJ" not in caplog.text
    assert caplog.text.count("<Tokens of grant") == 2


@pytest.mark.parametrize(
    "keep",
    [pickle.dumps, copy.copy, copy.deepcopy, lambda tokens: pickle.dumps({"session": tokens})],
    ids=["pickle", "copy", "deepcopy", "in a session"],
)
def test_tokens_are_not_to_be_kept(site: Site, keep: Any) -> None:
    with pytest.raises(TypeError, match="send them to the client"):
        keep(site.issuer.issue("alice"))


def test_flask_sends_tokens_as_they_are(site: Site) -> None:
    app = Flask(__name__)
    app.add_url_rule("/login", view_func=lambda: site.issuer.issue("alice", scope="read"))
    found = app.test_client().get("/login").get_json()
    assert (set(found), found["scope"]) == (EXPECTED, "read")


EXPECTED = {"access_token", "token_type", "expires_in", "refresh_token", "scope", *LASTS}


def test_fastapi_sends_tokens_as_they_are() -> None:
    with single(("asgi", memory)) as site:
        app = FastAPI()

        @app.get("/login")
        async def login() -> dict[str, Any]:
            return await site.issuer.aissue("alice", scope="read")

        @app.get("/plain", response_model=None)
        def plain() -> Tokens:
            return site.issuer.issue("alice", scope="read")

        client = FastAPIClient(app)
        for path in ("/login", "/plain"):
            assert set(client.get(path).json()) == EXPECTED


def test_starlette_sends_tokens_as_they_are() -> None:
    with single(("asgi", memory)) as site:

        async def login(_: Any) -> JSONResponse:
            return JSONResponse(await site.issuer.aissue("alice", scope="read"))

        client = TestClient(Starlette(routes=[StarletteRoute("/login", login)]))
        assert set(client.get("/login").json()) == EXPECTED


# --- the secret of refresh tokens


def kid(token: str) -> str:
    found: str = json.loads(urlsafe_b64decode(token.partition(".")[0] + "=="))["kid"]
    return found


def renewed_by(site: Site, token: str, **changes: Any) -> str | None:
    """Present a token where other settings serve the same store; None: it is refused."""
    clock = Clock()
    clock.now = site.clock.now
    with opened((("wsgi", lambda *_: site.store),), **changes) as world:
        world.clock.now = site.clock.now
        answer = world.refresh(token)
        return answer.json["refresh_token"] if answer.status == 200 else None


def secret(text: str) -> bytes:
    return sha256(text.encode()).digest()


@accepts("RT-05")
@refuses("RT-05")
def test_of_configured_secrets_the_first_signs_and_all_verify(site: Site) -> None:
    site.issuer.issue("alice")
    old, new = secret("old"), secret("new")
    with single(IN_MEMORY, refresh={"secret": old}) as first:
        token = first.issuer.issue("alice").refresh_token
        first.clock.forward(HOUR)
        by_new = renewed_by(first, token, refresh={"secret": (new, old)})
        assert by_new is not None
        assert kid(by_new) != kid(token)
        first.clock.forward(HOUR)
        assert renewed_by(first, token, refresh={"secret": new}) is None
        assert renewed_by(first, by_new, refresh={"secret": new}) is not None
        assert renewed_by(first, by_new) is None


@accepts("RT-05")
@refuses("RT-05")
def test_a_new_signing_key_in_front_keeps_the_old_derived_secret() -> None:
    first, second = KeySet.generate("ES256"), KeySet.generate("Ed25519")
    with single(IN_MEMORY, keys=first) as site:
        token = site.issuer.issue("alice").refresh_token
        site.clock.forward(HOUR)
        both = KeySet((*second.keys, *first.keys))
        renewed = renewed_by(site, token, keys=both)
        assert renewed is not None
        assert kid(renewed) != kid(token)
        site.clock.forward(HOUR)
        assert renewed_by(site, renewed, keys=second) is not None
        assert renewed_by(site, token, keys=second) is None


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "RS256", "HS256"])
def test_a_derived_secret_is_the_same_in_every_process(algorithm: str) -> None:
    keys = KeySet.generate(algorithm)
    again = KeySet.from_jwks({"keys": [key.to_jwk() for key in keys.keys]})
    with single(IN_MEMORY, keys=keys) as site:
        token = site.issuer.issue("alice").refresh_token
        site.clock.forward(HOUR)
        assert renewed_by(site, token, keys=again) is not None
        # Another issuer with the same keys has another secret.
        assert renewed_by(site, token, keys=again, issuer="https://other.example") is None


@refuses("RT-23")
def test_the_derived_secret_is_published_nowhere() -> None:
    with opened(DOORS) as world:
        token = world.login().refresh_token
        found = world.get("/.well-known/jwks.json").json
        assert kid(token) not in {one["kid"] for one in found["keys"]}
        assert {one["kty"] for one in found["keys"]} == {"OKP"}


def test_a_refresh_token_says_nothing_about_the_user(world: World) -> None:
    tokens = world.login(
        "alice@example.org", claims={"name": "Alice"}, user_agent="Browser/1", scope="read"
    )
    payload = json.dumps(claims_of(tokens.refresh_token))
    for word in ("alice", "Alice", "example.org", "Browser", AUDIENCE):
        assert word not in payload


def test_settings_that_issue_are_pickled_without_what_lives(site: Site) -> None:
    plain = site.settings.replace(clock=time.time, on_event=None)
    assert len([Issuer(plain).issue("alice") for _ in range(2)]) == 2
    copied = pickle.loads(pickle.dumps(plain))
    assert Issuer(copied).grants("alice") == (), "memory is the process's own"
    assert len(Issuer(plain).grants("alice")) == 2


def test_an_issuer_in_code_of_both_kinds_is_one() -> None:
    with single(("asgi", memory)) as site:
        tokens = site.issuer.issue("alice")

        async def play() -> bool:
            assert [one.id for one in await site.issuer.agrants("alice")] == [tokens.grant_id]
            return await site.issuer.arevoke(tokens.grant_id)

        assert asyncio.run(play())
        assert not site.issuer.revoke(tokens.grant_id)
