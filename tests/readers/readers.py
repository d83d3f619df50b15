"""Libraries of Python that other people wrote read tokens, as their documentation says.

It is started as `python readers.py READER`, hears one JSON array of cases and says one JSON object.
Each case is one algorithm or one key set, with tokens. For each token it is said whose the library
says it is, without and with the setting that docs/readers.md names, or how it was refused.

This runs in an environment of its own, which has the libraries and nothing of the project's.
"""

# pyright: reportMissingImports=false

import asyncio
import json
import logging
import os
import sys
import urllib.request
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple


class Case(NamedTuple):
    """What a reader is configured with."""

    name: str
    algorithm: str
    issuer: str  # also the URL at which it answers
    audience: str
    jwks: dict[str, Any]
    pem: str | None  # None: a secret, or a set that a PEM can't be
    secret: str | None  # None: it has keys of two halves
    tokens: dict[str, str]

    @property
    def jwks_uri(self) -> str:
        return f"{self.issuer}/.well-known/jwks.json"

    def fetched(self) -> dict[str, Any]:
        """Return the key set as it is published; a secret is handed over."""
        if self.secret is not None:
            return self.jwks
        with urllib.request.urlopen(self.jwks_uri) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


class UntriedError(Exception):
    """The reader has no place for such a key."""


Read = Callable[[Case, str, bool], Any]  # the token, and whether the setting is made; the subject


def needs(value: str | None) -> str:
    if value is None:
        raise UntriedError
    return value


def authlib_jose(case: Case, token: str, _: bool) -> Any:
    from authlib.jose import JsonWebKey, jwt  # type: ignore[import-untyped]

    keys = JsonWebKey.import_key_set(case.fetched())
    wanted = {"iss": {"value": case.issuer}, "aud": {"value": case.audience}}
    claims = jwt.decode(token, keys, claims_options=wanted)
    claims.validate()
    return claims["sub"]


def authlib_validator(case: Case, token: str, setting: bool) -> Any:
    from authlib.jose import JsonWebKey
    from authlib.oauth2.rfc9068 import JWTBearerTokenValidator  # type: ignore[import-untyped]
    from joserfc.jwk import KeySet

    class Validator(JWTBearerTokenValidator):
        def get_jwks(self) -> Any:
            found: Any = case.fetched()
            return KeySet.import_key_set(found) if setting else JsonWebKey.import_key_set(found)

    validator = Validator(case.issuer, case.audience)
    claims = validator.authenticate_token(token)
    validator.validate_token(claims, [], None)
    return claims["sub"]


def jwcrypto(case: Case, token: str, setting: bool) -> Any:
    from jwcrypto.jwk import JWKSet
    from jwcrypto.jwt import JWT

    wanted = {"iss": case.issuer, "aud": case.audience} | ({"exp": None} if setting else {})
    keys = JWKSet.from_json(json.dumps(case.fetched()))
    read = JWT(jwt=token, key=keys, check_claims=wanted, algs=[case.algorithm])
    return json.loads(read.claims)["sub"]


def python_jose(case: Case, token: str, _: bool) -> Any:
    from jose import jwt

    found = jwt.decode(
        token, case.fetched(), [case.algorithm], audience=case.audience, issuer=case.issuer
    )
    return found["sub"]


def jwskate(case: Case, token: str, _: bool) -> Any:
    from jwskate import JwkSet, JwtVerifier, SignedJwt, SymmetricJwk

    algs = [case.algorithm]
    wanted: dict[str, Any] = {"issuer": case.issuer, "audience": case.audience}
    if case.secret is None:
        JwtVerifier(JwkSet(case.fetched()), algs=algs, **wanted).verify(token)
    else:  # a JwtVerifier takes public keys only
        key = SymmetricJwk.from_bytes(case.secret.encode(), alg=case.algorithm)
        SignedJwt(token).validate(key=key, algs=algs, **wanted)
    return SignedJwt(token).claims["sub"]


