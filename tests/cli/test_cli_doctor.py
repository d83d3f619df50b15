"""`jwt-middleware doctor`: keys over real sockets, clocks, real stores, strangers on the path."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from jwt_middleware import KeySet, Refresh, Settings, StoreUnavailable, TrustedIssuer, __version__
from jwt_middleware.cli import doctor, key_checks
from jwt_middleware.cli.__main__ import main
from jwt_middleware.keys import Fetched
from jwt_middleware.keys.http import HttpFetcher
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.errors import KeysUnavailable
from tests.issuing import AwaitedStore, Clock

FACTORY = TokenFactory()
Capture = pytest.CaptureFixture[str]

made: dict[str, Any] = {}  # what `--settings` makes settings of


def make() -> Settings:
    return Settings(**made)


class Shown:
    """What was printed."""

    def __init__(self, status: int, out: str) -> None:
        self.status, self.out = status, out
        self.lines = re.findall(
            r"^(ok|warn|FAIL|-) +(\S+) +(.*(?:\n {20}-> .*)?)", out, re.MULTILINE
        )

    def about(self, what: str) -> list[tuple[str, str]]:
        return [(state, seen) for state, name, seen in self.lines if name == what]

    def one(self, what: str) -> tuple[str, str]:
        (found,) = self.about(what)
        return found


Run = Callable[..., Shown]


@pytest.fixture
def run(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Ask the doctor about settings that differ in these fields."""

    def run(*arguments: str, **changes: Any) -> Shown:
        given = {"issuer": FACTORY.issuer, "audience": FACTORY.audience, "keys": FACTORY.keys}
        monkeypatch.setattr(sys.modules[__name__], "made", given | changes)
        status = main(["doctor", "--settings", "tests.cli.test_cli_doctor:make", *arguments])
        out, err = capsys.readouterr()
        assert err == ""
        return Shown(status, out)

    return run


class Endpoint:
    """A key endpoint whose answer, status and clock are what the test says."""

    def __init__(self) -> None:
        self.status = 200
        self.jwks: Any = FACTORY.keys.public_jwks()
        self.ahead = 0.0  # seconds of its clock
        self.date: str | None = ""  # "": by its clock; None: none
        self.url = ""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    one = Endpoint()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = one.jwks if isinstance(one.jwks, bytes) else json.dumps(one.jwks).encode()
            if "oauth-authorization-server" in self.path:
                metadata = {"issuer": one.url, "jwks_uri": f"{one.url}/jwks"}
                body = json.dumps(metadata).encode()
            status = 404 if "openid" in self.path else one.status
            self.send_response_only(status)
            date = formatdate(time.time() + one.ahead, usegmt=True) if one.date == "" else one.date
            if date is not None:
                self.send_header("Date", date)
            self.send_header("Cache-Control", "max-age=300")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        one.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        server.shutdown()
        thread.join()


# --- keys


def test_all_is_well(run: Run, endpoint: Endpoint, tmp_path: Path) -> None:
    shown = run(
        keys=KeySet.remote(f"{endpoint.url}/jwks"),
        refresh=Refresh(store=f"sqlite:///{tmp_path}/grants.db", serve=False),
    )
    assert shown.status == 0
    assert {state for state, _, _ in shown.lines} == {"ok"}
    assert shown.one("package")[1].startswith(f"jwt_middleware {__version__} in /")
    assert re.match(r"Python 3\S+, PyJWT \S+, cryptography \S+, SQLite", shown.one("versions")[1])
    (_, found), (_, answer) = shown.about("keys")
    assert found == (
        f"the key {FACTORY.key.kid} (ES256) of '{FACTORY.issuer}', from {endpoint.url}/jwks"
    )
    assert re.search(r"/jwks answers 200, \d+ octets in \d+ ms, Cache-Control: max-age=300", answer)
    assert shown.one("clock")[1].startswith("as that of http://127.0.0.1:")
    first, second = shown.about("store")
    assert first[1] == "SQLiteStore: address, rights and schema are right"
    assert re.fullmatch(r"SQLiteStore answers in \d+\.\d\d ms; 0 grants ended lately", second[1])


