#!/usr/bin/env bash
# Authlib 1.9.10 (Python): JWTBearerTokenGenerator takes `alg`, but makes tokens with three of them.
#
# `alg` is a parameter, RS256 its default; the documentation names no limit. ES384, PS256, Ed25519
# and the rest are taken, too, until the first token: "not recommended". The joserfc library below
# it has `algorithms` for those who want them, and Authlib's PrivateKeyJWT passes its own `alg` on to
# it; the generator doesn't, nor does JWTBearerTokenValidator, which refuses such tokens of others.
# So HS256, RS256 and ES256 are what the two can do, and no parameter of theirs changes that.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    Authlib==1.9.10 joserfc==1.8.0 requests==2.34.2

cat >try.py <<'PY'
import time
import warnings

from authlib.oauth2.rfc6750.errors import InvalidTokenError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator, JWTBearerTokenValidator
from joserfc import jwt
from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

warnings.simplefilter("ignore")  # joserfc warns of EdDSA
RSA = RSAKey.generate_key(2048)
URL = "https://issuer.example/token"
KEYS = {
    "HS256": OctKey.generate_key(256),
    "RS256": RSA,
    "ES256": ECKey.generate_key("P-256"),
    "RS512": RSA,
    "PS256": RSA,
    "ES384": ECKey.generate_key("P-384"),
    "Ed25519": OKPKey.generate_key("Ed25519"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
}


class Client:
    client_id = "client"

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        return scope


class Generator(JWTBearerTokenGenerator):
    def get_jwks(self):
        return KEYS[self.alg]


class Validator(JWTBearerTokenValidator):
    def get_jwks(self):
        return KEYS[alg]


def generated():
    try:
        Generator("issuer", alg=alg)("client_credentials", Client(), scope="read")
    except UnsupportedAlgorithmError as error:
        return error.description
    return "made"


def validated():
    now = int(time.time())
    claims = {"iss": "issuer", "aud": "api", "sub": "alice", "client_id": "client", "jti": "1"}
    claims |= {"iat": now, "exp": now + 60}
    header = {"alg": alg, "typ": "at+jwt"}
    token = jwt.encode(header, claims, KEYS[alg], algorithms=[alg])
    try:
        Validator("issuer", "api").authenticate_token(token).validate()
    except InvalidTokenError:
        return "refused"
    return "valid"


def asserted():
    class Auth:
        client_id = "client"
        client_secret = KEYS[alg]

    PrivateKeyJWT(URL, alg=alg).sign(Auth, URL)
    return "made"


for alg in KEYS:
    print(f"{alg}: generator: {generated()}; validator: {validated()}", end="")
    print("" if alg == "HS256" else f"; PrivateKeyJWT: {asserted()}")
PY

cat >expected <<'TEXT'
HS256: generator: made; validator: valid
RS256: generator: made; validator: valid; PrivateKeyJWT: made
ES256: generator: made; validator: valid; PrivateKeyJWT: made
RS512: generator: Algorithm of 'RS512' is not recommended; validator: refused; PrivateKeyJWT: made
PS256: generator: Algorithm of 'PS256' is not recommended; validator: refused; PrivateKeyJWT: made
ES384: generator: Algorithm of 'ES384' is not recommended; validator: refused; PrivateKeyJWT: made
Ed25519: generator: Algorithm of 'Ed25519' is not recommended; validator: refused; PrivateKeyJWT: made
EdDSA: generator: Algorithm of 'EdDSA' is not recommended; validator: refused; PrivateKeyJWT: made
TEXT
venv/bin/python try.py | tee seen
diff expected seen
