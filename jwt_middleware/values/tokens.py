"""Tokens, grants and users, as plain values, and the read-only JSON that they hold."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from .response_cookies import add_cookies

NO_SCOPES: frozenset[str] = frozenset()
T_co = TypeVar("T_co", covariant=True)
Model = TypeVar("Model")


class Hidden(Generic[T_co]):
    """A wrapper for a token, or for a value that contains one. Its `repr` shows nothing.

    Code that calls the application, a hook or a store keeps tokens in this form only. When such a
    call fails, error trackers send the `repr` of the locals of all frames, and of what is in their
    tuples, dictionaries and dataclasses.
    """

    __slots__ = ("value",)

    def __init__(self, value: T_co) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<Hidden>"


class FrozenDict(dict[str, Any]):
    """A JSON object that can't be changed: a `dict` to read, to compare and to serialize.

    A verified token is handed to many requests, so its claims must stay what was signed.
    Arrays inside are tuples. `dict(claims)` gives a copy to change.
    """

    __slots__ = ()

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("claims are read-only: change a copy, dict(claims)")

    if not TYPE_CHECKING:  # for a type checker it is a plain dict
        __setitem__ = __delitem__ = __ior__ = _refuse
        clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        return FrozenDict, (dict(self),)

    def copy(self) -> FrozenDict:
        """Return this very object: it can't change, so that a copy isn't needed."""
        return self


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A verified access token (RFC 9068). Its `repr` holds no claim, so that logs don't either.

    Args:
        claims: all of them, as they were signed.
        own: our own issuer made it: `sub` is a user of ours, `sid` is a grant of ours.
        scopes: what it permits here, by its profile. What `claims` says may be more, or other.
        subject_claim, client_claim: the claims that name the subject and the client.

    """

    claims: FrozenDict
    own: bool = True
    scopes: frozenset[str] = NO_SCOPES
    subject_claim: str = "sub"
    client_claim: str = "client_id"

    @property
    def issuer(self) -> str:
        """Return the claim `iss`."""
        issuer: str = self.claims["iss"]
        return issuer

    @property
    def subject(self) -> str:
        """Return the claim `sub`: a user of the issuer, or a client that acts for itself.

        A profile may name another claim (`Profile.subject_claims`).
        """
        subject: str = self.claims[self.subject_claim]
        return subject

    @property
    def scope(self) -> str:
        """Return `scopes` as one text (RFC 6749 s3.3), or "": in the token's order, else sorted."""
        given = self.claims.get("scope")
        if type(given) is str and self.scopes == frozenset(given.split(" ")):
            return given
        return " ".join(sorted(self.scopes))

    def has_scope(self, scope: str) -> bool:
        """Say whether the token has this scope, or all of several.

        Args:
            scope: one scope, or several separated by one space. "" is no scope: no token has it.

        """
        return self.scopes.issuperset(scope.split(" "))

    def claims_as(self, model: type[Model]) -> Model:
        """Return the claims as an object of your class, to whose fields they belong by name.

        Args:
            model: a dataclass, a pydantic model or a msgspec Struct. The values must be what the
                annotations say; claims without a field are left out, unless the model refuses them.

        Raises:
            ValueError: a claim is missing, or isn't what its annotation says.
            TypeError: a class of another kind, or with annotations that can't be checked.

        """
        from .claims_models import claims_as_model  # few applications need it

        return claims_as_model(model, self.claims)

    @property
    def client_id(self) -> str | None:
        """Return the client; None if another issuer's token doesn't name it."""
        return self.claims.get(self.client_claim)

    @property
    def grant_id(self) -> str | None:
        """Return the grant, the claim `sid`: in our own issuer's tokens only."""
        return self.claims.get("sid") if self.own else None

    @property
    def bound_key(self) -> str | None:
        """Return the thumbprint of the key that it is bound to (RFC 9449 s6.1); None: to none."""
        return self._confirmation("jkt")

    @property
    def bound_certificate(self) -> str | None:
        """Return the thumbprint of the certificate that it is bound to (RFC 8705 s3.1), or None."""
        return self._confirmation("x5t#S256")

    def _confirmation(self, member: str) -> str | None:
        cnf: FrozenDict | None = self.claims.get("cnf")
        return None if cnf is None else cnf.get(member)

    @property
    def expires_at(self) -> float:
        """Return the end, in seconds since 1970-01-01 UTC."""
        expires_at: float = self.claims["exp"]
        return expires_at

    def __repr__(self) -> str:
        return f"AccessToken(expires_at={self.expires_at})"

    @property
    def principal(self) -> tuple[str, str]:
        """Return (issuer, subject): a subject is unique within its issuer (RFC 7519 s4.1.2)."""
        return self.issuer, self.subject

    @property
    def is_client(self) -> bool:
        """Say whether a client acts for itself: then the subject isn't a user (RFC 9700 s4.15)."""
        claims = self.claims  # read once: each new token is asked
        return bool(claims[self.subject_claim] == claims.get(self.client_claim))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What all refresh tokens of one login belong to: one row, until its absolute end.

    Times are seconds since 1970-01-01 UTC. Nothing in it works as a token. A list of a user's
    devices needs `id`, `label`, `created_at` (the login), `used_at` and `expires_at`.

    Args:
        id: a letter and 128 random bits; it travels as the claim `sid`.
        subject, client_id: the user, or the client itself; and the client.
        scope, claims: what was granted, as words separated by spaces; the application's own claims.
        bound_key: the thumbprint of the key that the grant is bound to (RFC 9449 s5).
        generation: the number of rotations and 1; it grows by one with each, and never shrinks.
        parent: the `jti` that was exchanged for this generation; None: unknown.
        rotated_at, created_at: the times of the last rotation, or the login; and of the login.
        expires_at: the time of the absolute end.
        ended_at, end_reason: the time of the end, and why it ended; None: it lives.
        last_used_at: the time of the last recorded use without a rotation; see `used_at`.
        label, idle_limit: what its user calls it; seconds, or None: that of the settings.
        is_session: whether the client drops its tokens when it is closed.

    """

    id: str
    subject: str = field(repr=False)
    client_id: str
    scope: str
    claims: FrozenDict = field(repr=False)
    bound_key: str | None
    generation: int
    parent: str | None
    rotated_at: float
    created_at: float
    expires_at: float
    ended_at: float | None = None
    end_reason: str | None = None
    last_used_at: float | None = None
    label: str | None = field(default=None, repr=False)
    idle_limit: float | None = None
    is_session: bool = False

    @property
    def used_at(self) -> float:
        """Return the time of the last refresh that was recorded, or of the login.

        A later one may be missing for an hour, or for a tenth of the idle limit if that is less.
        """
        return max(self.rotated_at, self.last_used_at or 0.0)

    def rotated(self, generation: int, parent: str | None, now: float) -> Grant:
        """Return the grant as it is after a rotation."""
        # By hand: `dataclasses.replace` costs as much as the rest of a rotation in memory.
        return Grant(
            id=self.id,
            subject=self.subject,
            client_id=self.client_id,
            scope=self.scope,
            claims=self.claims,
            bound_key=self.bound_key,
            generation=generation,
            parent=parent,
            rotated_at=now,
            created_at=self.created_at,
            expires_at=self.expires_at,
            ended_at=self.ended_at,
            end_reason=self.end_reason,
            last_used_at=self.last_used_at,
            label=self.label,
            idle_limit=self.idle_limit,
            is_session=self.is_session,
        )


@dataclass(frozen=True, slots=True)
class _UserFields:
    is_authenticated: bool
    display_name: str


class User(_UserFields):
    """What Starlette expects at `request.user`."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        # Channels' AuthMiddleware sets the user of Django's session, as `_wrapped`, on the object
        # that it finds here. The token says who the user is, and many requests share this object:
        # so the assignment is ignored.
        if name != "_wrapped":
            raise FrozenInstanceError(f"cannot assign to field {name!r}")

    @property
    def identity(self) -> str:
        """Return the subject; "" without a user."""
        return self.display_name


