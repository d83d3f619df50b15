"""A browser with one cookie jar for all its pages; an answer may arrive as late as one likes."""

from __future__ import annotations

from typing import Any

from jwt_middleware import Tokens
from tests.issuing import REFRESH, REVOKE, World, form_octets
from tests.world import Answer

FIELD = ("X-Requested-With", "fetch")
OWN_PAGE = (FIELD, ("Origin", "https://login.example"), ("Sec-Fetch-Site", "same-origin"))

Page = tuple[tuple[str, str], ...]


def refresh_name(tokens: Tokens) -> str:
    """Return the name of a login's refresh cookie."""
    return f"__Host-refresh_token-{tokens.grant_id[-8:]}"


def access_name(tokens: Tokens) -> str:
    """Return the name of a login's access cookie."""
    return f"__Host-access_token-{tokens.grant_id[-8:]}"


def set_cookies(tokens: Tokens) -> tuple[str, ...]:
    """Return the Set-Cookie fields of a login."""
    assert {name for name, _ in tokens.cookies} <= {"set-cookie"}
    return tuple(value for _, value in tokens.cookies)


class Browser:
    """Keeps and sends what a browser does: all our cookies go to the whole host."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cookies: dict[str, str] = {}

    def take(self, fields: tuple[str, ...]) -> None:
        """Do what a browser does with the Set-Cookie fields of an answer that arrives."""
        for field in fields:
            pair, *attributes = field.split("; ")
            name, _, value = pair.partition("=")
            assert "Path=/" in attributes
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    def login(self, subject: str = "alice", **options: Any) -> Tokens:
        """Log in without a door: nothing is known of earlier logins."""
        tokens = self.world.login(subject, **options)
        self.take(set_cookies(tokens))
        return tokens

    def sent(self, page: Page = OWN_PAGE) -> list[tuple[str, str]]:
        """Return the fields that a page's request has."""
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return [*page, ("Cookie", pairs)] if pairs else [*page]

    def asks(self, method: str, path: str, page: Page = OWN_PAGE, form: str = "") -> Answer:
        """Send a request; its answer is still on its way."""
        headers = self.sent(page)
        if form:
            headers += [
                ("Content-Type", "application/x-www-form-urlencoded"),
                ("Content-Length", str(len(form))),
            ]
        return self.world.send(method, path, headers=headers, body=form.encode())

    def request(self, method: str, path: str, page: Page = OWN_PAGE, form: str = "") -> Answer:
        """Send a request, and take what its answer sets."""
        answer = self.asks(method, path, page, form)
        self.take(answer.cookies)
        return answer

    def asks_to_log_in(self, subject: str) -> Answer:
        """Send a login through the door; its answer is still on its way."""
        return self.world.send("POST", "/login", headers=self.sent(), query=subject)

    def logs_in(self, subject: str) -> Answer:
        """Log in through the door, which knows what the browser still holds."""
        answer = self.asks_to_log_in(subject)
        assert answer.status == 200
        self.take(answer.cookies)
        return answer

    def refresh(self, page: Page = OWN_PAGE) -> Answer:
        return self.request("POST", REFRESH, page)

    def logout(self, page: Page = OWN_PAGE, **parameters: str) -> Answer:
        return self.request("POST", REVOKE, page, form_octets(parameters).decode())
