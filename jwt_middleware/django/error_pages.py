"""What Django's error pages and error mails must not show: credentials, and the settings."""

from __future__ import annotations

import re
from typing import Any

from django.views.debug import get_default_exception_reporter_filter

from ..settings.settings import Settings
from .project import NAME
from .requests import meta_name


def hiding_filter(settings: Settings) -> Any:
    """Return the project's filter of error reports, which then hides credentials as well.

    Django 4.2 shows the Authorization field, and all versions show another one that a gateway uses;
    a mapping in `JWT_MIDDLEWARE` may have the password of a store in it.
    """
    filtering = get_default_exception_reporter_filter()
    hidden = getattr(type(filtering), "hidden_settings", None)
    if hidden is None:  # a filter of the project's own, written in another way
        return filtering
    names = ["HTTP_AUTHORIZATION", f"{NAME}$"]
    if settings.credentials_header:
        names.append(f"{meta_name(settings.credentials_header)}$")
    pattern = re.compile("|".join((hidden.pattern, *names)), hidden.flags)
    return type("HidingFilter", (type(filtering),), {"hidden_settings": pattern})()
