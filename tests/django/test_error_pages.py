"""Django's error pages and error mails hold no token and no secret."""

import gc
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from django.views.debug import SafeExceptionReporterFilter, get_default_exception_reporter_filter

from jwt_middleware import Cookies, Refresh
from jwt_middleware.django import jwt_issuer
from tests.django.asking import Asking, asking, bearer, both, tables
from tests.django.project import JWT

# Django makes its error pages in a thread of the loop's, whose connection nobody closes. Python
# 3.13 warns of that, in whichever test the collector runs.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:(?s).*sqlite3\.Connection:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


SECRET = secrets.token_urlsafe(64)
SETTINGS = JWT.replace(
    refresh=Refresh(store="memory://", cookies=Cookies(access=True), secret=SECRET),
    credentials_header="X-Gateway",
)
# As some write them: all secrets in Django's settings.
MAPPING: dict[str, Any] = {
    "issuer": JWT.issuer,
    "audience": JWT.audience,
    "keys": {"secret": SECRET},
    "refresh": {"store": "memory://"},
}


class Own:
    """A filter of a project's own, written without Django's."""

    def __getattr__(self, name: str) -> Any:
        return getattr(SafeExceptionReporterFilter(), name)


def token_of(headers: dict[str, str]) -> str:
    return headers["Authorization"].removeprefix("Bearer ")


def fails(ask: Asking, **headers: str) -> str:
    """Return the page for a fault of a view."""
    ask.client.raise_request_exception = False
    page = ask.get("/broken", headers=headers)
    assert page.status_code == 500
    assert "a fault of the view" in page.text
    assert "JWT_MIDDLEWARE" in page.text or headers["Accept"] != "text/html"
    return page.text


@both
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_debug_page_holds_no_token_and_no_secret(kind: str, accept: str) -> None:
    token = token_of(bearer(1))
    with asking(kind, SETTINGS, DEBUG=True) as ask:
        for headers in ({"Authorization": f"Bearer {token}"}, {"X-Gateway": token}):
            page = fails(ask, Accept=accept, **headers)
            assert token not in page
            assert SECRET not in page
        ask.post("/login?sub=7")  # from now on both tokens come in cookies
        held = [one.value for one in ask.client.cookies.values() if one.value]
        page = fails(ask, Accept=accept)
        assert len(held) == 2
        assert all(one not in page for one in held)


@both
def test_the_page_stays_where_it_is_the_first_to_ask_for_a_user_who_is_refused(kind: str) -> None:
    tables()
    with asking(kind, DEBUG=True) as ask:
        assert "unable to retrieve" in fails(ask, Accept="text/html", **bearer("nobody"))


@both
def test_settings_in_a_mapping_are_hidden_whole(kind: str) -> None:
    with asking(kind, MAPPING, DEBUG=True) as ask:
        issued = jwt_issuer().issue("7").access_token
        page = fails(ask, Accept="text/html", Authorization=f"Bearer {issued}")
        assert issued not in page
        assert SECRET not in page


def test_error_mails_hold_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    def mail_admins(subject: str, message: str, *rest: Any, **more: Any) -> None:
        sent.append(message)

    monkeypatch.setattr("django.core.mail.mail_admins", mail_admins)
    token = token_of(bearer(1))
    with asking("wsgi", ADMINS=["a@example.com"]) as ask:
        ask.client.raise_request_exception = False
        ask.get("/broken", headers={"Authorization": f"Bearer {token}"})
    assert "a fault of the view" in sent[0]
    assert "HTTP_AUTHORIZATION" in sent[0]
    assert token not in sent[0]


def test_a_filter_of_ones_own_is_kept() -> None:
    own = "tests.django.test_error_pages.Own"
    get_default_exception_reporter_filter.cache_clear()
    try:
        with asking("wsgi", DEFAULT_EXCEPTION_REPORTER_FILTER=own) as ask:
            answer = ask.get("/me", headers=bearer(1))
            assert type(answer.request.exception_reporter_filter) is Own
    finally:
        get_default_exception_reporter_filter.cache_clear()
