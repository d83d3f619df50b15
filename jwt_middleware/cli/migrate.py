"""`jwt-middleware migrate check`: read an application's former configuration, and print ours.

What is printed is a file to paste. Its first lines are comments: the decisions to make. Whether the
former tokens can be taken is asked of `Migration` itself, with the former secret, which is in no
text.
"""

from __future__ import annotations

import json
import math
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .. import ConfigurationError, KeySet, Migration, Refresh
from ..request.origins import is_loopback
from ..settings.issuing_groups import DAY
from ..token.former_libraries import LIBRARIES, FormerLibrary
from .check import rule_of
from .commands import Subcommand, option
from .configured import APP_DIR, AS_JSON, search_modules
from .drafts import Expression, Group, in_python, in_toml
from .endpoints import Endpoint
from .former_app import FormerApp
from .former_apps import former_app
from .lines import Line, LineState, span

LONGEST_LOGIN = 400 * DAY  # seconds, of `Refresh.absolute_limit`
LONGEST_TOKEN = DAY  # seconds, of `Refresh.access_lifetime`
KEY_FILE, VARIABLE = "former-keys.json", "FORMER_JWT_SECRET"
# Where the former tokens had no name that ours can have.
ISSUER, AUDIENCE = "https://login.example.com", "https://api.example.com"
LOGINS = ("login", "token", "signin", "sign-in")  # how paths end where users log in


class Move(NamedTuple):
    """What was found, and how it becomes ours."""

    found: FormerApp
    refresh_paths: list[str]
    login_paths: list[str]
    until: str

    @property
    def library(self) -> FormerLibrary | None:
        """Return what the former tokens look like, if they are JWT."""
        preset = LIBRARIES.get(self.found.preset)
        return preset.replace(**self.found.changes) if preset is not None else None

    @property
    def issuer(self) -> str:
        """Return the name that goes on, or an example."""
        given = self.found.issuer
        return given if given.startswith("https://") or is_loopback(given) else ISSUER


def _check_migration(arguments: Namespace) -> int:
    search_modules(arguments.app_dir)
    plan = _planned(*former_app(arguments.app))
    lines = list(_lines(plan, as_toml=arguments.toml))
    migrates = plan.library is not None and all(line.state != "FAIL" for line in lines)
    group = _settings(plan, migrates=migrates, as_toml=arguments.toml)
    text = _toml(group) if arguments.toml else _python(group, plan, migrates=migrates)
    if arguments.json:
        shown = [*(line.to_json() for line in lines), json.dumps({"settings": text})]
    else:
        comments = "\n".join(map(str, lines)).splitlines()
        shown = [*(f"# {one}" for one in comments), "", text.rstrip("\n")]
    sys.stdout.writelines(f"{one}\n" for one in shown)
    states = {line.state for line in lines}
    return 2 if "FAIL" in states else int("warn" in states)


def _planned(found: FormerApp, endpoints: Iterable[Endpoint]) -> Move:
    posts = [one.path for one in endpoints if "POST" in one.methods]
    refresh = [path for path in posts if "refresh" in path.lower()]
    logins = [one for one in posts if one not in refresh and one.rstrip("/").endswith(LOGINS)]
    lasts = min(found.refresh or found.access or 30 * DAY, LONGEST_LOGIN - 2 * DAY)
    until = datetime.fromtimestamp(time.time() + lasts + DAY, UTC).date()
    return Move(found, refresh, logins, until.isoformat())


# --- what is to be decided


def _lines(plan: Move, *, as_toml: bool) -> Iterator[Line]:
    found = plan.found
    yield Line("ok", "library", found.library)
    refusals = list(_why_not(plan))
    yield from refusals
    if plan.library is not None and not refusals:
        yield from _keys(found, as_toml=as_toml)
        yield from _lifetimes(found)
        yield from _paths(plan)
        yield from _blocklist(found)
    if plan.issuer == found.issuer:
        yield Line("ok", "issuer", "the same as before")
    else:
        yield Line(
            "warn",
            "issuer",
            "tokens had no issuer that is a URL: two examples stand for yours",
            "issuer: the https URL of the service that logs users in; audience: a name of what "
            "the tokens open. They don't change again",
        )
    yield from found.lines
    yield Line(
        "warn",
        "routes",
        "every path without a rule needs a token now",
        "a Route(..., public=True) for each that doesn't; `check --app` lists all endpoints",
    )


