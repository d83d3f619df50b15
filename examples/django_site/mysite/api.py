"""The notes for apps: a login that answers with the tokens, and an API that asks for scopes."""

from typing import Any

from django.contrib.auth import authenticate
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from rest_framework.generics import ListCreateAPIView
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.serializers import ModelSerializer

from .accounts import SCOPE, begin
from .models import Note


@csrf_exempt  # its rule says own_origin=True: that refuses other sites' forms
@sensitive_post_parameters("password")
@require_POST
def log_in(request: Any) -> JsonResponse:
    name, password = request.POST.get("username"), request.POST.get("password")
    user = authenticate(request, username=name, password=password)
    if user is None:
        return JsonResponse({"error": "wrong name or password"}, status=403)
    asked = request.POST.get("scope", SCOPE).split()
    tokens = begin(request, user, " ".join(one for one in SCOPE.split() if one in asked))
    # An app has no cookies, so that both tokens go into the body.
    both = {"access_token": tokens.access_token, "refresh_token": tokens.refresh_token}
    return JsonResponse({**tokens, **both}, headers={"Cache-Control": "no-store"})


class NotesScope(BasePermission):
    def has_permission(self, request: Any, view: Any) -> Any:
        needed = "notes:read" if request.method in SAFE_METHODS else "notes:write"
        return request.auth is not None and request.auth.has_scope(needed)


class NoteSerializer(ModelSerializer):
    class Meta:
        model = Note
        fields = ["id", "text"]


class Notes(ListCreateAPIView):
    permission_classes = [NotesScope]
    serializer_class = NoteSerializer

    def get_queryset(self) -> Any:
        return Note.objects.filter(owner=self.request.user).order_by("pk")

    def perform_create(self, serializer: Any) -> None:
        serializer.save(owner=self.request.user)
