"""Readers that are servers: each is started with the keys, and gets a request for each token."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import string
import subprocess
from base64 import b64encode
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from getpass import getuser
from pathlib import Path
from urllib.parse import urlsplit

from tests.processes import AS_ITS_USER, HOST, ROOT, free_port, wait_open
from tests.waiting import PATIENCE

from . import HERE, JWKS, METADATA, Issuer, Reader, Refused, Verdicts

APACHE, HAPROXY, NGINX = "/usr/sbin/apache2", "/usr/sbin/haproxy", "/usr/sbin/nginx"
DOVECOT = "/usr/sbin/dovecot"
ENVOY = str(ROOT / ".venv-matrix" / "bin" / "envoy")


def _filled(name: str, **values: object) -> str:
    """Return a configuration file of this folder, with what it leaves open."""
    return string.Template((HERE / name).read_text("utf-8")).substitute(values)


@contextmanager
def _running(words: Sequence[str], port: int, folder: Path) -> Generator[None]:
    """Run a server, not as root; `Refused` if it ends before it serves."""
    log = folder / "log"
    if words[0] != ENVOY:  # its file may be where only its owner has a way
        words = (*AS_ITS_USER, *words)
    if AS_ITS_USER:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "www-data", "www-data")
    with log.open("wb") as said:
        process = subprocess.Popen(words, cwd=folder, stdout=said, stderr=said)
    try:
        with suppress(AssertionError):
            wait_open(port, process, log)
        if process.poll() is not None:
            raise Refused(log.read_text())
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _verdicts(issuer: Issuer, port: int) -> Verdicts:
    return {name: _asked(port, token) for name, token in issuer.tokens().items()}


def _asked(port: int, token: str) -> str | None:
    with closing(http.client.HTTPConnection(HOST, port, PATIENCE)) as line:
        line.request("GET", "/me", headers={"Authorization": f"Bearer {token}"})
        answer = line.getresponse()
        answer.read()
    assert answer.status in {200, 401, 403}, answer.status
    return answer.getheader("X-User") if answer.status == 200 else None


def haproxy(issuer: Issuer) -> Verdicts:
    port = free_port()
    with issuer.folder() as folder:
        is_secret = issuer.key.is_symmetric
        key = issuer.secret.decode() if is_secret else folder / "key.pem"
        text = _filled("haproxy.cfg", port=port, algorithm=issuer.algorithm, key=key)
        (folder / "haproxy.cfg").write_text(text)
        with _running((HAPROXY, "-db", "-f", str(folder / "haproxy.cfg")), port, folder):
            return _verdicts(issuer, port)


@contextmanager
def _apache(module: str, folder: Path) -> Generator[int]:
    port = free_port()
    (folder / "www").mkdir()
    (folder / "www" / "me").touch()
    text = _filled("apache.conf", port=port, folder=folder, module=module)
    (folder / "apache.conf").write_text(text)
    words = APACHE, "-DFOREGROUND", "-f", str(folder / "apache.conf")
    with _running(words, port, folder):
        yield port


def mod_auth_openidc(*, shared: bool = False, require: str = "Require valid-user") -> Reader:
    """Return the reader that finds keys by our metadata; `shared`: that is given the secret."""

    def read(issuer: Issuer) -> Verdicts:
        if shared and not issuer.key.is_symmetric:
            raise Refused("there is no secret to share")
        with issuer.folder() as folder, issuer.served() as url:
            keys = f"OIDCOAuthServerMetadataURL {url}{METADATA}"
            if shared:
                keys = f"OIDCOAuthVerifySharedKeys plain#{issuer.key.kid}#{issuer.secret.decode()}"
            text = _filled("mod_auth_openidc.conf", folder=folder, keys=keys, require=require)
            with _apache(text, folder) as port:
                return _verdicts(issuer, port)

    return read


def mod_oauth2(*, require: str = "Require valid-user") -> Reader:
    def read(issuer: Issuer) -> Verdicts:
        with issuer.folder() as folder, issuer.served() as url:
            keys = f"jwks_uri {url}{JWKS}"
            if issuer.key.is_symmetric:
                keys = f"plain {issuer.secret.decode()} kid={issuer.key.kid}"
            text = _filled("mod_oauth2.conf", keys=keys, require=require)
            with _apache(text, folder) as port:
                return _verdicts(issuer, port)

    return read


def njs(*, as_pem: bool) -> Reader:
    def read(issuer: Issuer) -> Verdicts:
        port = free_port()
        with issuer.folder() as folder:
            given = {"algorithm": issuer.algorithm, "jwk": issuer.published[-1], "as_pem": as_pem}
            if not issuer.key.is_symmetric:
                given["pem"] = issuer.pem()
            (folder / "given.json").write_text(json.dumps(given))
            for name in ("nginx.conf", "reader.js"):
                (folder / name).write_text(_filled(name, port=port, folder=folder))
            words = NGINX, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")
            with _running(words, port, folder):
                return _verdicts(issuer, port)

    return read


def envoy(*, local: bool = False) -> Reader:
    """Return the reader that fetches the set, or (`local`) has it in its configuration."""

    def read(issuer: Issuer) -> Verdicts:
        port = free_port()
        with issuer.folder() as folder, issuer.served() as url:
            uri = {"uri": url + JWKS, "cluster": "issuer", "timeout": "60s"}
            keys: dict[str, object] = {"remote_jwks": {"http_uri": uri}}
            if local or issuer.key.is_symmetric:
                text = json.dumps({"keys": issuer.published})
                keys = {"local_jwks": {"inline_string": text}}
            (member,) = keys.items()
            text = _filled(
                "envoy.yaml",
                port=port,
                issuer=json.dumps(url),
                audience=json.dumps(issuer.factory.audience),
                keys=f"{member[0]}: {json.dumps(member[1])}",
                keys_port=urlsplit(url).port,
            )
            (folder / "envoy.yaml").write_text(text)
            # Else it shares memory with any other one, and the second ends.
            alone = "--disable-hot-restart", "--concurrency", "1"
            words = ENVOY, "-c", str(folder / "envoy.yaml"), "-l", "warning", *alone
            with _running(words, port, folder):
                return _verdicts(issuer, port)

    return read


def dovecot(issuer: Issuer) -> Verdicts:
    """Log in by IMAP, each time with a token."""
    port = free_port()
    with issuer.folder() as folder:
        keys = folder / "keys" / "default" / issuer.algorithm
        keys.mkdir(parents=True)
        secret = b64encode(issuer.secret).decode() if issuer.key.is_symmetric else ""
        (keys / issuer.key.kid).write_text(secret or issuer.pem())
        for name in ("run", "home", "mail"):
            (folder / name).mkdir()
        user = "www-data" if AS_ITS_USER else getuser()
        text = _filled("dovecot.conf", folder=folder, port=port, user=user)
        (folder / "dovecot.conf").write_text(text)
        text = _filled("dovecot-oauth2.conf", folder=folder, issuer=issuer.factory.issuer)
        (folder / "oauth2.conf").write_text(text)
        words = DOVECOT, "-F", "-c", str(folder / "dovecot.conf")
        with _running(words, port, folder):
            found = {name: _logged_in(port, token) for name, token in issuer.tokens().items()}
        log = (folder / "dovecot.log").read_text()
        issuer.heard += re.findall(r"Local validation failed: (.*)", log)
        return found


def _logged_in(port: int, token: str) -> str | None:
    text = b64encode(f"n,a=alice,\1auth=Bearer {token}\1\1".encode())
    with socket.create_connection((HOST, port), PATIENCE) as line, line.makefile("rb") as lines:
        lines.readline()  # its greeting
        line.sendall(b"a AUTHENTICATE OAUTHBEARER " + text + b"\r\n")
        answer = lines.readline()
        if answer.startswith(b"+"):  # why not; this is acknowledged
            line.sendall(b"AQ==\r\n")
            answer = lines.readline()
    assert answer.startswith((b"* CAPABILITY", b"a OK", b"a NO")), answer
    return None if answer.startswith(b"a NO") else "alice"
