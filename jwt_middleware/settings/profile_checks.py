"""What a profile must hold, so that no kind of token passes as another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..token.profiles import Profile
from ..token.scopes import is_scope, is_scope_token, steps_of, with_included
from .checking import Fault, in_turn, is_a

# Other checks read these claims, and rely on their presence. Without `exp` and `aud` a token would
# be good for ever, and for every service (RFC 9068 s2.2, RFC 8725 s3.9).
_NEEDED = frozenset(("iss", "sub", "aud", "exp"))
# RFC 8725 s3.12: "Use Mutually Exclusive Validation Rules for Different Kinds of JWTs".
_OTHER_KINDS = frozenset(("rt+jwt", "dpop+jwt", "logout+jwt", "secevent+jwt"))


# These stand in tokens of every kind, and so tell no kind from another.
_IN_EVERY_KIND = frozenset(("iss", "sub", "exp", "iat", "nbf", "jti"))
# And none of these says whom a token is for.
_NO_AUDIENCE = _IN_EVERY_KIND | {"scope", "scp"}


def _is_text_set(value: Any) -> bool:
    return isinstance(value, frozenset) and all(isinstance(one, str) for one in value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def is_names(value: Any) -> bool:
    """Say whether a value is a tuple of names, at least one."""
    return isinstance(value, tuple) and value != () and all(map(_is_name, value))


def is_path(value: Any) -> bool:
    """Say whether a value is the name or the path of a claim."""
    return is_names(value if isinstance(value, tuple) else (value,)) and all(steps_of(value))


def _is_scopes(value: Any) -> bool:
    return isinstance(value, str) and value != "" and is_scope(value)


def _is_table(value: Any, is_key: Callable[[Any], bool], is_value: Callable[[Any], bool]) -> bool:
    return isinstance(value, Mapping) and all(is_key(k) and is_value(v) for k, v in value.items())


def is_claim_table(value: Any) -> bool:
    """Say whether a value is a table of claims, and of what each must be."""
    return _is_table(value, _is_name, lambda one: isinstance(one, str | bool | int))


def is_types(value: Any) -> bool:
    """Say whether a value is a set of header types that an access token can have."""
    return (
        _is_text_set(value)
        and bool(value)
        and _OTHER_KINDS.isdisjoint(value)
        and all(one == one.lower().removeprefix("application/") for one in value)
    )


def _holds(field: str, is_right: Callable[[Any], bool], form: str, example: str) -> Fault:
    """Return the check of one field of a profile."""
    return Fault(
        lambda value: not is_right(getattr(value, field)),
        f"`{field}` of {{value.name}} must be {form}",
        example.replace("{", "{{").replace("}", "}}"),
    )


def _scope_in_a_circle(value: Profile) -> str:
    try:
        with_included(value.scope_implies)
    except ValueError as error:
        return str(error)
    return ""


profile = in_turn(
    is_a(Profile, "must be a Profile", "profiles.RFC_9068 or profiles.FOREIGN"),
    _holds("name", _is_name, "text", 'name="MINE"'),
    Fault(
        lambda value: [
            name for name in ("types", "required") if not _is_text_set(getattr(value, name))
        ],
        "`{0[0]}` of {value.name} must be a frozenset of text",
        'frozenset(("iss",))',
    ),
    _holds("audience_claim", _is_name, "the name of a claim", '"client_id"'),
    _holds("subject_claims", is_names, "a tuple of names", '("sub", "client_id")'),
    _holds("client_claims", is_names, "a tuple of names", '("azp", "client_id")'),
    _holds(
        "scope_claims",
        lambda value: isinstance(value, tuple) and all(map(is_path, value)),
        "a tuple of names or paths of claims",
        '("scp", "realm_access.roles")',
    ),
    *(
        _holds(name, lambda value: isinstance(value, bool), "True or False", "a text isn't")
        for name in ("scope_is_text", "scope_union", "id_tokens")
    ),
    _holds("scope_prefix", lambda value: isinstance(value, str), "text", '"" for none'),
    _holds(
        "scope_map",
        lambda value: _is_table(value, _is_name, _is_scopes),
        "a table of their values and our scopes",
        '{"orders-admin": "orders:read orders:write"}',
    ),
    _holds(
        "scope_implies",
        lambda value: _is_table(value, is_scope_token, _is_scopes),
        "a table of scopes and what each includes",
        '{"admin": "write", "write": "read"}',
    ),
    Fault(
        _scope_in_a_circle,
        "`scope_implies` of {value.name} goes in a circle: {} includes itself",
        "name what is less, never what is more",
    ),
    _holds(
        "claims",
        is_claim_table,
        "a table of claims and the text, number or truth value that each must have",
        '{"token_use": "access"}',
    ),
    # RFC 9068 s4 has the audience to keep tokens for others out. An ID token names its client in
    # another claim, too, so only a claim that those tokens don't have tells the kinds apart.
    Fault(
        lambda value: (
            value.audience_claim != "aud"
            and not value.claims.keys() - _IN_EVERY_KIND - {value.audience_claim, "aud"}
        ),
        "`audience_claim` of {value.name} stands for `aud`, and nothing tells access tokens from "
        "the issuer's other tokens",
        'add what only they have: claims={{"token_use": "access"}}',
    ),
    Fault(
        lambda value: value.audience_claim in _NO_AUDIENCE,
        "`audience_claim` of {value.name} doesn't say whom a token is for",
        '"client_id"',
    ),
    Fault(
        lambda value: ", ".join(sorted(_NEEDED - value.required)),
        "{value.name} doesn't require {}",
        "add to `required`, as profiles.FOREIGN has it",
    ),
    Fault(
        lambda value: (
            not value.types
            or any(one != one.lower().removeprefix("application/") for one in value.types)
        ),
        "the types of {value.name} match no token",
        'lower-case and without "application/", as in "at+jwt"',
    ),
    Fault(
        lambda value: ", ".join(sorted(_OTHER_KINDS.intersection(value.types))),
        "{} is another kind of token (RFC 8725 s3.12)",
        "an access token's type is at+jwt, or JWT, or absent",
    ),
)
