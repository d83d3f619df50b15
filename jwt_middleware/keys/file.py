"""Read and write a JWK Set file: in one piece or not at all, readable by its owner only."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from time import monotonic, sleep
from typing import Any

from ..jose.binding import Names
from ..jose.jwk import Key
from ..values.errors import ConfigurationError, KeysUnavailable
from ..values.randomness import octets
from .freshness import KeyLimits
from .jwk_sets import configured_keys
from .key_sources import FoundKeys, Skipped

LOOK_INTERVAL = 5.0  # seconds between looks; a new file is in force after that
MAX_FILE = 1 << 20  # octets; a key set has a few thousand
LOCK_TIMEOUT = 10.0  # seconds for another process that changes the file, which takes milliseconds
# Modes that a file of secrets must not have. A group may read it, because the service may run in
# that group.
_OPEN_TO_OTHERS = stat.S_IWGRP | stat.S_IRWXO
# Windows has neither modes nor `flock`. There the folder's access list decides on reading, and two
# commands can change a file at the same time.
_HAS_MODES = hasattr(os, "fchown")


def read_key_file(path: Any) -> bytes:
    """Return the contents of a key file. Raises ConfigurationError with a remedy."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError("keys", f"{type(path).__name__} is no path of a file")
    with _errors_explained(path), open(path, "rb") as opened:
        contents = opened.read(MAX_FILE + 1)
    if len(contents) > MAX_FILE:
        raise ConfigurationError("keys", f"{path}: larger than {MAX_FILE} octets")
    return contents


@contextmanager
def _errors_explained(path: str | os.PathLike[str]) -> Generator[None, None, None]:
    """Turn an OSError about a file into a ConfigurationError with a remedy."""
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


def write_key_file(path: str | os.PathLike[str], contents: bytes) -> None:
    """Replace the file in one step, with mode 0600 from its first moment. Raises OSError."""
    _put_in_place(os.path.realpath(path), contents, os.replace)  # else a file would replace a link


def create_key_file(path: str | os.PathLike[str], contents: bytes) -> None:
    """Write a file as `write_key_file` does. Raises FileExistsError if there is one, OSError."""
    _put_in_place(os.path.realpath(path), contents, os.link)


def change_key_file(path: str | os.PathLike[str], to: Callable[[bytes], bytes]) -> None:
    """Replace the contents by what `to` returns for them, under a lock between processes.

    The new file has the owner and the mode of the old one. If `to` raises, nothing is changed.

    Raises:
        ConfigurationError: the file can't be read, or other users may read or write it.
        OSError: the file can't be written, or another process has held the lock for `LOCK_TIMEOUT`.

    """
    path = os.path.realpath(path)
    with _locked(path) as status:
        if status.st_mode & _OPEN_TO_OTHERS and _HAS_MODES:
            raise ConfigurationError(
                "keys",
                f"{path}: others may read or change it, its mode is {status.st_mode & 0o777:04o}",
                "chmod 600; a key that others could read is to be rotated and retired",
            )
        _put_in_place(path, to(read_key_file(path)), os.replace, status)


def _put_in_place(
    path: str,
    contents: bytes,
    give_name: Callable[[str, str], None],
    like: os.stat_result | None = None,
) -> None:
    """Write a temporary file in the same folder, then call `give_name` to rename or link it."""
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{os.getpid()}.{octets(4).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(contents)
            opened.flush()
            if like is not None and _HAS_MODES:
                # Where root changes the file, the service's user must still be able to read it.
                os.fchown(descriptor, like.st_uid, like.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            os.fsync(descriptor)
        give_name(beside, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)
    _sync_folder(path)


def _sync_folder(path: str) -> None:
    """Write the folder to disk; else the old file may be back after a power cut."""
    # Some systems (Windows) can't open or sync a folder; the file was replaced all the same.
    with suppress(OSError):
        descriptor = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _locked(path: str) -> Generator[os.stat_result, None, None]:
    """Hold the lock on the file. A file that another process has just replaced is reopened."""
    deadline = monotonic() + LOCK_TIMEOUT
    while True:
        with _errors_explained(path):
            # Open for writing, though nothing is written: on NFS the server grants an exclusive
            # lock only for a file that is open for writing (flock(2)).
            try:
                descriptor = os.open(path, os.O_RDWR)
            except PermissionError:
                descriptor = os.open(path, os.O_RDONLY)
        try:
            status = _try_lock(descriptor, path, deadline)
            if status is not None:
                yield status
                return
        finally:
            os.close(descriptor)
        sleep(0.01)


def _try_lock(descriptor: int, path: str, deadline: float) -> os.stat_result | None:
    """Lock the file and return its status; None: another process holds it, or replaced it."""
    if _HAS_MODES:
        from fcntl import LOCK_EX, LOCK_NB, flock  # not at the top: Windows has no such module

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
    """A JWK Set file as a source of keys, which is read again when it was replaced.

    If the file can't be read or isn't a key set, the known keys stay in use.
    """

    path: str
    algorithm: Names = None

    def limits(self) -> KeyLimits:
        """Return how long its keys serve: for ever, while no newer file can be read."""
        return KeyLimits(stale=inf, cool_down=1.0, lease=LOOK_INTERVAL, near=True)

    def fetch(self, issuer: str, before: FoundKeys | None, now: float) -> FoundKeys:
        """Read the file, unless it hasn't changed since the last look. Raises KeysUnavailable."""
        try:
            status = os.stat(self.path)
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if before is not None and before.memo == seen:
                return before
            return FoundKeys(read_key_file(self.path), LOOK_INTERVAL, seen)
        except OSError as error:
            raise KeysUnavailable(f"{self.path}: {error.strerror}") from None
        except ConfigurationError as error:
            raise KeysUnavailable(error.problem) from None

    def read(self, octets: bytes) -> tuple[tuple[Key, ...], tuple[Skipped, ...]]:
        """Return the keys in the file, all of which must be usable. Raises ConfigurationError."""
        return configured_keys(octets, self.algorithm), ()


def file_source(path: str | os.PathLike[str], algorithm: Names) -> File:
    """Return the file as a source. A relative path is made absolute now."""
    return File(os.path.abspath(path), algorithm)
