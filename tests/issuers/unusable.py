"""Access tokens of issuers that docs/issuers.md calls not usable: `python unusable.py ISSUER`.

It says one as JSON. It runs in the environment of `make issuers`.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import base64
import json
import logging
import sys
from importlib.metadata import version
from typing import Any

SECRET = "5f4dcc3b5aa765d61d8327deb882cf99"  # of nobody


def django_oauth_toolkit() -> Any:
    """Return what the token endpoint of django-oauth-toolkit answers, with OpenID Connect on."""
    import django
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from django.conf import settings

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[
            "django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider",
        ],
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": pem.decode(),
            "SCOPES": {"orders.read": "orders"},
        },
        ROOT_URLCONF="oauth2_provider.urls",
        SECRET_KEY=SECRET,
    )  # fmt: skip
    django.setup()
    from django.core.management import call_command
    from django.test import Client
    from oauth2_provider.models import get_application_model

    call_command("migrate", verbosity=0)
    get_application_model().objects.create(
        client_id="shop-web",
        client_secret=SECRET,
        client_type="confidential",
        authorization_grant_type="client-credentials",
        algorithm="RS256",
    )
    form = {"grant_type": "client_credentials", "scope": "orders.read"}
    basic = base64.b64encode(f"shop-web:{SECRET}".encode()).decode()
    answer: Any = Client().post("/token/", form, headers={"Authorization": f"Basic {basic}"})
    return json.loads(answer.content)


def fastmcp() -> Any:
    """Return the token that fastmcp's proxy gives to an MCP client, and its key."""
    from fastmcp.server.auth.jwt_issuer import JWTIssuer

    server = "https://mcp.example.com"
    issuer = JWTIssuer(f"{server}/", f"{server}/mcp", signing_key=SECRET.encode())
    token = issuer.issue_access_token("shop-web", ["orders.read"], "n1", expires_in=600)
    return {"access_token": token}


logging.disable()  # they may tell on standard output
made = {"django-oauth-toolkit": django_oauth_toolkit, "fastmcp": fastmcp}[sys.argv[1]]()
sys.stdout.write(json.dumps(made | {"version": version(sys.argv[1])}))
