"""The groups of settings for features that can be off: a group that is None is off."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .jose.jwk import UnusableKey
from .request.cookies import Jar
from .request.origins import is_loopback
from .token.claims import is_scope
from .token.refresh import from_text
from .values.errors import ConfigurationError
from .values.model import Grant, Tokens

DAY = 86400  # seconds

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 s5.6.2
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


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
        header: a field that scripts of ours send and forms can't.
        mount: the path that the whole application is mounted at, "" for the root: the refresh
            cookie's Path is this and `Refresh.path`.

    """

    name: str = "refresh_token"
    access: bool = False
    access_name: str = "access_token"
    access_same_site: Literal["Strict", "Lax"] = "Strict"
    header: str = "X-Requested-With"
    mount: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "access_name", "header"):
            value: Any = getattr(self, name)
            if not isinstance(value, str) or not _TOKEN.fullmatch(value):
                raise _wrong(f"cookies.{name}", "must be a token of RFC 9110 s5.6.2")
        if self.name == self.access_name:
            raise _wrong("cookies.access_name", "is the refresh cookie's name, too")
        if not isinstance(self.access, bool):
            raise _wrong("cookies.access", "must be True or False")
        if self.access_same_site not in ("Strict", "Lax"):
            # SameSite=None would send the cookie from every site.
            raise _wrong("cookies.access_same_site", 'must be "Strict" or "Lax"')
        if self.header.lower() in _SIMPLE_HEADERS:
            raise _wrong(
                "cookies.header",
                f"{self.header!r} can be sent from other sites without a preflight",
                "use one of your own, such as X-Requested-With",
            )
        mount: Any = self.mount
        if not isinstance(mount, str) or (mount and not _PATH.fullmatch(mount)):
            raise _wrong("cookies.mount", "must be like /app, without a slash at its end")

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

    def carry(self, tokens: Tokens, refresh: Jar, access: Jar | None, idle: int) -> Tokens:
        """Return the tokens with their cookies, and without what the cookies carry."""
        cookies = [refresh.set(tokens.refresh_token, idle)]
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


