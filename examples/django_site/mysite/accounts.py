"""Log in, log out, here and everywhere; change the password; see your devices."""

from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.signals import user_logged_in
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from jwt_middleware import Tokens
from jwt_middleware.django import jwt_issuer

SCOPE = "notes:read notes:write"  # what a browser's tokens are good for


def begin(request: Any, user: Any, scope: str) -> Tokens:
    """Begin a login of a user whose password was right."""
    agent = request.headers.get("User-Agent", "")
    tokens = jwt_issuer().issue(
        str(user.pk),
        scope=scope,
        replaces=request.META.get("jwt_middleware.held"),  # earlier logins of this browser end
        user_agent=agent,
        label="".join(filter(str.isprintable, agent))[:200] or None,
    )
    user_logged_in.send(sender=type(user), request=request, user=user)  # sets `last_login`
    return tokens


@never_cache
@sensitive_post_parameters("password")
def log_in(request: Any) -> HttpResponse:
    form = AuthenticationForm(request, request.POST if request.method == "POST" else None)
    if not form.is_valid():
        context = {"form": form, "title": "Log in"}
        return render(request, "form.html", context, status=403 if form.is_bound else 200)
    # `next` is a path of this host: the middleware has refused all others.
    response = redirect(request.GET.get("next") or "/")
    begin(request, form.get_user(), SCOPE).set_cookies(response)
    return response


@csrf_exempt  # its rule has own_origin=True
@require_POST
def log_out(request: Any) -> HttpResponse:
    return out(request)


@require_POST
def log_out_everywhere(request: Any) -> HttpResponse:
    jwt_issuer().revoke_all(request.jwt.subject)
    return out(request)


@never_cache
@sensitive_post_parameters()
def change_password(request: Any) -> HttpResponse:
    form = PasswordChangeForm(request.user, request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return render(request, "form.html", {"form": form, "title": "Change your password"})
    form.save()
    jwt_issuer().revoke_all(request.jwt.subject)  # who knew the old one is out, everywhere
    response = redirect("/")
    begin(request, request.user, SCOPE).set_cookies(response)
    return response


@never_cache
def devices(request: Any) -> HttpResponse:
    found = [
        {"login": one, "used": datetime.fromtimestamp(one.used_at, UTC)}
        for one in jwt_issuer().grants(request.jwt.subject)
    ]
    return render(request, "devices.html", {"devices": found})


@require_POST
def end_device(request: Any, grant_id: str) -> HttpResponse:
    # With `subject` a user ends only their own.
    if not jwt_issuer().revoke(grant_id, subject=request.jwt.subject):
        raise Http404
    return redirect("/devices")


def out(request: Any) -> HttpResponse:
    response = redirect("/")
    # Ends every login that this browser holds: two tabs may have logged in at once.
    jwt_issuer().log_out(response, request.META.get("jwt_middleware.held"))
    return response
