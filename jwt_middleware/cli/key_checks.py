"""Can the keys be had that the settings name? If they can't, which setting mends it.

Keys are fetched as the middleware fetches them, and what came is looked at once more for advice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from .. import ConfigurationError, KeySet, Settings, TrustedIssuer
from ..jose.algorithms import ALGORITHMS
from ..jose.binding import each_named
from ..jose.jwk import FOR_SOMETHING_ELSE
from ..jose.strict_json import parse_object
from ..keys.jwk_sets import MAX_LOGGED
from ..keys.key_sources import Fetched, Fetcher, Skipped, Source, metadata_urls
from ..keys.remote import Remote
from ..values.errors import KeysUnavailable
from .lines import Line, origin, span

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
# RFC 7518 s4.1, RFC 8037 s3.2: how names of algorithms that encrypt begin, and their curves.
_ENCRYPTION = ("RSA1_5", "RSA-OAEP", "ECDH-ES", "dir", "A128", "A192", "A256", "PBES2")
_ENCRYPTION_CURVES = ("X25519", "X448")

_CREDENTIALS = (
    "it wants credentials: KeySet.remote(token_file=...), or fetcher=... for others than a token"
)
# What to do where a fetch fails, by a text in its error. The first that is found counts.
_WAYS_TO_KEYS = (
    (
        "private_addresses=True",
        "KeySet.remote(private_addresses=True), where that host is meant to be inside",
    ),
    (
        "not https",
        (
            "KeySet.remote(url), with the https URL of the key set; inside, where http is meant: "
            "KeySet.remote(url, private_addresses=True, plain_http=True)"
        ),
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "a CA of your own? KeySet.remote(ca_file=...) names a file with its certificates",
    ),
    ("answers 30", "KeySet.remote(url), with the URL where it leads: no redirect is followed"),
    ("answers 401", _CREDENTIALS),
    ("answers 403", _CREDENTIALS),
)
_ANY_WAY = "can this machine reach it? A proxy isn't asked, and a redirect isn't followed"
_NO_METADATA = (
    'it publishes no metadata: KeySet.remote("https://..."), with the URL of its key set, which '
    "its documentation names"
)
_NAME_ALGORITHM = (
    'algorithm="RS256" beside the keys in the settings, or what its tokens have in `alg`: its RSA '
    "keys name none"
)
_TELL_ISSUER = "tell who runs the issuer"
_NO_SET_THERE = (
    'no key set is there: KeySet.remote("https://..."), with the URL that the issuer\'s '
    "documentation names"
)


def key_lines(place: str, one: Settings | TrustedIssuer, settings: Settings) -> Iterator[Line]:
    """Yield what is found at the source of an issuer's keys, and how the clocks differ."""
    source = one.keys.source
    if source is None:
        yield Line("ok", place, f"{_names_of(one.keys)} of {one.issuer!r}, in the settings")
        return
    seen: list[_Answer] = []
    if isinstance(source, Remote):
        source = source.through(_Watched(source.client(one.issuer), settings.clock, seen))
    where, octets = f"{origin(one.keys)} of {one.issuer!r}", b""
    try:
        octets = source.fetch(one.issuer, None, settings.clock()).octets
        read, skipped = source.read(octets)
        keys = KeySet(read)
    except KeysUnavailable as error:
        remedy = _way_to_keys(error.detail, one.issuer, source, seen)
        yield Line("FAIL", place, f"{where}: {error.detail}", remedy)
    except ConfigurationError as error:
        remedy = _way_to_read(octets, one.issuer, source, error)
        yield Line("FAIL", place, f"{where} gives no key set: {error.problem}", remedy)
    except Exception as error:  # noqa: BLE001 (the application's fetcher may raise anything)
        raised = f"the fetcher raised {type(error).__name__}: {error}"
        yield Line("FAIL", place, f"{where}: {raised}", "it is the application's own")
    else:
        found = f"{_names_of(keys)} of {one.issuer!r}, from {origin(one.keys)}"
        yield Line("ok", place, found)
        yield from (_skipped(place, key, octets, source) for key in skipped)
    yield from (_answer_line(place, answer) for answer in seen)
    if seen:
        yield _clock_line(seen[-1], settings.leeway)


def _names_of(keys: KeySet) -> str:
    names = ", ".join(f"{key.kid} ({key.algorithm.name})" for key in keys.keys)
    return f"{len(keys.keys)} keys, {names}," if len(keys.keys) > 1 else f"the key {names}"


# --- where the keys are


def _way_to_keys(detail: str, issuer: str, source: Source, seen: Sequence[_Answer]) -> str:
    """Return the setting by which the keys of an issuer can be had."""
    metadata = isinstance(source, Remote) and source.url is None
    documents = [_object_in(one.fetched.body) for one in seen if one.fetched.status == 200]
    for document in documents if metadata else ():
        named, place = document.get("issuer"), document.get("jwks_uri")
        if isinstance(named, str) and named != issuer:
            return _way_to_another_name(named, issuer, place)
    for text, remedy in _WAYS_TO_KEYS:
        if text in detail:
            return remedy
    if metadata and seen:
        return _NO_METADATA if seen[-1].url in metadata_urls(issuer) else _NO_SET_THERE
    return other_place(issuer, source) or (_NO_SET_THERE if "answers 4" in detail else _ANY_WAY)


def other_place(issuer: str, source: Source | None) -> str:
    """Return the setting for the set that an issuer's metadata name, if it is another one."""
    if not isinstance(source, Remote) or source.url is None:
        return ""
    # A token for the key server goes to the configured host alone, whatever the metadata name.
    bound = source.through(source.client(issuer))
    with suppress(Exception):  # the application's fetcher may raise anything
        place = bound.discovered(issuer)
        if place != source.url and replace(bound, url=place).fetch(issuer, None, 0).octets:
            return f"KeySet.remote({place!r}), where the issuer's metadata say that its keys are"
    return ""


