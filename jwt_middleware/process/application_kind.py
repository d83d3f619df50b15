"""Tell an application for the other door at once, by the parameters that it takes.

Else the first request fails, with a TypeError from inside the server or the framework.
"""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any

from ..values.errors import ConfigurationError

_PLAIN = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
# The parameters of an application: PEP 3333 has `environ, start_response`, ASGI 3 has
# `scope, receive, send`.
_OTHER_DOOR = {2: "WSGI", 3: "ASGI"}


def check_kind(app: Any, *, takes: int) -> None:
    """Check that an application takes as many arguments as its door gives, where that can be seen.

    Raises:
        ConfigurationError: it is for the other door.

    """
    try:
        parameters = signature(app).parameters.values()
    except (TypeError, ValueError):  # built-in, or no function: the first call will tell
        return
    if any(one.kind is Parameter.VAR_POSITIONAL for one in parameters):
        return
    plain = [one for one in parameters if one.kind in _PLAIN]
    needed = sum(one.default is Parameter.empty for one in plain)
    kind = _OTHER_DOOR.get(needed)
    if kind is None or needed <= takes <= len(plain):
        return
    raise ConfigurationError(
        "app",
        f"{type(app).__name__} is a {kind} application ({', '.join(one.name for one in plain)}), "
        f"and this is the {_OTHER_DOOR[takes]} door",
        f"from jwt_middleware.{kind.lower()} import JWTMiddleware",
    )


def check_root(app: Any) -> None:
    # Starlette and FastAPI add this root to the scope after us: their router would see another path
    # than our rules. In Flask and Quart the same attribute is a folder.
    root = getattr(app, "root_path", "")
    if isinstance(root, str) and root and not hasattr(app, "import_name"):
        raise ConfigurationError(
            "app",
            f"has root_path={root!r}, which changes the path after the rules have seen it",
            "give the root to the server (--root-path), or use app.add_middleware",
        )
