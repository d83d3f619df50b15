"""Our own keys in a file that changes: processes follow it, and serve whatever is wrong with it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag
from threading import enumerate as threads
from typing import Any

import pytest

from jwt_middleware import Event, Issuer, KeySet, Refresh, Tokens
from jwt_middleware.cli import keys as command
from jwt_middleware.cli.__main__ import main
from jwt_middleware.jose import jws
from jwt_middleware.jose.strict_json import b64url_encode
from jwt_middleware.keys import file
from jwt_middleware.keys import live_keys as module
from jwt_middleware.keys.live_keys import LiveKeys
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.settings.refresh_secrets import refresh_keys
from jwt_middleware.values.events import KeysBack, KeysChanged, KeysFailed, Refreshed
from tests.issuing import (
    DAY,
    DOORS,
    DURABLE,
    HOUR,
    ISSUER,
    JSON,
    KEY_SET,
    REFRESH,
    Kind,
    Randomness,
    Site,
    World,
    opened,
    single,
)
from tests.waiting import PATIENCE, until
from tests.world import Sent

LOOK = 6  # seconds, after which a process looks at the file again
LOOKER = "jwt_middleware_keys"  # its thread


SECRET, OTHER = "8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd", "x2K9pTz4_qWvE7sYdN0bGhJ5mRcL8uFa"
each_durable = pytest.mark.parametrize("kind", DURABLE, ids=[door for door, _ in DURABLE])


class Keys:
    """One key file, and the operator who changes it."""

    def __init__(self, path: Path, algorithm: str = "Ed25519") -> None:
        self.path = path
        self._algorithm = algorithm
        self.new()
        self.given = KeySet.load(path)

    def new(self) -> None:
        self._does("new", "--force", "--algorithm", self._algorithm)

    def _does(self, *arguments: str) -> None:
        assert main(["keys", *arguments, "--file", str(self.path)]) == 0

    def rotate(self, *options: str) -> None:
        self._does("rotate", *options)

    def retire(self, *options: str) -> None:
        self._does("retire", self.kids("retired")[-1], *options)

    def kids(self, *states: str) -> list[str]:
        members = json.loads(self.path.read_bytes())["keys"]
        return [one["kid"] for one in members if one["state"] in (states or ("active",))]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


@contextmanager
def behind(door: Kind, keys: Keys) -> Generator[World]:
    """Open one door before keys in a file. The operator's clock is the service's."""
    with single(door, keys=keys.given) as site, pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "clock", site.clock)
        # Alone: threads that look at the file draw at random, and no two sites do so in step.
        yield World([site], site.clock, Randomness())


@pytest.fixture(params=DOORS, ids=[door for door, _ in DOORS])
def world(request: pytest.FixtureRequest, keys: Keys) -> Iterator[World]:
    with behind(request.param, keys) as one:
        keys.new()
        followed(one)
        yield one


def live(site: Site) -> LiveKeys:
    return Runtime.of(site.settings).issuers.own.keys


def followed(world: World) -> None:
    """Let time pass until every process has looked at the file, as the next request makes it do."""
    world.clock.forward(LOOK)

    def look(site: Site) -> None:
        site.send(Sent("OPTIONS", REFRESH))
        landed()

    world.each(look)


def landed() -> None:
    """Wait until no look is on its way, and all is told."""
    until(lambda: LOOKER not in {thread.name for thread in threads()})


def latest(world: World) -> Event:
    """Return what was told last."""
    return world.events[-1]


def signer_of(token: str) -> str | None:
    return jws.parse(token).header.kid


def published(world: World) -> list[str]:
    return [key["kid"] for key in world.get(KEY_SET).json["keys"]]


# --- what follows a rotation


def test_the_published_set_holds_next_active_and_retired(world: World, keys: Keys) -> None:
    before = world.get(KEY_SET)
    assert published(world) == keys.kids("active", "next")
    world.clock.forward(HOUR)
    keys.rotate()
    followed(world)
    answer = world.get(KEY_SET)
    assert published(world) == keys.kids("active", "next", "retired")
    assert len(published(world)) == 3
    assert answer.header("etag") != before.header("etag")
    assert answer.header("content-type") == JSON
    assert int(answer.header("content-length") or 0) == len(answer.body)
    assert not any({"d", "state", "since", "key_ops"} & {*key} for key in answer.json["keys"])
    for etag, status in ((before.header("etag"), 200), (answer.header("etag"), 304)):
        assert world.get(KEY_SET, headers=[("If-None-Match", etag or "")]).status == status


def test_a_rotation_is_followed_without_a_restart(world: World, keys: Keys) -> None:
    tokens = world.login()
    first = signer_of(tokens.access_token)
    assert [first] == keys.kids()
    world.clock.forward(HOUR)
    tokens = world.login()
    keys.rotate()
    followed(world)
    after = world.login()
    assert [signer_of(after.access_token)] == keys.kids()
    assert signer_of(after.access_token) != first
    for one in (tokens, after):
        assert world.call(one.access_token).status == 200


def test_refresh_tokens_survive_rotations(world: World, keys: Keys) -> None:
    """And each rotation's first refresh brings a token under the new secret."""
    token = world.login().refresh_token
    kids = {signer_of(token)}
    for _ in range(3):
        world.clock.forward(HOUR)
        keys.rotate()
        followed(world)
        found = world.renewed(token)
        assert [signer_of(found["access_token"])] == keys.kids()
        assert world.call(found["access_token"]).status == 200
        # The one before is this one's parent: its answer may have been lost.
        assert world.renewed(token)["refresh_token"] != token
        token = found["refresh_token"]
        kids.add(signer_of(token))
    assert len(kids) == 4


