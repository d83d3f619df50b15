"""The shapes: one entry for each row of docs/issuers.md. Names, ids and keys are made up.

`...` stands for a time that `Served` fills in.
"""

from __future__ import annotations

from typing import Any

from tests.core.issuers import CERTIFICATE, Served

Members = dict[str, Any]
RSA: Members = {"kty": "@", "alg": "RS256", "use": "sig", "kid": "@", "n": "@", "e": "@"}
BARE_RSA: Members = dict.fromkeys(("kty", "e", "kid", "n"), "@")
CERTIFIED: Members = {**RSA, "x5c": [CERTIFICATE], "x5t": "xHdqEhSDaOGF2UcbrvRIEjCWY6s"}
JWT: Members = {"alg": "RS256", "typ": "JWT"}
TIMES: Members = {"iat": ..., "exp": ...}
USER = "b0c3a1de-2f6a-4f0e-9b55-0d9c3f1f8a11"
SESSION = "6f9a3f0a-71c0-4d1c-8f83-3c3d1f0b7f6e"
HASH = "Xk3nJ0cH2mQ1cN0fP7pXzA"
OF_KEY = "0L0XqC1YV8f8v8mC0yS7m1mYk5zM2pR9bG4wT6xUeNs"  # where a kid is a thumbprint
TENANT = "8f1de2a5-7c0b-4b0e-9c0f-1d2c3b4a5968"
API_ID, APP_ID = "6e74172b-be56-4843-9ff4-e66a39bb12e3", "2d4d11a2-f814-46a7-890a-274a72a7309e"