def test_a_key_set_is_found_as_the_middleware_finds_it(run: Run, endpoint: Endpoint) -> None:
    endpoint.jwks = KeySet((FACTORY.key, *KeySet.generate("Ed25519").keys)).public_jwks()
    shown = run(
        trusted_issuers=(TrustedIssuer(issuer=endpoint.url, audience="api", keys=KeySet.remote()),)
    )
    assert shown.status == 0
    found, *answers = shown.about("trusted[0]")
    assert found[1].startswith(f"2 keys, {FACTORY.key.kid} (ES256), ")
    assert found[1].endswith("from the issuer's metadata")
    assert [state for state, _ in answers] == ["-", "ok", "ok"]
    assert [re.search(r"answers (\d+)", seen)[1] for _, seen in answers] == ["404", "200", "200"]  # type: ignore[index]
    assert shown.one("keys")[1].endswith("in the settings")


def test_a_key_that_can_not_be_used_is_named(run: Run, endpoint: Endpoint) -> None:
    weak = {"kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB", "alg": "RS256"}
    nameless = {"kty": "new", "alg": "X"}
    endpoint.jwks = {"keys": [*FACTORY.keys.public_jwks()["keys"], weak, nameless]}
    shown = run(keys=KeySet.remote(f"{endpoint.url}/jwks"))
    assert shown.status == 1
    warned = [seen for state, seen in shown.about("keys") if state == "warn"]
    assert warned[0].startswith("weak can't be used: ") or warned[1].startswith("weak can't be")
    assert any(one.startswith("a key without kid can't be used") for one in warned)


def test_a_key_for_encryption_is_no_fault_of_the_set(run: Run, endpoint: Endpoint) -> None:
    other = TokenFactory(algorithm="RS256").key.public_jwk()
    for_encryption = other | {"kid": "enc", "use": "enc", "alg": "RSA-OAEP"}  # as Keycloak has it
    endpoint.jwks = {"keys": [*FACTORY.keys.public_jwks()["keys"], for_encryption]}
    shown = run(keys=KeySet.remote(f"{endpoint.url}/jwks"))
    assert shown.about("keys")[1] == (
        "-",
        "enc is left alone: its `use` is not sig (RFC 7517 s4.2)",
    )
    assert shown.status == 0


@pytest.mark.parametrize(
    ("jwks", "status", "words"),
    [
        ({}, 503, "answers 503"),
        (b"<html>", 200, "gives no key set: not one JSON object"),
        ({"keys": []}, 200, "gives no key set"),
        ({"keys": [FACTORY.key.to_jwk()]}, 200, "is a secret, and published"),
        (b"x" * (2 << 20), 200, "answers more than"),
    ],
)
def test_what_comes_instead_of_keys_is_told(
    jwks: Any, status: int, words: str, run: Run, endpoint: Endpoint
) -> None:
    endpoint.jwks, endpoint.status = jwks, status
    shown = run(keys=KeySet.remote(f"{endpoint.url}/jwks"))
    assert shown.status == 1
    state, seen = shown.about("keys")[0]
    assert state == "FAIL"
    assert words in seen
    assert "->" in seen
    assert FACTORY.key.to_jwk()["d"] not in shown.out


def test_nobody_there_is_told(run: Run) -> None:
    shown = run(keys=KeySet.remote("http://127.0.0.1:9/jwks"))
    assert (shown.status, shown.one("keys")[0]) == (1, "FAIL")
    assert "ConnectionRefusedError" in shown.one("keys")[1]
    assert shown.about("clock") == []


