"""Requests with bound tokens, through both doors: each door gets a proof of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jwt_middleware import Proofs, Route
from jwt_middleware.testing import Prover, TokenFactory
from tests.world import NOW, Answer, World, encoded

ROUTES = (
    Route("/public", public=True),
    Route("/optional", optional=True),
    Route("/bound", proof="required"),
    Route("/admin", scope="admin"),
)
Fields = dict[str, str] | list[tuple[str, str]]


class Shown:
    """A service that takes bound tokens, a client with a key, and a clock that is set by hand."""

    def __init__(self, *, algorithm: str = "ES256", routes: Any = ROUTES, **settings: Any) -> None:
        self.now = NOW
        self.factory = TokenFactory(clock=lambda: self.now)
        proofs = settings.pop("proofs", Proofs(urls=("https://api.example",), nonces=False))
        self.settings = self.factory.settings(routes=routes, proofs=proofs, **settings)
        self.world = World(self.settings)
        self.prover = Prover(algorithm=algorithm, clock=lambda: self.now)

    def token(self, **claims: Any) -> str:
        """Return a token that is bound to the client's key."""
        return self.factory.token(**({"cnf": self.prover.cnf} | claims))

    def send(self, method: str, path: str, fields: Callable[[], Fields]) -> Answer:
        """Send one request through both doors; `fields` makes its header fields for each."""
        answers = []
        for door in (self.world.through_wsgi, self.world.through_asgi):
            made = fields()
            pairs = made.items() if isinstance(made, dict) else made
            answers.append(door(method, path, encoded(pairs, None)))
        assert answers[0] == answers[1], "the doors disagree"
        assert answers[0].reason == answers[1].reason
        return answers[0]

    def ask(
        self, method: str = "GET", path: str = "/", token: str | None = None, **claims: Any
    ) -> Answer:
        """Send a request with a bound token and a proof, good unless a claim spoils it."""
        text = token or self.token()
        return self.send(method, path, lambda: self.prover.headers(method, path, text, **claims))