def metadata(issuer: str, keys: str, **more: Any) -> Members:
    """Return the members that OpenID Connect Discovery s3 requires, and others."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer.rstrip('/')}/authorize",
        "token_endpoint": f"{issuer.rstrip('/')}/token",
        "jwks_uri": keys,
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        **more,
    }


def _keycloak() -> Served:
    issuer, person = "https://sso.example.com/realms/shop", {"preferred_username": "alice"}
    keys = f"{issuer}/protocol/openid-connect/certs"
    both = {**TIMES, "auth_time": ..., "azp": "shop-web", "sid": SESSION, "acr": "1", **person}
    encryption = {**CERTIFIED, "alg": "RSA-OAEP", "use": "enc", "kid": "for encryption"}
    thumbprint = {"x5t#S256": "Z0m8jWl5B1bS2s0L0nXyN1h4y3yLkzY6m8o3wq2n4tE"}
    return Served(
        name="Keycloak",
        seen="read: tokens that users have shown, of 26",
        issuer=issuer,
        audience="orders-api",
        scope="orders:read",
        header={**JWT, "kid": "nnniBrxL0qhG79pkF3ccQj_l0jDmxKrYYy2YLlEe1sA"},
        claims={
            **both,
            "jti": "onrtac:0a6b2f3e-54ad-4b5a-8c8e-8f6b0a0e5d11",
            "aud": ["orders-api", "account"],
            "sub": USER,
            "typ": "Bearer",
            "allowed-origins": ["https://shop.example.com"],
            "realm_access": {"roles": ["orders-admin", "offline_access", "uma_authorization"]},
            "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
            "scope": "openid profile orders:read email",
            "email_verified": True,
            "email": "alice@example.com",
        },
        id_claims={**both, "jti": SESSION, "aud": "shop-web", "sub": USER, "typ": "ID",
                   "at_hash": HASH, "email_verified": True},
        jwks_url=keys,
        jwk=CERTIFIED | thumbprint,
        more_keys=(encryption | thumbprint,),
        metadata=metadata(issuer, keys, introspection_endpoint=f"{issuer}/introspect"),
    )  # fmt: skip


def _entra(version: int) -> Served:
    host = "https://login.microsoftonline.com"
    person = {"oid": USER, "tid": TENANT, "uti": "p0Jxk1V9mUGcQm0vJw8kAA", "rh": "0.AX0A"}
    both = {**TIMES, "nbf": ..., "sub": "AaQ8x0mYV5l1Jm5S0Rz4vK2fW7tJ9nB6cE3dG1hL0pQ", **person}
    if version == 2:
        issuer, keys = f"{host}/{TENANT}/v2.0", f"{host}/{TENANT}/discovery/v2.0/keys"
        audience, client = API_ID, {"azp": APP_ID, "azpacr": "0"}
    else:
        issuer, keys = f"https://sts.windows.net/{TENANT}/", f"{host}/{TENANT}/discovery/keys"
        audience, client = f"api://{API_ID}", {"appid": APP_ID, "appidacr": "0"}
    kid = "nOo3ZDrODXEK1jKWhXslHR_KXEg"
    # The set has no `alg`; each key names the issuers that it is for.
    jwk = dict.fromkeys(("kty", "kid", "n", "e"), "@") | {"use": "sig", "x5t": kid}
    return Served(
        name="Entra" if version == 2 else "Entra, tokens of version 1",
        seen="read: documentation; a set of 2025",
        issuer=issuer,
        audience=audience,
        scope="orders.read",
        header={**JWT, "kid": kid} | ({} if version == 2 else {"x5t": kid}),
        claims={
            **both,
            **client,
            "aud": audience,
            "name": "Alice",
            "scp": "orders.read orders.list",
            "roles": ["Orders.Admin"],
            "ver": f"{version}.0",
        },
        # One registration for a page and its API: both tokens have one audience.
        id_header={**JWT, "kid": kid},
        id_claims={
            **both,
            "aud": audience,
            "name": "Alice",
            "preferred_username": "alice@example.com",
            "roles": ["Orders.Admin"],
            "nonce": "n-0S6_WzA2Mj",
            "ver": f"{version}.0",
        },
        jwks_url=keys,
        jwk=jwk | {"x5c": [CERTIFICATE], "issuer": f"{host}/{TENANT}/v2.0"},
        more_keys=(jwk | {"kid": "of another cloud", "cloud_instance_name": "microsoftonline.us"},),
        metadata=metadata(issuer, keys, tenant_region_scope="EU"),
    )


def _okta() -> Served:
    issuer = "https://dev-1234.okta.com/oauth2/default"
    keys = f"{issuer}/v1/keys"
    return Served(
        name="Okta",
        seen="read: tokens that users have shown",
        issuer=issuer,
        audience="api://default",
        scope="orders:read",
        header={"alg": "RS256", "kid": "ZkvelLN_seik7w4pc_prCcfUf-h2hFfiwkDeCrs0iUc"},
        claims={
            "ver": 1,
            "jti": "AT.MNAoEQ_jbKqoinrQo1D0XKjMX28U5d7ZszBceot7-Ts",
            "aud": "api://default",
            **TIMES,
            "cid": "0oa1a2b3c4D5E6F7g8h9",
            "uid": "00u1a2b3c4D5E6F7g8h9",
            "scp": ["openid", "profile", "orders:read"],
            "auth_time": ...,
            "sub": "alice@example.com",
        },
        id_claims={
            "ver": 1,
            "jti": "ID.radCQMOQUmyvcTBmmIL0J6BaS60apUEiC7-vI7pOmkw",
            "aud": "0oa1a2b3c4D5E6F7g8h9",
            **TIMES,
            "sub": "00u1a2b3c4D5E6F7g8h9",
            "amr": ["pwd"],
            "idp": "00o1a2b3c4D5E6F7g8h9",
            "preferred_username": "alice@example.com",
            "auth_time": ...,
            "at_hash": HASH,
        },
        jwks_url=keys,
        jwk=RSA,
        metadata=metadata(issuer, keys),
    )


def _auth0() -> Served:
    issuer, client = "https://shop.eu.auth0.com/", "k3VmN0rG8bQ1wS5tY7uI9oP2aD4fH6jL"
    keys = f"{issuer}.well-known/jwks.json"
    return Served(
        name="Auth0",
        seen="read: documentation",
        issuer=issuer,
        audience="https://api.example.com",
        scope="orders:read",
        header={**JWT, "kid": "NUZFQjAxQzc3MDhBNkQ2RTk1"},
        claims={
            "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
            "aud": ["https://api.example.com", f"{issuer}userinfo"],
            **TIMES,
            "scope": "openid profile orders:read",
            "azp": client,
            "permissions": ["orders:read", "orders:write"],
        },
        id_claims={
            "nickname": "alice",
            "name": "alice@example.com",
            "updated_at": "2026-11-30T10:00:00.000Z",
            "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
            "aud": client,
            **TIMES,
            "sid": "x1s0Jk9f",
            "nonce": "bm9uY2U",
        },
        jwks_url=keys,
        jwk=CERTIFIED,
        metadata=metadata(issuer, keys, device_authorization_endpoint=f"{issuer}oauth/device/code"),
    )


def _cognito() -> Served:
    issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI"
    keys, client = f"{issuer}/.well-known/jwks.json", "1h57kf5cpq17m0eml12EXAMPLE"
    person = {"sub": USER, "cognito:groups": ["admins"], "event_id": SESSION, "origin_jti": SESSION}
    both = {**person, **TIMES, "auth_time": ..., "jti": "4c9a7d52-7b1c-4d0f-8e2c-0c7a1c2d5b0e"}
    return Served(
        name="Cognito",
        seen="run: moto 5.2.5, which stands in for it; read: documentation",
        issuer=issuer,
        audience=client,
        scope="https://orders.example.com/read",
        header={"alg": "RS256", "kid": "abcDefGh1+2/jklmNop3QrStUvWxYz4567890abcdEf="},
        claims={
            **both,
            "version": 2,
            "client_id": client,
            "token_use": "access",
            "scope": "openid https://orders.example.com/read",
            "username": "alice",
        },
        id_claims={**both, "aud": client, "token_use": "id", "cognito:username": "alice",
                   "at_hash": HASH, "email": "alice@example.com", "email_verified": True},
        jwks_url=keys,
        jwk=RSA,
        more_keys=({**RSA, "kid": "Xyz+0/of+the+other+pair+of+the+pool+34567890="},),
        metadata=metadata(issuer, keys),
    )  # fmt: skip


def _google() -> Served:
    keys, client = "https://www.googleapis.com/oauth2/v3/certs", "1234.apps.googleusercontent.com"
    return Served(
        name="Google",
        seen="read: tokens that users have shown",
        issuer="https://accounts.google.com",
        audience=client,
        scope="",
        header={**JWT, "kid": "6a906ec119d7ba46a6a43ef1ea842e34a8ee08b4"},
        claims={
            "azp": client,
            "aud": client,
            "sub": "110169484474386276334",
            "email": "alice@example.com",
            "email_verified": True,
            "at_hash": HASH,
            "name": "Alice",
            **TIMES,
        },
        jwks_url=keys,
        jwk=RSA,
        metadata=metadata("https://accounts.google.com", keys),
    )


def _firebase() -> Served:
    issuer = "https://securetoken.google.com/shop-1234"
    host = "https://www.googleapis.com/service_accounts/v1/jwk"
    keys = f"{host}/securetoken@system.gserviceaccount.com"
    return Served(
        name="Firebase",
        seen="run once: the emulator 15.34.2, unsigned; read: documentation",
        issuer=issuer,
        audience="shop-1234",
        scope="",
        header={**JWT, "kid": "f90fb1ae048a548fb681ad6092b0b869ea467ac6"},
        claims={
            "name": "Alice",
            "aud": "shop-1234",
            "auth_time": ...,
            "user_id": "Q9wXy1ZbC3dE5fG7hJ9kL1mN3pQ5",
            "sub": "Q9wXy1ZbC3dE5fG7hJ9kL1mN3pQ5",
            **TIMES,
            "email": "alice@example.com",
            "firebase": {"identities": {"email": ["alice@example.com"]},
                         "sign_in_provider": "password"},
        },
        jwks_url=keys,
        jwk=RSA,
        metadata=metadata(issuer, keys),
    )  # fmt: skip


def _kubernetes() -> Served:
    issuer = "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
    account = {"name": "worker", "uid": USER}
    pod = {"name": "worker-7d9c", "uid": SESSION}
    return Served(
        name="Kubernetes",
        seen="read: documentation of 1.32",
        issuer=issuer,
        audience="https://orders.example.com",
        scope="jobs:run",
        header={"alg": "RS256", "kid": "yDnXbLUlbMhGRUZTLMqZoXj6fPpN4DBzJTlC8XW4r6c"},
        claims={
            "aud": ["https://orders.example.com"],
            **TIMES,
            "nbf": ...,
            "jti": "aed34954-b33a-4142-b1ec-389d6bbb4936",
            "kubernetes.io": {"namespace": "shop", "pod": pod, "serviceaccount": account},
            "sub": "system:serviceaccount:shop:worker",
        },
        jwks_url=f"{issuer}/keys",
        jwk=RSA,
        metadata=metadata(issuer, f"{issuer}/keys"),
    )


def _spring() -> Served:
    issuer = "https://auth.example.com"
    keys = f"{issuer}/oauth2/jwks"
    return Served(
        name="Spring Authorization Server",
        seen="read: source, `JwtGenerator`",
        issuer=issuer,
        audience="shop-web",
        scope="orders:read",
        header={"alg": "RS256", "kid": "2f6d4c0e-0b7c-4a57-93c8-7e7a5d1f2b33"},
        claims={
            "sub": "alice",
            "aud": "shop-web",
            "nbf": ...,
            "scope": ["openid", "orders:read"],
            **TIMES,
            "jti": SESSION,
        },
        id_claims={
            "sub": "alice",
            "aud": "shop-web",
            "azp": "shop-web",
            "auth_time": ...,
            **TIMES,
            "jti": SESSION,
            "sid": HASH,
        },
        jwks_url=keys,
        jwk=BARE_RSA,
        metadata=metadata(issuer, keys),
    )


def _better_auth() -> Served:
    issuer = "https://app.example.com"
    row = {"name": "Alice", "email": "alice@example.com", "emailVerified": True, "id": "Jt3bVq8Z"}
    dates = {"createdAt": "2026-11-30T10:00:00.000Z", "updatedAt": "2026-11-30T10:00:00.000Z"}
    return Served(
        name="better-auth",
        seen="run: better-auth 1.7.25, the jwt plugin",
        issuer=issuer,
        audience=issuer,
        scope="",
        header={"alg": "EdDSA", "kid": "p2JcVbT9sKw0XfQ4zLm7RyNd1GhA5eUo"},
        claims={**row, **dates, **TIMES, "sub": "Jt3bVq8Z", "aud": issuer},
        jwks_url=f"{issuer}/api/auth/jwks",
        jwk={"alg": "EdDSA", "crv": "@", "x": "@", "kty": "@", "kid": "@"},
    )


def _duende() -> Served:
    issuer = "https://identity.example.com"
    keys = f"{issuer}/.well-known/openid-configuration/jwks"
    both = {"nbf": ..., **TIMES, "amr": ["pwd"], "sub": USER, "auth_time": ..., "idp": "local"}
    return Served(
        name="Duende IdentityServer",
        seen="read: tokens that users have shown",
        issuer=issuer,
        audience="orders-api",
        scope="orders.read",
        header={"alg": "RS256", "kid": "38B2C8E2B7AF4B7C8E9A0F5D1C2B3A49", "typ": "at+jwt"},
        claims={
            **both,
            "aud": "orders-api",
            "scope": ["openid", "orders.read"],
            "client_id": "shop-web",
            "sid": "9D2F0C4B7A1E4E5C8B3A6D9F0E1C2B3A",
            "jti": "C1A5D0F7B3E94E2F8A6C4D1B0E9F7A35",
        },
        id_header={**JWT, "kid": "38B2C8E2B7AF4B7C8E9A0F5D1C2B3A49"},
        id_claims={**both, "aud": "shop-web", "at_hash": HASH,
                   "sid": "9D2F0C4B7A1E4E5C8B3A6D9F0E1C2B3A"},
        jwks_url=keys,
        jwk=RSA,
        metadata=metadata(issuer, keys),
    )  # fmt: skip


def _xsuaa() -> Served:
    issuer = "https://shop.authentication.eu10.hana.ondemand.com/oauth/token"
    keys = "https://shop.authentication.eu10.hana.ondemand.com/token_keys"
    person = {"user_name": "alice@example.com", "email": "alice@example.com", "origin": "sap.ids"}
    both = {"sub": USER, "user_id": USER, "zid": TENANT, **person, "cid": "sb-orders!t123",
            "client_id": "sb-orders!t123", "azp": "sb-orders!t123", "rev_sig": "9f2ca0d1",
            "grant_type": "authorization_code",
            **TIMES, "auth_time": ...}  # fmt: skip
    return Served(
        name="SAP XSUAA, Cloud Foundry UAA",
        seen="read: source of UAA, `IdToken`; fixtures of SAP's library",
        issuer=issuer,
        audience="orders!t123",
        scope="read",
        header={**JWT, "jku": keys, "kid": "default-jwt-key--1234567890"},
        claims={
            **both,
            "jti": "0b7a6d5c4e3f",
            "scope": ["openid", "orders!t123.read"],
            "aud": ["orders!t123", "openid", "sb-orders!t123"],
            "ext_attr": {"enhancer": "XSUAA", "zdn": "shop"},
        },
        id_claims={**both, "jti": "1c8b7e6d5f4a", "scope": ["openid"], "aud": ["sb-orders!t123"],
                   "amr": ["pwd"], "email_verified": True},
        by_audience=True,
        jwks_url=keys,
        jwk={**RSA, "value": "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"},
    )  # fmt: skip


def _hydra() -> Served:
    issuer = "https://hydra.example.com"
    keys = f"{issuer}/.well-known/jwks.json"
    return Served(
        name="Ory Hydra",
        seen="read: source and its issues",
        issuer=issuer,
        audience="https://api.example.com",
        scope="orders.read",
        header={**JWT, "kid": "b6f8c2d4-1a3e-4f5b-9c7d-0e2f4a6b8c1d"},
        claims={
            "aud": ["https://api.example.com"],
            "client_id": SESSION,
            **TIMES,
            "ext": {},
            "jti": "8e9f0a1b-2c3d-4e5f-8a7b-6c5d4e3f2a1b",
            "nbf": ...,
            "scp": ["openid", "orders.read"],
            "sub": "alice",
        },
        id_claims={"at_hash": HASH, "aud": [SESSION], "auth_time": ..., **TIMES, "jti": USER,
                   "rat": 1_799_999_990, "sid": TENANT, "sub": "alice"},
        jwks_url=keys,
        jwk=RSA,
        metadata=metadata(issuer, keys),
    )  # fmt: skip


def _oidc_provider() -> Served:
    issuer = "https://op.example.com"
    return Served(
        name="oidc-provider",
        seen="run: oidc-provider 9.13.3, access tokens in JWT",
        issuer=issuer,
        audience="https://api.example.com",
        scope="orders.read",
        header={"alg": "RS256", "typ": "at+jwt", "kid": OF_KEY},
        claims={"jti": HASH, "sub": "shop-web", **TIMES, "scope": "orders.read",
                "client_id": "shop-web", "aud": "https://api.example.com"},
        id_header={"alg": "RS256", "kid": OF_KEY},
        id_claims={"sub": "alice", "aud": "shop-web", **TIMES},
        jwks_url=f"{issuer}/jwks",
        jwk={**BARE_RSA, "use": "sig"},
        metadata=metadata(issuer, f"{issuer}/jwks"),
    )  # fmt: skip


def _authlib() -> Served:
    issuer = "https://login.example.com"
    return Served(
        name="Authlib",
        seen="run: Authlib 1.9.10",
        issuer=issuer,
        audience="https://api.example.com",
        scope="orders.read",
        header={"typ": "at+jwt", "alg": "RS256", "kid": OF_KEY},
        claims={**TIMES, "client_id": "shop-web", "jti": "pK3vX8zQ1mN5bT7y", "sub": "1",
                "scope": "orders.read", "aud": ["https://api.example.com"]},
        id_header={**JWT, "kid": OF_KEY},
        id_claims={**TIMES, "aud": ["shop-web"], "auth_time": ..., "sub": "1", "at_hash": HASH},
        jwks_url=f"{issuer}/jwks.json",
        jwk=BARE_RSA,
    )  # fmt: skip


def _glewlwyd() -> Served:
    issuer = "https://glewlwyd.example.com/api/oidc"
    kid = "l7Q0VqJ5cWn4kYt2bXr9mZ8sHd1fGp3uEo6iAaCvBwT"
    return Served(
        name="Glewlwyd",
        seen="run: Glewlwyd 2.7.5, Debian's",
        issuer=issuer,
        audience="api.read",
        scope="api.read",
        header={"typ": "at+jwt", "alg": "RS256", "kid": kid},
        claims={"aud": "api.read", "client_id": "shop-web", "sub": "shop-web", **TIMES,
                "nbf": ..., "jti": "Jd8sK2mQ0xVb", "type": "access_token", "scope": "api.read"},
        id_header={**JWT, "kid": kid},
        id_claims={"aud": "shop-web", "sub": "Yq1xT9", **TIMES, "auth_time": ...,
                   "azp": "shop-web", "at_hash": HASH, "amr": ["password"]},
        jwks_url=f"{issuer}/jwks",
        jwk={name: value for name, value in RSA.items() if name != "use"},
        metadata=metadata(issuer, "https://glewlwyd.example.com//api/oidc/jwks"),
    )  # fmt: skip


def _mock_server() -> Served:
    issuer = "https://mock.example.com"
    kid = "5b1f0c7e9a3d48266e2b7c90d4f1a8537b6e0d2c94f8a1653c7e9b0d2f4a68c1e3b5d7f9a1c4"
    both = {**TIMES, "nbf": ..., "sub": "shop-web"}
    return Served(
        name="oauth2-mock-server, with a hook",
        seen="run: oauth2-mock-server 9.3.0",
        issuer=issuer,
        audience="https://api.example.com",
        scope="orders.read",
        header={**JWT, "kid": kid},
        claims={**both, "aud": "https://api.example.com", "scope": "orders.read"},
        id_claims={**both, "aud": "shop-web"},
        by_audience=True,
        jwks_url=f"{issuer}/jwks",
        jwk={name: value for name, value in RSA.items() if name != "use"},
        metadata=metadata(issuer, f"{issuer}/jwks"),
    )


def _lemon() -> Served:
    issuer = "https://auth.example.org"
    return Served(
        name="LemonLDAP::NG",
        seen="run: LemonLDAP::NG 2.16.1, Debian's",
        issuer=issuer,
        audience="shop-web",
        scope="orders.read",
        header=JWT,
        claims={"aud": ["shop-web"], "client_id": "shop-web", "sub": "alice", **TIMES,
                "jti": SESSION, "scope": "openid orders.read"},
        id_claims={"aud": ["shop-web"], "sub": "alice", **TIMES, "azp": "shop-web",
                   "auth_time": ..., "acr": "loa-2", "at_hash": HASH, "sid": HASH},
        jwks_url=f"{issuer}/oauth2/jwks",
        jwk={"kty": "@", "use": "sig", "n": "@", "e": "@"},
        metadata=metadata(issuer, f"{issuer}/oauth2/jwks"),
    )  # fmt: skip


def _github() -> Served:
    issuer, commit = "https://token.actions.githubusercontent.com", "3f786850e387550fdab836ed7e6dc8"
    return Served(
        name="GitHub Actions",
        seen="read: documentation",
        issuer=issuer,
        audience="https://deploy.example.com",
        scope="deploy",
        header={**JWT, "kid": "cc413527-173f-5a05-976e-9c52b1d7b431", "x5t": HASH},
        claims={
            "jti": SESSION,
            "sub": "repo:example/shop:ref:refs/heads/main",
            "aud": "https://deploy.example.com",
            "ref": "refs/heads/main",
            "sha": commit,
            "repository": "example/shop",
            "run_id": "1234567890",
            "nbf": ...,
            **TIMES,
        },
        jwks_url=f"{issuer}/.well-known/jwks",
        jwk=RSA,
        more_keys=({**CERTIFIED, "kid": "38826b17-6a30-5f9b-b169-8beb8202f723"},),
        metadata=metadata(issuer, f"{issuer}/.well-known/jwks"),
    )


ISSUERS = {
    one.name: one
    for one in (
        *(_keycloak(), _entra(2), _entra(1), _okta(), _auth0(), _cognito(), _spring()),
        *(_duende(), _hydra(), _xsuaa(), _oidc_provider(), _authlib(), _glewlwyd(), _lemon()),
        *(_kubernetes(), _better_auth(), _github(), _google(), _firebase(), _mock_server()),
    )
}
