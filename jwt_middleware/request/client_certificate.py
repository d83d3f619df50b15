"""The certificate that a client has shown in TLS (RFC 8705): from the server, or from a proxy.

A proxy that ends TLS hands it on in a field (RFC 9440). Any client can send that field, too, so it
counts only from the addresses that the settings name.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any

from ..jose.strict_json import b64url_encode
from ..values.requests import Request

UNIX = "unix"  # stands for a socket in the file system, which has no address
MAX_CERTIFICATE = 16384  # characters
# RFC 7468 s3: what stands between the lines, of the first certificate.
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
# RFC 9440 s2.2: a byte sequence of RFC 8941 s3.3.5, base64 between colons.
_FIELD = re.compile(r":([A-Za-z0-9+/]+={0,2}):")


def of_asgi(scope: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return what `Request.connection` does, from a scope of ASGI and its extension "tls"."""
    client = scope.get("client")
    tls = (scope.get("extensions") or {}).get("tls") or {}
    return client[0] if client else "", next(iter(tls.get("client_cert_chain") or ()), None)


def of_wsgi(environ: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the same from an environment of WSGI."""
    # Apache, Werkzeug and cheroot name it so. A client's field would begin with HTTP_.
    return environ.get("REMOTE_ADDR") or "", environ.get("SSL_CLIENT_CERT") or None


class CertificateReader:
    """Finds the thumbprint of a client's certificate.

    Args:
        header: the field in which a proxy hands it on; "": the server itself has ended TLS.
        proxies: networks, such as "10.0.0.0/8", or "unix", from which the field counts.

    """

    def __init__(self, header: str, proxies: Sequence[str]) -> None:
        self._header = header.lower()
        self._is_unix = UNIX in proxies
        self._networks: tuple[Any, ...] = tuple(ip_network(one) for one in proxies if one != UNIX)

    def thumbprint(self, request: Request) -> str | None:
        """Return the SHA-256 of the certificate in base64url (RFC 8705 s3.1); None: none came."""
        peer, pem = request.connection()
        if self._header:
            given = request.header(self._header) if self._is_proxy(peer) else None
            found = None if given is None else _FIELD.fullmatch(given.strip(" \t"))
        else:
            found = None if pem is None else _PEM.search(pem[:MAX_CERTIFICATE])
        if found is None:
            return None
        try:
            octets = a2b_base64(found[1].encode())
        except ValueError:
            return None
        return b64url_encode(sha256(octets).digest()).decode()

    def _is_proxy(self, peer: str) -> bool:
        if not peer:
            return self._is_unix
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        # A server that listens on an IPv6 socket says ::ffff:10.0.0.1 for 10.0.0.1.
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in one for one in self._networks)
