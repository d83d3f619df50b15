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
from ..token.claims import Policy, missing_claims
from ..token.profiles import FOREIGN, Profile
from ..token.scopes import ScopeReader, values_of
from ..values import reasons
from ..values.errors import OAuthError
from ..values.reasons import Reason
from ..values.tokens import FrozenDict
from .key_checks import key_lines, other_place
from .proof_advice import PROOF_ADVICE
from .token_kinds import REFRESH_TOKEN, as_written, fits, is_preset, other_kind, preset_of

UNSIGNED = (
    "it is unsigned (alg none), as emulators give it: nothing says who made it, and no setting "
    "takes it; for tests of your own: jwt_middleware.testing.TokenFactory"
)
PADDED = (
    "its base64url is padded with `=`, which JWS forbids (RFC 7515 s2), as that of an AWS load "
    "balancer is: no setting takes it; send the access token of the issuer"
)
ENCRYPTED = (
    "it is encrypted (five parts), for somebody else to read: a refresh token, or an access token "
    "for which the client named no API (`audience`, `resource`): no setting takes it"
)
_ONE_NAME = {"EdDSA", "Ed25519"}
# Claims in which issuers put what others put into `scope`.
_SCOPES_ELSEWHERE = ("scp", "permissions", "roles", "scopes", "groups", "cognito:groups")
# Claims in which issuers put the client, which is the subject where it acts for itself.
_CLIENTS = ("client_id", "azp", "cid", "appid")
# Reasons that a token of another kind than an access token gives; of a refresh token the key may be
# the server's own secret.
_OF_ANOTHER_KIND = (reasons.TYPE, reasons.CLAIM_MISSING, reasons.CLAIM_VALUE, reasons.AUDIENCE)
_OF_A_SECRET = (reasons.KEY_UNKNOWN, reasons.ALGORITHM)


class Examined(NamedTuple):
    """A token, as far as it was read, and the settings that it was checked by."""

    text: str
    settings: Settings
    parsed: Parsed | None = None
    trust: Trust | None = None

    def known(self) -> tuple[Parsed, Trust]:
        """Return what is known where the issuer has been found."""
        return cast("Parsed", self.parsed), cast("Trust", self.trust)


def advice(error: OAuthError, case: Examined) -> str:
    """Return what to do about a refusal."""
    if case.trust is not None:
        parsed, trust = case.known()
        kind = other_kind(parsed, trust.policy.profile)
        of_secret = kind == REFRESH_TOKEN and error.reason in _OF_A_SECRET
        if of_secret or (kind and error.reason in _OF_ANOTHER_KIND):
            return f"{kind}: send the access token"
    find = _BY_TOKEN.get(error.reason)
    return (find(error, case) if find is not None else "") or ADVICE[error.reason]


# --- what can't be read


def _of_unread(error: OAuthError, case: Examined) -> str:
    """Say so if a token that isn't well-formed is padded, encrypted or unsigned."""
    header, _, rest = case.text.partition(".")
    if "=" in case.text:
        return PADDED
    if rest.count(".") == 3:  # RFC 7516 s3.1
        return ENCRYPTED
    try:
        members = loads(urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, RecursionError):
        return ""
    names_none = isinstance(members, dict) and str(members.get("alg")).lower() == "none"
    return UNSIGNED if names_none and rest.count(".") == 1 else ""


# --- whose it is, and which key


def _of_issuer(error: OAuthError, case: Examined) -> str:
    said = cast("Parsed", case.parsed).claims.get("iss")  # read before an issuer is looked for
    if not isinstance(said, str):
        return ""
    names = (case.settings.issuer, *(one.issuer for one in case.settings.trusted_issuers))
    for name in names:
        if _squeezed(said) == _squeezed(name):
            return (
                f"issuer={said!r} in place of {name!r}, if that is the same issuer: names "
                "are compared letter by letter, with the slash at the end, case and http"
            )
    ways = f"issuer={said!r}, or a TrustedIssuer of that name, if its tokens are meant to get in"
    hosts = ("sts.windows.net/", "login.microsoftonline.com/")
    if all(any(host in one for one in (said, *names)) for host in hosts):
        ways += "; Entra has an issuer for tokens of version 1, and another for those of version 2"
    return ways


def _squeezed(name: str) -> str:
    return name.lower().removeprefix("https://").removeprefix("http://").rstrip("/")