class Published:
    """A fetcher that has what an issuer publishes, by the end of the URL."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        for name, answer in self.answers.items():
            if url.endswith(name):
                status, body = answer if isinstance(answer, tuple) else (200, answer)
                if isinstance(body, KeysUnavailable):
                    raise body
                octets = body if isinstance(body, bytes) else json.dumps(body).encode()
                return Fetched(status, octets)
        return Fetched(404, b"not here")


RSA = TokenFactory(algorithm="RS256").key.public_jwk()
OTHER = TokenFactory(algorithm="RS256").key.public_jwk() | {"kid": RSA["kid"]}
UNNAMED = {name: one for name, one in RSA.items() if name != "alg"}
ES = FACTORY.key.public_jwk()
NAME_IT = 'algorithm="RS256" beside the keys in the settings'
AT = "https://issuer.example"
TENANT = "https://login.example/{tenantid}/v2.0"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
WAYS: dict[str, tuple[str | None, dict[str, Any], str]] = {
    # the URL in the settings, what is published, the way that is named
    "no alg": (f"{AT}/jwks", {"jwks": {"keys": [UNNAMED]}}, NAME_IT),
    "use and no alg": (f"{AT}/jwks", {"jwks": {"keys": [{**UNNAMED, "use": "sig"}]}}, NAME_IT),
    "no alg, by metadata": (
        None,
        {"configuration": {"issuer": AT, "jwks_uri": f"{AT}/jwks"}, "jwks": {"keys": [UNNAMED]}},
        NAME_IT,
    ),
    "another name": (
        None,
        {"configuration": {"issuer": f"{AT}/", "jwks_uri": f"{AT}/jwks"}},
        (
            f"its document says '{AT}/', the settings '{AT}': issuer='{AT}/' where its tokens say "
            f"that in `iss`, else KeySet.remote('{AT}/jwks')"
        ),
    ),
    "another name alone": (
        None,
        {"server": {"issuer": "http://localhost:9229/pool"}},
        "else KeySet.remote(url)",
    ),
    "many tenants": (
        None,
        {"configuration": {"issuer": TENANT, "jwks_uri": f"{AT}/keys"}},
        f"for many tenants ('{TENANT}'): name one, or KeySet.remote('{AT}/keys') and `issuer_for`",
    ),
    "no name": (None, {"configuration": {"jwks_uri": f"{AT}/jwks"}}, "it publishes no metadata"),
    "two 404s": (None, {}, 'it publishes no metadata: KeySet.remote("https://..."), with the URL'),
    "two pages": (None, {"configuration": b"<html>", "server": b"x"}, "it publishes no metadata"),
    "an http set": (
        None,
        {"configuration": {"issuer": AT, "jwks_uri": "http://issuer.example/jwks"}},
        "KeySet.remote(url), with the https URL",
    ),
    "404": (f"{AT}/jwks", {}, 'no key set is there: KeySet.remote("https://...")'),
    "404, and metadata": (
        f"{AT}/old",
        {"configuration": {"issuer": AT, "jwks_uri": f"{AT}/jwks"}, "jwks": {"keys": [RSA]}},
        f"KeySet.remote('{AT}/jwks'), where the issuer's metadata say that its keys are",
    ),
    "404 at both": (
        f"{AT}/old",
        {"configuration": {"issuer": AT, "jwks_uri": f"{AT}/jwks"}},
        "no key set is there",
    ),
    "404 where the metadata lead": (
        None,
        {"configuration": {"issuer": AT, "jwks_uri": f"{AT}/jwks"}},
        "no key set is there",
    ),
    "500": (f"{AT}/jwks", {"jwks": (500, b"")}, "can this machine reach it?"),
    "two keys of one kid": (
        f"{AT}/jwks",
        {"jwks": {"keys": [RSA, OTHER]}},
        "tell who runs the issuer",
    ),
    "metadata": (
        f"{AT}/configuration",
        {"configuration": {"issuer": AT, "jwks_uri": f"{AT}/jwks"}},
        f"that is the issuer's metadata: KeySet.remote('{AT}/jwks')",
    ),
    "certificates": (f"{AT}/x509", {"x509": {"kid": CERTIFICATE}}, "these are certificates"),
    "a certificate": (f"{AT}/x509", {"x509": CERTIFICATE.encode()}, "openssl x509 -pubkey -noout"),
    "a redirect": (f"{AT}/jwks", {"jwks": (302, b"")}, "with the URL where it leads"),
    "closed": (f"{AT}/jwks", {"jwks": (401, b"")}, "it wants credentials"),
    "forbidden": (f"{AT}/jwks", {"jwks": (403, b"")}, "it wants credentials"),
    "private": (
        f"{AT}/jwks",
        {"jwks": KeysUnavailable("x has a private address; private_addresses=True allows it")},
        "KeySet.remote(private_addresses=True)",
    ),
    "a CA of one's own": (
        f"{AT}/jwks",
        {"jwks": KeysUnavailable("SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED")},
        "ca_file",
    ),
    "keys that are no objects": (f"{AT}/jwks", {"jwks": {"keys": [5]}}, "tell who runs the issuer"),
    "nothing": (f"{AT}/jwks", {"jwks": {"keys": []}}, "tell who runs the issuer"),
    "for encryption alone": (
        f"{AT}/jwks",
        {"jwks": {"keys": [{**UNNAMED, "use": "enc"}]}},
        "tell who runs the issuer",
    ),
}


@pytest.mark.parametrize(("url", "published", "way"), WAYS.values(), ids=WAYS)
def test_the_setting_that_mends_it_is_named(
    url: str | None, published: dict[str, Any], way: str, run: Run
) -> None:
    keys = KeySet.remote(url, fetcher=Published(**published))
    shown = run(trusted_issuers=(TrustedIssuer(issuer=AT, audience="api", keys=keys),))
    assert shown.status == 1
    (found,) = (seen for state, seen in shown.about("trusted[0]") if state == "FAIL")
    assert f"-> {way}" in found or way in found.partition("-> ")[2]


def test_an_issuer_whose_name_is_no_url_has_no_metadata(run: Run) -> None:
    keys = KeySet.remote(f"{AT}/jwks", fetcher=Published())
    shown = run(trusted_issuers=(TrustedIssuer(issuer="partner", audience="api", keys=keys),))
    assert "-> no key set is there" in shown.about("trusted[0]")[0][1]


def test_a_token_for_the_key_server_goes_to_no_other_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metadata may name any place for the keys, and so may whoever answers in their stead."""
    (tmp_path / "token").write_text("secret-of-the-key-server")
    sent: list[tuple[str, str]] = []

    def fetch(self: HttpFetcher, url: str, *, timeout: float, limit: int) -> Fetched:
        sent.append((url, self._token_server))
        return Published(
            configuration={"issuer": AT, "jwks_uri": "https://other.example/jwks"},
            **{"other.example/jwks": {"keys": [RSA]}},
        ).fetch(url, timeout=timeout, limit=limit)

    monkeypatch.setattr(HttpFetcher, "fetch", fetch)
    source = KeySet.remote("https://keys.example/old", token_file=tmp_path / "token").source
    assert "https://other.example/jwks" in key_checks.other_place(AT, source)
    assert {url for url, _ in sent} == {
        f"{AT}/.well-known/openid-configuration",
        "https://other.example/jwks",
    }
    assert {server for _, server in sent} == {"https://keys.example:443"}


