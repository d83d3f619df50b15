"""`jwt-middleware keys`: made, rotated and retired in their time, whole or not at all."""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from jwt_middleware import KeySet
from jwt_middleware.cli import keys as command
from jwt_middleware.cli import timed
from jwt_middleware.cli.__main__ import main
from jwt_middleware.keys import file
from tests.issuing import DAY, HOUR, Clock

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(command, "clock", clock)
    return clock


class Operator:
    """Who sits before a terminal, in the folder of one key file."""

    def __init__(self, folder: Path, capsys: Capture) -> None:
        self.path = folder / "keys.json"
        self._capsys = capsys
        self.warnings = ""

    def does(self, line: str) -> str:
        """Run a command that succeeds; return what it prints."""
        assert main(["keys", *line.split()]) == 0
        out, self.warnings = self._capsys.readouterr()
        return out

    def can_not(self, line: str) -> str:
        """Run a command that is refused, in one line, and changes nothing; return the line."""
        before = contents(self.path.parent)
        assert main(["keys", *line.split()]) == 2
        out, err = self._capsys.readouterr()
        assert out == ""
        assert err.startswith("jwt-middleware: ")
        assert err.count("\n") == 1
        assert contents(self.path.parent) == before
        return err

    @property
    def members(self) -> list[dict[str, Any]]:
        return json.loads(self.path.read_bytes())["keys"]

    def states(self) -> dict[str, list[str]]:
        """Return which keys are in which state."""
        found: dict[str, list[str]] = {}
        for member in self.members:
            found.setdefault(member["state"], []).append(member["kid"])
        return found

    def kid(self, state: str) -> str:
        return self.states()[state][0]

    def has(self, document: Any, mode: int = 0o600) -> None:
        text = document if isinstance(document, str) else json.dumps(document)
        self.path.write_text(text)
        self.path.chmod(mode)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def operator(
    tmp_path: Path, capsys: Capture, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Operator:
    monkeypatch.chdir(tmp_path)
    return Operator(tmp_path, capsys)


# --- new


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "HS512", "PS256"])
def test_new_makes_the_key_that_signs_and_the_next_for_their_owner_alone(
    operator: Operator, algorithm: str
) -> None:
    out = operator.does(f"new --algorithm {algorithm}")
    assert stat.S_IMODE(operator.path.stat().st_mode) == 0o600
    keys = KeySet.load("keys.json")
    assert keys.algorithms == {algorithm}
    active, following = keys.keys
    assert keys.signer is active
    assert active.verifies
    assert (following.signs, following.verifies) == (False, True)
    for part in (algorithm, active.kid, following.kid, "keys.json", "KeySet.load"):
        assert part in out


def test_new_is_es256_in_keys_json_when_nothing_is_said(operator: Operator) -> None:
    operator.does("new")
    assert KeySet.load(operator.path).algorithms == {"ES256"}
    for option in ("--out", "--file"):
        operator.does(f"new {option} other{option}.json")
        assert KeySet.load(f"other{option}.json").signer is not None


def test_any_reader_of_key_sets_sees_from_the_standard_members_which_key_signs(
    operator: Operator,
) -> None:
    operator.does("new")
    active, following = operator.members
    assert "key_ops" not in active
    assert following["key_ops"] == ["verify"]  # RFC 7517 s4.3
    assert [one["since"] for one in operator.members] == [1_800_000_000] * 2


def test_new_replaces_a_file_only_by_force(operator: Operator) -> None:
    operator.has("precious")
    assert "--force" in operator.can_not("new")
    operator.does("new --force")
    assert KeySet.load(operator.path).signer is not None


def test_new_by_force_keeps_the_link_the_owner_and_the_mode(
    operator: Operator, tmp_path: Path
) -> None:
    operator.does("new --file real.json")
    real = tmp_path / "real.json"
    real.chmod(0o640)
    os.chown(real, 65534, 65534)
    operator.path.symlink_to(real)
    before = real.read_bytes()
    assert "with the owner and the mode of the one before" in operator.does("new --force")
    assert operator.path.is_symlink()
    status = real.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65534, 0o640)
    assert real.read_bytes() != before


