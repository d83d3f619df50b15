"""A JWK Set in a file: read whole, written whole or not at all, for its owner only."""

import os
from contextlib import suppress
from typing import Any

from ..values.errors import ConfigurationError
from ..values.randomness import octets

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