def test_with_the_setting_it_is_well(run: Run) -> None:
    keys = KeySet.remote(
        f"{AT}/jwks", algorithm="RS256", fetcher=Published(jwks={"keys": [UNNAMED]})
    )
    assert run(keys=keys).status == 0


NOBODY_NEEDS: dict[str, dict[str, Any]] = {
    "use": {**RSA, "use": "enc", "alg": "RSA-OAEP"},
    "its algorithm": {**UNNAMED, "alg": "RSA-OAEP-256"},
    "its curve": {"kty": "OKP", "crv": "X25519", "x": ES["x"]},
    "agreement": {**ES, "alg": "ECDH-ES+A128KW"},
}


@pytest.mark.parametrize("more", NOBODY_NEEDS.values(), ids=NOBODY_NEEDS)
@pytest.mark.parametrize("kid", ["enc", None, "k" * 250])
def test_keys_that_nobody_needs_are_no_fault(kid: str | None, more: Any, run: Run) -> None:
    more = {name: one for name, one in more.items() if name not in ("kid", "use")} | (
        {"use": "enc"} if more.get("use") == "enc" else {}
    )
    more |= {"kid": kid} if kid else {}
    shown = run(
        keys=KeySet.remote(
            f"{AT}/jwks", fetcher=Published(jwks={"keys": [ES, more, {"kty": "EC", "kid": "odd"}]})
        )
    )
    assert [state for state, seen in shown.about("keys") if "is left alone" in seen] == ["-"]
    # The key without members can't be used, and may have been meant for signatures.
    assert shown.status == 1
    shown = run(keys=KeySet.remote(f"{AT}/jwks", fetcher=Published(jwks={"keys": [ES, more]})))
    assert shown.status == 0