def test_new_by_force_makes_the_first_file_too(operator: Operator) -> None:
    assert "readable by you alone" in operator.does("new --force")


def test_no_key_bears_a_name_that_looks_like_an_option(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(("-f", "active", "--force", "next"))
    generate = KeySet.generate
    monkeypatch.setattr(KeySet, "generate", lambda algorithm: generate(algorithm, kid=next(names)))
    operator.does("new")
    assert operator.states() == {"active": ["active"], "next": ["next"]}


# A thumbprint may begin as an option does, or contain what a token begins with.
@pytest.mark.parametrize("begun", ["-", "-h", "--file", "xeyJ"])
def test_a_key_by_any_name_is_listed_and_retired(operator: Operator, begun: str) -> None:
    name = begun.ljust(43, "x")
    old = KeySet.generate(kid=name)
    KeySet((*KeySet.generate(kid="first").keys, *old.keys)).save(operator.path)
    assert name in operator.does("list").split()
    assert f"kid {name} is needed" in operator.can_not(f"retire {name}")
    operator.does(f"retire {name} --force")
    assert [one["kid"] for one in operator.members] == ["first"]


# --- rotate


def test_a_rotation_gives_each_key_its_next_state(operator: Operator, clock: Clock) -> None:
    operator.does("new")
    first, second = operator.kid("active"), operator.kid("next")
    clock.forward(HOUR)
    out = operator.does("rotate")
    states = operator.states()
    assert (states["active"], states["retired"]) == ([second], [first])
    assert states["next"][0] not in (first, second)
    assert KeySet.load(operator.path).signer.kid == second  # type: ignore[union-attr]
    assert out.count(first) == 2
    assert f"keys retire {first}` from 2027-02-14T09:00Z" in out  # 30 days
    assert "from 2027-01-15T10:00Z" in out  # an hour
    assert [one["since"] for one in operator.members] == [int(clock.now)] * 3


def test_a_rotation_waits_until_the_next_key_is_known_everywhere(
    operator: Operator, clock: Clock
) -> None:
    operator.does("new")
    clock.forward(HOUR - 1)
    told = operator.can_not("rotate")
    assert operator.kid("next") in told
    assert "60 minutes: rotate from 2027-01-15T09:00Z, or at once with --force" in told
    clock.forward(1)
    operator.does("rotate")
    assert operator.warnings == ""
    operator.can_not("rotate")


def test_force_rotates_at_once_and_says_what_breaks(operator: Operator) -> None:
    operator.does("new")
    second = operator.kid("next")
    operator.does("rotate --force")
    assert operator.kid("active") == second
    assert "warning: kid " in operator.warnings
    assert "who doesn't know it yet refuses its tokens" in operator.warnings


def test_the_next_key_can_be_of_another_algorithm(operator: Operator, clock: Clock) -> None:
    operator.does("new")
    clock.forward(HOUR)
    operator.does("rotate --algorithm Ed25519")
    assert "warning: ES256 and Ed25519 keys are published now" in operator.warnings
    clock.forward(HOUR)
    operator.does("rotate")
    assert operator.warnings == ""
    assert [key.algorithm.name for key in KeySet.load(operator.path).keys] == [
        *("Ed25519", "Ed25519", "ES256", "ES256")
    ]


def test_secrets_and_public_keys_never_share_a_file(operator: Operator, clock: Clock) -> None:
    operator.does("new")
    clock.forward(HOUR)
    assert "in one set" in operator.can_not("rotate --algorithm HS256")


def test_many_rotations_leave_the_youngest_retired_key_first(
    operator: Operator, clock: Clock
) -> None:
    operator.does("new")
    signers: list[str] = []
    for _ in range(4):
        signers.insert(0, operator.kid("active"))
        clock.forward(HOUR)
        operator.does("rotate")
    assert operator.states()["retired"] == signers


def test_a_file_from_before_there_were_states_first_gets_a_next_key(
    operator: Operator, clock: Clock
) -> None:
    keys = KeySet((*KeySet.generate().keys, *KeySet.generate().keys))
    keys.save(operator.path)
    first, older = (key.kid for key in keys.keys)
    assert "Nothing rotated yet" in operator.does("rotate")
    assert (operator.kid("active"), operator.kid("retired")) == (first, older)
    second = operator.kid("next")
    assert KeySet.load(operator.path).signer.kid == first  # type: ignore[union-attr]
    operator.can_not("rotate")
    clock.forward(HOUR)
    operator.does("rotate")
    assert operator.kid("active") == second
    # Since when the older one doesn't sign, nobody knows: it counts from now.
    assert [one["since"] for one in operator.members] == [int(clock.now)] * 4


def test_force_rotates_a_file_from_before_there_were_states_at_once(operator: Operator) -> None:
    KeySet.generate("Ed25519").save(operator.path)
    first = operator.members[0]["kid"]
    operator.does("rotate --force")
    assert operator.kid("retired") == first
    assert "warning: " in operator.warnings
    assert KeySet.load(operator.path).algorithms == {"Ed25519"}


def test_what_others_put_into_the_file_stays(operator: Operator, clock: Clock) -> None:
    operator.does("new")
    foreign = {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}
    document = json.loads(operator.path.read_bytes())
    document["keys"][0]["note"] = "made by Ann"
    operator.has({**document, "keys": [foreign, *document["keys"]], "owner": "payments"})
    clock.forward(HOUR)
    operator.does("rotate")
    document = json.loads(operator.path.read_bytes())
    assert document["owner"] == "payments"
    assert document["keys"][-1] == foreign
    assert document["keys"][2]["note"] == "made by Ann"


# --- retire


def rotated(operator: Operator, clock: Clock) -> str:
    """Make keys and rotate them once; return the retired one's name."""
    operator.does("new")
    clock.forward(HOUR)
    operator.does("rotate")
    return operator.kid("retired")


@pytest.mark.parametrize(
    ("options", "seconds", "why"),
    [
        ("", 30 * DAY, "refresh tokens"),
        ("--own-secret", DAY + 300 + HOUR, "access tokens"),
        ("--own-secret --access-lifetime 600", 600 + 300 + HOUR, "access tokens"),
        ("--access-lifetime 600 --idle-limit 604800", 7 * DAY, "refresh tokens"),
        ("--access-lifetime 86400 --idle-limit 60", DAY + 300 + HOUR, "refresh tokens"),
        ("--idle-limit 34560000", 400 * DAY, "refresh tokens"),
    ],
)
def test_a_retired_key_goes_when_nothing_needs_it_any_more(
    operator: Operator, clock: Clock, options: str, seconds: int, why: str
) -> None:
    old = rotated(operator, clock)
    clock.forward(seconds - 1)
    told = operator.can_not(f"retire {old} {options}")
    assert why in told
    end = re.search(r"retire it from (\S+), or at once with --force", told)
    assert end is not None
    assert end[1] == timed(clock.now + 1)
    assert f"retire: from {end[1]}" in operator.does(f"list {options}")
    clock.forward(1)
    assert old in operator.does(f"retire {old} {options}")
    assert [*operator.states()] == ["active", "next"]
    assert old not in {key.kid for key in KeySet.load(operator.path).keys}


@pytest.mark.parametrize("option", ["--access-lifetime", "--idle-limit"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "1", "soon"])
def test_a_life_that_no_settings_have_retires_nothing(
    operator: Operator, clock: Clock, option: str, seconds: str
) -> None:
    operator.does("new")
    operator.does("rotate --force")
    for line in (f"retire {operator.kid('retired')}", "list", "rotate"):
        assert f"argument {option}: " in operator.can_not(f"{line} {option} {seconds}")


def test_a_time_that_is_no_date_is_told(operator: Operator) -> None:
    operator.does("new")
    members = operator.members
    members[1]["since"] = 1 << 50
    operator.has({"keys": members})
    assert "a `since` is no time" in operator.can_not("list")


def test_force_retires_a_key_in_the_wrong_hands(operator: Operator, clock: Clock) -> None:
    old = rotated(operator, clock)
    operator.does(f"retire --force {old[:6]}")
    assert "warning: " in operator.warnings
    assert "must log in anew" in operator.warnings
    assert "retired" not in operator.states()


def test_the_active_key_is_not_retired(operator: Operator) -> None:
    operator.does("new")
    for force in ("", " --force"):
        told = operator.can_not(f"retire {operator.kid('active')}{force}")
        assert "`keys rotate` retires it" in told


def test_a_next_key_in_the_wrong_hands_gets_a_successor(operator: Operator) -> None:
    operator.does("new")
    stolen = operator.kid("next")
    assert "has signed nothing" in operator.can_not(f"retire {stolen}")
    operator.does(f"retire {stolen} --force")
    assert operator.kid("next") != stolen
    assert operator.warnings.startswith("warning: ")


def test_a_key_is_named_by_as_much_as_tells_it_from_the_others(operator: Operator) -> None:
    keys = [KeySet.generate(kid=kid).keys[0] for kid in ("2026", "2025", "2025-11")]
    KeySet(keys).save(operator.path)
    assert "none of its keys has a kid that begins with 'x'" in operator.can_not("retire x")
    assert "3 keys have a kid that begins with '20'" in operator.can_not("retire 20")
    # Since when they don't sign, a file without states doesn't say.
    told = operator.can_not("retire 2025")
    assert "when you know that nobody needs it" in told
    operator.does("retire 2025 --force")
    assert [one["kid"] for one in operator.members] == ["2026", "2025-11"]


# --- list and public


def test_list_says_what_can_be_done_and_when(operator: Operator, clock: Clock) -> None:
    old = rotated(operator, clock)
    states = operator.states()
    clock.forward(60)
    lines = [re.split(r"  +", line) for line in operator.does("list").splitlines()]
    assert lines == [
        ["KID", "ALG", "STATE", "SINCE", "WHAT CAN BE DONE"],
        [states["active"][0], "ES256", "active", "2027-01-15T09:00Z", "it signs"],
        [
            *(states["next"][0], "ES256", "next", "2027-01-15T09:00Z"),
            "rotate: from 2027-01-15T10:00Z",
        ],
        [old, "ES256", "retired", "2027-01-15T09:00Z", "retire: from 2027-02-14T09:00Z"],
    ]
    clock.forward(31 * DAY)
    done = [line.split()[4:] for line in operator.does("list").splitlines()[1:]]
    assert done == [["it", "signs"], ["rotate"], ["retire"]]


def test_list_says_nothing_that_a_terminal_obeys(operator: Operator) -> None:
    operator.does("new")
    members = operator.members
    members[1]["kid"] = "\x1b[2J\n"
    operator.has({"keys": members})
    out = operator.does("list")
    assert "\\x1b[2J\\n" in out
    assert "\x1b" not in out


def test_list_reads_a_file_without_states(operator: Operator) -> None:
    KeySet.secret("8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd", "x2K9pTz4_qWvE7sYdN0bGhJ5mRcL8uFa").save(
        operator.path
    )
    _, first, second = operator.does("list").splitlines()
    assert re.search(r"HS256 +active +unknown +it signs$", first)
    assert re.search(r"HS256 +retired +unknown +retire: when you know .* by --force$", second)


def test_public_prints_what_the_endpoint_publishes(operator: Operator, clock: Clock) -> None:
    rotated(operator, clock)
    published = json.loads(operator.does("public"))
    assert published == KeySet.load(operator.path).public_jwks()
    assert [key["kid"] for key in published["keys"]] == [one["kid"] for one in operator.members]
    assert not any({"d", "state", "since"} & {*key} for key in published["keys"])


def test_secrets_are_published_to_nobody(operator: Operator) -> None:
    operator.does("new --algorithm HS256")
    assert "published to nobody" in operator.can_not("public")


# --- what goes wrong


GOOD = KeySet.generate().keys[0].to_jwk()
OTHER = KeySet.generate().keys[0]
SECRET = KeySet.generate("HS256").keys[0].to_jwk()
COMMANDS = ("list", "rotate --force", "retire --force x", "public")


@pytest.mark.parametrize("line", COMMANDS)
@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "not one JSON object"),
        ({"keys": {}}, "not a JWK Set"),
        ({"keys": [GOOD | {"state": "retird"}]}, "keys[0]: its state must be one of next, active"),
        ({"keys": [GOOD | {"state": ["next"]}]}, "its state must be one of"),
        ({"keys": [GOOD | {"state": "active"}, OTHER.to_jwk()]}, "some have a state"),
        ({"keys": [GOOD | {"state": "next"}]}, "0 keys are active"),
        ({"keys": [OTHER.public_jwk()]}, "0 keys are active"),
        ({"keys": [OTHER.public_jwk() | {"state": "active"}]}, "has no private part that may sign"),
        (
            {"keys": [GOOD | {"state": "active", "key_ops": ["verify"]}]},
            "has no private part that may sign",
        ),
        (
            {"keys": [SECRET | {"state": "next", "key_ops": ["sign"]}]},
            "it is next, and its key_ops don't let it verify",
        ),
        (
            {"keys": [one | {"state": "active"} for one in (GOOD, OTHER.to_jwk())]},
            "2 keys are active",
        ),
        ({"keys": [GOOD | {"state": "active", "since": "now"}]}, "a `since` is no time"),
        ({"keys": [GOOD | {"state": "active", "since": -1}]}, "a `since` is no time"),
    ],
)
def test_a_damaged_file_is_left_as_it_is(
    operator: Operator, line: str, document: Any, says: str
) -> None:
    operator.has(document)
    told = operator.can_not(line)
    if not (line == "public" and "since" in says):
        assert says in told
    assert "keys.json: " in told
    assert GOOD["d"] not in told