def test_a_rotation_is_no_change_of_the_browser(world: World, keys: Keys) -> None:
    agent = [("User-Agent", "Firefox")]
    token = world.login(user_agent="Firefox").refresh_token
    for _ in range(2):
        world.clock.forward(HOUR)
        keys.rotate()
        followed(world)
        token = world.renewed(token, headers=agent)["refresh_token"]
    told = [event for event in world.events if isinstance(event, Refreshed)]
    assert [one.user_agent_changed for one in told] == [False, False]


def test_a_refresh_token_of_the_next_key_is_good_before_the_rotation_is_seen(
    world: World, keys: Keys
) -> None:
    """Another process may have seen it already."""
    world.clock.forward(HOUR)
    followed(world)
    old = world.site.settings.replace(keys=KeySet.from_jwks(keys.path.read_bytes()))
    keys.rotate()
    found = world.each(
        lambda site: (
            Runtime.of(site.settings.replace(keys=KeySet.load(keys.path)))
            .core(asynchronous=False)
            .issuing.signing()  # type: ignore[union-attr]
            .refresh.signer.kid
        )
    )
    before = Runtime.of(old).core(asynchronous=False).issuing
    assert before is not None
    assert before.signing().refresh.find(found) is not None
    assert before.signing().refresh.signer.kid != found


def test_what_a_retired_key_signed_goes_with_it(world: World, keys: Keys) -> None:
    world.clock.forward(HOUR)
    followed(world)
    tokens = world.login()
    keys.rotate()
    followed(world)
    assert world.call(tokens.access_token).status == 200
    keys.retire("--force")
    followed(world)
    assert world.call(tokens.access_token).reason == "key_unknown"
    answer = world.refresh(tokens.refresh_token)
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")


def test_a_grant_that_comes_back_in_its_time_finds_the_old_secret(world: World, keys: Keys) -> None:
    world.clock.forward(HOUR)
    followed(world)
    token = world.login().refresh_token
    keys.rotate()
    for _ in range(6):
        world.clock.forward(DAY)
        keys.rotate()
        followed(world)
    assert world.renewed(token)["refresh_token"] != token
    # Six days, and five retired ones since: the time of none is over yet.
    assert len(keys.kids("retired")) == 7


def test_changes_are_told_by_kid(world: World, keys: Keys) -> None:
    world.clock.forward(HOUR)
    before = len(world.events)
    keys.rotate()
    followed(world)
    (event,) = world.events[before:]
    assert isinstance(event, KeysChanged)
    assert (event.added, event.removed) == (tuple(keys.kids("next")), ())
    old = tuple(keys.kids("retired"))
    keys.retire("--force")
    followed(world)
    assert latest(world) == KeysChanged(issuer=event.issuer, added=(), removed=old)


# --- who looks, and when