def test_a_key_without_alg_beside_others_names_the_setting(run: Run) -> None:
    keys = KeySet.remote(f"{AT}/jwks", fetcher=Published(jwks={"keys": [ES, UNNAMED]}))
    shown = run(keys=keys)
    (warned,) = (seen for state, seen in shown.about("keys") if state == "warn")
    assert f"-> {NAME_IT}" in warned
    assert shown.status == 1


class Broken:
    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        raise ZeroDivisionError("proxy")


def test_a_fetcher_of_the_applications_may_raise_anything(run: Run) -> None:
    shown = run(keys=KeySet.remote("https://login.example/jwks", fetcher=Broken()))
    assert shown.one("keys")[0] == "FAIL"
    assert "the fetcher raised ZeroDivisionError: proxy" in shown.one("keys")[1]


def test_a_key_file_is_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    FACTORY.keys.save(path)
    keys = KeySet.load(path)
    assert run(keys=keys).one("keys")[1].endswith(f"from {path}")
    path.write_text("{}")
    assert "gives no key set" in run(keys=keys).one("keys")[1]
    path.unlink()
    assert "No such file" in run(keys=keys).one("keys")[1]


def test_tenants_are_nobodys_to_try(run: Run) -> None:
    shown = run(issuer_for=lambda _: None)
    assert (shown.status, shown.one("issuer_for")[0]) == (0, "-")


class Elsewhere:
    """What a KMS does, here: it has the key, and signs."""

    def __init__(self, key: Any, error: Exception | None = None) -> None:
        self._key, self._error = key, error

    def sign(self, message: bytes) -> bytes:
        if self._error is not None:
            raise self._error
        return self._key.sign(message)


class Later(Elsewhere):
    async def sign(self, message: bytes) -> bytes:  # type: ignore[override]
        return super().sign(message)


@pytest.mark.parametrize(
    ("signer", "state", "words"),
    [
        (Elsewhere(FACTORY.key), "ok", f"signs as {FACTORY.key.kid} does, in "),
        (Later(FACTORY.key), "ok", f"signs as {FACTORY.key.kid} does, in "),
        (Elsewhere(KeySet.generate().keys[0]), "FAIL", "what it signs isn't signed by "),
        (Elsewhere(None, PermissionError("kms:Sign")), "FAIL", "raised PermissionError: kms:Sign"),
    ],
    ids=["here", "awaited", "another", "forbidden"],
)
def test_a_key_that_is_elsewhere_is_tried(signer: Any, state: str, words: str, run: Run) -> None:
    shown = run(keys=KeySet.external(FACTORY.key.public_jwk(), signer))
    assert shown.one("signer")[0] == state
    assert words in shown.one("signer")[1]
    assert shown.status == (0 if state == "ok" else 1)


# --- clocks


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [
        (0, "ok", "within 1 s"),
        (10, "warn", r"this machine is \d+ s behind http.*/jwks; tokens have a leeway of 30 s"),
        (-10, "warn", r"this machine is (9|10|11) s ahead of http"),
        (7200, "FAIL", r"this machine is (1 h 59 min|2 h) behind"),
        (-40, "FAIL", r"s ahead of http"),
    ],
)
def test_the_clock_is_compared_with_the_key_endpoints(
    ahead: float, state: str, words: str, run: Run, endpoint: Endpoint
) -> None:
    endpoint.ahead = ahead
    shown = run(keys=KeySet.remote(f"{endpoint.url}/jwks"))
    found, seen = shown.one("clock")
    assert found == state
    assert re.search(words, seen), seen
    assert shown.status == (0 if state == "ok" else 1)


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_without_a_date_there_is_nothing_to_compare(
    date: str | None, run: Run, endpoint: Endpoint
) -> None:
    endpoint.date = date
    shown = run(keys=KeySet.remote(f"{endpoint.url}/jwks"))
    assert shown.one("clock") == ("-", f"{endpoint.url}/jwks has no Date to compare with")
    assert shown.status == 0


