"""Keys and names that change: nobody is logged out until the date that the settings name.

Each row of `CHANGES` is a row of docs/changing.md. Each is played at both doors, on memory and on
SQLite, by users who logged in before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from jwt_middleware import ConfigurationError, Former, Issuer, KeySet, Settings, Tokens
from jwt_middleware.jose.jwk import Key
from jwt_middleware.jose.strict_json import b64url_decode
from jwt_middleware.settings.refresh_secrets import refresh_keys
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing.mint import json_octets, seal
from jwt_middleware.token.refresh import derive, from_text
from jwt_middleware.values.events import Refreshed
from tests.issuing import AUDIENCE, DAY, DURABLE, HOUR, ISSUER, Clock, Kind, World, opened
from tests.keys.test_own_keys import Keys, behind, followed, replaced
from tests.rules import accepts, refuses

SECRET, OTHER = "8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd", "x2K9pTz4_qWvE7sYdN0bGhJ5mRcL8uFa"
MAC = "jJ4wB7cXn0ZrT2kLm9QyHs6VaGpU8eDf"
ES, SECOND, HS = KeySet.generate("ES256"), KeySet.generate("ES256"), KeySet.secret(MAC)
PAGE = Path(__file__).parent.parent.parent / "docs" / "changing.md"
NEW_NAME = "https://id.example"
UNTIL = Clock().now + 30 * DAY
BROWSER = [("User-Agent", "Firefox")]


class Kms:
    """A KMS that has the key which signed here before."""

    def sign(self, message: bytes) -> bytes:
        private: Any = ES.keys[0].private
        signature: bytes = private.sign(message, ec.ECDSA(hashes.SHA256()))
        return signature


MOVED = KeySet.external(ES.public_jwks()["keys"][0], Kms())


class Change(NamedTuple):
    """What was, what is now, what `former` says of it, and which secret signed before."""

    before: dict[str, Any]
    after: dict[str, Any]  # `secret` is of the group, the rest of the settings
    former: dict[str, Any]
    signed: Key

    @property
    def issuer(self) -> str:
        return self.after.get("issuer", ISSUER)

    @property
    def coming(self) -> tuple[Former, ...]:
        """Return the entry for processes of before: what those of after sign."""
        said: dict[str, Any] = {}
        if self.after.get("secret"):
            said["secret"] = self.after["secret"]
        elif "keys" in self.after or "secret" in self.after:
            said["keys"] = self.after.get("keys", self.before["keys"])
        if "issuer" in self.after:
            said["issuer"] = self.after["issuer"]
        return (Former(until=UNTIL, **said),)

    def entry(self, until: Any = UNTIL) -> tuple[Former, ...]:
        return (Former(until=until, **self.former),)


BY_ES, BY_HS = derive(ES.keys[0], ISSUER), derive(HS.keys[0], ISSUER)
CHANGES = {
    "a configured secret, where it was derived": Change(
        {"keys": ES}, {"secret": SECRET}, {"keys": ES}, BY_ES
    ),
    "a derived secret, where it was configured": Change(
        {"keys": ES, "secret": SECRET}, {"secret": ()}, {"secret": SECRET}, from_text(SECRET)
    ),
    "another key, without a rotation": Change({"keys": ES}, {"keys": SECOND}, {"keys": ES}, BY_ES),
    "another configured secret": Change(
        {"keys": ES, "secret": SECRET}, {"secret": OTHER}, {"secret": SECRET}, from_text(SECRET)
    ),
    "HS256 to ES256": Change({"keys": HS}, {"keys": ES}, {"keys": HS}, BY_HS),
    "HS256 to ES256, with the old secret for refresh tokens": Change(
        {"keys": HS}, {"keys": ES, "secret": MAC}, {"keys": HS}, BY_HS
    ),
    "another issuer's name, secrets derived": Change(
        {"keys": ES}, {"issuer": NEW_NAME}, {"issuer": ISSUER}, BY_ES
    ),
    "another issuer's name, a configured secret": Change(
        {"keys": ES, "secret": SECRET}, {"issuer": NEW_NAME}, {"issuer": ISSUER}, from_text(SECRET)
    ),
    "a signing key into a KMS": Change(
        {"keys": ES}, {"keys": MOVED, "secret": SECRET}, {"keys": ES}, BY_ES
    ),
    "several of these at once": Change(
        {"keys": HS},
        {"keys": MOVED, "secret": SECRET, "issuer": NEW_NAME},
        {"keys": HS, "issuer": ISSUER},
        BY_HS,
    ),
}  # fmt: skip


def kept(clock: Clock, _: Path) -> MemoryStore:
    """Return a store in memory that outlives its settings, as no process's own does."""
    return MemoryStore(clock=clock, retention=HOUR)


