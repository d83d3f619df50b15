"""Rules about two fields of a group, or about a group and the settings around it.

Each rule comes after the name of the field that its error names, and is given the whole group, or
the settings. These have the type Any here, because their modules import this one.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from ..keys.key_sources import unusable
from ..keys.signer import ExternalKey
from ..request.origins import is_loopback
from ..request.routes import Routes
from ..token.profiles import RFC_9068
from ..token.refresh import from_text
from .checking import Fault
from .endpoint_paths import is_endpoint

Together: TypeAlias = tuple[tuple[str, Fault], ...]  # in their order


def check_together(group: Any, rules: Together) -> None:
    """Check a group, or the settings, by all of the rules. Raises ConfigurationError."""
    for name, check in rules:
        check(name, group)


def without_metadata(issuer: str, *, plain_http: bool = False) -> str:
    """Return why an issuer can have no metadata, or "" if it can."""
    # RFC 8414 s2: "a URL that uses the "https" scheme and has no query or fragment components".
    return unusable(issuer, plain_http=plain_http) or (
        "has a query or a fragment" if "?" in issuer or "#" in issuer else ""
    )


# -- Inside of one group.

OF_COOKIES: Together = (
    (
        "refresh.cookies.access_name",
        Fault(
            lambda group: group.name == group.access_name,
            "is the refresh cookie's name, too",
            "give each its own",
        ),
    ),
    (
        "refresh.cookies.forms",
        Fault(
            lambda group: group.forms and not group.access,
            "is for forms, which send no Authorization field: the access token must be in a cookie",
            "Cookies(access=True, forms=True)",
        ),
    ),
)

OF_FORMER: Together = (
    (
        "refresh.former",
        Fault(
            lambda one: not one.secret and one.keys is None and not one.issuer,
            "doesn't say what signed then",
            "its `secret`; the `keys` that it was derived from; or the `issuer`, if only that was "
            "another",
        ),
    ),
    (
        "refresh.former.keys",
        Fault(
            lambda one: (
                one.keys is not None and not any(key.private is not None for key in one.keys.keys)
            ),
            "has no private key and no secret, of which secrets for refresh tokens are derived",
            "KeySet.load of the file that signed; for a key in a KMS give the `secret` of its time",
        ),
    ),
)

# Of each grant: by the settings' limits, or by limits of its own.
OF_LIMITS: Together = (
    (
        "refresh.idle_limit",
        Fault(
            lambda group: group.idle_limit > group.absolute_limit,
            "is longer than absolute_limit, which no rotation moves",
            "make it shorter, or absolute_limit longer",
        ),
    ),
    (
        "refresh.idle_limit",
        Fault(
            lambda group: group.access_lifetime + group.settle > group.idle_limit,
            "is shorter than access_lifetime and settle: honest clients would be logged out",
            "make it at least twice access_lifetime",
        ),
    ),
)

OF_REFRESH: Together = (
    (
        "refresh.serve",
        Fault(
            lambda group: (
                not group.serve and (group.secret or group.former or group.claims_for is not None)
            ),
            "is False, and who issues nothing has no use for a secret or claims_for, or former",
            "leave them out, or serve",
        ),
    ),
    (
        "refresh.serve",
        Fault(
            lambda group: not group.serve and group.store == "memory://",
            "is False, and memory:// is this process's own: nobody would end a grant in it",
            "give the store that the issuer has",
        ),
    ),
    (
        "refresh.sessions",
        Fault(
            lambda group: group.sessions and not group.serve,
            "is on, and a service with serve=False has no endpoints",
            "leave one of the two out",
        ),
    ),
    (
        "refresh.jwks_path",
        Fault(
            lambda group: (
                group.jwks_path in (f"{group.path}/refresh", f"{group.path}/revoke")
                or f"{group.jwks_path}/".startswith(group.folders)
            ),
            "is another endpoint's path",
            "give it one of its own",
        ),
    ),
    *OF_LIMITS,
    (
        "refresh.sync_limit",
        Fault(
            lambda group: group.sync_limit < 2 * group.sync_every,
            "is shorter than twice sync_every: a single late answer would count as a failure",
            "make it longer, or sync_every shorter",
        ),
    ),
)

# -- An issuer, our own or a trusted one, and its keys.


def _why_undiscoverable(one: Any) -> str:
    """Return why keys can't be found through the issuer's metadata."""
    source: Any = one.keys.source
    is_discovered = getattr(source, "url", "") is None
    return without_metadata(one.issuer, plain_http=source.plain_http) if is_discovered else ""


def _sends_token_in_clear(one: Any) -> bool:
    source: Any = one.keys.source
    is_discovered = getattr(source, "url", "") is None
    return is_discovered and source.token_file is not None and one.issuer.startswith("http:")


OF_AN_ISSUER: Together = (
    (
        "keys",
        Fault(
            _why_undiscoverable,
            "are to be found through the issuer's metadata, and the issuer {}",
            "KeySet.remote(url) where the key set is; for an issuer inside of a private network "
            "KeySet.remote(private_addresses=True, plain_http=True)",
        ),
    ),
    (
        "keys.token_file",
        Fault(
            _sends_token_in_clear,
            "would be sent in clear: the issuer is an http URL",
            "https, and ca_file for an authority of your own",
        ),
    ),
)

# -- A group and the settings that it is in.


def _named_twice(settings: Any) -> str | None:
    names = [settings.issuer, *(one.issuer for one in settings.trusted_issuers)]
    return next((name for name in names if names.count(name) > 1), None)


OF_SETTINGS: Together = (
    *OF_AN_ISSUER,
    (
        "trusted_issuers",
        Fault(_named_twice, "has {!r} twice, or it is `issuer`", "name each once"),
    ),
)


def _has_no_pages(settings: Any) -> bool:
    group = settings.refresh
    return group is None or not (group.serve and group.cookies and group.cookies.access)


def _plants_logins(settings: Any) -> bool:
    """Say whether other sites' forms reach the login page."""
    rule = Routes(settings.routes).find("POST", settings.login_url)
    return (rule.public or rule.optional) and not rule.own_origin