def _way_to_another_name(named: str, issuer: str, place: object) -> str:
    """Return what to do where the metadata bears another issuer's name than the settings."""
    at = f"KeySet.remote({place!r})" if isinstance(place, str) else "KeySet.remote(url)"
    if "{" in named:
        # Entra's document for all tenants, for example: no token has this name.
        return f"its document is for many tenants ({named!r}): name one, or {at} and `issuer_for`"
    return (
        f"its document says {named!r}, the settings {issuer!r}: issuer={named!r} where its tokens "
        f"say that in `iss`, else {at}"
    )


# --- what the set holds


def _way_to_read(octets: bytes, issuer: str, source: Source, error: ConfigurationError) -> str:
    """Return the setting by which a set can be read, or whom to tell."""
    if _CERTIFICATE in octets:
        other = other_place(issuer, source) or "the issuer has a JWK Set at another URL"
        return (
            f"these are certificates: {other}; of one in a file `openssl x509 -pubkey -noout` "
            "makes the key, for KeySet.pem"
        )
    document = _object_in(octets)
    place = document.get("jwks_uri")
    if isinstance(place, str):
        return f"that is the issuer's metadata: KeySet.remote({place!r})"
    if _lacks_algorithm(_members_in(document), source):
        return _NAME_ALGORITHM
    return error.remedy or _TELL_ISSUER


def _skipped(place: str, key: Skipped, octets: bytes, source: Source) -> Line:
    """Return the line about a key that can't be used, beside others that can."""
    name = key.kid or "a key without kid"
    same = [one for one in _members_in(_object_in(octets)) if _is_called(key.kid, one)]
    # Not an error: Keycloak publishes an encryption key beside its signing keys.
    if key.problem in FOR_SOMETHING_ELSE or (same and all(map(_is_for_encryption, same))):
        return Line("-", place, f"{name} is left alone: {key.problem}")
    lacking = _lacks_algorithm(same, source)
    remedy = _NAME_ALGORITHM if lacking else f"its tokens are refused; {_TELL_ISSUER}"
    return Line("warn", place, f"{name} can't be used: {key.problem}", remedy)


def _object_in(octets: bytes) -> Mapping[str, Any]:
    try:
        return parse_object(octets)
    except ValueError:
        return {}


def _members_in(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = document.get("keys")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, tuple) else []


def _is_called(kid: str, member: Mapping[str, Any]) -> bool:
    named = member.get("kid")
    return (named[:MAX_LOGGED] if isinstance(named, str) else "") == kid


def _lacks_algorithm(members: Iterable[Mapping[str, Any]], source: Source) -> bool:
    """Say whether RSA keys name no algorithm, and the settings name none for them either."""
    configured = each_named(getattr(source, "algorithm", None))
    if any(ALGORITHMS[name].kty == "RSA" for name in configured):
        return False
    return any(
        one.get("kty") == "RSA" and "alg" not in one and not _is_for_encryption(one)
        for one in members
    )


def _is_for_encryption(member: Mapping[str, Any]) -> bool:
    use, name = member.get("use"), member.get("alg")
    if use is not None:
        return bool(use != "sig")
    encrypts = isinstance(name, str) and name not in ALGORITHMS and name.startswith(_ENCRYPTION)
    return encrypts or member.get("crv") in _ENCRYPTION_CURVES


# --- what came over the network


class _Answer(NamedTuple):
    url: str
    fetched: Fetched
    at: float  # seconds since 1970-01-01 UTC, in the middle of the exchange
    took: float  # seconds


class _Watched:
    """A fetcher that records each answer, how long it took, and the server's time."""

    def __init__(
        self, inner: Fetcher, clock: Callable[[], float], seen: MutableSequence[_Answer]
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._seen = seen

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        """Do what `Fetcher.fetch` says."""
        begun, started = self._clock(), time.monotonic()
        fetched = self._inner.fetch(url, timeout=timeout, limit=limit)
        took = time.monotonic() - started
        self._seen.append(_Answer(url, fetched, begun + took / 2, took))
        return fetched


def _answer_line(place: str, answer: _Answer) -> Line:
    fetched = answer.fetched
    return Line(
        # Not an error: if this isn't an OpenID provider, the other metadata URL is tried next.
        "ok" if fetched.status == 200 else "-",
        place,
        f"{answer.url} answers {fetched.status}, {len(fetched.body)} octets in "
        f"{answer.took * 1000:.0f} ms, Cache-Control: {fetched.cache_control or 'none'}",
    )


def _clock_line(answer: _Answer, leeway: float) -> Line:
    url = answer.url
    try:
        # RFC 9110 s6.6.1: Date has whole seconds, cut off. On average the time is half a second
        # later.
        there = parsedate_to_datetime(answer.fetched.date or "").timestamp() + 0.5
    except ValueError:
        return Line("-", "clock", f"{url} has no Date to compare with")
    ahead = answer.at - there
    which = "ahead of" if ahead > 0 else "behind"
    if abs(ahead) <= max(1.5, leeway / 10):
        return Line("ok", "clock", f"as that of {url}, within {max(abs(ahead), 1):.0f} s")
    return Line(
        "FAIL" if abs(ahead) > leeway else "warn",
        "clock",
        f"this machine is {span(abs(ahead))} {which} {url}; tokens have a leeway of {leeway:g} s",
        "set the clocks by NTP",
    )
