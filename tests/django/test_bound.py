"""Django's own door, with tokens that are bound to a key or to a certificate."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler

from jwt_middleware import ClientCertificates, Proofs
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.django.rest import JWTAuthentication
from jwt_middleware.testing import Prover
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.django.asking import asking, both
from tests.django.project import JWT
from tests.django.urls import SEEN
from tests.proofs.test_rs_certificates import CNF, FIELD, PEM
from tests.rules import accepts, refuses
from tests.world import Sent, by_asgi, by_wsgi, encoded
from tests.wrapped import FACTORY

ROOT = "https://testserver"
BOUND = JWT.replace(
    routes=(),
    refresh=None,
    proofs=Proofs(urls=(ROOT,), nonces=False),
    on_event=None,
)


def token(**claims: Any) -> str:
    return FACTORY.token(iss=JWT.issuer, sub="7", **claims)


@accepts("RS-50", "RS-53")
@refuses("RS-53", "RS-55")
@both
def test_a_bound_token_needs_its_proof(kind: str) -> None:
    prover = Prover(ROOT)
    text = token(cnf=prover.cnf)
    with asking(kind, BOUND) as ask:
        once = prover.headers("GET", "/me", text)
        assert ask.get("/me", headers=once).status_code == 200
        assert ask.get("/me", headers=once).status_code == 401
        for scheme in ("Bearer", "bearer", "DPoP"):
            refused = ask.get("/me", headers={"Authorization": f"{scheme} {text}"})
            assert refused.status_code == 401


@accepts("RT-22")
@both
def test_a_login_is_told_the_key(kind: str) -> None:
    prover = Prover(ROOT)
    with asking(kind, JWT.replace(proofs=Proofs(nonces=False))) as ask:
        proof = {"DPoP": prover.proof("POST", "/login")}
        answer = ask.post("/login", headers=proof)
        assert answer.request.META["jwt_middleware.proof"].thumbprint == prover.thumbprint
        assert ask.post("/login", headers=proof).status_code == 401
        without = ask.post("/login")
        assert without.request.META["jwt_middleware.proof"] is None
        assert ask.get("/open").request.META["jwt_middleware.proof"] is None


@accepts("RS-59")
@refuses("RS-59")
@both
@pytest.mark.parametrize("proxies", [("unix",), ("10.0.0.0/8",), ("unix", "10.0.0.0/8")])
def test_the_field_of_a_proxy_counts_only_from_a_proxy(kind: str, proxies: Any) -> None:
    by = ClientCertificates(header="Client-Cert", proxies=proxies)
    settings = BOUND.replace(proofs=None, client_certificates=by)
    sent = {"Authorization": f"Bearer {token(cnf=CNF)}", "Client-Cert": FIELD}
    with asking(kind, settings) as ask:
        handler = ASGIHandler()  # Django's own client says nothing of a peer
        for peer, is_one in (
            ("203.0.113.9", False),
            ("127.0.0.1", False),
            ("10.1.2.3", "10.0.0.0/8" in proxies),
            ("", "unix" in proxies),
        ):
            if kind == "wsgi":
                status = ask.get("/me", headers=sent, REMOTE_ADDR=peer).status_code
            else:
                fields = [*encoded([*sent.items()], None), ("host", b"testserver")]
                client = (peer, 50000) if peer else None
                once = iter([{"type": "http.request"}])

                async def receive(once: Any = once) -> Any:
                    for message in once:
                        return message
                    return await asyncio.Event().wait()

                asked = by_asgi(handler, Sent("GET", "/me", fields), receive, client=client)
                status = asyncio.run(asked)[0]
            assert status == (200 if is_one else 401), peer


@accepts("RS-59")
def test_the_certificate_of_the_servers_own_tls() -> None:
    settings = BOUND.replace(proofs=None, client_certificates=ClientCertificates())
    sent = {"Authorization": f"Bearer {token(cnf=CNF)}"}
    with asking("wsgi", settings) as ask:
        assert ask.get("/me", headers=sent).status_code == 401
        assert ask.get("/me", headers=sent, SSL_CLIENT_CERT=PEM).status_code == 200


@accepts("RS-58")
@pytest.mark.parametrize(
    ("proofs", "said"),
    [
        (None, 'Bearer realm="api"'),
        (
            Proofs(urls=(ROOT,), nonces=False, algorithms=("ES256",)),
            'Bearer realm="api", DPoP realm="api", algs="ES256"',
        ),
        (
            Proofs(urls=(ROOT,), nonces=False, algorithms=("ES256",), required=True),
            'DPoP realm="api", algs="ES256"',
        ),
    ],
)
def test_the_rest_framework_challenges_as_the_middleware_does(proofs: Any, said: str) -> None:
    with asking("wsgi", BOUND.replace(proofs=proofs)) as ask:
        assert JWTAuthentication().authenticate_header(None) == said
        assert ask.get("/me").headers["WWW-Authenticate"] == said


@accepts("RT-22")
@refuses("RS-55")
@both
def test_our_middleware_outside_uses_up_a_proof_once(kind: str) -> None:
    settings = JWT.replace(proofs=Proofs(nonces=False))
    prover = Prover(ROOT)
    with asking(kind, settings):
        text = token(cnf=prover.cnf)
        outside: Any = (
            WSGIMiddleware(WSGIHandler(), settings)
            if kind == "wsgi"
            else ASGIMiddleware(ASGIHandler(), settings)
        )

        def send(method: str, path: str, made: dict[str, str]) -> int:
            sent = Sent(method, path, [*encoded([*made.items()], None), ("host", b"testserver")])
            if kind == "wsgi":
                return by_wsgi(outside, sent)[0]
            once = iter([{"type": "http.request"}])

            async def receive() -> Any:
                for message in once:
                    return message
                return await asyncio.Event().wait()

            return asyncio.run(by_asgi(outside, sent, receive))[0]

        once = prover.headers("GET", "/me", text)
        assert send("GET", "/me", once) == 200
        assert send("GET", "/me", once) == 401
        proof = {"DPoP": prover.proof("POST", "/login")}
        SEEN.clear()
        assert send("POST", "/login", proof) == 200
        assert [prover.thumbprint] == SEEN
        assert send("POST", "/login", proof) == 401