# The Fetch standard's CORS-safelisted request headers: a form or a plain script of any site sends
# them.
_SIMPLE_HEADERS = frozenset(
    ("accept", "accept-language", "content-language", "content-type", "range", "origin", "cookie")
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Refresh:
    """Issue tokens: logins begin grants, and refresh tokens buy new access tokens.

    Args:
        store: where grants live: a URL, or an object with the verbs of `stores.Store` or
            `AsyncStore`.
        secret: what refresh tokens are signed with, at least 32 random octets; the first signs, all
            verify. None: derived from the signing key.
        cookies: tokens in cookies; None: in the JSON bodies and the Authorization header.
        claims_for: called with the `Grant` at every refresh, and at `issue` without claims: returns
            the application's claims, or raises `EndGrant`. Sync, or async for ASGI.
        client_id: the client of logins that don't name one (RFC 9068 requires the claim).
        path: where the endpoints `/refresh` and `/revoke` are.
        jwks_path: where the key set is, when tokens are signed asymmetrically.
        access_lifetime: seconds; each token's is shortened by up to 5 %, so that a fleet doesn't
            refresh in step.
        idle_limit: seconds without a refresh after which a grant is gone.
        absolute_limit: seconds after the login at which a grant ends, whatever happens.
        grants_per_subject: one more login ends the oldest.
        settle: seconds for which a fresh refresh token is answered with itself, 0 to 300.
        restore_limit: rotations that a failover of the store may lose without logging anyone out.
        sync_every: seconds between questions for ended grants; 0: every request asks.
        sync_limit: seconds without an answer after which `sync_failure` holds.
        sync_failure: "closed" refuses tokens of our own grants then (503), "open" lets them pass.

    """

    store: Any
    secret: tuple[str | bytes, ...] = field(default=(), repr=False)
    cookies: Cookies | None = None
    claims_for: Callable[[Grant], Any] | None = None
    client_id: str = "first-party"
    path: str = "/auth"
    jwks_path: str = "/.well-known/jwks.json"
    access_lifetime: float = (
        600  # seconds; long enough to be cheap, short enough for services without a store
    )
    idle_limit: float = 7 * DAY
    absolute_limit: float = 30 * DAY
    grants_per_subject: int = 100
    settle: float = 60  # seconds; a burst of tabs, a restart of a browser
    restore_limit: int = 8
    sync_every: float = 1  # seconds
    sync_limit: float = 120  # seconds; a failover of most engines takes 30
    sync_failure: Literal["closed", "open"] = "closed"

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        for name, (least, most) in _RANGES.items():
            _in_range(name, getattr(self, name), least, most)
        if self.jwks_path in (f"{self.path}/refresh", f"{self.path}/revoke"):
            raise _wrong("jwks_path", "is another endpoint's path")
        if self.idle_limit > self.absolute_limit:
            raise _wrong("idle_limit", "is longer than absolute_limit, which no rotation moves")
        if self.access_lifetime + self.settle > self.idle_limit:
            raise _wrong(
                "idle_limit",
                "is shorter than access_lifetime and settle: honest clients would be logged out",
                "make it at least twice access_lifetime",
            )


def _store(name: str, value: Any) -> Any:
    if not isinstance(value, str) and not hasattr(value, "advance"):
        raise _wrong(
            name,
            "must be a URL, or an object with the verbs of a store",
            '"sqlite:///grants.db"',
        )
    return value


def _secret(name: str, value: Any) -> tuple[str | bytes, ...]:
    secrets = (value,) if isinstance(value, str | bytes) else tuple(value or ())
    for one in secrets:
        if not isinstance(one, str | bytes):
            raise _wrong(name, "must be text or octets, or several in a tuple")
        try:
            from_text(one)
        except UnusableKey as error:
            raise _wrong(name, str(error)) from None
    return secrets


def _cookies(name: str, value: Any) -> Cookies | None:
    if value is not None and not isinstance(value, Cookies):
        raise _wrong(name, "must be a Cookies group or None", "Cookies()")
    return value


def _hook(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise _wrong(name, "must be a function of the Grant")
    return value


def _client_id(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value or not is_scope(value) or " " in value:
        raise _wrong(name, "must be visible ASCII without quotes")
    return value


def _path(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise _wrong(name, f"{value!r} must be like /auth, of letters, digits and ._~-")
    return value


def _whole(name: str, value: Any) -> int:
    if type(value) is not int:
        raise _wrong(name, "must be a whole number")
    return value


def _closed_or_open(name: str, value: Any) -> Any:
    if value not in ("closed", "open"):
        raise _wrong(name, 'must be "closed" or "open"')
    return value


def _in_range(name: str, value: Any, least: float, most: float) -> None:
    if type(value) not in (int, float) or not least <= value <= most:
        raise _wrong(name, f"must be a number from {least} to {most}")


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "store": _store,
    "secret": _secret,
    "cookies": _cookies,
    "claims_for": _hook,
    "client_id": _client_id,
    "path": _path,
    "jwks_path": _path,
    "grants_per_subject": _whole,
    "restore_limit": _whole,
    "sync_failure": _closed_or_open,
}

_RANGES: Mapping[str, tuple[float, float]] = {
    "access_lifetime": (10, DAY),
    "idle_limit": (60, 400 * DAY),
    "absolute_limit": (60, 400 * DAY),  # browsers keep no cookie longer than 400 days
    "grants_per_subject": (1, 10000),
    "settle": (0, 300),
    "restore_limit": (0, 64),
    "sync_every": (0, 60),
    "sync_limit": (1, 3600),
}


def _wrong(field_: str, problem: str, remedy: str = "") -> ConfigurationError:
    return ConfigurationError(f"refresh.{field_}", problem, remedy)
