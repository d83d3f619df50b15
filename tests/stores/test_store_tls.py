"""TLS to the engines: real handshakes, and what is told at start where one can't be.

Redis is Debian's, which speaks TLS itself. The wheels' Valkey and PostgreSQL are built without: a
front ends TLS before them, as a load balancer does; what is tested is the client's side anyway.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from jwt_middleware import ConfigurationError, StoreUnavailable
from jwt_middleware.stores.opening import open_store
from tests.engines import postgres
from tests.engines import redis as engines
from tests.engines.redis import HOST, Server, park, until
from tests.engines.tls import Authority, Front, Pair
from tests.stores import RETENTION, new_grant

__all__ = ["park"]

pytestmark = pytest.mark.xdist_group("tls")


class Papers(NamedTuple):
    """Certificates of a CA that is known, and a CA that has made none of them."""

    ca: Authority
    strange: Authority
    server: Pair
    other_host: Pair
    client: Pair
    locked: Pair  # the same, whose key has the password "secret"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    ca = Authority(folder, "ca")
    return Papers(
        ca=ca,
        strange=Authority(folder, "strange"),
        server=ca.issue("server", HOST),
        other_host=ca.issue("server", "db.example.com"),
        client=ca.issue("client"),
        locked=ca.issue("client", password="secret"),
    )


def works(url: str) -> None:
    """Go with both kinds of stores from a login to its end."""
    opened = open_store(url, clock=time.time, retention=700)
    one, other = new_grant(time.time()), new_grant(time.time())
    plain = opened.plain
    plain.check()
    plain.add(one, 100)
    assert plain.advance(one.id, 1, 2, None).advanced
    assert plain.end(one.id, "logout")
    assert one.id in plain.ended(None, RETENTION).grant_ids
    plain.close()

    async def awaited() -> None:
        store = opened.awaited
        await store.check()
        await store.add(other, 100)
        assert (await store.advance(other.id, 1, 2, None)).advanced
        assert await store.end(other.id, "logout")
        assert {one.id, other.id} <= set((await store.ended(None, RETENTION)).grant_ids)
        await store.aclose()

    asyncio.run(awaited())


def told(url: str) -> list[ConfigurationError]:
    """Return what both kinds of stores say at start; they say it without a secret."""
    opened = open_store(url, clock=time.time, retention=700)
    with pytest.raises(ConfigurationError) as caught:
        opened.plain.check()
    with pytest.raises(StoreUnavailable) as later:
        opened.plain.grants("alice")
    opened.plain.close()

    async def awaited() -> None:
        try:
            await opened.awaited.check()
        finally:
            await opened.awaited.aclose()

    with pytest.raises(ConfigurationError) as caught_awaited:
        asyncio.run(awaited())
    errors = [caught.value, caught_awaited.value]
    assert not any("secret" in str(one) for one in (*errors, later.value))
    return errors


def says(url: str, problem: str, remedy: str) -> None:
    for error in told(url):
        assert problem in error.problem
        assert remedy in str(error.remedy)


# --- Redis

Listen = Callable[..., int]


def options(papers: Papers, pair: Pair, port: int, *, asks: bool = False) -> tuple[str, ...]:
    given = {
        "tls-port": port,
        "tls-cert-file": pair.certificate,
        "tls-key-file": pair.key,
        "tls-ca-cert-file": papers.ca.file,
        "tls-auth-clients": "yes" if asks else "no",
        "tls-replication": "yes",
    }
    return tuple(word for name, value in given.items() for word in (f"--{name}", str(value)))


@pytest.fixture(scope="module")
def listen(papers: Papers) -> Iterator[Listen]:
    """Start a Redis that speaks TLS, and return the port where it does; each kind once."""
    running: dict[Any, tuple[Server, int]] = {}

    def start(pair: Pair | None = None, *, asks: bool = False) -> int:
        key = pair or papers.server, asks
        if key not in running:
            port = engines.free_port()
            running[key] = Server("redis", *options(papers, key[0], port, asks=asks)), port
        return running[key][1]

    yield start
    for server, _ in running.values():
        server.close()


def test_redis_over_tls(papers: Papers, listen: Listen) -> None:
    works(f"rediss://{HOST}:{listen()}?ssl_ca_certs={papers.ca.file}")


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_one_server_behind_what_ends_tls(papers: Papers, engine: str) -> None:
    with Server(engine) as server, Front(server.port, papers.server) as front:
        works(f"rediss://{HOST}:{front.port}?ssl_ca_certs={papers.ca.file}")
        assert front.shaken


def test_a_strange_ca_is_told_at_start(papers: Papers, listen: Listen) -> None:
    problem, remedy = "SSLCertVerificationError", "ssl_ca_certs=/path/to/ca.pem"
    port = listen()
    says(f"rediss://:secret@{HOST}:{port}?ssl_ca_certs={papers.strange.file}", problem, remedy)
    says(f"rediss://:secret@{HOST}:{port}", problem, remedy)


@pytest.mark.parametrize("host", [HOST, "localhost"])
def test_a_certificate_of_another_host_is_told_at_start(
    papers: Papers, listen: Listen, host: str
) -> None:
    url = f"rediss://:secret@{host}:{listen(papers.other_host)}?ssl_ca_certs={papers.ca.file}"
    says(url, "certificate of another host", "a name that stands in the server's certificate")


def test_a_verb_says_what_is_wrong_with_a_certificate(papers: Papers, listen: Listen) -> None:
    # It may expire long after the start.
    url = f"rediss://{HOST}:{listen()}?ssl_ca_certs={papers.strange.file}"
    store = open_store(url, clock=time.time, retention=700).plain
    with pytest.raises(StoreUnavailable, match="SSLCertVerificationError"):
        store.grants("alice")
    store.close()


def test_files_that_are_not_there_or_no_certificates_are_told(
    papers: Papers, listen: Listen
) -> None:
    url = f"rediss://{HOST}:{listen()}"
    says(f"{url}?ssl_ca_certs=/nowhere/secret.pem", "FileNotFoundError", "must be there")
    says(f"{url}?ssl_ca_certs={papers.server.key}", "SSLError", "must be PEM files")


def test_a_client_shows_its_certificate(papers: Papers, listen: Listen) -> None:
    url = f"rediss://{HOST}:{listen(asks=True)}?ssl_ca_certs={papers.ca.file}"
    for pair, password in ((papers.client, ""), (papers.locked, "&ssl_password=secret")):
        works(f"{url}&ssl_certfile={pair.certificate}&ssl_keyfile={pair.key}{password}")
    # Refused after the handshake (RFC 8446 s4.4.2.4): what the client sees of it depends.
    says(url, "", "ssl_certfile and ssl_keyfile")
    pair = papers.locked
    wrong = f"&ssl_certfile={pair.certificate}&ssl_keyfile={pair.key}&ssl_password=wrong"
    says(url + wrong, "SSLError", "ssl_password opens the key")


def test_one_side_that_speaks_no_tls_is_told(papers: Papers, listen: Listen) -> None:
    says(f"redis://:secret@{HOST}:{listen()}", "ConnectionError", "begins with rediss")
    with Server("redis") as server:
        url = f"rediss://:secret@{HOST}:{server.port}?timeout=1&ssl_ca_certs={papers.ca.file}"
        says(url, "", "begins with rediss")


def test_a_cluster_over_tls(papers: Papers) -> None:
    port = engines.free_port()
    given = (*options(papers, papers.server, port), "--tls-cluster", "yes")
    with Server("redis", *engines.CLUSTERED, *given) as server:
        server.do("CLUSTER ADDSLOTSRANGE", 0, 16383)
        until(lambda: server.do("CLUSTER INFO")["cluster_state"] == "ok")
        url = f"rediss+cluster://{HOST}:{port}"
        works(f"{url}?ssl_ca_certs={papers.ca.file}")
        says(f"{url}?ssl_ca_certs={papers.strange.file}", "SSLCertVerificationError", "ca.pem")


def test_sentinels_over_tls(papers: Papers, listen: Listen) -> None:
    with _Sentinel(papers, listen()) as sentinel:
        until(lambda: sentinel.do("SENTINEL MASTERS")["grants"]["flags"] == "master")
        url = f"rediss+sentinel://{HOST}:{sentinel.tls_port}/grants"
        works(f"{url}?ssl_ca_certs={papers.ca.file}")
        says(f"{url}?ssl_ca_certs={papers.strange.file}", "MasterNotFoundError", "ssl_ca_certs")


class _Sentinel(Server):
    """One Sentinel that speaks TLS with its primary and with clients."""

    def __init__(self, papers: Papers, primary: int) -> None:
        self._papers = papers
        self._primary = primary
        self.tls_port = engines.free_port()
        super().__init__("redis")

    def launch(self) -> None:
        settings = self.folder / "sentinel.conf"
        settings.write_text(f"sentinel monitor grants {HOST} {self._primary} 1\n")
        given = options(self._papers, self._papers.server, self.tls_port)
        self.run(str(settings), "--sentinel", *given)


# --- PostgreSQL


@pytest.fixture(scope="module")
def postgres_port() -> Iterator[int]:
    server = postgres.Server().start()
    yield server.port
    server.stop()


def at(front: Front, query: str) -> str:
    return f"postgresql://postgres@{HOST}:{front.port}/postgres?sslmode=verify-full{query}"


REMEDY = "in the file sslrootcert"


def test_postgresql_over_tls(papers: Papers, postgres_port: int) -> None:
    with Front(postgres_port, papers.server) as front:
        works(at(front, f"&sslrootcert={papers.ca.file}"))
        assert front.shaken
        strange = at(front, f"&sslrootcert={papers.strange.file}")
        says(strange, "OperationalError", REMEDY)
        says(at(front, "&sslrootcert=/nowhere/secret.pem"), "OperationalError", REMEDY)


def test_postgresql_with_a_certificate_of_another_host(papers: Papers, postgres_port: int) -> None:
    with Front(postgres_port, papers.other_host) as front:
        says(at(front, f"&sslrootcert={papers.ca.file}"), "OperationalError", "host's name")


def test_postgresql_that_wants_a_certificate(papers: Papers, postgres_port: int) -> None:
    with Front(postgres_port, papers.server, papers.ca.file) as front:
        known = f"&sslrootcert={papers.ca.file}"
        shown = f"&sslcert={papers.client.certificate}&sslkey={papers.client.key}"
        works(at(front, known + shown))
        says(at(front, known), "OperationalError", "sslcert and sslkey")
