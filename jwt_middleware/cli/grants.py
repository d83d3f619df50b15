"""`jwt-middleware grants`: list logins, end them, delete expired ones, back them up."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..grant.issuing import LONGEST_MIGRATION, former_mark
from ..stores.opening import open_store
from ..stores.postgres.rights import rights_sql
from ..stores.postgres.schema import schema_sql
from ..stores.postgres.schema_levels import SCHEMA_LEVELS
from ..values.errors import StoreUnavailable
from ..values.tokens import Grant
from . import Refusal, timed
from .commands import OneOf, Option, Subcommand, option
from .configured import ENV_PREFIX, SOURCE, in_memory, settings_of, source_of

VARIABLE = "REFRESH__STORE"
GRANTS_A_PAGE = 500  # grants that one call of the store returns
# seconds for which an end is remembered: the longest access lifetime, leeway and a margin
OPERATOR_RETENTION = 86400 + 300 + 60
REASON = "operator"
NOW = math.inf  # `--all-before now`: by the store's clock
OTHER_MEANS = {
    "postgresql": "back PostgreSQL up with pg_dump, and restore with pg_restore",
    "redis": "Redis and Valkey have their own files, RDB (BGSAVE) and the append-only file (AOF)",
}


def _list_grants(arguments: Namespace) -> None:
    form: Callable[[Grant], str] = _as_json if arguments.json else _as_row
    with _opened_store(arguments) as store:
        found = store.grants(arguments.subject) if arguments.subject else _every(store)
        count = _write_all(map(form, found))
    if not arguments.json:
        sys.stderr.write(f"{count:,} living grants\n")


def _end_grants(arguments: Namespace) -> None:
    with _opened_store(arguments) as store:
        if arguments.all_before is not None:
            _end_before(store, arguments.all_before)
            return
        if arguments.subject is not None:
            # Here it isn't known whether old tokens of another library are taken.
            store.admit(former_mark(arguments.subject), time.time() + LONGEST_MIGRATION)
            count = len(store.end_subject(arguments.subject, REASON))
        else:
            count = sum(store.end(one, REASON) for one in arguments.id)
    sys.stdout.write(f"Ended {count:,} grants.\n")


def _end_before(store: Any, moment: float) -> None:
    mark = store.end_before(None if moment == NOW else moment)
    if mark is None:
        raise Refusal(
            f"{_exact(moment)} is later than the store's now (here it is {_exact(time.time())}): "
            "grants can be ended that have begun, so name an earlier time, or now"
        )
    sys.stdout.write(
        f"Ended all grants that began before {_exact(mark.before)}, by one mark for the whole "
        "store. Of access tokens that were issued within `leeway` + 60 s of that time, services "
        "ask the store for each one's grant.\n"
    )


def _purge_store(arguments: Namespace) -> None:
    # Infinity: the store's own clock counts, also where it has been doubted.
    with _opened_store(arguments) as store:
        count = _total(iter(lambda: store.purge(math.inf), 0))
    sys.stdout.write(f"Forgot {count:,} rows that were over.\n")


def _back_up(arguments: Namespace) -> None:
    target = Path(arguments.file)
    with _sqlite_store(arguments) as store:
        store.backup(target)
    sys.stdout.write(f"Wrote {target}, {target.stat().st_size:,} octets.\n")


def _restore(arguments: Namespace) -> None:
    with _sqlite_store(arguments) as store:
        store.restore(Path(arguments.file))
    sys.stdout.write(f"Restored {arguments.file}. Processes that run go on with it.\n")
    sys.stderr.write(
        "Whoever has logged out since it was made is logged in again, and logins since then are "
        "gone. To log all users out: jwt-middleware grants end --all-before now\n"
    )


def _print_schema(arguments: Namespace) -> None:
    if arguments.hears_only and arguments.rights is None:
        raise Refusal("--hears-only says which rights: --rights ROLE says whose")
    sql = schema_sql(arguments.schema, since=arguments.since)
    if arguments.rights is not None:
        sql += rights_sql(arguments.rights, arguments.schema, serve=not arguments.hears_only)
    _write_all(sql.splitlines())


# --- the store


@contextmanager
def _opened_store(arguments: Namespace) -> Generator[Any, None, None]:
    with _store_at(_address(arguments)) as store:
        store.check()
        yield store


@contextmanager
def _sqlite_store(arguments: Namespace) -> Generator[Any, None, None]:
    """Open the file, which may be missing or damaged: it isn't checked."""
    url = _address(arguments)
    engine = url.partition("://")[0].partition("+")[0]
    if engine != "sqlite":
        means = OTHER_MEANS["postgresql" if engine.startswith("postgres") else "redis"]
        raise Refusal(f"this is for SQLite alone: {means}")
    with _store_at(url) as store:
        yield store


def _address(arguments: Namespace) -> str:
    url: str = arguments.store or _configured(arguments)
    if in_memory(url):
        raise Refusal("memory:// is a process's own: nothing of it can be seen from here")
    return url