def test_a_process_that_was_idle_looks_before_it_signs(world: World, keys: Keys) -> None:
    world.clock.forward(DAY)
    keys.rotate()
    # The first request after a day, and the key that it signs with is the new one.
    assert [signer_of(world.login().access_token)] == keys.kids()
    world.clock.forward(DAY)
    keys.rotate()
    assert published(world) == keys.kids("active", "next", "retired")


def test_a_process_that_was_idle_looks_before_it_lets_in(world: World, keys: Keys) -> None:
    world.clock.forward(HOUR)
    followed(world)
    token = world.login().access_token
    assert world.call(token).status == 200
    keys.rotate()
    keys.retire("--force")  # somebody else has it, and comes to whoever may not know yet
    world.clock.forward(120)
    assert world.call(token).reason == "key_unknown"


def test_a_look_that_hangs_lets_known_keys_in(
    world: World, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = world.login().access_token
    world.clock.forward(120)
    free = Flag()
    real = file.read_key_file

    def hanging(path: Any) -> bytes:
        free.wait(PATIENCE)
        return real(path)

    keys.path.touch()
    monkeypatch.setattr(file, "read_key_file", hanging)
    monkeypatch.setattr(module, "JOINED", 0.05)
    before = time.monotonic()
    assert world.call(token).status == 200
    assert time.monotonic() - before < PATIENCE / 2
    free.set()
    landed()


def test_a_look_that_hangs_holds_nobody_up_for_long(
    world: World, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.clock.forward(DAY)
    keys.rotate()
    free = Flag()
    real = file.read_key_file

    def hanging(path: Any) -> bytes:
        free.wait(PATIENCE)
        return real(path)

    monkeypatch.setattr(file, "read_key_file", hanging)
    monkeypatch.setattr(module, "JOINED", 0.05)
    before = time.monotonic()
    first = world.login()
    assert time.monotonic() - before < PATIENCE / 2
    assert [signer_of(first.access_token)] == keys.kids("retired")
    free.set()
    landed()
    assert [signer_of(world.login().access_token)] == keys.kids()


def test_while_a_look_fails_nobody_waits_for_the_next(world: World, keys: Keys) -> None:
    keys.path.unlink()
    world.clock.forward(DAY)
    for _ in range(3):
        assert world.login().access_token
        assert world.get(KEY_SET).status == 200
        world.clock.forward(31)


def test_a_clock_that_is_set_back_stops_no_login(world: World, keys: Keys) -> None:
    world.clock.forward(-DAY)
    assert world.login().access_token
    keys.path.unlink()
    world.clock.forward(-DAY)
    assert world.login().access_token
    assert world.get(KEY_SET).status == 200


def test_keys_without_a_file_are_never_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(DOORS) as world:
        world.clock.forward(DAY)
        world.login()
        assert world.get(KEY_SET).status == 200
        assert LOOKER not in {thread.name for thread in threads()}
        assert world.each(lambda site: live(site).fresh.generation) == 1


# --- what is wrong with a new file


def without_signer(keys: Keys) -> bytes:
    return json.dumps(keys.given.public_jwks()).encode()


def other_kind(_: Keys) -> bytes:
    return json.dumps({"keys": [KeySet.generate("HS256").keys[0].to_jwk()]}).encode()


def weak(keys: Keys) -> bytes:
    return json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "alg": "HS256"}]}).encode()


FAULTS: dict[str, tuple[Callable[[Keys], bytes], str]] = {
    "damaged": (lambda keys: keys.path.read_bytes()[:-9], "not one JSON object"),
    "empty": (lambda _: b"", "not one JSON object"),
    "no keys": (lambda _: b'{"keys": []}', "empty"),
    "too large": (lambda _: bytes(file.MAX_FILE + 1), "larger than"),
    "without a signer": (without_signer, "none of the keys that were found can sign"),
    "another kind": (other_kind, "secrets were found where public keys were"),
    "a weak key": (weak, "too short"),
    "a state that is none": (
        lambda keys: keys.path.read_bytes().replace(b'"next"', b'"nxet"'),
        "its state must be one of",
    ),
}


