"""RT-14, RT-17 to RT-19 and RT-25: how grants end, and that nothing of theirs lives on."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jwt_middleware import EndGrant, Grant, Tokens
from jwt_middleware.testing.mint import json_octets, seal
from jwt_middleware.values.events import Issued, Revoked, StoreBack, StoreFailed
from tests.grant.test_rt_exchange import claims_of
from tests.issuing import (
    DAY,
    FAULTY,
    HOUR,
    JSON,
    KEYS,
    MINUTE,
    REFRESH,
    REVOKE,
    SITES,
    Kind,
    Site,
    World,
    form_octets,
    opened,
    posted,
    refresh_form,
    single,
)
from tests.rules import accepts, refuses


def of_no_grant(access_token: str) -> str:
    """Return the token without its grant, as a client that acts for itself has it."""
    claims = claims_of(access_token)
    del claims["sid"]
    header = {"alg": "Ed25519", "kid": KEYS.keys[0].kid, "typ": "at+jwt"}
    return seal(json_octets(header), json_octets(claims), KEYS.keys[0])


# --- RT-17: the answers of RFC 7009


@accepts("RT-17")
def test_a_refresh_token_ends_its_grant_and_its_access_tokens(world: World) -> None:
    tokens, other = world.login(), world.login()
    answer = world.revoke(tokens.refresh_token)
    assert answer.status == 200
    assert answer.header("cache-control") == "no-store"
    assert answer.events == (Revoked(grant_ids=(tokens.grant_id,), reason="logout"),)
    assert world.refresh(tokens.refresh_token).reason == "grant_ended"
    assert world.call(tokens.access_token).reason == "grant_ended"
    assert world.call(other.access_token).status == 200
    assert world.refresh(other.refresh_token).status == 200


@accepts("RT-17")
def test_a_valid_access_token_ends_its_own_grant(world: World) -> None:
    tokens, other = world.login(), world.login()
    assert world.revoke(tokens.access_token).status == 200
    assert world.refresh(tokens.refresh_token).reason == "grant_ended"
    assert world.is_alive(other.grant_id)


@accepts("RT-17")
def test_a_token_that_was_exchanged_long_ago_still_logs_out(world: World) -> None:
    tokens = world.login()
    token = tokens.refresh_token
    for _ in range(3):
        world.clock.forward(HOUR)
        token = world.renewed(token)["refresh_token"]
    assert world.revoke(tokens.refresh_token).status == 200
    assert world.row(tokens.grant_id).end_reason == "logout"
    assert world.refresh(token).reason == "grant_ended"


@accepts("RT-17")
@pytest.mark.parametrize("hint", ["refresh_token", "access_token", "anything", ""])
def test_a_hint_is_a_hint_and_no_more(world: World, hint: str) -> None:
    for name in ("refresh_token", "access_token"):
        tokens = world.login()
        answer = world.revoke(getattr(tokens, name), token_type_hint=hint)
        assert (answer.status, world.is_alive(tokens.grant_id)) == (200, False)


@accepts("RT-17")
def test_what_cannot_be_revoked_is_no_error(world: World) -> None:
    tokens = world.login()
    world.revoke(tokens.refresh_token)
    first = world.revoke("x")
    assert first.status == 200
    for text in (tokens.refresh_token, tokens.access_token[:-8], "..", "é", " ", "x" * 9000):
        assert world.revoke(text) == first
    world.clock.forward(31 * DAY)
    for text in (tokens.refresh_token, tokens.access_token):
        assert world.revoke(text) == first
    assert world.post_json(REVOKE, {"token": "x"}) == first


@refuses("RT-17")
def test_another_kind_of_token_by_the_same_key_ends_no_grant(world: World) -> None:
    tokens = world.login()
    for typ in ("JWT", "logout+jwt", "rt+jwt"):
        header = {"alg": "Ed25519", "kid": KEYS.keys[0].kid, "typ": typ}
        other = seal(json_octets(header), json_octets(claims_of(tokens.access_token)), KEYS.keys[0])
        assert world.revoke(other).status == 200
        assert world.is_alive(tokens.grant_id)


@refuses("RT-17")
@pytest.mark.parametrize(
    "body", ["", "token=", "token=x&token=y", "refresh_token=x", "token=x&&=&="]
)
def test_a_revocation_without_one_token_is_malformed(world: World, body: str) -> None:
    answer = world.each(lambda site: site.send(posted(REVOKE, body.encode())))
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


@refuses("RT-17")
def test_a_token_of_no_grant_is_of_an_unsupported_type(world: World) -> None:
    machine = of_no_grant(world.login().access_token)
    assert world.call(machine).status == 200
    answer = world.revoke(machine)
    assert (answer.status, answer.json["error"]) == (400, "unsupported_token_type")


@refuses("RT-17")
@pytest.mark.parametrize("is_done", [False, True], ids=["nothing-was-done", "it-was-done"])
def test_without_the_store_a_revocation_is_to_come_again(is_done: bool) -> None:
    with opened(FAULTY) as world:
        tokens = world.login()

        def fail(site: Site) -> None:
            site.store.fails.add("end")
            site.store.is_done_before_it_fails = is_done

        world.each(fail)
        answer = world.revoke(tokens.refresh_token)
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        assert answer.json["error"] == "temporarily_unavailable"
        assert isinstance(answer.events[0], StoreFailed)
        assert not [event for event in answer.events if isinstance(event, Revoked)]
        if not is_done:  # then nothing is half done, either
            assert world.refresh(tokens.refresh_token).status == 200
            assert world.call(tokens.access_token).status == 200
        world.each(lambda site: site.store.fails.clear())
        world.clock.forward(5)
        answer = world.revoke(tokens.refresh_token)
        assert answer.status == 200
        assert is_done or isinstance(answer.events[-1], Revoked)
        assert [event for event in world.events if isinstance(event, StoreBack)]
        assert world.call(tokens.access_token).reason == "grant_ended"


# --- RT-18: whose it is


@accepts("RT-18")
def test_the_client_that_holds_a_token_may_revoke_it(world: World) -> None:
    tokens = world.login(client_id="mobile")
    assert world.revoke(tokens.refresh_token, client_id="mobile").status == 200
    assert not world.is_alive(tokens.grant_id)


@refuses("RT-18")
def test_another_client_revokes_nothing_and_learns_nothing(world: World) -> None:
    tokens = world.login(client_id="mobile")
    nothing = world.revoke("x", client_id="another")
    for text in (tokens.refresh_token, tokens.access_token):
        answer = world.revoke(text, client_id="another")
        assert (answer, answer.events) == (nothing, ())
        assert world.is_alive(tokens.grant_id)


# --- RT-14: at the same time


@accepts("RT-14")
def test_what_a_refresh_gave_is_good_until_a_revocation(world: World) -> None:
    tokens = world.login()
    world.clock.forward(HOUR)
    found = world.renewed(tokens.refresh_token)
    assert world.call(found["access_token"]).status == 200
    world.revoke(tokens.refresh_token)
    assert world.call(found["access_token"]).reason == "grant_ended"


@refuses("RT-14")
def test_a_refresh_that_a_revocation_overtakes_gives_nothing_that_lives() -> None:
    is_logged_in: list[bool] = []

    def claims_for(grant: Grant) -> dict[str, Any]:
        # The hook is asked after the swap and before the tokens are made.
        if is_logged_in:
            around.site.issuer.revoke(grant.id)
        return {}

    with opened(SITES[:4], refresh={"claims_for": claims_for}) as around:
        tokens = around.login()
        is_logged_in.append(True)
        around.clock.forward(HOUR)
        answer = around.refresh(tokens.refresh_token)
        assert around.row(tokens.grant_id).end_reason == "revoked"
        if answer.status == 200:
            assert around.call(answer.json["access_token"]).reason == "grant_ended"
            assert around.refresh(answer.json["refresh_token"]).reason == "grant_ended"
        else:
            assert answer.reason == "grant_ended"
        assert around.refresh(tokens.refresh_token).reason == "grant_ended"


@pytest.fixture(params=SITES, ids=lambda kind: f"{kind[0]}-{kind[1].__name__}")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    kind: Kind = request.param
    with single(kind) as one:
        yield one


@refuses("RT-14")
def test_nothing_is_alive_when_refresh_and_revocation_are_done(site: Site) -> None:
    for _ in range(15):
        tokens = site.ask("issue", "alice")
        site.clock.forward(HOUR)
        refresh = posted(REFRESH, form_octets(refresh_form(tokens.refresh_token)))
        revoke = posted(REVOKE, form_octets({"token": tokens.refresh_token}))
        *refreshed, (revoked, _, _) = site.at_once([refresh, refresh, revoke])
        assert revoked == 200
        assert site.row(tokens.grant_id).end_reason == "logout"
        for status, _, body in refreshed:
            if status != 200:
                assert json.loads(body)["error"] == "invalid_grant"
                continue
            found = json.loads(body)
            again = posted(REFRESH, form_octets(refresh_form(found["refresh_token"])))
            assert site.send(again).reason == "grant_ended"
            call = posted("/", b"", JSON, [("Authorization", f"Bearer {found['access_token']}")])
            assert site.send(call).reason == "grant_ended"


# --- RT-19: what a thief of the store has


def contents(site: Site) -> bytes:
    """Return all that a site's store holds."""
    files = sorted(site.folder.iterdir())
    if files:
        assert b"SQLite format 3" in files[0].read_bytes()
        return b"".join(one.read_bytes() for one in files)
    return repr(vars(getattr(site.store, "_store", site.store))).encode()


