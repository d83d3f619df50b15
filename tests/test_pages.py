"""What the pages say in tables is so; their code runs in test_docs.py."""

import re
from dataclasses import fields
from inspect import isfunction, signature
from pathlib import Path
from typing import Any, get_args

import pytest

from jwt_middleware import (
    ClientCertificates,
    Cookies,
    Event,
    Migration,
    Proofs,
    Refresh,
    Resource,
    Route,
    Settings,
    WebSockets,
)
from jwt_middleware.jose.algorithms import ALGORITHMS
from jwt_middleware.keys.remote import Remote
from jwt_middleware.request.body_parameters import MAX_BODY
from jwt_middleware.settings.key_locations import KeyLocation
from jwt_middleware.stores import Store
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values import reasons
from jwt_middleware.values.reasons import Reason
from tests.issuing import DAY, DOORS, opened
from tests.world import World, standing

ROOT = Path(__file__).parent.parent
REASONS = {value for name, value in vars(reasons).items() if name.isupper()}
CODE = "\n".join(path.read_text("utf-8") for path in (ROOT / "jwt_middleware").rglob("*.py"))


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def rows(name: str, heading: str = "") -> list[list[str]]:
    """Return the cells of every table row whose first cell is code: on a page, or in a section."""
    text = page(name)
    if heading:
        _, _, below = text.partition(f"\n## {heading}\n")
        text = below.partition("\n## ")[0]
    lines = re.findall(r"^\| (`.+?) +\|$", text, re.MULTILINE)
    return [re.split(r" +\| +| +\|$", line) for line in lines]


