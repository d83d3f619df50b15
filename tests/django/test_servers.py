"""Django's door behind real servers: its own live server, and one of each interface."""

import json
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.test import LiveServerTestCase, override_settings

from jwt_middleware import Issuer, Refresh
from tests import serving
from tests.django.asking import bearer, tables
from tests.django.project import JWT

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def sent(
    base: str, method: str, path: str, headers: dict[str, str] | None = None, body: str = ""
) -> tuple[int, Any]:
    """Send one request; return the status and the answer's JSON."""
    there = urlsplit(base)
    connection = HTTPConnection(there.hostname or "", there.port, timeout=60)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    is_json = "json" in (answer.getheader("content-type") or "")
    return answer.status, json.loads(text) if is_json and text else text


class TestLive(LiveServerTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        tables()
        super().setUpClass()

    def test_its_requests_go_through_the_middleware(self) -> None:
        alice = get_user_model().objects.create_user("alice")
        url = self.live_server_url
        assert sent(url, "GET", "/user")[0] == 401
        status, found = sent(url, "GET", "/user", bearer(alice.pk))
        assert (status, found["user"]) == (200, "alice")


def make(kind: str) -> Any:
    return get_wsgi_application() if kind == "wsgi" else get_asgi_application()


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_server_of_each_interface(kind: str) -> None:
    tables()
    settings = JWT.replace(refresh=Refresh(store="memory://"))
    alice = get_user_model().objects.create_user("alice")
    try:
        with (
            override_settings(JWT_MIDDLEWARE=settings, ALLOWED_HOSTS=["*"]),
            getattr(serving, kind)(lambda _: make(kind)) as url,
        ):
            issuer = Issuer(settings)
            tokens = issuer.issue(str(alice.pk))
            headers = {"Authorization": f"Bearer {tokens.access_token}"}
            with ThreadPoolExecutor(4) as threads:
                asked = [threads.submit(sent, url, "GET", "/user", headers) for _ in range(20)]
                assert {(one.result()[0], one.result()[1]["user"]) for one in asked} == {
                    (200, "alice")
                }
            body = f"grant_type=refresh_token&refresh_token={tokens.refresh_token}"
            status, fresh = sent(url, "POST", "/auth/refresh", FORM, body)
            assert status == 200, fresh
            assert sent(url, "POST", "/body", headers | FORM, "a=1")[1]["body"] == "a=1"
            assert sent(url, "POST", "/body", FORM, "x" * 100_000)[0] == 401
            gone = f"token={fresh['refresh_token']}"
            assert sent(url, "POST", "/auth/revoke", FORM, gone)[0] == 200
            assert sent(url, "GET", "/user", headers)[0] == 401
    finally:
        alice.delete()
