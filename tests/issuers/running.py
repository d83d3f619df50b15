"""Each issuer of docs/issuers.md that can be run: started, its client registered, tokens taken."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

from jwt_middleware import KeySet
from tests.core.issuers.served import ISSUERS
from tests.issuers import (
    CLIENT,
    PYTHON,
    REDIRECT,
    Front,
    Opening,
    Program,
    Real,
    answer_of,
    npm_version,
    python_version,
    serving,
)
from tests.issuers.glewlwyd import glewlwyd
from tests.issuers.lemonldap import lemonldap
from tests.oidc import Form
from tests.processes import free_port

OTHER = "https://other.example.com"
PASSWORD = "Correct-horse-1"
COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com"
AMAZON = {
    "Content-Type": "application/x-amz-json-1.1",
    "Authorization": "AWS4-HMAC-SHA256 Credential=any/20261130/eu-central-1/cognito-idp/"
    "aws4_request, SignedHeaders=host, Signature=any",
}


def _code(front: Front, url: str, **asked: str) -> str:
    """Return the authorization code that a browser brings back; the user types where it must."""
    page = front.client.get(
        url,
        params={
            "response_type": "code",
            "client_id": CLIENT,
            "redirect_uri": REDIRECT,
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",  # RFC 7636 B
            "code_challenge_method": "S256",
            **asked,
        },
    )
    while not (goes := page.headers.get("location", "")).startswith(REDIRECT):
        if page.is_redirect:
            page = front.client.get(urljoin(url, goes))
            continue
        assert page.status_code == 200, page.text
        form = Form(page.text)
        page = front.client.post(form.action, data=form.hidden | {"login": "alice"})
    (code,) = parse_qs(urlsplit(goes).query)["code"]
    return code


def _by_code(front: Front, url: str, code: str, **form: str) -> Any:
    """Return the tokens for an authorization code."""
    return answer_of(
        front,
        url,
        grant_type="authorization_code",
        code=code,
        redirect_uri=REDIRECT,
        code_verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        **form,
    )


@contextmanager
def _oidc_provider(folder: Path) -> Generator[Real]:
    """Give an oidc-provider whose key names no algorithm: the set then doesn't, either."""
    one = ISSUERS["oidc-provider"]
    (key,) = KeySet.generate("RS256").keys
    jwk = {name: value for name, value in key.to_jwk().items() if name not in ("alg", "kid")}
    told = {"issuer": one.issuer, "redirect": REDIRECT, "scope": one.scope, "keys": [jwk]}
    token, scope = f"{one.issuer}/token", one.scope
    with Program("node", "oidc_provider.mjs", log=folder / "log", **told) as front:
        code = _code(front, f"{one.issuer}/auth", scope=f"openid {scope}", resource=one.audience)
        user = _by_code(front, token, code, resource=one.audience)

        def of_client(resource: str) -> str:
            form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
            return str(answer_of(front, token, **form)["access_token"])

        yield Real(
            version=f"oidc-provider {npm_version('oidc-provider')}",
            front=front,
            access=of_client(one.audience),
            for_another=of_client(OTHER),
            id_token=user["id_token"],
        )


@contextmanager
def _better_auth(folder: Path) -> Generator[Real]:
    one = ISSUERS["better-auth"]
    at, told = f"{one.issuer}/api/auth", {"issuer": one.issuer, "another": OTHER}
    with Program("node", "better_auth.mjs", log=folder / "log", **told) as front:
        user = {"name": "Alice", "email": "alice@example.com", "password": PASSWORD}
        origin = {"Origin": one.issuer}
        made = front.client.post(f"{at}/sign-up/email", json=user, headers=origin)
        assert made.status_code == 200, made.text
        yield Real(
            version=f"better-auth {npm_version('better-auth')}",
            front=front,
            access=front.client.get(f"{at}/token").json()["token"],
            for_another=front.client.get(f"{one.issuer}/another").json()["token"],
        )