def replaced(path: Path, contents: bytes) -> None:
    file.write_key_file(path, contents)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_no_good_changes_nothing_but_an_event(
    world: World, keys: Keys, fault: str
) -> None:
    make, says = FAULTS[fault]
    good, before = keys.path.read_bytes(), len(world.events)
    tokens = world.login()
    replaced(keys.path, make(keys))
    for _ in range(3):
        followed(world)
        world.clock.forward(31)
    failed = [one for one in world.events[before:] if isinstance(one, KeysFailed)]
    assert len(failed) == 1
    assert says in failed[0].detail
    assert world.renewed(tokens.refresh_token)["access_token"]
    assert signer_of(world.login().access_token) == signer_of(tokens.access_token)
    assert len(published(world)) == 2
    replaced(keys.path, good)
    world.clock.forward(31)
    followed(world)
    assert isinstance(latest(world), KeysBack)
    keys.rotate("--force")
    followed(world)
    assert [signer_of(world.login().access_token)] == keys.kids()


def test_a_file_that_is_gone_changes_nothing_but_an_event(world: World, keys: Keys) -> None:
    tokens = world.login()
    good = keys.path.read_bytes()
    keys.path.unlink()
    followed(world)
    failed = latest(world)
    assert isinstance(failed, KeysFailed)
    assert "No such file" in failed.detail
    assert world.call(tokens.access_token).status == 200
    world.renewed(tokens.refresh_token)
    replaced(keys.path, good)
    world.clock.forward(31)
    followed(world)
    assert isinstance(latest(world), KeysBack)


@contextmanager
def issued_elsewhere(kind: Kind, keys: Keys, **refresh: Any) -> Generator[tuple[World, Tokens]]:
    """Open a site that can't read its keys any more, and a login at another that can."""
    with single(kind, keys=keys.given, refresh=refresh) as site:
        world = World([site], site.clock, Randomness())
        for _ in range(2):
            keys.rotate("--force")
        group = replace(site.settings.refresh, secret=OTHER if refresh else ())  # type: ignore[type-var]
        other = site.settings.replace(keys=KeySet.load(keys.path), refresh=group)
        tokens = Issuer(other).issue("alice")
        other.close()
        good = keys.path.read_bytes()
        replaced(keys.path, b"")
        followed(world)
        yield world, tokens
        replaced(keys.path, good)
        world.clock.forward(31)
        followed(world)
        assert (world.refresh(tokens.refresh_token).status == 200) is not bool(refresh)


@each_durable
def test_a_key_that_only_others_can_read_is_our_fault_and_no_log_out(
    kind: Kind, keys: Keys
) -> None:
    with issued_elsewhere(kind, keys) as (world, tokens):
        for answer in (
            world.call(tokens.access_token),
            world.refresh(tokens.refresh_token),
            world.revoke(tokens.refresh_token),
        ):
            assert (answer.status, answer.reason) == (503, "keys_unavailable")
            assert int(answer.header("retry-after") or 0) > 0
        assert world.refresh("rubbish").status == 400


@each_durable
@pytest.mark.parametrize("verb", ["refresh", "revoke"])
def test_a_key_that_is_not_known_here_yet_logs_nobody_out(
    kind: Kind, keys: Keys, verb: str
) -> None:
    with single(kind, keys=keys.given) as site:
        world = World([site], site.clock, Randomness())
        followed(world)
        for _ in range(2):
            keys.rotate("--force")
        other = site.settings.replace(keys=KeySet.load(keys.path))
        issuer = Issuer(other)
        tokens = issuer.issue("alice")
        world.clock.forward(2)  # nobody would look yet
        if verb == "refresh":
            assert world.refresh(tokens.refresh_token).status == 200
        else:
            assert world.revoke(tokens.refresh_token).status == 200
            assert issuer.grants("alice") == ()
        other.close()
        # Rubbish doesn't make it look again and again: it would find that the file is gone.
        keys.path.unlink()
        header = json.dumps({"alg": "HS256", "kid": "nobody's", "typ": "rt+jwt"}).encode()
        payload = json.dumps({"iss": ISSUER}).encode()
        forged = b".".join(map(b64url_encode, (header, payload, b"code"))).decode()
        assert world.refresh(forged).reason == "key_unknown"


@each_durable
def test_a_secret_of_its_own_is_in_no_file(kind: Kind, keys: Keys) -> None:
    with issued_elsewhere(kind, keys, secret=SECRET) as (world, tokens):
        assert world.refresh(tokens.refresh_token).reason == "key_unknown"
        assert world.revoke(tokens.refresh_token).status == 200


