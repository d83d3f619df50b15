"""The endpoints of an application, and the rule that covers each: `jwt-middleware check --app`.

They are found in the framework's own table: of Flask, Quart, Starlette, FastAPI, Litestar, Falcon
and Django. Where a path has parameters, one path of its kind is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from .. import Settings
from ..process.view_rules import RULE, view_rule
from ..request.routes import RouteRule, Routes
from . import Refusal
from .lines import Line

ANY = ("GET", "POST")  # looked at where an endpoint doesn't say its methods
_QUIET = frozenset(("HEAD", "OPTIONS"))  # frameworks add these by themselves
_PARAMETER = re.compile(r"<[^>]*>|\{[^}]*\}")
_GROUP = re.compile(r"\((?:[^()]|\([^()]*\))*\)")  # of a regular expression


class Endpoint(NamedTuple):
    """One endpoint, as its framework knows it."""

    path: str
    methods: tuple[str, ...]
    beside: tuple[RouteRule, ...] = ()  # the view's own rules
    view: Any = None

    @property
    def sample(self) -> str:
        """Return one path that leads here."""
        return _PARAMETER.sub("x", self.path) or "/"


def endpoint_lines(app: Any, settings: Settings) -> Iterator[Line]:
    """Yield a line for each endpoint with its rule, and one for each rule that covers none.

    Raises:
        Refusal: the application's framework isn't known.

    """
    routes = Routes(settings.routes)
    used: set[str] = set()
    for endpoint in endpoints_of(app):
        by_rule: dict[RouteRule, list[str]] = {}
        for method in endpoint.methods:
            rule = routes.find(method, endpoint.sample, unchecked=True)
            by_rule.setdefault(rule, []).append(method)
        for rule, methods in by_rule.items():
            used.add(rule.path)
            yield _line(f"{','.join(methods)} {endpoint.path}", rule, endpoint.beside)
    for route in settings.routes:
        if route.path not in used:
            yield Line(
                "warn",
                route.path,
                "this rule covers no endpoint of the application",
                'a * stands for all that follows, at the end only: "/static/*"'
                if "*" in route.path[:-1]
                else "correct the path, or leave the rule out",
            )


def _line(name: str, rule: RouteRule, beside: tuple[RouteRule, ...]) -> Line:
    if rule.public and beside:
        return Line(
            "warn",
            name,
            f"the view asks for a token, and the public rule {rule.path} reads none: it is refused",
            "take one of the two away; optional=True reads a token where one comes",
        )
    by = f"rule {rule.path}" if rule.path else "no rule"
    return Line("ok", name, f"{_needs(rule, beside)} ({by})")


def _needs(rule: RouteRule, beside: tuple[RouteRule, ...]) -> str:
    if rule.public:
        return "public"
    if rule.optional and not beside:
        return "a token, if one comes"
    rules = (rule, *beside)
    scopes = sorted(frozenset[str]().union(*(one.scopes for one in rules)))
    more = f" with {' '.join(scopes)}" if scopes else ""
    step_up = any(one.max_age is not None or one.acr_values for one in rules)
    return f"a token{more}" + (", and a fresh or strong login" if step_up else "")


# --- the tables of frameworks


def endpoints_of(app: Any) -> list[Endpoint]:
    """Return an application's endpoints. Raises Refusal."""
    while type(app).__module__.startswith("jwt_middleware."):
        app = app.app
    app = getattr(app, "__self__", app)  # Flask's `app.wsgi_app`
    framework = type(app).__module__.partition(".")[0]
    if hasattr(app, "url_map"):
        return list(_of_werkzeug(app))
    find = _TABLES.get(framework)
    if find is None and hasattr(app, "routes"):
        find = _of_starlette
    if find is None:
        raise Refusal(f"--app: {type(app).__name__} has no table of endpoints that is known here")
    return list(find(app))


def _methods(found: Iterable[str] | None) -> tuple[str, ...]:
    found = tuple(found or ANY)
    return tuple(sorted(one for one in found if one not in _QUIET)) or found


def _beside(view: Any) -> tuple[RouteRule, ...]:
    rule = getattr(view, RULE, None)
    return () if rule is None else (rule,)