def _why_not(plan: Move) -> Iterator[Line]:
    """Yield why the former tokens can't be taken."""
    try:
        if plan.library is not None:
            _migration(plan)
    except ConfigurationError as error:
        rule = rule_of(error)
        seen = f"{error.problem} [{rule}]" if rule else error.problem
        yield Line("FAIL", error.field.rpartition(".")[2], seen, error.remedy)
        yield Line("FAIL", "users", "all log in once more: `migrate` is left out")


def _keys(found: FormerApp, *, as_toml: bool) -> Iterator[Line]:
    is_secret = found.algorithm.startswith("HS")
    seen = "can verify them" if found.secret else "isn't to be seen here"
    take_over = f"{VARIABLE} is its value, until `until`"
    state: LineState = "ok" if found.secret else "warn"
    yield Line(state, "secret" if is_secret else "keys", f"{found.secret_name} {seen}", take_over)
    if as_toml or not is_secret:
        yield Line(
            "warn",
            "keys",
            f"{KEY_FILE} is to be made",
            f"KeySet.{'secret' if is_secret else 'pem'}(os.environ[{VARIABLE!r}], algorithm="
            f"{found.algorithm!r}).save({KEY_FILE!r})",
        )


def _blocklist(found: FormerApp) -> Iterator[Line]:
    if found.blocklist:
        yield Line(
            "warn",
            "blocklist",
            "tokens may have been revoked: is_blocked asks when one is refreshed, and at the first "
            "sight of an access token",
            "keep what it asks until `until`",
        )


def _migration(plan: Move) -> Migration:
    """Return what takes the former tokens. Raises ConfigurationError, where nothing can."""
    found = plan.found
    given: dict[str, Any] = {"secret": found.secret, "algorithm": found.algorithm}
    if not found.secret:  # there is nothing to be judged
        given = {"keys": KeySet.generate(found.algorithm)}
    elif not found.algorithm.startswith("HS"):
        given = {"keys": KeySet.pem(found.secret, algorithm=found.algorithm)}
    given |= _fields(plan) | {"library": plan.library, "until": plan.until, "is_blocked": None}
    return Migration(**given)


def _lifetimes(found: FormerApp) -> Iterator[Line]:
    for kind, life, longest in (
        ("access tokens", found.access, LONGEST_TOKEN),
        ("refresh tokens", found.refresh, LONGEST_LOGIN),
    ):
        if life is None:
            yield Line(
                "warn",
                kind,
                "never expire, and one without `exp` is refused",
                "let the former library make tokens that expire, and switch when clients have them",
            )
        elif life > longest:
            yield Line(
                "warn",
                kind,
                f"live for {span(life)}, and ours for {span(longest)} at most",
                f"old ones are taken until `until`; how long {kind} live is yours to choose",
            )


def _paths(plan: Move) -> Iterator[Line]:
    if plan.library is None or plan.library.refresh is None:
        return
    if not plan.refresh_paths:
        yield Line(
            "warn",
            "path",
            "where clients refresh isn't to be seen here",
            'path="/...": there they are answered as before',
        )
        return
    first, *others = plan.refresh_paths
    yield Line(
        "warn" if others else "ok",
        "path",
        f"clients refresh at {first}",
        f"or at {' or '.join(others)}? One of them" if others else "",
    )


# --- our settings


