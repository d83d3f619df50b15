"""RT-33, RT-34: tokens of a former library, through both doors, on every store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, migrations
from jwt_middleware.values.events import Issued, Refreshed, Reused, Revoked
from tests.grant.former import (
    OLD_PATH,
    OTHER,
    UNTIL,
    flask_jwt,
    migration,
    simplejwt,
    written,
)
from tests.issuing import (
    DAY,
    DOORS,
    DURABLE,
    FAULTY,
    HOUR,
    MINUTE,
    REFRESH,
    SITES,
    Kind,
    World,
    opened,
    posted,
    single,
)
from tests.rules import accepts, refuses
from tests.world import NOW, Answer

OLD = flask_jwt("refresh")
FIELD = ("X-Requested-With", "fetch")
PAGE = (FIELD, ("Origin", "https://login.example"), ("Sec-Fetch-Site", "same-origin"))


def migrating(kinds: tuple[Kind, ...] = SITES, **changes: Any) -> Any:
    """Open a world whose former library is described by `migration(**changes)`."""
    group = {"claims_for": changes.pop("claims_for", None)}
    return opened(kinds, refresh={"migrate": migration(**changes), **group})


@pytest.fixture
def world() -> Iterator[World]:
    with migrating() as one:
        yield one


@pytest.fixture
def doors() -> Iterator[World]:
    """Open a world for what never comes as far as a store."""
    with migrating(DOORS) as one:
        yield one


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {token}"),)


def is_refused(answer: Answer, reason: str) -> None:
    assert (answer.status, answer.json["error"], answer.reason) == (400, "invalid_grant", reason)


def hows(world: World) -> list[str]:
    return [event.how for event in world.events if isinstance(event, Refreshed)]


# --- an old refresh token leads to one grant


@accepts("RT-33")
def test_an_old_refresh_token_begins_a_grant(world: World) -> None:
    tokens = world.renewed(OLD)
    seen = world.call(tokens["access_token"])
    assert (seen.status, seen.user) == (200, "alice")
    assert seen.token is not None
    assert seen.token.grant_id is not None
    row = world.row(seen.token.grant_id)
    assert (row.subject, row.generation, row.client_id) == ("alice", 1, "first-party")
    assert row.expires_at == NOW + 30 * DAY
    assert hows(world) == ["migrated"]
    assert not [event for event in world.events if isinstance(event, Issued)]
    # From now on nothing is special.
    world.clock.forward(HOUR)
    again = world.renewed(tokens["refresh_token"])
    assert world.call(again["access_token"]).status == 200
    assert hows(world) == ["migrated", "rotated"]


@accepts("RT-33")
def test_however_often_it_comes_it_is_one_grant(world: World) -> None:
    """The answer got lost, two tabs came at once, a client never takes the new token."""
    found = []
    for wait in (0, 3, HOUR, 3 * DAY):
        world.clock.forward(wait)
        found.append(world.renewed(OLD))
    ids = {world.call(found[-1]["access_token"]).token.grant_id}  # type: ignore[union-attr]
    assert len(ids) == 1
    assert hows(world) == ["migrated", "repeated", "repeated", "repeated"]
    assert len(world.each(lambda site: site.ask("grants", "alice"))) == 1
    # Each of them has a refresh token of its own, and the first that goes on decides.
    assert len({one["refresh_token"] for one in found}) == 4
    world.clock.forward(HOUR)
    assert world.refresh(found[2]["refresh_token"]).status == 200


@accepts("RT-33")
@pytest.mark.parametrize("days", range(1, 10))
def test_a_client_that_keeps_the_old_token_goes_on(days: int, doors: World) -> None:
    for _ in range(days):
        doors.clock.forward(DAY - MINUTE)
        assert doors.refresh(OLD).status == 200
    assert len(doors.each(lambda site: site.ask("grants", "alice"))) == 1


@refuses("RT-33")
@pytest.mark.parametrize("first", ["thief", "victim"])
def test_a_thief_with_a_copy_is_found(first: str, world: World) -> None:
    one, two = world.renewed(OLD), world.renewed(OLD)
    world.clock.forward(HOUR)
    rotated = world.renewed(one["refresh_token"])
    world.clock.forward(2 * MINUTE)
    late = two["refresh_token"] if first == "thief" else OLD
    if first == "victim":
        world.renewed(rotated["refresh_token"])
    is_refused(world.refresh(late), "refresh_token_reused")
    assert [event for event in world.events if isinstance(event, Reused)]
    for token in (OLD, one["refresh_token"], rotated["refresh_token"], two["refresh_token"]):
        is_refused(world.refresh(token), "grant_ended")
    assert world.call(rotated["access_token"]).reason == "grant_ended"


@refuses("RT-33")
def test_an_old_token_after_two_rotations_is_a_second_holder(world: World) -> None:
    token = world.renewed(OLD)["refresh_token"]
    for _ in range(2):
        world.clock.forward(HOUR)
        token = world.renewed(token)["refresh_token"]
    is_refused(world.refresh(OLD), "refresh_token_reused")
    is_refused(world.refresh(token), "grant_ended")


@refuses("RT-33")
def test_a_log_out_cant_be_undone(world: World) -> None:
    tokens = world.renewed(OLD)
    assert world.revoke(tokens["refresh_token"]).status == 200
    for wait in (0, HOUR, 9 * DAY - HOUR):
        world.clock.forward(wait)
        is_refused(world.refresh(OLD), "grant_ended")
    assert world.each(lambda site: site.ask("grants", "alice")) == ()


@refuses("RT-33")
def test_who_logs_out_with_the_old_token_alone_is_out(world: World) -> None:
    assert world.revoke(OLD).status == 200
    assert [event.reason for event in world.events if isinstance(event, Revoked)] == ["logout"]
    is_refused(world.refresh(OLD), "grant_ended")
    assert world.revoke(OLD).status == 200


@refuses("RT-33")
def test_a_log_out_outlives_a_change_of_our_secrets() -> None:
    with migrating(DURABLE) as world:
        tokens = world.renewed(OLD)
        world.revoke(tokens["refresh_token"])
        world.each(lambda site: site.restart(refresh={"secret": OTHER}))
        is_refused(world.refresh(OLD), "grant_ended")


@refuses("RT-33")
def test_an_end_of_all_logins_ends_the_old_tokens_of_a_user(world: World) -> None:
    """Also those that didn't come yet, and have no row."""
    assert world.revoke_all("alice") == ()
    is_refused(world.refresh(OLD), "grant_ended")
    is_refused(world.refresh(OLD), "grant_ended")
    assert world.refresh(flask_jwt("refresh", "bob")).status == 200


