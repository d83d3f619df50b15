"""What must not grow: the cost of a request by the number of routes, issuers and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.measure import measure
from jwt_middleware import KeySet, Route, Settings, TokenCache, TrustedIssuer
from jwt_middleware import asgi as asgi_door
from jwt_middleware.testing import TokenFactory

from .report import AtMost, Row, Section, micros
from .scene import CLAIMS, PATH, Function, always, asgi, asgi_app, asgi_status

LIMIT = 1.25  # largest over smallest
Made = tuple[Settings, str]  # and a token that they accept


def sections() -> Iterator[Section]:
    """Yield one section."""
    yield Section(
        "What doesn't grow",
        ("warm, µs", "cold, µs"),
        "largest over smallest",
        rows,
        "One whole request to a raw ASGI application, the application's part included.",
        rounds=60,
    )


def rows(rounds: int) -> Iterator[Row]:
    """Compare few with many; the gate is for the worse of warm and cold."""
    for what, counts, make in _CASES:
        functions: dict[str, Function] = {}
        for count in counts:
            for how, entries in (("warm", 4096), ("cold", 0)):
                functions[f"{how} {count}"] = _request(*make(count, entries))
        times = measure(functions, rounds=rounds)
        growth = 0.0
        for how in ("warm", "cold"):
            typical = [times.typical(f"{how} {count}") for count in counts]
            growth = max(growth, max(typical) / min(typical))
        for count in counts:
            costs = (micros(times.typical(f"{how} {count}")) for how in ("warm", "cold"))
            yield Row(f"{count} {what}", tuple(costs))
        yield Row(f"growth by {what}", ("", ""), growth, gate=AtMost(LIMIT))


def _request(settings: Settings, token: str) -> Function:
    app = asgi_door.JWTMiddleware(asgi_app, settings)
    assert asgi_status(app, token) == 200
    return asgi(app, always(token))


class _Many:
    """As many keys as are asked for, the first of which signs a token; made once, taken often."""

    def __init__(self) -> None:
        self.factory = TokenFactory(algorithm="ES256")
        self.token = self.factory.token(**CLAIMS)
        self._more: list[KeySet] = []

    def key_sets(self, count: int) -> list[KeySet]:
        self._more += [KeySet.generate("ES256") for _ in range(count - len(self._more))]
        return self._more[:count]

    def settings(self, entries: int, **more: Any) -> Made:
        settings = self.factory.settings(token_cache=TokenCache(entries=entries), **more)
        return settings, self.token

    def routes(self, count: int, entries: int) -> Made:
        """Return settings with rules of all kinds, one of which is for the path that is asked."""
        kinds: tuple[Mapping[str, Any], ...] = (
            {"scope": "admin"}, {"public": True}, {"optional": True}, {"max_age": 300}
        )  # fmt: skip
        others = (
            Route(f"/part{number}/{number}/*", **kinds[number % len(kinds)])
            for number in range(count - 1)
        )
        return self.settings(entries, routes=(*others, Route(PATH, scope="read")))

    def issuers(self, count: int, entries: int) -> Made:
        trusted = (
            TrustedIssuer(
                issuer=f"https://{number}.example", audience="https://me.example", keys=keys
            )
            for number, keys in enumerate(self.key_sets(count - 1))
        )
        return self.settings(entries, trusted_issuers=tuple(trusted))

    def keys(self, count: int, entries: int) -> Made:
        more = (keys.keys[0] for keys in self.key_sets(count - 1))
        return self.settings(entries, keys=KeySet((self.factory.key, *more)))


_MANY = _Many()
_CASES: tuple[tuple[str, tuple[int, ...], Callable[[int, int], Made]], ...] = (
    ("routes", (10, 100, 1000), _MANY.routes),
    ("issuers", (1, 10, 100, 1000), _MANY.issuers),
    ("keys", (1, 10, 100), _MANY.keys),
)
