"""The paths that are answered here, as the settings name them: no two may be the same."""

from __future__ import annotations

from typing import Any

from .checking import Fault


def _endpoints(group: Any) -> tuple[str, ...]:
    named = ("refresh", "revoke", "continue")
    return (*(f"{group.path}/{name}" for name in named), group.jwks_path)


def is_endpoint(group: Any, path: str) -> bool:
    """Say whether a path is one of a `Refresh` group's endpoints, or kept for metadata."""
    is_below = f"{path}/".startswith(("/.well-known/", *group.folders))
    return path in _endpoints(group) or is_below


def _is_taken(settings: Any) -> bool:
    group, path = settings.refresh, settings.ready_path
    taken: list[str] = [settings.login_url]
    if group is not None and group.migrate is not None:
        taken.append(group.migrate.path)
    return path in taken or (group is not None and is_endpoint(group, path))


OF_READINESS = (  # where `Settings.ready_path` is a path
    ("ready_path", Fault(_is_taken, "is another endpoint's path", "give it one of its own")),
)
