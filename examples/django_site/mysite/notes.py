"""Pages: what a view knows of its user."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from .models import Note


@never_cache  # or "back" shows the page after the log-out
def home(request: Any) -> HttpResponse:
    if request.jwt is None:  # the rule of this path is optional
        return render(request, "home.html")
    notes = Note.objects.select_related("owner").order_by("pk")
    if "editors" not in request.jwt.claims["roles"]:  # editors see everybody's
        notes = notes.filter(owner=request.user)
    return render(request, "home.html", {"notes": notes})


@require_POST
def add(request: Any) -> HttpResponse:
    Note.objects.create(owner=request.user, text=request.POST["text"][:200])
    return redirect("/")
