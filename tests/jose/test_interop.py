"""Tokens and key sets of independent issuers are verified here, end to end; and ours by theirs.

Debian's `jose`, joserfc, and a real OpenID provider. Each publishes its keys by itself, at a server
of its own or at ours, and we know of them what anyone can know: the issuer's name.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk as theirs_jwk
from joserfc import jwt as theirs_jwt

from jwt_middleware import Issuer, KeySet, Refresh, Settings, TrustedIssuer, profiles
from jwt_middleware.testing import TokenFactory
from tests.issuing import Clock
from tests.keyserver import KeyServer, document
from tests.keyserver.site import DOORS, Site, settle
from tests.oidc import AUDIENCE, Provider, install
from tests.rules import accepts, refuses

NAMES = ("ES256", "ES384", "ES512", "RS256", "RS512", "PS256", "PS384")


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with KeyServer() as one:
        one.describe()
        yield one


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def trusting(issuer: str, clock: Callable[[], float] = time.time, **more: Any) -> Settings:
    """Return settings that know of an issuer nothing but its name."""
    one = TrustedIssuer(issuer=issuer, audience=AUDIENCE, keys=KeySet.remote(), **more)
    return TokenFactory(clock=clock).settings(trusted_issuers=(one,))


def claims(issuer: str, **more: Any) -> dict[str, Any]:
    now = int(time.time())
    given = {"iss": issuer, "aud": AUDIENCE, "sub": "alice", "client_id": "web", "jti": "1"}
    return {**given, "iat": now, "exp": now + 600, **more}


# --- Debian's jose, the command


def jose(*words: str, said: str = "") -> str:
    """Run the command; skip the test, loudly, where there is none."""
    program = shutil.which("jose")
    if program is None:
        pytest.skip("no jose on the PATH: apt-get install jose")
    found = subprocess.run(
        [program, *words], input=said, capture_output=True, text=True, check=True
    )
    return found.stdout


@accepts("RS-16", "RS-72")
@pytest.mark.parametrize("algorithm", NAMES)
def test_what_debians_jose_signs_is_verified(
    algorithm: str, server: KeyServer, door: str, tmp_path: Path
) -> None:
    key = jose("jwk", "gen", "-i", json.dumps({"alg": algorithm}))
    (tmp_path / "key.jwk").write_text(key)
    published = json.loads(jose("jwk", "pub", "-s", "-i", "-", said=key))
    server.publish(document(published))
    # It calls keys by no name: we call them by their thumbprint, which both compute alike.
    kid = jose("jwk", "thp", "-a", "S256", "-i", "-", said=key).strip()

    def signed(text: str, **header: str) -> str:
        protected = {"alg": algorithm, "typ": "at+jwt", **header}
        words = ("-k", str(tmp_path / "key.jwk"), "-s", json.dumps({"protected": protected}), "-c")
        return jose("jws", "sig", "-I", "-", *words, said=text)

    site = Site(door, trusting(server.base))
    good = json.dumps(claims(server.base))
    answer = site.get(signed(good, kid=kid))
    assert (answer.status, answer.reached) == (200, True)
    assert site.get(signed(good)).reached, "without a name there is only one key"
    assert site.get(signed(good, kid="other")).reason == "key_unknown"
    assert site.get(signed(good, kid=kid, typ="JWT")).reason == "type_not_allowed"
    late = json.dumps(claims(server.base, exp=int(time.time()) - 31))
    assert site.get(signed(late, kid=kid)).reason == "expired"
    assert server.count == 1


@pytest.mark.parametrize("algorithm", NAMES)
def test_debians_jose_verifies_what_we_sign(algorithm: str, tmp_path: Path) -> None:
    factory = TokenFactory(algorithm=algorithm)
    token = factory.token()
    (tmp_path / "keys.jwks").write_text(json.dumps(factory.keys.public_jwks()))
    (tmp_path / "other.jwks").write_text(json.dumps(TokenFactory().keys.public_jwks()))
    said = jose("jws", "ver", "-i", "-", "-k", str(tmp_path / "keys.jwks"), "-O", "-", said=token)
    assert json.loads(said)["sub"] == "alice"
    with pytest.raises(subprocess.CalledProcessError):
        jose("jws", "ver", "-i", "-", "-k", str(tmp_path / "other.jwks"), said=token)


# --- joserfc


def joserfc_key(algorithm: str) -> Any:
    makers: dict[str, Any] = {
        "ES": lambda: theirs_jwk.ECKey.generate_key(_CURVES[algorithm], _named(algorithm)),
        "RS": lambda: theirs_jwk.RSAKey.generate_key(2048, _named(algorithm)),
        "PS": lambda: theirs_jwk.RSAKey.generate_key(2048, _named(algorithm)),
        "Ed": lambda: theirs_jwk.OKPKey.generate_key("Ed25519", _named(algorithm)),
    }
    return makers[algorithm[:2]]()


_CURVES: dict[str, Any] = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def _named(algorithm: str) -> Any:
    return {"alg": algorithm, "kid": f"joserfc-{algorithm}", "use": "sig"}


@accepts("RS-16", "RS-28")
def test_what_joserfc_signs_is_verified(server: KeyServer, door: str) -> None:
    """All algorithms in one set, as an issuer has them that serves old and new clients."""
    names = [*NAMES, "Ed25519"]
    keys = {name: joserfc_key(name) for name in names}
    published = theirs_jwk.KeySet(list(keys.values())).as_dict(private=False)
    server.publish(document(published))
    site = Site(door, trusting(server.base))
    for name, key in keys.items():
        header = {"alg": name, "kid": key.kid, "typ": "at+jwt"}
        token = theirs_jwt.encode(header, claims(server.base), key, algorithms=[name])
        assert site.get(token).reached, name
        other = {**header, "kid": keys["ES256" if name != "ES256" else "RS256"].kid}
        confused = theirs_jwt.encode(other, claims(server.base), key, algorithms=[name])
        assert site.get(confused).reason == "algorithm_not_allowed"
    assert server.count == 1


@pytest.mark.parametrize("algorithm", [*NAMES, "Ed25519"])
def test_joserfc_verifies_what_we_issue_by_the_set_that_we_publish(
    algorithm: str, door: str
) -> None:
    factory = TokenFactory(algorithm=algorithm)
    site = Site(door, factory.settings(refresh=Refresh(store="memory://")))
    token = Issuer(site.settings).issue("alice", scope="read").access_token
    published = getattr(site.world, f"through_{door}")("GET", "/.well-known/jwks.json", [])
    found = theirs_jwt.decode(
        token, theirs_jwk.KeySet.import_key_set(published.json), algorithms=[algorithm]
    )
    assert found.claims["sub"] == "alice"
    assert found.header["typ"] == "at+jwt"


# --- an OpenID provider


@pytest.fixture(scope="module")
def keys() -> dict[str, KeySet]:
    install()
    return {name: KeySet.generate(name, kid=name) for name in ("ES256", "RS256")}


@accepts("RS-72", "RS-28", "RS-27.remote")
@pytest.mark.xdist_group("oidc")
@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_an_openid_providers_tokens_open_what_they_are_for(
    algorithm: str, keys: dict[str, KeySet]
) -> None:
    with Provider(*keys.values(), algorithm=algorithm) as provider:
        client, (user, id_token) = provider.client_token(), provider.user_token("alice")
        for door in DOORS:
            site = Site(door, trusting(provider.issuer, user=lambda token: f"op:{token.subject}"))
            answer = site.get(user)
            assert (answer.status, answer.user) == (200, "op:alice")
            assert answer.token is not None
            assert answer.token.principal == (provider.issuer, "alice")
            assert answer.token.client_id == "web"
            assert answer.token.scope == "read"
            # A client that speaks for itself is no user, whatever its name.
            answer = site.get(client)
            assert (answer.status, answer.user) == (200, None)
            # An ID token is for the client, and opens nothing here; not even by the loose profile.
            assert site.get(id_token).reason == "type_not_allowed"
            loose = Site(door, trusting(provider.issuer, profile=profiles.FOREIGN))
            assert loose.get(id_token).reason == "audience_not_ours"
            assert loose.get(user).reached
            head, _, signature = user.rpartition(".")
            forged = f"{head}.{signature[:-4]}{'AAAA' if signature[-4:] != 'AAAA' else 'BBBB'}"
            assert site.get(forged).reason == "signature_invalid"


@refuses("RS-28")
@pytest.mark.xdist_group("oidc")
def test_an_openid_provider_opens_nothing_of_anothers(keys: dict[str, KeySet]) -> None:
    """Two of them, whose keys have the same names: each token opens its own issuer's door alone."""
    others = KeySet.generate("ES256", kid="ES256")
    with (
        Provider(keys["ES256"], algorithm="ES256") as one,
        Provider(others, algorithm="ES256") as two,
    ):
        tokens = one.client_token(), two.client_token()
        for door in DOORS:
            sites = [Site(door, trusting(provider.issuer)) for provider in (one, two)]
            found = [[site.get(token).reason for token in tokens] for site in sites]
            assert found == [[None, "issuer_not_trusted"], ["issuer_not_trusted", None]]


@pytest.mark.xdist_group("oidc")
def test_an_openid_provider_that_restarts_and_rotates_logs_nobody_out(
    keys: dict[str, KeySet],
) -> None:
    old, new = keys["ES256"], KeySet.generate("ES256", kid="new")
    clock = Clock()
    clock.now = time.time()
    with Provider(old, algorithm="ES256") as provider:
        port, token = provider.port, provider.client_token()
        sites = [Site(door, trusting(provider.issuer, clock=clock)) for door in DOORS]
        assert all(site.served(token) for site in sites)
    clock.forward(520)  # it is down when its keys are due
    assert all(site.served(token) for site in sites)
    settle()
    clock.forward(31)
    with Provider(new, old, algorithm="ES256", port=port) as provider:
        newer = provider.client_token()
        for site in sites:
            assert site.served(newer)
            assert site.served(token)
    settle()
    for site in sites:
        assert [one.name for one in site.told] == ["keys_failed", "keys_back", "keys_changed"]
