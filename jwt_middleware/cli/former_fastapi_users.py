"""What the backends of fastapi-users say."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from inspect import iscoroutine
from typing import Any

from .former_app import FormerApp, lasting, texts, versioned
from .lines import Line


def of_backend(backend: Any) -> FormerApp:
    """Read a backend of fastapi-users: how tokens travel, and what they are."""
    transport, strategy = backend.transport, None
    with suppress(TypeError):  # it wants what only a request has
        strategy = backend.get_strategy()
    is_jwt = any(cls.__name__ == "JWTStrategy" for cls in type(strategy).__mro__)
    found = of_strategy(strategy) if is_jwt else _without_strategy(strategy)
    in_cookies = type(transport).__name__ == "CookieTransport"
    seen = f"{transport.cookie_name} is read from a cookie" if in_cookies else "a header is read"
    return replace(
        found,
        cookies=in_cookies,
        lines=(
            *found.lines,
            Line("ok", "transport", seen, "Cookies(access=True)" if in_cookies else ""),
        ),
    )


def _without_strategy(strategy: Any) -> FormerApp:
    if iscoroutine(strategy):
        strategy.close()
    kept = type(strategy).__name__ if strategy is not None else "a strategy that asks the request"
    return FormerApp(
        versioned("fastapi-users", "fastapi_users"),
        "",
        lines=(
            Line(
                "warn",
                "strategy",
                f"{kept}: its tokens can't be read from here",
                "tokens of a database or Redis are exchanged in a view, once: issue(once=token)",
            ),
        ),
    )


def of_strategy(strategy: Any) -> FormerApp:
    is_public = bool(strategy.public_key)
    key = strategy.public_key if is_public else strategy.secret
    with suppress(AttributeError):
        key = key.get_secret_value()  # pydantic's SecretStr
    life = lasting(strategy.lifetime_seconds or None)
    return FormerApp(
        versioned("fastapi-users", "fastapi_users"),
        "FASTAPI_USERS",
        secret=key,
        secret_name="public_key" if is_public else "secret",
        algorithm=strategy.algorithm,
        audience=texts(strategy.token_audience),
        access=life,
        lines=(
            Line(
                "warn",
                "kinds",
                "it has one kind of token, and nothing to refresh with",
                "a view exchanges it for ours while it lives: docs/from-fastapi-users.md",
            ),
        ),
    )


def of_fastapi_users(users: Any) -> FormerApp | None:
    return next(iter(map(of_backend, users.authenticator.backends)), None)
