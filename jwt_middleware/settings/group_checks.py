"""What `Refresh`, `Former` and `Cookies` may say. Loaded where one of them is on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from datetime import UTC, date, datetime, time
from inspect import iscoroutinefunction
from typing import Any

from ..jose.jwk import UnusableKey
from ..keys.key_sources import unusable
from ..token.claims import MAX_TIME, is_scope
from ..token.refresh import from_text
from ..values.errors import ConfigurationError
from . import fields as checks
from .groups import Cookies, Former, Refresh

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 s5.6.2
# RFC 6265bis s4.1.3: what these promise about a cookie, we say ourselves; case doesn't count.
_PREFIX = re.compile(r"(?i)__(?:secure|host|http)-")
# Neither `_`, which servers drop or take for `-`, nor what a WSGI environment can't tell apart.
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
# No dot segment: a client takes it away before it asks (RFC 3986 s5.2.4).
_PATH = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]+)+")
# What says nothing about the page it comes from: the Fetch standard's safelisted and forbidden
# request headers, what else browsers add by themselves, and what proxies add.
_AUTOMATIC = re.compile(
    r"(?i)accept(-.*)?|access-control-.*|authorization|b3|cache-control|cf-.*|connection|content-.*|"
    r"cookie2?|date|device-memory|dnt|downlink|dpr|ect|expect|fastly-.*|forwarded|from|host|if-.*|"
    r"keep-alive|last-event-id|origin|pragma|priority|proxy-.*|purpose|range|referer|rtt|save-data|"
    r"sec-.*|set-cookie|te|trace(parent|state)|trailer|transfer-encoding|true-client-ip|"
    r"upgrade(-.*)?|user-agent|via|viewport-width|width|"
    r"x-(amz|amzn|arr|azure|b3|client|cloud|cluster|correlation|envoy|forwarded|http|original|real|"
    r"request|scheme|ssl)(-.*)?"
)


def check_cookies(group: Cookies) -> None:
    """Check a group. Raises ConfigurationError."""
    for name, check in _COOKIE_CHECKS.items():
        check(f"cookies.{name}", getattr(group, name))
    if group.name == group.access_name:
        raise _wrong(
            "cookies.access_name", "is the refresh cookie's name, too", "give each its own"
        )


def check_refresh(group: Refresh) -> None:
    """Check a group, and keep its secrets as a tuple. Raises ConfigurationError."""
    for name, check in _CHECKS.items():
        check(name, getattr(group, name))
    for one in fields(group):
        if one.metadata:
            _in_range(one, getattr(group, one.name), **one.metadata)
    object.__setattr__(group, "secret", _secrets("secret", group.secret))
    object.__setattr__(group, "former", _each_former("refresh.former", group.former))
    if not group.serve and (group.secret or group.former or group.claims_for is not None):
        raise _wrong(
            "serve",
            "is False, and who issues nothing has no use for a secret or claims_for, or former",
            "leave them out, or serve",
        )
    if not group.serve and group.store == "memory://":
        raise _wrong(
            "serve",
            "is False, and memory:// is this process's own: nobody would end a grant in it",
            "give the store that the issuer has",
        )
    if group.jwks_path in (f"{group.path}/refresh", f"{group.path}/revoke"):
        raise _wrong("jwks_path", "is another endpoint's path", "give it one of its own")
    if group.idle_limit > group.absolute_limit:
        raise _wrong(
            "idle_limit",
            "is longer than absolute_limit, which no rotation moves",
            "make it shorter, or absolute_limit longer",
        )
    if group.access_lifetime + group.settle > group.idle_limit:
        raise _wrong(
            "idle_limit",
            "is shorter than access_lifetime and settle: honest clients would be logged out",
            "make it at least twice access_lifetime",
        )
    if group.sync_limit < 2 * group.sync_every:
        raise _wrong(
            "sync_limit",
            "is shorter than twice sync_every: a single late answer would count as a failure",
            "make it longer, or sync_every shorter",
        )


_each_former = checks.each(Former, 'Former(until="2030-01-31", secret=...)')


def check_former(one: Former) -> None:
    """Check what signed before, and keep its time as a number. Raises ConfigurationError."""
    object.__setattr__(one, "until", _until(one.until))
    object.__setattr__(one, "secret", _secrets("former.secret", one.secret))
    if one.issuer != "":
        checks.identifier("refresh.former.issuer", one.issuer)
    if not one.secret and one.keys is None and not one.issuer:
        raise _wrong(
            "former",
            "doesn't say what signed then",
            "its `secret`; the `keys` that it was derived from; or the `issuer`, if only that was "
            "another",
        )
    if one.keys is None:
        return
    keys = checks.key_set("refresh.former.keys", one.keys)
    if not any(key.private is not None for key in keys.keys):
        raise _wrong(
            "former.keys",
            "has no private key and no secret, of which secrets for refresh tokens are derived",
            "KeySet.load of the file that signed; for a key in a KMS give the `secret` of its time",
        )


def _until(value: Any) -> float:
    try:
        found = _seconds(datetime.fromisoformat(value) if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        found = 0
    # A length of time is no date, nor is one in milliseconds.
    if not checks.MIN_CLOCK <= found < MAX_TIME:
        raise _wrong(
            "former.until",
            "must be a date, a date and a time, or seconds since 1970-01-01 UTC",
            '"2030-01-31", its first moment, UTC',
        )
    return found


def _seconds(value: Any) -> float:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    # `type`, because True is an int.
    return float(value) if type(value) in (int, float) else 0


def _cookie_name(name: str, value: Any) -> None:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise _wrong(name, "must be a token of RFC 9110 s5.6.2", "letters, digits, - and _")
    if _PREFIX.match(value):
        raise _wrong(name, "has the prefix already, which is put in front of it", "leave it out")


def _header(name: str, value: Any) -> None:
    if not isinstance(value, str) or not _FIELD.fullmatch(value):
        raise _wrong(name, "must be the name of a header: letters, digits and -", _HEADER)
    if _AUTOMATIC.fullmatch(value):
        raise _wrong(
            name, f"{value!r} comes from other sites, too: from a form, or by itself", _HEADER
        )


_HEADER = "use one of your own, such as X-Requested-With"


def _bool(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise _wrong(name, "must be True or False", "a text is neither")


def _same_site(name: str, value: Any) -> None:
    # SameSite=None would send the cookie from every site.
    if value not in ("Strict", "Lax"):
        raise _wrong(name, 'must be "Strict" or "Lax"', "None would be an invitation")


_COOKIE_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "name": _cookie_name,
    "access": _bool,
    "access_name": _cookie_name,
    "access_same_site": _same_site,
    "header": _header,
}

_VERBS = ("add", "advance", "use", "end", "end_subject", "grants", "ended", "admit", "purge")
_STORE = "sqlite:///grants.db, postgresql://..., redis://..., or an object of yours"


def _store(name: str, value: Any) -> None:
    if isinstance(value, str):
        # Which schemes there are, and what follows them, is for the engines to say.
        if not re.match(r"[a-z][a-z0-9+.-]*://", value):
            raise _wrong(name, "is no URL", _STORE)
        return
    verbs = {verb: getattr(value, verb, None) for verb in _VERBS}
    missing = [verb for verb, call in verbs.items() if not callable(call)]
    if missing or isinstance(value, type):
        what = f"and has no {missing[0]}" if missing else "not a class"
        raise _wrong(name, f"must be a URL, or an object with the verbs of a store, {what}", _STORE)
    if len({iscoroutinefunction(call) for call in verbs.values()}) > 1:
        raise _wrong(name, "has verbs that are awaited, and others that aren't", "choose one kind")


def _secrets(name: str, value: Any) -> tuple[str | bytes, ...]:
    found = (value,) if isinstance(value, str | bytes) else value
    if not isinstance(found, list | tuple) or not all(
        isinstance(one, str | bytes) for one in found
    ):
        raise _wrong(
            name, "must be text or octets, or several in a tuple", "leave it out to derive one"
        )
    try:
        kids = [from_text(one).kid for one in found]
    except UnusableKey as error:
        raise _wrong(name, str(error), "or leave it out to derive one") from None
    if len(set(kids)) < len(kids):
        raise _wrong(name, "has one secret twice", "the first signs, all verify")
    return tuple(found)


def _cookies(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, Cookies):
        raise _wrong(name, "must be a Cookies group or None", "Cookies()")


def _hook(name: str, value: Any) -> None:
    if value is not None and not callable(value):
        raise _wrong(name, "must be a function of the Grant", "def claims_for(grant): ...")


def _client_id(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value or not is_scope(value) or " " in value:
        raise _wrong(name, "must be visible ASCII without quotes", "a plain name, as in web-app")


def _path(name: str, value: Any) -> None:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise _wrong(name, f"{value!r} is no path of letters, digits and ._~-", 'like "/auth"')
    if value.startswith("/.well-known/oauth-"):
        raise _wrong(name, f"{value!r} is where metadata is (RFC 8414, RFC 9728)", 'like "/auth"')


def _public_url(name: str, value: Any) -> None:
    problem = unusable(value) if value != "" else ""
    if problem or "?" in value or "#" in value or value.endswith("/"):
        raise _wrong(
            name,
            "is no URL of a root" + (f": it {problem}" if problem else ""),
            "https://shop.example/app, without / at the end; http is only for loopback",
        )


def _closed_or_open(name: str, value: Any) -> None:
    if value not in ("closed", "open"):
        raise _wrong(name, 'must be "closed" or "open"', "closed is the safe one")


_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "store": _store,
    "serve": _bool,
    "cookies": _cookies,
    "claims_for": _hook,
    "client_id": _client_id,
    "path": _path,
    "jwks_path": _path,
    "metadata": _bool,
    "public_url": _public_url,
    "sync_failure": _closed_or_open,
}

# What a number counts, and why it has its limits.
_COUNTS: Mapping[str, tuple[str, str]] = {
    "access_lifetime": ("seconds", "a log-out doesn't reach services without a store before that"),
    "idle_limit": ("seconds", "browsers keep no cookie longer than 400 days"),
    "absolute_limit": ("seconds", "browsers keep no cookie longer than 400 days"),
    "grants_per_subject": ("grants", "each login is one"),
    "settle": ("seconds", "for that long a thief's copy is served like the original"),
    "restore_limit": ("rotations", "for that many an old copy of the store passes"),
    "sync_every": ("seconds", "a log-out elsewhere is in force after twice that"),
    "sync_limit": ("seconds", "what ended meanwhile is not known"),
}


def _in_range(field: Field[Any], value: Any, minimum: float, maximum: float) -> None:
    name = field.name
    kinds = (int,) if name in ("grants_per_subject", "restore_limit") else (int, float)
    # `type`, because True is an int; NaN is between no two numbers.
    if type(value) not in kinds or not minimum <= value <= maximum:
        unit, why = _COUNTS[name]
        whole = "a whole number of " if kinds == (int,) else ""
        raise _wrong(
            name,
            f"must be {whole}{minimum} to {maximum} {unit}: {why}",
            f"the default is {field.default}",
        )


def _wrong(field_: str, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"refresh.{field_}", problem, remedy)