@refuses("RT-33", "RT-31")
def test_to_end_all_other_logins_ends_the_old_tokens_too() -> None:
    with opened(refresh={"migrate": migration(), "sessions": True}) as world:
        mine = world.renewed(OLD)
        headers = (("Authorization", f"Bearer {mine['access_token']}"),)
        assert world.send("POST", "/auth/sessions/end-others", headers=headers).status == 204
        other = flask_jwt("refresh", jti="of another device")
        is_refused(world.refresh(other), "grant_ended")
        assert world.refresh(OLD).status == 200  # its grant is there already


@refuses("RT-33")
def test_a_mass_end_ends_what_was_issued_before(world: World) -> None:
    def end(site: Any) -> None:
        answer = site.store.end_before(None)
        if hasattr(answer, "close"):
            site.runner.run(answer)

    world.each(end)
    is_refused(world.refresh(OLD), "grant_ended")
    world.clock.forward(MINUTE)
    newer = flask_jwt("refresh", iat=NOW + MINUTE, nbf=None)
    assert world.refresh(newer).status == 200


@refuses("RT-33")
def test_unused_for_the_idle_limit_it_is_over(world: World) -> None:
    world.renewed(OLD)
    world.clock.forward(7 * DAY + 2 * HOUR)
    is_refused(world.refresh(OLD), "grant_ended")


@accepts("RT-33")
def test_an_old_token_unused_for_long_is_taken_once_more(world: World) -> None:
    old = flask_jwt("refresh", iat=NOW - 25 * DAY, nbf=None)
    assert world.refresh(old).status == 200


@accepts("RT-33")
@pytest.mark.parametrize("kind", SITES)
def test_fifty_at_once_are_one_grant(kind: Kind) -> None:
    with single(kind, refresh={"migrate": migration()}) as site:
        body = f"grant_type=refresh_token&refresh_token={OLD}".encode()
        answers = site.at_once([posted(REFRESH, body)] * 50)
        assert {status for status, _, _ in answers} == {200}
        assert len(site.ask("grants", "alice")) == 1
        tokens = [json.loads(body)["refresh_token"] for _, _, body in answers]
        assert len(set(tokens)) == 50


# --- who it is


@accepts("RT-33")
def test_the_scope_and_named_claims_are_taken_over() -> None:
    changes: dict[str, Any] = {
        "library": migrations.AUTHX,
        "scope": "read",
        "claims": ("roles", "team"),
    }
    with migrating(DOORS, **changes) as world:
        old = flask_jwt("refresh", roles=["editor"], scopes=["write", "admin"], secretive=1)
        seen = world.call(world.renewed(old)["access_token"]).token
        assert seen is not None
        assert (seen.scope, seen.claims["roles"]) == ("admin write", ("editor",))
        assert {"secretive", "team"}.isdisjoint(seen.claims)
        other = world.renewed(flask_jwt("refresh", "bob"))
        assert other["scope"] == "read"
        # A refresh may ask for less, never for more.
        assert world.renewed(old, scope="admin")["scope"] == "admin"
        assert world.refresh(old, scope="read").reason == "scope_widened"


