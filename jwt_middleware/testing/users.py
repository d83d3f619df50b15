"""Users for tests: code that asks for `current_token()`, and a browser that has logged in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

from ..process.current_token import CURRENT
from ..settings.settings import Settings
from ..token.scopes import is_scope
from ..values.tokens import AccessToken, FrozenDict, Tokens

_PAGE = {
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "same-origin",
}


@contextmanager
def as_user(
    subject: str, *, scope: str = "", client_id: str = "test-client", **claims: Any
) -> Generator[AccessToken]:
    """Run code as if it served a request of this user: `current_token()` is theirs.

    For unit tests of functions that no middleware calls. Nothing is signed or checked.

    Args:
        subject: the claim `sub`.
        scope: what the token permits, as words separated by one space.
        client_id: the client.
        claims: other claims, such as `roles=["editor"]`; arrays become tuples, as in real tokens.

    Raises:
        ValueError: for a scope that no token can have.

    """
    if not is_scope(scope):
        raise ValueError("scope: must be words separated by one space (RFC 6749 s3.3)")
    given = {
        "iss": "https://login.example",
        "aud": "https://api.example",
        "sub": subject,
        "client_id": client_id,
        "scope": scope,
        "exp": 4102444800.0,  # the year 2100
        **claims,
    }
    token = AccessToken(_frozen(given), scopes=frozenset(scope.split()))
    before = CURRENT.set(token)
    try:
        yield token
    finally:
        CURRENT.reset(before)


def as_browser(
    tokens: Tokens | None,
    settings: Settings,
    *,
    by: Literal["script", "load", "form"] = "script",
) -> dict[str, str]:
    """Return the header fields with which a browser comes back after a login.

    For any test client: `client.post("/orders", headers=as_browser(tokens, settings))`.

    Args:
        tokens: those of the login, whose cookies come; None: nobody is logged in.
        settings: those of the application.
        by: what sends the request: a script of ours, with the field that `Cookies.header` names;
            the load of a page; or a form on a page of ours.

    Raises:
        ValueError: these settings put no token into cookies.

    """
    group = settings.refresh.cookies if settings.refresh is not None else None
    if group is None:
        raise ValueError("settings: no cookies are set: Refresh(cookies=Cookies(access=True))")
    fields = {group.header: "test"} if by == "script" else dict(_PAGE)
    if by == "form":
        fields["Origin"] = min(settings.own_origins)
    if tokens is not None:
        pairs = [value.partition(";")[0] for _, value in tokens.cookies]
        fields["Cookie"] = "; ".join(pairs)
    return fields


def _frozen(value: Any) -> Any:
    """Return a JSON value as a verified token has it, which nobody can change."""
    if isinstance(value, dict):
        return FrozenDict({name: _frozen(one) for name, one in value.items()})
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
