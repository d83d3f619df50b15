"""Read the parameters of a token request from a bounded body (RFC 6749 s3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from ..jose.strict_json import MemberTwice, parse_object
from ..values import reasons
from ..values.errors import InvalidRequest, TooLarge

MAX_BODY = 16384  # octets; two tokens of the largest size fit
MAX_FIELDS = 32
MAX_LENGTH_DIGITS = 16  # of a Content-Length

FORM_TYPE, JSON_TYPE = "application/x-www-form-urlencoded", "application/json"
_UNREADABLE = "The body of the request can't be read"
_OTHER_TYPE = f"The body of the request must be {FORM_TYPE} or {JSON_TYPE}"

# Parameters that may be named in an answer and in a log. Any other name is the sender's own text,
# which could be a token.
_KNOWN = frozenset(
    ("grant_type", "refresh_token", "client_id", "client_secret", "scope", "token", "sid")
) | {"token_type_hint", "resource"}


def faulty(name: str, fault: str) -> InvalidRequest:
    """Return the error for a parameter, with words such as "is missing"."""
    if name not in _KNOWN:
        return InvalidRequest(reasons.PARAMETER, fault, description=f"A parameter {fault}")
    told = f"{name} {fault}"
    return InvalidRequest(reasons.PARAMETER, told, description=f"The parameter {told}")


def check_length(content_length: str | None, most: int = MAX_BODY) -> None:
    """Check Content-Length before anything is read. Raises InvalidRequest or TooLarge."""
    if not content_length:
        return
    # RFC 9110 s8.6: 1*DIGIT. `int` takes more: signs, spaces, underscores, other scripts' digits.
    if not (content_length.isascii() and content_length.isdigit()):
        raise InvalidRequest(reasons.BODY)
    if len(content_length) > MAX_LENGTH_DIGITS or int(content_length) > most:
        raise TooLarge(reasons.BODY_TOO_LARGE)


def parameters(content_type: str | None, body: bytes) -> dict[str, str]:
    """Return the parameters of a form, or of the same as JSON. Raises InvalidRequest."""
    if not body:
        return {}
    kind = content_type or ""
    if kind not in _BODY_READERS:  # with a parameter, or in another case
        kind = kind.partition(";")[0].strip(" \t").lower()
    read = _BODY_READERS.get(kind)
    if read is None:
        raise InvalidRequest(reasons.CONTENT_TYPE, description=_OTHER_TYPE)
    found = read(body)
    if "" not in found.values():
        return found
    # RFC 6749 s3.2: "Parameters sent without a value MUST be treated as if they were omitted".
    return {name: value for name, value in found.items() if value}


def _form_parameters(body: bytes) -> dict[str, str]:
    try:
        pairs = _form_pairs(body.decode("ascii"))
    except ValueError:
        raise InvalidRequest(reasons.BODY, description=_UNREADABLE) from None
    found = dict(pairs)
    # RFC 6749 s3.2: "parameters MUST NOT be included more than once".
    if len(found) != len(pairs):
        raise faulty(Counter(name for name, _ in pairs).most_common(1)[0][0], "comes twice")
    return found


def _form_pairs(text: str) -> list[tuple[str, str]]:
    if "%" in text or "+" in text:
        return parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=MAX_FIELDS,
            separator="&",  # never `;`: a proxy and we must read one body in the same way
        )
    # Tokens have no escapes. Without any, this is the same and saves a tenth of a refresh that is
    # signed by ES256 (`python -m benchmarks.refresh`). tests/request/test_body.py compares the two.
    fields = text.split("&", MAX_FIELDS)
    if len(fields) > MAX_FIELDS:
        raise ValueError("too many fields")
    pairs: list[Any] = [field.partition("=")[::2] for field in fields if field]
    return pairs


def _json_parameters(body: bytes) -> dict[str, str]:
    try:
        found = parse_object(body)
    except MemberTwice as error:
        raise faulty(error.name, "comes twice") from None
    except ValueError:
        raise InvalidRequest(reasons.BODY, description=_UNREADABLE) from None
    if len(found) > MAX_FIELDS:
        raise InvalidRequest(reasons.BODY, description=_UNREADABLE)
    for name, value in found.items():
        if type(value) is not str:
            raise faulty(name, "isn't text")
    return dict(found)


_BODY_READERS: Mapping[str, Callable[[bytes], dict[str, str]]] = {
    FORM_TYPE: _form_parameters,
    JSON_TYPE: _json_parameters,
}
