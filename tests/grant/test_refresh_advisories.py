"""What went wrong elsewhere with refresh tokens, endpoints and cookies: one test each."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Cookies, EndGrant, Grant, Refresh, Settings
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.jose.jwk import Key
from jwt_middleware.jose.jws import join, sign
from jwt_middleware.testing.mint import json_octets, seal
from jwt_middleware.token.refresh import derive
from jwt_middleware.values.events import Refreshed
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.grant.test_rt_exchange import claims_of
from tests.issuing import (
    AUDIENCE,
    DOORS,
    DURABLE,
    FORM,
    HOUR,
    ISSUER,
    JSON,
    KEYS,
    REFRESH,
    REVOKE,
    SITES,
    FaultyStore,
    Site,
    World,
    form_octets,
    memory,
    opened,
    posted,
    refresh_form,
    single,
    sqlite,
)

PAGE = (("X-Requested-With", "fetch"), ("Sec-Fetch-Site", "same-origin"))


def named(value: object) -> str:
    """Name a parameter without its address: the workers must agree on the names of all tests."""
    if isinstance(value, tuple):
        return "-".join(named(one) for one in value)
    return getattr(
        value, "__name__", str(value) if "0x" not in repr(value) else type(value).__name__
    )


def presented(site: Site, token: str, times: int) -> list[int]:
    """Present a token several times at once; return the statuses."""
    sent = posted(REFRESH, form_octets(refresh_form(token)))
    return [status for status, _, _ in site.at_once([sent] * times)]


# --- rotation


@pytest.mark.parametrize("kind", [*DURABLE, ("wsgi", memory)], ids=named)
def test_keycloak_cve_2026_1035_of_many_at_once_one_rotates(kind: Any) -> None:
    with single(kind) as site:
        tokens = site.ask("issue", "alice")
        site.clock.forward(HOUR)
        assert presented(site, tokens.refresh_token, 10) == [200] * 10
        hows = [event.how for event in site.events if isinstance(event, Refreshed)]
        assert hows.count("rotated") == 1
        assert site.row(tokens.grant_id).generation == 2


def test_keycloak_50999_two_rotations_in_one_second_are_told_apart() -> None:
    with opened(refresh={"settle": 0}) as world:
        first = world.login().refresh_token
        second = world.renewed(first)["refresh_token"]
        world.renewed(second)
        assert claims_of(first)["iat"] == claims_of(second)["iat"]
        assert world.refresh(first).reason == "refresh_token_reused"


def test_keycloak_cve_2026_9802_a_restart_revives_no_used_token() -> None:
    with opened(DURABLE) as world:
        token = world.login().refresh_token
        world.clock.forward(HOUR)
        newest = world.renewed(token)["refresh_token"]
        world.clock.forward(HOUR)
        newest = world.renewed(newest)["refresh_token"]
        world.each(Site.restart)
        assert world.refresh(token).reason == "refresh_token_reused"
        assert world.refresh(newest).reason == "grant_ended"


def test_keycloak_52666_what_was_used_stands_in_the_grants_own_row() -> None:
    with opened() as world:
        tokens = world.login()
        world.clock.forward(HOUR)
        world.renewed(tokens.refresh_token)
        row = world.row(tokens.grant_id)
        assert (row.generation, row.parent) == (2, claims_of(tokens.refresh_token)["jti"])
        assert row.expires_at == claims_of(tokens.refresh_token)["exp"]


@pytest.mark.parametrize("kind", SITES, ids=lambda kind: f"{kind[0]}-{kind[1].__name__}")
def test_keycloak_51312_no_refresh_outlives_a_revocation(kind: Any) -> None:
    with single(kind) as site:
        tokens = site.ask("issue", "alice")
        site.clock.forward(HOUR)
        refresh = posted(REFRESH, form_octets(refresh_form(tokens.refresh_token)))
        revoke = posted(REVOKE, form_octets({"token": tokens.refresh_token}))
        site.at_once([refresh, revoke, refresh, refresh])
        assert site.send(refresh).reason == "grant_ended"
        assert site.row(tokens.grant_id).ended_at is not None


def test_drf_jwt_cve_2020_10594_a_revoked_token_refreshes_nothing() -> None:
    with opened() as world:
        tokens = world.login()
        world.revoke(tokens.access_token)
        assert world.refresh(tokens.refresh_token).reason == "grant_ended"
        assert world.refresh(tokens.access_token).status == 400


def test_simplejwt_cve_2024_22513_a_user_who_was_deactivated_gets_nothing() -> None:
    active = {"alice"}

    def claims_for(grant: Grant) -> dict[str, Any]:
        if grant.subject not in active:
            raise EndGrant
        return {}

    with opened(refresh={"claims_for": claims_for}) as world:
        tokens = world.login()
        active.clear()
        assert world.refresh(tokens.refresh_token).reason == "grant_refused"
        assert world.call(tokens.access_token).reason == "grant_ended"
        with pytest.raises(EndGrant):
            world.login()


class HalfAStore:
    """Has what a refresh needs, and nothing to revoke with."""

    blocking = False

    def advance(self, *args: Any) -> Any:
        raise AssertionError(args)


@pytest.mark.parametrize(
    "store",
    [None, 5, object(), "", "grants.db", "mysql://x", "memory://x", HalfAStore()],
    ids=named,
)
def test_simplejwt_985_a_store_that_cannot_work_is_refused_at_start(store: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"refresh\.store"):
        WSGIMiddleware(
            lambda *_: [],
            Settings(issuer=ISSUER, audience=AUDIENCE, keys=KEYS, refresh=Refresh(store=store)),
        )


def test_simplejwt_985_a_file_that_cannot_be_written_is_refused_at_start(tmp_path: Path) -> None:
    settings = Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=KEYS,
        refresh=Refresh(store=f"sqlite:///{tmp_path}/no/such/folder/grants.db"),
    )
    with pytest.raises(ConfigurationError, match=r"refresh\.store"):
        WSGIMiddleware(lambda *_: [], settings)
    with pytest.raises(ConfigurationError, match=r"refresh\.store"):
        ASGIMiddleware(lambda *_: None, settings)  # type: ignore[arg-type]
    # What only a look at the file shows, a start finds out.
    (tmp_path / "no.db").write_bytes(b"no database" * 100)
    settings = settings.replace(refresh=Refresh(store=f"sqlite:///{tmp_path}/no.db"))
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def start() -> None:
        try:
            await ASGIMiddleware(application, settings)({"type": "lifespan"}, receive, send)
        finally:
            await settings.aclose()

    with pytest.raises(ConfigurationError, match=r"refresh\.store"):
        asyncio.run(start())
    assert sent == ["lifespan.startup.failed"]


class SerializationFailure(Exception):
    """What a driver raises and no contract names."""


class ErraticStore(FaultyStore):
    def __getattr__(self, verb: str) -> Any:
        if verb in self.fails:
            return self._fail
        return super().__getattr__(verb)

    def _fail(self, *_: Any) -> Any:
        raise SerializationFailure("could not serialize access: key (id)=(secret)")


def test_hydra_3604_an_error_of_the_engine_is_never_an_error_of_the_client() -> None:
    with opened((("wsgi", ErraticStore), ("asgi", ErraticStore))) as world:
        tokens = world.login()
        world.clock.forward(HOUR)
        for verb, send in (("advance", world.refresh), ("end", world.revoke)):
            world.each(lambda site, verb=verb: site.store.fails.add(verb))  # type: ignore[misc]
            answer = send(tokens.refresh_token)
            assert (answer.status, answer.header("retry-after")) == (503, "1")
            assert b"serialize" not in answer.body
            assert "secret" not in str(answer.events)
            world.each(lambda site: site.store.fails.clear())
            assert send(tokens.refresh_token).status == 200


def test_fastmcp_5037_who_loses_a_benign_race_keeps_the_session() -> None:
    with opened() as world:
        token = world.login().refresh_token
        world.clock.forward(HOUR)
        winner, loser = world.renewed(token), world.renewed(token)
        # Two tabs share one token store; the loser's answer is written last, and both go on.
        world.clock.forward(HOUR)
        for _ in range(2):
            assert world.refresh(loser["refresh_token"]).status == 200
        assert world.call(winner["access_token"]).reason == "expired"


def test_mcp_python_sdk_1454_the_audience_is_checked() -> None:
    with opened(DOORS) as world, opened(DOORS, audience="https://other.example") as other:
        tokens = other.login()
        assert world.call(tokens.access_token).reason == "audience_not_ours"
    foreign = "https://login.other.example"
    with opened(DOORS) as world, opened(DOORS, issuer=foreign) as other:
        # Even of one signing key: the derived secret differs by issuer.
        assert world.refresh(other.login().refresh_token).reason == "issuer_not_trusted"


# --- authenticity, at the refresh endpoint


def forgeries(token: str) -> dict[str, str]:
    claims = json_octets({**claims_of(token), "gen": 9})
    ours = derive(KEYS.keys[0], ISSUER)
    public = json_octets(KEYS.public_jwks()["keys"][0])
    header: dict[str, Any] = {"alg": "HS256", "kid": ours.kid, "typ": "rt+jwt"}
    empty = Key(ours.kid, ours.algorithm, None, b"")
    return {
        "CVE-2015-9235 none": join(
            seal(json_octets({**header, "alg": "none"}), claims, ours).rpartition(".")[0].encode(),
            b"",
        ),
        "CVE-2015-9235 public key": seal(
            json_octets({**header, "kid": KEYS.keys[0].kid}),
            claims,
            Key(KEYS.keys[0].kid, ours.algorithm, None, public),
        ),
        "CVE-2026-49852 empty secret": seal(json_octets(header), claims, empty),
        "CVE-2026-27962 key in the token": seal(
            json_octets({**header, "jwk": {"kty": "oct", "k": "AAAA"}}), claims, empty
        ),
        "CVE-2026-32597 critical": seal(json_octets({**header, "crit": ["x"]}), claims, ours),
        "the signing key": sign({**claims_of(token), "gen": 9}, KEYS.keys[0], typ="rt+jwt"),
    }


@pytest.mark.parametrize("name", forgeries("x.e30.x"))
def test_advisories_of_forgery_hold_for_refresh_tokens_too(name: str) -> None:
    with opened(DOORS) as world:
        tokens = world.login()
        answer = world.refresh(forgeries(tokens.refresh_token)[name])
        assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
        assert world.row(tokens.grant_id).generation == 1


# --- forms


def attempt(world: World, body: bytes, kind: str = FORM) -> tuple[int, str]:
    answer = world.post_octets(REFRESH, body, kind)
    return answer.status, answer.json.get("error", "served")


def test_python_multipart_ghsa_6jv3_a_semicolon_separates_nothing() -> None:
    with opened(DOORS) as world:
        token = world.login().refresh_token
        body = f"grant_type=refresh_token&a=1;refresh_token={token}".encode()
        assert attempt(world, body) == (400, "invalid_request")
        assert attempt(world, b";" * 16000) == (400, "invalid_request")


def test_starlette_cve_2026_54283_fields_are_counted_in_every_form() -> None:
    with opened(DOORS) as world:
        assert attempt(world, b"a=&" * 5000) == (400, "invalid_request")
        assert attempt(world, b"a=&" * 100_000) == (413, "invalid_request")


def test_werkzeug_cve_2023_25577_multipart_is_never_parsed() -> None:
    with opened(DOORS) as world:
        part = b'--b\r\nContent-Disposition: form-data; name="refresh_token"\r\n\r\nx\r\n--b--\r\n'
        kind = "multipart/form-data; boundary=b"
        assert attempt(world, part, kind) == (400, "invalid_request")


def test_python_multipart_pysec_2026_3040_a_negative_length_is_malformed() -> None:
    with opened(DOORS) as world:
        for length in ("-1", "-16384", "0\r\n"):
            headers = [("Content-Type", FORM), ("Content-Length", length)]
            answer = world.send("POST", REFRESH, body=b"a=1", headers=headers)
            assert (answer.status, answer.reason) == (400, "body_malformed")


def test_pyjwt_recursion_deep_json_is_malformed() -> None:
    with opened(DOORS) as world:
        assert attempt(world, b'{"a":' * 2000, JSON) == (400, "invalid_request")
        assert attempt(world, b"[" * 16000, JSON) == (400, "invalid_request")


# --- caches, cookies and logs


def test_nextjs_auth0_2100_no_cache_keeps_what_sets_a_cookie() -> None:
    with opened(DOORS, refresh={"cookies": Cookies()}) as world:
        cookie = world.login().cookies[0][1].partition(";")[0]
        world.clock.forward(HOUR)
        for path in (REFRESH, REVOKE, REFRESH):  # set, cleared, cleared by an error
            answer = world.send("POST", path, headers=[*PAGE, ("Cookie", cookie)])
            assert answer.cookies
            assert answer.header("cache-control") == "no-store"


def test_fastapi_cve_2021_32677_a_form_of_another_site_is_no_json() -> None:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}) as world:
        tokens = world.login()
        cookies = [("Cookie", pair.partition(";")[0]) for _, pair in tokens.cookies]
        for kind in ("text/plain", FORM, "multipart/form-data", ""):
            body = b'{"grant_type":"refresh_token"}'
            sent = posted(REFRESH, body, kind, cookies)
            answer = world.each(lambda site, sent=sent: site.send(sent))  # type: ignore[misc]
            assert (answer.status, answer.cookies) == (403, ())
        assert world.row(tokens.grant_id).generation == 1


def test_werkzeug_cve_2023_23934_a_nameless_cookie_is_no_cookie_of_ours() -> None:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}) as world:
        evil = world.login("mallory")
        refresh, access = (pair.partition(";")[0] for _, pair in evil.cookies)
        headers = [*PAGE, ("Cookie", f"={refresh}; ={access}")]
        assert world.get(headers=headers).reason == "credentials_missing"
        assert world.send("POST", REFRESH, headers=headers).reason == "parameter_malformed"
        # And beside the real one it makes no second.
        good = world.login("alice").cookies[0][1].partition(";")[0]
        headers = [*PAGE, ("Cookie", f"={refresh}; {good}")]
        assert world.send("POST", REFRESH, headers=headers).status == 200


def test_uvicorn_cve_2020_7694_nothing_that_was_sent_breaks_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "jwt_middleware")
    with opened(DOORS) as world:
        world.refresh("x\r\nforged line\x1b[31m", client_id="a\nforged", scope="b")
        world.refresh(world.login().refresh_token, client_id="a\r\nforged\u2028line")
        world.refresh("x", headers=[("User-Agent", "a\x1b[2Jb")])
        world.get("/a\r\nforged\x1b[31m")
    lines = [record.getMessage() for record in caplog.records]
    assert lines
    assert all(line.isprintable() for line in lines)


def test_joserfc_cve_2025_65015_no_secret_is_ever_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with opened(refresh={"cookies": Cookies(access=True)}) as world:
        tokens = world.login("alice@example.org", claims={"email": "alice@example.org"})
        texts = [tokens.access_token, tokens.refresh_token]
        world.clock.forward(HOUR)
        found = world.renewed(tokens.refresh_token)
        texts += [found["access_token"], found["refresh_token"]]
        world.call(found["access_token"] + "x")
        world.clock.forward(HOUR)
        texts.append(world.renewed(found["refresh_token"])["refresh_token"])
        world.refresh(tokens.refresh_token)  # reuse
        world.revoke(found["refresh_token"])
        told = caplog.text + repr(world.events) + repr(tokens) + repr(world.sites[0].settings)
    parts = {part for text in texts for part in (text, *text.split(".")[1:])}
    jtis = {claims_of(text)["jti"] for text in texts}
    assert "Reused" in told
    assert [one for one in (*parts, *jtis, "alice@example.org") if one in told] == []


def test_sqlite_keeps_its_file_from_others() -> None:
    with single(("wsgi", sqlite)) as site:
        site.ask("issue", "alice")
        modes = {one.name: one.stat().st_mode & 0o077 for one in site.folder.iterdir()}
        assert set(modes.values()) == {0}, modes
