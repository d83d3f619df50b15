"""`jwt-middleware keys`: make the issuer's keys, and rotate them while the service runs."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..jose.algorithms import ALGORITHMS
from ..jose.jwk import Key, is_foreign
from ..keys import file
from ..keys import own_keys as states
from ..keys.key_set import KeySet
from ..keys.own_keys import FileKey, KeyStage
from ..settings.issuing_groups import DAY, Refresh
from ..settings.settings import LONGEST_LEEWAY, wall_clock
from ..values.errors import ConfigurationError
from . import Refusal, printable, table, timed
from .commands import Option, Subcommand, option, plain_kid
from .configured import BREAKS_SETS, published_kinds

clock = wall_clock
REFRESH_LIFE = 30 * DAY  # seconds that a derived secret is kept, if no idle limit is longer


# --- the commands


def _make_keys(arguments: Namespace) -> None:
    path: Path = arguments.file
    now = clock()
    found = states.begun(_new_key(arguments.algorithm), _new_key(arguments.algorithm), now)
    contents, replaced = states.document(found), arguments.force and os.path.exists(path)
    with _refusals(path):
        if replaced:
            file.change_key_file(path, lambda _: contents)
        else:
            file.create_key_file(path, contents)
    active, following = found
    whose = "with the owner and the mode of the one before" if replaced else "readable by you alone"
    sys.stdout.write(
        f"Wrote {path}, {whose}: the {active.key.algorithm.name} key that signs, kid "
        f"{active.key.kid}, and the next, kid {following.key.kid}.\n"
        f'Next: Settings(..., keys=KeySet.load("{path}")). Never commit the file, and keep a copy\n'
        "as you keep a password: without it everybody is logged out.\n"
    )


def _list_keys(arguments: Namespace) -> None:
    (_, found), keep = _parsed_file(arguments.file), _keep(arguments)
    rows = [
        ("KID", "ALG", "STATE", "SINCE", "WHAT CAN BE DONE"),
        *(
            (
                one.key.kid,
                one.key.algorithm.name,
                str(one.state),
                "unknown" if one.since is None else timed(one.since),
                _what_now(one, keep, clock()),
            )
            for one in found
        ),
    ]
    sys.stdout.writelines(f"{printable(line)}\n" for line in table(rows))


_NEXT_STEPS = {
    KeyStage.NEXT: "rotate",
    KeyStage.RETIRED: "retire",
    KeyStage.ACTIVE: "it signs",
}


def _what_now(one: FileKey, keep: float, now: float) -> str:
    step, at = _NEXT_STEPS[one.state], states.free_at(one, keep)
    if one.state is KeyStage.ACTIVE or (at is not None and at <= now):
        return step
    return f"{step}: {_from(at)}"


def _from(at: float | None) -> str:
    return "when you know that nobody needs it, by --force" if at is None else f"from {timed(at)}"


def _rotate(arguments: Namespace) -> None:
    now = clock()

    def change(found: tuple[FileKey, ...]) -> tuple[FileKey, ...]:
        following = states.of(found, KeyStage.NEXT)
        if following is None:
            # A file without states: add the next key, which is published before it signs.
            key = _new_key(arguments.algorithm or found[0].key.algorithm.name)
            found = states.followed(found, key, now)
            if not arguments.force:
                return found
            following = found[1]
        at = states.free_at(following, 0)
        if at is None or now < at:
            _permit(
                arguments,
                f"kid {following.key.kid} is not known everywhere, because others keep a key set "
                f"for up to {states.MAX_SET_AGE / 60:.0f} minutes",
                f"rotate {_from(at)}, or at once with --force",
                "who doesn't know it yet refuses its tokens",
            )
        return states.rotated(
            found, _new_key(arguments.algorithm or following.key.algorithm.name), now
        )

    before, after = _changed(arguments, change)
    active, following, *retired = after
    kinds = published_kinds(one.key for one in after)
    if len(kinds) > len(published_kinds(one.key for one in before)):
        sys.stderr.write(f"warning: {' and '.join(kinds)} keys are published now: {BREAKS_SETS}\n")
    rotate = f"`keys rotate` {_from(now + states.MAX_SET_AGE)}"
    if active.key.kid == before[0].key.kid:
        sys.stdout.write(
            f"Nothing rotated yet: {arguments.file} had no next key. Kid {following.key.kid} is it "
            f"now.\nNext: {rotate}.\n"
        )
        return
    old = retired[0].key.kid
    sys.stdout.write(
        f"Rotated {arguments.file}. Running processes follow by themselves, within seconds.\n"
        f"  signs     {active.key.kid}\n"
        f"  next      {following.key.kid}: {rotate}\n"
        f"  retired   {old}: `keys retire {old}` {_from(now + _keep(arguments))}, because "
        f"{_dependent(arguments)}\n"
    )


def _dependent(arguments: Namespace) -> str:
    """Return in words which tokens still need a retired key."""
    return (
        "access tokens that it signed are good till then"
        if arguments.own_secret
        else "refresh tokens under its secret are good till then"
    )


def _retire(arguments: Namespace) -> None:
    now, keep = clock(), _keep(arguments)

    def change(found: tuple[FileKey, ...]) -> tuple[FileKey, ...]:
        one = _chosen(found, arguments.kid)
        rest = tuple(other for other in found if other is not one)
        if one.state is KeyStage.ACTIVE:
            raise Refusal(f"kid {one.key.kid} is the one that signs; `keys rotate` retires it")
        if one.state is KeyStage.NEXT:
            _permit(
                arguments,
                f"kid {one.key.kid} is next, and has signed nothing",
                "--force removes it, when it is in the wrong hands, and makes another",
                "the one in its place must be known everywhere before it signs",
            )
            return states.followed(rest, _new_key(one.key.algorithm.name), now)
        at = states.free_at(one, keep)
        if at is None or now < at:
            _permit(
                arguments,
                f"kid {one.key.kid} is needed, because {_dependent(arguments)}",
                f"retire it {_from(at)}, or at once with --force, when it is in the wrong hands",
                "what it signed is refused, and who has only that must log in anew",
            )
        return rest

    before, after = _changed(arguments, change)
    (gone,) = {one.key.kid for one in before} - {one.key.kid for one in after}
    sys.stdout.write(f"Removed kid {gone} from {arguments.file}.\n")


def _print_public(arguments: Namespace) -> None:
    key_set, _ = _parsed_file(arguments.file)
    published = key_set.public_jwks()
    if not published["keys"]:
        raise Refusal(f"{arguments.file} holds secrets, which are published to nobody")
    sys.stdout.write(json.dumps(published, separators=(",", ":")) + "\n")


# --- the file


def _parsed(contents: bytes) -> tuple[KeySet, tuple[FileKey, ...]]:
    """Return the keys of a file, as the service reads them and with their states."""
    key_set = KeySet.from_jwks(contents)
    return key_set, states.held(json.loads(contents)["keys"], key_set.keys)


def _parsed_file(path: Path) -> tuple[KeySet, tuple[FileKey, ...]]:
    with _refusals(path):
        return _parsed(file.read_key_file(path))


def _changed(
    arguments: Namespace, change: Callable[[tuple[FileKey, ...]], tuple[FileKey, ...]]
) -> tuple[tuple[FileKey, ...], tuple[FileKey, ...]]:
    """Change the keys in a file, under its lock; return the keys before and after."""
    seen: list[tuple[FileKey, ...]] = []

    def to(contents: bytes) -> bytes:
        _, before = _parsed(contents)
        document = json.loads(contents)  # keeps members and keys that aren't ours
        after = states.document(
            change(before), document, [one for one in document["keys"] if is_foreign(one)]
        )
        # Read the new contents: they must not replace a good file if the service can't read them.
        seen.extend((before, _parsed(after)[1]))
        return after

    with _refusals(arguments.file):
        file.change_key_file(arguments.file, to)
    sys.stderr.write(getattr(arguments, "warning", ""))
    before, after = seen
    return before, after


@contextmanager
def _refusals(path: Path) -> Generator[None, None, None]:
    """Turn the errors of a key file into a `Refusal` that names the file."""
    try:
        yield
    except ConfigurationError as error:
        about = "" if str(path) in error.problem else f"{path}: "
        raise Refusal(f"{about}{error}") from None
    except FileExistsError:
        raise Refusal(
            f"{path} is there already; --force replaces it, and ends every login"
        ) from None
    except BlockingIOError:
        raise Refusal(f"{path}: another command changes it; try again") from None
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from None


def _new_key(algorithm: str) -> Key:
    """Return a new key whose kid doesn't begin with "-", which would look like an option."""
    while True:
        (key,) = KeySet.generate(algorithm).keys
        if not key.kid.startswith("-"):
            return key


