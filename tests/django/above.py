"""Middlewares of a project's own, as they stand above and below ours in these tests."""

from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.utils.decorators import sync_and_async_middleware


@sync_and_async_middleware
def reads_all(get_response: Any) -> Any:
    """Read what is kept once it was read: the body, the cookies, the headers."""

    def middleware(request: Any) -> Any:
        assert request.body is not None
        assert request.COOKIES is not None
        assert request.headers is not None
        return get_response(request)

    if iscoroutinefunction(get_response):  # pyright: ignore[reportDeprecated]
        markcoroutinefunction(middleware)
    return middleware


def sync_only(get_response: Any) -> Any:
    """Stand in an asynchronous chain, which then is synchronous from here on upwards."""
    return lambda request: get_response(request)


class AsksForUser:
    """Ask for the user before the view does, and let nothing that this raises out."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)

    def process_view(self, request: Any, *view: Any) -> None:
        assert request.user.pk is not None
