"""Watch over a whole run: no token and no secret is ever in what is logged or told."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import pytest

from jwt_middleware import KeySet
from jwt_middleware.process.event_log import EventLog
from jwt_middleware.values.events import Event

# RFC 7515 s7.1: three segments, and the first begins with `{"`.
TOKEN = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}")
# What 20 octets or more look like in base64, base64url or hexadecimal.
LONG = re.compile(r"[\w+/=-]{27,}")
ENOUGH = 8  # characters of a token that say which it was


class Told:
    """What was seen: how much, which tokens, and all that may turn out to be a secret."""

    def __init__(self) -> None:
        self.count = 0
        self.tokens: list[str] = []
        self._long: set[str] = set()
        self._is_aside = False

    def see(self, *texts: str) -> None:
        """Look at what is told."""
        if self._is_aside:
            return
        self.count += 1
        for text in texts:
            for token in TOKEN.findall(text):
                test = os.environ.get("PYTEST_CURRENT_TEST", "?")
                self.tokens.append(f"{test}: {token[:ENOUGH]}... in {text[:200]!r}")
            self._long.update(LONG.findall(text))
            if "\\x" in text:  # a `repr` of octets; in another `repr` its backslashes are doubled
                self._long.add(text.replace("\\\\", "\\"))

    def secrets(self, secrets: Iterable[bytes]) -> list[str]:
        """Return what shows one of the secrets, in any of the ways that text shows octets."""
        forms = {form for secret in secrets for form in shown(secret)}
        return [f"{one[:ENOUGH]}..." for one in self._long if any(form in one for form in forms)]

    @contextmanager
    def aside(self) -> Generator[None]:
        """Look aside while a test tells what must be found."""
        self._is_aside = True
        try:
            yield
        finally:
            self._is_aside = False

    def _see_record(self, record: logging.LogRecord) -> None:
        texts = [record.getMessage(), repr(record.args)]
        if record.exc_info and record.exc_info[0] is not None:
            texts += traceback.format_exception(*record.exc_info)
        self.see(*texts)

    @contextmanager
    def watching(self) -> Generator[None]:
        """See every log record of every logger, and every event of every runtime."""
        make, tell = logging.getLogRecordFactory(), EventLog.tell

        def record(*args: Any, **options: Any) -> logging.LogRecord:
            made = make(*args, **options)
            self._see_record(made)
            return made

        def watched(log: EventLog, events: tuple[Event, ...]) -> None:
            for event in events:
                self.see(repr(event))
            tell(log, events)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EventLog, "tell", watched)
            logging.setLogRecordFactory(record)
            try:
                yield
            finally:
                logging.setLogRecordFactory(make)


def shown(secret: bytes) -> set[str]:
    """Return how octets look in a text."""
    text = {
        b64encode(secret).decode().rstrip("="),
        urlsafe_b64encode(secret).decode().rstrip("="),
        secret.hex(),
        repr(secret)[2:-1],
    }
    return {one for one in text if len(one) >= 27}


def known_secrets() -> set[bytes]:
    """Return the secrets of all test modules that this run has imported."""
    found: set[bytes] = set()
    modules = [module for name, module in sys.modules.items() if name.startswith("tests.")]
    for name, value in [pair for module in modules for pair in vars(module).items()]:
        if isinstance(value, KeySet):
            for key in value.keys:
                members = key.to_jwk()
                found.update(members[one].encode() for one in ("d", "k") if one in members)
                if isinstance(key.private, bytes):
                    found.add(key.private)
        elif "SECRET" in name and isinstance(value, str | bytes):
            found.add(value.encode() if isinstance(value, str) else value)
    return {one for one in found if len(one) >= 20}
