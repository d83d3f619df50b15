"""The groups of settings for features that can be off: a group that is None is off."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from inspect import iscoroutinefunction
from typing import Any, Literal, cast

from .jose.jwk import UnusableKey
from .keys import remote
from .request.cookies import Jar
from .request.origins import is_loopback
from .stores import AsyncStore, Store
from .token.claims import is_scope
from .token.refresh import from_text
from .values.errors import ConfigurationError
from .values.model import Grant, Tokens

DAY = 86400  # seconds
MAX_ENTRIES = 1_000_000  # of the token cache; some 2.5 GB in each process
MAX_DAYS = 400  # browsers keep no cookie longer (RFC 6265bis s5.5)

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 s5.6.2
# RFC 6265bis s4.1.3: what these promise about a cookie, we say ourselves; case doesn't count.
_PREFIX = re.compile(r"__(?:secure|host|http)-", re.IGNORECASE)
# Neither `_`, which servers drop or take for `-`, nor what a WSGI environment can't tell apart.
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
# No dot segment: a client takes it away before it asks (RFC 3986 s5.2.4).
_PATH = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, kw_only=True, eq=False)
class Cookies:
    """Tokens in cookies, for browser clients whose scripts shall not hold them (RFC 10017).

    The refresh token always, the access token with `access=True`. Every request that a cookie
    vouches for must carry the `header`, unless its method is safe, and come from our own origin or
    one of `Settings.origins`.

    Args:
        name: the refresh cookie is called `__Secure-` and this.
        access: whether the access token travels in a cookie, too.
        access_name: the access cookie is called `__Host-` and this.
        access_same_site: "Strict", or "Lax" where links from other sites shall find the user logged
            in.
        header: a field that scripts of ours send, and that neither forms nor browsers by themselves
            do.
        mount: the path that the whole application is mounted at, "" for the root: the refresh
            cookie's Path is this and `Refresh.path`.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    name: str = "refresh_token"
    access: bool = False
    access_name: str = "access_token"
    access_same_site: Literal["Strict", "Lax"] = "Strict"
    header: str = "X-Requested-With"
    mount: str = ""

    def __post_init__(self) -> None:
        for name, check in _COOKIE_CHECKS.items():
            check(f"cookies.{name}", getattr(self, name))
        if self.name == self.access_name:
            raise _wrong(
                "cookies.access_name", "is the refresh cookie's name, too", "give each its own"
            )

    def refresh_jar(self, group: "Refresh", issuer: str) -> Jar:
        """Return the refresh cookie: it goes to our own endpoints only."""
        plain = is_loopback(issuer)
        return Jar(
            name=self.name if plain else f"__Secure-{self.name}",
            attributes=f"Path={self.mount}{group.path}; HttpOnly; SameSite=Strict"
            + ("" if plain else "; Secure"),
        )

    def access_jar(self, issuer: str) -> Jar | None:
        """Return the access cookie: it goes to the whole host, and to no other."""
        if not self.access:
            return None
        plain = is_loopback(issuer)
        return Jar(
            name=self.access_name if plain else f"__Host-{self.access_name}",
            attributes=f"Path=/; HttpOnly; SameSite={self.access_same_site}"
            + ("" if plain else "; Secure"),
        )

    def check_sizes(self, tokens: Tokens, refresh: Jar, access: Jar | None) -> None:
        """Check that a browser takes the cookies. Raises ValueError."""
        if tokens.refresh_token:
            refresh.check_size(tokens.refresh_token)
        if access is not None:
            access.check_size(tokens.access_token)

    def carry(self, tokens: Tokens, refresh: Jar, access: Jar | None, idle: int) -> Tokens:
        """Return the tokens with their cookies, and without what the cookies carry."""
        cookies = []
        if tokens.refresh_token:
            cookies.append(refresh.set(tokens.refresh_token, idle))
        hidden = {"refresh_token"}
        if access is not None:
            cookies.append(access.set(tokens.access_token, tokens["expires_in"]))
            hidden.add("access_token")
        return Tokens(
            {name: value for name, value in tokens.items() if name not in hidden},
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            grant_id=tokens.grant_id,
            cookies=tuple(cookies),
        )


