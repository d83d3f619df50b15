"""Whose token a token request brings, and where: in our way, or in a former library's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..request.body_parameters import faulty
from ..request.cookies import Jars
from ..request.credentials import bearer
from ..token.former_libraries import FormerLibrary
from ..values.errors import InvalidRequest
from ..values.requests import Request
from ..values.tokens import Hidden


def as_before(
    library: FormerLibrary,
    request: Request,
    token: Callable[[str], Hidden[str] | None],
    *,
    has_cookie: bool,
) -> Hidden[str] | None:
    """Return the refresh token of a request by the library's clients: in its body, or the header.

    `token` returns the token that a parameter of the body has.
    """
    text = token(library.parameter) or token("refresh_token")
    if text is not None or has_cookie or not library.bearer:
        return text
    in_field = bearer(request.header("authorization"))
    return None if in_field is None else Hidden(in_field)


def as_answered(
    library: FormerLibrary, members: Mapping[str, str | int]
) -> Mapping[str, str | int]:
    """Return the members of an answer, and those that the library's clients read, beside them."""
    names = library.answer.items()
    return {**members, **{theirs: members[ours] for ours, theirs in names if ours in members}}


def nothing_came(jars: Jars | None, *, has_parameters: bool) -> InvalidRequest:
    """Return the error for a refresh without `grant_type`."""
    error = faulty("grant_type", "is missing")
    if not has_parameters and jars is not None:
        # A page sends no parameters in cookie mode: it is the cookie that it lacks.
        error.description = "The request has neither a refresh cookie nor parameters"
    return error
