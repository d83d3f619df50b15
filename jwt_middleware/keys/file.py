"""A JWK Set in a file: read whole, written whole or not at all, for its owner only."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from ..values.errors import ConfigurationError, KeysUnavailable
from ..values.randomness import octets
from .freshness import Limits
from .key_sources import Found, Skipped

if TYPE_CHECKING:
    from .key_set import KeySet

LIFETIME = 5.0  # seconds between looks; a new file is in force after that
MAX_FILE = 1 << 20  # octets; a key set has a few thousand
PATIENCE = 10.0  # seconds for another process that changes the file, which takes milliseconds
# Others may read it, or write it; a group that the service runs in may read it.
_STRANGERS = stat.S_IWGRP | stat.S_IRWXO
# Windows has neither: the folder's access list says who may read, and nothing keeps two commands
# that change a file from doing it at once.
_HAS_MODES = hasattr(os, "fchown")


def read(path: Any) -> bytes:
    """Return the contents of a key file. Raises ConfigurationError with the way out."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError("keys", f"{type(path).__name__} is no path of a file")
    with _told(path), open(path, "rb") as opened:
        contents = opened.read(MAX_FILE + 1)
    if len(contents) > MAX_FILE:
        raise ConfigurationError("keys", f"{path}: larger than {MAX_FILE} octets")
    return contents


@contextmanager
def _told(path: str | os.PathLike[str]) -> Generator[None, None, None]:
    """Say what is wrong with a file. Raises ConfigurationError with the way out."""
    try:
        yield
    except ValueError:
        raise ConfigurationError("keys", "the path can't be that of a file") from None
    except OSError as error:
        remedy = (
            "save the issuer's key set there; a new one: KeySet.generate().save(path)"
            if isinstance(error, FileNotFoundError)
            else ""
        )
        raise ConfigurationError("keys", f"{path}: {error.strerror}", remedy) from None


def write(path: str | os.PathLike[str], contents: bytes) -> None:
    """Replace the file in one step, with mode 0600 from its first moment. Raises OSError."""
    path = os.path.realpath(path)  # or a link would become a file
    with _beside(path, contents) as written:
        os.replace(written, path)
    _sync_folder(path)


def create(path: str | os.PathLike[str], contents: bytes) -> None:
    """Do what `write` does where there is no such file. Raises FileExistsError, OSError."""
    path = os.path.realpath(path)
    with _beside(path, contents) as written:
        os.link(written, path)
    _sync_folder(path)


def change(path: str | os.PathLike[str], to: Callable[[bytes], bytes]) -> None:
    """Replace the contents by what `to` makes of them, one process after the other.

    The new file has the owner and the mode of the old one. What `to` raises leaves all as it was.

    Raises:
        ConfigurationError: it can't be read, or others may read or write it.
        OSError: it can't be written, or another process has held it for `PATIENCE`.

    """
    path = os.path.realpath(path)
    with _locked(path) as status:
        if status.st_mode & _STRANGERS and _HAS_MODES:
            mode = f"{status.st_mode & 0o777:04o}"
            raise ConfigurationError(
                "keys",
                f"{path}: others may read or change it, its mode is {mode}",
                "chmod 600; a key that others could read is to be rotated and retired",
            )
        with _beside(path, to(read(path)), status) as written:
            os.replace(written, path)
        _sync_folder(path)


@contextmanager
def _beside(
    path: str, contents: bytes, like: os.stat_result | None = None
) -> Generator[str, None, None]:
    """Write to a file in the same folder, which is gone at the end unless it got another name."""
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{os.getpid()}.{octets(4).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(contents)
            opened.flush()
            if like is not None and _HAS_MODES:
                # An operator who is root must not take the file away from who runs the service.
                os.fchown(descriptor, like.st_uid, like.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            os.fsync(descriptor)
        yield beside
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)


def _sync_folder(path: str) -> None:
    """Make the new name as durable as the contents: a power cut would bring the old file back."""
    # Where a folder can't be opened (Windows) or synced, the file is in its place all the same.
    with suppress(OSError):
        descriptor = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _locked(path: str) -> Generator[os.stat_result, None, None]:
    """Hold the file itself locked: what another process has replaced meanwhile is locked anew."""
    deadline = monotonic() + PATIENCE
    while True:
        with _told(path):
            descriptor = _opened(path)
        try:
            status = _lock(descriptor, path, deadline)
            if status is not None:
                yield status
                return
        finally:
            os.close(descriptor)
        sleep(0.01)


def _opened(path: str) -> int:
    # To write, though nothing is written: on NFS a lock is the server's, which grants an exclusive
    # one for a file that is open to write only (flock(2)).
    try:
        return os.open(path, os.O_RDWR)
    except PermissionError:
        return os.open(path, os.O_RDONLY)


def _lock(descriptor: int, path: str, deadline: float) -> os.stat_result | None:
    """Return the status of the file that is locked now; None: another process has it, or had."""
    if _HAS_MODES:
        # Not at the top: who only reads has no use for it.
        from fcntl import LOCK_EX, LOCK_NB, flock

        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            if monotonic() > deadline:
                raise
            return None
    status = os.fstat(descriptor)
    return status if os.path.samestat(status, os.stat(path)) else None


@dataclass(frozen=True)
class File:
    """A JWK Set file as a source: replaced while the process runs, it is read again.

    What can't be read, or isn't a key set, changes nothing: the keys that are known serve on.
    """

    path: str
    algorithm: str | None = None

    def limits(self) -> Limits:
        """Return how long what it gives serves: for ever, if nothing better is found."""
        return Limits(stale=inf, cool_down=1.0, lease=LIFETIME, near=True)

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

    def read(self, octets: bytes) -> tuple[KeySet, tuple[Skipped, ...]]:
        """Return the keys in the file, all of which must be usable. Raises ConfigurationError."""
        from .key_set import KeySet

        return KeySet.from_jwks(octets, algorithm=self.algorithm), ()


def source(path: str | os.PathLike[str], algorithm: str | None) -> File:
    """Return the file as a source, wherever the process goes meanwhile."""
    return File(os.path.abspath(path), algorithm)