def _settings(plan: Move, *, migrates: bool, as_toml: bool) -> Group:
    found = plan.found
    refresh: dict[str, Any] = {"store": "sqlite:///grants.db"}
    lasts = found.refresh or found.access or 0
    if lasts + 2 * DAY > Refresh(store="memory://").absolute_limit:
        refresh["absolute_limit"] = min(math.ceil(lasts / DAY) + 2, LONGEST_LOGIN // DAY) * DAY
    if found.refresh and found.access and 10 <= found.access <= LONGEST_TOKEN:
        refresh["access_lifetime"] = int(found.access)
    if found.cookies:
        forms = {"forms": True} if found.forms else {}
        refresh["cookies"] = Group("Cookies", {"access": True} | forms)
    if migrates:
        given = _fields(plan) | {"library": _preset(plan.found), "until": plan.until}
        if as_toml or not found.algorithm.startswith("HS"):
            given["keys"] = Expression(f'KeySet.load("{KEY_FILE}")', f'"{KEY_FILE}"')
        else:
            given["secret"] = Expression(f'os.environ["{VARIABLE}"]', "")
            if found.algorithm != "HS256":
                given["algorithm"] = found.algorithm
        order = ("library", "until", "secret", "algorithm", "keys", *given)
        refresh["migrate"] = Group("Migration", {one: given[one] for one in order if one in given})
    is_named = plan.issuer == found.issuer and found.audience
    logins = plan.login_paths or ("/login",)
    return Group(
        "Settings",
        {
            "issuer": plan.issuer,
            "audience": _one(found.audience) if is_named else AUDIENCE,
            "keys": Expression('KeySet.load("keys.json")', '"keys.json"'),
            **({"login_url": logins[0]} if found.forms else {}),
            "routes": tuple(
                Group("Route", {"path": path, "public": True, "own_origin": True})
                for path in (*logins, *(("/logout",) if found.forms else ()))
            ),
            "refresh": Group("Refresh", refresh),
        },
    )


def _one(names: tuple[str, ...]) -> Any:
    return names[0] if len(names) == 1 else names


def _fields(plan: Move) -> dict[str, Any]:
    """Return the fields of `Migration` that say more than the library, the keys and the date."""
    found, library = plan.found, plan.library
    fields: dict[str, Any] = {"issuer": found.issuer}
    if library is not None and found.audience != (library.audience,):
        fields["audience"] = _one(found.audience) if found.audience else ""
    if library is not None and library.tells_access:
        fields["routes"] = ("/*",)
    if library is not None and library.refresh is not None:
        fields["path"] = plan.refresh_paths[0] if plan.refresh_paths else ""
    if found.blocklist:
        fields["is_blocked"] = Expression("is_blocked", '"MODULE:is_blocked"')
    return {name: value for name, value in fields.items() if value != ""}


def _preset(found: FormerApp) -> Expression:
    changes = ", ".join(f"{name}={in_python(value)}" for name, value in found.changes.items())
    table = [f"base = {json.dumps(found.preset)}"]
    table += [f"{name} = {_inline(value)}" for name, value in found.changes.items()]
    return Expression(
        f"migrations.{found.preset}" + (f".replace({changes})" if changes else ""),
        f"{{ {', '.join(table)} }}" if changes else json.dumps(found.preset),
    )


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(k)} = {json.dumps(v)}' for k, v in value.items())} }}"
    return json.dumps(value)


def _toml(group: Group) -> str:
    return "\n".join(in_toml(group, "jwt_middleware")) + "\n"


def _python(group: Group, plan: Move, *, migrates: bool) -> str:
    names = {"KeySet", "Refresh", "Route", "Settings"}
    names |= {"Cookies"} if plan.found.cookies else set()
    names |= {"Migration", "migrations"} if migrates else set()
    code = in_python(group)
    lines = ["import os", ""] if "os.environ" in code else []
    shown = sorted(names, key=lambda name: (name.islower(), name))
    lines += [f"from jwt_middleware import {', '.join(shown)}", ""]
    if "is_blocked" in code:
        lines += ["", *_hook(plan.found), "", ""]
    return "\n".join([*lines, f"settings = {code}", ""])


def _hook(found: FormerApp) -> list[str]:
    """Return the code of a function that asks the former blocklist."""
    module, _, name = found.blocklist.partition(":")
    if name and found.preset in _ASKED:
        body = [f"from {module} import {name}", "", f"return {_ASKED[found.preset].format(name)}"]
    else:
        body = ["# The former function has no name, or asks by the token's text.", _STOP]
    return ["def is_blocked(claims):", *(f"    {line}" if line else "" for line in body)]


_STOP = "raise NotImplementedError(\"is claims['jti'] revoked?\")"
_ASKED = {
    "SIMPLEJWT": '{}.objects.filter(token__jti=claims["jti"]).exists()',
    "FLASK_JWT_EXTENDED": "{}({{}}, dict(claims))",
}


MIGRATE_COMMAND = Subcommand(
    "migrate",
    "come from another library, with users who stay logged in",
    commands=(
        Subcommand(
            "check",
            "read an application's present configuration, and print ours",
            _check_migration,
            (
                option(
                    "app",
                    metavar="APP",
                    help="MODULE:NAME of the application, of a function that makes it, or of a "
                    "configuration; or the module of Django's settings. Its code runs, and is "
                    "looked for here first",
                ),
                option("--toml", action="store_true", help="print TOML instead of Python"),
                APP_DIR,
                AS_JSON,
            ),
            more="Exit status: 0 nothing is to be decided, 1 something is, 2 the former tokens "
            "can't be taken, or the application can't be read. No secret is shown.",
        ),
    ),
)
