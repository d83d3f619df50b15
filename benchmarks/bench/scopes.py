"""What it costs to find the scopes of another issuer's token, beside those of one by RFC 9068."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle

from benchmarks.measure import measure
from jwt_middleware import asgi as asgi_door
from jwt_middleware import profiles
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.token.profiles import Profile
from jwt_middleware.token.scopes import _known
from jwt_middleware.values.tokens import Hidden

from .report import AtMost, Row, Section, added, compared, micros, number
from .scene import CLAIMS, Function, Issuer, always, asgi, asgi_app, asgi_status

ROLES = ("orders-admin", "orders-reader", "offline_access", "uma_authorization")
MAPPED = profiles.RFC_9068.replace(
    name="mapped",
    scope_claims=("realm_access.roles",),
    scope_map={"orders-admin": "orders:admin", "orders-reader": "orders:read"},
    scope_implies={"orders:admin": "orders:write", "orders:write": "orders:read"},
)
SCOPES = {
    "mapped": {"orders:admin", "orders:write", "orders:read"},
    "RFC_9068": set(CLAIMS["scope"].split()),
}
MORE = 3.0  # µs at most, beyond the same token by RFC 9068
SAME = 0.05  # of a request with a known token: what it may differ by
# More than are remembered, so that each token's roles are new.
OTHERS = 2 * _known.cache_info().maxsize  # type: ignore[operator]


def sections() -> Iterator[Section]:
    """Yield one section."""
    yield Section(
        "Scopes of another issuer",
        ("mapped, µs", "RFC 9068, µs"),
        "added, µs",
        rows,
        "The same tokens by `RFC_9068`, and by a profile that finds scopes by a path "
        "(`realm_access.roles`), maps four roles, and adds what they include. Signed by HS256.",
        rounds=150,
    )


def rows(rounds: int) -> Iterator[Row]:
    """Compare first sights, with scopes that other tokens had, and without; then known tokens."""
    issuer = Issuer("HS256")  # the cheapest signature: of others, the noise is larger than the gate
    token = _token(issuer, ROLES)
    others = [_token(issuer, (*ROLES, f"team-{number}")) for number in range(OTHERS)]
    yield _row("a new token, roles as others had them", rounds, _first_sight(issuer, [token]), MORE)
    yield _row("a new token, its roles new, too", rounds, _first_sight(issuer, others), MORE)
    yield _row("a known token", rounds, _known_token(issuer, token), None)


Make = Callable[[Profile], Function]


def _row(what: str, rounds: int, make: Make, limit: float | None) -> Row:
    # Each pair by itself, so that neither of the two follows another function than the other does.
    functions = {"mapped": make(MAPPED), "RFC 9068": make(profiles.RFC_9068)}
    times = measure(functions, rounds=rounds)
    extra = added(times, "mapped", "RFC 9068")
    costs = micros(times.typical("mapped")), micros(times.typical("RFC 9068"))
    if limit is None:
        limit = float(number(times.typical("RFC 9068") * SAME / 1000))
    return compared(Row(what, costs, gate=AtMost(limit, 0)), extra, [1000] * len(extra))


def _token(issuer: Issuer, roles: tuple[str, ...]) -> str:
    return issuer.factory.token(**CLAIMS, realm_access={"roles": roles})


def _first_sight(issuer: Issuer, tokens: list[str]) -> Make:
    """Return our check of the next of these tokens, as if it had not been seen before."""

    def make(profile: Profile) -> Function:
        settings = issuer.settings(entries=0, profile=profile)
        core = Runtime.of(settings).core(asynchronous=False)
        clock, following = issuer.factory.clock, cycle(map(Hidden, tokens)).__next__
        assert core.verify(following(), clock()).scopes == SCOPES[profile.name]
        return lambda: core.verify(following(), clock())

    return make


def _known_token(issuer: Issuer, token: str) -> Make:
    """Return a whole request with a token that is known."""

    def make(profile: Profile) -> Function:
        app = asgi_door.JWTMiddleware(asgi_app, issuer.settings(profile=profile))
        assert asgi_status(app, token) == 200
        return asgi(app, always(token))

    return make
