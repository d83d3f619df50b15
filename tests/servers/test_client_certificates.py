"""RS-59 behind a real proxy that ends TLS and hands the client's certificate on (RFC 9440)."""

from __future__ import annotations

import http.client
import shutil
import ssl
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jwt_middleware.jose.strict_json import b64url_encode
from tests.processes import HOST, ROOT, free_port, running
from tests.rules import accepts, refuses
from tests.servers.test_bound import APPLICATIONS
from tests.servers.test_servers import COMMANDS, Server
from tests.waiting import PATIENCE
from tests.wrapped import FACTORY

# What docs/proofs.md says.
PROXY = """
defaults
  mode http
  timeout connect 60s
  timeout client 60s
  timeout server 60s
frontend clients
  bind {host}:{port} ssl crt {folder}/site.pem verify optional ca-file {folder}/clients.pem
  http-request del-header Client-Cert
  http-request del-header Client_Cert
  http-request set-header Client-Cert ":%[ssl_c_der,base64]:" if {{ ssl_c_used }}
  default_backend service
backend service
  server one {host}:{upstream}
"""


class Party:
    """A key and a certificate of its own, in a file."""

    def __init__(self, folder: Path, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject, now = (
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]),
            datetime.now(UTC),
        )
        made = (
            x509.CertificateBuilder(subject, subject, key.public_key(), 7)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, SHA256())
        )
        self.public = made.public_bytes(Encoding.PEM)
        self.path = folder / f"{name}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.path.write_bytes(private + self.public)
        digest = sha256(made.public_bytes(Encoding.DER)).digest()
        self.token = FACTORY.token(cnf={"x5t#S256": b64url_encode(digest).decode()})


class Parties:
    """A site, two clients that it knows, and what to ask it with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site, self.client, self.other = (
            Party(folder, name) for name in ("site", "client", "other")
        )
        (folder / "clients.pem").write_bytes(self.client.public + self.other.public)

    def ask(self, port: int, token: str, shown: Party | None, *fields: tuple[str, str]) -> int:
        """Send a request whose client shows a certificate, or none; return the status."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if shown is not None:
            context.load_cert_chain(shown.path)
        line = http.client.HTTPSConnection(HOST, port, timeout=PATIENCE, context=context)
        with closing(line):
            line.putrequest("GET", "/")
            for name, value in (("Authorization", f"Bearer {token}"), *fields):
                line.putheader(name, value)
            line.endheaders()
            return line.getresponse().status


@pytest.fixture
def parties(tmp_path: Path) -> Parties:
    return Parties(tmp_path)


@contextmanager
def haproxy(upstream: int, parties: Parties) -> Generator[int]:
    """Run HAProxy in front of a port; give its own."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("no haproxy on the PATH: apt-get install haproxy")
    port, folder = free_port(), parties.folder
    said = PROXY.format(host=HOST, port=port, folder=folder, upstream=upstream)
    (folder / "haproxy.cfg").write_text(said)
    command = [program, "-db", "-f", str(folder / "haproxy.cfg")]
    with running(command, port, folder / "haproxy.log"):
        yield port


@pytest.fixture
def proxied(request: pytest.FixtureRequest, parties: Parties) -> Iterator[int]:
    *command, application = COMMANDS[request.param]
    log = parties.folder / "server.log"
    server = Server(request.param, log, (*command, APPLICATIONS[application]))
    try:
        server.wait()
        with haproxy(server.port, parties) as port:
            yield port
    finally:
        server.kill()


def check(port: int, parties: Parties) -> None:
    client, other = parties.client, parties.other
    assert parties.ask(port, client.token, client) == 200
    assert parties.ask(port, client.token, other) == 401
    assert parties.ask(port, client.token, None) == 401
    assert parties.ask(port, FACTORY.token(), None) == 200
    for name in ("Client-Cert", "Client_Cert", "SSL-CLIENT-CERT", "SSL_CLIENT_CERT"):
        for value in (field_of(client), client.public.decode().replace("\n", " ")):
            for shown in (None, other):
                assert parties.ask(port, client.token, shown, (name, value)) == 401, name
    assert parties.ask(port, other.token, other) == 200


def field_of(party: Party) -> str:
    """Return the field that a proxy would send (RFC 9440 s2.2)."""
    lines = party.public.decode().strip().splitlines()
    return f":{''.join(lines[1:-1])}:"


@accepts("RS-59")
@refuses("RS-59")
@pytest.mark.long
@pytest.mark.parametrize("proxied", ["gunicorn", "uvicorn", "hypercorn"], indirect=True)
def test_haproxy_hands_it_on_and_drops_what_clients_send(proxied: int, parties: Parties) -> None:
    check(proxied, parties)


def test_the_lines_of_the_page_are_those_that_were_tried() -> None:
    page = (ROOT / "docs/proofs.md").read_text()
    lines = [one.strip() for one in PROXY.format_map(defaultdict(str)).splitlines()]
    tried = [one for one in lines if one.startswith("http-request")]
    assert len(tried) == 3
    assert all(f"\n{one}\n" in page for one in tried)
