"""RS-59: tokens that are bound to the certificate of their client (RFC 8705)."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.client import HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from werkzeug.serving import make_server

from jwt_middleware import ClientCertificates, ConfigurationError, Proofs
from jwt_middleware.jose.strict_json import b64url_encode
from jwt_middleware.request.client_certificate import CertificateReader
from jwt_middleware.values.requests import Request
from jwt_middleware.wsgi import JWTMiddleware
from tests.proofs.shown import Shown
from tests.rules import accepts, refuses
from tests.waiting import PATIENCE
from tests.world import Answer, Sent, by_asgi, by_wsgi, encoded


def certificate(name: str) -> x509.Certificate:
    return certified(name, ec.generate_private_key(ec.SECP256R1()))


def certified(name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 7)
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    if name[0].isdigit():
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, SHA256())


def pair(name: str, folder: Path) -> Path:
    """Return a file with a key and its certificate."""
    key, file = ec.generate_private_key(ec.SECP256R1()), folder / f"{name}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certified(name, key).public_bytes(Encoding.PEM))
    return file


OURS, OTHERS = certificate("a client"), certificate("another")
DER = OURS.public_bytes(Encoding.DER)
PEM = OURS.public_bytes(Encoding.PEM).decode()
CNF = {"x5t#S256": b64url_encode(sha256(DER).digest()).decode()}
FIELD = f":{b64encode(DER).decode()}:"
BY_PROXY = ClientCertificates(header="Client-Cert", proxies=("10.0.0.0/8", "2001:db8::/32"))


class Mutual(Shown):
    """The same service, whose clients show certificates."""

    def __init__(self, group: ClientCertificates | None, **settings: Any) -> None:
        super().__init__(proofs=settings.pop("proofs", None), routes=(), **settings)
        self.settings = self.settings.replace(client_certificates=group)
        self.world = type(self.world)(self.settings)

    def through(
        self,
        token: str,
        *,
        peer: str | None = "203.0.113.9",
        pem: str | None = None,
        field: str | None = None,
        scheme: str = "Bearer",
    ) -> Answer:
        """Send one request with what the server says of its connection."""
        sent = Sent("GET", "/", [("Authorization", f"{scheme} {token}".encode())])
        if field is not None:
            sent.headers.extend(encoded([("Client-Cert", field)], None))
        environ: dict[str, Any] = {} if pem is None else {"SSL_CLIENT_CERT": pem}
        environ |= {} if peer is None else {"REMOTE_ADDR": peer}
        tls = {} if pem is None else {"tls": {"client_cert_chain": [pem, "more"]}}
        client = None if peer is None else (peer, 50000)
        answers = []
        for raw in (
            lambda: by_wsgi(self.world.wsgi, sent, **environ),
            lambda: asyncio.run(by_asgi(self.world.asgi, sent, client=client, extensions=tls)),
        ):
            self.world.application.seen, before = None, len(self.world.events)
            answers.append(self.world.application.answer(raw(), self.world.events[before:]))
        assert answers[0] == answers[1], "the doors disagree"
        assert answers[0].reason == answers[1].reason
        return answers[0]


@accepts("RS-59")
def test_the_certificate_of_the_servers_own_tls() -> None:
    world = Mutual(ClientCertificates())
    token = world.factory.token(cnf=CNF)
    world.through(token, pem=PEM)
    answer = world.through(token, pem=PEM)  # known now
    assert (answer.status, answer.user) == (200, "alice")
    assert answer.token is not None
    assert (answer.token.bound_certificate, answer.token.bound_key) == (CNF["x5t#S256"], None)


@accepts("RS-59")
@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"])
def test_the_certificate_in_the_field_of_a_proxy(peer: str) -> None:
    world = Mutual(BY_PROXY)
    assert world.through(world.factory.token(cnf=CNF), peer=peer, field=FIELD).status == 200


@accepts("RS-59")
def test_a_proxy_on_a_socket_in_the_file_system() -> None:
    world = Mutual(ClientCertificates(header="Client-Cert", proxies=("unix",)))
    token = world.factory.token(cnf=CNF)
    assert world.through(token, peer=None, field=FIELD).status == 200
    assert world.through(token, peer="10.1.2.3", field=FIELD).status == 401


@refuses("RS-59")
@pytest.mark.parametrize("peer", ["203.0.113.9", "11.0.0.1", "::1", "localhost", None])
def test_the_field_of_anybody_else_is_ignored(peer: str | None) -> None:
    world = Mutual(BY_PROXY)
    answer = world.through(world.factory.token(cnf=CNF), peer=peer, field=FIELD)
    assert (answer.status, answer.error, answer.reason) == (
        401,
        "invalid_token",
        "client_certificate",
    )


@refuses("RS-59")
def test_a_request_that_says_nothing_of_its_peer_is_no_proxys() -> None:
    reader = CertificateReader("Client-Cert", ("unix", "10.0.0.0/8"))
    assert reader.thumbprint(Request("GET", "/", {"client-cert": FIELD}.get)) is None


@refuses("RS-59")
def test_without_the_setting_the_field_is_ignored_and_the_token_refused() -> None:
    for group in (None, ClientCertificates()):
        world = Mutual(group)
        answer = world.through(world.factory.token(cnf=CNF), peer="10.0.0.1", field=FIELD)
        assert (answer.status, answer.error) == (401, "invalid_token")
    world = Mutual(BY_PROXY)  # what the server says of its own TLS isn't the client's certificate
    assert world.through(world.factory.token(cnf=CNF), peer="10.0.0.1", pem=PEM).status == 401


@refuses("RS-59")
@pytest.mark.parametrize(
    "pem",
    [None, OTHERS.public_bytes(Encoding.PEM).decode(), "", "x", PEM.replace("A", "*"), PEM[:200]],
    ids=["none", "another", "empty", "nonsense", "damaged", "cut"],
)
def test_another_certificate_or_none(pem: str | None) -> None:
    world = Mutual(ClientCertificates())
    answer = world.through(world.factory.token(cnf=CNF), pem=pem)
    assert (answer.status, answer.reached, answer.reason) == (401, False, "client_certificate")


@refuses("RS-59")
@pytest.mark.parametrize(
    "field",
    [None, "", FIELD[1:], FIELD[:-1], f"{FIELD}, {FIELD}", PEM[:60], "::", ":AAA:", ":A:"],
    ids=["none", "empty", "no start", "no end", "two", "PEM", "colons", "no group", "one letter"],
)
def test_a_field_that_isnt_one(field: str | None) -> None:
    world = Mutual(BY_PROXY)
    token = world.factory.token(cnf=CNF)
    assert world.through(token, peer="10.0.0.1", field=field).status == 401


@refuses("RS-59")
def test_a_token_of_a_certificate_is_none_of_a_proof() -> None:
    proofs = Proofs(urls=("https://api.example",), nonces=False)
    world = Mutual(ClientCertificates(), proofs=proofs)
    token = world.factory.token(cnf=CNF)
    assert world.through(token, pem=PEM).status == 200
    assert world.through(token, pem=PEM, scheme="DPoP").reason == "token_not_bound"
    both = world.factory.token(cnf={**CNF, **world.prover.cnf})
    assert world.through(both, pem=PEM).reason == "sender_constrained"
    assert world.ask(token=world.token()).status == 200


def test_an_unbound_token_needs_no_certificate() -> None:
    world = Mutual(ClientCertificates())
    assert world.through(world.factory.token()).status == 200


@pytest.mark.parametrize(
    "given",
    [
        {"header": "Client-Cert"},
        {"proxies": ("10.0.0.0/8",)},
        {"header": "Client-Cert", "proxies": ("10.0.0.1/8",)},
        {"header": "Client-Cert", "proxies": ("proxy.example",)},
        {"header": "Client-Cert", "proxies": (10,)},
        {"header": "Authorization", "proxies": ("10.0.0.0/8",)},
    ],
)
def test_a_field_and_its_proxies_go_together(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="client_certificates"):
        ClientCertificates(**given)


@accepts("RS-59")
@refuses("RS-59")
def test_a_server_that_ends_tls_itself_says_who_came(tmp_path: Path) -> None:
    at, ours, others = (pair(name, tmp_path) for name in ("127.0.0.1", "a client", "another"))
    shown = Mutual(ClientCertificates())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(at)
    context.verify_mode = ssl.CERT_OPTIONAL
    for one in (ours, others):
        context.load_verify_locations(one)
    pem = x509.load_pem_x509_certificate(ours.read_bytes())
    thumbprint = sha256(pem.public_bytes(Encoding.DER)).digest()
    token = shown.factory.token(cnf={"x5t#S256": b64url_encode(thumbprint).decode()})

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"in"]

    door = JWTMiddleware(app, shown.settings)
    server = make_server("127.0.0.1", 0, door, ssl_context=context)

    def status(certificate: Path | None) -> int:
        client = ssl.create_default_context(cafile=str(at))
        if certificate is not None:
            client.load_cert_chain(certificate)
        asking = HTTPSConnection("127.0.0.1", server.port, context=client, timeout=PATIENCE)
        with closing(asking):
            asking.request("GET", "/", headers={"Authorization": f"Bearer {token}"})
            return asking.getresponse().status

    serving = Thread(target=server.serve_forever)
    serving.start()
    try:
        assert [status(one) for one in (ours, others, None, ours)] == [200, 401, 401, 200]
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
        shown.settings.close()
