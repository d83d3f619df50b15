"""A signing key outside this process: another process holds it, as a KMS or an HSM does.

`python examples/own_signer.py` starts that process, issues tokens, and lets it go down and come up.

The other side knows the private key and signs hashes; this side knows the public one, and checks
with it what comes back. With a service of your provider's, only `sign` differs: one call of its
client. For WSGI take `Keeper`, for ASGI either.
"""

import asyncio
import hashlib
import secrets
import socket
import socketserver
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from jwt_middleware import Issuer, KeySet, Refresh, Settings, Unavailable

END = b"-----END PUBLIC KEY-----\n"
TIMEOUT = 2.0  # seconds; a login waits so long at most, then it is answered 503


class Keeper:
    """Ask the process behind a socket to sign."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def sign(self, message: bytes) -> bytes:
        """Return the ECDSA signature, in DER. Raises OSError."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(self._path)
            connection.sendall(hashlib.sha256(message).digest())
            with connection.makefile("rb") as answer:
                return answer.read()


class AsyncKeeper:
    """Ask the process behind a socket to sign, and let other tasks run meanwhile: for ASGI."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    async def sign(self, message: bytes) -> bytes:
        """Return the ECDSA signature, in DER. Raises OSError."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(hashlib.sha256(message).digest())
            return await asyncio.wait_for(reader.read(), TIMEOUT)
        finally:
            writer.close()


# --- the other side


class Vault(socketserver.ThreadingUnixStreamServer):
    """Hold a private key, and sign each hash that comes."""

    daemon_threads = True

    def __init__(self, path: str, private: ec.EllipticCurvePrivateKey) -> None:
        self.private = private
        super().__init__(path, _Request)


class _Request(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        vault = cast("Vault", self.server)
        digest = self.rfile.read(32)
        if len(digest) == 32:
            signature = vault.private.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))
            self.wfile.write(signature)


def keep(path: str, key_file: str) -> None:
    """Serve until the process ends. The key is made when there is none."""
    file = Path(key_file)
    if not file.exists():
        KeySet.generate("ES256").save(file)
    (key,) = KeySet.load(file).keys
    private = cast("ec.EllipticCurvePrivateKey", key.private)
    Path(path).unlink(missing_ok=True)
    with Vault(path, private) as vault:
        pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        sys.stdout.buffer.write(pem)
        sys.stdout.flush()
        vault.serve_forever()


@contextmanager
def kept(folder: Path) -> Generator[tuple[bytes, Path]]:
    """Start the other side; yield its public key in PEM, and where it listens."""
    path = folder / "socket"
    command = [sys.executable, __file__, "keep", str(path), str(folder / "private.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101
            lines = takewhile(END.__ne__, process.stdout)
            yield b"".join([*lines, END]), path
        finally:
            process.terminate()


def main() -> None:
    """Show a login, an outage, and the login after it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with kept(folder) as (public, path):
            settings = Settings(
                issuer="http://127.0.0.1:8000",
                audience="notes",
                keys=KeySet.external(public, Keeper(path)),
                refresh=Refresh(store="memory://", secret=secrets.token_urlsafe(64)),
            )
            issuer = Issuer(settings)
            print(f"This side knows {settings.keys}")
            print(f"A login: {len(issuer.issue('alice').access_token)} characters of token")
        try:
            issuer.issue("alice")
        except Unavailable as error:
            print(f"The other side is down: {error.status}, {error}")
        with kept(folder):
            print(f"It is back: {len(issuer.issue('alice').access_token)} characters of token")


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"]:
        keep(*sys.argv[2:])
    else:
        main()