def _chosen(found: Sequence[FileKey], kid: str) -> FileKey:
    """Return the one key with this kid, or whose kid begins so."""
    exact = [one for one in found if one.key.kid == kid]
    matching = exact or [one for one in found if one.key.kid.startswith(kid)]
    if len(matching) != 1:
        problem = "none of its keys has" if not matching else f"{len(matching)} keys have"
        raise Refusal(f"{problem} a kid that begins with {kid!r}: see `keys list`")
    return matching[0]


def _keep(arguments: Namespace) -> float:
    """Return for how many seconds a token that a key has signed may be good."""
    access: float = arguments.access_lifetime + LONGEST_LEEWAY + states.MAX_SET_AGE
    return access if arguments.own_secret else max(access, arguments.idle_limit)


def _permit(arguments: Namespace, problem: str, way_out: str, danger: str) -> None:
    """Refuse a step that is too early; with --force, note a warning to print afterwards."""
    if not arguments.force:
        raise Refusal(f"{problem}: {way_out}")
    arguments.warning = f"warning: {problem}; {danger}\n"


# --- the options


_LIMITS = Refresh.__dataclass_fields__


def _seconds_within_limits(name: str) -> Callable[[str], float]:
    least, most = (_LIMITS[name].metadata[one] for one in ("minimum", "maximum"))

    def read(text: str) -> float:
        found = float(text)
        if not least <= found <= most:
            raise ArgumentTypeError(f"{text}: Refresh({name}) is {least} to {most} seconds")
        return found

    read.__name__ = "number"  # argparse says "invalid number value"
    return read


