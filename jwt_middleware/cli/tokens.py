"""`jwt-middleware token`: why is this token refused; and what does one say.

A token comes from standard input or a file, never from the command line, which other users of the
machine can read; it is never printed back.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from argparse import ArgumentParser, Namespace
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from inspect import isawaitable
from time import time
from typing import Any, NamedTuple

from .. import Settings
from ..core.trusted_issuers import Trust
from ..jose import jws
from ..jose.jwk import Key
from ..jose.jws import Parsed
from ..process.runtime import Runtime
from ..token import claims as rules
from ..token.claims import accept, check_type, time_of
from ..values import reasons
from ..values.errors import InvalidToken, OAuthError, Unavailable
from ..values.events import Refused
from ..values.flows import arun
from ..values.requests import Reply, Request
from ..values.tokens import AccessToken, Forward, FrozenDict, Hidden
from . import Refusal, told
from .configured import add_options, settings_of
from .lines import Line, moment, origin, write

MAX_INPUT = 1 << 16  # octets; what is longer is no token of anybody's
_SCHEME = re.compile(r"(?:authorization:\s*)?bearer\s+", re.IGNORECASE)
_TIMES = ("auth_time", "iat", "nbf", "exp")


def add_commands(commands: Any) -> None:
    """Add `token` and its commands to the command line."""
    token = commands.add_parser("token", help="say why a token is refused, or what it says")
    verbs = token.add_subparsers(metavar="COMMAND", required=True)

    about = "check a token as the middleware does, and say what holds and what doesn't"
    verify = _add(verbs, "verify", about, _verify)
    add_options(verify)
    verify.add_argument("--path", default="/", help="of the request; default %(default)s")
    verify.add_argument("--method", default="GET", help="default %(default)s")

    about = "show what a token says, true or not: nothing is verified"
    inspect = _add(verbs, "inspect", about, _inspect)
    inspect.add_argument(
        "--insecure",
        action="store_true",
        required=True,
        help="I know that anybody can write such a token",
    )


def _add(verbs: Any, name: str, about: str, run: Callable[[Namespace], int]) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(
        name, help=about, description=about.capitalize() + "."
    )
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="default: standard input"
    )
    parser.set_defaults(run=run)
    return parser


def _check_path(path: str) -> None:
    if told(path) != path:
        raise Refusal("a token on the command line is seen by others: give it on standard input")


def _read(path: str) -> str:
    try:
        if path == "-":
            if sys.stdin.isatty():
                sys.stderr.write("Paste the token, then press Enter and Ctrl-D.\n")
            text = sys.stdin.read(MAX_INPUT + 1)
        else:
            with open(path, encoding="utf-8") as opened:
                text = opened.read(MAX_INPUT + 1)
    except UnicodeDecodeError:
        raise Refusal("that is no text, and so no token") from None
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from None
    found = _SCHEME.sub("", text.strip(), count=1)
    if not found or len(text) > MAX_INPUT:
        problem = "nothing came" if not found else f"more than {MAX_INPUT} characters came"
        raise Refusal(f"{problem}: give one token, on standard input or in a file")
    return found


# --- verify


class Case:
    """A token under examination: what is known of it so far."""

    parsed: Parsed
    trust: Trust
    key: Key

    def __init__(self, text: str, runtime: Runtime, settings: Settings, now: float) -> None:
        self.text = text
        self.runtime = runtime
        self.settings = settings
        self.now = now

    @property
    def claims(self) -> FrozenDict:
        return self.parsed.claims


class Check(NamedTuple):
    """One check: it returns what it saw, or raises OAuthError. `shows` says what, if it did."""

    what: str
    run: Callable[[Case], str | Awaitable[str]]
    shows: Callable[[Case], str] = lambda case: ""
    is_needed: bool = True  # by the next


def _form(case: Case) -> str:
    case.parsed = jws.parse(case.text)
    return f"{len(case.text)} octets, {_header(case)}"


def _header(case: Case) -> str:
    return f"alg {case.parsed.header.algorithm}, kid {case.parsed.header.kid or 'none'}"


async def _issuer(case: Case) -> str:
    name = case.claims.get("iss")
    if name is None:
        raise InvalidToken(reasons.CLAIM_MISSING, "iss")
    issuers, hook = case.runtime.issuers, case.settings.issuer_for
    trust = issuers.find(name, case.now)
    if trust is None and hook is not None:
        try:
            answer = hook(str(name))
            answer = await answer if isawaitable(answer) else answer
        except Exception as error:
            raise Unavailable(reasons.ISSUER_HOOK, f"{type(error).__name__}: {error}") from error
        trust = issuers.adopt(str(name), answer, case.now)
        where = "by issuer_for"
    else:
        where = "our own" if trust is issuers.own else "in trusted_issuers"
    assert trust is not None  # noqa: S101  (or `find` would have raised)
    case.trust = trust
    return f"{name!r}, {where}"


def _shows_issuer(case: Case) -> str:
    others = [one.issuer for one in case.settings.trusted_issuers]
    names = ", ".join(map(repr, (case.settings.issuer, *others)))
    return f"it says {case.claims.get('iss')!r}; trusted are {names}"


def _type(case: Case) -> str:
    check_type(case.parsed, case.trust.policy.profile)
    return _shows_type(case)


def _shows_type(case: Case) -> str:
    profile = case.trust.policy.profile
    wanted = " or ".join(one or "none" for one in sorted(profile.types))
    return f"typ {case.parsed.header.members.get('typ', 'none')!r}; {profile.name} has {wanted}"


async def _key(case: Case) -> str:
    kid = case.parsed.header.kid
    case.key = await case.trust.keys.afind(kid, case.now)
    return f"{case.key.kid}, {case.key.algorithm.name}, from {origin(case.trust.given.keys)}"


def _shows_key(case: Case) -> str:
    known = ", ".join(key.kid for key in case.trust.keys.key_set.keys) or "none"
    place = origin(case.trust.given.keys)
    return f"it says kid {case.parsed.header.kid or 'none'}; from {place} there are {known}"


def _signature(case: Case) -> str:
    jws.check_signature(case.parsed, case.key)
    return f"by {case.key.kid}"


def _shows_signature(case: Case) -> str:
    wanted = case.key.algorithm.name
    return f"alg {case.parsed.header.algorithm}; the key called {case.key.kid} is for {wanted}"


def _required(case: Case) -> str:
    required = case.trust.policy.profile.required
    missing = required.difference(case.claims)
    if missing:
        raise InvalidToken(reasons.CLAIM_MISSING, ", ".join(sorted(missing)))
    return ", ".join(sorted(required))


def _shows_required(case: Case) -> str:
    return f"{case.trust.policy.profile.name} requires it"


def _checks(case: Case) -> str:
    accept(case.parsed, case.trust.policy, case.now)
    return f"{len(case.trust.policy.checks)} of the application's own"


def _claim(rule: Callable[..., None], shows: Callable[[Case], str]) -> Callable[[Case], str]:
    def run(case: Case) -> str:
        rule(case.claims, case.trust.policy, case.now)
        return shows(case)

    return run


def _shows_audience(case: Case) -> str:
    given = case.claims["aud"]
    names = given if isinstance(given, tuple) else (given,)
    ours = ", ".join(repr(one) for one in sorted(case.trust.policy.audience))
    return f"for {', '.join(map(repr, names)) or 'nobody'}; this service is {ours}"


def _shows_time(name: str, words: str) -> Callable[[Case], str]:
    def shows(case: Case) -> str:
        value = time_of(case.claims, name)
        if value is None:
            return f"{name} {case.claims[name]!r}" if name in case.claims else f"no {name}"
        return f"{words} {moment(value, case.now)}; leeway {case.trust.policy.leeway:g} s"

    return shows


def _shows_identifiers(case: Case) -> str:
    names = ("sub", "client_id", "jti", "sid")
    return ", ".join(f"{one} {case.claims[one]!r}" for one in names if one in case.claims)


def _shows_scope(case: Case) -> str:
    if "scope" not in case.claims:
        return "none"
    given, limit = case.claims["scope"], case.trust.policy.scopes
    some = "" if limit is None else f"; this issuer may give {' '.join(sorted(limit)) or 'none'}"
    return f"{given!r}{some}"


def _shows_sender(case: Case) -> str:
    return "bound to a key (cnf)" if "cnf" in case.claims else "a bearer token"


_OF_CLAIMS: Mapping[str, Callable[[Case], str]] = {
    "audience": _shows_audience,
    "expiration": _shows_time("exp", "ends"),
    "not_before": _shows_time("nbf", "begins"),
    "issued_at": _shows_time("iat", "issued"),
    "identifiers": _shows_identifiers,
    "scope": _shows_scope,
    "sender": _shows_sender,
}

# In the order in which the core has them. What the issuer's line has said isn't said again.
CHECKS: tuple[Check, ...] = (
    Check("form", _form),
    Check("issuer", _issuer, _shows_issuer),
    Check("type", _type, _shows_type),
    Check("key", _key, _shows_key),
    Check("signature", _signature, _shows_signature),
    Check("claims", _required, _shows_required),
    *(
        Check(name, _claim(rule, _OF_CLAIMS[name]), _OF_CLAIMS[name], is_needed=False)
        for name, rule in rules.CLAIM_CHECKS.items()
        if name != "issuer"
    ),
    Check("checks", _checks),
)

# What to do about it; docs/errors.md has more words.
ADVICE: Mapping[str, str] = {
    reasons.TOO_LONG: "the issuer puts too much in: groups, permissions",
    reasons.SEGMENTS: "a signed JWT is needed, alone: no opaque or encrypted token, no part of "
    "one, no quotes around it, and of a JSON answer only what `access_token` has",
    reasons.ENCODING: "damaged, or forged",
    reasons.NOT_JSON: "damaged, or forged",
    reasons.HEADER_UNSUPPORTED: "have the issuer give signed tokens, neither encrypted nor nested",
    reasons.ALGORITHM: "the issuer changed it: load its new keys; or somebody tries something",
    reasons.KEY_ID: "the issuer's header is broken, or forged",
    reasons.KEY_UNKNOWN: "a token from another environment, or a new key: look at the issuer's set",
    reasons.KEY_USE: 'mend the key set: its key_ops need "verify"',
    reasons.TYPE: "an ID token? Or an issuer that needs profile=profiles.FOREIGN",
    reasons.SIGNATURE: "somebody else's key under this kid, or a changed token: compare the sets",
    reasons.CLAIM_MISSING: "mend the issuer, or profile=profiles.FOREIGN",
    reasons.CLAIM_MALFORMED: "a bug of the issuer: numbers as text, control characters",
    reasons.ISSUER: "compare letter by letter (a slash at the end, http), or add a TrustedIssuer",
    reasons.AUDIENCE: "the client must ask for this service, or `audience` is set wrong",
    reasons.EXPIRED: "normal for an old token: refresh it. For all: is this machine's clock right?",
    reasons.NOT_YET_VALID: "clocks differ: jwt-middleware doctor compares them",
    reasons.ISSUED_IN_FUTURE: "clocks differ: jwt-middleware doctor compares them",
    reasons.SENDER_CONSTRAINED: "have the issuer give bearer tokens: proofs aren't supported yet",
    reasons.CHECK_REFUSED: "your own rule, in `checks`",
    reasons.CHECK_FAILED: "a bug in your own `checks`",
    reasons.USER_HOOK: "a bug in TrustedIssuer(user=...)",
    reasons.KEYS: "jwt-middleware doctor fetches them, and says why not",
    reasons.ISSUER_HOOK: "mend `issuer_for`",
    reasons.GRANT_ENDED: "logged out, or a copied refresh token was found: log in anew",
    reasons.STORE: "jwt-middleware doctor tries the store",
    reasons.LIFE: "have Issuer make the tokens: none of its own lives longer than a day",
    reasons.SYNC: "jwt-middleware doctor tries the store",
    reasons.SCOPE: "the client must ask for that scope, or the user may not do this",
    reasons.AUTHENTICATION_AGE: "log in anew; where it never helps: the issuer sends no auth_time",
    reasons.AUTHENTICATION_CONTEXT: "log in as the route asks; or the issuer sends no such acr",
    reasons.PATH_ODD: "servers read this path in different ways: mend the client",
    reasons.CREDENTIALS_MALFORMED: "white space or other characters in the middle of the token",
}


def _verify(arguments: Namespace) -> int:
    _check_path(arguments.file)
    settings = settings_of(arguments).replace(on_event=None)
    text = _read(arguments.file)

    async def examine() -> list[Line]:
        lines = [line async for line in _examined(settings, text, arguments)]
        await settings.aclose()
        return lines

    lines = write(asyncio.run(examine()), as_json=arguments.json)
    return 1 if any(line.state == "FAIL" for line in lines) else 0


async def _examined(settings: Settings, text: str, arguments: Namespace) -> AsyncIterator[Line]:
    runtime = Runtime.of(settings)
    core = runtime.core(asynchronous=True)
    case = Case(text, runtime, settings, settings.clock())
    is_over = has_failed = False
    for check in CHECKS:
        # The application's own checks come last, and see no token in which anything is wrong.
        if is_over or (has_failed and check.run is _checks):
            yield Line("-", check.what, "not looked at")
            continue
        line = await _checked(case, check)
        has_failed |= line.state == "FAIL"
        is_over = line.state == "FAIL" and check.is_needed
        yield line
    header = {"authorization": f"Bearer {text}"}
    request = Request(arguments.method, arguments.path, header.get, lambda limit: Hidden(b""))
    step = await arun(core.decide(request))
    for line in _answered(settings, request, step):
        # The same way out isn't said twice.
        yield line._replace(remedy="") if has_failed else line


async def _checked(case: Case, check: Check) -> Line:
    try:
        seen = check.run(case)
        return Line("ok", check.what, await seen if isawaitable(seen) else seen)
    except OAuthError as error:
        shown = check.shows(case)
        return Line(
            "FAIL", check.what, f"{error}" + (f": {shown}" if shown else ""), ADVICE[error.reason]
        )


def _answered(settings: Settings, request: Request, step: Forward | Reply) -> list[Line]:
    """Return what the core makes of the whole: the grant, and the answer."""
    where = f"{request.method} {request.path}"
    if isinstance(step, Forward):
        if step.token is None:
            seen = f"{where} reaches the application: the route is public, and reads no token"
            return [Line("warn", "answer", seen, "--path of a route that needs one")]
        whose = f"of {step.user.display_name!r}" if step.user.is_authenticated else "of no user"
        return [
            *_grant(settings, step.token),
            Line("ok", "answer", f"{where} reaches the application, as a request {whose}"),
        ]
    refused = [one for one in step.events if isinstance(one, Refused)]
    if not refused:
        seen = f"{where} is answered by the middleware itself, which reads no token there"
        return [Line("warn", "answer", seen, "--path of a route of the application")]
    status, reason, detail = refused[-1].status, refused[-1].reason, refused[-1].detail
    seen = f"{where} is answered {status}, {reason}" + (f": {detail}" if detail else "")
    return [Line("FAIL", "answer", seen, ADVICE.get(reason, "see docs/errors.md"))]


def _grant(settings: Settings, token: AccessToken) -> list[Line]:
    group = settings.refresh
    if token.grant_id is None or group is None:
        return []
    if group.store == "memory://":
        seen = "memory:// is each process's own: nobody but the service knows what has ended"
        return [Line("-", "grant", seen)]
    return [Line("ok", "grant", f"{token.grant_id} is none of those that ended")]


# --- inspect


def _inspect(arguments: Namespace) -> int:
    _check_path(arguments.file)
    text = _read(arguments.file)
    segments = text.split(".")
    warning = "NOTHING WAS VERIFIED: anybody can write a token that says this.\n"
    sys.stderr.write(warning)
    if len(segments) != 3:  # RFC 7515 s7.1; five are those of an encrypted token
        raise Refusal(f"{len(segments)} parts and not 3: an opaque or encrypted token, or cut off")
    claims: Any = {}
    for name, segment in zip(("header", "claims"), segments[:2], strict=True):
        claims = _decoded(name, segment)
        sys.stdout.write(f"{name} (unverified): {told_json(claims)}\n")
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


def _decoded(name: str, segment: str) -> Any:
    """Return what a segment holds, read as leniently as other libraries do."""
    try:
        return json.loads(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, RecursionError) as error:
        raise Refusal(f"the {name} can't be read: {type(error).__name__}") from None


def told_json(value: Any) -> str:
    """Return JSON for people; a token in a token isn't shown, and nothing obeys the terminal."""
    return "\n".join(map(told, json.dumps(value, indent=2).splitlines()))
