"""One fetch: which URLs, addresses and certificates; and the options, checked at the start."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jwt_middleware import ConfigurationError, KeySet, Settings, TrustedIssuer
from jwt_middleware.keys import Fetched
from jwt_middleware.keys.http import HttpFetcher
from jwt_middleware.keys.key_sources import unusable
from jwt_middleware.keys.remote import MAX_SET, Remote
from jwt_middleware.request.origins import is_loopback
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.errors import KeysUnavailable
from jwt_middleware.values.events import KeysFailed
from tests.engines.tls import Authority
from tests.issuing import Clock
from tests.keyserver import HOST, KeyServer, Play, answer, drip, hang, key_set
from tests.keyserver.site import DOORS, Author, Site, settle
from tests.rules import accepts, refuses
from tests.waiting import until

NAME = "keys.example"


def fetched(url: str, *, timeout: float = 5, limit: int = MAX_SET, **options: Any) -> Any:
    return HttpFetcher(**options).fetch(url, timeout=timeout, limit=limit)


def why_not(url: str, *, timeout: float = 5, **options: bool) -> str:
    began = time.monotonic()
    with pytest.raises(KeysUnavailable) as refused:
        fetched(url, timeout=timeout, **options)
    assert time.monotonic() - began < timeout + 1
    return refused.value.detail


# --- URLs


GOOD_URLS = (
    "https://keys.example",
    "https://keys.example/",
    "https://keys.example:8443/a/b?c=d&e=/f?",
    "https://keys.example?set=1",
    "https://192.0.2.1/jwks",
    "https://[2001:db8::1]:8443/jwks",
    "https://xn--bcher-kva.example/~a!$'()*+,;=:@%20",
    "http://localhost/jwks",
    "http://app.localhost:8080/jwks",
    "http://127.0.0.1:80/jwks",
    "http://127.1.2.3/jwks",
    "http://[::1]:8080/jwks",
)
BAD_URLS = {
    "": "is no absolute URL",
    "keys.example/jwks": "is no absolute URL",
    "//keys.example/jwks": "is no absolute URL",
    "/jwks": "is no absolute URL",
    "jwks.json": "is no absolute URL",
    "file:///etc/keys.json": "is no absolute URL",
    "file://keys.example/jwks": "is no absolute URL",
    "ftp://keys.example/jwks": "is no absolute URL",
    "data:application/json,{}": "is no absolute URL",
    "javascript:alert(1)": "is no absolute URL",
    "unix:/run/keys": "is no absolute URL",
    "HTTPS://keys.example/jwks": "is no absolute URL",
    " https://keys.example/jwks": "is no absolute URL",
    "https://keys.example/jwks ": "is no absolute URL",
    "https://keys.example/jwks\n": "is no absolute URL",
    "https://keys.example/a b": "is no absolute URL",
    "https://keys.example/\r\nHost: evil": "is no absolute URL",
    "https://keys.example/jwks#x": "is no absolute URL",
    "https://keys.example/jwks?#": "is no absolute URL",
    "https://alice:secret@keys.example/jwks": "is no absolute URL",
    "https://good.example@evil.example/": "is no absolute URL",
    "https://good.example\\@evil.example/": "is no absolute URL",
    "https://": "is no absolute URL",
    "https:///jwks": "is no absolute URL",
    "https://bücher.example/": "is no absolute URL",
    "https://keys.example/" + "x" * 2048: "is no absolute URL",
    "https://keys.example:123456/": "is no",
    "https://keys.example:99999/": "is no URL",
    "https://keys.example:0/": "has no host, or no port",
    "https://:443/": "has no host, or no port",
    "https://[::1/": "is no URL",
    "http://keys.example/jwks": "is not https",
    "http://192.0.2.1/jwks": "is not https",
    "http://10.0.0.1/jwks": "is not https",
    "http://localhost.example/jwks": "is not https",
    "http://127.0.0.1.example/jwks": "is not https",
    "http://0.0.0.0/jwks": "is not https",
    "http://[::ffff:127.0.0.1]/jwks": "is not https",
}


@accepts("RS-72")
@pytest.mark.parametrize("url", GOOD_URLS)
def test_keys_may_come_over_https_or_from_this_machine(url: str) -> None:
    assert unusable(url) == ""
    assert KeySet.remote(url).keys == ()


@refuses("RS-72")
@pytest.mark.parametrize("url", BAD_URLS, ids=lambda url: url[:40])
def test_keys_come_from_nowhere_else(url: str) -> None:
    assert BAD_URLS[url] in unusable(url)
    with pytest.raises(ConfigurationError) as refused:
        KeySet.remote(url)
    assert refused.value.field == "keys.url"
    assert "secret" not in str(refused.value)


HERE = (
    *("localhost", "a.localhost", "a.b.localhost"),
    *("127.0.0.1", "127.1.2.3", "127.255.255.254", "[::1]"),
)
THERE = (
    *(
        "localhost.example",
        "notlocalhost",
        "localhost.",
        ".localhost",
        "local",
        "127.0.0.1.example",
    ),
    *("127.1", "127.0.0.1234", "127.0.0.1.1", "1270.0.0.1", "128.0.0.1", "0.0.0.0", "10.0.0.1"),
    *("[::]", "[::2]", "[0:0::1]", "[::1:1]", "[::ffff:127.0.0.1]", "::1"),
)


@pytest.mark.parametrize("port", ["", ":8080"])
@pytest.mark.parametrize("host", [*HERE, *THERE])
def test_this_machine_is_the_same_for_keys_and_for_issuers_and_origins(
    host: str, port: str
) -> None:
    url = f"http://{host}{port}"
    assert is_loopback(url) is (unusable(url) == "") is (host in HERE)


@pytest.mark.parametrize("url", [5, b"https://keys.example", ["https://keys.example"], True])
def test_a_url_is_a_text(url: Any) -> None:
    assert unusable(url)
    with pytest.raises(ConfigurationError):
        KeySet.remote(url)


@pytest.mark.parametrize(
    "issuer", ["login", "urn:issuer", "http://login.example", "https://login.example/?tenant=5"]
)
def test_an_issuer_that_is_no_url_has_no_metadata(issuer: str) -> None:
    good = {"issuer": issuer, "audience": "https://api.example"}
    kinds: tuple[Any, ...] = (Settings, TrustedIssuer)
    for kind in kinds:
        with pytest.raises(ConfigurationError) as refused:
            kind(**good, keys=KeySet.remote())
        assert refused.value.field == "keys"
        assert "KeySet.remote(url)" in str(refused.value)
        assert kind(**good, keys=KeySet.remote("https://keys.example/set")).issuer == issuer


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("timeout", (0, 0.05, 31, -1, "5", None, True, float("nan"), float("inf"))),
        ("lifetime", (59, 3601, 0, "600")),
        ("stale_limit", (-1, 86401, None, False)),
        ("cool_down", (0, 0.5, 601)),
        ("algorithm", ("none", "RS1", "HS256", "rs256", "", 5)),
        ("private_addresses", (1, "true", None)),
        ("fetcher", (object(), "httpx", 5)),
    ],
)
def test_a_wrong_option_stops_the_start(option: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(ConfigurationError) as refused:
            KeySet.remote("https://keys.example/set", **{option: value})
        assert refused.value.field == f"keys.{option}"
        assert refused.value.remedy or option == "private_addresses"


def test_options_are_kept_as_they_are() -> None:
    options: Any = {"algorithm": "RS256", "timeout": 30, "stale_limit": 0}
    one = Remote(url="https://keys.example/set", **options)
    assert one == Remote(url="https://keys.example/set", **options)
    assert one != Remote(url="https://keys.example/set")
    assert "https://keys.example/set" in repr(KeySet((), one))


# --- what is asked, and what is taken


def test_a_fetch_is_one_plain_get(server: KeyServer) -> None:
    said = []

    def play(line: Any) -> None:
        said.append(line.request)
        answer("{}", "Cache-Control: max-age=5", "Set-Cookie: a=b")(line)

    server.pages["/a?b=c"] = play
    found = fetched(f"{server.base}/a?b=c")
    assert found == Fetched(200, b"{}", "max-age=5")
    first, *fields = said[0].split("\r\n")
    assert first == "GET /a?b=c HTTP/1.1"
    assert sorted(fields) == [
        "",
        "",
        "Accept-Encoding: identity",
        "Accept: application/jwk-set+json, application/json",
        "Connection: close",
        f"Host: {HOST}:{server.port}",
        "User-Agent: jwt-middleware",
    ]


@pytest.mark.parametrize("query", ["", "?x=1"])
def test_a_url_without_a_path_is_the_root(query: str, server: KeyServer) -> None:
    server.pages[f"/{query}"] = answer("{}")
    assert fetched(server.base + query).status == 200


def test_a_proxy_is_not_asked(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.publish(answer("{}"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetched(server.url).status == 200


def test_chunks_are_put_together(server: KeyServer) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.publish(lambda line: line.send(head + b'2\r\n{"\r\n5\r\na":1}\r\n0\r\n\r\n'))
    assert fetched(server.url).body == b'{"a":1}'


def test_the_limit_is_the_last_octet_that_is_taken(server: KeyServer) -> None:
    server.publish(answer(b"x" * 100))
    assert len(fetched(server.url, limit=100).body) == 100
    with pytest.raises(KeysUnavailable, match="more than 99 octets"):
        fetched(server.url, limit=99)


def test_a_redirect_is_an_answer_like_another(server: KeyServer) -> None:
    server.publish(answer("", f"Location: {server.base}/other", status=301))
    assert fetched(server.url).status == 301
    assert server.fetches == ["/jwks"]


def test_no_socket_stays_open(server: KeyServer) -> None:
    server.publish(answer("{}"))
    before = open_sockets()
    for _ in range(5):
        fetched(server.url)
    server.publish(answer("{}", length=99))
    for _ in range(5):
        fetched(server.url)
    server.publish(answer(b"x" * 1000))
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            fetched(server.url, limit=10)
    until(lambda: open_sockets() <= before)  # with the server's own ends


def open_sockets() -> int:
    return sum("socket:" in str(one.readlink()) for one in _descriptors())


def _descriptors() -> Iterator[Path]:
    for one in Path("/proc/self/fd").iterdir():
        if one.is_symlink():
            yield one


# --- addresses


@accepts("RS-72")
@pytest.mark.parametrize("host", [HOST, "::1"])
def test_this_machine_is_reached_by_its_name_and_number(host: str) -> None:
    with KeyServer(host=host) as server:
        server.publish(answer("{}"))
        assert fetched(server.url).status == 200
        # Where the name means both, the one that answers is found.
        if host == HOST:
            assert fetched(f"http://localhost:{server.port}/jwks").status == 200


PRIVATE = (
    "10.0.0.1",
    "172.16.5.5",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "240.0.0.1",
    "[fd00:ec3::254]",
    "[2001:db8::1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::a00:1]",
    "[2002:a00:1::]",
    "[::a00:1]",
    "[::ffff:0:a00:1]",
    "[64:ff9b:1::808:808]",
    "[64:ff9b:1:808:8:800::]",
    "[2001:4860::5efe:a00:1]",
    "[2001:4860::200:5efe:a00:1]",
    "[2001:4860::200:5efe:7f00:1]",
)
NOWHERE = (
    "169.254.169.254",
    "0.0.0.0",
    "224.0.0.1",
    "[fe80::1]",
    "[::]",
    "[ff02::1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[::a9fe:a9fe]",
    "[::ffff:0:a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[64:ff9b:1:a9fe:a9:fe00::]",
    "[64:ff9b:1:a9:fe:a9fe::]",
    "[64:ff9b:1::a9:fea9:fe00:0]",
    "[2001:4860::5efe:a9fe:a9fe]",
    "[2001:4860::200:5efe:a9fe:a9fe]",
    "[fe80::5efe:808:808]",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "[fd20:ce::254]",
    "[fd00:c1::a9fe:a9fe]",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "[::ffff:100.100.100.200]",
    "[64:ff9b::6464:64c8]",
)


@refuses("RS-72")
@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_address_is_not_connected_to(host: str) -> None:
    detail = why_not(f"https://{host}:9/jwks")
    assert "has a private address; private_addresses=True allows it" in detail


@pytest.mark.parametrize("host", NOWHERE)
def test_where_clouds_keep_credentials_nothing_is_fetched(host: str) -> None:
    for allowed in (False, True):
        detail = why_not(f"https://{host}:9/jwks", private_addresses=allowed)
        assert "has an address where no keys can be" in detail


def test_what_leads_to_a_public_address_is_one_and_a_private_one_can_be_allowed() -> None:
    url = urlsplit("https://keys.example/jwks")
    for text in (
        "8.8.8.8",
        "2001:4860::8888",
        "::ffff:808:808",
        "64:ff9b::808:808",
        "2002:808:808::",
        "2001:4860::5efe:808:808",
    ):
        HttpFetcher()._check_address(url, text)
    for host in PRIVATE:
        HttpFetcher(private_addresses=True)._check_address(url, host.strip("[]"))


REAL = socket.getaddrinfo


def resolving(monkeypatch: pytest.MonkeyPatch, **names: list[tuple[str, int]]) -> None:
    """Let the name server say where hosts are; what it says is all that isn't real here."""

    def getaddrinfo(host: str, port: int, **options: Any) -> Any:
        return [
            found
            for address, there in names[host.replace(".", "_")]
            for found in REAL(address, there or port, **options)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_that_leads_inside_is_no_way_in(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(
        monkeypatch,
        keys_example=[("8.8.8.8", 0), (HOST, server.port)],
        localhost=[("192.0.2.9", 0)],
        nowhere_example=[],
    )
    # One of its addresses is enough, before any of them is used.
    assert "private address" in why_not(f"https://{NAME}/jwks")
    assert "localhost is not this machine" in why_not("http://localhost/jwks")
    assert "no address" in why_not("https://nowhere.example/jwks")
    assert server.accepted == 0


def test_an_unknown_name_is_a_failure_like_others() -> None:
    assert "gaierror" in why_not("https://no-such-host.invalid/jwks")
    with pytest.raises(UnicodeError):  # which whoever asked takes for a failure, too
        fetched(f"https://{'x' * 64}.example/")


def test_an_address_that_swallows_everything_leaves_time_for_the_next(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody accepts, and the queue is full: a connection attempt hangs.
    full = socket.create_server((HOST, 0), backlog=0)
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(full.getsockname())
    server.publish(answer("{}"))
    resolving(monkeypatch, localhost=[(HOST, full.getsockname()[1]), (HOST, server.port)])
    began = time.monotonic()
    assert fetched("http://localhost/jwks", timeout=2).status == 200
    assert 0.9 < time.monotonic() - began < 2
    resolving(monkeypatch, localhost=[(HOST, full.getsockname()[1])] * 2)
    assert "doesn't answer in 1.0 s" in why_not("http://localhost/jwks", timeout=1)
    for one in (full, *waiting):
        one.close()


# --- TLS


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    found = Authority(tmp_path, "trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(found.file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    return found


@pytest.mark.parametrize("door", DOORS)
def test_keys_come_over_tls_end_to_end(
    door: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    with KeyServer(authority.issue("server", NAME)) as server:
        resolving(monkeypatch, keys_example=[(HOST, server.port)])
        author = Author(f"https://{NAME}", clock)
        server.publish(key_set(author.keys))
        server.describe(issuer=f"https://{NAME}", jwks_uri=f"https://{NAME}/jwks")
        # With a port that isn't the usual one in the name, and through the metadata.
        for url in (f"https://{NAME}:{server.port}/jwks", None):
            keys = KeySet.remote(url, private_addresses=True)
            assert Site(door, author.settings(keys)).served(author.token())
        site = Site(door, author.settings(KeySet.remote(f"https://{NAME}/jwks")))
        assert not site.served(author.token())
        settle()
        (failed,) = site.told
        assert isinstance(failed, KeysFailed)
        assert "private_addresses=True" in failed.detail


@pytest.mark.parametrize("hosts", [("other.example",), ("*.example.com",), ("127.0.0.1",), ()])
def test_a_certificate_for_another_host_is_none(
    hosts: tuple[str, ...], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with KeyServer(authority.issue(NAME, *hosts)) as server:
        server.publish(answer("{}"))
        resolving(monkeypatch, keys_example=[(HOST, server.port)])
        detail = why_not(f"https://{NAME}/jwks", private_addresses=True)
        assert "CERTIFICATE_VERIFY_FAILED" in detail
        assert server.fetches == []


def test_a_certificate_of_somebody_elses_authority_is_none(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    with KeyServer(other.issue("server", HOST)) as server:
        assert "CERTIFICATE_VERIFY_FAILED" in why_not(server.url)


def test_tls_is_spoken_with_this_machine_too(authority: Authority) -> None:
    with KeyServer(authority.issue("server", HOST, "localhost")) as server:
        server.publish(answer("{}"))
        assert fetched(server.url).status == 200
        assert fetched(f"https://localhost:{server.port}/jwks").status == 200
        assert why_not(f"http://{HOST}:{server.port}/jwks"), "it closes, with words or without"


def test_a_server_that_does_not_speak_tls_is_none(authority: Authority, server: KeyServer) -> None:
    detail = why_not(f"https://{HOST}:{server.port}/jwks", timeout=1)
    assert "SSLError" in detail or "doesn't answer" in detail


@pytest.mark.parametrize("greets", [True, False])
def test_a_handshake_and_an_answer_end_in_time(greets: bool, authority: Authority) -> None:
    with KeyServer(authority.issue("server", HOST)) as server:
        server.greets = greets
        server.publish(drip(b"HTTP/1.1 200 OK\r\n"))
        assert "doesn't answer in 0.4 s" in why_not(server.url, timeout=0.4)


def test_a_handshake_in_drips_ends_in_time(authority: Authority) -> None:
    with KeyServer() as server:
        # Records of TLS that say there is more to come; each octet would begin a time-out anew.
        server.raw = drip(b"\x16\x03\x03\x3f\xff\x02" + b"\x01" * 99, every=0.05)
        assert "doesn't answer in 0.5 s" in why_not(f"https://{HOST}:{server.port}/", timeout=0.5)


# --- another client


def recipe() -> Any:
    """Return the class that docs/keys.md shows."""
    text = (Path(__file__).parent.parent.parent / "docs" / "keys.md").read_text("utf-8")
    after = text[text.index("import time\n\nimport httpx2") :]
    code = after[: after.index("```")]
    namespace: dict[str, Any] = {"KeySet": KeySet}
    exec(code, namespace)
    return namespace["Httpx"]


@pytest.mark.parametrize("door", DOORS)
def test_the_recipe_fetches_keys_like_the_standard_client(door: str, server: KeyServer) -> None:
    clock = Clock()
    author = Author(server.base, clock)
    server.publish(key_set(author.keys, fields=["Cache-Control: max-age=1200"]))
    server.describe()
    site = Site(door, author.settings(KeySet.remote(fetcher=recipe()())))
    assert site.served(author.token())
    clock.forward(890)
    assert site.served(author.token())
    settle()
    assert server.count == 1


@pytest.mark.parametrize(
    ("play", "timeout", "detail"),
    [
        (answer("", "Location: /other", status=302), 5, "answers 302"),
        (answer(b" " * (MAX_SET + 1)), 5, "OSError: too long"),
        (drip(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 999, every=0.005), 0.5, "OSError: too long"),
        (hang, 0.5, "ReadTimeout"),
    ],
)
def test_the_recipe_ends_in_time_and_follows_nobody(
    play: Play, timeout: float, detail: str, server: KeyServer
) -> None:
    author = Author(server.base, Clock())
    server.publish(play)
    keys = KeySet.remote(server.url, timeout=timeout, fetcher=recipe()())
    site = Site("wsgi", author.settings(keys))
    assert not site.served(author.token())
    settle()
    (failed,) = site.told
    assert isinstance(failed, KeysFailed)
    assert detail in failed.detail
    assert "/other" not in server.fetches


def test_the_factory_of_a_test_needs_no_network() -> None:
    factory = TokenFactory()
    assert factory.settings().keys.source is None
