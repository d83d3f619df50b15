"""What to do about a token that is refused: by the token itself, where that says more.

`ADVICE` has a text for each reason. Often it is a setting that is missing, and what the token and
the settings say beside each other tells which one. An issuer is blamed only where no setting helps.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from json import loads
from typing import Any, NamedTuple, TypeAlias, cast

from .. import Settings
from ..core.trusted_issuers import Trust
from ..jose.algorithms import ALGORITHMS
from ..jose.jws import Parsed
from ..token.profiles import FOREIGN, Profile
from ..token.refresh import REFRESH_TYPE
from ..values import reasons
from ..values.errors import OAuthError
from ..values.reasons import Reason
from .key_checks import key_lines

UNSIGNED = (
    "it is unsigned (alg none), as emulators give it: nothing says who made it, and no setting "
    "takes it; for tests of your own: jwt_middleware.testing.TokenFactory"
)
_ONE_NAME = {"EdDSA", "Ed25519"}
# Claims in which issuers put what others put into `scope`.
_SCOPES_ELSEWHERE = ("scp", "permissions", "roles", "scopes", "groups", "cognito:groups")


class Examined(NamedTuple):
    """A token, as far as it was read, and the settings that it was checked by."""

    text: str
    settings: Settings
    parsed: Parsed | None = None
    trust: Trust | None = None


def advice(error: OAuthError, case: Examined) -> str:
    """Return what to do about a refusal."""
    find = _BY_TOKEN.get(error.reason)
    return (find(error, case) if find is not None else "") or ADVICE[error.reason]


def scopes_elsewhere(claims: Mapping[str, Any], profile: Profile) -> str:
    """Return in words in which claim, that the profile doesn't read, scopes may be; or ""."""
    access = claims.get("realm_access")
    in_realm = isinstance(access, Mapping) and bool(access.get("roles"))
    found = next(filter(claims.get, _SCOPES_ELSEWHERE), "realm_access.roles" if in_realm else "")
    if not found:
        return ""
    return (
        f"its scopes are in {found}, which {profile.name} doesn't read: the issuer's profile, "
        f'or scope_claims=("{found}",) in one'
    )


def _of_unread(error: OAuthError, case: Examined) -> str:
    """Say so if a token that isn't well-formed is an unsigned one."""
    header, _, rest = case.text.partition(".")
    try:
        members = loads(urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, RecursionError):
        return ""
    names_none = isinstance(members, dict) and str(members.get("alg")).lower() == "none"
    return UNSIGNED if names_none and rest.count(".") == 1 else ""


def _of_algorithm(error: OAuthError, case: Examined) -> str:
    if case.parsed is None or case.trust is None:
        return ""  # the header names none
    name = case.parsed.header.algorithm
    if name.lower() == "none":
        return UNSIGNED
    if name not in ALGORITHMS:
        return ""
    key = case.trust.keys.key_set.find(case.parsed.header.kid)
    known = key.algorithm.name
    if {name, known} == _ONE_NAME:
        return f'algorithm="{name}" beside the keys in the settings: it is another name of {known}'
    configured = getattr(case.trust.given.keys.source, "algorithm", None)
    if configured in (known, (known,)) and ALGORITHMS[name].kty == ALGORITHMS[known].kty:
        return f'algorithm="{name}" beside the keys in the settings, in place of "{known}"'
    return ""


def _of_issuer(error: OAuthError, case: Examined) -> str:
    said = cast("Parsed", case.parsed).claims.get("iss")  # read before an issuer is looked for
    for name in (case.settings.issuer, *(one.issuer for one in case.settings.trusted_issuers)):
        if isinstance(said, str) and _squeezed(said) == _squeezed(name):
            return (
                f"issuer={said!r} in place of {name!r}, if that is the same issuer: names "
                "are compared letter by letter, with the slash at the end, case and http"
            )
    return ""


def _squeezed(name: str) -> str:
    return name.lower().removeprefix("https://").removeprefix("http://").rstrip("/")


def _of_type(error: OAuthError, case: Examined) -> str:
    # Both are known where a type is compared.
    parsed, trust = cast("Parsed", case.parsed), cast("Trust", case.trust)
    typ = str(parsed.header.members.get("typ", "")).lower().removeprefix("application/")
    if typ == REFRESH_TYPE:
        return "a refresh token: send the access token that came with it"
    if typ in FOREIGN.types and typ not in trust.policy.profile.types:
        return "profile=profiles.FOREIGN, unless it is an ID token: then send the access token"
    return ""


def _of_missing_claim(error: OAuthError, case: Examined) -> str:
    if case.trust is None:
        return ""
    missing = set(error.detail.split(", "))
    claims = cast("Parsed", case.parsed).claims
    if "aud" in missing and claims.get("token_use") == "access":
        return "profile=profiles.COGNITO, whose audience is the client's id in `client_id`"
    beyond = case.trust.policy.profile.required - FOREIGN.required
    if missing <= beyond:
        needed = ", ".join(sorted(FOREIGN.required))
        return f"profile=profiles.FOREIGN, which asks for {needed} only"
    return f"every profile asks for {', '.join(sorted(missing - beyond))}: the issuer must add it"


def _of_keys(error: OAuthError, case: Examined) -> str:
    """Fetch the keys, as `doctor` does, and return the way to them."""
    given = cast("Trust", case.trust).given  # known where keys are looked for
    found = [one.remedy for one in key_lines("keys", given, case.settings) if one.state == "FAIL"]
    return f"{found[0]}; jwt-middleware doctor shows what it answers" if found else ""


_ByToken: TypeAlias = Callable[[OAuthError, Examined], str]
_BY_TOKEN: Mapping[Reason, _ByToken] = {
    reasons.SEGMENTS: _of_unread,
    reasons.ENCODING: _of_unread,
    reasons.ALGORITHM: _of_algorithm,
    reasons.ISSUER: _of_issuer,
    reasons.TYPE: _of_type,
    reasons.CLAIM_MISSING: _of_missing_claim,
    reasons.KEYS: _of_keys,
}

# What to do about each reason; docs/errors.md says more.
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
    reasons.CLAIM_VALUE: "another kind of token of this issuer, such as its ID token",
    reasons.ISSUER: "compare letter by letter (a slash at the end, http), or add a TrustedIssuer",
    reasons.AUDIENCE: "the client must ask for this service, or `audience` is set wrong",
    reasons.EXPIRED: "normal for an old token: refresh it. For all: is this machine's clock right?",
    reasons.NOT_YET_VALID: "clocks differ: jwt-middleware doctor compares them",
    reasons.ISSUED_IN_FUTURE: "clocks differ: jwt-middleware doctor compares them",
    reasons.SENDER_CONSTRAINED: "have the issuer give bearer tokens: proofs aren't supported yet",
    reasons.CHECK_REFUSED: "your own rule, in `checks`",
    reasons.CHECK_FAILED: "a bug in your own `checks`",
    reasons.USER_HOOK: "a bug in TrustedIssuer(user=...)",
    reasons.USER_REFUSED: "Django has no such user, or it isn't active",
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
