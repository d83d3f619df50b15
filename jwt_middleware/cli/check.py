"""`jwt-middleware check`: read the settings as the application would, and say what is risky.

Wrong settings are an error here, as at the start of the application. Settings that are allowed, but
seldom intended, are found by the rules in `risks`.
"""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from inspect import isfunction
from typing import cast

from .. import ConfigurationError, Settings
from ..process.runtime import Runtime
from ..settings import loading
from ..stores.memory import MemoryStore
from . import Refusal
from .changes import changes
from .commands import Subcommand, option
from .configured import (
    AS_JSON,
    SOURCE,
    imported,
    imported_object,
    of_layers,
    search_modules,
    settings_of,
    source_of,
)
from .endpoints import endpoint_lines
from .lines import Line, write_lines
from .risks import risks


def _check(arguments: Namespace) -> int:
    try:
        settings = _without_keys(arguments) if arguments.without_keys else settings_of(arguments)
        old = _old(arguments)
        _try_door(settings, arguments)
    except ConfigurationError as error:
        rule = rule_of(error)
        seen = f"{error.problem} [{rule}]" if rule else error.problem
        write_lines([Line("FAIL", error.field, seen, error.remedy)], as_json=arguments.json)
        return 2
    lines = list(risks(settings))
    if arguments.app is not None:
        app = imported_object(arguments.app, "--app", call=isfunction)
        lines += endpoint_lines(app, settings)
    if old is not None:
        lines += changes(old, settings, _spelling(arguments))
    nothing = Line("ok", "settings", f"nothing to say about {source_of(arguments)}")
    left = [Line("-", "keys", "not looked at, nor secrets and the store")]
    left = left if arguments.without_keys else []
    return write_lines([*left, *(lines or [nothing])], as_json=arguments.json)


def _without_keys(arguments: Namespace) -> Settings:
    """Return the settings with stand-ins for what is secret. Raises ConfigurationError, Refusal."""
    if arguments.settings is not None or arguments.against is not None:
        raise Refusal("--without-keys goes with --toml and variables; what else there is has keys")
    search_modules(arguments.app_dir)
    environ = os.environ if arguments.env or not arguments.toml else None
    given = tuple(arguments.toml or ()), environ, arguments.table, arguments.prefix
    make = partial(loading.from_layers, reads_secrets=False)
    return cast("Settings", loading.made(loading.caught(make, Settings, *given)))


def _try_door(settings: Settings, arguments: Namespace) -> None:
    """Make what a door makes, which doesn't connect to the store. Raises ConfigurationError."""
    if arguments.without_keys:
        if settings.refresh is None or arguments.door is None:
            return
        settings = settings.replace(refresh__store=MemoryStore(clock=settings.clock, retention=0))
    runtime = Runtime.of(settings)
    if arguments.door is not None:
        runtime.core(asynchronous=arguments.door == "asgi")


def _old(arguments: Namespace) -> Settings | None:
    """Return the settings to compare with. Raises ConfigurationError or Refusal."""
    names: list[str] = arguments.against or []
    if not names:
        return None
    if len(names) > 1 or os.path.isfile(names[0]) or ":" not in names[0]:
        return of_layers(arguments, names)
    return imported(names[0], "--against")


def _spelling(arguments: Namespace) -> Callable[[Mapping[str, str]], str]:
    """Return a function that writes an entry of `Refresh.former` in the form of these settings."""
    if arguments.settings is not None:
        return _in_python
    if arguments.toml is not None:
        return lambda entry: f"{{{', '.join(f'{k} = {json.dumps(v)}' for k, v in entry.items())}}}"
    return lambda entry: f"{arguments.prefix}REFRESH__FORMER='[{json.dumps(entry)}]'"


def _in_python(entry: Mapping[str, str]) -> str:
    values = {
        # A value such as <the old keys> is a placeholder, not text, so it isn't quoted.
        name: value if value.startswith("<") else json.dumps(value)
        for name, value in entry.items()
    }
    if values.get("keys", "").startswith('"'):
        values["keys"] = f"KeySet.load({values['keys']})"
    return f"Former({', '.join(f'{name}={value}' for name, value in values.items())})"


# --- errors


# Patterns of the settings' errors, and the rule of a standard that each enforces; the first match
# counts. Rules with an id like RS-30 are those of tests/rules.toml.
ERRORS: tuple[tuple[str, str], ...] = (
    (r"excludes optional|excludes scope", "RS-04"),
    (r"cookies with tokens must not travel in clear", "RS-09"),
    (r"secrets and asymmetric keys in one set", "RS-15"),
    (r"could serve several algorithms|are for one type of key", "RS-16"),
    (r"doesn't go with a key of type", "RS-17"),
    (r"is not sig|neither to sign nor to verify|no key may verify", "RS-18"),
    (r"is too short|an RSA modulus of|RSA exponent|CVE-2017-15361", "RS-19"),
    (r"repeats itself|can be guessed", "RS-20"),
    (r"is another kind of token|match no token", "RS-24"),
    (r"signs access tokens, too|which is whom refresh tokens are for", "RS-25"),
    (r"two keys have the same kid|is a secret, and published", "RS-27"),
    (r"has '.*' twice, or it is `issuer`", "RS-28"),
    (r"would accept tokens long after their end", "RS-30"),
    (r"tokens for every other service would pass", "RS-34"),
    (r"what we issue follows RFC 9068|doesn't require ", "RS-35"),
    (r"goes in a circle", "RS-61"),
    (r"`audience_claim` of", "RS-62"),
    (r"isn't the same for every client|has a fragment", "RS-70"),
    (r"isn't in the audience|isn't trusted", "RS-71"),
    (r"through the issuer's metadata|is not https, and its host", "RS-72"),
    (r"another endpoint's path", "RT-01"),
    (r"comes from other sites, too", "RT-20"),
)


def rule_of(error: ConfigurationError) -> str:
    """Return the id of the rule that an error of the settings enforces, or ""."""
    return next((rule for pattern, rule in ERRORS if re.search(pattern, error.problem)), "")


CHECK_COMMAND = Subcommand(
    "check",
    "read the settings as the application would, and say what is wrong or risky in them",
    _check,
    (
        *SOURCE,
        AS_JSON,
        option(
            "--door", choices=("asgi", "wsgi"), help="check that it starts behind this one, too"
        ),
        option(
            "--app",
            metavar="MODULE:NAME",
            help="list the endpoints of this application, or of what this function makes, each "
            "with the rule that covers it, and the rules that cover none",
        ),
        option(
            "--against",
            action="append",
            metavar="OLD",
            help="say what the change does to those who are logged in: the settings as they were, "
            "a TOML file (or several, as --toml) or MODULE:NAME",
        ),
        option(
            "--without-keys",
            action="store_true",
            help="for a pipeline: all but the keys, secrets and the store, which needn't be there",
        ),
    ),
    more="Exit status: 0 nothing, 1 something is risky, 2 the application would not start.",
)