@accepts("RT-33")
def test_fresh_claims_come_from_the_hook() -> None:
    with migrating(DOORS, claims_for=lambda grant: {"of": grant.subject}) as world:
        seen = world.call(world.renewed(OLD)["access_token"]).token
        assert seen is not None
        assert seen.claims["of"] == "alice"


@accepts("RT-33")
@pytest.mark.parametrize("user_id", [7, "7"])
def test_a_number_is_read_as_its_digits(user_id: Any) -> None:
    with migrating(DOORS, library=migrations.SIMPLEJWT) as world:
        old = simplejwt("refresh", user_id)
        assert world.call(world.renewed(old)["access_token"]).user == "7"


def subject_of(claims: Any) -> Any:
    return {"alice": "u-1", "bob": None, "carol": 3, "dave": ""}[claims["sub"]]


async def subject_of_later(claims: Any) -> Any:
    return subject_of(claims)


@accepts("RT-33")
def test_users_may_have_other_ids_here() -> None:
    with migrating(DOORS, subject=subject_of) as world:
        assert world.call(world.renewed(OLD)["access_token"]).user == "u-1"
        is_refused(world.refresh(flask_jwt("refresh", "bob")), "former_token_blocked")
        for sub in ("carol", "dave", "eve"):
            answer = world.refresh(flask_jwt("refresh", sub))
            assert (answer.status, answer.reason) == (503, "migration_hook_failed")
    with migrating((DOORS[1],), subject=subject_of_later) as world:
        assert world.call(world.renewed(OLD)["access_token"]).user == "u-1"


@refuses("RT-33")
def test_an_async_hook_needs_async_code() -> None:
    for name in ("subject", "is_blocked"):
        with (
            pytest.raises(ConfigurationError, match=rf"^refresh\.migrate\.{name}: is async"),
            migrating((DOORS[0],), **{name: subject_of_later}),
        ):
            pass


@refuses("RT-34")
def test_the_former_blocklist_is_asked_each_time() -> None:
    asked: list[str] = []
    blocked: set[str] = set()

    def is_blocked(claims: Any) -> bool:
        asked.append(claims["jti"])
        return claims["jti"] in blocked

    with migrating((DOORS[0],), is_blocked=is_blocked) as world:
        assert world.refresh(OLD).status == 200
        blocked.add("jti of alice")
        is_refused(world.refresh(OLD), "former_token_blocked")
        assert asked == ["jti of alice"] * 2
        # It is asked about the library's own tokens only.
        world.refresh(flask_jwt("refresh", secret=OTHER))
        assert len(asked) == 2
        assert world.get("/api/x", flask_jwt("access")).reason == "former_token_blocked"
        # What is blocked can't be logged out, and nobody learns of it.
        assert world.revoke(OLD).status == 200


@refuses("RT-34")
def test_a_hook_that_fails_lets_nobody_in() -> None:
    def is_blocked(claims: Any) -> bool:
        raise OSError("no database")

    with migrating(DOORS, is_blocked=is_blocked) as world:
        for answer in (world.refresh(OLD), world.get("/api/x", flask_jwt("access"))):
            assert (answer.status, answer.reason) == (503, "migration_hook_failed")


@refuses("RT-33")
def test_a_user_that_is_called_as_the_client_is_refused(doors: World) -> None:
    is_refused(doors.refresh(flask_jwt("refresh", "first-party")), "claim_malformed")


@refuses("RT-33")
def test_another_client_changes_nothing(world: World) -> None:
    is_refused(world.refresh(OLD, client_id="other"), "client_mismatch")
    assert world.each(lambda site: site.ask("grants", "alice")) == ()
    assert world.refresh(OLD, client_id="first-party").status == 200
    is_refused(world.refresh(OLD, client_id="other"), "client_mismatch")


@accepts("RT-33")
def test_one_login_more_ends_the_oldest() -> None:
    with opened(refresh={"migrate": migration(), "grants_per_subject": 1}) as world:
        world.login("alice")
        world.renewed(OLD)
        assert "limit" in [event.reason for event in world.events if isinstance(event, Revoked)]
        assert len(world.each(lambda site: site.ask("grants", "alice"))) == 1


# --- what is refused, and never reaches the store


