"""The middleware for Django's `MIDDLEWARE`: Django's requests become ours, our replies Django's."""

from __future__ import annotations

from asyncio import Task, current_task
from collections.abc import Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction  # as Django's own
from django.conf import settings as project_settings
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.functional import SimpleLazyObject

from ..core.known_tokens import Entry
from ..process.runtime import Runtime
from ..process.watched_body import Watch
from ..request.cookies import SAFE_METHODS
from ..values import reasons
from ..values.errors import InvalidToken, Unavailable
from ..values.flows import arun, run
from ..values.proved_key import ForwardLogin
from ..values.requests import Reply
from ..values.tokens import Forward
from .checks import check_order
from .error_pages import hiding_filter
from .project import jwt_settings
from .requests import (
    PROOF,
    TOKEN,
    DjangoRequest,
    credential_fields,
    is_inside,
    let_in_outside,
    meta_name,
    take_refresh_cookies,
)
from .responses import django_response, keep_current
from .users import TokenUser, UserRefused, UserTable, nobody


class JWTMiddleware:
    """Check the access token of every request, before its URL is resolved, then go on.

    It stands below Django's `AuthenticationMiddleware`. Views read `request.jwt` (an `AccessToken`,
    or None on public routes). With a token `request.user` and `await request.auser()` are Django's
    user whose primary key is the subject, looked up when first asked for; no session is read or
    written, and Django's CSRF check is left out: other sites' pages can't send the Authorization
    field, and where the token is in a cookie, our own check was made. Without a token Django's own
    user and check stay, and for a token that a gateway adds the check stays, too.

    Args:
        get_response: Django gives it: the rest of the chain.

    Raises:
        ConfigurationError: when the project's settings are wrong, or the order of `MIDDLEWARE`.

    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        settings = jwt_settings()
        check_order()
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated]
        if self._is_async:
            markcoroutinefunction(self)
        self._runtime = Runtime.of(settings)
        self._core = self._runtime.core(asynchronous=self._is_async)
        self._current = self._runtime.current
        self._users = UserTable.of_project()
        self._error_filter = hiding_filter(settings)
        self._gateway_field = meta_name(settings.credentials_header)
        self._keeps_csrf_check = getattr(project_settings, "JWT_MIDDLEWARE_CSRF_CHECK", False)
        self._vary = credential_fields(settings)
        self._varies_always = any(route.optional for route in settings.routes)
        self._start()

    def _start(self) -> None:
        try:
            self._runtime.check_workers()
            if self._is_async:
                self._runtime.check_place()
            else:
                self._runtime.check()
        except BaseException:
            self._runtime.close()
            raise

    def __call__(self, request: Any) -> Any:
        """Serve one request. Under ASGI the answer has to be awaited."""
        if self._is_async:
            return self._serve(request)
        step = self._at_once(request)
        if step is None:
            asked = DjangoRequest(request)
            answer = run(self._core.decide(asked))
            if isinstance(answer, Reply):
                asked.drain(answer.response.status)
                return self._answered(answer)
            step = answer
        user = self._enter(request, step)
        before = self._current.set(step.token)
        try:
            response = self.get_response(request)
        finally:
            self._current.reset(before)
        return self._finished(request, step, user, response)

    async def _serve(self, request: Any) -> Any:
        """Do what `__call__` does, in asynchronous code."""
        step = self._at_once(request)
        if step is None:
            answer = await arun(self._core.decide(DjangoRequest(request)), self._runtime.carry)
            if isinstance(answer, Reply):
                return self._answered(answer)
            step = answer
        user = self._enter(request, step)
        before = self._current.set(step.token)
        try:
            response = await self.get_response(request)
        finally:
            self._current.reset(before)
        return self._finished(request, step, user, response)

    def process_exception(self, request: Any, exception: Exception) -> HttpResponse | None:
        """Return the answer where a view's login, or a user that it asked for, is refused."""
        if isinstance(exception, Unavailable):
            return self._answered(self._core.refuse(DjangoRequest(request), exception))
        # Replaced above, by the challenge.
        return HttpResponse(status=401) if isinstance(exception, UserRefused) else None

    # --- the way in

    def _at_once(self, request: Any) -> Forward | None:
        """Return the decision of our middleware outside, or about a known token; else None."""
        # Nothing is kept as a local: error trackers send locals.
        return let_in_outside(request, self._runtime) or self._core.warm(
            request.method or "",
            request.path_info or "/",
            request.META.get("HTTP_AUTHORIZATION", ""),
        )

    def _enter(self, request: Any, step: Forward) -> TokenUser | None:
        """Give the request its token, and its user where there is a token."""
        meta, token = request.META, step.token
        request.jwt = meta[TOKEN] = token
        request.exception_reporter_filter = self._error_filter
        jars = self._core.jars
        if not is_inside(meta, self._runtime):
            meta[PROOF] = step.proved if isinstance(step, ForwardLogin) else None
            if jars is not None:
                take_refresh_cookies(jars, request)
        if token is not None and not self._keeps_csrf_check and self._is_sent_on_purpose(request):
            # Django's own name for it; REST framework looks at it, too.
            request._dont_enforce_csrf_checks = True
        if self._users is None or (token is None and hasattr(request, "user")):
            return None
        return _give_user(request, self._users, step)

    def _is_sent_on_purpose(self, request: Any) -> bool:
        """Say whether no page of another site can have sent this request with its token."""
        # For a method that is safe our check of a cookie's sender isn't made, and code below may
        # make another method of it. A gateway adds the token to whatever a browser sends.
        return request.method not in SAFE_METHODS and not request.META.get(self._gateway_field)

    # --- the way out

    def _finished(self, request: Any, step: Forward, user: TokenUser | None, response: Any) -> Any:
        """Return the application's answer, or a challenge if it asked for a user who is refused."""
        # Django's error reports ask for the user, too: a fault of the view stays a fault.
        if user is not None and user.is_refused and response.status_code < 500:
            error = InvalidToken(reasons.USER_REFUSED)
            error.grant_id = step.grant_id
            return self._answered(self._core.refuse(DjangoRequest(request), error))
        if step.token is not None and response.streaming:
            watch = self._watch(request, step, response)
            keep_current(response, step.token, self._current, watch, request._stream)
        if step.token is not None or self._varies_always:
            # Django's cache keeps one answer for all users, unless it is told what makes them
            # differ. Caches outside keep none: RFC 9111 s3.5.
            patch_vary_headers(response, self._vary)
        return response

    def _watch(self, request: Any, step: Forward, response: Any) -> Callable[[], Any] | None:
        """Return what watches a streamed body; None: nothing does, or our middleware outside."""
        method, path = request.method or "", request.path_info or "/"
        if not isinstance(step, Entry) or self._core.keeps(method, path):
            return None
        fields = tuple(response.items())
        if not self._is_async:
            return lambda: Watch(self._runtime, self._core, step, path, fields).look
        if not response.is_async:
            return None  # Django reads such a body whole, before anything is sent
        return lambda: self._runtime.open_connections().begin(
            step, cast("Task[Any]", current_task()), method, path, fields
        )

    def _answered(self, reply: Reply) -> HttpResponse:
        """Return a reply of ours as Django's response."""
        self._runtime.tell(reply.events)
        return django_response(reply.response)


def _give_user(request: Any, users: UserTable, step: Forward) -> TokenUser | None:
    """Let `request.user` be the token's user; anonymous where the token has none of ours."""
    if not step.user.is_authenticated:
        user = request.user = nobody()

        async def found() -> Any:
            return user

        request.auser = found
        return None
    given = TokenUser(users, step.user.identity)
    request.user, request.auser = SimpleLazyObject(given.get), given.aget
    return given
