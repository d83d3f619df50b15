"""What is mounted beside the application, as the settings say: what issues, sessions, pages.

A service without `Settings(refresh=...)`, which only verifies, doesn't load this module.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from ..grant.ended_grants import EndedGrants
from ..grant.endpoints import Endpoints
from ..grant.issuing import Issuing
from ..grant.ports import Ports
from ..grant.sessions import Sessions
from ..keys.live_keys import LiveKeys
from ..request.cookies import Jars
from ..request.navigation import Pages
from ..request.origins import Origins
from ..settings.settings import Settings
from ..values.flows import Flow
from ..values.requests import Request
from ..values.tokens import Forward
from .former_access import former_access

__all__ = ["Endpoints", "former_access", "issuing_of", "pages_of", "sessions_of"]


def issuing_of(
    settings: Settings,
    ports: Ports,
    ended: EndedGrants | None,
    own_keys: LiveKeys,
    jars: Jars | None,
) -> Issuing | None:
    """Return what issues tokens; None: this service issues none."""
    group = settings.refresh
    if group is None or not group.serve or ended is None:
        return None
    return Issuing(settings, group, ports, ended, own_keys, jars)


def sessions_of(
    issuing: Issuing,
    origins: Origins,
    known_origins: frozenset[str],
    authenticate: Callable[[Request], Flow[Forward]],
) -> Sessions | None:
    """Return the endpoints where users see their logins; None: there are none."""
    if not issuing.group.sessions:
        return None
    return Sessions(issuing, origins, authenticate, issuing.jars, known_origins)


def pages_of(
    settings: Settings,
    jars: Jars | None,
    check: Callable[[Request], None],
    is_endpoint: Callable[[str], bool],
) -> Pages | None:
    """Return what is answered to page loads; None: they are answered as all other requests."""
    group = settings.refresh
    if not settings.login_url or group is None or jars is None:
        return None
    return Pages(
        login_url=settings.login_url,
        continue_path=f"{group.path}/continue",
        is_endpoint=is_endpoint,
        root=urlsplit(group.public_url).path,
        jars=jars,
        check=check,
    )