@pytest.mark.parametrize("line", COMMANDS)
def test_a_file_that_is_missing_says_so(operator: Operator, line: str) -> None:
    told = operator.can_not(line)
    assert "keys.json: No such file or directory" in told
    assert told.count("keys.json: ") == 1
    assert "/nowhere/keys.json: No such file" in operator.can_not("new --file /nowhere/keys.json")


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o660, 0o666])
def test_a_file_that_others_may_read_is_not_rotated_but_told(operator: Operator, mode: int) -> None:
    operator.does("new")
    operator.path.chmod(mode)
    told = operator.can_not("rotate --force")
    assert f"its mode is {mode:04o}" in told
    assert "chmod 600" in told


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_rotation_keeps_owner_and_mode(operator: Operator, mode: int) -> None:
    operator.does("new")
    owner = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(operator.path, *owner)
    operator.path.chmod(mode)
    operator.does("rotate --force")
    status = operator.path.stat()
    assert (status.st_uid, status.st_gid) == owner
    assert stat.S_IMODE(status.st_mode) == mode


def test_a_link_to_the_file_stays_a_link(operator: Operator) -> None:
    operator.does("new --file real.json")
    operator.path.symlink_to("real.json")
    operator.does("rotate --force")
    assert operator.path.is_symlink()
    assert KeySet.load("real.json").signer is not None
    assert len(KeySet.load("real.json").keys) == 3


