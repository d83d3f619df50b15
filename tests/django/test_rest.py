"""REST framework: its user, its 401, its client, permissions and throttles; and its schema."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import override_settings
from django.urls import path
from drf_spectacular.generators import SchemaGenerator
from rest_framework.decorators import api_view, permission_classes, throttle_classes
from rest_framework.permissions import (
    AllowAny,
    BasePermission,
    DjangoModelPermissions,
    IsAuthenticated,
)
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from jwt_middleware import ConfigurationError, Resource
from tests.django.asking import bearer, tables
from tests.django.project import JWT, MIDDLEWARE, OURS


class MayWrite(BasePermission):
    def has_permission(self, request: Any, view: Any) -> Any:
        return request.auth is not None and request.auth.has_scope("write")


class TwiceADay(UserRateThrottle):
    rate = "2/day"


@api_view(["GET", "POST"])
@permission_classes([AllowAny])
def seen(request: Any) -> Response:
    return Response(
        {
            "user": request.user.get_username(),
            "scope": request.auth.scope if request.auth else None,
            "data": request.data,
        }
    )


@api_view(["GET"])
@permission_classes([IsAuthenticated])
def private(request: Any) -> Response:
    return Response({"user": request.user.get_username()})


@api_view(["GET"])
@permission_classes([MayWrite])
def writes(request: Any) -> Response:
    return Response({})


@api_view(["GET"])
@throttle_classes([TwiceADay])
def rare(request: Any) -> Response:
    return Response({})


class People(APIView):
    permission_classes = (DjangoModelPermissions,)
    queryset = get_user_model().objects.all()

    def post(self, request: Any) -> Response:
        return Response({}, status=201)


urlpatterns = [
    path("seen", seen),
    path("private", private),
    path("site/private", private),
    path("site/seen", seen),
    path("writes", writes),
    path("rare", rare),
    path("people", People.as_view()),
]


@pytest.fixture(autouse=True, scope="module")
def _routed() -> Iterator[None]:
    tables()
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.fixture
def alice() -> Iterator[Any]:
    cache.clear()
    one = get_user_model().objects.create_user("alice")
    yield one
    get_user_model().objects.all().delete()


def client(**headers: str) -> Any:
    """Return a client of its own kind; it checks CSRF, which tokens don't need."""
    one: Any = APIClient(enforce_csrf_checks=True)
    one.credentials(**{f"HTTP_{name.upper()}": value for name, value in headers.items()})
    return one


def as_user(subject: Any, **claims: Any) -> Any:
    return client(**bearer(subject, **claims))


def test_user_and_auth_are_the_tokens(alice: Any) -> None:
    answer = as_user(alice.pk, scope="read").post("/seen", {"a": 1}, format="json")
    assert answer.json() == {"user": "alice", "scope": "read", "data": {"a": 1}}
    assert as_user(alice.pk).get("/private").json() == {"user": "alice"}


def test_a_401_has_our_challenge() -> None:
    for path_asked in ("/private", "/site/private"):  # ours, and REST framework's own
        answer = client().get(path_asked)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == 'Bearer realm="api"'
    named = JWT.replace(resource=Resource(identifier="https://api.example"), realm="shop")
    with override_settings(JWT_MIDDLEWARE=named):
        answers = [client().get(one)["WWW-Authenticate"] for one in ("/private", "/site/private")]
        assert answers[0] == answers[1]
        assert "resource_metadata=" in answers[0]


def test_a_user_who_is_refused_gets_our_401(alice: Any) -> None:
    alice.is_active = False
    alice.save()
    for subject in (alice.pk, "nobody"):
        for path_asked in ("/private", "/seen"):
            answer = as_user(subject).get(path_asked)
            assert answer.status_code == 401
            assert 'error="invalid_token"' in answer["WWW-Authenticate"]


def test_a_client_without_a_user_is_nobody_with_scopes(alice: Any) -> None:
    machine = as_user(alice.pk, client_id=str(alice.pk), scope="write")
    assert machine.get("/writes").status_code == 200
    assert machine.get("/seen").json()["user"] == ""
    assert machine.get("/private").status_code == 403


def test_permissions(alice: Any) -> None:
    assert as_user(alice.pk, scope="read").get("/writes").status_code == 403
    assert as_user(alice.pk, scope="read write").get("/writes").status_code == 200
    assert as_user(alice.pk).post("/people").status_code == 403
    alice.is_superuser = True
    alice.save()
    assert as_user(alice.pk).post("/people").status_code == 201


def test_users_are_throttled_each_for_himself(alice: Any) -> None:
    bob = get_user_model().objects.create_user("bob")
    for one in (alice, bob):
        statuses = [as_user(one.pk).get("/rare").status_code for _ in range(3)]
        assert statuses == [200, 200, 429]


def test_its_clients_own_ways_in_stay_behind_ours(alice: Any) -> None:
    forced: Any = APIClient()
    forced.force_authenticate(alice)
    assert forced.get("/private").status_code == 401
    assert forced.get("/site/private").json() == {"user": "alice"}


def test_without_the_middleware_no_request_is_served() -> None:
    without = override_settings(MIDDLEWARE=[one for one in MIDDLEWARE if one != OURS])
    with without, pytest.raises(ConfigurationError, match="below AuthenticationMiddleware"):
        client().get("/private")


def test_the_schema_says_how_to_send_a_token() -> None:
    schema = SchemaGenerator(patterns=urlpatterns).get_schema(request=None, public=True)
    scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    assert schema["components"]["securitySchemes"] == {"bearer": scheme}
    assert schema["paths"]["/private"]["get"]["security"] == [{"bearer": []}]
