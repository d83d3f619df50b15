"""Certificates for the tests, and TLS in front of the servers of wheels, which are built without.

A front does what a load balancer does: it ends the client's TLS, and passes on what it hears.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "127.0.0.1"
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # what a client of PostgreSQL says first


class Pair(NamedTuple):
    """The files of a certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """A CA of its own, whose files lie in one folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.file = folder / f"{name}.pem"
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._number = 0
        signed = self._signed(self._name, self._key, x509.BasicConstraints(True, 0))
        self.file.write_bytes(signed)

    def issue(self, name: str, *hosts: str, password: str = "") -> Pair:
        """Make a certificate for some hosts; for a client, there are none."""
        self._number += 1
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = [x509.SubjectAlternativeName([_general(one) for one in hosts])] if hosts else []
        signed = self._signed(subject, key, x509.BasicConstraints(False, None), *names)
        stem = self._folder / f"{self.file.stem}-{self._number}"
        pair = Pair(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        pair.certificate.write_bytes(signed)
        pair.key.touch(0o600)  # libpq refuses one that others can read
        pair.key.write_bytes(_pem(key, password))
        return pair

    def _signed(self, subject: x509.Name, key: Any, *extensions: x509.ExtensionType) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )
        # RFC 5280 s4.2.1.1 and s4.2.1.2: by these a chain is built, and Python asks for them.
        mine, its = self._key.public_key(), key.public_key()
        keys = (
            x509.SubjectKeyIdentifier.from_public_key(its),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(mine),
        )
        if subject == self._name:
            # s4.2.1.3: a CA "MUST include" it, and from 3.13 on Python asks for that, too.
            extensions = (*extensions, _KEYS_OF_A_CA)
        for one in (*keys, *extensions):
            is_critical = isinstance(one, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(one, critical=is_critical)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)


_KEYS_OF_A_CA = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: Any, password: str) -> bytes:
    kind = serialization
    return bytes(
        key.private_bytes(
            kind.Encoding.PEM,
            kind.PrivateFormat.PKCS8,
            kind.BestAvailableEncryption(password.encode()) if password else kind.NoEncryption(),
        )
    )


class Front:
    """Speaks TLS with clients, and plainly with a server on this machine."""

    def __init__(self, port: int, pair: Pair, ca: Path | None = None) -> None:
        """Lead to a port; with a CA, for clients who bring a certificate of it alone."""
        self._to = port
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(*pair)
        if ca is not None:
            self._context.load_verify_locations(ca)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.shaken = 0  # handshakes that were brought to their end
        self._threads = [Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                self._threads.append(Thread(target=self._lead, args=(client,)))
                self._threads[-1].start()

    def _lead(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(10)
            if client.recv(len(SSL_REQUEST), socket.MSG_PEEK) == SSL_REQUEST:
                client.recv(len(SSL_REQUEST))
                client.sendall(b"S")
            with (
                self._context.wrap_socket(client, server_side=True) as spoken,
                socket.create_connection((HOST, self._to)) as server,
            ):
                self.shaken += 1
                self._open += [spoken, server]
                spoken.settimeout(None)
                back = Thread(target=_pass_on, args=(server, spoken))
                back.start()
                _pass_on(spoken, server)
                back.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while octets := source.recv(1 << 16):
            target.sendall(octets)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
