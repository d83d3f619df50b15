"""The rules of `jwt-middleware check`: settings that are allowed, but seldom intended."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from .. import KeySet, Refresh, Settings, TrustedIssuer
from ..core.metadata import documents
from ..keys.file import File
from ..keys.remote import Remote
from ..process.several_workers import is_for_one_process
from ..request.origins import is_loopback
from ..request.route import Route
from ..request.routes import RouteRule
from ..settings.consistency import without_metadata
from ..settings.proof_groups import needs_proof as all_need_proof
from .configured import BREAKS_SETS, in_memory, issuing, published_kinds
from .lines import Line
from .proof_risks import PROOF_RULES
from .risk import Look, Risk, group_field

LONG_LEEWAY = 60  # seconds, as in Envoy and Spring. Clocks that NTP sets need a tenth of it
SHORT_SETTLE = 60  # seconds: time for two late writes of a browser, and a request that is under way
LONG_ACCESS = 3600  # seconds for which a log-out doesn't reach services without the store
OTHERS = 0o077  # the bits of a file's mode for its group and others

AnyIssuer: TypeAlias = Settings | TrustedIssuer


def risks(settings: Settings) -> Iterator[Line]:
    """Yield the risks of these settings, rule by rule."""
    for rule in RULES:
        for field, one in rule.places(settings):
            for problem in rule.problems(one, settings):
                yield Line("warn", field, f"{problem} [{rule.id}]", rule.remedy)


# --- the places that rules check


def _the_whole(field: str) -> Look:
    return lambda settings: [(field, settings)]


def _each_issuer(field: str) -> Look:
    """Check a field of the settings, and the same field of each trusted issuer."""

    def places(settings: Settings) -> Iterator[tuple[str, AnyIssuer]]:
        yield field, settings
        for position, one in enumerate(settings.trusted_issuers):
            yield f"trusted_issuers[{position}].{field}", one

    return places


def _refresh(field: str) -> Look:
    return group_field("refresh", field)


def _former(settings: Settings) -> Iterable[tuple[str, Any]]:
    former = settings.refresh.former if settings.refresh is not None else ()
    return [(f"refresh.former[{position}]", one) for position, one in enumerate(former)]


def _urls(settings: Settings) -> Iterator[tuple[str, tuple[str, str]]]:
    for field, one in _each_issuer("issuer")(settings):
        yield field, (one.issuer, "is this machine, and without TLS")
    for url in settings.proofs.urls if settings.proofs is not None else ():
        yield "proofs.urls", (url, "is this machine, and without TLS")
    for origin in settings.origins:
        yield "origins", (origin, "is whatever runs on the machine of the browser")


def _key_sets(settings: Settings) -> Iterator[tuple[str, KeySet]]:
    yield from ((field, one.keys) for field, one in _each_issuer("keys")(settings))
    yield from ((f"{field}.keys", one.keys) for field, one in _former(settings) if one.keys)


def _every_route(settings: Settings) -> Iterable[tuple[str, Route]]:
    return ((f"Route({route.path!r})", route) for route in settings.routes)


# --- what they find


def _when(
    is_risky: Callable[[Any], object], problem: str
) -> Callable[[Any, Settings], Iterable[str]]:
    """Return a `Risk.problems` that yields one problem; `{0}` in its text is the checked value."""
    return lambda one, _: [problem.format(one)] if is_risky(one) else []


def _loopback(seen: tuple[str, str], _: Settings) -> Iterable[str]:
    url, what = seen
    return [f"{url!r} {what}"] if is_loopback(url) else []


def _nameless(_: Settings, settings: Settings) -> Iterator[str]:
    problem = without_metadata(settings.issuer)
    if issuing(settings) and problem:
        yield f"{settings.issuer!r} {problem}: nobody can find its keys by it"


def _client_as_audience(one: AnyIssuer, _: Settings) -> Iterable[str]:
    # An ID token has the type JWT or no type, and the client's id as its audience.
    profile = one.profile
    tells_apart = profile.claims or not profile.required <= _IN_ID_TOKENS or profile.id_tokens
    if profile.types.isdisjoint(("", "jwt")) or tells_apart:
        return []
    return (
        f"{name!r} looks like a client's id, and {one.profile.name} takes tokens of the type that "
        "ID tokens have: one of those would open this service"
        for name in one.audience
        if ":" not in name
    )


# What ID tokens have, too (OpenID Connect Core s2): to require these tells no kinds apart.
_IN_ID_TOKENS = frozenset(
    ("iss", "sub", "aud", "exp", "iat", "jti", "auth_time", "nonce", "acr", "amr", "azp", "sid")
)


def _audience_with_comma(one: AnyIssuer, _: Settings) -> Iterable[str]:
    return (f"{name!r} is one name, with a comma in it" for name in one.audience if "," in name)


def _unlimited_scopes(one: AnyIssuer, settings: Settings) -> Iterator[str]:
    guarded = [route.path for route in settings.routes if route.scope]
    # A map names all that the issuer may give.
    is_limited = one.profile.scope_map or not one.profile.scope_claims
    if isinstance(one, TrustedIssuer) and one.scopes is None and guarded and not is_limited:
        yield f"is None: it may give the scope of {guarded[0]} to anybody"


def _remote(one: AnyIssuer) -> Remote | None:
    return one.keys.source if isinstance(one.keys.source, Remote) else None


def _private_addresses(one: AnyIssuer) -> bool:
    remote = _remote(one)
    return remote is not None and remote.private_addresses and not remote.plain_http


def _plain_http(one: AnyIssuer) -> bool:
    remote = _remote(one)
    return remote is not None and remote.plain_http


def _several_kinds(_: Settings, settings: Settings) -> Iterator[str]:
    kinds = published_kinds(settings.keys.keys) if issuing(settings) else ()
    if len(kinds) > 1:
        yield f"{' and '.join(kinds)} keys are published: {BREAKS_SETS}"


def _others_can_read(keys: KeySet) -> bool:
    has_secrets = any(key.is_symmetric or key.signs for key in keys.keys)
    return has_secrets and isinstance(keys.source, File) and _is_readable(keys.source.path)


def _is_readable(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & OTHERS)
    except OSError:
        return False  # the file was removed after it was read


def _in_memory(group: Refresh) -> bool:
    return in_memory(group.store) or is_for_one_process(group.store)


def _relative_file(group: Refresh) -> object:
    return isinstance(group.store, str) and re.match(r"sqlite:///[^/]", group.store)


def _opens_a_part(route: Route, settings: Settings) -> Iterable[str]:
    return (
        f"opens a part of {above.path}, which is guarded"
        for above in settings.routes
        if route.permits and above.restricts and _covers(above, route)
    )


def _login_from_elsewhere(route: Route, settings: Settings) -> Iterator[str]:
    takes_forms = route.public and not route.own_origin and "POST" in (route.methods or ("POST",))
    if takes_forms and settings.refresh is not None and settings.refresh.cookies is not None:
        yield "takes other sites' forms: if it logs in, they can plant the login of another"


def _without_effect(route: Route, settings: Settings) -> Iterator[str]:
    group, ours = issuing(settings), {*documents(settings), settings.ready_path}
    if group is not None:
        ours |= {f"{group.path}/refresh", f"{group.path}/revoke", group.jwks_path}
    if route.path in ours:
        yield "is answered by the middleware itself, whatever a rule says"


def _lenient_below(route: Route, settings: Settings) -> Iterator[str]:
    for above in settings.routes if route.scope else ():
        lost = set(above.scope.split()) - set(route.scope.split())
        if lost and _covers(above, route):
            missing = " ".join(sorted(lost))
            yield f"takes the place of {above.path} here: {missing} isn't needed"
    for above in settings.routes if not (route.permits or _needs_proof(route, settings)) else ():
        if _needs_proof(above, settings) and _covers(above, route):
            yield f"takes the place of {above.path} here: the token needn't be bound"


def _needs_proof(route: Route, settings: Settings) -> bool:
    return RouteRule(route, proof=all_need_proof(settings)).needs_proof


def _covers(above: Route, route: Route) -> bool:
    """Say whether `above` is a rule for a path above `route`, and for one of its methods."""
    stem = above.path.removesuffix("*").rstrip("/")
    if stem == route.path.removesuffix("*").rstrip("/") or not route.path.startswith(f"{stem}/"):
        return False
    return not (above.methods and route.methods and set(route.methods).isdisjoint(above.methods))


RULES: tuple[Risk, ...] = (
    Risk("loopback", _urls, _loopback, "left over from development? An https URL"),
    Risk(
        "issuer-without-metadata",
        _the_whole("issuer"),
        _nameless,
        "an https URL, so that KeySet.remote() needs no more",
    ),
    Risk(
        "long-leeway",
        _the_whole("leeway"),
        _when(
            lambda settings: settings.leeway > LONG_LEEWAY,
            "{0.leeway:g} s: every token lives so much longer",
        ),
        "30 s, and clocks set by NTP",
    ),
    Risk(
        "id-token-audience",
        _each_issuer("audience"),
        _client_as_audience,
        "have the issuer give this service an audience of its own",
    ),
    Risk(
        "id-tokens",
        _each_issuer("profile"),
        _when(
            lambda one: one.profile.id_tokens,
            "{0.profile.name} takes ID tokens: they say who logged in at a client, not what that "
            "client may do here, and no log-out ends them",
        ),
        "take one at a login route, and issue tokens of your own",
    ),
    Risk(
        "audience-with-comma",
        _each_issuer("audience"),
        _audience_with_comma,
        'several are an array: \'["one", "other"]\' in a variable',
    ),
    Risk(
        "unlimited-scopes",
        _each_issuer("scopes"),
        _unlimited_scopes,
        "name what it may give: scopes=(...)",
    ),
    Risk(
        "shared-secret",
        _each_issuer("keys"),
        _when(
            lambda one: any(key.is_symmetric for key in one.keys.keys) and not issuing(one),
            "a secret: with it this service could make such tokens",
        ),
        "public keys: KeySet.remote() or KeySet.load",
    ),
    Risk(
        "private-addresses",
        _each_issuer("keys.private_addresses"),
        _when(_private_addresses, "who runs the issuer can have us ask inside"),
        "only for an issuer in the same cluster",
    ),
    Risk(
        "plain-http",
        _each_issuer("keys.plain_http"),
        _when(
            _plain_http,
            "keys come without TLS: who is on that network can replace them, and sign any token",
        ),
        "https, with ca_file for an authority of your own",
    ),
    Risk(
        "second-kind-of-key",
        _the_whole("keys"),
        _several_kinds,
        "keys of one algorithm, in general ES256; while it changes, ask who reads the set",
    ),
    Risk(
        "readable-key-file",
        _key_sets,
        _when(_others_can_read, "{0.source.path} has secrets, and others can read it"),
        "chmod 600, and a new key if anybody may have read it",
    ),
    Risk(
        "memory-store",
        _refresh("store"),
        _when(
            _in_memory,
            "memory:// is gone with its process: all are logged out; and under several workers "
            "each knows only the logins that it served",
        ),
        "sqlite:///, postgresql:// or redis://",
    ),
    Risk(
        "generated-keys",
        _each_issuer("keys"),
        _when(
            lambda one: one.keys.is_made_here,
            "KeySet.generate() makes others in each process: a restart ends all tokens, and "
            "under several workers each refuses the tokens of the others",
        ),
        'KeySet.generate().save("keys.json") once, then KeySet.load("keys.json")',
    ),
    Risk(
        "relative-store",
        _refresh("store"),
        _when(_relative_file, "the file is looked for where the process happens to start"),
        "a whole path: sqlite:////var/lib/app/grants.db",
    ),
    Risk(
        "sync-open",
        _refresh("sync_failure"),
        _when(
            lambda group: group.sync_failure == "open",
            "while the store is away, tokens pass that were revoked",
        ),
        '"closed" refuses them',
    ),
    Risk(
        "long-access-lifetime",
        _refresh("access_lifetime"),
        _when(
            lambda group: group.access_lifetime > LONG_ACCESS,
            "so long a log-out doesn't reach services without the store",
        ),
        "600 s: a refresh is cheap",
    ),
    Risk(
        "former-over",
        _former,
        lambda one, settings: (
            ["its date is past: it verifies nothing"] if one.ends_at <= settings.clock() else []
        ),
        "it can go",
    ),
    Risk(
        "all-open",
        _every_route,
        _when(
            lambda route: route.permits and route.path == "/*",
            "opens whatever no other rule names: what is forgotten",
        ),
        "name the paths that are public",
    ),
    Risk("opened-below", _every_route, _opens_a_part, "meant? Then nothing; else move the path"),
    Risk("lenient-below", _every_route, _lenient_below, "name the wider rule's scopes here, too"),
    Risk(
        "login-from-elsewhere",
        _every_route,
        _login_from_elsewhere,
        "own_origin=True; or methods that are safe",
    ),
    Risk(
        "short-settle",
        _refresh("settle"),
        _when(
            lambda group: group.settle < SHORT_SETTLE,
            "browsers write cookies and storage up to 35 s late: a crash then looks like theft",
        ),
        "60 s",
    ),
    *PROOF_RULES,
    Risk("route-without-effect", _every_route, _without_effect, "leave it out"),
)
