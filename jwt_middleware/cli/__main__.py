"""Read the command line and do what it says. What goes wrong is one line on stderr, and exit 2."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import NoReturn

from .. import ConfigurationError, __version__
from . import Refusal, add_command, printable
from .check import add_check
from .doctor import add_doctor
from .grants import add_grants
from .keys import add_keys
from .tokens import add_token

PROG = "jwt-middleware"


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refusal(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. `--help` and `--version` exit themselves."""
    try:
        arguments = _parser().parse_args(argv)
        status: int = arguments.run(arguments) or 0
        sys.stdout.flush()
        return status
    except (Refusal, ConfigurationError) as refusal:
        sys.stderr.write(f"{PROG}: {printable(str(refusal))}\n")
    except OSError as error:
        # Commands name their own files. What is left is the output, which Python would try to write
        # once more at its end.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"{PROG}: done, maybe, but it can't be told: {error.strerror}\n")
    except KeyboardInterrupt:
        return 130
    return 2


def _parser() -> ArgumentParser:
    parser = _Parser(PROG, description="Access and refresh tokens for WSGI and ASGI applications.")
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    about = "watch logins, refreshes, a theft and its end, in a browser"
    demo = add_command(commands, "demo", about, _demo)
    demo.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    demo.add_argument("--port", type=int, default=8000, help="0: a free one (default %(default)s)")
    demo.add_argument("--no-browser", action="store_true", help="only print the address")
    for option, default, text in (
        ("--access-lifetime", 20, "of an access token, 10 or more (default %(default)s)"),
        ("--settle", 3, "for which a fresh refresh token is kept (default %(default)s)"),
    ):
        demo.add_argument(option, type=float, default=default, metavar="SECONDS", help=text)
    for add in (add_keys, add_grants, add_token, add_check, add_doctor):
        add(commands)
    return parser


def _demo(arguments: Namespace) -> None:
    # Not at the top: making a key doesn't wait for a server, a database and a browser.
    from .demo import run_demo

    try:
        run_demo(
            arguments.host,
            arguments.port,
            opens_browser=not arguments.no_browser,
            access_lifetime=arguments.access_lifetime,
            settle=arguments.settle,
        )
    except (OSError, OverflowError) as error:
        where = f"{arguments.host} port {arguments.port}"
        problem = error.strerror if isinstance(error, OSError) else "no such port"
        raise Refusal(f"{where}: {problem}; another one: --port 8001") from None


if __name__ == "__main__":
    sys.exit(main())