@accepts("RT-19")
def test_the_store_finds_a_grant_by_what_an_authentic_token_says(world: World) -> None:
    tokens = world.login()
    assert claims_of(tokens.refresh_token)["sid"] == tokens.grant_id
    assert world.each(lambda site: tokens.grant_id.encode() in contents(site))


@refuses("RT-19")
def test_the_store_holds_nothing_that_can_be_presented(world: World) -> None:
    tokens = world.login(claims={"roles": ["editor"]})
    texts = [tokens.access_token, tokens.refresh_token]
    for _ in range(3):
        world.clock.forward(HOUR)
        found = world.renewed(texts[-1])
        texts += [found["access_token"], found["refresh_token"]]
    newest = claims_of(texts[-1])["jti"]

    def held(site: Site) -> list[str]:
        everything = contents(site)
        parts = [part for text in texts for part in (text, *text.split(".")[1:])]
        return [part for part in (*parts, newest) if part.encode() in everything]

    assert world.each(held) == []


@refuses("RT-19")
def test_what_a_row_holds_opens_nothing(world: World) -> None:
    tokens = world.login()
    world.clock.forward(HOUR)
    world.renewed(tokens.refresh_token)
    row = world.row(tokens.grant_id)
    parent = str(row.parent)
    assert parent == claims_of(tokens.refresh_token)["jti"]
    for value in (row.id, parent, f"{row.id}.{row.generation}.{parent}"):
        assert world.refresh(value).json["error"] == "invalid_grant"
        assert world.call(value).status == 401
        world.revoke(value)
    assert world.is_alive(tokens.grant_id)