KINDS: tuple[Kind, ...] = (("wsgi", kept), ("asgi", kept), *DURABLE)
IDS = [f"{door}-{make.__name__}" for door, make in KINDS]


class Running(NamedTuple):
    """A service that is about to change."""

    world: World
    change: Change

    def restart(self, former: tuple[Former, ...], settings: dict[str, Any] | None = None) -> None:
        """Start it anew, as it is to be from now on."""
        settings = dict(self.change.after if settings is None else settings)
        group = {name: settings.pop(name) for name in ("secret",) if name in settings}
        group["former"] = former
        self.world.each(lambda site: site.restart(refresh=group, **settings))

    def changed(self, until: Any = UNTIL) -> None:
        self.restart(self.change.entry(until))

    def login(self, subject: str = "alice") -> Tokens:
        return self.world.login(subject, user_agent="Firefox")

    def later(self) -> None:
        """Let tokens settle, and access tokens end."""
        self.world.clock.forward(HOUR)


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest) -> Change:
    return CHANGES[request.param]


@pytest.fixture(params=KINDS, ids=IDS)
def running(request: pytest.FixtureRequest, change: Change) -> Iterator[Running]:
    settings = dict(change.before)
    group = {name: settings.pop(name) for name in ("secret",) if name in settings}
    with opened((request.param,), refresh=group, **settings) as world:
        yield Running(world, change)


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b64url_decode(token.split(".")[1].encode()))
    return found


def test_the_rows_are_those_of_the_page() -> None:
    table = PAGE.read_text("utf-8").partition("| Change |")[2].partition("\n\n")[0]
    assert [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines()[2:]] == [*CHANGES]


def test_without_the_entry_all_are_logged_out(running: Running) -> None:
    """What the entry is for."""
    tokens = running.login()
    running.later()
    running.restart(())
    answer = running.world.refresh(tokens.refresh_token)
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
    assert answer.reason in ("key_unknown", "issuer_not_trusted")


@accepts("RT-30.1")
def test_who_is_logged_in_stays_and_gets_tokens_of_the_present(running: Running) -> None:
    world = running.world
    tokens = running.login()
    running.later()
    running.changed()
    answer = world.refresh(tokens.refresh_token, headers=BROWSER)
    assert answer.status == 200
    (event,) = [one for one in answer.events if isinstance(one, Refreshed)]
    # The rotation rule doesn't notice, and neither does who watches for moved grants.
    assert (event.how, event.user_agent_changed) == ("rotated", False)
    for name, audience in (("refresh_token", running.change.issuer), ("access_token", AUDIENCE)):
        found = claims(answer.json[name])
        assert (found["iss"], found["aud"]) == (running.change.issuer, audience)
        assert found["sid"] == tokens.grant_id
    assert world.call(answer.json["access_token"]).user == "alice"


def test_an_answer_that_was_lost_is_given_again(running: Running) -> None:
    token = running.login().refresh_token
    running.later()
    running.changed()
    world = running.world
    assert world.refresh(token).status == 200
    running.later()
    again = world.renewed(token)  # the same former token: nobody got the answer
    running.later()
    assert world.refresh(again["refresh_token"]).status == 200