@contextmanager
def _mock_server(folder: Path) -> Generator[Real]:
    one = ISSUERS["oauth2-mock-server, with a hook"]
    told = {"issuer": one.issuer, "hook": {"sub": "shop-web", "aud": one.audience}}
    token, scope = f"{one.issuer}/token", one.scope
    with Program("node", "mock_server.mjs", log=folder / "log", **told) as front:
        client = {"grant_type": "client_credentials", "scope": scope}
        user = {"grant_type": "password", "username": "alice", "scope": f"openid {scope}"}
        yield Real(
            version=f"oauth2-mock-server {npm_version('oauth2-mock-server')}",
            front=front,
            access=answer_of(front, token, **client)["access_token"],
            for_another=answer_of(front, token, **client, aud=OTHER)["access_token"],
            id_token=answer_of(front, token, **user)["id_token"],
        )


@contextmanager
def _authlib(folder: Path) -> Generator[Real]:
    one = ISSUERS["Authlib"]
    told = {"issuer": one.issuer, "redirect": REDIRECT, "audience": one.audience}
    token, scope = f"{one.issuer}/token", one.scope
    with Program(PYTHON, "authlib_server.py", log=folder / "log", **told) as front:
        code = _code(front, f"{one.issuer}/authorize", scope=f"openid {scope}")
        client = {"grant_type": "client_credentials", "scope": scope}
        yield Real(
            version=f"Authlib {python_version('authlib')}",
            front=front,
            access=answer_of(front, token, **client)["access_token"],
            for_another=answer_of(front, token, **client, resource=OTHER)["access_token"],
            id_token=_by_code(front, token, code)["id_token"],
        )


@contextmanager
def _moto(folder: Path) -> Generator[Real]:
    """Give moto's Cognito, with one pool and two clients."""
    command, port = (str(PYTHON), "-m", "moto.server", "-s", "-p", "{port}"), free_port()
    with serving(command, port, folder / "log", "https") as front:

        def asked(verb: str, **body: Any) -> Any:
            fields = AMAZON | {"X-Amz-Target": f"AWSCognitoIdentityProviderService.{verb}"}
            answer = front.client.post(f"{COGNITO}/", content=json.dumps(body), headers=fields)
            assert answer.status_code == 200, answer.text
            return answer.json()

        pool = asked("CreateUserPool", PoolName="shop")["UserPool"]["Id"]
        user = {"UserPoolId": pool, "Username": "alice"}
        asked("AdminCreateUser", **user)
        asked("AdminSetUserPassword", **user, Password=PASSWORD, Permanent=True)
        asked("CreateGroup", UserPoolId=pool, GroupName="admins")
        asked("AdminAddUserToGroup", **user, GroupName="admins")
        app = {"UserPoolId": pool, "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH"]}
        clients, tokens = list[str](), list[Any]()
        for name in ("ours", "another"):
            made = asked("CreateUserPoolClient", **app, ClientName=name)
            clients.append(made["UserPoolClient"]["ClientId"])
            given = {"USERNAME": "alice", "PASSWORD": PASSWORD}
            flow = {"AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": given}
            login = asked("InitiateAuth", ClientId=clients[-1], **flow)
            tokens.append(login["AuthenticationResult"])
        yield Real(
            version=f"moto {python_version('moto')}",
            front=front,
            access=tokens[0]["AccessToken"],
            for_another=tokens[1]["AccessToken"],
            id_token=tokens[0]["IdToken"],
            scope="aws.cognito.signin.user.admin",
            given={"issuer": f"{COGNITO}/{pool}", "audience": clients[0]},
            # Cognito's own have them, by its documentation.
            differs={
                "header": {"typ: str"},
                "claims": {"event_id: str", "version: int"},
                "ID token's header": {"typ: str"},
                "ID token's claims": {
                    "at_hash: str",
                    "email: str",
                    "email_verified: bool",
                    "event_id: str",
                },
            },
        )


OPENINGS: dict[str, Opening] = {
    "oidc-provider": _oidc_provider,
    "better-auth": _better_auth,
    "oauth2-mock-server, with a hook": _mock_server,
    "Authlib": _authlib,
    "Cognito": _moto,
    "Glewlwyd": glewlwyd,
    "LemonLDAP::NG": lemonldap,
}
