"""What Flask's configuration says: `JWT_*` of flask-jwt-extended and AuthX, Flask-Login."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from .former_app import FormerApp, dotted, lasting, texts, versioned
from .lines import Line


def of_flask(app: Any) -> FormerApp | None:
    manager = app.extensions.get("flask-jwt-extended")
    if manager is None:
        login = hasattr(app, "login_manager")
        return _of_flask_login(app.config) if login else None
    found = _of_jwt_config(
        app.config, "FLASK_JWT_EXTENDED", versioned("flask-jwt-extended", "flask_jwt_extended")
    )
    hooks = [one for one in _FLASK_HOOKS if _is_own(getattr(manager, one))]
    blocklist = manager._token_in_blocklist_callback
    if not found.secret and found.secret_name == "JWT_SECRET_KEY":
        # flask-jwt-extended takes Flask's own then.
        found = replace(found, secret=app.config.get("SECRET_KEY"), secret_name="SECRET_KEY")
    return replace(
        found,
        blocklist=dotted(blocklist) if _is_own(blocklist) else "",
        lines=(*found.lines, *(Line("warn", "hook", *_FLASK_HOOKS[one]) for one in hooks)),
    )


_FLASK_HOOKS = {
    "_user_claims_callback": ("additional claims are made", "Refresh(claims_for=...)"),
    "_user_identity_callback": ("subjects are made of users", "do so where you call `issue`"),
    "_decode_key_callback": (
        "the key is looked for with each token",
        "name every key that is still good: Migration(keys=...)",
    ),
    "_token_verification_callback": ("claims are checked", "Settings(checks=(...,))"),
}


def _is_own(function: Any) -> bool:
    return not function.__module__.startswith("flask_jwt_extended.")


def of_authx(auth: Any) -> FormerApp:
    blocklist = auth.callback_is_token_in_blocklist
    found = of_authx_config(auth.config)
    return found if blocklist is None else replace(found, blocklist=dotted(blocklist))


def of_authx_config(config: Any) -> FormerApp:
    values = {name: getattr(config, name) for name in type(config).model_fields}
    return _of_jwt_config(values, "AUTHX", versioned("AuthX", "authx"))


def _of_jwt_config(config: Mapping[str, Any], preset: str, library: str) -> FormerApp:
    algorithm, locations = config["JWT_ALGORITHM"], texts(config["JWT_TOKEN_LOCATION"])
    secret_name = "JWT_SECRET_KEY" if algorithm.startswith("HS") else "JWT_PUBLIC_KEY"
    return FormerApp(
        library,
        preset,
        secret=config[secret_name],
        secret_name=secret_name,
        algorithm=algorithm,
        issuer=config["JWT_ENCODE_ISSUER"] or "",
        audience=texts(config["JWT_ENCODE_AUDIENCE"]),
        access=lasting(config["JWT_ACCESS_TOKEN_EXPIRES"]),
        refresh=lasting(config["JWT_REFRESH_TOKEN_EXPIRES"]),
        cookies="cookies" in locations,
        forms="cookies" in locations and bool(config["JWT_CSRF_CHECK_FORM"]),
        changes=dict(_jwt_changes(config, locations)),
        lines=(*_jwt_algorithms(config), *_jwt_places(config, locations)),
    )


def _jwt_changes(config: Mapping[str, Any], locations: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield how the tokens and the places differ from those of the presets."""
    if config["JWT_IDENTITY_CLAIM"] != "sub":
        yield "subject_claim", config["JWT_IDENTITY_CLAIM"]
    if "headers" not in locations:
        yield "bearer", False
    if "json" in locations and config["JWT_REFRESH_JSON_KEY"] != "refresh_token":
        yield "parameter", config["JWT_REFRESH_JSON_KEY"]
    for kind in ("refresh", "access"):
        name = config[f"JWT_{kind.upper()}_COOKIE_NAME"]
        if "cookies" in locations and name != f"{kind}_token_cookie":
            yield f"{kind}_cookie", name


