"""A real OpenID provider, `oidc-provider` on Node, for the tests: started where it is needed.

What it needs is fetched once, into a folder that git ignores, as its lock file says.
"""

from __future__ import annotations

import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

from jwt_middleware import KeySet
from tests import npm
from tests.keyserver import HOST
from tests.processes import free_port

HERE = Path(__file__).parent
AUDIENCE = "https://api.example"
REDIRECT = "http://127.0.0.1:9/callback"
SECRET = "the client's secret, which is none: 5f4dcc3b5aa765d61d8327deb882cf99"


def install() -> None:
    """Fetch the provider, unless it is there; skip the test, loudly, where it can't be had."""
    npm.install(HERE)


class Provider:
    """One process of it. It signs with the first of its keys that has the algorithm."""

    def __init__(self, *keys: KeySet, algorithm: str, port: int = 0) -> None:
        self.port = port or free_port()
        self.issuer = f"http://{HOST}:{self.port}"
        settings = {
            "port": self.port,
            "audience": AUDIENCE,
            "algorithm": algorithm,
            "keys": [key.to_jwk() for one in keys for key in one.keys],
            "secret": SECRET,
            "redirect": REDIRECT,
        }
        self._process = subprocess.Popen(
            ["node", "provider.js"],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.close()
        # It warns that it is set up for development before it says so.
        assert any(line.strip() == "listening" for line in self._process.stdout)

    def client_token(self, scope: str = "read") -> str:
        """Return an access token for the client itself (RFC 6749 s4.4)."""
        return self._token(grant_type="client_credentials", scope=scope, resource=AUDIENCE)

    def user_token(self, user: str, scope: str = "read") -> tuple[str, str]:
        """Log a user in, in the browser's place; return the access token and the ID token."""
        asked = {
            "client_id": "web",
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "scope": f"openid {scope}",
            "resource": AUDIENCE,
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",  # RFC 7636 B
            "code_challenge_method": "S256",
        }
        with httpx2.Client(trust_env=False) as browser:
            page = browser.get(f"{self.issuer}/auth", params=asked)
            while not page.headers.get("location", "").startswith(REDIRECT):
                if page.is_redirect:
                    page = browser.get(urljoin(self.issuer, page.headers["location"]))
                    continue
                assert page.status_code == 200, page.text
                form = Form(page.text)
                given = form.hidden | {"login": user, "password": "any"}
                page = browser.post(urljoin(self.issuer, form.action), data=given)
        (code,) = parse_qs(urlsplit(page.headers["location"]).query)["code"]
        answer = self._answer(
            grant_type="authorization_code",
            code=code,
            redirect_uri=REDIRECT,
            resource=AUDIENCE,
            code_verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        )
        return answer["access_token"], answer["id_token"]

    def _token(self, **form: str) -> str:
        token: str = self._answer(**form)["access_token"]
        return token

    def _answer(self, **form: str) -> Any:
        answer = httpx2.post(
            f"{self.issuer}/token", data=form, auth=("web", SECRET), trust_env=False
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Form(HTMLParser):
    """The form of a page: where it goes, and what it has hidden."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.hidden: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form":
            self.action = found.get("action") or ""
        if tag == "input" and found.get("type") == "hidden":
            self.hidden[found.get("name") or ""] = found.get("value") or ""
