"""`jwt-middleware check`: read the settings as the application would, and say what is risky.

What is wrong is an error of the settings themselves, and the application doesn't start with it. The
rules here are about what is allowed and still seldom meant.
"""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .. import ConfigurationError, Former, KeySet, Refresh, Settings, TrustedIssuer
from ..core.metadata import documents
from ..keys.file import File
from ..keys.remote import Remote
from ..process.runtime import Runtime
from ..process.several_workers import is_for_one_process
from ..request.origins import is_loopback
from ..request.routes import Route
from ..settings.consistency import without_metadata
from .changes import changes
from .configured import add_options, imported, settings_of, source_of
from .lines import Line, write

MAX_LEEWAY = 60  # seconds; what Envoy and Spring have. Clocks that are set by NTP need a tenth
MIN_SETTLE = 60  # seconds: two late writes of a browser's and a request on its way
MAX_ACCESS = 3600  # seconds for which a log-out doesn't reach services without the store
OTHERS = 0o077  # of a file's mode: everybody but its owner


def add_command(commands: Any) -> None:
    """Add `check` to the command line."""
    about = "read the settings as the application would, and say what is wrong or risky in them"
    parser = commands.add_parser(
        "check",
        help=about,
        description=f"{about.capitalize()}. Exit status: 0 nothing, 1 something is risky, 2 the "
        "application would not start.",
    )
    add_options(parser)
    parser.add_argument(
        "--door", choices=("asgi", "wsgi"), help="check that it starts behind this one, too"
    )
    parser.add_argument(
        "--against",
        metavar="OLD",
        help="say what the change does to those who are logged in: the settings as they were, a "
        "TOML file or MODULE:NAME",
    )
    parser.set_defaults(run=_check)


def _check(arguments: Namespace) -> int:
    try:
        settings = settings_of(arguments)
        old = _old(arguments)
        runtime = Runtime.of(settings)  # with a store that nobody has connected to yet
        if arguments.door is not None:
            runtime.core(asynchronous=arguments.door == "asgi")
    except ConfigurationError as error:
        rule = rule_of(error)
        seen = f"{error.problem} [{rule}]" if rule else error.problem
        write([Line("FAIL", error.field, seen, error.remedy)], as_json=arguments.json)
        return 2
    found = write(_findings(settings), as_json=arguments.json)
    if old is not None:
        found += write(changes(old, settings, _spelling(arguments)), as_json=arguments.json)
    if any(line.state in ("warn", "FAIL") for line in found):
        return 1
    if found:
        return 0
    write(
        [Line("ok", "settings", f"nothing to say about {source_of(arguments)}")],
        as_json=arguments.json,
    )
    return 0


def _old(arguments: Namespace) -> Settings | None:
    """Return the settings to compare with. Raises ConfigurationError or Refusal."""
    name: str | None = arguments.against
    if name is None:
        return None
    if os.path.isfile(name) or ":" not in name:
        return Settings.from_toml(name, arguments.table)
    return imported(name, "--against")


def _spelling(arguments: Namespace) -> Callable[[Mapping[str, str]], str]:
    """Return how these settings spell an entry of `Refresh.former`."""
    if arguments.settings is not None:
        return _in_python
    if arguments.toml is not None:
        return lambda entry: f"{{{', '.join(f'{k} = {json.dumps(v)}' for k, v in entry.items())}}}"
    return lambda entry: f"{arguments.prefix}REFRESH__FORMER='[{json.dumps(entry)}]'"


def _in_python(entry: Mapping[str, str]) -> str:
    values = {
        # What can't be shown stands in angle brackets, and is no text.
        name: value if value.startswith("<") else json.dumps(value)
        for name, value in entry.items()
    }
    if values.get("keys", "").startswith('"'):
        values["keys"] = f"KeySet.load({values['keys']})"
    return f"Former({', '.join(f'{name}={value}' for name, value in values.items())})"


def _findings(settings: Settings) -> Iterator[Line]:
    for rule in RULES:
        for found in rule.look(settings):
            yield Line("warn", found.field, f"{found.problem} [{rule.id}]", rule.remedy)


# --- errors


# What the settings refuse, and the rule of the standards behind it; the first that matches counts.
# Rules with an id like RS-30 are those of tests/rules.toml.
ERRORS: tuple[tuple[str, str], ...] = (
    (r"excludes optional|excludes scope", "RS-04"),
    (r"cookies with tokens must not travel in clear", "RS-09"),
    (r"secrets and asymmetric keys in one set", "RS-15"),
    (r"could serve several algorithms", "RS-16"),
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
    (r"isn't the same for every client|has a fragment", "RS-70"),
    (r"isn't in the audience|isn't trusted", "RS-71"),
    (r"through the issuer's metadata|is not https, and its host", "RS-72"),
    (r"another endpoint's path", "RT-01"),
    (r"comes from other sites, too", "RT-20"),
)


def rule_of(error: ConfigurationError) -> str:
    """Return the id of the rule that an error of the settings enforces, or ""."""
    return next((rule for pattern, rule in ERRORS if re.search(pattern, error.problem)), "")


