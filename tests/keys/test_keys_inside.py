"""Keys from inside of a private network: plain http, an authority of its own, a token for the keys.

Real sockets and real TLS, through both middlewares. Only the name server is played.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, KeySet, Settings, TrustedIssuer
from jwt_middleware.keys import Fetched
from jwt_middleware.keys.http import MAX_TOKEN_FILE, HttpFetcher
from jwt_middleware.keys.key_sources import unusable
from jwt_middleware.keys.remote import Remote
from jwt_middleware.values.errors import KeysUnavailable
from jwt_middleware.values.events import KeysFailed
from tests.engines.tls import Authority
from tests.issuing import Clock
from tests.keys.test_key_fetching import resolving
from tests.keyserver import HOST, KeyServer, Line, answer, key_set
from tests.keyserver.site import DOORS, Author, Site, settle
from tests.rules import accepts, refuses

PUBLIC, INSIDE = "https://sso.example.com/realms/shop", "http://keycloak:8080/realms/shop"
CERTS = f"{INSIDE}/protocol/openid-connect/certs"
BOTH: dict[str, Any] = {"private_addresses": True, "plain_http": True}
TOKEN = "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl"  # its form is all that counts


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def keycloak(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> KeyServer:
    """Return a server that is found as keycloak, inside, and by no other name."""
    resolving(monkeypatch, keycloak=[(HOST, server.port)])
    return server


def why_not(source: Remote, issuer: str) -> str:
    with pytest.raises(KeysUnavailable) as refused:
        source.fetch(issuer, None, 0)
    return refused.value.detail


# --- plain http


@accepts("RS-65")
@pytest.mark.parametrize("issuer", [PUBLIC, INSIDE, "urn:shop"])
def test_the_issuer_has_its_public_name_and_the_keys_come_from_inside(
    issuer: str, door: str, keycloak: KeyServer
) -> None:
    author = Author(issuer, Clock())
    keycloak.pages["/realms/shop/protocol/openid-connect/certs"] = key_set(author.keys)
    assert Site(door, author.settings(KeySet.remote(CERTS, **BOTH))).served(author.token())
    settle()


@accepts("RS-65", "RS-72")
def test_an_issuer_inside_may_be_found_by_its_name(door: str, keycloak: KeyServer) -> None:
    author = Author(INSIDE, Clock())
    keycloak.describe(
        "/realms/shop/.well-known/openid-configuration", issuer=INSIDE, jwks_uri=CERTS
    )
    keycloak.pages["/realms/shop/protocol/openid-connect/certs"] = key_set(author.keys)
    site = Site(door, author.settings(KeySet.remote(**BOTH)))
    assert site.served(author.token())
    settle()
    own = Author("https://login.example.com", Clock())
    partner = TrustedIssuer(
        issuer=INSIDE, audience=author.factory.audience, keys=KeySet.remote(**BOTH)
    )
    beside = Site(door, own.settings(own.keys, trusted_issuers=(partner,)))
    assert beside.served(author.token())
    settle()


@refuses("RS-65")
@pytest.mark.parametrize(
    ("options", "field", "told"),
    [
        ({}, "keys.url", "both private_addresses=True and plain_http=True"),
        ({"private_addresses": True}, "keys.url", "both private_addresses=True and plain_http"),
        ({"plain_http": True}, "keys.plain_http", "private_addresses=True, too"),
        ({**BOTH, "plain_http": 1}, "keys.plain_http", "must be True or False"),
        ({**BOTH, "plain_http": "true"}, "keys.plain_http", "must be True or False"),
    ],
)
def test_one_switch_alone_is_an_error_that_names_the_other(
    options: dict[str, Any], field: str, told: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        KeySet.remote(CERTS, **options)
    assert refused.value.field == field
    assert told in str(refused.value)
    with pytest.raises(ConfigurationError) as refused:
        KeySet.remote("https://keycloak/certs", plain_http=True)
    assert refused.value.field == "keys.plain_http"


@refuses("RS-65", "RS-72")
@pytest.mark.parametrize("options", [{}, {"private_addresses": True}])
def test_without_both_an_issuer_by_http_is_not_looked_up(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings(issuer=INSIDE, audience="api", keys=KeySet.remote(**options))
    assert refused.value.field == "keys"
    assert "private_addresses=True, plain_http=True" in refused.value.remedy


@refuses("RS-65")
@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860::8888", "64:ff9b::808:808"])
def test_a_public_address_needs_tls(
    address: str, keycloak: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One public address among those of the name is enough, before any of them is used.
    resolving(monkeypatch, keycloak=[(HOST, keycloak.port), (address, 0)])
    detail = why_not(Remote(url=CERTS, **BOTH), PUBLIC)
    assert "keycloak has a public address: that needs https" in detail
    resolving(monkeypatch, keycloak=[(HOST, keycloak.port)])
    with pytest.raises(KeysUnavailable, match="has a private address"):
        HttpFetcher().fetch(CERTS, timeout=5, limit=9)
    assert keycloak.accepted == 0


@refuses("RS-65")
@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "fd00:ec2::254"])
def test_no_switch_leads_to_where_clouds_keep_credentials(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, keycloak=[(address, 0)])
    assert "where no keys can be" in why_not(Remote(url=CERTS, **BOTH), PUBLIC)


@refuses("RS-65", "RS-72")
def test_metadata_by_tls_do_not_lead_to_keys_without() -> None:
    class Issuer:
        def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
            assert url.endswith("openid-configuration") or "oauth" in url
            return Fetched(200, b'{"issuer": "%b", "jwks_uri": "%b"}' % (name, CERTS.encode()))

    name = PUBLIC.encode()
    detail = why_not(Remote(fetcher=Issuer(), **BOTH), PUBLIC)
    assert "jwks_uri is not https" in detail
    # And metadata by http lead nowhere without both switches.
    assert unusable(CERTS)
    assert unusable(CERTS, plain_http=True) == ""
    assert unusable("ftp://keycloak/certs", plain_http=True)


# --- an authority of one's own


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    """Return an authority that this machine doesn't know."""
    return Authority(tmp_path, "cluster")


