"""A JWK Set in a file: read whole, written whole or not at all, for its owner only."""

import os
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from ..values.errors import ConfigurationError, KeysUnavailable
from ..values.randomness import octets
from .freshness import Limits
from .source import Found, Skipped

if TYPE_CHECKING:
    from . import KeySet

LIFETIME = 5.0  # seconds between looks; a new file is in force after that
MAX_FILE = 1 << 20  # octets; a key set has a few thousand


def read(path: Any) -> bytes:
    """Return the contents of a key file. Raises ConfigurationError with the way out."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError("keys", f"{type(path).__name__} is no path of a file")
    try:
        with open(path, "rb") as opened:
            contents = opened.read(MAX_FILE + 1)
    except ValueError:
        raise ConfigurationError("keys", "the path can't be that of a file") from None
    except OSError as error:
        remedy = (
            "save the issuer's key set there; a new one: KeySet.generate().save(path)"
            if isinstance(error, FileNotFoundError)
            else ""
        )
        raise ConfigurationError("keys", f"{path}: {error.strerror}", remedy) from None
    if len(contents) > MAX_FILE:
        raise ConfigurationError("keys", f"{path}: larger than {MAX_FILE} octets")
    return contents


def write(path: str | os.PathLike[str], contents: bytes) -> None:
    """Replace the file in one step, with mode 0600 from its first moment. Raises OSError."""
    folder, name = os.path.split(os.fspath(path))
    beside = os.path.join(folder, f".{name}.{os.getpid()}.{octets(4).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(contents)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


@dataclass(frozen=True)
class File:
    """A JWK Set file as a source: replaced while the process runs, it is read again.

    What can't be read, or isn't a key set, changes nothing: the keys that are known serve on.
    """

    path: str
    algorithm: str | None = None

    def limits(self) -> Limits:
        """Return how long what it gives serves: for ever, if nothing better is found."""
        return Limits(stale=inf, cool_down=1.0, lease=LIFETIME)

    def fetch(self, issuer: str, before: Found | None, now: float) -> Found:
        """Read the file, unless it is the one that was read before. Raises KeysUnavailable."""
        try:
            status = os.stat(self.path)
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if before is not None and before.memo == seen:
                return before
            return Found(read(self.path), LIFETIME, seen)
        except OSError as error:
            raise KeysUnavailable(f"{self.path}: {error.strerror}") from None
        except ConfigurationError as error:
            raise KeysUnavailable(error.problem) from None

    def read(self, octets: bytes) -> "tuple[KeySet, tuple[Skipped, ...]]":
        """Return the keys in the file, all of which must be usable. Raises ConfigurationError."""
        from . import KeySet

        return KeySet.from_jwks(octets, algorithm=self.algorithm), ()


def source(path: str | os.PathLike[str], algorithm: str | None) -> File:
    """Return the file as a source, wherever the process goes meanwhile."""
    return File(os.path.abspath(path), algorithm)