# --- what is allowed, and seldom meant


class Found(NamedTuple):
    """Where, and what."""

    field: str
    problem: str


class Rule(NamedTuple):
    """One rule: its id, which stays the same; what it looks for; and the way out."""

    id: str
    look: Callable[[Settings], Iterator[Found]]
    remedy: str


def _each(settings: Settings) -> Iterator[tuple[str, Settings | TrustedIssuer]]:
    yield "", settings
    for position, one in enumerate(settings.trusted_issuers):
        yield f"trusted_issuers[{position}].", one


def _loopback(settings: Settings) -> Iterator[Found]:
    for place, one in _each(settings):
        if is_loopback(one.issuer):
            yield Found(f"{place}issuer", f"{one.issuer!r} is this machine, and without TLS")
    for origin in settings.origins:
        if is_loopback(origin):
            yield Found("origins", f"{origin!r} is whatever runs on the machine of the browser")


def _nameless(settings: Settings) -> Iterator[Found]:
    group = settings.refresh
    problem = without_metadata(settings.issuer)
    if group is not None and group.serve and problem:
        yield Found("issuer", f"{settings.issuer!r} {problem}: nobody can find its keys by it")


def _leeway(settings: Settings) -> Iterator[Found]:
    if settings.leeway > MAX_LEEWAY:
        yield Found("leeway", f"{settings.leeway:g} s: every token lives so much longer")


def _audience(settings: Settings) -> Iterator[Found]:
    for place, one in _each(settings):
        if "" not in one.profile.types and "jwt" not in one.profile.types:
            continue
        for name in one.audience:
            if ":" not in name:
                yield Found(
                    f"{place}audience",
                    f"{name!r} looks like a client's id, and {one.profile.name} takes tokens of "
                    "the type that ID tokens have: one of those would open this service",
                )


def _list(settings: Settings) -> Iterator[Found]:
    for place, one in _each(settings):
        for name in one.audience:
            if "," in name:
                yield Found(f"{place}audience", f"{name!r} is one name, with a comma in it")


def _scopes(settings: Settings) -> Iterator[Found]:
    guarded = [route.path for route in settings.routes if route.scope]
    for place, one in _each(settings):
        if isinstance(one, TrustedIssuer) and one.scopes is None and guarded:
            yield Found(
                f"{place}scopes", f"is None: it may give the scope of {guarded[0]} to anybody"
            )


def _secret(settings: Settings) -> Iterator[Found]:
    for place, one in _each(settings):
        if any(key.is_symmetric for key in one.keys.keys) and not _issues(settings, one):
            yield Found(f"{place}keys", "a secret: with it this service could make such tokens")


def _issues(settings: Settings, one: Settings | TrustedIssuer) -> bool:
    return one is settings and settings.refresh is not None and settings.refresh.serve


def _private_addresses(settings: Settings) -> Iterator[Found]:
    for place, one in _each(settings):
        if isinstance(one.keys.source, Remote) and one.keys.source.private_addresses:
            yield Found(
                f"{place}keys.private_addresses", "who runs the issuer can have us ask inside"
            )


def _key_file(settings: Settings) -> Iterator[Found]:
    found = [(f"{place}keys", one.keys) for place, one in _each(settings)]
    for place, former in _former(settings):
        if former.keys is not None:
            found.append((f"{place}.keys", former.keys))
    for place, keys in found:
        source = keys.source
        if isinstance(source, File) and _is_open(source.path) and _is_secret(keys):
            yield Found(place, f"{source.path} has secrets, and others can read it")


def _former(settings: Settings) -> Iterator[tuple[str, Former]]:
    group = settings.refresh
    for position, one in enumerate(group.former if group is not None else ()):
        yield f"refresh.former[{position}]", one


def _is_open(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & OTHERS)
    except OSError:
        return False  # gone since it was read


def _is_secret(keys: KeySet) -> bool:
    return any(key.is_symmetric or key.signs for key in keys.keys)


def _memory(settings: Settings) -> Iterator[Found]:
    group = settings.refresh
    if group is not None and (group.store == "memory://" or is_for_one_process(group.store)):
        yield Found(
            "refresh.store",
            "memory:// is gone with its process: all are logged out; and under several workers "
            "each knows only the logins that it served",
        )


def _generated(settings: Settings) -> Iterator[Found]:
    for place, one in _each(settings):
        if one.keys.is_made_here:
            yield Found(
                f"{place}keys",
                "KeySet.generate() makes others in each process: a restart ends all tokens, and "
                "under several workers each refuses the tokens of the others",
            )


def _relative(settings: Settings) -> Iterator[Found]:
    if re.match(r"sqlite:///[^/]", _store(settings)):
        yield Found("refresh.store", "the file is looked for where the process happens to start")


def _store(settings: Settings) -> str:
    store = settings.refresh.store if settings.refresh is not None else ""
    return store if isinstance(store, str) else ""


