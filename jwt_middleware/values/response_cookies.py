"""Set-Cookie fields on the responses of frameworks, which agree on no way to add one."""

from __future__ import annotations

from typing import Any


def add_cookies(response: Any, cookies: tuple[tuple[str, str], ...]) -> None:
    """Add Set-Cookie fields to a response of Flask, Starlette, FastAPI, Django or the like.

    With `Cookies(device_bound=True)` there is a field for the browser among them.
    """
    headers = response.headers
    # Werkzeug calls it `add`, Starlette `append`; both keep the fields that are there. Django's
    # headers have one field of a name, so that its cookies are kept apart.
    add = getattr(headers, "add", None) or getattr(headers, "append", None)
    for name, value in cookies:
        if add is not None:
            add(name, value)
        elif name == "set-cookie":
            response.cookies.load(value)
        else:
            headers[name] = value
