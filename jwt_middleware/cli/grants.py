"""`jwt-middleware grants`: see who is logged in, end it, and clear away what is over."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from ..stores.opening import open_store
from ..stores.postgres.sql import SCHEMA_LEVELS, rights_sql, schema_sql
from ..values.errors import StoreUnavailable
from ..values.tokens import Grant
from . import Refusal, timed
from .configured import PREFIX, add_source, settings_of, source_of

VARIABLE = "REFRESH__STORE"
PAGE = 500  # grants of one question
# seconds; what ended is remembered longer than the longest-lived access token that settings allow
RETENTION = 86400 + 300 + 60
REASON = "operator"


def add_commands(commands: Any) -> None:
    """Add `grants` and its commands to the command line."""
    grants = commands.add_parser("grants", help="see who is logged in, and end it")
    verbs = grants.add_subparsers(metavar="COMMAND", required=True)

    about = "list the living grants: one for each login, the newest first for a subject"
    listing = _add(verbs, "list", about, _list)
    listing.add_argument("--subject", metavar="NAME", help="only those of one user")
    listing.add_argument("--json", action="store_true", help="one JSON object a line, claims too")

    about = "end grants for ever, with all their tokens, in every process within two seconds"
    ending = _add(verbs, "end", about, _end)
    which = ending.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="*", default=[], metavar="ID", help="as `list` shows it")
    which.add_argument("--subject", metavar="NAME", help="all of one user: log out everywhere")
    which.add_argument(
        "--all-before",
        type=_moment,
        metavar="TIME",
        help="all that began before, say 2027-01-31T04:00Z or now: after restoring a backup, "
        "which brings back who had logged out",
    )

    _add(verbs, "purge", "forget what is over; logins do it, too, a little at a time", _purge)
    _add_schema(verbs)


def _add_schema(verbs: Any) -> None:
    about = "print the SQL that makes the tables in PostgreSQL, for who runs such by hand"
    schema = _add(verbs, "schema", about, _schema, has_store=False)
    schema.add_argument(
        "--schema", default="jwt_middleware", metavar="NAME", help="default: %(default)s"
    )
    schema.add_argument(
        "--since",
        type=int,
        choices=range(len(SCHEMA_LEVELS) + 1),
        default=0,
        metavar="VERSION",
        help="the `level` in its table `facts`, else the number in `version`; default: 0, none",
    )
    schema.add_argument(
        "--rights", metavar="ROLE", help="and what grants a role that doesn't own it its rights"
    )
    schema.add_argument(
        "--hears-only", action="store_true", help="no more than Refresh(serve=False) needs"
    )


def _add(
    verbs: Any,
    name: str,
    about: str,
    run: Callable[[Namespace], None],
    *,
    has_store: bool = True,
) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(
        name, help=about, description=about.capitalize() + "."
    )
    if has_store:
        parser.add_argument(
            "--store",
            metavar="URL",
            help=f"default: that of the settings, ${PREFIX}{VARIABLE} or the file that "
            f"${PREFIX}{VARIABLE}_FILE names; other users of the machine can read a password on "
            "the command line",
        )
        add_source(parser)
    parser.set_defaults(run=run)
    return parser


def _list(arguments: Namespace) -> None:
    with _opened(arguments) as store:
        found = store.grants(arguments.subject) if arguments.subject else _every(store)
        if arguments.json:
            _write(map(_object, found))
            return
        count = _write(_line(one) for one in found)
        sys.stderr.write(f"{count:,} living grants\n")


def _end(arguments: Namespace) -> None:
    progress = _Progress("ended")
    with _opened(arguments) as store:
        if arguments.subject is not None:
            count = len(store.end_subject(arguments.subject, REASON))
        elif arguments.all_before is not None:
            count = 0
            for one in progress.over(_every(store)):
                if one.created_at < arguments.all_before:
                    count += store.end(one.id, REASON)
                    progress.done = count
        else:
            count = sum(store.end(one, REASON) for one in arguments.id)
    sys.stdout.write(f"Ended {count:,} grants.\n")


def _purge(arguments: Namespace) -> None:
    progress = _Progress("forgot")
    with _opened(arguments) as store:
        for count in progress.over(iter(lambda: store.purge(time.time()), 0)):
            progress.done += count
    sys.stdout.write(f"Forgot {progress.done:,} rows that were over.\n")


def _schema(arguments: Namespace) -> None:
    if arguments.hears_only and arguments.rights is None:
        raise Refusal("--hears-only says which rights: --rights ROLE says whose")
    sql = schema_sql(arguments.schema, since=arguments.since)
    if arguments.rights is not None:
        sql += rights_sql(arguments.rights, arguments.schema, serve=not arguments.hears_only)
    _write(sql.splitlines())


# --- the store


@contextmanager
def _opened(arguments: Namespace) -> Generator[Any, None, None]:
    url = arguments.store or _configured(arguments)
    if url.startswith("memory:"):
        raise Refusal("memory:// is a process's own: nothing of it can be seen from here")
    store = open_store(url, clock=time.time, retention=RETENTION).plain
    try:
        store.check()
        yield store
    except StoreUnavailable as error:
        raise Refusal(
            f"the store doesn't answer: {error.detail}; to run it again is safe"
        ) from None
    finally:
        store.close()


def _configured(arguments: Namespace) -> str:
    if arguments.toml is None and arguments.settings is None:
        return _from_environment(arguments.prefix + VARIABLE)
    group = settings_of(arguments).refresh
    if group is None:
        raise Refusal(f"{source_of(arguments)} has no `refresh`, and so no store: --store URL")
    if not isinstance(group.store, str):
        raise Refusal(
            f"{source_of(arguments)} has a store without URL: only the application has it"
        )
    return group.store


def _from_environment(variable: str) -> str:
    """Return what one variable says: an operator needs no other, and no keys."""
    path = os.environ.get(f"{variable}_FILE")
    try:
        url = Path(path).read_text().removesuffix("\n") if path else os.environ.get(variable)
    except OSError as error:
        raise Refusal(f"{variable}_FILE: {path}: {error.strerror}") from None
    if not url:
        raise Refusal(
            f"which store? --store sqlite:///grants.db, --toml FILE, --settings MODULE:NAME, or "
            f"{variable}"
        )
    return url


def _every(store: Any) -> Iterator[Grant]:
    """Yield the living grants, page by page, so that a million need no room."""
    position: object | None = None
    while True:
        grants, position = store.page(position, PAGE)
        yield from grants
        if position is None:
            return


# --- what is shown


def _write(lines: Iterable[str]) -> int:
    count = 0
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
            count += 1
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has seen enough. Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return count


def _line(grant: Grant) -> str:
    times = f"begun {timed(grant.created_at)}  used {timed(grant.rotated_at)}"
    scope = f"  scope {grant.scope}" if grant.scope else ""
    # A subject may hold what a terminal would obey; `issue` takes printable ones only, others' rows
    # may have any.
    subject = grant.subject if grant.subject.isprintable() else repr(grant.subject)
    return f"{grant.id}  {subject}  {grant.client_id}  {times}{scope}"


def _object(grant: Grant) -> str:
    return json.dumps(asdict(grant))


def _moment(text: str) -> float:
    if text == "now":
        return time.time()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time like 2027-01-31T04:00Z") from None
    if moment.tzinfo is None:
        raise ArgumentTypeError(f"{text!r} names no zone; with a Z behind it is UTC")
    return moment.timestamp()


class _Progress:
    """A line on stderr every second, for who waits."""

    def __init__(self, verb: str) -> None:
        self.done = 0
        self._verb = verb

    def over(self, steps: Iterable[Any]) -> Iterator[Any]:
        told = time.monotonic()
        for seen, one in enumerate(steps, 1):
            yield one
            if time.monotonic() - told >= 1:
                told = time.monotonic()
                sys.stderr.write(f"{self._verb} {self.done:,} so far, looked at {seen:,}\n")