# --- RT-25: access tokens of what has ended


def reuse(world: World, tokens: Tokens) -> None:
    world.clock.forward(2 * MINUTE)
    second = world.renewed(tokens.refresh_token)["refresh_token"]
    world.clock.forward(2 * MINUTE)
    world.renewed(second)
    assert world.refresh(tokens.refresh_token).status == 400


ENDINGS: dict[str, Callable[[World, Tokens], object]] = {
    "logout": lambda world, tokens: world.revoke(tokens.refresh_token),
    "logout-by-access-token": lambda world, tokens: world.revoke(tokens.access_token),
    "revoked": lambda world, tokens: world.each(lambda one: one.ask("revoke", tokens.grant_id)),
    "all-revoked": lambda world, _: world.revoke_all("alice"),
    "replaced": lambda world, tokens: world.login(replaces=tokens.refresh_token),
    "one-too-many": lambda world, _: [world.login() for _ in range(3)],
    "reused": reuse,
}


@refuses("RT-25")
@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_when_a_grant_ends_its_access_tokens_open_nothing(
    end: Callable[[World, Tokens], object],
) -> None:
    with opened(refresh={"grants_per_subject": 3}) as world:
        bob, tokens = world.login("bob"), world.login()
        assert world.call(tokens.access_token).user == "alice"
        end(world, tokens)
        answer = world.call(tokens.access_token)
        assert (answer.status, answer.error, answer.reached) == (401, "invalid_token", False)
        assert answer.reason == "grant_ended"
        assert world.call(bob.access_token).user == "bob"


@refuses("RT-25")
def test_a_hooks_refusal_ends_the_access_tokens_too() -> None:
    def claims_for(grant: Grant) -> dict[str, Any]:
        if grant.subject == "mallory" and grant.generation > 1:
            raise EndGrant("banned")
        return {}

    with opened(refresh={"claims_for": claims_for}) as world:
        tokens = world.login("mallory")
        world.clock.forward(2 * MINUTE)
        answer = world.refresh(tokens.refresh_token)
        assert answer.reason == "grant_refused"
        assert answer.events[0] == Revoked(grant_ids=(tokens.grant_id,), reason="banned")
        assert world.call(tokens.access_token).reason == "grant_ended"


@accepts("RT-25")
def test_several_devices_stand_side_by_side(world: World) -> None:
    phone, laptop = world.login(), world.login()
    world.revoke(phone.refresh_token)
    assert world.call(phone.access_token).status == 401
    assert world.call(laptop.access_token).status == 200
    assert [one.id for one in world.each(lambda site: site.ask("grants", "alice"))] == [
        laptop.grant_id
    ]


@accepts("RT-25")
def test_a_login_that_replaces_tells_what_it_ended(world: World) -> None:
    old = world.login()
    new = world.login(replaces=old.refresh_token)
    assert world.row(old.grant_id).end_reason == "replaced"
    assert [one for one in world.events if not isinstance(one, Issued)] == [
        Revoked(grant_ids=(old.grant_id,), reason="replaced")
    ]
    for nothing in ("x", new.access_token, "", old.refresh_token):
        world.login("bob", replaces=nothing)
    assert world.is_alive(new.grant_id)
