"""Read the command line and run the command. An error is one line on stderr, and exit 2."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import NoReturn

from .. import ConfigurationError, __version__
from . import Refusal, printable
from .check import CHECK_COMMAND
from .commands import Subcommand, add_commands, option, with_kids
from .doctor import DOCTOR_COMMAND
from .grants import GRANTS_COMMAND
from .keys import KEYS_COMMAND
from .migrate import MIGRATE_COMMAND
from .tokens import TOKEN_COMMAND

PROG = "jwt-middleware"


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refusal(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. `--help` and `--version` exit themselves."""
    path = sys.path[:]
    try:
        arguments = _parser().parse_args(with_kids(sys.argv[1:] if argv is None else argv))
        status: int = arguments.run(arguments) or 0
        sys.stdout.flush()
        return status
    except (Refusal, ConfigurationError) as refusal:
        sys.stderr.write(f"{PROG}: {printable(str(refusal))}\n")
    except OSError as error:
        # Errors of files that a command names are handled there, so this is an error of the output.
        # Python would try to write it again at its end; so send the rest nowhere.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"{PROG}: done, maybe, but it can't be told: {error.strerror}\n")
    except KeyboardInterrupt:
        return 130
    finally:
        sys.path[:] = path  # as it was before `search_modules`
    return 2


def _parser() -> ArgumentParser:
    parser = _Parser(PROG, description="Access and refresh tokens for WSGI and ASGI applications.")
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    add_commands(
        parser,
        (
            DEMO_COMMAND,
            KEYS_COMMAND,
            GRANTS_COMMAND,
            TOKEN_COMMAND,
            CHECK_COMMAND,
            DOCTOR_COMMAND,
            MIGRATE_COMMAND,
        ),
    )
    return parser


def _demo(arguments: Namespace) -> None:
    # Not at the top: other commands needn't load a server, a database and a browser.
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


DEMO_COMMAND = Subcommand(
    "demo",
    "watch logins, refreshes, a theft and its end, in a browser",
    _demo,
    (
        option("--host", default="127.0.0.1", help="address to listen on (%(default)s)"),
        option("--port", type=int, default=8000, help="0: a free one (default %(default)s)"),
        option("--no-browser", action="store_true", help="only print the address"),
        option(
            "--access-lifetime",
            type=float,
            default=20,
            metavar="SECONDS",
            help="of an access token, 10 or more (default %(default)s)",
        ),
        option(
            "--settle",
            type=float,
            default=3,
            metavar="SECONDS",
            help="for which a fresh refresh token is kept (default %(default)s)",
        ),
    ),
)


if __name__ == "__main__":
    sys.exit(main())
