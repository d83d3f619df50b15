"""Commands and their options as values; `add_commands` adds them to argparse."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

# A key's thumbprint (RFC 7638), 32 octets as base64url: one in 64 begins so. No option is as long.
_KID_LIKE_AN_OPTION = re.compile(r"-[A-Za-z0-9_-]{42}")


class Option(NamedTuple):
    """One option or positional argument, as `ArgumentParser.add_argument` takes it."""

    flags: tuple[str, ...]
    given: dict[str, Any]


class OneOf(NamedTuple):
    """Options of which only one may be given."""

    options: tuple[Option, ...]
    is_required: bool = False


class Subcommand(NamedTuple):
    """One command, or a group of commands, which has no action of its own."""

    name: str
    about: str  # its help, and the first sentence of its description
    run: Callable[[Namespace], int | None] | None = None  # returns the exit status, or None for 0
    options: tuple[Option | OneOf, ...] = ()
    more: str = ""  # further sentences of the description
    commands: tuple[Subcommand, ...] = ()


def option(*flags: str, **given: Any) -> Option:
    """Return an option, in the words of `ArgumentParser.add_argument`."""
    return Option(flags, given)


def with_kids(argv: Iterable[str]) -> list[str]:
    """Return the arguments with a blank before each thumbprint that begins with "-".

    argparse takes what begins with "-" for an option. `plain_kid` takes the blank away.
    """
    return [f" {one}" if _KID_LIKE_AN_OPTION.fullmatch(one) else one for one in argv]


def plain_kid(text: str) -> str:
    """Return a key's name as it was typed."""
    return text.removeprefix(" ")


def add_commands(parser: ArgumentParser, commands: Iterable[Subcommand]) -> None:
    """Add commands to a parser, and to each group its own."""
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    for one in commands:
        description = f"{one.about.capitalize()}. {one.more}" if one.run is not None else None
        added = verbs.add_parser(one.name, help=one.about, description=description)
        added.set_defaults(run=one.run)
        _add_options(added, one.options)
        if one.commands:
            add_commands(added, one.commands)


def _add_options(parser: Any, options: Iterable[Option | OneOf]) -> None:
    for one in options:
        if isinstance(one, OneOf):
            group = parser.add_mutually_exclusive_group(required=one.is_required)
            _add_options(group, one.options)
        else:
            parser.add_argument(*one.flags, **one.given)
