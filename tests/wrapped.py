"""What holds in every framework, once, for the tests that wrap the real ones."""

import json
from typing import Any

from jwt_middleware import AccessToken, Route, current_token
from jwt_middleware.testing import TokenFactory

FACTORY = TokenFactory()
SETTINGS = FACTORY.settings(
    routes=(Route("/open", public=True), Route("/admin/*", scope="admin")),
)
# Arrays in objects in arrays: a verified token holds tuples and read-only objects.
CLAIMS: dict[str, Any] = {
    "roles": ["editor", "author"],
    "address": {"lines": ["1 Main St", "Zürich"], "geo": [{"lat": 47.4}]},
}


def forged(**claims: Any) -> dict[str, str]:
    """Return the request headers of a token with these claims under another token's signature."""
    signature = FACTORY.token().rpartition(".")[2]
    return {"Authorization": f"Bearer {FACTORY.token(**claims).rpartition('.')[0]}.{signature}"}


def report(given: AccessToken | None) -> dict[str, Any]:
    """Return what a view saw, for its framework to write as JSON."""
    return {
        "same": current_token() is given,
        "subject": given.subject if given else None,
        # As they are: a framework has to be able to write them.
        "claims": given.claims if given else None,
    }


class Promises:
    """What an application may rely on, whatever its framework.

    A subclass gives the fixtures `client`, with the `get` of a test client of Starlette's or
    Werkzeug's over the wrapped application, and `calls`, to which each view adds its path. Its
    views at /me, /open and /admin/users answer with the `report` of the token that the request
    carries.
    """

    def test_no_token_is_answered_with_a_challenge(self, client: Any, calls: list[str]) -> None:
        answer = client.get("/me")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'
        assert json.loads(answer.text) == {
            "error_description": "This resource needs an access token"
        }
        assert calls == []

    def test_the_claims_reach_the_view_and_its_json(self, client: Any, calls: list[str]) -> None:
        answer = client.get("/me", headers=FACTORY.bearer(**CLAIMS))
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("application/json")
        seen = json.loads(answer.text)
        assert seen["same"] is True
        assert seen["subject"] == seen["claims"]["sub"] == "alice"
        assert {name: seen["claims"][name] for name in CLAIMS} == CLAIMS
        assert calls == ["/me"]

    def test_a_bad_token_never_reaches_a_view(self, client: Any, calls: list[str]) -> None:
        for path in ("/me", "/admin/users"):
            answer = client.get(path, headers=forged(scope="admin"))
            assert answer.status_code == 401
            assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        assert calls == []

    def test_a_public_route_reads_no_token(self, client: Any, calls: list[str]) -> None:
        for headers in ({}, FACTORY.bearer(), forged(), {"Authorization": "Bearer"}):
            answer = client.get("/open", headers=headers)
            assert answer.status_code == 200, answer.text
            assert json.loads(answer.text) == {"same": True, "subject": None, "claims": None}
        assert calls == ["/open"] * 4

    def test_a_scope_opens_its_route(self, client: Any, calls: list[str]) -> None:
        refused = client.get("/admin/users", headers=FACTORY.bearer(scope="read"))
        assert refused.status_code == 403
        assert calls == []
        opened = client.get("/admin/users", headers=FACTORY.bearer(scope="read admin"))
        assert opened.status_code == 200
        assert calls == ["/admin/users"]
