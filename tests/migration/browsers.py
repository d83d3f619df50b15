"""A browser that loads pages from a real server, and keeps cookies as if the server had TLS.

The tests serve on loopback without TLS, where no cookie jar sends a cookie with `Secure`.
"""

from __future__ import annotations

from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from tests.processes import HOST
from tests.waiting import PATIENCE, until

from .switching import Asks

PAGE_LOAD = {
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
}
_GONE = "Thu, 01 Jan 1970"


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    text: str
    location: str
    path: str


class Browser:
    """One browser, with its cookies."""

    def __init__(self, port: int, origin: str) -> None:
        self.cookies: dict[str, str] = {}
        self._port, self._origin = port, origin

    def get(self, path: str) -> Answer:
        """Load a page, through all redirects."""
        for _ in range(5):
            answer = self._ask("GET", path, dict(PAGE_LOAD), None)
            if answer.status not in (302, 303):
                return answer
            path = answer.location
        raise AssertionError(f"redirects without end, to {path}")

    def post(self, path: str, form: dict[str, str]) -> Answer:
        """Send the form of a page of this site."""
        headers = PAGE_LOAD | {"Sec-Fetch-Site": "same-origin", "Origin": self._origin}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return self._ask("POST", path, headers, urlencode(form))

    def _ask(self, method: str, path: str, headers: dict[str, str], body: str | None) -> Answer:
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={one}" for name, one in self.cookies.items())
        answer: Answer = until(
            lambda: self._asked(method, path, headers, body), passing=(OSError, HTTPException)
        )
        return answer

    def _asked(
        self, method: str, path: str, headers: dict[str, str], body: str | None
    ) -> Answer | None:
        connection = HTTPConnection(HOST, self._port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            self._keep(answer.headers.get_all("Set-Cookie") or ())
            location = urlsplit(answer.headers.get("Location", ""))
            target = location.path + (f"?{location.query}" if location.query else "")
            return None if answer.status == 503 else Answer(answer.status, text, target, path)
        finally:
            connection.close()

    def _keep(self, fields: Iterable[str]) -> None:
        for field in fields:
            for name, one in SimpleCookie(field).items():
                if one["max-age"] == "0" or _GONE in one["expires"]:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = one.value


class Reader:
    """A user of a site with pages."""

    def __init__(self, number: int, browser: Browser) -> None:
        self.name, self._password = f"user{number}", f"password{number}"
        self.browser, self._turn = browser, number

    def log_in(self, asks: Asks) -> None:
        self.browser.get("/login/")
        form = {"username": self.name, "password": self._password}
        form["csrfmiddlewaretoken"] = self.browser.cookies["csrftoken"]
        assert self.browser.post("/login/", form).status == 302

    def log_out(self) -> None:
        form = {"csrfmiddlewaretoken": self.browser.cookies["csrftoken"]}
        assert self.browser.post("/logout/", form).status == 302

    def me(self, asks: Asks) -> str | None:
        self._turn += 1
        if self._turn % 3 == 0:
            self.browser.get("/login/")  # by hand: it must cost no login
        if self._turn % 3 == 1 and any("refresh_token" in one for one in self.browser.cookies):
            self.browser.get("/auth/continue?next=/notes/")  # as when the access token has expired
        answer = self.browser.get("/notes/")
        return answer.text.removeprefix("Notes of ") if answer.status == 200 else None