def _of_keys(error: OAuthError, case: Examined) -> str:
    """Fetch the keys, as `doctor` does, and return the way to them."""
    given = case.known()[1].given
    found = [one.remedy for one in key_lines("keys", given, case.settings) if one.state == "FAIL"]
    return f"{found[0]}; jwt-middleware doctor shows what it answers" if found else ""


def _of_unknown_key(error: OAuthError, case: Examined) -> str:
    """Say so if a setting makes the key known: its algorithm, or another key set."""
    parsed, trust = case.known()
    kid = parsed.header.kid
    if kid is None:
        return (
            "it names no key (`kid`), and there are several: have the issuer name it, or give the "
            "one key: KeySet.load(file)"
        )
    for line in key_lines("keys", trust.given, case.settings):
        if line.state == "warn" and line.seen.startswith(f"{kid} can't be used"):
            return line.remedy
    return other_place(trust.given.issuer, trust.given.keys.source)


def _of_algorithm(error: OAuthError, case: Examined) -> str:
    if case.trust is None:
        return ""  # the header names none
    parsed, trust = case.known()
    name = parsed.header.algorithm
    if name.lower() == "none":
        return UNSIGNED
    if name not in ALGORITHMS:
        return ""
    key = trust.keys.key_set.find(parsed.header.kid)
    known = key.algorithm.name
    if {name, known} == _ONE_NAME:
        return f'algorithm="{name}" beside the keys in the settings: it is another name of {known}'
    configured = getattr(trust.given.keys.source, "algorithm", None)
    if configured in (known, (known,)) and ALGORITHMS[name].kty == ALGORITHMS[known].kty:
        return f'algorithm="{name}" beside the keys in the settings, in place of "{known}"'
    return ""


# --- which profile


def _of_type(error: OAuthError, case: Examined) -> str:
    profile = _fitting(case.known()[0])
    if profile is FOREIGN:
        return "profile=profiles.FOREIGN, unless it is an ID token: then send the access token"
    return as_written(profile) if profile is not None else ""


def telling_apart(parsed: Parsed) -> str:
    """Return the setting that keeps a token out that isn't an access token."""
    preset = preset_of(parsed.claims)
    if preset is not None and not fits(parsed, preset):
        return f"{as_written(preset)} keeps such tokens out; send the access token"
    return (
        "a profile with `required` or `claims` that only access tokens have keeps it out, unless "
        "its audience does; send the access token"
    )


def _fitting(parsed: Parsed) -> Profile | None:
    """Return a preset in whose form a token is, if possible that of its issuer."""
    found = (preset_of(parsed.claims), FOREIGN)
    return next((one for one in found if one is not None and fits(parsed, one)), None)


def _of_missing_claim(error: OAuthError, case: Examined) -> str:
    if case.trust is None:
        return ""
    parsed, trust = case.known()
    present, claims = trust.policy.profile, parsed.claims
    # What a profile of one's own asks for has a reason, such as to keep other kinds of tokens out.
    profile = _fitting(parsed) if is_preset(present) else None
    if profile is FOREIGN:
        needs = ", ".join(sorted(FOREIGN.required))
        return f"{as_written(FOREIGN)}, which asks for {needs} only, if this is an access token"
    if profile is not None:
        return as_written(profile)
    # A client that acts for itself has no `sub` at some issuers.
    for client in filter(claims.get, _CLIENTS):
        for one in (present, FOREIGN):
            subjects = (*one.subject_claims, client)
            if fits(parsed, one.replace(subject_claims=subjects)):
                return f"{as_written(one, subject_claims=subjects)}: the client is the subject"
    missing = ", ".join(missing_claims(claims, trust.policy))
    return (
        f"have the issuer put {missing} there (for `aud`: an API, a resource or a mapper of this "
        "service's name), or have the profile not ask for it"
    )


def _of_malformed_claim(error: OAuthError, case: Examined) -> str:
    if error.detail != "scope" or case.trust is None:
        return ""
    # RFC 9068 s2.2.3 wants a text: a profile may take what its issuer sends.
    return as_written(case.trust.policy.profile, scope_is_text=False)