def _of_werkzeug(app: Any) -> Iterator[Endpoint]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        yield Endpoint(rule.rule, _methods(rule.methods), _beside(view), view)


def _of_starlette(app: Any, root: str = "") -> Iterator[Endpoint]:
    for route in app.routes:
        path = root + getattr(route, "path", "")
        inner = getattr(route, "app", None)
        if getattr(route, "endpoint", None) is not None:
            methods = _methods_of(route)
            yield Endpoint(path, _methods(methods), _beside(route.endpoint), route.endpoint)
        elif hasattr(inner, "routes"):
            yield from _of_starlette(inner, path)
        else:  # something is mounted here that has no table, such as files
            yield Endpoint(f"{path}/{{path}}", ("GET",))


def _methods_of(route: Any) -> tuple[str, ...]:
    """Return the methods of an endpoint; a WebSocket's handshake is a GET."""
    if getattr(route, "methods", None):
        return tuple(route.methods)
    names = ("GET", "POST", "PUT", "PATCH", "DELETE")
    return tuple(one for one in names if hasattr(route.endpoint, one.lower())) or ("GET",)


def _of_fastapi(app: Any) -> Iterator[Endpoint]:
    from fastapi.routing import iter_route_contexts  # it knows the routes of included routers

    from ..fastapi import SCHEME

    paths = app.openapi()["paths"]
    for route in iter_route_contexts(app.routes):
        if getattr(route, "endpoint", None) is None:
            yield from _of_starlette(_Mounted([route.original_route]))
            continue
        methods = _methods_of(route)
        operation = paths.get(route.path, {}).get(methods[0].lower(), {})
        asked = {s for one in operation.get("security", ()) for s in one.get(SCHEME, ())}
        beside = (view_rule(" ".join(sorted(asked))),) if asked else ()
        yield Endpoint(route.path or "", _methods(methods), beside, route.endpoint)


class _Mounted(NamedTuple):
    routes: list[Any]


def _of_litestar(app: Any) -> Iterator[Endpoint]:
    for route in app.routes:
        handlers = getattr(route, "route_handler_map", None)
        if handlers is None:  # a WebSocket, or a mounted application
            yield Endpoint(route.path, ("GET",), _guards(route.route_handler))
            continue
        for method, (handler, _) in handlers.items():
            if method not in _QUIET:
                yield Endpoint(route.path, (method,), _guards(handler))


def _guards(handler: Any) -> tuple[RouteRule, ...]:
    # Litestar wraps a plain function in an object that can be awaited.
    guards = [getattr(guard, "func", guard) for guard in handler.resolve_guards()]
    return tuple(rule for guard in guards for rule in _beside(guard))


def _of_falcon(app: Any) -> Iterator[Endpoint]:
    from falcon.inspect import inspect_routes

    for route in inspect_routes(app):
        for one in route.methods:
            if not one.internal and one.method not in _QUIET:
                responder = getattr(app._router.find(_sample_of(route.path))[0], one.function_name)
                yield Endpoint(route.path, (one.method,), _beside(responder))


def _sample_of(path: str) -> str:
    """Return a path that Falcon's router finds: a parameter may have to be a number or a date."""
    return _PARAMETER.sub("1", path)


def _of_django(_: Any) -> Iterator[Endpoint]:
    from django.urls import get_resolver

    patterns: Any = get_resolver().url_patterns
    yield from _of_patterns(patterns, "/")


def _of_patterns(patterns: Iterable[Any], root: str) -> Iterator[Endpoint]:
    for one in patterns:
        text = str(one.pattern)
        if type(one.pattern).__name__ == "RegexPattern":  # of re_path
            text = _GROUP.sub("<x>", text.removeprefix("^").removesuffix("$").replace("\\", ""))
        path = root + text
        if hasattr(one, "url_patterns"):
            yield from _of_patterns(one.url_patterns, path)
        else:
            yield Endpoint(path, ANY, _beside(one.callback), one.callback)


_TABLES: dict[str, Callable[[Any], Iterator[Endpoint]]] = {
    "fastapi": _of_fastapi,
    "litestar": _of_litestar,
    "falcon": _of_falcon,
    "django": _of_django,
}