FORGED = {
    "another secret": (flask_jwt("refresh", secret=OTHER), "signature_invalid"),
    "no algorithm": (
        written({"sub": "alice", "type": "refresh", "exp": NOW + DAY}, None, algorithm="none"),
        "token_encoding",
    ),
    "a longer hash": (
        written({"sub": "alice", "type": "refresh", "exp": NOW + DAY}, algorithm="HS384"),
        "algorithm_not_allowed",
    ),
    "an access token": (flask_jwt("access"), "claim_not_allowed"),
    "no kind": (flask_jwt("refresh", type=None), "claim_missing"),
    "a kind in other letters": (flask_jwt("Refresh"), "claim_not_allowed"),
    "expired": (flask_jwt("refresh", exp=NOW - MINUTE), "expired"),
    "never expires": (flask_jwt("refresh", exp=None), "claim_missing"),
    "from the future": (flask_jwt("refresh", iat=NOW + HOUR), "issued_in_future"),
    "not yet valid": (flask_jwt("refresh", nbf=NOW + HOUR), "not_yet_valid"),
    "for another service": (flask_jwt("refresh", aud="other"), "audience_not_ours"),
    "nobody's": (flask_jwt("refresh", None), "claim_missing"),
    "a list for a user": (flask_jwt("refresh", ["alice"]), "claim_malformed"),
    "a truth value for a user": (flask_jwt("refresh", True), "claim_malformed"),
    "a user with a line break": (flask_jwt("refresh", "a\nb"), "claim_malformed"),
    "bound to a key": (flask_jwt("refresh", cnf={"jkt": "k"}), "sender_constrained"),
}


@refuses("RT-34")
@pytest.mark.parametrize(("token", "reason"), FORGED.values(), ids=FORGED)
def test_what_isnt_an_old_refresh_token_is_refused(token: str, reason: str) -> None:
    with opened(FAULTY, refresh={"migrate": migration()}) as world:
        is_refused(world.refresh(token), reason)
        assert world.revoke(token).status == 200
        touched = world.each(lambda site: set(site.store.calls) - {"check", "ended", "purge"})
        assert touched == set()


@refuses("RT-34")
@pytest.mark.parametrize(
    "token",
    [
        flask_jwt("refresh", iss="https://login.example"),
        written({"sub": "a", "type": "refresh", "exp": NOW + DAY}, headers={"typ": "at+jwt"}),
        written({"sub": "a", "type": "refresh", "exp": NOW + DAY}, headers={"typ": ""}),
        "not.a.token",
    ],
)
def test_what_isnt_told_as_the_librarys_is_refused_as_ever(token: str, doors: World) -> None:
    answer = doors.refresh(token)
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")


@refuses("RT-34")
def test_after_the_date_everything_old_is_refused(world: World) -> None:
    far = flask_jwt("refresh", exp=NOW + 90 * DAY)
    tokens = world.renewed(far)
    world.clock.forward(19 * DAY)
    kept = world.login("alice")
    access = flask_jwt("access", exp=NOW + 90 * DAY)
    assert world.get("/api/x", access).status == 200
    world.clock.forward(DAY - 1)
    assert world.get("/api/x", access).status == 200
    other = flask_jwt("refresh", "bob", exp=NOW + 90 * DAY)
    assert world.refresh(other).status == 200
    world.clock.forward(1)
    assert world.clock() == UNTIL
    is_refused(world.refresh(far), "expired")
    is_refused(world.refresh(flask_jwt("refresh", "carol", exp=NOW + 90 * DAY)), "expired")
    assert world.get("/api/x", access).status == 401
    assert world.revoke(far).status == 200
    # Ours go on, at the old path, too.
    assert world.post(OLD_PATH, {"refresh_token": kept.refresh_token}).status == 200
    assert world.refresh(tokens["refresh_token"]).reason == "grant_ended"  # unused for 20 days


@refuses("RT-34")
def test_an_old_refresh_token_opens_nothing(doors: World) -> None:
    assert doors.get("/api/x", OLD).reason == "claim_not_allowed"
    assert doors.get("/", OLD).reason == "claim_missing"
    assert doors.get("/api/x", flask_jwt("access", secret=OTHER)).reason == "signature_invalid"


@refuses("RT-34")
def test_a_fault_of_the_store_is_no_refusal() -> None:
    with opened(FAULTY, refresh={"migrate": migration()}) as world:
        for verb in ("advance", "ended", "add", "admit"):
            world.each(lambda site, verb=verb: site.store.fails.add(verb))  # type: ignore[misc]
            answer = world.refresh(OLD)
            assert answer.status == 503, verb
            world.each(lambda site: site.store.fails.clear())
            world.clock.forward(MINUTE)
        # What was done before the fault harms nobody: the row was added, and has no mark.
        assert world.refresh(OLD).status == 200
