"""The metadata of this service, as documents by their paths: RFC 9728 and RFC 8414.

All that is in them comes from settings. A Host field comes from the client: with it an attacker
could send other clients to a server of his own.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ..keys.key_sources import metadata_urls
from ..request.documents import Document
from ..request.origins import Anyone
from ..settings.consistency import without_metadata
from ..settings.groups import Resource, TrustedIssuer
from ..settings.issuing_groups import Refresh
from ..settings.proof_groups import needs_proof
from ..settings.settings import Settings


def documents(settings: Settings) -> dict[str, Document]:
    """Return the documents that these settings publish."""
    found: dict[str, Document] = {}
    resource, group = settings.resource, settings.refresh
    if resource is not None:
        found[resource.metadata_path] = Document(_of_resource(settings, resource), Anyone())
    if group is not None and publishes_issuer(settings.issuer, group):
        path = urlsplit(metadata_urls(settings.issuer)[1]).path
        found[path] = Document(_of_issuer(settings, group), Anyone())
    # The server announced a root and left it in the path: such paths are marked (`below_root`).
    return found | {"\\" + path: document for path, document in found.items()}


def publishes_issuer(issuer: str, group: Refresh) -> bool:
    """Say whether the issuer's own metadata is published here."""
    return group.serve and group.metadata and not without_metadata(issuer)


def _of_resource(settings: Settings, group: Resource) -> dict[str, Any]:
    servers = group.authorization_servers
    if servers is None:
        trusted: tuple[Settings | TrustedIssuer, ...] = (settings, *settings.trusted_issuers)
        servers = tuple(
            one.issuer
            for one in trusted
            if group.identifier in one.audience and not without_metadata(one.issuer)
        )
    members = {
        "resource": group.identifier,
        "authorization_servers": servers,
        "scopes_supported": group.scopes_supported,
        "bearer_methods_supported": ("header",),
        "resource_name": group.name,
        "resource_documentation": group.documentation,
        "resource_policy_uri": group.policy_uri,
        "resource_tos_uri": group.tos_uri,
        **_of_proofs(settings),
        # RFC 9728 s2: "the protected resource always requires the use of DPoP-bound access tokens".
        "dpop_bound_access_tokens_required": needs_proof(settings),
    }
    # RFC 9728 s3.2: "Parameters with zero values MUST be omitted from the response."
    return {name: value for name, value in members.items() if value}


def _of_proofs(settings: Settings) -> dict[str, Any]:
    # RFC 9449 s5.1, RFC 9728 s2.
    if settings.proofs is None:
        return {}
    return {"dpop_signing_alg_values_supported": tuple(settings.proofs.algorithms)}


def _of_issuer(settings: Settings, group: Refresh) -> dict[str, Any]:
    parts = urlsplit(settings.issuer)
    root = group.public_url or f"{parts.scheme}://{parts.netloc}"
    members: dict[str, Any] = {
        "issuer": settings.issuer,
        "token_endpoint": f"{root}{group.path}/refresh",
        "revocation_endpoint": f"{root}{group.path}/revoke",
        # RFC 8414 s2 requires it. There is no authorization endpoint: logins are the application's.
        "response_types_supported": (),
        "grant_types_supported": ("refresh_token",),
        "token_endpoint_auth_methods_supported": ("none",),
        "revocation_endpoint_auth_methods_supported": ("none",),
        # draft-ietf-oauth-refresh-token-expiration-03 s8: "SHOULD be declared". Each answer with
        # tokens says both times.
        "refresh_token_expiration_types_supported": ("authorization", "token_timeout"),
    }
    members |= _of_proofs(settings)
    if settings.keys.public_jwks()["keys"]:
        members["jwks_uri"] = f"{root}{group.jwks_path}"
    if settings.resource is not None:
        members["protected_resources"] = (settings.resource.identifier,)  # RFC 9728 s4
    return members
