"""The reference: a page for each public module, with every public name, from the docstrings.

A public module is one that stands at the top of the package, or is named in `FURTHER`; what is
public in it, its `__all__` says.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any

import jwt_middleware
from jwt_middleware.stores.contract import STORE_VERBS
from tools import house

# The package's own calls, which happen to have no underscore: another module makes them.
OF_STORES = ("backup", "check", "check_place", "from_url", "hand_over", "restore", *STORE_VERBS)
OF_METRICS = ("begin", "note", "observe", "span")
INTERNAL = {
    "jwt_middleware.Cookies": ("carry", "check_sizes", "jars"),
    "jwt_middleware.Former": ("ends_at", "secrets"),
    "jwt_middleware.Grant": ("rotated",),
    "jwt_middleware.KeySet": ("find",),
    "jwt_middleware.KeysUnavailable": ("of",),
    "jwt_middleware.Migration": ("tokens",),
    "jwt_middleware.Refresh": ("jars", "secrets"),
    "jwt_middleware.Route": ("permits", "restricts"),
    "jwt_middleware.Settings": ("own_origins",),
    "jwt_middleware.StoreUnavailable": ("of",),
    "jwt_middleware.Unavailable": ("of",),
    "jwt_middleware.stores.Mark": ("applied",),
    "jwt_middleware.stores.memory.MemoryStore": OF_STORES,
    "jwt_middleware.stores.sqlite.SQLiteStore": (*OF_STORES, "page"),
    "jwt_middleware.stores.postgres.PostgresStore": OF_STORES,
    "jwt_middleware.stores.postgres.AsyncPostgresStore": OF_STORES,
    "jwt_middleware.stores.redis.RedisStore": OF_STORES,
    "jwt_middleware.stores.redis.AsyncRedisStore": OF_STORES,
    "jwt_middleware.keys.Key": ("of_this_kid", "public_jwk", "to_jwk"),
    "jwt_middleware.keys.remote.Remote": (
        "client", "discovered", "fetch", "limits", "read", "through",
    ),
    "jwt_middleware.asgi.JWTMiddleware": ("refusal", "refuse"),
    "jwt_middleware.wsgi.JWTMiddleware": ("refusal", "watch"),
    "jwt_middleware.django.JWTMiddleware": ("process_exception",),
    "jwt_middleware.otel.OpenTelemetry": OF_METRICS,
    "jwt_middleware.prometheus.Prometheus": OF_METRICS,
    "jwt_middleware.django.rest.JWTAuthentication": ("authenticate", "authenticate_header"),
}  # fmt: skip
# At the top of the package, and not for applications: `issuer` is where `Issuer` is made, which
# is imported from `jwt_middleware`.
NOT_PUBLIC = {"issuer"}
FURTHER = (
    "stores", "stores.memory", "stores.sqlite", "stores.postgres", "stores.redis",
    "keys", "keys.remote", "testing", "testing.store_contract",
    "django", "django.channels", "django.rest",
)  # fmt: skip


def public_modules() -> list[str]:
    """Return the names of the public modules: what is imported first comes first."""
    top = [
        one.name
        for one in pkgutil.iter_modules(jwt_middleware.__path__)
        if not one.ispkg and one.name not in NOT_PUBLIC
    ]
    first = ["asgi", "wsgi", "events", "profiles", *FURTHER]
    names = dict.fromkeys([*first, *sorted(top)])
    return ["jwt_middleware", *(f"jwt_middleware.{name}" for name in names)]


@cache
def module(name: str) -> ModuleType:
    """Return a public module, imported."""
    if ".django" in name:
        _set_up_django()
    return importlib.import_module(name)


def _set_up_django() -> None:
    # Bridges to Django's packages read its settings as they are imported.
    from django.conf import settings

    if not settings.configured:
        settings.configure(USE_TZ=True)


def names(name: str) -> list[str]:
    """Return the public names of a module."""
    return list(module(name).__all__)


def members(name: str, owner: type) -> list[str]:
    """Return what of a public class is public: with a docstring, and not internal."""
    internal = INTERNAL.get(name, ())
    return [
        member
        for base in reversed(owner.__mro__)
        if base.__module__.startswith("jwt_middleware")
        for member, value in vars(base).items()
        if not member.startswith("_") and member not in internal and _is_documented(value)
    ]


def _is_documented(value: Any) -> bool:
    value = getattr(value, "__func__", value)  # class methods, static methods
    is_code = inspect.isfunction(value) or isinstance(value, property)
    return is_code and bool(value.__doc__)


def pages() -> dict[str, str]:
    """Return the pages of the reference, and their index."""
    found = {f"reference/{name}.rst": page(name) for name in public_modules()}
    entries = [f"   {name}" for name in public_modules()]
    lines = [
        _title("Reference"),
        "Every name that an application may import, from the docstrings of the code. What isn't",
        "here may change in any version.",
        "",
        ".. list-table::",
        "   :widths: 30 70",
        "",
    ]
    for name in public_modules():
        summary = first_sentence(module(name).__doc__ or "")
        lines += [f"   * - :doc:`{name} <{name}>`", f"     - {summary}"]
    lines += ["", ".. toctree::", "   :hidden:", "", *entries, ""]
    return found | {"reference/index.rst": "\n".join(lines)}


def page(name: str) -> str:
    """Return the page of a module."""
    lines = [_title(f"``{name}``"), f".. automodule:: {name}", "   :no-members:", ""]
    if len(names(name)) > 1:
        lines += ["Here: " + ", ".join(f":any:`{one} <{name}.{one}>`" for one in links(name)), ""]
    for one in names(name):
        lines += [*_entry(name, one, getattr(module(name), one)), ""]
    return "\n".join(lines)


def links(name: str) -> list[str]:
    """Return the names that are described on a module's own page."""
    found = {one: getattr(module(name), one) for one in names(name)}
    return [
        one
        for one, value in found.items()
        if not inspect.ismodule(value) and home(one, value) == name
    ]


