"""Django's users by a token's subject: looked up when first asked for, at most once a request."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings as project_settings
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, PermissionDenied, ValidationError

from ..values.errors import ConfigurationError

FIELD_NAME = "JWT_MIDDLEWARE_USER_FIELD"
# What Django's fields and databases raise for a text that can't be a value of the field.
_NO_VALUE = (ValidationError, ValueError, TypeError, OverflowError)


class UserRefused(PermissionDenied):
    """The token's user doesn't exist, or isn't active: the middleware answers 401.

    Where code of the application asks for the user, this is raised. If nothing catches it, Django
    makes a 403 of it, and no report of a fault; the middleware replaces any answer by its own.
    """


class UserTable:
    """The user model, and the field that a token's subject is compared with."""

    def __init__(self, model: Any, field: Any) -> None:
        self._users = model._default_manager
        self._missing = model.DoesNotExist
        self._field = field

    @classmethod
    def of_project(cls) -> UserTable | None:
        """Return the project's; None: it has no users. Raises ConfigurationError."""
        if not apps.is_installed("django.contrib.auth"):
            return None
        model, name = get_user_model(), getattr(project_settings, FIELD_NAME, "pk")
        try:
            field = model._meta.pk if name == "pk" else model._meta.get_field(name)
        except FieldDoesNotExist:
            raise ConfigurationError(
                FIELD_NAME, f"{model.__name__} has no field {name!r}", 'leave it out for "pk"'
            ) from None
        # Two users with one value would be one to a token.
        if not getattr(field, "unique", False):
            raise ConfigurationError(
                FIELD_NAME, f"{name!r} isn't unique", 'a field with unique=True, or "pk"'
            )
        return cls(model, field)

    def find(self, subject: str) -> Any:
        """Return the user of a subject, or None."""
        try:
            return self._checked(subject, self._users.get(**self._query(subject)))
        except (self._missing, *_NO_VALUE):
            return None

    async def afind(self, subject: str) -> Any:
        """Do what `find` does, in asynchronous code."""
        try:
            return self._checked(subject, await self._users.aget(**self._query(subject)))
        except (self._missing, *_NO_VALUE):
            return None

    def _query(self, subject: str) -> dict[str, Any]:
        return {self._field.name: self._field.to_python(subject)}

    def _checked(self, subject: str, user: Any) -> Any:
        """Return the user, or None: it isn't active, or another subject led to it."""
        # "7", "07" and "\uff17" are one number, and some databases find "Bob" by "bob". A subject
        # is the user whose value is written in the same way.
        if str(getattr(user, self._field.attname)) != subject or not user.is_active:
            return None
        return user


class TokenUser:
    """The user of one request's token. `is_refused`: asked for, and there is none."""

    __slots__ = ("_subject", "_table", "_user", "is_refused")

    def __init__(self, table: UserTable, subject: str) -> None:
        self._table = table
        self._subject = subject
        self._user: Any = None
        self.is_refused = False

    def get(self) -> Any:
        """Return the user. Raises UserRefused."""
        if self._user is None and not self.is_refused:
            self._user = self._table.find(self._subject)
        return self._found()

    async def aget(self) -> Any:
        """Do what `get` does, in asynchronous code."""
        if self._user is None and not self.is_refused:
            self._user = await self._table.afind(self._subject)
        return self._found()

    def _found(self) -> Any:
        if self._user is None:
            self.is_refused = True
            raise UserRefused("the token's user doesn't exist, or isn't active")
        return self._user


def nobody() -> Any:
    """Return Django's anonymous user."""
    # Not at the top: models can't be imported before Django has set up the project.
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()
