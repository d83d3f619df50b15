"""Issuers at work, and our middleware with the settings of their rows in docs/issuers.md.

`make issuers` fetches them. The other rows are tried in tests/core/test_served.py, with shapes that
these runs compare with what the issuers really send.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jwt_middleware import KeySet, Settings, profiles
from jwt_middleware.cli.__main__ import main
from jwt_middleware.keys.key_sources import metadata_urls
from jwt_middleware.testing import TokenFactory
from tests.core.issuers import Served
from tests.core.issuers.page import PAGE, rows, settings_of
from tests.core.issuers.served import ISSUERS
from tests.issuers import CLIENT, HERE, PYTHON, SECRET, Program, Real, answer_of, install
from tests.issuers.running import OPENINGS, OTHER
from tests.rules import accepts, refuses
from tests.world import Answer, World

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("issuers")]

FOREIGN_ROWS = ("better-auth", "oauth2-mock-server, with a hook")
WITHOUT_METADATA = ("better-auth", "Authlib")


class Case(NamedTuple):
    """An issuer at work, and the shapes that the tests of every run go by."""

    real: Real
    served: Served

    def settings(self, **changes: Any) -> Settings:
        """Return the settings of its row."""
        given = {"clock": time.time, **self.real.given, **changes}
        one = replace(self.served, scope=self.real.scope or self.served.scope)
        return settings_of(one, self.real.front, **given)

    def document(self, url: str) -> Any:
        answer = self.real.front.client.get(url)
        assert answer.status_code == 200, f"{url}: {answer.text}"
        return answer.json()


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    install()


@pytest.fixture(scope="module", params=OPENINGS)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Case]:
    name: str = request.param
    with OPENINGS[name](tmp_path_factory.mktemp("issuer")) as real:
        yield Case(real, ISSUERS[name])


@contextmanager
def asking(settings: Settings) -> Generator[Callable[..., Answer]]:
    """Give what sends a request through both doors, with a token and a path."""
    world = World(settings)
    try:
        yield lambda token, path="/": world.get(path, token)
    finally:
        settings.close()


def parts(token: str) -> list[dict[str, Any]]:
    """Return header and claims."""
    return [json.loads(urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def shape(members: Mapping[str, Any]) -> set[str]:
    """Return the members with the types of their values."""
    # A time stands in the shapes as an ellipsis.
    types = {
        name: "int" if value is ... else type(value).__name__ for name, value in members.items()
    }
    return {f"{name}: {kind}" for name, kind in types.items()}


def test_the_page_names_the_version_that_runs(case: Case) -> None:
    said = rows()[case.served.name][-1]
    assert re.match(rf"run: {re.escape(case.real.version)}(?![\w.])", said), case.real.version


@accepts("RS-60")
def test_its_access_token_gets_in_and_its_scope_opens_a_route_and_no_other(case: Case) -> None:
    with asking(case.settings()) as ask:
        answer = ask(case.real.access)
        assert (answer.status, answer.reached) == (200, True), answer.reason
        assert answer.token is not None
        assert answer.token.subject == parts(case.real.access)[1]["sub"]
        if case.served.scope:
            assert ask(case.real.access, "/scoped").status == 200
        answer = ask(case.real.access, "/admin")
        assert (answer.status, answer.reason) == (403, "scope_insufficient")


@refuses("RS-25", "RS-62")
def test_its_id_token_is_refused(case: Case) -> None:
    if not case.served.id_claims:
        assert case.real.id_token == ""
        return
    with asking(case.settings()) as ask:
        answer = ask(case.real.id_token)
    assert (answer.status, answer.reached) == (401, False)
    assert answer.reason in {"type_not_allowed", "claim_missing", "audience_not_ours"}
    if case.served.by_audience:
        assert answer.reason == "audience_not_ours"


@refuses("RS-34")
def test_a_token_for_another_audience_is_refused(case: Case) -> None:
    for settings, token in (
        (case.settings(), case.real.for_another),
        (case.settings(audience=OTHER), case.real.access),
    ):
        with asking(settings) as ask:
            answer = ask(token)
        assert (answer.status, answer.reason) == (401, "audience_not_ours")


def test_it_sends_what_the_tests_of_every_run_go_by(case: Case) -> None:
    served, found = case.served, dict[str, set[str]]()
    issuer = {"iss": served.issuer}
    header, claims = parts(case.real.access)
    found["header"] = shape(header) ^ shape(served.header)
    found["claims"] = shape(claims) ^ shape(served.claims | issuer)
    if case.real.id_token:
        header, claims = parts(case.real.id_token)
        found["ID token's header"] = shape(header) ^ shape(served.id_header or served.header)
        found["ID token's claims"] = shape(claims) ^ shape(served.id_claims | issuer)
    given, url = case.real.given.get("issuer", served.issuer), served.jwks_url
    keys = case.document(url.replace(served.issuer, given))["keys"]
    found["key"] = {*keys[0]} ^ {*served.jwk}
    found["more keys"] = {key["kid"] for key in keys[1:]}
    assert {what: differ for what, differ in found.items() if differ} == case.real.differs


def test_its_metadata_lead_to_its_keys_or_it_has_none(case: Case) -> None:
    issuer = case.settings().issuer
    if case.served.name in WITHOUT_METADATA:
        assert not case.served.metadata
        statuses = [case.real.front.client.get(url).status_code for url in metadata_urls(issuer)]
        assert statuses == [404] * len(statuses)
        return
    metadata = case.document(metadata_urls(issuer)[0])
    expected = case.served.metadata["jwks_uri"].replace(case.served.issuer, issuer)
    assert (metadata["issuer"], metadata["jwks_uri"]) == (issuer, expected)


# --- `jwt-middleware token verify`

made: Settings | None = None  # what `--settings` finds


def make() -> Settings | None:
    return made


class Wrong(NamedTuple):
    """A way to set it wrong, the check that fails, and what the command then says."""

    changes: Mapping[str, Any]
    check: str
    said: str


def ways_to_set_it_wrong(case: Case) -> Generator[Wrong]:
    right = case.settings()
    slash = right.issuer.rstrip("/") + "/" if not right.issuer.endswith("/") else right.issuer[:-1]
    ours = case.real.given.get("audience", case.served.audience)
    named = f"audience={ours!r}, if that is a name of this service"
    yield Wrong({"audience": OTHER}, "audience", named)
    yield Wrong({"issuer": slash}, "issuer", f"issuer={right.issuer!r} in place of {slash!r}")
    if case.served.name in FOREIGN_ROWS:
        wrong = {"profile": profiles.RFC_9068}
        yield Wrong(wrong, "type", f"profile=profiles.{right.profile.name}")
    if case.served.name == "Cognito":
        wrong = {"profile": profiles.FOREIGN}
        yield Wrong(wrong, "claims", "profile=profiles.COGNITO")
    source = right.keys.source
    if "alg" not in case.served.jwk:
        bare = KeySet.remote(getattr(source, "url", None), fetcher=case.real.front)
        yield Wrong({"keys": bare}, "key", 'algorithm="RS256"')
    if case.served.name in WITHOUT_METADATA:
        lost = KeySet.remote(algorithm=getattr(source, "algorithm", None), fetcher=case.real.front)
        yield Wrong({"keys": lost}, "key", "KeySet.remote(")


Verify = Callable[[Settings, str], list[tuple[str, str]]]


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Run the command; return the checks that fail, each with what to do."""

    def verify(settings: Settings, token: str) -> list[tuple[str, str]]:
        monkeypatch.setattr(sys.modules[__name__], "made", settings)
        monkeypatch.setattr(sys, "stdin", io.StringIO(token))
        status = main(["token", "verify", "--settings", f"{__name__}:make"])
        settings.close()
        failed = re.findall(r"^FAIL +(\S+) .*\n +-> (.*)", capsys.readouterr().out, re.MULTILINE)
        assert (status == 0) is (failed == [])
        return failed

    return verify


