"""A browser that binds its cookies to a key of its device, as Chromium does it (DBSC)."""

from __future__ import annotations

import re
from typing import Any

from jwt_middleware import Tokens
from jwt_middleware.jose import jwk
from jwt_middleware.jose.jwk import Key
from jwt_middleware.testing.mint import json_octets, present, seal
from tests.browser import Browser
from tests.issuing import World
from tests.world import Answer

REGISTER, RENEW = "/auth/device/register", "/auth/device/refresh"
OFFER = re.compile(r'\(ES256\);path="([^"]+)";challenge="([^"]+)"')
CHALLENGE = re.compile(r'"([^"]+)";id="([^"]+)"')

# What its own requests have, and no field of ours.
BY_ITSELF = (("Origin", "https://login.example"), ("Sec-Fetch-Site", "same-origin"))


class BoundBrowser(Browser):
    """Has one key, and one session."""

    def __init__(self, world: World, key: Key | None = None) -> None:
        super().__init__(world)
        self.key = key or jwk.generate("ES256")
        self.session = ""
        self.challenge = ""
        self.answer: Answer | None = None

    @property
    def jwk(self) -> dict[str, str]:
        members = self.key.public_jwk()
        return {name: members[name] for name in ("kty", "crv", "x", "y")}

    def login(self, subject: str = "alice", **options: Any) -> Tokens:
        """Log in without a door, and register the device if that is offered."""
        tokens = self.world.login(subject, **options)
        self.take(tuple(value for name, value in tokens.cookies if name == "set-cookie"))
        offered = offer(tokens)
        if offered is not None:
            self.register(offered)
        return tokens

    def proof(self, challenge: str, header: Any = None, **claims: Any) -> str:
        made = {"alg": "ES256", "typ": "dbsc+jwt"}
        said = {"jti": challenge}
        return seal(
            json_octets(present(made, header or {})), json_octets(present(said, claims)), self.key
        )

    def register(self, challenge: str, header: Any = None, **claims: Any) -> Answer:
        proof = self.proof(challenge, {"jwk": self.jwk, **(header or {})}, **claims)
        return self.ask(REGISTER, proof=proof)

    def renew(self, **more: Any) -> Answer:
        """Renew the cookies as a browser does: at 403 it signs the challenge, once."""
        answer = self.prove(**more) if self.challenge else self.ask(RENEW, **more)
        return self.prove(**more) if answer.status == 403 and self.challenge else answer

    def prove(self, **more: Any) -> Answer:
        return self.ask(RENEW, proof=self.proof(self.challenge), **more)

    def ask(
        self, path: str, *, proof: str | None = None, page: Any = BY_ITSELF, session: Any = None
    ) -> Answer:
        """Send one request of the browser's own, and take what its answer sets."""
        named = self.session if session is None else session
        fields = [*self.sent(page)]
        fields += [("Sec-Secure-Session-Id", named)] if named and path == RENEW else []
        fields += [("Secure-Session-Response", proof)] if proof is not None else []
        answer = self.world.send("POST", path, headers=fields)
        if path == REGISTER and answer.status == 200:
            self.session = answer.json["session_identifier"]
        return self.hear(answer)

    def hear(self, answer: Answer) -> Answer:
        self.take(answer.cookies)
        said = answer.header("secure-session-challenge")
        if said is not None:
            found = CHALLENGE.fullmatch(said)
            assert found is not None, said
            assert found[2] == self.session
            self.challenge = found[1]
        self.answer = answer
        return answer

    def forget(self, tokens: Tokens) -> None:
        """Drop the cookie whose minutes are over."""
        del self.cookies[device_name(tokens)]

    def copied(self) -> BoundBrowser:
        """Return a thief's browser, with a copy of all cookies and without the key."""
        thief = BoundBrowser(self.world)
        thief.cookies, thief.session, thief.challenge = (
            dict(self.cookies),
            self.session,
            self.challenge,
        )
        return thief


def offer(tokens: Tokens) -> str | None:
    """Return the challenge by which a login offers to register a device."""
    fields = [value for name, value in tokens.cookies if name == "secure-session-registration"]
    if not fields:
        return None
    (field,) = fields
    found = OFFER.fullmatch(field)
    assert found is not None, field
    assert found[1].endswith(REGISTER)
    return found[2]


def device_name(tokens: Tokens) -> str:
    return f"__Host-refresh_token-device-{tokens.grant_id[-8:]}"