@contextmanager
def _store_at(url: str) -> Generator[Any, None, None]:
    store = open_store(url, clock=time.time, retention=OPERATOR_RETENTION).plain
    try:
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
    """Return the store that one variable names: other settings, and keys, are not needed."""
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
    """Yield the living grants, page by page, because all may not fit into memory."""
    position: object | None = None
    while True:
        grants, position = store.page(position, GRANTS_A_PAGE)
        yield from grants
        if position is None:
            return


# --- what is shown


def _write_all(lines: Iterable[str]) -> int:
    count = 0
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
            count += 1
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe, as `| head` does. Python writes the rest when it closes
        # the stream, and would raise again: so send the rest nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return count


def _as_row(grant: Grant) -> str:
    scope = f"  scope {grant.scope}" if grant.scope else ""
    # A subject may hold terminal control characters: `issue` refuses them, but other programs may
    # write to the store.
    subject = grant.subject if grant.subject.isprintable() else repr(grant.subject)
    return (
        f"{grant.id}  {subject}  {grant.client_id}  begun {timed(grant.created_at)}  "
        f"used {timed(grant.rotated_at)}{scope}"
    )


def _as_json(grant: Grant) -> str:
    return json.dumps(asdict(grant))


def _exact(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _moment(text: str) -> float:
    if text == "now":
        return NOW
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time like 2027-01-31T04:00Z") from None
    if moment.tzinfo is None:
        raise ArgumentTypeError(f"{text!r} names no zone; with a Z behind it is UTC")
    return moment.timestamp()


def _total(steps: Iterable[int]) -> int:
    """Run the steps and return their sum; print the progress to stderr once a second."""
    done, told_at = 0, time.monotonic()
    for count in steps:
        done += count
        if time.monotonic() - told_at >= 1:
            told_at = time.monotonic()
            sys.stderr.write(f"forgot {done:,} rows so far\n")
    return done


_STORE_OPTIONS: tuple[Option | OneOf, ...] = (
    option(
        "--store",
        metavar="URL",
        help=f"default: that of the settings, ${ENV_PREFIX}{VARIABLE} or the file that "
        f"${ENV_PREFIX}{VARIABLE}_FILE names; other users of the machine can read a password on "
        "the command line",
    ),
    *SOURCE,
)

GRANTS_COMMAND = Subcommand(
    "grants",
    "see who is logged in, and end it",
    commands=(
        Subcommand(
            "list",
            "list the living grants: one for each login, the newest first for a subject",
            _list_grants,
            (
                *_STORE_OPTIONS,
                option("--subject", metavar="NAME", help="only those of one user"),
                option("--json", action="store_true", help="one JSON object a line, claims too"),
            ),
        ),
        Subcommand(
            "end",
            "end grants for ever, with all their tokens, in every process within two seconds",
            _end_grants,
            (
                *_STORE_OPTIONS,
                OneOf(
                    (
                        option(
                            "id", nargs="*", default=[], metavar="ID", help="as `list` shows it"
                        ),
                        option(
                            "--subject",
                            metavar="NAME",
                            help="all of one user: log out everywhere",
                        ),
                        option(
                            "--all-before",
                            type=_moment,
                            metavar="TIME",
                            help="all that began before, say 2027-01-31T04:00Z or now: after "
                            "restoring a backup, which brings back who had logged out",
                        ),
                    ),
                    is_required=True,
                ),
            ),
        ),
        Subcommand(
            "purge",
            "forget what is over; logins do it, too, a little at a time",
            _purge_store,
            _STORE_OPTIONS,
        ),
        Subcommand(
            "backup",
            "write all grants into a new file, while processes use them; SQLite only",
            _back_up,
            (*_STORE_OPTIONS, option("file", metavar="FILE", help="it must not exist")),
        ),
        Subcommand(
            "restore",
            "put a backup in the place of all grants, while processes use them; SQLite only",
            _restore,
            (*_STORE_OPTIONS, option("file", metavar="FILE", help="as `backup` has made it")),
        ),
        Subcommand(
            "schema",
            "print the SQL that makes the tables in PostgreSQL, for who runs such by hand",
            _print_schema,
            (
                option(
                    "--schema",
                    default="jwt_middleware",
                    metavar="NAME",
                    help="default: %(default)s",
                ),
                option(
                    "--since",
                    type=int,
                    choices=range(len(SCHEMA_LEVELS) + 1),
                    default=0,
                    metavar="VERSION",
                    help="the `level` in its table `facts`, else the number in `version`; default: "
                    "0, none",
                ),
                option(
                    "--rights",
                    metavar="ROLE",
                    help="and what grants a role that doesn't own it its rights",
                ),
                option(
                    "--hears-only",
                    action="store_true",
                    help="no more than Refresh(serve=False) needs",
                ),
            ),
        ),
    ),
)