def test_a_client_that_refreshes_on_401_notices_nothing(running: Running) -> None:
    world = running.world
    tokens = running.login()
    world.clock.forward(90)  # the access token has most of its life before it
    running.changed()
    answer = world.call(tokens.access_token)
    if answer.status == 401:
        refreshed = world.renewed(tokens.refresh_token)
        answer = world.call(refreshed["access_token"])
    assert (answer.status, answer.user) == (200, "alice")


def test_old_and_new_processes_serve_each_others_tokens(running: Running) -> None:
    """A change that takes its time: those of before have an entry for what is to come."""
    world, change = running.world, running.change
    before = {"issuer": ISSUER, "secret": ()} | change.before
    token = running.login().refresh_token
    if change.after.get("secret") == MAC:
        # It still signs access tokens in the processes of before: another secret must come.
        with pytest.raises(ConfigurationError, match="who verifies those could make refresh"):
            running.restart(change.coming, before)
        return
    seen = set()
    for _ in range(2):
        for former, settings in ((change.coming, before), (change.entry(), None)):
            running.restart(former, settings)
            running.later()
            token = world.renewed(token)["refresh_token"]
            seen.add(claims(token)["iss"])
    assert seen == {ISSUER, change.issuer}


@accepts("RT-25")
def test_a_log_out_by_a_former_token_ends_its_grant(running: Running) -> None:
    world = running.world
    tokens = running.login()
    running.later()
    running.changed()
    assert world.revoke(tokens.refresh_token).status == 200
    assert not world.is_alive(tokens.grant_id)
    assert world.refresh(tokens.refresh_token).reason == "grant_ended"


def test_a_login_replaces_what_a_former_token_stands_for(running: Running) -> None:
    world = running.world
    old = running.login()
    running.later()
    running.changed()
    new = world.login("bob", replaces=old.refresh_token)
    assert not world.is_alive(old.grant_id)
    assert world.is_alive(new.grant_id)


@pytest.mark.parametrize("at", ["both before", "one after", "all after"])
def test_a_copy_is_still_found(running: Running, at: str) -> None:
    world = running.world
    tokens = running.login()
    copied = token = tokens.refresh_token
    for step in range(3):
        if step == {"both before": 2, "one after": 1, "all after": 0}[at]:
            running.changed()
        running.later()
        token = world.renewed(token)["refresh_token"]
    answer = world.refresh(copied)
    assert (answer.status, answer.reason) == (400, "refresh_token_reused")
    assert not world.is_alive(tokens.grant_id)
    assert world.refresh(token).reason == "grant_ended"


@accepts("RT-30.1")
@refuses("RT-30.1")
def test_from_the_date_on_it_is_taken_no_more(running: Running) -> None:
    """The process runs meanwhile, and nobody has to stop it."""
    world = running.world
    world.clock.now = UNTIL - 3 * HOUR
    tokens, others = running.login(), running.login("bob")
    running.changed()
    world.clock.now = UNTIL - 1
    renewed = world.renewed(tokens.refresh_token)
    world.clock.now = UNTIL
    for one in (tokens, others):
        answer = world.refresh(one.refresh_token)
        assert (answer.status, answer.json["error"], answer.reason) == (
            *(400, "invalid_grant"),
            "expired",
        )
        assert world.revoke(one.refresh_token).status == 200
        assert world.is_alive(one.grant_id)
    running.later()
    assert world.refresh(renewed["refresh_token"]).status == 200  # it is of the present


@refuses("RT-30.1")
def test_a_leak_is_cut_short(running: Running) -> None:
    world = running.world
    tokens = running.login()
    running.later()
    running.changed()
    kept_in = world.renewed(tokens.refresh_token)["refresh_token"]
    running.later()
    for former in (running.change.entry(world.clock.now), ()):
        running.restart(former)
        assert world.refresh(tokens.refresh_token).json["error"] == "invalid_grant"
    # Who had refreshed meanwhile has nothing of it, and stays.
    assert world.refresh(kept_in).status == 200


