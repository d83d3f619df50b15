"""Commands and their options as values; `add_commands` adds them to argparse."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


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