def _of_audience(error: OAuthError, case: Examined) -> str:
    parsed, trust = case.known()
    for name in (trust.policy.audience_claim, "aud"):
        given = parsed.claims.get(name, ())
        names = (given,) if isinstance(given, str) else given
        if names and trust.policy.audience.isdisjoint(names):
            listed = " or ".join(map(repr, names))
            return (
                f"audience={listed}, if that is a name of this service, and the token no ID token; "
                "else the client must ask for a token for this service"
            )
    return ""


# --- which scopes


def scopes_elsewhere(claims: Mapping[str, Any], profile: Profile) -> str:
    """Return in words in which claim, that the profile doesn't read, scopes may be; or ""."""
    access = claims.get("realm_access")
    in_realm = isinstance(access, Mapping) and bool(access.get("roles"))
    found = next(filter(claims.get, _SCOPES_ELSEWHERE), "realm_access.roles" if in_realm else "")
    if not found:
        return ""
    preset = preset_of(claims)
    way = as_written(profile, scope_claims=(found,))
    if preset is not None and found in preset.scope_claims:
        way = as_written(preset)
    return f"its scopes are in {found}, which {profile.name} doesn't read: {way}"


_READABLE = (
    "the issuer must write words with one space between, or an array of texts; into an object "
    "`scope_claims` leads with a dot"
)


def scope_advice(wanted: str, claims: FrozenDict, policy: Policy) -> str:
    """Return the settings by which a token has a scope that a route asks for."""
    profile, reader = policy.profile, policy.reader
    sources = reader.sources(claims)
    if not sources and (elsewhere := scopes_elsewhere(claims, profile)):
        return elsewhere
    lacking = next(one for one in wanted.split() if one not in reader.read(claims))
    if lacking in ScopeReader(profile).read(claims):
        return f"scopes=(..., {lacking!r}) of its TrustedIssuer, if the issuer may give that"
    values = [one for _, found in sources for one in values_of(found)]
    for value in values:
        if value.endswith(lacking) and value != lacking:
            return as_written(profile, scope_prefix=value.removesuffix(lacking))
    if values:
        named = f"scope_map={{VALUE: {lacking!r}}} in its profile, where VALUE is one of"
        return f"{named} {', '.join(map(repr, values))}" if profile.scope_map else ""
    if unread := [f"{name} {found!r}" for name, found in sources if found not in ("", ())]:
        return f"no scope can be read from {', '.join(unread)}: {_READABLE}"
    if any(one in claims for one in _CLIENTS) or "sub" not in claims:
        return ""
    # No client that could ask for scopes: rights hang on the subject, such as a service account.
    who = as_written(profile, scope_claims=("sub",), scope_map={claims["sub"]: lacking})
    return f"{who}, if this subject may do that"


_ByToken: TypeAlias = Callable[[OAuthError, Examined], str]
_BY_TOKEN: Mapping[Reason, _ByToken] = {
    reasons.SEGMENTS: _of_unread,
    reasons.ENCODING: _of_unread,
    reasons.ISSUER: _of_issuer,
    reasons.TYPE: _of_type,
    reasons.KEYS: _of_keys,
    reasons.KEY_UNKNOWN: _of_unknown_key,
    reasons.ALGORITHM: _of_algorithm,
    reasons.CLAIM_MISSING: _of_missing_claim,
    reasons.CLAIM_MALFORMED: _of_malformed_claim,
    reasons.AUDIENCE: _of_audience,
}

# What to do about each reason; docs/errors.md says more.
ADVICE: Mapping[str, str] = {
    **PROOF_ADVICE,
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
    reasons.CLAIM_MISSING: "no profile does without `iss`: have the issuer put it there",
    reasons.CLAIM_MALFORMED: "a bug of the issuer: numbers as text, control characters",
    reasons.CLAIM_VALUE: "another kind of token of this issuer: send its access token",
    reasons.ISSUER: "compare letter by letter (a slash at the end, http), or add a TrustedIssuer",
    reasons.AUDIENCE: "the client must ask for this service, or `audience` is set wrong",
    reasons.EXPIRED: "normal for an old token: refresh it. For all: is this machine's clock right?",
    reasons.NOT_YET_VALID: "clocks differ: jwt-middleware doctor compares them",
    reasons.ISSUED_IN_FUTURE: "clocks differ: jwt-middleware doctor compares them",
    reasons.SENDER_CONSTRAINED: "the token is bound to a key or a certificate: set proofs=Proofs() "
    "or client_certificates, or have the issuer give bearer tokens",
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