@dataclass(frozen=True, slots=True)
class Auth:
    """What Starlette expects at `request.auth`: the token's scopes, and `authenticated`."""

    scopes: tuple[str, ...]


# There are few different scopes: thousands of cached tokens share the objects made from them.
@lru_cache(maxsize=256)
def _auth_of(scopes: frozenset[str]) -> Auth:
    """Return a token's scopes as Starlette reads them."""
    return Auth((*sorted(scopes), "authenticated"))


def octets_of_grant(grant_id: str) -> bytes:
    """Return 15 octets in place of a grant's id: 120 bits, in 48 octets of memory."""
    return sha256(grant_id.encode("utf-8", "surrogatepass")).digest()[:15]


class Forward:
    """The decision to call the application, with this verified token.

    The token is None on a public route, and for a client that came without one. `user` is a user of
    ours or no user at all: a subject of another issuer and a client that acts for itself aren't our
    users. `remote_user` is the name as a WSGI environment has it (PEP 3333: octets, handed on as
    Latin-1). `scopes` are the token's; `auth` has one more, which opens nothing here.
    """

    __slots__ = ("auth", "grant_id", "remote_user", "scopes", "token", "user")

    def __init__(self, token: AccessToken | None, user: User | None = None) -> None:
        # If no user is given, it is the subject of our own issuer's token, or no user if a client
        # acts for itself.
        if user is None:
            user = NOBODY
            if token is not None and not token.is_client:
                user = User(True, token.subject)
        self.token = token
        self.user = user
        self.grant_id = None if token is None else token.grant_id
        name = user.display_name
        self.remote_user = name if name.isascii() else name.encode().decode("latin-1")
        self.scopes = NO_SCOPES if token is None else token.scopes
        self.auth = Auth(()) if token is None else _auth_of(token.scopes)