def test_a_mounted_secret_is_swapped_by_its_folders_link(
    world: World, keys: Keys, tmp_path: Path
) -> None:
    """As Kubernetes does it: the file is a link into a folder, which is a link to another."""
    for number in (1, 2):
        Keys(tmp_path / str(number)).path.rename(tmp_path / f"keys-{number}")
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"keys-{number}").rename(tmp_path / f"..{number}" / "keys.json")
    link, data = keys.path, tmp_path / "..data"
    for number in (1, 2):
        swapped = tmp_path / "..data_tmp"
        swapped.symlink_to(f"..{number}")
        swapped.rename(data)
        link.unlink()
        link.symlink_to("..data/keys.json")
        followed(world)
        assert [signer_of(world.login().access_token)] == keys.kids()
        assert published(world) == keys.kids("active", "next")


def test_the_key_that_signs_gives_the_secret_wherever_it_stands_in_the_file(
    tmp_path: Path,
) -> None:
    keys = Keys(tmp_path / "keys.json")
    keys.rotate("--force")
    document = json.loads(keys.path.read_bytes())
    turned = {"keys": document["keys"][::-1]}
    group = Refresh(store="memory://")
    first, second = (
        refresh_keys(KeySet.from_jwks(one), group, ISSUER) for one in (document, turned)
    )
    assert first.signer.kid == second.signer.kid
    assert {*first.by_header} == {*second.by_header}


def test_a_file_that_was_only_touched_is_no_change(world: World, keys: Keys) -> None:
    before = len(world.events), world.get(KEY_SET).header("etag")
    replaced(keys.path, keys.path.read_bytes())
    followed(world)
    os.utime(keys.path)
    followed(world)
    assert (len(world.events), world.get(KEY_SET).header("etag")) == before


@pytest.mark.parametrize("door", DOORS, ids=[door for door, _ in DOORS])
def test_secrets_rotate_in_a_file_and_are_never_published(door: Kind, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json", "HS256")
    with behind(door, keys) as world:
        tokens = world.login()
        keys.rotate("--force")
        followed(world)
        assert world.get(KEY_SET).status == 401  # a path like any other
        after = world.renewed(tokens.refresh_token)
        assert [signer_of(after["access_token"])] == keys.kids()
        assert world.call(tokens.access_token).status == 200
        replaced(keys.path, json.dumps({"keys": [KeySet.generate().keys[0].to_jwk()]}).encode())
        followed(world)
        failed = latest(world)
        assert isinstance(failed, KeysFailed)
        assert "or the reverse" in failed.detail


# --- where the file lies


def test_a_link_is_followed_when_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    link, there = tmp_path / "keys.json", tmp_path / "data" / "real.json"
    link.symlink_to(there)
    for _ in range(2):  # the first makes what the link names
        made = KeySet.generate()
        made.save(link)
        assert link.is_symlink()
        assert KeySet.load(there).by_kid.keys() == made.by_kid.keys()
    there.unlink()
    file.create_key_file(link, b"{}")
    assert (link.is_symlink(), there.read_bytes()) == (True, b"{}")


def test_the_folder_is_synced_after_the_new_name_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "keys.json", []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            synced.append(path.read_bytes())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    file.create_key_file(path, b"made")
    file.write_key_file(path, b"written")
    file.change_key_file(path, lambda before: before + b" and changed")
    assert synced == [b"made", b"written", b"written and changed"]


def test_on_nfs_the_lock_is_granted_for_a_file_that_is_open_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # flock(2): there it is a lock of fcntl(2), which wants that. A file system of this kind isn't
    # to be had here.
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    path = tmp_path / "keys.json"
    file.write_key_file(path, b"one")
    file.change_key_file(path, lambda before: before + b" two")
    assert path.read_bytes() == b"one two"


def test_a_file_that_its_owner_may_only_read_is_changed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "keys.json", os.open
    file.write_key_file(path, b"one")
    path.chmod(0o400)

    def opened(name: Any, flags: int, *mode: int) -> int:
        if name == str(path) and flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(errno.EACCES, "as for who isn't root")
        return real(name, flags, *mode)

    monkeypatch.setattr(os, "open", opened)
    file.change_key_file(path, lambda before: before + b" two")
    assert path.read_bytes() == b"one two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
