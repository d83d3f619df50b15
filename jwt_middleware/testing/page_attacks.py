"""Attacks on pages with forms: what other sites, links and browsers send without their user's will.

They are for settings whose access token is in a cookie, with `forms` or a `login_url`.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from ..request.cookies import Jar
from ..settings.settings import Settings
from .attack import Attack, Forge

_Fields = tuple[tuple[str, str], ...]
_SID = "attacked-grant-AAAAAAAA"
_ELSEWHERE: tuple[tuple[str, str], ...] = (
    ("two-slashes", "//attacker.example"),
    ("three-slashes", "///attacker.example"),
    ("a-backslash", "/\\attacker.example"),
    ("a-backslash-first", "\\/attacker.example"),
    ("a-scheme", "https://attacker.example/"),
    ("a-scheme-without-slashes", "https:attacker.example"),
    ("javascript", "javascript:alert(document.domain)"),
    ("data", "data:text/html,<script>alert(1)</script>"),
    ("a-tab", "/\t/attacker.example"),
    ("a-line-break", "/\r\nLocation: https://attacker.example/"),
    ("a-space-in-front", " //attacker.example"),
    ("an-encoded-slash", "/%2Fattacker.example"),
    ("an-encoded-backslash", "/%5Cattacker.example"),
    ("dot-segments", "/..//attacker.example"),
    ("a-name-without-slash", "attacker.example"),
)


def page_attacks(forge: Forge, settings: Settings) -> Iterator[Attack]:
    """Yield the attacks on what these settings serve beside resources."""
    group = settings.refresh
    cookies = group.cookies if group is not None else None
    if group is None or cookies is None:
        return
    jars = cookies.jars(settings.issuer)
    if jars.access is not None:
        yield from _forms(forge, jars.access)
    if settings.login_url:
        yield from _leading(f"{group.path}/continue", settings.login_url)
        yield from _continuing(f"{group.path}/continue", settings.login_url, jars.refresh)


def _load(site: str, *more: tuple[str, str]) -> _Fields:
    """Return the fields of a page load that was caused by this kind of site."""
    return (
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Site", site),
        *more,
    )


def _forms(forge: Forge, jar: Jar) -> Iterator[Attack]:
    """Yield forms that other sites send with the browser's cookie, where the browser lets them."""
    cookie = ("Cookie", f"{jar.name(_SID)}={forge.token(sid=_SID)}")
    evil, nobody = ("Origin", "https://attacker.example"), ("Origin", "null")
    for name, fields in (
        ("form-of-another-site", _load("cross-site", evil)),
        ("form-of-another-site-without-referrer", _load("cross-site", nobody)),
        ("form-of-a-sibling-host", _load("same-site", evil)),
        ("form-of-a-sibling-host-without-referrer", _load("same-site", nobody)),
        ("form-of-nobody", _load("none", nobody)),
        ("form-of-another-site-in-an-old-browser", (evil,)),
        ("form-without-origin-in-an-old-browser", ()),
        ("script-of-another-site", (("Sec-Fetch-Mode", "no-cors"), *_load("cross-site", evil)[1:])),
    ):
        yield Attack(name, (*fields, cookie), "RT-20", (403,), method="POST")


def _leading(continue_path: str, login_url: str) -> Iterator[Attack]:
    """Yield links that begin at this host and would end at another one."""
    for name, where in _ELSEWHERE:
        query = f"?next={quote(where, safe='')}"
        for place, path in (("open-redirect", continue_path), ("login-page-leads", login_url)):
            load = _load("same-origin")
            yield Attack(f"{place}-by-{name}", load, "RT-32", (400,), path=path + query)


def _continuing(continue_path: str, login_url: str, jar: Jar) -> Iterator[Attack]:
    here, pair = f"{continue_path}?next=/", f"{jar.name(_SID)}=AAAA"
    evil = ("Origin", "https://attacker.example")
    frame = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe"))
    script = (("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"))
    for name, path, fields in (
        ("second-next", f"{here}&next=//attacker.example", _load("none")),
        ("next-of-an-endpoint", f"{continue_path}?next={quote(here, safe='')}", _load("none")),
        ("session-fixation-by-address", f"{here}&refresh_token=AAAA", _load("none")),
        ("session-fixation-by-name", f"{here}&sid={_SID}", _load("none")),
        ("session-fixation-by-a-second-cookie", here, _load("none", ("Cookie", f"{pair}; {pair}"))),
        ("prefetch", here, _load("none", ("Sec-Purpose", "prefetch"))),
        ("prerender", here, _load("none", ("Sec-Purpose", "prefetch;prerender"))),
        ("prefetch-of-an-old-browser", here, (("Accept", "text/html"), ("Purpose", "prefetch"))),
        ("frame-of-another-site", here, (*frame, ("Sec-Fetch-Site", "cross-site"))),
        ("script-that-continues", here, (*script, ("Sec-Fetch-Site", "same-origin"))),
    ):
        yield Attack(name, fields, "RT-32", (400,), path=path)
    for name, rule, path in (
        ("form-of-another-site-that-continues", "RT-32", here),
        ("login-csrf", "RT-27", login_url),
        ("login-csrf-with-a-next", "RT-27", f"{login_url}?next=/"),
    ):
        yield Attack(name, _load("cross-site", evil), rule, (403,), method="POST", path=path)