@accepts("RS-65")
def test_a_clusters_authority_is_trusted_for_its_keys_and_read_again(
    door: str, ca: Authority, tmp_path: Path
) -> None:
    author, mounted = Author(PUBLIC, Clock()), tmp_path / "ca.crt"
    with KeyServer(ca.issue("server", HOST)) as server:
        server.publish(key_set(author.keys))
        keys = KeySet.remote(server.url, ca_file=mounted)
        site = Site(door, author.settings(keys))
        assert not site.served(author.token()), "it isn't mounted yet"
        settle()
        (failed,) = site.told
        assert isinstance(failed, KeysFailed)
        assert f"ca_file {mounted}: No such file" in failed.detail
        mounted.write_bytes(ca.file.read_bytes())
        author.clock.forward(1)
        assert site.served(author.token())
        settle()


@refuses("RS-65")
def test_a_clusters_authority_takes_the_place_of_all_others(
    ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(tmp_path, "other")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.file))
    with KeyServer(other.issue("server", HOST)) as server:
        server.publish(answer("{}"))
        assert Remote(url=server.url).fetch(PUBLIC, None, 0).octets == b"{}"
        detail = why_not(Remote(url=server.url, ca_file=str(ca.file)), PUBLIC)
        assert "CERTIFICATE_VERIFY_FAILED" in detail
        empty = tmp_path / "empty"
        for contents in (b"", b"-----BEGIN CERTIFICATE-----\nx\n", b"\xff" * 99):
            empty.write_bytes(contents)
            assert f"ca_file {empty}: " in why_not(Remote(url=server.url, ca_file=empty), PUBLIC)


# --- a token for the key server


class Guarded:
    """Gives a set to whoever brings the token, and records what came."""

    def __init__(self, keys: Any) -> None:
        self.token = TOKEN
        self.came: list[str | None] = []
        self._keys = keys

    def __call__(self, line: Line) -> None:
        fields = dict(one.split(": ", 1) for one in line.request.split("\r\n")[1:] if one)
        self.came.append(fields.get("Authorization"))
        is_good = self.came[-1] == f"Bearer {self.token}"
        (key_set(self._keys) if is_good else answer("", status=401))(line)


@accepts("RS-65")
def test_the_token_is_sent_and_read_again(door: str, ca: Authority, tmp_path: Path) -> None:
    author, mounted = Author(PUBLIC, Clock()), tmp_path / "token"
    guarded = Guarded(author.keys)
    mounted.write_text(f"{TOKEN}\n")
    with KeyServer(ca.issue("server", HOST)) as server:
        server.publish(guarded)
        keys = KeySet.remote(server.url, ca_file=ca.file, token_file=mounted)
        site = Site(door, author.settings(keys))
        assert site.served(author.token())
        guarded.token = TOKEN.replace("e30", "e30x")
        mounted.write_text(guarded.token)
        author.clock.forward(31)
        assert not site.served(author.rotated().token())
        settle()
    assert guarded.came == [f"Bearer {TOKEN}", f"Bearer {guarded.token}"]


