"""What a change of settings does to present logins: `check --against OLD`, without network.

Tokens are made in memory by the old settings, and checked by the new ones. The texts aren't
compared: settings with other words may accept the same tokens, and the reverse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from .. import ConfigurationError, Former, Grant, Refresh, Settings
from ..jose import jws
from ..jose.jwk import Key
from ..keys.file import File
from ..process.runtime import Runtime
from ..settings.issuing_groups import DAY
from ..settings.refresh_secrets import former_secrets, present_secrets, refresh_keys
from ..stores.contract import new_grant_id
from ..token import access, claims, refresh
from ..token.refresh import RefreshKeys
from ..values import reasons
from ..values.bare_grants import bare_grant
from ..values.errors import InvalidGrant, InvalidToken
from ..values.randomness import draw
from . import timed
from .bound_changes import device_changes, key_changes
from .configured import in_memory, issuing
from .lines import Line, LineState, span

# Writes an entry of `former` as its source does.
Spell: TypeAlias = Callable[[Mapping[str, str]], str]

OUT = "all are logged out at once"


def changes(old: Settings, new: Settings, spell: Spell) -> Iterator[Line]:
    """Yield what happens to present logins when the new settings replace the old ones."""
    now = new.clock()
    before, after = issuing(old), issuing(new)
    if before is None:
        yield Line("-", "logins", "the old settings issue nothing: nobody is logged in by them")
    elif after is None:
        yield Line(
            "FAIL", "logins", f"{OUT}, when their access tokens end: nothing is issued any more"
        )
    else:
        yield from _refresh_tokens(old, new, now, spell)
        yield from _same_store(before, after)
        yield from _limits(before, after)
        yield from device_changes(before.cookies, after.cookies)
        yield from _cookie_lines(old, new, before, after)
        yield from key_changes(old, new)
    yield _access_tokens(old, new, now)
    if before is not None and after is not None:
        nothing = Line("ok", "services", "those that only verify notice nothing")
        yield from _services(old, new, before, after) or [nothing]


# --- refresh tokens


def _refresh_tokens(old: Settings, new: Settings, now: float, spell: Spell) -> Iterator[Line]:
    before = cast("Refresh", old.refresh)
    end = math.ceil(now + before.absolute_limit)
    signer, *others = _made(old, now, end)
    until, why = _taken_until(signer, new, now, end)
    if until == now:
        yield Line("FAIL", "refresh tokens", f"{OUT} ({why})", _way_out(old, new, now, spell))
    elif until == end:
        yield Line("ok", "refresh tokens", "all stay: one made by the old settings is taken")
    else:
        patient = until >= now + before.idle_limit
        yield Line(
            "ok" if patient else "warn",
            "refresh tokens",
            f"stay until {timed(until)}: who hasn't refreshed by then logs in anew",
            "" if patient else f"who may be idle for longer: until = {_date(now, before)}",
        )
    worse = [
        one
        for one in others
        if _taken_until(one, new, now, end)[0] < min(until, _taken_until(one, old, now, end)[0])
    ]
    if worse:
        yield Line(
            "warn",
            "older ones",
            f"of {len(others)} secrets that had signed before, {len(worse)} are taken for a "
            "shorter time, or not at all: who has such a token logs in anew",
            f"nothing, if they have signed nothing for {span(before.absolute_limit)}; else "
            "keep them",
        )


def _made(settings: Settings, now: float, end: float) -> Iterator[str]:
    """Yield a refresh token for each secret of the settings, first for the one that signs."""
    group, issuer = cast("Refresh", settings.refresh), settings.issuer
    for key in present_secrets(settings.keys, group, issuer):
        yield _refresh_token_by(key, issuer, now, end)
    for one in group.former:
        if one.ends_at > now:
            for key in former_secrets(one, settings.keys, group, issuer, settings.keys.source):
                yield _refresh_token_by(key, one.issuer or issuer, now, end)


def _refresh_token_by(key: Key, issuer: str, now: float, end: float) -> str:
    return refresh.mint(
        RefreshKeys([key], issuer),
        grant=_somebodys_grant(now, end),
        jti=draw()[0],
        now=now,
        agent=None,
    )


def _somebodys_grant(now: float, end: float) -> Grant:
    return bare_grant(
        new_grant_id("somebody"), "somebody", client_id="check", now=now, expires_at=end
    )


def _taken_until(text: str, new: Settings, now: float, end: float) -> tuple[float, str]:
    """Return when the new settings stop accepting a refresh token, and why."""
    group = cast("Refresh", new.refresh)
    keys = refresh_keys(new.keys, group, new.issuer, new.keys.source)
    dates = sorted(one.ends_at for one in group.former if now < one.ends_at < end)
    for moment in (now, *dates):
        try:
            refresh.check(text, keys, now=moment)
        except InvalidGrant as error:
            return moment, error.reason
    return end, reasons.EXPIRED


def _way_out(old: Settings, new: Settings, now: float, spell: Spell) -> str:
    """Return an entry of `former` that keeps all logins: tried here, written without secrets."""
    before, after = cast("Refresh", old.refresh), cast("Refresh", new.refresh)
    date, source = _date(now, before), old.keys.source
    name: dict[str, Any] = {} if old.issuer == new.issuer else {"issuer": old.issuer}
    signed: dict[str, Any] = {"secret": before.secrets} if before.secrets else {"keys": old.keys}
    spelled = {
        "issuer": old.issuer,
        "secret": "<the old refresh.secret>",
        "keys": source.path if isinstance(source, File) else "<the old keys>",
    }
    end = math.ceil(now + before.absolute_limit)
    token = next(_made(old, now, end))
    for said in (name, signed | name):
        try:
            entry = Former(until=date, **said)
            made = new.replace(refresh=replace(after, former=(*after.former, entry)))
        except ConfigurationError:
            continue  # the entry is empty, or refused
        if _taken_until(token, made, now, end)[0] == end:
            shown = spell({"until": date} | {field: spelled[field] for field in said})
            return f"add to `former` what was: {shown}"
    return "no entry of `former` can help: is its secret the key of access tokens now?"


def _date(now: float, before: Refresh) -> str:
    """Return the first date at which no refresh token of the old settings is valid any more."""
    days = math.ceil((now + before.absolute_limit) / DAY)
    return datetime.fromtimestamp(days * DAY, UTC).strftime("%Y-%m-%d")


# --- the store


def _same_store(before: Refresh, after: Refresh) -> Iterator[Line]:
    old, new = before.store, after.store
    if not isinstance(old, str) or not isinstance(new, str):
        yield Line("-", "store", "an object of the application's: not compared")
    elif in_memory(old):
        yield Line(
            "FAIL", "store", f"{OUT}: memory:// is gone with its process", "sqlite:///grants.db"
        )
    elif _place(old) != _place(new):
        yield Line(
            "FAIL",
            "store",
            f"{OUT}, unless it is the same store under another name, or has a copy of the grants: "
            f"{_place(old)} became {_place(new)}",
            "move the grants first, while nobody writes",
        )
    else:
        yield Line("ok", "store", "the same")


def _place(url: str) -> str:
    """Return the server and database of a URL, without the account and other options."""
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme, parts.scheme)
    host = parts.netloc.rpartition("@")[2].lower()
    within = [one for one in parse_qsl(parts.query) if one[0] in ("prefix", "schema")]
    return f"{scheme}://{host}{parts.path}" + (f"?{urlencode(within)}" if within else "")


_SCHEMES = {"postgres": "postgresql", "rediss": "redis"}  # two schemes that lead to the same grants


# --- limits, paths and cookies


def _that_hold(*rows: tuple[bool, LineState, str, str, str]) -> list[Line]:
    """Return the line of each row whose condition, its first value, holds."""
    return [Line(state, what, seen, remedy) for holds, state, what, seen, remedy in rows if holds]


def _limits(before: Refresh, after: Refresh) -> list[Line]:
    return _that_hold(
        (
            after.idle_limit < before.idle_limit,
            "warn",
            "idle_limit",
            (
                f"who hasn't refreshed for {span(after.idle_limit)} is logged out at once: it "
                f"was {span(before.idle_limit)}"
            ),
            "lower it in steps, or leave it",
        ),
        (
            after.absolute_limit != before.absolute_limit,
            "ok",
            "absolute_limit",
            (
                "who is logged in keeps the end of that login, "
                f"{span(before.absolute_limit)} after it; new logins have "
                f"{span(after.absolute_limit)}"
            ),
            "",
        ),
        (
            after.access_lifetime < before.access_lifetime,
            "ok",
            "access_lifetime",
            f"access tokens that are out live on, for {span(before.access_lifetime)} at most",
            "",
        ),
        (
            before.path != after.path,
            "FAIL",
            "path",
            (
                f"clients that ask at {before.path}/refresh get no tokens there: {OUT}, until "
                f"they know {after.path}"
            ),
            f'path="{before.path}"',
        ),
    )


def _cookie_lines(old: Settings, new: Settings, before: Refresh, after: Refresh) -> list[Line]:
    held, read = before.cookies, after.cookies
    if held is None:
        return []
    if read is None:
        return [
            Line("FAIL", "cookies", f"nobody reads them any more: in browsers {OUT}", "Cookies()")
        ]
    was_at, is_at = (urlsplit(one.issuer).netloc for one in (old, new))
    return _that_hold(
        (
            held.name != read.name,
            "FAIL",
            "cookies",
            f"browsers hold {held.name!r}, and {read.name!r} is looked for: in browsers {OUT}",
            f'name="{held.name}"',
        ),
        (
            held.name == read.name,
            "ok",
            "cookies",
            f"browsers hold {held.name!r}, which is looked for",
            "",
        ),
        (
            held.access and (not read.access or held.access_name != read.access_name),
            "warn",
            "cookies",
            (
                f"the access token in {held.access_name!r} is looked for no more: requests get "
                "401 until the page refreshes"
            ),
            "pages whose first request must be let in: keep it",
        ),
        (
            was_at != is_at,
            "warn",
            "cookies",
            (
                "a browser sends them to the host that set them: where the application moves "
                f"from {was_at} to {is_at}, {OUT}, whatever `former` says"
            ),
            "rename the issuer, and leave the application where browsers know it",
        ),
    )


# --- access tokens, here and at other services


def _access_tokens(old: Settings, new: Settings, now: float) -> Line:
    key = old.keys.signer or next(iter(old.keys.keys), None)
    if key is None:
        return Line("-", "access tokens", "the old keys are somewhere else: not compared")
    reason = _refused(key, old, new, now)
    if not reason:
        return Line("ok", "access tokens", "stay to their end: one made by the old settings holds")
    if issuing(old) is not None and issuing(new) is not None:
        return Line(
            "ok",
            "access tokens",
            f"refused at once ({reason}): clients refresh on 401, and get others",
        )
    return Line("warn", "access tokens", f"refused at once ({reason})", "keep what they name")


def _refused(key: Key, old: Settings, new: Settings, now: float) -> str:
    """Return why an access token of the old settings would be refused, or "".

    The token is made without a signature, which may need a KMS: the keys themselves are compared.
    """
    wording = access.beginning(old.issuer, tuple(old.audience))
    grant = _somebodys_grant(now, now + DAY)
    payload = access.payload(wording, grant, draw()[1], "", int(now), int(now) + 60)
    message = jws.TokenWriter(key, access.ACCESS_TYPE).message(payload)
    parsed = jws.parse(jws.join(message, b"none"))
    try:
        trust = Runtime.of(new).issuers.find(old.issuer, now)
        if trust is None:
            return ""  # `issuer_for` decides, and isn't called here
        claims.check_type(parsed, trust.policy.profile)
        known = trust.keys.key_set
        if known.keys and not _is_same_key(key, known.find(key.kid)):
            return reasons.SIGNATURE
        claims.check_claims(parsed.claims, trust.policy, now)
    except InvalidToken as error:
        return error.reason
    return ""


def _is_same_key(one: Key, other: Key) -> bool:
    if one.is_symmetric or other.is_symmetric:
        return (one.algorithm, one.private) == (other.algorithm, other.private)
    return one.public_jwk() == other.public_jwk()


def _services(old: Settings, new: Settings, before: Refresh, after: Refresh) -> list[Line]:
    gone = next((one for one in old.audience if one not in new.audience), None)
    signs = cast("Key", new.keys.signer)
    is_secret = signs.is_symmetric or cast("Key", old.keys.signer).is_symmetric
    is_new = signs.kid not in old.keys.by_kid
    return _that_hold(
        (
            old.issuer != new.issuer,
            "warn",
            "services",
            f"those that only verify know the issuer as {old.issuer!r}, and refuse {new.issuer!r}",
            "before the change, have them trust the new name, too: TrustedIssuer",
        ),
        (
            gone is not None,
            "warn",
            "services",
            f"tokens are no longer for {gone!r}: who goes by that name refuses them",
            "first name both in the audience, and the old one goes when nobody goes by it",
        ),
        (
            is_new and is_secret,
            "warn",
            "services",
            "those that verify with the old secret refuse what is signed now",
            _REMOTE,
        ),
        (
            is_new and not is_secret,
            "ok",
            "services",
            (
                "those with KeySet.remote() find the new key by themselves; a copy of the old "
                "keys is to be replaced"
            ),
            "",
        ),
        (
            before.jwks_path != after.jwks_path,
            "warn",
            "services",
            f"the key set moves from {before.jwks_path} to {after.jwks_path}",
            _REMOTE,
        ),
    )


_REMOTE = "KeySet.remote() there, which finds the keys by the issuer's name"
