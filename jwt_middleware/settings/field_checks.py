"""The checks of single fields, sorted by what a field holds.

The groups say which field has which. A check that is a `Fault` keeps the value as it is; others may
change its form, say to a tuple.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from inspect import iscoroutinefunction
from typing import Any
from urllib.parse import urlsplit

from ..jose.binding import UnusableKey
from ..keys.key_set import KeySet
from ..keys.key_sources import unusable
from ..request.origins import check_origin
from ..request.refusals import QUOTABLE
from ..request.route import Route
from ..request.routes import Routes
from ..stores.contract import STORE_VERBS
from ..token.claims import MAX_TIME
from ..token.refresh import from_text
from ..token.scopes import is_scope_token
from ..values.errors import ConfigurationError
from .checking import Fault, FieldCheck, each, in_turn, is_a, listed, optional

MIN_CLOCK = 1_000_000_000  # seconds: the year 2001; a clock that counts from a boot is below it

true_or_false = Fault(
    lambda value: not isinstance(value, bool), "must be True or False", "a text is neither"
)

# -- Names of parties, scopes and challenges.

exact_name = in_turn(
    Fault(
        lambda value: not isinstance(value, str) or not value,
        "must be a non-empty string",
        "as the tokens have it",
    ),
    Fault(
        lambda value: not value.isprintable() or " " in value,
        "{value!r} has white space or a character nobody can see",
        "leave it out",
    ),
)


def _as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    return listed(name, (value,) if isinstance(value, str) else value)


audiences = in_turn(
    _as_tuple,
    each(exact_name),
    Fault(
        # RFC 9068 s4: "MUST validate that the aud claim contains a resource indicator value
        # corresponding to an identifier the resource server expects for itself".
        lambda value: not value,
        "is empty: tokens for every other service would pass",
        "name this service",
    ),
)


# One scope token of RFC 6749 s3.3: visible ASCII without quotes.
def _is_no_word(value: Any) -> bool:
    return not is_scope_token(value)


scopes = each(Fault(_is_no_word, "has one that is no scope (RFC 6749 s3.3)", '("read",)'))
client_name = Fault(
    _is_no_word, "must be visible ASCII without quotes", "a plain name, as in web-app"
)
realm = Fault(
    lambda value: not isinstance(value, str) or not value or not QUOTABLE.fullmatch(value),
    "must be ASCII without quotes, backslashes and control characters (RFC 6750 s3)",
    'a plain name, as in "api"',
)
readable = Fault(
    lambda value: not isinstance(value, str) or not value.isprintable(),
    "must be text that people can read",
    '"" for none',
)

# -- What measures.


def _is_no_metrics(value: Any) -> bool:
    return isinstance(value, type) or not callable(getattr(value, "begin", None))


def metrics(name: str, value: Any) -> Any:
    """Return where metrics go as a tuple. Raises ConfigurationError."""
    if value is None:
        return ()
    check = Fault(
        _is_no_metrics,
        "has one that takes no metrics",
        "Prometheus() of jwt_middleware.prometheus, or OpenTelemetry() of jwt_middleware.otel",
    )
    return each(check)(name, value if isinstance(value, tuple | list) else (value,))


# -- URLs, paths and origins.

https_url = Fault(
    lambda value: "has a fragment" if "#" in str(value) else unusable(value),
    "{}",  # without the value: a URL may hold a password
    "an https URL; http is only for loopback",
)


root_url = optional(
    Fault(
        lambda value: (
            unusable(value)
            or (re.search(r"[?#]|/\Z", value) and "has a query, a fragment or a / at its end")
        ),
        "is no URL of a root: it {}",
        "https://shop.example/app, without / at the end; http is only for loopback",
    ),
    "",
)

# A path that all servers and clients read in the same way. A query can't name one of our documents.
_SAME_FOR_ALL = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?")


resource_url = in_turn(
    https_url,
    Fault(
        # RFC 9728 s1.2: "SHOULD NOT include a query component".
        lambda value: "?" in value or not _SAME_FOR_ALL.fullmatch(urlsplit(value).path),
        "{value!r} has a query, or a path that isn't the same for every client",
        "a path of letters, digits and ._~!$&'()*+,=:@-",
    ),
)

# No dot segment: a client removes it before it sends the request (RFC 3986 s5.2.4).
_ENDPOINT_PATH = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]+)+")
endpoint_path = in_turn(
    Fault(
        lambda value: not isinstance(value, str) or not _ENDPOINT_PATH.fullmatch(value),
        "{value!r} is no path of letters, digits and ._~-",
        'like "/auth"',
    ),
    Fault(
        lambda value: value.startswith("/.well-known/oauth-"),
        "{value!r} is where metadata is (RFC 8414, RFC 9728)",
        'like "/auth"',
    ),
)

login_url = optional(
    Fault(
        lambda value: (
            not isinstance(value, str) or not _ENDPOINT_PATH.fullmatch(value.removesuffix("/"))
        ),
        "{value!r} is no path of a page of this application: letters, digits and ._~-",
        'like "/login"',
    ),
    "",
)

origins = each(Fault(check_origin, "", ""))  # `check_origin` raises with its own words


def routes(name: str, value: Any) -> tuple[Route, ...]:
    """Check that no two rules are about the same path, and return them as a tuple."""
    found: tuple[Route, ...] = each(is_a(Route, "{} is no Route", 'Route("/login", ...)'))(
        name, value
    )
    Routes(found)
    return found


# -- Keys and secrets.

key_set = in_turn(
    is_a(
        KeySet,
        "must be a KeySet, not {}: text never becomes a key by guessing",
        "KeySet.load, .remote, .pem, .secret, .from_jwks or .generate",
    ),
    Fault(
        lambda value: value.keys and not any(key.verifies for key in value.keys),
        "no key may verify: every token would be refused",
        'key_ops needs "verify"',
    ),
)


def secrets(name: str, value: Any) -> tuple[str | bytes, ...]:
    """Return the secrets for refresh tokens as a tuple, given one or several."""
    found = (value,) if isinstance(value, str | bytes) else value
    if not isinstance(found, list | tuple) or not all(
        isinstance(one, str | bytes) for one in found
    ):
        raise ConfigurationError(
            name, "must be text or octets, or several in a tuple", "leave it out to derive one"
        )
    try:
        kids = [from_text(one).kid for one in found]
    except UnusableKey as error:
        raise ConfigurationError(name, str(error), "or leave it out to derive one") from None
    if len(set(kids)) < len(kids):
        raise ConfigurationError(name, "has one secret twice", "the first signs, all verify")
    return tuple(found)


# -- Functions of the application's.

function = in_turn(
    Fault(
        lambda value: not callable(value) and type(value).__name__,
        "{} can't be called",
        "give a function",
    ),
    # An async function would never be awaited: a check would refuse every token, an event would be
    # lost.
    Fault(
        lambda value: iscoroutinefunction(value) or iscoroutinefunction(type(value).__call__),
        "is asynchronous, and must not wait",
        "give a plain function",
    ),
)


def hook(argument: str, example: str) -> FieldCheck:
    """Return the check of a field for a sync or async function, or None."""
    return optional(
        Fault(lambda value: not callable(value), f"must be a function of {argument}", example)
    )


# -- Times.


def _is_no_time(value: Any) -> bool:
    """Say whether a value can't be seconds since 1970: another epoch, or milliseconds."""
    # `type`, because True is an int; NaN is between no two numbers.
    return type(value) not in (int, float) or not MIN_CLOCK <= value < MAX_TIME


