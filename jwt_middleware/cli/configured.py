"""Find the settings for a command, in the same way as the application finds them."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pkgutil import resolve_name
from typing import Any

from .. import ConfigurationError, Refresh, Settings, TrustedIssuer
from ..jose.jwk import Key
from . import Refusal
from .commands import OneOf, Option, option

ENV_PREFIX = "JWT_MIDDLEWARE_"


APP_DIR = option(
    "--app-dir",
    metavar="DIR",
    help="where the application's modules are looked for first (default: the current folder)",
)
# The options that say where the settings are.
SOURCE: tuple[Option | OneOf, ...] = (
    OneOf(
        (
            option(
                "--toml",
                action="append",
                metavar="FILE",
                help="read the settings from a TOML file; given again, each over those before",
            ),
            option(
                "--settings",
                metavar="MODULE:NAME",
                help="import them, or a function that makes them: shop.config:settings. The "
                "module's code runs",
            ),
        )
    ),
    option(
        "--env",
        action="store_true",
        help="with --toml: the environment's variables, too, over the files",
    ),
    APP_DIR,
    option(
        "--table", default="jwt_middleware", metavar="NAME", help="in the file; default %(default)s"
    ),
    option(
        "--prefix",
        default=ENV_PREFIX,
        metavar="TEXT",
        help="of environment variables, where neither is given; default %(default)s",
    ),
)
AS_JSON = option("--json", action="store_true", help="one JSON object a line")


def search_modules(folder: str | None) -> None:
    """Let the application's modules be found first in a folder, or where the command was called.

    An installed command begins with its own folder. Servers begin with the current one, as this.
    """
    sys.path.insert(0, os.path.abspath(folder or os.curdir))


def settings_of(arguments: Namespace) -> Settings:
    """Return the settings. Raises ConfigurationError or Refusal."""
    if arguments.env and arguments.toml is None:
        raise Refusal("--env lays variables over files: it goes with --toml")
    search_modules(arguments.app_dir)
    if arguments.settings is not None:
        return imported(arguments.settings)
    if arguments.toml is not None:
        return of_layers(arguments, arguments.toml)
    if not any(name.startswith(arguments.prefix) for name in os.environ):
        raise Refusal(
            f"which settings? --toml FILE, --settings MODULE:NAME, or variables {arguments.prefix}*"
        )
    return Settings.from_env(prefix=arguments.prefix)


def of_layers(arguments: Namespace, files: Sequence[str]) -> Settings:
    """Return the settings of TOML files, with the environment over them if that was asked for."""
    environ = os.environ if arguments.env else None
    if len(files) == 1 and environ is None:
        return Settings.from_toml(files[0], arguments.table)
    return Settings.from_layers(
        *files, environ=environ, table=arguments.table, prefix=arguments.prefix
    )


def source_of(arguments: Namespace) -> str:
    """Return in words where the settings come from."""
    named: list[str] = [arguments.settings] if arguments.settings else [*(arguments.toml or ())]
    if arguments.env or not named:
        named.append(f"the environment ({arguments.prefix}*)")
    return ", ".join(named)


def imported(name: str, option: str = "--settings") -> Settings:
    """Return the settings of an application's module. Raises ConfigurationError or Refusal."""
    found = imported_object(name, option, call=lambda one: not isinstance(one, Settings))
    if not isinstance(found, Settings):
        raise Refusal(f"{option} {name}: is {type(found).__name__}, not Settings")
    return found


def imported_object(name: str, option: str, call: Callable[[Any], bool]) -> Any:
    """Return an object of an application's module; `call` says which is a function that makes it.

    Raises ConfigurationError or Refusal.
    """
    if ":" not in name:
        raise Refusal(f"{option} {name}: is no MODULE:NAME, like shop.config:settings")
    try:
        found: Any = resolve_name(name)
        return found() if callable(found) and call(found) else found
    except ConfigurationError:
        raise
    except Exception as error:
        # The application's module runs here: it may raise anything.
        raise Refusal(f"{option} {name}: {type(error).__name__}: {error}") from error


def issuing(settings: Settings | TrustedIssuer) -> Refresh | None:
    """Return the group of settings that issues tokens, or None."""
    group = settings.refresh if isinstance(settings, Settings) else None
    return group if group is not None and group.serve else None


# Of libraries that were run: docs/readers.md.
BREAKS_SETS = "some readers refuse a whole set for one key of a kind that they don't know"


def published_kinds(keys: Iterable[Key]) -> tuple[str, ...]:
    """Return the algorithms of the keys that are published, each once."""
    return tuple(dict.fromkeys(key.algorithm.name for key in keys if not key.is_symmetric))


def in_memory(store: object) -> bool:
    """Say whether a store is in the memory of one process, which a command can't see."""
    return isinstance(store, str) and store.startswith("memory:")