@dataclass(frozen=True, kw_only=True)
class TokenCache:
    """Verified access tokens, kept so that the next request with one costs next to nothing.

    Every hit checks again what moves with time or can be taken back: the token's times, its
    issuer's keys, ended grants, the route. Tokens of more than 4 KiB aren't kept.

    Args:
        entries: the most tokens that are kept, about 2.5 KB each; 0: none.
        hashed: keep their SHA-256 instead, so that no usable token stays in memory.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    # more than most processes have users at one time
    entries: int = field(default=4096, metadata={"minimum": 0, "maximum": MAX_ENTRIES})
    hashed: bool = False

    def __post_init__(self) -> None:
        if type(self.entries) is not int or not 0 <= self.entries <= MAX_ENTRIES:
            raise ConfigurationError(
                "token_cache.entries", f"must be a whole number up to {MAX_ENTRIES}", "0 keeps none"
            )
        if not isinstance(cast("Any", self.hashed), bool):
            raise ConfigurationError("token_cache.hashed", "must be True or False")


# What says nothing about the page it comes from: the Fetch standard's safelisted and forbidden
# request headers, what else browsers add by themselves, and what proxies add.
_AUTOMATIC = re.compile(
    r"accept(-.*)?|access-control-.*|authorization|b3|cache-control|cf-.*|connection|content-.*|"
    r"cookie2?|date|device-memory|dnt|downlink|dpr|ect|expect|fastly-.*|forwarded|from|host|if-.*|"
    r"keep-alive|last-event-id|origin|pragma|priority|proxy-.*|purpose|range|referer|rtt|save-data|"
    r"sec-.*|set-cookie|te|trace(parent|state)|trailer|transfer-encoding|true-client-ip|"
    r"upgrade(-.*)?|user-agent|via|viewport-width|width|"
    r"x-(amz|amzn|arr|azure|b3|client|cloud|cluster|correlation|envoy|forwarded|http|original|real|"
    r"request|scheme|ssl)(-.*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Refresh:
    """Issue tokens: logins begin grants, and refresh tokens buy new access tokens.

    Args:
        store: where grants live: a URL, or an object with the verbs of `stores.Store` or
            `AsyncStore`.
        serve: False for a service that shares the store and issues nothing: it has no endpoints,
            needs public keys only, and asks the store for what has ended and nothing else.
        secret: what refresh tokens are signed with, at least 32 random octets; of several the first
            signs, and all verify. None: derived from the signing key.
        cookies: tokens in cookies; None: in the JSON bodies and the Authorization header.
        claims_for: called with the `Grant` at every refresh, and at `issue` without claims: returns
            the application's claims, or raises `EndGrant`. Sync, or async for ASGI.
        client_id: the client of logins that don't name one (RFC 9068 requires the claim).
        path: where the endpoints `/refresh` and `/revoke` are.
        jwks_path: where the key set is, when tokens are signed asymmetrically.
        metadata: publish where the endpoints and the keys are (RFC 8414), for an issuer whose name
            is a URL. False where something else does that.
        public_url: the URL at which clients reach the root of this application, for the metadata.
            "": the issuer's host, and `Cookies.mount`.
        access_lifetime: seconds; each token's is shortened by up to 5 %, so that a fleet doesn't
            refresh in step.
        idle_limit: seconds without a refresh after which a grant is gone.
        absolute_limit: seconds after the login at which a grant ends, whatever happens.
        grants_per_subject: one more login ends the oldest.
        settle: seconds for which a fresh refresh token stays as it is, 0 to 300.
        restore_limit: rotations that a failover of the store may lose without logging anyone out.
        sync_every: seconds between questions for ended grants; 0: every request asks.
        sync_limit: seconds without an answer after which `sync_failure` holds.
        sync_failure: "closed" refuses tokens of our own grants then (503), "open" lets them pass.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    # Not shown: a URL may hold the password of an engine.
    store: str | Store | AsyncStore = field(repr=False)
    serve: bool = True
    secret: str | bytes | tuple[str | bytes, ...] = field(default=(), repr=False)
    cookies: Cookies | None = None
    claims_for: Callable[[Grant], Any] | None = None
    client_id: str = "first-party"
    path: str = "/auth"
    jwks_path: str = "/.well-known/jwks.json"
    metadata: bool = True
    public_url: str = ""
    # seconds; long enough to be cheap, short enough for services without a store
    access_lifetime: float = field(default=600, metadata={"minimum": 10, "maximum": DAY})
    # seconds; a week's holiday is no reason to log in anew
    idle_limit: float = field(default=7 * DAY, metadata={"minimum": 60, "maximum": MAX_DAYS * DAY})
    # seconds; the longest that a thief whose victim never comes back has
    absolute_limit: float = field(
        default=30 * DAY, metadata={"minimum": 60, "maximum": MAX_DAYS * DAY}
    )
    # more devices than anyone has, fewer than a script that logs in for ever makes
    grants_per_subject: int = field(default=100, metadata={"minimum": 1, "maximum": 10000})
    # seconds; a burst of tabs, a restart of a browser
    settle: float = field(default=60, metadata={"minimum": 0, "maximum": 300})
    restore_limit: int = field(default=8, metadata={"minimum": 0, "maximum": 64})
    # seconds; a log-out is in force everywhere after twice that
    sync_every: float = field(default=1, metadata={"minimum": 0, "maximum": 60})
    # seconds; a failover of most engines takes 30
    sync_limit: float = field(default=120, metadata={"minimum": 1, "maximum": 3600})
    sync_failure: Literal["closed", "open"] = "closed"

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            check(name, getattr(self, name))
        for one in fields(self):
            if one.metadata:
                _in_range(one.name, getattr(self, one.name), **one.metadata)
        object.__setattr__(self, "secret", _secrets("secret", self.secret))
        if not self.serve and (self.secret or self.claims_for is not None):
            raise _wrong(
                "serve",
                "is False, and who issues nothing has no use for a secret or claims_for",
                "leave them out, or serve",
            )
        if not self.serve and self.store == "memory://":
            raise _wrong(
                "serve",
                "is False, and memory:// is this process's own: nobody would end a grant in it",
                "give the store that the issuer has",
            )
        if self.jwks_path in (f"{self.path}/refresh", f"{self.path}/revoke"):
            raise _wrong("jwks_path", "is another endpoint's path", "give it one of its own")
        if self.idle_limit > self.absolute_limit:
            raise _wrong(
                "idle_limit",
                "is longer than absolute_limit, which no rotation moves",
                "make it shorter, or absolute_limit longer",
            )
        if self.access_lifetime + self.settle > self.idle_limit:
            raise _wrong(
                "idle_limit",
                "is shorter than access_lifetime and settle: honest clients would be logged out",
                "make it at least twice access_lifetime",
            )
        if self.sync_limit < 2 * self.sync_every:
            raise _wrong(
                "sync_limit",
                "is shorter than twice sync_every: a single late answer would count as a failure",
                "make it longer, or sync_every shorter",
            )

    @property
    def secrets(self) -> tuple[str | bytes, ...]:
        """Return all secrets for refresh tokens; none: they are derived."""
        return cast("tuple[str | bytes, ...]", self.secret)


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