@refuses("RS-65", "RS-41")
def test_the_token_goes_to_the_issuers_host_alone(ca: Authority, tmp_path: Path) -> None:
    """Kubernetes names its keys by an address, and its issuer by a name."""
    (tmp_path / "token").write_text(TOKEN)
    author = Author(PUBLIC, Clock())
    described, keys = Guarded(author.keys), Guarded(author.keys)
    with (
        KeyServer(ca.issue("one", HOST)) as one,
        KeyServer(ca.issue("other", HOST)) as other,
    ):
        files: dict[str, Any] = {"ca_file": ca.file, "token_file": tmp_path / "token"}
        other.publish(keys)
        one.describe(jwks_uri=other.url)
        detail = why_not(Remote(**files), one.base)
        assert f"{other.url} answers 401; the token goes to the issuer's host alone" in detail
        assert keys.came == [None]
        one.publish(described)
        one.describe()
        assert Remote(**files).fetch(one.base, None, 0).octets
        assert described.came == [f"Bearer {TOKEN}"]
        # The name of the issuer is another's; only the host of the url counts.
        assert Remote(url=other.url, **files).fetch(one.base, None, 0).octets
        described.token = "another"
        assert why_not(Remote(url=one.url, **files), PUBLIC) == f"{one.url} answers 401"
        assert TOKEN not in detail + repr(KeySet.remote(one.url, **files))


@refuses("RS-65", "RS-41")
@pytest.mark.parametrize(
    "contents",
    [b"", b"\n", b"two words", b"a\r\nHost: b", b"\xff", b"a\0b", b"x" * (MAX_TOKEN_FILE + 1)],
)
def test_what_is_no_token_is_not_sent(contents: bytes, ca: Authority, tmp_path: Path) -> None:
    path = tmp_path / "token"
    with KeyServer(ca.issue("server", HOST)) as server:
        guarded = Guarded([])
        server.publish(guarded)
        source = Remote(url=server.url, ca_file=ca.file, token_file=path)
        assert f"token_file {path}: No such file" in why_not(source, PUBLIC)
        path.write_bytes(contents)
        detail = why_not(source, PUBLIC)
        assert detail == f"token_file {path}: it has no bearer token (RFC 6750 s2.1)"
        assert guarded.came == []


@refuses("RS-65")
@pytest.mark.parametrize(
    ("url", "options"),
    [
        (CERTS, BOTH),
        ("https://keycloak/certs", BOTH),
        (None, BOTH),
        ("http://localhost:8080/certs", {}),
    ],
)
def test_a_token_is_never_sent_in_clear(url: str | None, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="sent in clear") as refused:
        KeySet.remote(url, token_file="/run/token", **options)
    assert refused.value.field == "keys.token_file"


@refuses("RS-65")
def test_nor_to_an_issuer_on_this_machine_without_tls() -> None:
    kinds: tuple[Any, ...] = (Settings, TrustedIssuer)
    for kind in kinds:
        with pytest.raises(ConfigurationError, match="the issuer is an http URL") as refused:
            kind(
                issuer="http://localhost:8080",
                audience="api",
                keys=KeySet.remote(token_file="/run/token"),
            )
        assert refused.value.field == "keys.token_file"
        assert kind(
            issuer="https://localhost:8443",
            audience="api",
            keys=KeySet.remote(token_file="/run/token"),
        )


# --- options


@pytest.mark.parametrize("option", ["ca_file", "token_file"])
@pytest.mark.parametrize("value", ["", 5, b"/run/ca", True])
def test_a_file_is_named_by_its_path(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no path of a file") as refused:
        KeySet.remote("https://keys.example/set", **{option: value})
    assert refused.value.field == f"keys.{option}"


@pytest.mark.parametrize("option", ["ca_file", "token_file"])
def test_a_fetcher_has_its_own_files(option: str) -> None:
    fetcher = HttpFetcher()
    with pytest.raises(ConfigurationError, match="`fetcher` is another"):
        KeySet.remote("https://keys.example/set", fetcher=fetcher, **{option: "/run/file"})
    with pytest.raises(ConfigurationError, match="is no object with a method"):
        KeySet.remote("https://keys.example/set", fetcher=HttpFetcher)


def test_a_relative_path_counts_from_the_folder_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Remote(url="https://keys.example/set", ca_file="ca.crt", token_file=Path("token"))
    assert (source.ca_file, source.token_file) == (
        os.path.join(tmp_path, "ca.crt"),
        os.path.join(tmp_path, "token"),
    )
