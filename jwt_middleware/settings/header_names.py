"""The checks of fields that hold the name of a cookie or of a header field."""

from __future__ import annotations

import re

from .checking import Fault, in_turn

_COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a token of RFC 9110 s5.6.2
# No `_`, because servers drop such a header or read `_` as `-`; and nothing else that a WSGI
# environment can't tell apart.
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_OWN_HEADER = "use one of your own, such as X-Requested-With"
# Headers that pages of other sites can cause, too: the Fetch standard's safelisted and forbidden
# request headers, others that browsers add by themselves, and those that proxies add. This is a
# text, not a compiled pattern, because most services have no cookies: `re` compiles it at first
# use.
_AUTOMATIC = (
    r"(?i)accept(-.*)?|access-control-.*|authorization|b3|cache-control|cf-.*|connection|content-.*|"
    r"cookie2?|date|device-memory|dnt|downlink|dpr|ect|expect|fastly-.*|forwarded|from|host|if-.*|"
    r"keep-alive|last-event-id|origin|pragma|priority|proxy-.*|purpose|range|referer|rtt|save-data|"
    r"sec-.*|set-cookie|te|trace(parent|state)|trailer|transfer-encoding|true-client-ip|"
    r"upgrade(-.*)?|user-agent|via|viewport-width|width|"
    r"x-(amz|amzn|arr|azure|b3|client|cloud|cluster|correlation|envoy|forwarded|http|original|real|"
    r"request|scheme|ssl)(-.*)?"
)


def _header_name(remedy: str) -> Fault:
    return Fault(
        lambda value: not isinstance(value, str) or not _HEADER_NAME.fullmatch(value),
        "must be the name of a header: letters, digits and -",
        remedy,
    )


cookie_name = in_turn(
    Fault(
        lambda value: not isinstance(value, str) or not _COOKIE_NAME.fullmatch(value),
        "must be a token of RFC 9110 s5.6.2",
        "letters, digits, - and _",
    ),
    # RFC 6265bis s4.1.3: these prefixes set rules for a cookie. We add the prefix ourselves; case
    # doesn't count.
    Fault(
        lambda value: value.lower().startswith(("__secure-", "__host-", "__http-")),
        "has the prefix already, which is put in front of it",
        "leave it out",
    ),
)
# Fields that mean something else, to servers, to browsers or to us.
_TAKEN = (
    r"(?i)(proxy-)?authorization|connection|content-.*|cookie2?|date|dpop|expect|host|keep-alive|origin|"
    r"sec-.*|set-cookie|te|trailer|transfer-encoding|upgrade"
)
credentials_header = in_turn(
    _header_name("as in Cf-Access-Jwt-Assertion"),
    Fault(
        lambda value: re.fullmatch(_TAKEN, value),
        "{value!r} has a meaning of its own; a token in Authorization is always taken",
        "the field in which a gateway hands the token on, such as Cf-Access-Jwt-Assertion",
    ),
)
own_header = in_turn(
    _header_name(_OWN_HEADER),
    Fault(
        lambda value: re.fullmatch(_AUTOMATIC, value),
        "{value!r} comes from other sites, too: from a form, or by itself",
        _OWN_HEADER,
    ),
)