def _mount(name: str, value: Any) -> None:
    if not isinstance(value, str) or (value and not _PATH.fullmatch(value)):
        raise _wrong(
            name, "must be a path of letters, digits and ._~-", 'like "/app", or "" for the root'
        )


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
    "mount": _mount,
}

_VERBS = ("add", "advance", "end", "end_subject", "grants", "ended", "admit", "purge")
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
    secrets = (value,) if isinstance(value, str | bytes) else value
    if not isinstance(secrets, list | tuple) or not all(
        isinstance(one, str | bytes) for one in secrets
    ):
        raise _wrong(
            name, "must be text or octets, or several in a tuple", "leave it out to derive one"
        )
    try:
        kids = [from_text(one).kid for one in secrets]
    except UnusableKey as error:
        raise _wrong(name, str(error), "or leave it out to derive one") from None
    if len(set(kids)) < len(kids):
        raise _wrong(name, "has one secret twice", "the first signs, all verify")
    return tuple(secrets)


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
    problem = remote.unusable(value) if value != "" else ""
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


def _in_range(name: str, value: Any, minimum: float, maximum: float) -> None:
    default = Refresh.__dataclass_fields__[name].default
    kinds = (int,) if name in ("grants_per_subject", "restore_limit") else (int, float)
    # `type`, because True is an int; NaN is between no two numbers.
    if type(value) not in kinds or not minimum <= value <= maximum:
        unit, why = _COUNTS[name]
        whole = "a whole number of " if kinds == (int,) else ""
        raise _wrong(
            name,
            f"must be {whole}{minimum} to {maximum} {unit}: {why}",
            f"the default is {default}",
        )


def _wrong(field_: str, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"refresh.{field_}", problem, remedy)
