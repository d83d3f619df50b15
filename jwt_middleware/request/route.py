"""One rule for a path, and which paths are read in the same way by every server and framework."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, cast

from ..token.scopes import is_scope, is_scope_token
from ..values.arrays import Several
from ..values.errors import ConfigurationError

# Paths that every framework reads in the same way. `%` isn't among them: a decoded path that still
# has one was encoded twice.
CANONICAL = re.compile(r"/[A-Za-z0-9._~!$&'()*+,=:@/-]*")
# Paths that frameworks and servers read in different ways: Flask serves //admin as /admin. Bottle
# drops octets that are no UTF-8, others put U+FFFD in their place.
_ODD = re.compile(r"\A(?!/)|//|/\.\.?(?:/|\Z)|[\\;\x00-\x1f\x7f\ufffd\ud800-\udfff]")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")
_PARAMETER = re.compile(r"[{}<>]|/:")
MAX_PATH = 8192  # characters; no application has longer paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One rule for a path, or for all below it (`/admin/*`).

    Args:
        path: decoded, as the application's router sees it, below the root it is mounted at.
        methods: upper-case; none: all of them. GET implies HEAD.
        public: no token is read. Matches this very path only, in its canonical spelling.
        optional: a request without a token passes, without a user; one with a bad token is refused.
        own_origin: for public and optional routes that log in: other sites' requests are refused,
            unless their method is safe. They could plant another login (RFC 10017). It holds for
            the path with and without a last slash, whichever rule opens that spelling.
        scope: all of these, separated by spaces, are needed. Matches whatever follows the path,
            too: `/admin` and `/admin/*` both cover `/admin`, `/admin/` and `/admin/users`.
        max_age: seconds since the user authenticated (the claim `auth_time`, RFC 9470 s4).
        acr_values: one of these must be the claim `acr` (RFC 9470 s4).
        proof: "required": only a token that is bound to a key of its client; "accepted": others as
            well; "": as `Proofs.required` says. A bound token needs its proof on every route.
        connections: "end": a websocket, or a response that is still streamed, is ended when its
            token no longer holds; "keep": it stays.

    The most specific rule wins: the longer path, then the exact one, then the one that names the
    method. A rule without any option says that a valid token is needed, say below a public prefix.

    Raises:
        ConfigurationError: for a wrong path or combination; the message says how to mend it.

    """

    path: str = field(kw_only=False)
    methods: Several[str] = ()
    public: bool = False
    optional: bool = False
    own_origin: bool = False
    scope: str = ""
    max_age: int | None = None  # seconds
    acr_values: Several[str] = ()
    connections: Literal["end", "keep"] = "end"
    proof: Literal["", "required", "accepted"] = ""

    def __post_init__(self) -> None:
        self._check_types()
        self._check_path()
        for method in self.methods:
            if not _METHOD.fullmatch(method):
                raise self._wrong("methods", f"{method!r} is no method", "upper-case, as in GET")
        scope: object = self.scope  # what an untyped caller gave
        self._refuse(
            (
                not isinstance(scope, str) or not is_scope(scope),
                "scope",
                "must be words separated by one space (RFC 6749 s3.3)",
                'as in "read write"',
            ),
            (
                not all(map(is_scope_token, self.acr_values)),
                "acr_values",
                "must be visible ASCII without quotes (RFC 9470 s3)",
                "as the issuer names them",
            ),
            (
                self.max_age is not None and (type(self.max_age) is not int or self.max_age < 0),
                "max_age",
                "must be a whole number of seconds, 0 or more",
                "300 is five minutes",
            ),
            (
                self.public and self.optional,
                "public",
                "excludes optional",
                "a public route reads no credentials",
            ),
            (
                self.own_origin and not self.permits,
                "own_origin",
                "is for routes that log in, without a token",
                "with public=True; a token, or the agreed header of a cookie, says as much",
            ),
            (
                self.permits and self.restricts,
                "public" if self.public else "optional",
                "excludes scope, max_age, acr_values and proof",
                "make two rules, for two paths or two methods",
            ),
            (
                self.permits and not CANONICAL.fullmatch(self.path),
                "path",
                f"{self.path!r} can't be public or optional: not every server reads it in one way",
                "use letters, digits and ._~!$&'()*+,=:@/-",
            ),
        )

    @property
    def permits(self) -> bool:
        """Say whether this rule lets requests in without a token."""
        return self.public or self.optional

    @property
    def restricts(self) -> bool:
        """Say whether this rule asks for more than a valid token."""
        return bool(
            self.scope or self.acr_values or self.max_age is not None or self.proof == "required"
        )

    def _check_types(self) -> None:
        for name in ("methods", "acr_values"):
            value: object = getattr(self, name)
            listed = isinstance(value, Iterable) and not isinstance(value, str)
            values = tuple(cast("Iterable[object]", value)) if listed else (None,)
            if not all(isinstance(one, str) for one in values):
                raise self._wrong(name, "must be a tuple of strings", 'as in ("GET", "POST")')
            object.__setattr__(self, name, values)
        for name in ("public", "optional", "own_origin"):
            if not isinstance(getattr(self, name), bool):
                raise self._wrong(name, "must be True or False", "a text is neither")
        if self.proof not in ("", "required", "accepted"):
            raise self._wrong("proof", 'must be "required" or "accepted"', "leave it out")
        if self.connections not in ("end", "keep") or (self.public and self.connections == "keep"):
            raise self._wrong(
                "connections",
                'must be "end" or "keep"; on a public route, which reads no token, "end"',
                "leave it out",
            )

    def _check_path(self) -> None:
        path: object = self.path
        if not isinstance(path, str) or not path.startswith("/"):
            raise self._wrong("path", f"{path!r} must begin with /", "as the router sees it")
        literal = path.removesuffix("*") if path.endswith("/*") else path
        self._refuse(
            (
                _ODD.search(literal) is not None or not literal.isprintable(),
                "path",
                f"{path!r} isn't the same path for every server",
                "without //, dot segments, \\, ; and characters nobody can see",
            ),
            (
                "*" in literal and not self.permits,
                "path",
                f"{path!r}: * stands only at the end, after /",
                "",
            ),
            (
                _PARAMETER.search(literal) is not None,
                "path",
                f"{path!r}: path parameters don't exist here",
                "end with /*",
            ),
            (
                not {"%", "?", "#"}.isdisjoint(literal),
                "path",
                f"{path!r} is no decoded path",
                "no %, no query, no fragment",
            ),
        )

    def _refuse(self, *faults: tuple[bool, str, str, str]) -> None:
        """Raise the first fault that is present: (is it present, field, problem, remedy)."""
        for is_there, *fault in faults:
            if is_there:
                raise self._wrong(*fault)

    def _wrong(self, field: str, problem: str, remedy: str = "") -> ConfigurationError:
        return ConfigurationError(f"Route({self.path!r}).{field}", problem, remedy)


def is_odd(path: str) -> bool:
    """Say whether servers and frameworks read this path in different ways."""
    # A quick test that nearly every path passes, so that the pattern isn't needed.
    if (
        path.isprintable()
        and path[:1] == "/"
        and "//" not in path
        and "/." not in path
        and ";" not in path
        and "\\" not in path
        and "\ufffd" not in path
        and len(path) <= MAX_PATH
    ):
        return False
    return len(path) > MAX_PATH or _ODD.search(path) is not None