def _entry(name: str, one: str, value: Any) -> list[str]:
    if inspect.ismodule(value):
        return [f"``{one}``: the module :doc:`{value.__name__} <{value.__name__}>`."]
    if (first := home(one, value)) != name:
        return [f"``{one}``: see :any:`{first}.{one}`."]
    if is_class(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        listed = ", ".join(members(f"{name}.{one}", value))
        return [
            f".. auto{kind}:: {name}.{one}",
            f"   :members: {listed}" if listed else "   :no-members:",
            *(["   :show-inheritance:"] if kind == "exception" else []),
        ]
    if inspect.isfunction(value):
        return [f".. autofunction:: {name}.{one}"]
    return [f".. py:data:: {name}.{one}", "", f"   {words_of_data(one)}"]


def is_class(value: Any) -> bool:
    """Say whether this is a class of ours, and not another name of one of Python's."""
    return inspect.isclass(value) and value.__module__.startswith("jwt_middleware")


def home(one: str, value: Any) -> str:
    """Return the first public module that has an object by this name: there it is described."""
    return next(
        name
        for name in public_modules()
        if one in names(name) and getattr(module(name), one) is value
    )


def words_of_data(name: str) -> str:
    """Return the comment that stands above or beside a constant of the package."""
    if name not in _comments():
        raise LookupError(f"{name}: a public constant needs a comment above it")
    return _comments()[name]


@cache
def _comments() -> dict[str, str]:
    found: dict[str, str] = {}
    for path, tree in house.modules(house.ROOT).values():
        lines = path.read_text("utf-8").splitlines()
        for node in tree.body:
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name))
                ) if not name.startswith("_"):
                    above = list[str]()
                    for line in reversed(lines[: node.lineno - 1]):
                        if not line.startswith("# "):
                            break
                        above.insert(0, line[2:])
                    beside = lines[node.lineno - 1].partition("  # ")[2]
                    words = " ".join(above) or beside
                    if words:
                        found.setdefault(name, words.replace("`", "``"))
                case _:
                    pass
    return found


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring."""
    return " ".join(text.partition("\n\n")[0].split())


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"
