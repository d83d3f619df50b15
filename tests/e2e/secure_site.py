"""An https site on this machine, under a name, and a Chromium that binds cookies (DBSC)."""

from __future__ import annotations

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from .browsing import SWITCHES, chromium

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

HOST = "app.test"
# Compiled in and off in Debian's Chromium; and keys in software, where there is no TPM.
FEATURES = "DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"


class Certificate:
    """A key and a certificate of its own, in one file; and the hash that Chromium trusts it by."""

    def __init__(self, folder: Path) -> None:
        from base64 import b64encode

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
            .sign(key, SHA256())
        )
        self.path = folder / "site.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.path.write_bytes(private + made.public_bytes(Encoding.PEM))
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.spki = b64encode(sha256(public).digest()).decode()

    def secure(self, server: Any) -> None:
        """Let a server speak TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        # The handshake is for the thread that serves the connection: a browser opens some that it
        # never uses.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )


@contextmanager
def profile(folder: Path, spki: str, *, features: str = FEATURES) -> Generator[BrowserContext]:
    """Give a browser whose profile is in a folder, and outlives it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder,
            executable_path=chromium(),
            args=[
                *SWITCHES,
                "--host-resolver-rules=MAP *.test 127.0.0.1",
                f"--ignore-certificate-errors-spki-list={spki}",
                *([f"--enable-features={features}"] if features else []),
            ],
        )
        context.set_default_timeout(20_000)
        try:
            yield context
        finally:
            context.close()