@pytest.fixture
def as_nobody(capsys: Capture, clock: Clock) -> Iterator[Operator]:
    """An operator who isn't root, in a folder that belongs to somebody else."""
    with TemporaryDirectory() as folder:
        path = Path(folder)
        operator = Operator(path, capsys)
        operator.does(f"new --file {operator.path}")
        is_root = os.geteuid() == 0
        if is_root:
            nobody = pwd.getpwnam("nobody").pw_uid
            os.chown(operator.path, nobody, -1)
            path.chmod(0o755)
            os.seteuid(nobody)
        else:
            path.chmod(0o555)
        try:
            yield operator
        finally:
            if is_root:
                os.seteuid(0)
            else:
                path.chmod(0o755)


def test_a_folder_that_can_not_be_written_leaves_all_as_it_was(as_nobody: Operator) -> None:
    path = as_nobody.path
    assert "Permission denied" in as_nobody.can_not(f"rotate --force --file {path}")
    assert "Permission denied" in as_nobody.can_not(f"new --force --file {path}")
    assert "Permission denied" in as_nobody.can_not(f"new --file {path.parent}/other.json")


def test_a_file_that_can_not_be_read_says_so(as_nobody: Operator) -> None:
    as_nobody.path.chmod(0)
    for line in ("list", "rotate --force"):
        assert main(["keys", *line.split(), "--file", str(as_nobody.path)]) == 2
    as_nobody.path.chmod(0o600)


