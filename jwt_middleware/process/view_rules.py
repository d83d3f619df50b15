"""Rules that stand beside a view: what it asks for in addition to its route's rule. Both hold.

A framework's bridge finds the request's scope or environment, and answers with what `refusal`
returns: the very answer that the middleware would give.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Protocol, TypeAlias

from ..request.route import Route
from ..request.routes import RouteRule
from ..values.arrays import Several
from ..values.errors import ConfigurationError
from ..values.requests import Response
from .runtime import Runtime

# Where a middleware says who it is, and for which path it has decided.
DOOR = "jwt_middleware.door"
RULE = "jwt_middleware_rule"  # the attribute by which `jwt-middleware check` finds a view's rule

View: TypeAlias = Callable[..., Any]
# Takes a view and its rule; returns what checks a request, then calls the view.
Checked: TypeAlias = Callable[[View, RouteRule], View]


class Door(Protocol):
    """A middleware, as rules beside views and a middleware inside know it."""

    runtime: Runtime

    def refusal(self, found: MutableMapping[str, Any], rule: RouteRule) -> Response | None:
        """Return the answer to a request that a rule refuses, and tell its events."""
        ...


def view_rule(
    scope: str = "", max_age: int | None = None, acr_values: Several[str] = ()
) -> RouteRule:
    """Return the rule of a view. Raises ConfigurationError for a value that no rule can have."""
    try:
        return RouteRule(Route("/", scope=scope, max_age=max_age, acr_values=acr_values))
    except ConfigurationError as error:
        field = error.field.rpartition(".")[2]
        raise ConfigurationError(f"require({field}=...)", error.problem, error.remedy) from None


def refusal(found: MutableMapping[str, Any], rule: RouteRule) -> Response | None:
    """Return the answer to a request that a view's rule refuses; None: the view may be called.

    Args:
        found: the scope of ASGI, or the environment of WSGI.
        rule: what the view asks for.

    Raises:
        RuntimeError: the request has passed no middleware of ours.

    """
    passed: tuple[Door, str | None] | None = found.get(DOOR)
    if passed is None:
        raise RuntimeError(
            "a view asks for a token, and no JWTMiddleware is around the application: "
            "put it there (asgi.JWTMiddleware or wsgi.JWTMiddleware)"
        )
    return passed[0].refusal(found, rule)


def beside(rule: RouteRule, checked: Checked) -> Callable[[View], View]:
    """Return the decorator that puts a rule beside a view."""

    def decorate(view: View) -> View:
        found = wraps(view)(checked(view, rule))
        setattr(found, RULE, rule)
        return found

    return decorate


def by_kind(plain: Checked, awaited: Checked) -> Checked:
    """Return `awaited` for coroutine functions and `plain` for others, as frameworks call them."""
    return lambda view, rule: (awaited if iscoroutinefunction(view) else plain)(view, rule)