# --- the store


def test_without_a_store_there_is_nothing_to_try(run: Run) -> None:
    assert run().one("store") == ("-", "none: these settings only verify")
    assert run(refresh=Refresh(store="memory://")).one("store")[0] == "-"


def test_a_file_that_can_not_be_used_is_told(run: Run) -> None:
    shown = run(refresh=Refresh(store="sqlite:////nowhere/grants.db"))
    assert (shown.status, shown.one("store")[0]) == (1, "FAIL")
    assert "/nowhere/grants.db can't be used" in shown.one("store")[1]
    assert "->" in shown.one("store")[1]


class Away(MemoryStore):
    blocking = True
    error: Exception = StoreUnavailable("no route to the engine")

    def __init__(self) -> None:
        super().__init__(clock=time.time, retention=60)

    def ended(self, cursor: object, horizon: float) -> Any:
        raise self.error


class Buggy(Away):
    error = ZeroDivisionError("x")


@pytest.mark.parametrize(
    ("store", "words"),
    [
        (Away(), "doesn't answer: no route to the engine"),
        (Buggy(), "raised ZeroDivisionError: x"),
    ],
)
def test_a_store_that_fails_is_told(store: Any, words: str, run: Run) -> None:
    shown = run(refresh=Refresh(store=store))
    assert (shown.status, shown.one("store")[0]) == (1, "FAIL")
    assert shown.one("store")[1].startswith(words)


def test_a_store_that_is_awaited_is(run: Run, tmp_path: Path) -> None:
    store: Any = AwaitedStore(Clock(), tmp_path)
    shown = run(refresh=Refresh(store=store))
    assert shown.status == 0
    assert shown.about("store")[1][1].startswith("AwaitedStore answers in ")


def test_a_slow_store_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SLOW_STORE", 0)
    shown = run(refresh=Refresh(store=f"sqlite:///{tmp_path}/grants.db"))
    assert [state for state, _ in shown.about("store")] == ["ok", "warn"]
    assert shown.status == 1


def test_a_server_is_tried_as_at_a_start(run: Run, postgres_url: str, schema: str) -> None:
    joint = "&" if "?" in postgres_url else "?"
    url = f"{postgres_url}{joint}schema={schema}"
    shown = run(refresh=Refresh(store=url))
    assert [state for state, _ in shown.about("store")] == ["ok", "ok"], shown.out
    assert shown.about("store")[0][1].startswith("AsyncPostgresStore: address, rights and schema")
    shown = run(refresh=Refresh(store="postgresql://nobody:pass-word@127.0.0.1:9/x"))
    assert shown.one("store")[0] == "FAIL"
    assert "pass-word" not in shown.out


# --- strangers


def test_another_package_of_the_same_name_is_found(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package" / "jwt_middleware").mkdir(parents=True)
    (tmp_path / "package" / "jwt_middleware" / "__init__.py").write_text("")
    (tmp_path / "package" / "jwt_middleware-1.0.dist-info").mkdir()
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "jwt_middleware.py").write_text("")
    monkeypatch.setattr(
        sys, "path", [*sys.path, str(tmp_path / "package"), str(tmp_path / "module"), "/nowhere"]
    )
    shown = run()
    assert shown.status == 1
    (_, *found) = shown.about("package")
    assert [state for state, _ in found] == ["FAIL"] * 3
    assert "package/jwt_middleware/__init__.py is another package of the same name" in found[0][1]
    assert "jwt_middleware-1.0.dist-info: somebody else's distribution" in found[1][1]
    assert "module/jwt_middleware.py is another package" in found[2][1]


def test_our_own_package_is_no_stranger() -> None:
    assert list(doctor._foreign([*sys.path, ""])) == []


def test_a_driver_that_is_not_there_is_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "psycopg 3" in run().one("versions")[1]
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "psycopg" not in run().one("versions")[1]


def test_json_is_one_object_a_line(run: Run) -> None:
    found = [json.loads(line) for line in run("--json").out.splitlines()]
    assert {"package", "versions", "settings", "keys", "store"} == {one["what"] for one in found}
    assert found[-1]["state"] == "-"
