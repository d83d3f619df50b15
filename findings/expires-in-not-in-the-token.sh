#!/usr/bin/env bash
# Authlib 1.9.10 (Python): `expires_in` reaches the answer, and the JWT lives for ten days anyway.
#
# A token generator takes `expires_in`, and so do `generate_token` of a grant and of the server: "if
# provided, use this value as expires_in". JWTBearerTokenGenerator makes the JWT before it looks at
# it: `exp` comes from the defaults by grant type. So the client is told a minute, and the resource
# server sees 864000 s. `expires_generator`, given when it is made, reaches both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Authlib==1.9.10 joserfc==1.8.0

cat >try.py <<'PY'
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from joserfc import jwt
from joserfc.jwk import ECKey

KEY = ECKey.generate_key("P-256")


class Client:
    def get_client_id(self):
        return "client"

    def get_allowed_scope(self, scope):
        return scope


class Generator(JWTBearerTokenGenerator):
    def get_jwks(self):
        return KEY


def show(name, generator, **options):
    print(name)
    for grant_type in ("client_credentials", "refresh_token"):
        answer = generator(grant_type, Client(), scope="read", **options)
        claims = jwt.decode(answer["access_token"], KEY).claims
        life = claims["exp"] - claims["iat"]
        print(f"  {grant_type}: expires_in {answer['expires_in']}, exp - iat {life}")


generator = Generator("https://issuer.example", alg="ES256")
show("defaults", generator)
show("expires_in=60", generator, expires_in=60)
generator = Generator("https://issuer.example", alg="ES256", expires_generator=lambda *_: 60)
show("expires_generator", generator)
PY

cat >expected <<'TEXT'
defaults
  client_credentials: expires_in 864000, exp - iat 864000
  refresh_token: expires_in 3600, exp - iat 3600
expires_in=60
  client_credentials: expires_in 60, exp - iat 864000
  refresh_token: expires_in 60, exp - iat 3600
expires_generator
  client_credentials: expires_in 60, exp - iat 60
  refresh_token: expires_in 60, exp - iat 60
TEXT
venv/bin/python try.py | tee seen
diff expected seen