def flask_jwt_extended(case: Case, token: str, setting: bool) -> Any:
    import flask
    from flask_jwt_extended import JWTManager, get_jwt_identity, jwt_required

    app = flask.Flask("reader")
    app.config |= {
        "JWT_DECODE_AUDIENCE": case.audience,
        "JWT_DECODE_ISSUER": case.issuer,
        "JWT_PUBLIC_KEY": case.pem,
        "JWT_SECRET_KEY": case.secret,
    }
    if setting:
        app.config["JWT_ALGORITHM"] = case.algorithm
    if case.secret is None:
        needs(case.pem)
    JWTManager(app)

    @app.get("/")
    @jwt_required()
    def read() -> Any:
        return {"sub": get_jwt_identity()}

    answer = app.test_client().get("/", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
    return answer.get_json()["sub"]


def simplejwt(case: Case, token: str, setting: bool) -> Any:
    with_django(SIMPLE_JWT={"TOKEN_TYPE_CLAIM": None} if setting else {})
    from rest_framework_simplejwt.backends import TokenBackend
    from rest_framework_simplejwt.tokens import AccessToken

    backend = TokenBackend(
        case.algorithm,
        signing_key=case.secret,
        audience=case.audience,
        issuer=case.issuer,
        jwk_url=None if case.secret else case.jwks_uri,
    )

    class Token(AccessToken):
        def get_token_backend(self) -> Any:
            return backend

    text: Any = token  # the library's types say that it takes no text
    return Token(text)["sub"]


def pyjwt_key_fetcher(case: Case, token: str, setting: bool) -> Any:
    import jwt
    from pyjwt_key_fetcher import AsyncKeyFetcher

    if case.secret:
        raise UntriedError

    async def read() -> Any:
        place = {"config_path": "/.well-known/oauth-authorization-server"} if setting else {}
        key = await AsyncKeyFetcher(valid_issuers=[case.issuer], **place).get_key(token)
        return jwt.decode(token, audience=case.audience, issuer=case.issuer, **key)["sub"]

    return asyncio.run(read())


def drf_oidc_auth(case: Case, token: str, _: bool) -> Any:
    with_django(
        OIDC_AUTH={
            "OIDC_ENDPOINT": case.issuer,
            "OIDC_CLAIMS_OPTIONS": {"aud": {"essential": True, "values": [case.audience]}},
            "JWT_AUTH_HEADER_PREFIX": "Bearer",
            "JWT_ALGORITHMS": (case.algorithm,),
            "OIDC_RESOLVE_USER_FUNCTION": lambda request, claims: claims["sub"],
        }
    )
    from django.test import RequestFactory
    from oidc_auth.authentication import JSONWebTokenAuthentication

    if case.secret:
        raise UntriedError
    request = RequestFactory().get("/", headers={"Authorization": f"Bearer {token}"})
    subject, _claims = JSONWebTokenAuthentication().authenticate(request)
    return subject


def fastmcp(case: Case, token: str, setting: bool) -> Any:
    from fastmcp.server.auth.providers.jwt import JWTVerifier

    algorithm = {"algorithm": case.algorithm} if setting else {}
    key = {"public_key": case.secret} if case.secret else {"jwks_uri": case.jwks_uri}
    verifier = JWTVerifier(issuer=case.issuer, audience=case.audience, **key, **algorithm)
    found = asyncio.run(verifier.verify_token(token))
    assert found is not None, "None"
    return found.claims["sub"]


def with_django(**more: Any) -> None:
    """Configure Django, unless it is: its settings are one for the process, a child of ours."""
    import django
    from django.conf import settings

    if settings.configured:
        return
    settings.configure(
        SECRET_KEY="of nobody",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
        **more,
    )
    django.setup()


READERS: dict[str, tuple[str, Read]] = {
    "Authlib, `jose`": ("authlib", authlib_jose),
    "Authlib, `JWTBearerTokenValidator`": ("authlib", authlib_validator),
    "jwcrypto": ("jwcrypto", jwcrypto),
    "python-jose": ("python-jose", python_jose),
    "jwskate": ("jwskate", jwskate),
    "Flask-JWT-Extended": ("flask-jwt-extended", flask_jwt_extended),
    "simplejwt": ("djangorestframework-simplejwt", simplejwt),
    "pyjwt-key-fetcher": ("pyjwt-key-fetcher", pyjwt_key_fetcher),
    "drf-oidc-auth": ("drf-oidc-auth", drf_oidc_auth),
    "fastmcp, `JWTVerifier`": ("fastmcp", fastmcp),
}


Said = dict[str, Any]


def said(read: Read, case: Case, setting: bool) -> dict[str, Said]:
    """Return for each token what the library says of it."""
    found: dict[str, Said] = {}
    for name, token in case.tokens.items():
        try:
            found[name] = {"subject": read(case, token, setting)}
        except UntriedError:
            found[name] = {"untried": True}
        except Exception as error:  # noqa: BLE001
            found[name] = {"error": type(error).__name__, "says": str(error)}
    return found


def in_a_child(read: Read, case: Case, setting: bool) -> dict[str, Said]:
    """Return the same of a process that has configured nothing yet."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(theirs, json.dumps(said(read, case, setting)).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        found: dict[str, Said] = json.load(answer)
    os.waitpid(child, 0)
    return found


def main(reader: str) -> None:
    logging.disable()
    warnings.simplefilter("ignore")  # of names and modules that are going away
    distribution, read = READERS[reader]
    ask = in_a_child if reader in ("simplejwt", "drf-oidc-auth") else said
    found: dict[str, list[dict[str, Said]]] = {}
    for case in (Case(**one) for one in json.load(sys.stdin)):
        found[case.name] = [ask(read, case, setting) for setting in (False, True)]
    print(json.dumps({"versions": {reader: version(distribution)}, "cases": found}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