OF_PAGES: Together = (  # where `Settings.login_url` is a path
    (
        "login_url",
        Fault(
            _has_no_pages,
            "is for page loads, which bring their access token in a cookie of ours",
            'refresh=Refresh(store="...", cookies=Cookies(access=True, forms=True))',
        ),
    ),
    (
        "login_url",
        Fault(
            lambda settings: is_endpoint(settings.refresh, settings.login_url),
            "is an endpoint of ours, which sends page loads to it",
            "the path of the application's own login page",
        ),
    ),
    (
        "refresh.jwks_path",
        Fault(
            lambda settings: settings.refresh.jwks_path == f"{settings.refresh.path}/continue",
            "is another endpoint's path",
            "give it one of its own",
        ),
    ),
    (
        "login_url",
        Fault(
            lambda settings: (
                not Routes(settings.routes).find("GET", settings.login_url).public
                and settings.login_url
            ),
            "isn't public, so that the way to it would lead to it",
            'routes=(Route("{}", public=True, own_origin=True), ...)',
        ),
    ),
    (
        "login_url",
        Fault(
            _plants_logins,
            "takes forms of other sites, which could log the user in as somebody else",
            "own_origin=True in its Route",
        ),
    ),
)


def _signs_access_tokens(settings: Any, secrets: Any) -> bool:
    """Say whether one of these secrets is a key of access tokens."""
    # RFC 8725 s3.12: "Use different keys for different kinds of JWTs".
    shared = {key.private for key in settings.keys.keys if key.is_symmetric}
    return any(from_text(one).private in shared for one in secrets)


def _name_beside(issuer: str) -> str:
    """Return a proposed name for a service, on the issuer's host, for the user to paste."""
    return f"{issuer.rstrip('/')}/api" if "://" in issuer else f"{issuer}-api"