def test_the_command_names_what_is_set_wrong(case: Case, verify: Verify) -> None:
    assert verify(case.settings(), case.real.access) == []
    for wrong in ways_to_set_it_wrong(case):
        ((check, what_to_do),) = verify(case.settings(**wrong.changes), case.real.access)
        assert check == wrong.check
        assert wrong.said in what_to_do


# --- what can't be used


@refuses("RS-35")
def test_a_mock_server_without_a_hook_makes_tokens_for_nobody(tmp_path: Path) -> None:
    one = ISSUERS["oauth2-mock-server, with a hook"]
    told = {"issuer": one.issuer, "client": CLIENT, "secret": SECRET}
    with Program("node", "mock_server.mjs", log=tmp_path / "log", **told) as front:
        form = {"grant_type": "client_credentials", "scope": one.scope}
        token = answer_of(front, f"{one.issuer}/token", **form)["access_token"]
        with asking(settings_of(one, front, clock=time.time)) as ask:
            answer = ask(token)
    assert parts(token)[1].keys() == {"iss", "iat", "exp", "nbf", "scope"}
    assert (answer.status, answer.reason) == (401, "claim_missing")


def made_by(name: str) -> str:
    """Return a token of one that isn't usable, which the page must name with its version."""
    said = json.loads(subprocess.check_output([PYTHON, HERE / "unusable.py", name]))
    assert f"(run: {name} {said['version']})" in PAGE.read_text("utf-8")
    token: str = said["access_token"]
    return token


def test_tokens_of_django_oauth_toolkit_are_opaque(verify: Verify) -> None:
    token, settings = made_by("django-oauth-toolkit"), TokenFactory().settings()
    assert "." not in token
    with asking(settings) as ask:
        answer = ask(token)
    assert (answer.status, answer.reason) == (401, "token_segments")
    ((check, what_to_do),) = verify(settings, token)
    assert check == "form"
    assert "no opaque" in what_to_do


@refuses("RS-35")
def test_tokens_that_fastmcp_makes_have_no_subject_but_a_client(verify: Verify) -> None:
    token = made_by("fastmcp")
    claims = parts(token)[1]
    assert "sub" not in claims
    settings = Settings(
        issuer=claims["iss"],
        audience=claims["aud"],
        profile=profiles.FOREIGN,
        keys=KeySet.secret(SECRET),
    )
    with asking(settings) as ask:
        answer = ask(token)
    assert (answer.status, answer.reason) == (401, "claim_missing")
    ((check, what_to_do),) = verify(settings, token)
    assert check == "claims"
    named = "profile=profiles.FOREIGN.replace(subject_claims=('sub', 'client_id'))"
    assert named in what_to_do
    profile = profiles.FOREIGN.replace(subject_claims=("sub", "client_id"))
    assert verify(settings.replace(profile=profile), token) == []