# --- operators at the same time


def rotating(path: Path) -> list[str]:
    arguments = ("keys", "rotate", "--force", "--file", str(path))
    return [sys.executable, "-m", "jwt_middleware.cli", *arguments]


def test_no_operator_loses_anothers_change(operator: Operator) -> None:
    operator.does("new --algorithm Ed25519")
    with ThreadPoolExecutor(6) as pool:
        done = pool.map(
            lambda _: subprocess.run(rotating(operator.path), capture_output=True, check=False),
            range(12),
        )
        assert [one.returncode for one in done] == [0] * 12
    assert len(operator.members) == 2 + 12
    assert len(operator.states()["retired"]) == 12
    assert os.listdir(operator.path.parent) == ["keys.json"]


def test_a_file_that_somebody_holds_is_not_waited_for_in_vain(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.does("new")
    monkeypatch.setattr(file, "LOCK_TIMEOUT", 0.05)

    def meanwhile(contents: bytes) -> bytes:
        assert "another command changes it" in operator.can_not("rotate --force")
        return contents

    def can_be_read(contents: bytes) -> bytes:
        assert "active" in operator.does("list")
        return contents

    for each in (meanwhile, can_be_read):
        file.change_key_file(operator.path, each)
    operator.does("rotate --force")


def test_a_file_that_was_replaced_before_it_was_locked_is_locked_anew(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.does("new")
    first = operator.path.read_bytes()
    real, waiting = os.open, [True]

    def opening(path: Any, flags: int, *more: Any) -> int:
        descriptor = real(path, flags, *more)
        if waiting and os.path.samefile(path, operator.path):
            waiting.clear()
            # Another operator is done between the opening and the lock.
            file.change_key_file(operator.path, lambda contents: contents + b" ")
        return descriptor

    def alone(contents: bytes) -> bytes:
        with pytest.raises(BlockingIOError):
            file.change_key_file(operator.path, lambda contents: contents + b"lost")
        return contents + b"\n"

    monkeypatch.setattr(file, "LOCK_TIMEOUT", 0.05)
    monkeypatch.setattr(os, "open", opening)
    file.change_key_file(operator.path, alone)
    assert operator.path.read_bytes() == first + b" \n"


def test_the_disk_has_the_contents_before_the_file_has_its_name(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real_sync, real_replace, real_link = os.fsync, os.replace, os.link

    def fsync(descriptor: int) -> None:
        real_sync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    def named(name: Callable[..., None]) -> Callable[..., None]:
        def call(written: str, path: str) -> None:
            # Else a power cut could leave the new name, and nothing in it.
            assert os.stat(written).st_ino in synced
            name(written, path)
            replaced.append(path)

        return call

    replaced: list[str] = []
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", named(real_replace))
    monkeypatch.setattr(os, "link", named(real_link))
    for line in ("new", "rotate --force", "new --force"):
        operator.does(line)
    assert len(replaced) == 3


def test_two_that_make_the_file_at_once_make_one(operator: Operator) -> None:
    new = [sys.executable, "-m", "jwt_middleware.cli", "keys", "new"]
    processes = [subprocess.Popen(new, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE)]
    processes += [
        subprocess.Popen(new, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE) for _ in range(3)
    ]
    told = [one.communicate()[0].decode() for one in processes]
    assert sorted(one.returncode for one in processes) == [0, 2, 2, 2]
    (kept,) = filter(None, told)
    assert operator.kid("active") in kept