@pytest.mark.parametrize(
    ("group", "heading", "prefix"),
    [
        (Settings, "The fields", "JWT_MIDDLEWARE_"),
        (Refresh, "Refresh", "JWT_MIDDLEWARE_REFRESH__"),
        (Migration, "Migration", "JWT_MIDDLEWARE_REFRESH__MIGRATE__"),
        (Cookies, "Cookies", "JWT_MIDDLEWARE_REFRESH__COOKIES__"),
        (Resource, "Resource", "JWT_MIDDLEWARE_RESOURCE__"),
        (WebSockets, "WebSockets", "JWT_MIDDLEWARE_WEBSOCKETS__"),
        (Proofs, "Proofs", "JWT_MIDDLEWARE_PROOFS__"),
        (ClientCertificates, "ClientCertificates", "JWT_MIDDLEWARE_CLIENT_CERTIFICATES__"),
    ],
)
def test_settings_has_every_field_with_its_variable_and_default(
    group: Any, heading: str, prefix: str
) -> None:
    found = {cells[0].strip("`"): cells for cells in rows("settings.md", heading)}
    assert list(found) == [field.name for field in fields(group)]
    for field in fields(group):
        _, variable, takes, default, reason = found[field.name]
        assert variable == f"`{prefix}{field.name.upper()}`"
        assert reason
        if isinstance(field.default, str | float | int | tuple):
            assert default == f"`{field.default!r}`"
        most = field.metadata.get("maximum")
        assert most is None or str(most if most < 100_000 else most // DAY) in takes


def test_keys_has_every_way_with_its_variable() -> None:
    found = [cells[:2] for cells in rows("keys.md") if "JWT_MIDDLEWARE" in cells[1]]
    ways = ["file", "remote", "jwks", "pem", "secret"]
    assert [name for name, _ in found] == [f"`{way}`" for way in ways]
    for way, (_, variable) in zip(ways, found, strict=True):
        group = "__URL" if way == "remote" else ""
        assert variable == f"`JWT_MIDDLEWARE_KEYS__{way.upper()}{group}`"
    for field in (*fields(KeyLocation), *fields(Remote)):
        assert f"`{field.name}`" in page("keys.md")


def test_keys_has_every_algorithm() -> None:
    named = set(re.findall(r"\b(?:[HRPE]S\d{3}|Ed25519|EdDSA)\b", page("keys.md")))
    assert named == set(ALGORITHMS)


def test_keys_has_the_words_of_the_refusals() -> None:
    refusals = [cells[0] for cells in rows("keys.md") if "JWT_MIDDLEWARE" not in cells[1]]
    words = re.findall(r"`([^`]+)`", " ".join(refusals))
    assert len(words) > 12
    assert [one for one in words if one not in CODE] == []


def test_errors_has_every_reason_once() -> None:
    found = [cells[0].strip("`") for cells in rows("errors.md", "At two in the morning")]
    assert sorted(found) == sorted(REASONS)


def status_of(reason: str) -> str:
    (found,) = [one[1] for one in rows("errors.md") if one[0] == f"`{reason}`"]
    return found


@pytest.mark.parametrize(
    ("reason", "path", "headers"),
    [
        (reasons.MISSING, "/", ()),
        (reasons.CREDENTIALS_MALFORMED, "/", (("Authorization", "Bearer"),)),
        (reasons.PATH_ODD, "//edit", ()),
        (reasons.SEGMENTS, "/", (("Authorization", "Bearer opaque"),)),
        (reasons.SCOPE, "/edit", tuple((factory := TokenFactory(clock=standing)).bearer().items())),
    ],
)
def test_errors_has_the_status_that_is_sent(
    reason: Reason, path: str, headers: tuple[tuple[str, str], ...]
) -> None:
    answer = World(factory.settings(routes=(Route("/edit", scope="editor"),))).get(
        path, headers=headers
    )
    assert answer.reason == reason
    assert status_of(reason) == str(answer.status)


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FIELD = {"X-Requested-With": "x"}
COOKIE = "__Host-refresh_token-12345678"
GOOD = "grant_type=refresh_token&refresh_token="
REQUESTS: list[tuple[Reason, str, str, dict[str, str]]] = [
    (reasons.METHOD, "GET /auth/refresh", "", {}),
    (reasons.CLIENT_AUTHENTICATION, "POST /auth/refresh", "", {"Authorization": "Basic eDp5"}),
    (reasons.GRANT_TYPE, "POST /auth/refresh", "grant_type=password", FORM),
    (reasons.PARAMETER, "POST /auth/refresh", "grant_type=refresh_token", FORM),
    (reasons.CONTENT_TYPE, "POST /auth/refresh", "x", {"Content-Type": "text/plain"}),
    (reasons.BODY, "POST /auth/refresh", "\xff", FORM),
    (reasons.BODY_TOO_LARGE, "POST /auth/refresh", "x" * 17000, FORM),
    (reasons.SCOPE_WIDENED, "POST /auth/refresh", f"scope=admin&{GOOD}%s", FORM),
    (reasons.CLIENT, "POST /auth/refresh", f"client_id=other&{GOOD}%s", FORM),
    (reasons.CROSS_SITE, "POST /auth/refresh", "", {"Cookie": f"{COOKIE}=x"}),
    (
        reasons.COOKIE_TWICE,
        "POST /auth/refresh",
        "",
        {"Cookie": f"{COOKIE}=x; {COOKIE}=y"},
    ),
    (
        reasons.CREDENTIALS_TWICE,
        "POST /auth/refresh",
        f"client_id=two&{GOOD}%s",
        {"Authorization": "Basic b25lOg==", **FORM},
    ),
    (reasons.COOKIE_MISNAMED, "POST /auth/refresh", "", {"Cookie": f"{COOKIE}=%s", **FIELD}),
]


@pytest.mark.parametrize(("reason", "line", "body", "headers"), REQUESTS)
def test_errors_has_the_status_that_an_endpoint_sends(
    reason: Reason, line: str, body: str, headers: dict[str, str]
) -> None:
    with opened(DOORS, refresh={"cookies": Cookies()}) as world:
        token = world.login().refresh_token
        octets = body.replace("%s", token).encode("latin-1")
        fields = {name: value.replace("%s", token) for name, value in headers.items()}
        fields["Content-Length"] = str(len(octets))
        answer = world.send(*line.split(), body=octets, headers=fields.items())
        assert answer.reason == reason
        assert status_of(reason) == str(answer.status)


def test_errors_has_both_statuses_of_a_grant_that_has_ended() -> None:
    with opened(DOORS) as world:
        tokens = world.login()
        world.revoke(tokens.access_token)
        answers = [world.call(tokens.access_token), world.refresh(tokens.refresh_token or "")]
        assert {answer.reason for answer in answers} == {reasons.GRANT_ENDED}
        told = ", ".join(str(answer.status) for answer in answers)
        assert status_of(reasons.GRANT_ENDED) == told


def test_events_has_every_event_with_its_fields() -> None:
    found = {one[0].strip("`"): re.findall(r"`(\w+)`", one[2]) for one in rows("events.md")}
    assert found == {one.name: [field.name for field in fields(one)] for one in get_args(Event)}


def test_refresh_has_the_defaults_and_the_limits() -> None:
    text = page("refresh.md")
    group = Refresh(store="memory://")
    assert f"{group.access_lifetime // 60} minutes" in text
    assert f"{group.idle_limit // DAY} idle days, {group.absolute_limit // DAY} days" in text
    assert f"up to {group.restore_limit} generations" in text
    assert f"over {MAX_BODY // 1024} KiB" in text


def test_the_table_of_scenarios_is_the_same_everywhere() -> None:
    def cells(text: str) -> list[list[str]]:
        lines = re.findall(r"^\| (?:answer lost|two tabs|client used|browser|failover|thief|two cl"
                           r").*$", text, re.MULTILINE)  # fmt: skip
        return [line.strip("| ").split(" | ")[1:] for line in lines]

    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(cells(readme)) == 7
    assert cells(readme) == cells(page("refresh.md"))


def test_stores_has_every_verb_of_the_contract() -> None:
    found = [one[0].strip("`") for one in rows("stores.md", "A store of your own")]
    verbs = {
        f"{name}({', '.join(list(signature(verb).parameters)[1:])})"
        for name, verb in vars(Store).items()
        if isfunction(verb) and not name.startswith("_")
    }
    assert set(found) == verbs


def test_routes_has_the_answers_that_are_sent() -> None:
    namespace: dict[str, tuple[Route, ...]] = {}
    code = re.search(r"^```python\n(.*?)^```$", page("routes.md"), re.MULTILINE | re.DOTALL)
    assert code is not None
    exec(code[1], namespace)
    world = World(factory.settings(routes=namespace["routes"]))
    examples = [
        cells for cells in rows("routes.md") if cells[0].startswith(("`GET", "`P", "`HEAD"))
    ]
    assert len(examples) == 13
    evil = [("Origin", "https://evil.example")]
    for request, _, said in examples:
        asked, _, from_where = request.partition("` from ")
        method, path = asked.strip("`").split()
        answer = world.request(method, path, headers=evil if from_where else ())
        assert said == ("reaches the application" if answer.reached else str(answer.status)), path
