"""Turn errors into answers, each made once; and the only place that quotes header values."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..jose.strict_json import to_json
from ..values.errors import (
    InvalidClient,
    InvalidProof,
    NotAllowed,
    NotFound,
    OAuthError,
    Unavailable,
)
from ..values.requests import Headers, Response

# RFC 6750 s3: values "MUST NOT include characters outside the set %x20-21 / %x23-5B / %x5D-7E".
QUOTABLE = re.compile(r"[ !#-\[\]-~]*")
_UNQUOTABLE = re.compile(r"[^ !#-\[\]-~]")

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    503: "Service Unavailable",
}


class Refusals:
    """The answers to all errors: a challenge at a protected resource, JSON at our endpoints."""

    def __init__(
        self, *, realm: str, metadata_url: str, problem_details: bool, proofs_by: str = ""
    ) -> None:
        self._realm = realm
        self._metadata_url = metadata_url
        self._problem = problem_details
        self._proofs_by = proofs_by  # algorithms of proofs, in one text; "": there are none
        self._made: dict[tuple[object, ...], Response] = {}

    def answer(
        self,
        error: OAuthError,
        *,
        at_resource: bool,
        scope: str = "",
        by_proof: bool = False,
        needs_proof: bool = False,
    ) -> Response:
        """Return the answer to an error, without the fields that depend on the request.

        `scope` is what the resource asks for; `by_proof`: the client tried the scheme DPoP;
        `needs_proof`: no other scheme helps.
        """
        # The key comes from settings only, never from requests, so that the table can't grow
        # without end.
        told = (error.retry_after, error.description, *error.parameters)
        schemes = self._schemes(error, by_proof=by_proof, needs_proof=needs_proof)
        key = (type(error), error.status, at_resource, scope, schemes, *told)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(
                error, at_resource=at_resource, scope=scope, schemes=schemes
            )
        return found

    def _schemes(
        self, error: OAuthError, *, by_proof: bool, needs_proof: bool
    ) -> tuple[tuple[str, str], ...]:
        """Return the schemes that would be taken, the one that was tried first (RFC 9449 s7.2)."""
        if not self._proofs_by:
            return (("Bearer", ""),)
        schemes = (("DPoP", self._proofs_by),)
        if needs_proof:
            return schemes
        if by_proof or isinstance(error, InvalidProof):
            return (*schemes, ("Bearer", ""))
        return (("Bearer", ""), *schemes)

    def _make(
        self,
        error: OAuthError,
        *,
        at_resource: bool,
        scope: str,
        schemes: tuple[tuple[str, str], ...],
    ) -> Response:
        # RFC 6750 s3.1: a request without credentials gets no error code and no other error
        # information.
        code = {} if error.error is None else {"error": error.error}
        if self._problem:
            content_type = "application/problem+json"
            body = {"type": "about:blank", "title": TITLES[error.status], "status": error.status}
            body |= {"detail": error.description, **code}
        else:
            content_type = "application/json"
            body = {**code, "error_description": error.description}
        content = to_json(body).encode()
        headers = (
            ("content-type", content_type),
            ("content-length", str(len(content))),
            # A cache must not give one client's refusal to another, nor to the next try.
            ("cache-control", "no-store"),
            *self._way_on(error, at_resource=at_resource, scope=scope, schemes=schemes),
        )
        return Response(error.status, headers, content)

    def _way_on(
        self,
        error: OAuthError,
        *,
        at_resource: bool,
        scope: str,
        schemes: tuple[tuple[str, str], ...],
    ) -> Headers:
        """Return the header field that tells the client what to do next."""
        # RFC 6749 s5.2 has it beside no-store on the errors of a token endpoint.
        pragma: Headers = () if at_resource else (("pragma", "no-cache"),)
        if isinstance(error, Unavailable):
            return (("retry-after", str(error.retry_after)), *pragma)
        if isinstance(error, NotAllowed | NotFound):  # another token wouldn't help
            return (*error.parameters, *pragma)
        if isinstance(error, InvalidClient):
            # RFC 6749 s5.2 wants the scheme that the client used. For "Basic" a browser would ask
            # its user for a password; so the field names the scheme that is accepted.
            return (("www-authenticate", f"Bearer realm={quoted_string(self._realm)}"), *pragma)
        if at_resource:
            text = challenge(
                self._realm, error, metadata_url=self._metadata_url, scope=scope, schemes=schemes
            )
            return (("www-authenticate", text),)
        return pragma


def quoted_string(value: str) -> str:
    """Return a quoted-string; a character that can't stand in one becomes "?"."""
    return '"' + _UNQUOTABLE.sub("?", value) + '"'


def challenge(
    realm: str,
    error: OAuthError,
    *,
    metadata_url: str = "",
    scope: str = "",
    schemes: tuple[tuple[str, str], ...] = (("Bearer", ""),),
) -> str:
    """Return the field `WWW-Authenticate` for `error` (RFC 9110 s11.6.1, RFC 6750 s3).

    It has a challenge for each of the `schemes`, the first with what is wrong. Each has at least
    one parameter, and each parameter at most once. Beside DPoP stand the algorithms of proofs.
    """
    parameters = [("realm", realm)]
    if metadata_url:
        # RFC 9728 s5.1: the address where a client learns which issuer gives tokens.
        parameters.append(("resource_metadata", metadata_url))
    if error.error is not None:
        parameters += [("error", error.error), ("error_description", error.description)]
    if scope:
        # RFC 6750 s3: "indicating the required scope of the access token for accessing the
        # requested resource". A client whose token is bad asks for the next one with it, too.
        parameters.append(("scope", scope))
    first, *others = schemes
    told = [
        (first, (*parameters, *error.parameters)),
        *((one, [("realm", realm)]) for one in others),
    ]
    return ", ".join(
        f"{scheme} " + _join((*found, *([("algs", algs)] if algs else ())))
        for (scheme, algs), found in told
    )


def _join(parameters: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={quoted_string(value)}" for name, value in parameters)


def with_one_vary(headers: Headers) -> Headers:
    """Return fields with all that an answer depends on in one: some frameworks keep only one."""
    told = [value for name, value in headers if name == "vary"]
    if len(told) < 2:
        return headers
    return (*(one for one in headers if one[0] != "vary"), ("vary", ", ".join(told)))


# A token that somebody put into a URL by mistake must not reach a log: it is cut out.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]*")
MAX_TOLD = 512  # characters of what a client sent, in an event


def told(text: str) -> str:
    """Return what a client sent, as an event may have it: cut, and without a token."""
    return _TOKEN.sub("[token]", text[:MAX_TOLD])