def _jwt_algorithms(config: Mapping[str, Any]) -> Iterator[Line]:
    algorithm = config["JWT_ALGORITHM"]
    others = sorted({*texts(config["JWT_DECODE_ALGORITHMS"])} - {algorithm})
    if others and algorithm.startswith("HS") != all(one.startswith("HS") for one in others):
        yield Line(
            "warn",
            "algorithms",
            f"{algorithm} signs, and JWT_DECODE_ALGORITHMS takes {', '.join(others)}, too: a "
            "secret and a public key verify the same tokens",
            f"a key has one algorithm here: {algorithm} alone is taken",
        )
    if algorithm.startswith("HS") and config["JWT_PUBLIC_KEY"]:
        yield Line(
            "warn",
            "algorithms",
            f"{algorithm} signs with a secret, and there is a JWT_PUBLIC_KEY, for nothing",
            "is the secret meant? A public key must never be one: everybody knows it",
        )
    if config.get("JWT_PREVIOUS_SECRET_KEY"):
        yield Line(
            "warn",
            "secret",
            "there is a JWT_PREVIOUS_SECRET_KEY, too",
            "are its tokens still alive? Then Migration(secret=(the present, the previous))",
        )


def _jwt_places(config: Mapping[str, Any], locations: Iterable[str]) -> Iterator[Line]:
    for place, problem in (
        ("query_string", "tokens come in URLs, which stand in logs and histories: not read here"),
        ("json", "access tokens come in bodies: not read here"),
    ):
        if place in locations:
            yield Line(
                "warn", "locations", problem, "clients send `Authorization: Bearer`, or a cookie"
            )
    if config["JWT_HEADER_TYPE"] != "Bearer" and "headers" in locations:
        yield Line(
            "warn",
            "header",
            "the scheme isn't Bearer (JWT_HEADER_TYPE)",
            "clients must send `Authorization: Bearer`: there is no other here (RFC 6750)",
        )
    if config["JWT_HEADER_NAME"] != "Authorization" and "headers" in locations:
        yield Line(
            "warn",
            "header",
            "tokens come in a header of their own (JWT_HEADER_NAME)",
            "Settings(credentials_header=...), or clients change: docs/gateways.md",
        )
    if "cookies" not in locations:
        return
    if not config["JWT_COOKIE_CSRF_PROTECT"]:
        yield Line(
            "warn",
            "CSRF",
            "other sites' forms are served with the user's cookies (JWT_COOKIE_CSRF_PROTECT)",
            "ours are always checked: scripts send the header of Cookies(header=...)",
        )
    elif config["JWT_CSRF_CHECK_FORM"]:
        yield Line(
            "warn",
            "CSRF",
            "forms send the value of a cookie in a hidden field, which ours don't need",
            "Cookies(forms=True) and login_url: docs/pages.md. For scripts Cookies(header=...)",
        )
    else:
        yield Line(
            "warn",
            "CSRF",
            "scripts send the value of a cookie in X-CSRF-TOKEN",
            'a fixed header and the origin do that: Cookies(header="X-CSRF-TOKEN") takes what they '
            "send now, with any value",
        )
    if config["JWT_COOKIE_DOMAIN"]:
        yield Line(
            "warn",
            "cookies",
            "JWT_COOKIE_DOMAIN gives them to other hosts of the domain",
            "ours go to one host (__Host-); other services get the token in Authorization",
        )


def _of_flask_login(config: Mapping[str, Any]) -> FormerApp:
    life = lasting(config.get("REMEMBER_COOKIE_DURATION", timedelta(days=365)))
    return FormerApp(
        versioned("Flask-Login", "flask_login"),
        "",
        refresh=life if life is not None else math.inf,
        cookies=True,
        forms=True,
        lines=(
            Line(
                "warn",
                "sessions",
                "a signed cookie has the user's id, and no key of its own",
                "a view that gives a session its tokens, once: docs/from-flask-login.md",
            ),
        ),
    )