def _algorithm(about: str, default: str | None = None) -> Option:
    return option(
        "--algorithm",
        choices=sorted(ALGORITHMS),
        default=default,
        metavar="NAME",
        help=f"one of {', '.join(ALGORITHMS)} ({about})",
    )


def _lifetime(name: str, default: float) -> Option:
    return option(
        "--" + name.replace("_", "-"),
        type=_seconds_within_limits(name),
        default=default,
        metavar="SECONDS",
        help=f"Refresh({name}) is this or less; %(default)s",
    )


_FILE_OPTION = option(
    *("--file", "--out"),
    dest="file",
    type=Path,
    default=Path("keys.json"),
    metavar="FILE",
    help="default: %(default)s",
)
# How long tokens are valid: a key must be kept as long as the tokens that it signed.
_LIFETIMES = (
    _lifetime("access_lifetime", _LIMITS["access_lifetime"].metadata["maximum"]),
    _lifetime("idle_limit", REFRESH_LIFE),
    option(
        "--own-secret",
        action="store_true",
        help="Refresh(secret) is set, and no entry of its `former` names these keys",
    ),
)

KEYS_COMMAND = Subcommand(
    "keys",
    "make, rotate and publish the issuer's keys",
    commands=(
        Subcommand(
            "new",
            "make a file of two keys, one that signs and the next, that its owner alone can read",
            _make_keys,
            (
                _FILE_OPTION,
                _algorithm("default: ES256", "ES256"),
                option("--force", action="store_true", help="replace FILE and all keys in it"),
            ),
        ),
        Subcommand(
            "list",
            "show the keys, and what can be done with each, and when",
            _list_keys,
            (_FILE_OPTION, *_LIFETIMES),
        ),
        Subcommand(
            "rotate",
            "let the next key sign and retire the one that did; running processes follow by "
            "themselves",
            _rotate,
            (
                _FILE_OPTION,
                _algorithm("of the new next key; default: that of the one before it"),
                option(
                    "--force", action="store_true", help="though not everybody has the next key"
                ),
                *_LIFETIMES,
            ),
        ),
        Subcommand(
            "retire",
            "remove a retired key, when nothing that it signed is good any more",
            _retire,
            (
                _FILE_OPTION,
                option(
                    "kid",
                    type=plain_kid,
                    metavar="KID",
                    help="as `list` shows it, or how it begins",
                ),
                option("--force", action="store_true", help="now: the key is in the wrong hands"),
                *_LIFETIMES,
            ),
        ),
        Subcommand(
            "public",
            "print the public key set, as the endpoint publishes it",
            _print_public,
            (_FILE_OPTION,),
        ),
    ),
)
