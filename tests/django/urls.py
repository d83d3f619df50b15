"""The views of the tests' project: what they see of a request, as JSON."""

import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.contrib import admin
from django.contrib.auth.decorators import login_required, permission_required
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from jwt_middleware import current_token
from jwt_middleware.django import jwt_issuer
from tests.wrapped import report

CALLS: list[str] = []
SEEN: list[str | None] = []  # the keys that logins have proved


def seen(request: Any) -> HttpResponse:
    CALLS.append(request.path_info)
    assert request.jwt is request.META["jwt_middleware.token"]
    return JsonResponse(report(request.jwt))


async def aseen(request: Any) -> HttpResponse:
    return seen(request)


def user(request: Any) -> HttpResponse:
    return JsonResponse(
        {
            "user": request.user.get_username(),
            "pk": request.user.pk,
            "in": request.user.is_authenticated,
            "active": request.user.is_active,
        }
    )


async def auser(request: Any) -> HttpResponse:
    found = await request.auser()
    assert await request.auser() is found
    # Django's own has two caches, so that this would ask the database, which async code can't.
    assert request.user == found
    return JsonResponse({"user": found.get_username(), "in": found.is_authenticated})


@login_required
def account(request: Any) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username()})


@permission_required("auth.view_user", raise_exception=True)
def people(request: Any) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username()})


def body(request: Any) -> HttpResponse:
    return JsonResponse({"body": request.body.decode(), "form": dict(request.POST)})


def stream(request: Any) -> StreamingHttpResponse:
    def chunks() -> Iterator[str]:
        for _ in range(2):
            token = current_token()
            yield f"{token.subject if token else None} "

    return StreamingHttpResponse(chunks())


async def astream(request: Any) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[str]:
        for _ in range(2):
            token = current_token()
            yield f"{token.subject if token else None} "

    return StreamingHttpResponse(chunks())


@csrf_exempt  # own_origin=True in its rule
def login(request: Any) -> HttpResponse:
    proof = request.META["jwt_middleware.proof"]
    SEEN.append(proof.thumbprint if proof is not None else None)
    tokens = jwt_issuer().issue(
        request.GET.get("sub", "1"), replaces=request.META.get("jwt_middleware.held"), proof=proof
    )
    response = JsonResponse(tokens)
    tokens.set_cookies(response)
    return response


def cookies(request: Any) -> HttpResponse:
    return JsonResponse(
        {
            "cookies": sorted(request.COOKIES),
            "header": request.headers.get("Cookie"),
            "scope": [
                value.decode()
                for name, value in getattr(request, "scope", {"headers": ()})["headers"]
                if name == b"cookie"
            ],
        }
    )


def file(request: Any) -> FileResponse:
    return FileResponse(io.BytesIO(b"a file"))


def broken(request: Any) -> HttpResponse:
    token = request.jwt  # in a local, as views have it
    raise LookupError(f"a fault of the view's own, {token}")


urlpatterns = [
    *(path(name, seen) for name in ("me", "open", "admin/users", "maybe", "slash/")),
    path("ame", aseen),
    path("user", user),
    path("auser", auser),
    path("site/user", user),
    path("site/broken", broken),
    path("account", account),
    path("people", people),
    path("body", body),
    path("stream", stream),
    path("astream", astream),
    path("login", login),
    path("cookies", cookies),
    path("broken", broken),
    path("file", file),
    path("site/admin/", admin.site.urls),
]