@refuses("RT-30.1", "RS-25")
def test_a_former_secret_speaks_for_the_name_of_its_time_alone(running: Running) -> None:
    """Whoever has it can make what it signed then, until the date, and nothing else."""
    world, change = running.world, running.change
    tokens = running.login()
    running.later()
    running.changed()
    header = json_octets({"alg": "HS256", "kid": change.signed.kid, "typ": "rt+jwt"})
    true = claims(tokens.refresh_token)
    for name in (NEW_NAME, "https://stranger.example"):
        for wrong in ({"iss": name, "aud": name}, {"iss": name}, {"aud": name}):
            if change.signed.kid in _present(running) and wrong == {"iss": name, "aud": name}:
                continue  # one secret, two names: it is the present one's, too
            forged = seal(header, json_octets(true | wrong), change.signed)
            answer = world.refresh(forged)
            assert (answer.status, answer.reason) == (400, "issuer_not_trusted"), wrong
            assert world.revoke(forged).status == 200
    for odd in (None, 5, [ISSUER], {"a": 1}):
        forged = seal(header, json_octets(true | {"iss": odd, "aud": odd}), change.signed)
        assert world.refresh(forged).reason == "issuer_not_trusted"
    unsigned = seal(header, json_octets(true), from_text(MAC[::-1]))
    assert world.refresh(unsigned).reason == "signature_invalid"
    assert world.is_alive(tokens.grant_id)
    assert world.refresh(tokens.refresh_token).status == 200


def _present(running: Running) -> set[str]:
    settings = running.world.site.settings
    assert settings.refresh is not None
    keys = refresh_keys(settings.keys, settings.refresh, settings.issuer)
    secrets = settings.refresh.secrets
    return {keys.signer.kid, *(from_text(one).kid for one in secrets)}


# --- Keys in a file


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


@pytest.fixture(params=KINDS, ids=IDS)
def from_file(request: pytest.FixtureRequest, keys: Keys) -> Iterator[World]:
    """Open a service whose refresh tokens were derived from its key file, and no longer are."""
    with behind(request.param, keys) as world:
        yield world


def configured(world: World, keys: Keys) -> None:
    former = (Former(until=UNTIL, keys=KeySet.load(keys.path)),)
    world.each(lambda site: site.restart(refresh={"secret": SECRET, "former": former}))
    followed(world)


def test_a_key_that_is_taken_out_of_its_file_takes_what_was_derived_from_it(
    from_file: World, keys: Keys
) -> None:
    world = from_file
    tokens = world.login()
    configured(world, keys)
    keys.rotate("--force")
    followed(world)
    world.clock.forward(HOUR)
    followed(world)
    again = world.renewed(tokens.refresh_token)
    keys.retire("--force")
    followed(world)
    answer = world.refresh(tokens.refresh_token)
    assert (answer.status, answer.reason) == (400, "key_unknown")
    world.clock.forward(HOUR)
    assert world.refresh(again["refresh_token"]).status == 200


def test_a_key_that_follows_meanwhile_logs_nobody_out(from_file: World, keys: Keys) -> None:
    """Processes of before still run, have seen a rotation, and sign by what isn't known here."""
    world = from_file
    before = world.sites[0].settings
    configured(world, keys)
    for _ in range(2):
        keys.rotate("--force")
    other = before.replace(keys=KeySet.load(keys.path), on_event=None)
    tokens = _issued(other)
    world.clock.forward(2)  # nobody would look yet
    assert world.refresh(tokens.refresh_token).status == 200


def test_keys_that_can_not_be_read_are_no_log_out(from_file: World, keys: Keys) -> None:
    world = from_file
    before = world.sites[0].settings
    configured(world, keys)
    for _ in range(2):
        keys.rotate("--force")
    tokens = _issued(before.replace(keys=KeySet.load(keys.path), on_event=None))
    replaced(keys.path, b"")
    followed(world)
    answer = world.refresh(tokens.refresh_token)
    assert (answer.status, answer.reason) == (503, "keys_unavailable")


def _issued(settings: Settings) -> Tokens:
    tokens = Issuer(settings).issue("alice")
    settings.close()
    return tokens
