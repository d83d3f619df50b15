"""Attacks on other users' logins, by the endpoints of `Refresh(sessions=True)`.

None of them may end a login, or show one.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..request.cookies import Jar
from ..settings.settings import Settings
from .attack import Attack, Forge
from .mint import ABSENT

_SID = "attacker-grant-AAAAAAAA"
_RULE = "RT-31"


def session_attacks(forge: Forge, settings: Settings, grant_id: str) -> Iterator[Attack]:
    """Yield the attacks on the login of this id, which is another user's than the token's."""
    group = settings.refresh
    if group is None or not group.sessions:
        return
    path = f"{group.path}/sessions"
    target, others = f"{path}/{grant_id}", f"{path}/end-others"
    own = _bearer(forge.token(sid=_SID))
    client = _bearer(forge.token(sid=_SID, sub=forge.claims["client_id"]))
    no_login = _bearer(forge.token(sid=ABSENT))
    expired = _bearer(forge.token(sid=_SID, exp=forge.claims["iat"] - 3600))
    refresh = _bearer(forge.token(sid=_SID, header={"typ": "rt+jwt"}))
    for name, method, where, status, fields in (
        ("session-of-another-user", "DELETE", target, 404, (own,)),
        ("session-named-twice", "DELETE", f"{path}/{_SID}/../{grant_id}", 404, (own,)),
        ("session-with-a-slash", "DELETE", f"{target}/", 404, (own,)),
        ("session-of-any-name", "DELETE", f"{path}/*", 404, (own,)),
        ("session-of-no-name", "DELETE", f"{path}/", 404, (own,)),
        ("session-with-a-nul", "DELETE", f"{target}%00", 404, (own,)),
        ("session-of-a-named-user", "DELETE", f"{target}?sub=bob&subject=bob", 404, (own,)),
        ("session-of-a-user-in-a-header", "DELETE", target, 404, (own, ("X-Remote-User", "bob"))),
        ("session-by-an-overridden-method", "POST", target, 405, (own, _OVERRIDE)),
        ("session-ended-by-get", "GET", target, 405, (own,)),
        ("session-ended-by-nobody", "DELETE", target, 401, ()),
        ("session-ended-by-a-client", "DELETE", target, 403, (client,)),
        ("session-ended-without-a-login", "DELETE", target, 403, (no_login,)),
        ("session-ended-by-an-expired-token", "DELETE", target, 401, (expired,)),
        ("session-ended-by-a-refresh-token", "DELETE", target, 401, (refresh,)),
        ("sessions-shown-to-nobody", "GET", path, 401, ()),
        ("sessions-shown-to-a-client", "GET", path, 403, (client,)),
        ("sessions-ended-by-a-client", "POST", others, 403, (client,)),
        ("sessions-ended-by-get", "GET", others, 405, (own,)),
    ):
        yield Attack(name, fields, _RULE, (status,), method=method, path=where)
    jars = group.cookies.jars(settings.issuer) if group.cookies is not None else None
    if jars is not None and jars.access is not None:
        yield from _of_other_sites(forge, jars.access, target, others)


_OVERRIDE = ("X-HTTP-Method-Override", "DELETE")


def _bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


def _of_other_sites(forge: Forge, jar: Jar, target: str, others: str) -> Iterator[Attack]:
    """Yield requests that another site causes with the cookie of a user's browser."""
    cookie = ("Cookie", f"{jar.name(_SID)}={forge.token(sid=_SID)}")
    evil = (("Origin", "https://attacker.example"), ("Sec-Fetch-Site", "cross-site"))
    for name, method, path, fields in (
        ("session-ended-by-another-site", "DELETE", target, evil),
        ("sessions-ended-by-a-form-of-another-site", "POST", others, evil),
        ("sessions-ended-by-a-form-of-an-old-browser", "POST", others, ()),
    ):
        yield Attack(name, (cookie, *fields), "RT-20", (403,), method=method, path=path)