NOBODY = User(is_authenticated=False, display_name="")
ANONYMOUS = Forward(None, NOBODY)


class Held:
    """The tokens in the cookies of a request: what its browser still holds of earlier logins.

    For `Issuer.issue(replaces=...)`, which ends those logins. Its `repr` shows nothing of them.
    """

    __slots__ = ("access", "devices", "former", "refresh")

    def __init__(
        self,
        refresh: tuple[tuple[str, str], ...],
        access: tuple[tuple[str, str], ...],
        former: tuple[tuple[str, str], ...] = (),
        devices: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.refresh = refresh  # names and values, as they came
        self.access = access
        self.former = former  # of both kinds, of the library that the application comes from
        self.devices = devices  # what devices have shown

    def __repr__(self) -> str:
        return f"<Held: {len(self.refresh)} logins>"

    def __reduce__(self) -> Any:
        raise TypeError("tokens are not to be kept: hand them to issue(replaces=...)")


NOTHING_HELD = Held((), ())


class Tokens(FrozenDict):
    """The answer to a login: the members of RFC 6749 s5.1, ready to be sent as JSON.

    With cookies, a token that travels in a cookie isn't among the members: `cookies` are the
    Set-Cookie fields. Then there is one member more, `sid`, the grant's id: it opens nothing, and
    tells a page which login this answer is about.

    Args:
        members: what is sent.
        access_token, refresh_token: both tokens, wherever they travel.
        grant_id: the login that both belong to.
        is_session: whether the cookies go when the browser is closed.
        cookies: the Set-Cookie fields, as names and values.

    """

    __slots__ = ("access_token", "cookies", "grant_id", "is_session", "refresh_token")

    def __init__(
        self,
        members: dict[str, Any],
        *,
        access_token: str,
        refresh_token: str,
        grant_id: str,
        is_session: bool = False,
        cookies: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(members)
        self.access_token = access_token
        self.refresh_token = refresh_token
        self.grant_id = grant_id
        self.is_session = is_session
        self.cookies = cookies

    def __repr__(self) -> str:
        return f"<Tokens of grant {self.grant_id}>"

    def __reduce__(self) -> Any:
        raise TypeError("tokens are not to be kept: send them to the client")

    def set_cookies(self, response: Any) -> None:
        """Add the Set-Cookie fields to a response. Does nothing where `Refresh(cookies=None)`.

        Args:
            response: one of Flask, Starlette, FastAPI, Django or the like. For others: `cookies`.

        """
        add_cookies(response, self.cookies)