_SIGNS_BOTH = (
    "signs access tokens, too: who verifies those could make refresh tokens",
    "give it one of its own, or leave it out to derive one",
)


def _not_as_issued(profile: Any) -> str:
    """Return the field by which a profile would refuse, or misread, the tokens that we issue."""
    fields = ("types", "audience_claim", "subject_claims", "client_claims", "scope_claims")
    differ = [one for one in fields if getattr(profile, one) != getattr(RFC_9068, one)]
    # More may be required: claims of the application's own.
    return "".join(differ[:1]) or ("" if profile.required >= RFC_9068.required else "required")


OF_ISSUING: Together = (  # where `Settings.refresh` is a group
    (
        "keys",
        Fault(
            lambda settings: settings.refresh.serve and settings.keys.signer is None,
            "none of them can sign, and `refresh` issues tokens",
            "give a private key or a secret; or serve=False in `refresh`, which issues nothing",
        ),
    ),
    (
        "refresh.secret",
        Fault(
            lambda settings: (
                settings.refresh.serve
                and isinstance(settings.keys.signer, ExternalKey)
                and not settings.refresh.secret
            ),
            "is missing, and can't be derived from a key that never leaves its KMS",
            "give at least 32 random octets: secrets.token_urlsafe(64)",
        ),
    ),
    (
        "profile",
        Fault(
            lambda settings: _not_as_issued(settings.profile),
            "what we issue follows RFC 9068, and `{}` of {value.profile.name} doesn't",
            "leave the profile out, or change only what its scopes mean; or leave out `refresh`",
        ),
    ),
    (
        "refresh.cookies",
        Fault(
            lambda settings: (
                settings.refresh.cookies is not None
                and not settings.issuer.startswith("https://")
                and not is_loopback(settings.issuer)
            ),
            "cookies with tokens must not travel in clear, and the issuer is no https URL",
            "use https; http is only for loopback",
        ),
    ),
    (
        "refresh.secret",
        Fault(
            lambda settings: _signs_access_tokens(settings, settings.refresh.secret), *_SIGNS_BOTH
        ),
    ),
    (
        "refresh.former",
        Fault(
            lambda settings: any(
                _signs_access_tokens(settings, one.secret) for one in settings.refresh.former
            ),
            *_SIGNS_BOTH,
        ),
    ),
    (
        "refresh.former",
        Fault(
            lambda settings: settings.refresh.former and settings._idle_former(settings.refresh),
            "does nothing: all that its entry {} verifies is verified now, too",
            "give what signed before the change, or leave it out",
        ),
    ),
    (
        "audience",
        Fault(
            lambda settings: settings.issuer in settings.audience and _name_beside(settings.issuer),
            "has the issuer itself, which is whom refresh tokens are for",
            'name the service that takes the access tokens: audience="{}"',
        ),
    ),
)


def _untrusted_server(settings: Any) -> str | None:
    """Return an authorization server whose tokens would be refused, if there is one."""
    trusted = {settings.issuer, *(one.issuer for one in settings.trusted_issuers)}
    servers = () if settings.issuer_for else settings.resource.authorization_servers or ()
    return next((one for one in servers if one not in trusted), None)


OF_RESOURCE: Together = (  # where `Settings.resource` is a group
    (
        "resource.identifier",
        Fault(
            # RFC 8707 s2: clients ask for a token for the identifier, and get it with that `aud`.
            lambda settings: settings.resource.identifier not in settings.audience,
            "{value.resource.identifier!r} isn't in the audience, so that the tokens that clients "
            "get for it would be refused",
            "name it there in exactly this spelling",
        ),
    ),
    (
        "resource.authorization_servers",
        Fault(
            _untrusted_server,
            "{!r} isn't trusted, so that its tokens would be refused",
            "name it in trusted_issuers, in exactly this spelling",
        ),
    ),
)