# With another epoch, or in milliseconds, `exp` would be compared with a wrong time.
_wall_clock_time = Fault(
    _is_no_time, "doesn't return the seconds since 1970-01-01 UTC", "time.time does"
)
_seconds_since_1970 = Fault(
    _is_no_time,
    "must be a date, a date and a time, or seconds since 1970-01-01 UTC",
    '"2030-01-31", its first moment, UTC',
)


def running_clock(name: str, value: Any) -> Any:
    """Return a function that gives the seconds since 1970-01-01 UTC. It is called once."""
    function(name, value)
    try:
        now = value()
    except Exception as error:
        raise ConfigurationError(
            name, f"raised {type(error).__name__}", "it is called without arguments"
        ) from error
    _wall_clock_time(name, now)
    return value


def since_1970(name: str, value: Any) -> float:
    """Return a date (its first moment), or a date and a time, in seconds since 1970-01-01 UTC."""
    found = value
    try:
        if isinstance(value, str | date):
            text = value if isinstance(value, str) else value.isoformat()
            moment = datetime.fromisoformat(text)
            found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        found = None
    return float(_seconds_since_1970(name, found))


# -- Stores.

_STORE_FORMS = "sqlite:///grants.db, postgresql://..., redis://..., or an object of yours"


def _why_no_store(value: Any) -> str:
    """Return why an object is no store, as the end of the message."""
    missing = [verb for verb in STORE_VERBS if not callable(getattr(value, verb, None))]
    is_class = "not a class" if isinstance(value, type) else ""
    return f"and has no {missing[0]}" if missing else is_class


store = in_turn(
    # The engines check the scheme of a URL, and what follows it.
    Fault(
        lambda value: isinstance(value, str) and not re.match(r"[a-z][a-z0-9+.-]*://", value),
        "is no URL",
        _STORE_FORMS,
    ),
    Fault(
        lambda value: not isinstance(value, str) and _why_no_store(value),
        "must be a URL, or an object with the verbs of a store, {}",
        _STORE_FORMS,
    ),
    Fault(
        lambda value: (
            not isinstance(value, str)
            and len({iscoroutinefunction(getattr(value, one)) for one in STORE_VERBS}) > 1
        ),
        "has verbs that are awaited, and others that aren't",
        "choose one kind",
    ),
)
