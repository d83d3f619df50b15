"""`jwt-middleware token`: show why a token is refused, and what it contains.

A token is read from standard input or a file, never from the command line, which other users of the
machine can read. The token is never printed.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from argparse import Namespace
from base64 import urlsafe_b64decode
from contextlib import nullcontext
from time import time
from typing import Any, cast

from .. import Settings
from ..core.trusted_issuers import Trust
from ..jose import jws
from ..process.runtime import Runtime
from ..token.claims import time_of
from ..values import reasons
from ..values.errors import InvalidToken
from ..values.events import Refused
from ..values.flows import arun
from ..values.requests import Reply, Request
from ..values.tokens import AccessToken, Forward, FrozenDict, Hidden
from . import Refusal, printable
from .commands import Subcommand, option
from .configured import AS_JSON, SOURCE, in_memory, settings_of
from .lines import Line, moment, write_lines
from .token_advice import ADVICE, scope_advice
from .token_checks import examine

MAX_INPUT = 1 << 16  # characters; the middleware takes 8192 octets
_BEARER = re.compile(r"(?:authorization:\s*)?bearer\s+", re.IGNORECASE)
_TIMES = ("auth_time", "iat", "nbf", "exp")


def _check_path(path: str) -> None:
    if printable(path) != path:
        raise Refusal("a token on the command line is seen by others: give it on standard input")


def _token_in(path: str) -> str:
    if path == "-" and sys.stdin.isatty():
        sys.stderr.write("Paste the token, then press Enter and Ctrl-D.\n")
    try:
        with nullcontext(sys.stdin) if path == "-" else open(path, encoding="utf-8") as opened:
            text = opened.read(MAX_INPUT + 1)
    except UnicodeDecodeError:
        raise Refusal("that is no text, and so no token") from None
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from None
    found = _BEARER.sub("", text.strip(), count=1)
    if not found or len(text) > MAX_INPUT:
        problem = "nothing came" if not found else f"more than {MAX_INPUT} characters came"
        raise Refusal(f"{problem}: give one token, on standard input or in a file")
    return found


# --- verify


def _verify(arguments: Namespace) -> int:
    _check_path(arguments.file)
    _check_path(arguments.proof or "")
    settings = settings_of(arguments).replace(on_event=None)
    lines = asyncio.run(_verified(settings, _token_in(arguments.file), arguments))
    return write_lines(lines, as_json=arguments.json, bad=("FAIL",))


async def _verified(settings: Settings, text: str, arguments: Namespace) -> list[Line]:
    # Made first: it raises ConfigurationError for settings that the ASGI middleware refuses.
    core = Runtime.of(settings).core(asynchronous=True)
    lines = [line async for line in examine(text, settings)]
    header = {"authorization": f"Bearer {text}"}
    if settings.proofs is not None and _is_bound(text):
        proof = _token_in(arguments.proof) if arguments.proof else None
        header = {"authorization": f"DPoP {text}", **({"dpop": proof} if proof else {})}
    request = Request(arguments.method, arguments.path, header.get, lambda limit: Hidden(b""))
    answered = _answered(settings, request, await arun(core.decide(request)), text)
    if any(line.state == "FAIL" for line in lines):
        # The line of the failed check has the remedy already.
        answered = [line._replace(remedy="") for line in answered]
    await settings.aclose()
    return [*lines, *answered]


def _is_bound(text: str) -> bool:
    """Say whether a token names the key that it is bound to, whatever is wrong with it."""
    try:
        cnf = jws.parse(text).claims.get("cnf")
    except InvalidToken:
        return False
    return isinstance(cnf, dict) and "jkt" in cnf


def _answered(settings: Settings, request: Request, step: Forward | Reply, text: str) -> list[Line]:
    """Return the lines about the grant, and about the answer to a request with this token."""
    where = f"{request.method} {request.path}"
    if isinstance(step, Forward):
        if step.token is None:
            return [
                Line(
                    "warn",
                    "answer",
                    f"{where} reaches the application: the route is public, and reads no token",
                    "--path of a route that needs one",
                )
            ]
        whose = f"of {step.user.display_name!r}" if step.user.is_authenticated else "of no user"
        return [
            *_grant_line(settings, step.token),
            Line("ok", "answer", f"{where} reaches the application, as a request {whose}"),
        ]
    refused = [one for one in step.events if isinstance(one, Refused)]
    if not refused:
        return [
            Line(
                "warn",
                "answer",
                f"{where} is answered by the middleware itself, which reads no token there",
                "--path of a route of the application",
            )
        ]
    last = refused[-1]
    seen = f"{where} is answered {last.status}, {last.reason}"
    seen += f": {last.detail}" if last.detail else ""
    remedy = ADVICE.get(reasons.Reason(last.reason), "see docs/errors.md")
    if last.reason == reasons.SCOPE:
        # The token is good, and so its issuer is known.
        claims = jws.parse(text).claims
        trust = Runtime.of(settings).issuers.find(claims["iss"], settings.clock())
        remedy = scope_advice(last.detail, claims, cast("Trust", trust).policy) or remedy
    return [Line("FAIL", "answer", seen, remedy)]


def _grant_line(settings: Settings, token: AccessToken) -> list[Line]:
    group = settings.refresh
    if token.grant_id is None or group is None:
        return []
    if in_memory(group.store):
        return [
            Line(
                "-",
                "grant",
                "memory:// is each process's own: nobody but the service knows what has ended",
            )
        ]
    return [Line("ok", "grant", f"{token.grant_id} is none of those that ended")]


# --- inspect


def _inspect(arguments: Namespace) -> int:
    _check_path(arguments.file)
    text = _token_in(arguments.file)
    segments = text.split(".")
    sys.stderr.write("NOTHING WAS VERIFIED: anybody can write a token that says this.\n")
    if len(segments) != 3:  # RFC 7515 s7.1; an encrypted token has five
        raise Refusal(f"{len(segments)} parts and not 3: an opaque or encrypted token, or cut off")
    claims: Any = {}
    for name, segment in zip(("header", "claims"), segments[:2], strict=True):
        claims = _lenient_json(name, segment)
        sys.stdout.write(f"{name} (unverified): {_readable(claims)}\n")
    now = time()
    for name in _TIMES if isinstance(claims, dict) else ():
        value = time_of(FrozenDict(claims), name)
        if value is not None:
            sys.stdout.write(f"{name} (unverified): {moment(value, now)}\n")
    try:
        jws.parse(text)
    except InvalidToken as error:
        sys.stdout.write(f"the parser refuses it: {error}\n")
    return 0


def _lenient_json(name: str, segment: str) -> Any:
    """Return the JSON of a segment, read as leniently as other libraries do."""
    try:
        return json.loads(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, RecursionError) as error:
        raise Refusal(f"the {name} can't be read: {type(error).__name__}") from None


def _readable(value: Any) -> str:
    """Return a value as indented JSON, each line `printable`: a token may hold another token."""
    return "\n".join(map(printable, json.dumps(value, indent=2).splitlines()))


_FILE = option("file", nargs="?", default="-", metavar="FILE", help="default: standard input")

TOKEN_COMMAND = Subcommand(
    "token",
    "say why a token is refused, or what it says",
    commands=(
        Subcommand(
            "verify",
            "check a token as the middleware does, and say what holds and what doesn't",
            _verify,
            (
                _FILE,
                *SOURCE,
                AS_JSON,
                option("--path", default="/", help="of the request; default %(default)s"),
                option("--method", default="GET", help="default %(default)s"),
                option(
                    "--proof",
                    metavar="FILE",
                    help="the field DPoP of a request, for a token that is bound to a key",
                ),
            ),
        ),
        Subcommand(
            "inspect",
            "show what a token says, true or not: nothing is verified",
            _inspect,
            (
                _FILE,
                option(
                    "--insecure",
                    action="store_true",
                    required=True,
                    help="I know that anybody can write such a token",
                ),
            ),
        ),
    ),
)
