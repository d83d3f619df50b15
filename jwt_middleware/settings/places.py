"""Where a value stands in its source, so that an error names it as the source does."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from os import PathLike
from typing import Any, NamedTuple

from ..keys import file
from ..values.errors import ConfigurationError


class Place(NamedTuple):
    """Where a value stands, in its source's words: `JWT_MIDDLEWARE_KEYS__PEM`, `routes[0].path`."""

    name: str
    first: str  # stands between this name and the next
    joint: str  # stands between all names after that: "__" for variables, "." elsewhere
    folder: str = ""  # where relative paths count from
    inner: Mapping[str, Any] = {}  # the places of fields that come from other sources

    def field(self, name: str) -> Place:
        """Return the place of a field of this value."""
        if name in self.inner:
            found: Place = self.inner[name]
            return found
        spelled = name.upper() if self.joint == "__" else name
        return self._replace(name=self.name + self.first + spelled, first=self.joint, inner={})

    def item(self, position: int) -> Place:
        """Return the place of an item of this array."""
        return self._replace(name=f"{self.name}[{position}]")

    def path(self, value: str | PathLike[str]) -> str:
        """Return the path of a file that is named here."""
        return os.path.join(self.folder, os.fsdecode(value))

    def wrong(self, problem: str, remedy: str = "") -> ConfigurationError:
        """Return the error that says what is wrong here."""
        return ConfigurationError(self.name or "settings", problem, remedy)


class Variable(NamedTuple):
    """A variable of the environment. The annotation of its field says what its text means."""

    place: Place
    text: str


def no_module(name: str) -> str:
    """Say where a module of the application was looked for, and isn't."""
    here, folders = os.getcwd(), [os.path.abspath(one) for one in sys.path]
    problem = f"there is no module {name!r} in {folders[0]}, nor further on in sys.path"
    return problem if here in folders else f"{problem}, which hasn't the current folder, {here}"


def octets_of(path: str, place: Place, remedy: str = "") -> bytes:
    """Return what is in a file. Raises ConfigurationError."""
    try:
        return file.read_key_file(path)
    except ConfigurationError as error:
        # Without the path: it may be a secret, given by mistake instead of a path.
        problem = error.problem.removeprefix(f"{path}: ")
        raise place.wrong(f"the file can't be read: {problem}", remedy) from None


def text_of(path: str, place: Place) -> str:
    """Return the text of a file, without the newline at its end. Raises ConfigurationError."""
    try:
        text = octets_of(path, place).decode()
    except UnicodeDecodeError:
        raise place.wrong("the file is not text in UTF-8", "write octets in base64url") from None
    return text.removesuffix("\n").removesuffix("\r")
