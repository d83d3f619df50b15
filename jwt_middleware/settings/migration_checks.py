"""The checks of `Migration`: no other token passes as a former one, and no former one for long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..jose.binding import UnusableKey
from ..jose.jwk import Key, from_secret
from ..request.route import Route
from ..request.routes import Routes
from ..token.access import RESERVED
from ..token.former_libraries import LIBRARIES, FormerLibrary
from ..token.refresh import from_text
from ..token.scopes import is_scope
from ..values.errors import ConfigurationError
from . import field_checks, header_names
from .checking import Fault, each, in_turn, is_a, optional
from .consistency import Together
from .endpoint_paths import is_endpoint
from .profile_checks import is_claim_table, is_names, is_path, is_types

_WEAK = (
    "whoever guesses it makes tokens of every user: give the former application a strong one, wait "
    "until its old tokens are over, and migrate then; or let users log in again"
)

_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# As `field_checks.endpoint_path`, and with a slash at the end, which Django's paths have.
_PATH = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]+)+/?")
path = optional(
    Fault(
        lambda value: (
            not isinstance(value, str)
            or not _PATH.fullmatch(value)
            or value.startswith("/.well-known/")
        ),
        "{value!r} is no path of letters, digits and ._~-",
        'like "/refresh" or "/api/token/refresh/"',
    ),
    "",
)


def former_routes(name: str, value: Any) -> tuple[str, ...]:
    """Return the paths of rules for old access tokens. Raises ConfigurationError."""
    found: tuple[str, ...] = each(is_a(str, "{} is no path", '("/api/*",)'))(name, value)
    try:
        Routes([Route(one, public=True) for one in found])
    except ConfigurationError as error:
        raise ConfigurationError(name, error.problem, error.remedy) from None
    return found


def audience(name: str, value: Any) -> tuple[str, ...]:
    """Return the names that tokens have in `aud`; none: tokens without one."""
    return () if value == "" or value == () else field_checks.audiences(name, value)


claims = each(
    Fault(
        lambda value: not isinstance(value, str) or not value or value in RESERVED,
        "{value!r} is no name of a claim of the application's own",
        '("roles",); the subject and the scope are taken over in any case',
    )
)
scope = Fault(
    lambda value: not isinstance(value, str) or not is_scope(value),
    "must be words separated by one space (RFC 6749 s3.3)",
    'as in "read write"',
)


def former_texts(name: str, value: Any) -> tuple[str | bytes, ...]:
    """Return former secrets as a tuple, given one or several. Their strength is checked later."""
    found = (value,) if isinstance(value, str | bytes) else value
    if not isinstance(found, list | tuple) or not all(
        isinstance(one, str | bytes) for one in found
    ):
        raise ConfigurationError(name, "must be text or octets, or several in a tuple", "as it was")
    return tuple(found)


def _texts(*fields: str) -> Fault:
    return Fault(
        lambda value: [one for one in fields if not isinstance(getattr(value, one), str)],
        "`{0[0]}` of {value.name} must be text",
        '"" for none',
    )


def _wrong_cookie(value: FormerLibrary) -> str:
    for name in filter(None, (value.refresh_cookie, value.access_cookie)):
        try:
            header_names.cookie_name("", name)
        except ConfigurationError as error:
            return error.problem
    return "is named twice" if value.refresh_cookie == value.access_cookie != "" else ""


library = in_turn(
    is_a(
        FormerLibrary,
        "must be a FormerLibrary, not {}",
        f"migrations.{', migrations.'.join(LIBRARIES)}",
    ),
    _texts("name", "audience", "parameter", "subject_claim", "client_claim"),
    _texts("refresh_cookie", "access_cookie"),
    Fault(
        lambda value: not all((value.name, value.parameter, value.subject_claim)),
        "`name`, `parameter` and `subject_claim` must not be empty",
        'subject_claim="sub"',
    ),
    Fault(
        lambda value: not is_types(value.types),
        "the types of {value.name} match no token",
        'lower-case and without "application/", as in "jwt"; never rt+jwt, which is ours',
    ),
    Fault(
        lambda value: (
            not (
                (value.refresh is None or is_claim_table(value.refresh))
                and is_claim_table(value.access)
            )
        ),
        "`refresh` and `access` of {value.name} must be tables of claims and the text, number or "
        "truth value that each must have",
        'refresh={{"type": "refresh"}}',
    ),
    Fault(
        lambda value: (
            not (isinstance(value.scope_claims, tuple) and all(map(is_path, value.scope_claims)))
        ),
        "`scope_claims` of {value.name} must be a tuple of names or paths of claims",
        '("scope",)',
    ),
    Fault(
        lambda value: (
            not (
                isinstance(value.answer, Mapping)
                and value.answer.keys() <= {"access_token", "refresh_token"}
                and is_names(("a", *value.answer.values()))
                and all(map(_MEMBER.fullmatch, value.answer.values()))
            )
        ),
        "`answer` of {value.name} must be a table of our names and theirs",
        '{{"access_token": "access"}}',
    ),
    Fault(
        lambda value: [
            one for one in ("bearer", "separate_keys") if not isinstance(getattr(value, one), bool)
        ],
        "`{0[0]}` of {value.name} must be True or False",
        "a text is neither",
    ),
    Fault(_wrong_cookie, "a cookie's name of {value.name} {}", "letters, digits, - and _"),
)


def _why_weak(group: Any) -> str:
    try:
        former_keys(group)
    except UnusableKey as error:
        return str(error)
    return ""


def former_keys(group: Any) -> tuple[Key, ...]:
    """Return the keys of former tokens. Raises UnusableKey."""
    if group.keys is not None:
        return tuple(key for key in group.keys.keys if key.verifies)
    return tuple(
        from_secret(one.encode() if isinstance(one, str) else one, group.algorithm)
        for one in group.secret
    )


OF_MIGRATION: Together = (
    (
        "refresh.migrate.secret",
        Fault(
            lambda group: bool(group.secret) == (group.keys is not None),
            "or `keys`, exactly one of the two, says what signed former tokens",
            "the former `secret`, or the `keys`, whose public parts are enough",
        ),
    ),
    ("refresh.migrate.secret", Fault(_why_weak, "{}", _WEAK)),
    (
        "refresh.migrate.keys",
        Fault(
            lambda group: group.keys is not None and not group.keys.keys,
            "are fetched, and former tokens are verified by keys at hand",
            "KeySet.pem or KeySet.from_jwks of the public keys; another issuer that goes on "
            "issuing is a TrustedIssuer",
        ),
    ),
    (
        "refresh.migrate.library",
        Fault(
            lambda group: group.library.refresh is not None and not group.library.tells_refresh,
            "{value.library.name} doesn't tell a refresh token from an access token by a claim, "
            "and an access token must never buy tokens",
            'name it: .replace(refresh={{"type": "refresh"}}, access={{"type": "access"}}); or '
            "separate_keys=True where refresh tokens have a secret of their own; or refresh=None "
            "where there are none, and issue(..., once=text) where the old login is checked",
        ),
    ),
    (
        "refresh.migrate.routes",
        Fault(
            lambda group: bool(group.routes) and not group.tells_access,
            "old access tokens can't be told from other tokens of {value.library.name}",
            "leave `routes` out: clients refresh first; or name the claim that only access tokens "
            'have: .replace(access={{"type": "access"}})',
        ),
    ),
    (
        "refresh.migrate",
        Fault(
            lambda group: group.library.refresh is None and not group.routes,
            "does nothing: {value.library.name} has no refresh tokens in JWT, and no `routes` take "
            "its access tokens",
            'routes=("/api/*",), or leave it out',
        ),
    ),
    (
        "refresh.migrate.path",
        Fault(
            lambda group: bool(group.path) and group.library.refresh is None,
            "is for refresh tokens, and {value.library.name} has none in JWT",
            "leave it out",
        ),
    ),
)

_OWN = (
    "signs {}, too: a token of one kind could pass as another (RFC 8725 s3.12)",
    "give the present side a new one, and let the former one only verify former tokens",
)


def _secret_twice(settings: Any) -> str:
    """Return what else is signed by a key of former tokens; "": nothing."""
    group = settings.refresh
    former = {_material(key) for key in former_keys(group.migrate)}
    if former.intersection(map(_material, settings.keys.keys)):
        return "access tokens"
    ours = (*group.secrets, *(one for entry in group.former for one in entry.secrets))
    if former.intersection(_material(from_text(one)) for one in ours):
        return "our refresh tokens"
    return ""


def _material(key: Key) -> object:
    if isinstance(key.private, bytes) and key.public is None:
        return key.private
    return tuple(sorted((k, v) for k, v in key.public_jwk().items() if k not in _LABELS))


_LABELS = ("kid", "alg", "use")

# `settings` whose `refresh.migrate` is a group.
OF_MIGRATING: Together = (
    (
        "refresh.migrate",
        Fault(
            lambda settings: not settings.refresh.serve,
            "is for the service that issues tokens, and serve=False issues none",
            "leave it out here",
        ),
    ),
    ("refresh.migrate.secret", Fault(_secret_twice, *_OWN)),
    (
        "refresh.migrate.until",
        Fault(
            # A row is kept until its absolute end. Were it gone before `until`, the old token would
            # begin another grant, also where a log-out has ended the first one.
            lambda settings: (
                settings.refresh.migrate.ends_at
                > settings.clock() + settings.refresh.absolute_limit
            ),
            "is later than absolute_limit from now: a log-out would be forgotten before",
            "choose an earlier date, or make absolute_limit longer",
        ),
    ),
    (
        "refresh.migrate.issuer",
        Fault(
            lambda settings: any(
                one.issuer == settings.refresh.migrate.issuer for one in settings.trusted_issuers
            ),
            "is a trusted issuer, whose keys verify its tokens already",
            "leave it out of trusted_issuers, or `migrate` out",
        ),
    ),
    (
        "refresh.migrate.path",
        Fault(
            lambda settings: is_endpoint(settings.refresh, settings.refresh.migrate.path),
            "is an endpoint of ours, where former refresh tokens are taken in any case",
            'path=""',
        ),
    ),
)