def _of_refresh(
    field: str, is_risky: Callable[[Refresh], bool], problem: str
) -> Callable[[Settings], Iterator[Found]]:
    def look(settings: Settings) -> Iterator[Found]:
        if settings.refresh is not None and is_risky(settings.refresh):
            yield Found(f"refresh.{field}", problem)

    return look


def _over(settings: Settings) -> Iterator[Found]:
    now = settings.clock()
    for place, one in _former(settings):
        if one.ends_at <= now:
            yield Found(place, "its date is past: it verifies nothing")


def _all_open(settings: Settings) -> Iterator[Found]:
    for route in settings.routes:
        if route.permits and route.path == "/*":
            yield Found(_named(route), "opens whatever no other rule names: what is forgotten")


def _opened(settings: Settings) -> Iterator[Found]:
    for route in settings.routes:
        for above in settings.routes:
            if route.permits and above.restricts and _covers(above, route):
                yield Found(_named(route), f"opens a part of {above.path}, which is guarded")


def _login_from_elsewhere(settings: Settings) -> Iterator[Found]:
    group = settings.refresh
    if group is None or group.cookies is None:
        return
    for route in settings.routes:
        if route.public and not route.own_origin and "POST" in (route.methods or ("POST",)):
            yield Found(
                _named(route),
                "takes other sites' forms: if it logs in, they can plant the login of another",
            )


def _without_effect(settings: Settings) -> Iterator[Found]:
    ours = {path for path in documents(settings) if path.startswith("/")}
    group = settings.refresh
    if group is not None and group.serve:
        ours |= {f"{group.path}/refresh", f"{group.path}/revoke", group.jwks_path}
    for route in settings.routes:
        if route.path in ours:
            yield Found(_named(route), "is answered by the middleware itself, whatever a rule says")


def _lenient_below(settings: Settings) -> Iterator[Found]:
    for route in settings.routes:
        if route.permits or not route.scope:
            continue
        for above in settings.routes:
            lost = set(above.scope.split()) - set(route.scope.split())
            if above.restricts and lost and _covers(above, route):
                yield Found(
                    _named(route),
                    f"takes the place of {above.path} here: {' '.join(sorted(lost))} isn't needed",
                )


def _covers(above: Route, route: Route) -> bool:
    """Say whether a rule would be asked for what is below it, if another weren't there."""
    stem = above.path.removesuffix("*").rstrip("/")
    if stem == route.path.removesuffix("*").rstrip("/") or not route.path.startswith(f"{stem}/"):
        return False
    return not (above.methods and route.methods and set(route.methods).isdisjoint(above.methods))


def _named(route: Route) -> str:
    return f"Route({route.path!r})"


RULES: tuple[Rule, ...] = (
    Rule("loopback", _loopback, "left over from development? An https URL"),
    Rule(
        "issuer-without-metadata", _nameless, "an https URL, so that KeySet.remote() needs no more"
    ),
    Rule("long-leeway", _leeway, "30 s, and clocks set by NTP"),
    Rule(
        "id-token-audience", _audience, "have the issuer give this service an audience of its own"
    ),
    Rule("audience-with-comma", _list, 'several are an array: \'["one", "other"]\' in a variable'),
    Rule("unlimited-scopes", _scopes, "name what it may give: scopes=(...)"),
    Rule("shared-secret", _secret, "public keys: KeySet.remote() or KeySet.load"),
    Rule("private-addresses", _private_addresses, "only for an issuer in the same cluster"),
    Rule("readable-key-file", _key_file, "chmod 600, and a new key if anybody may have read it"),
    Rule("memory-store", _memory, "sqlite:///, postgresql:// or redis://"),
    Rule(
        "generated-keys",
        _generated,
        'KeySet.generate().save("keys.json") once, then KeySet.load("keys.json")',
    ),
    Rule("relative-store", _relative, "a whole path: sqlite:////var/lib/app/grants.db"),
    Rule(
        "sync-open",
        _of_refresh(
            "sync_failure",
            lambda one: one.sync_failure == "open",
            "while the store is away, tokens pass that were revoked",
        ),
        '"closed" refuses them',
    ),
    Rule(
        "long-access-lifetime",
        _of_refresh(
            "access_lifetime",
            lambda one: one.access_lifetime > MAX_ACCESS,
            "so long a log-out doesn't reach services without the store",
        ),
        "600 s: a refresh is cheap",
    ),
    Rule("former-over", _over, "it can go"),
    Rule("all-open", _all_open, "name the paths that are public"),
    Rule("opened-below", _opened, "meant? Then nothing; else move the path"),
    Rule("lenient-below", _lenient_below, "name the wider rule's scopes here, too"),
    Rule(
        "login-from-elsewhere", _login_from_elsewhere, "own_origin=True; or methods that are safe"
    ),
    Rule(
        "short-settle",
        _of_refresh(
            "settle",
            lambda one: one.settle < MIN_SETTLE,
            "browsers write cookies and storage up to 35 s late: a crash then looks like theft",
        ),
        "60 s",
    ),
    Rule("route-without-effect", _without_effect, "leave it out"),
)
