"""Which rule a path falls under. Permitting rules match narrowly, restricting rules widely.

A path without a rule needs a valid token. Rules are literal paths and prefixes, found in
dictionaries. So the cost doesn't grow with their number, and no path takes long.
"""

from __future__ import annotations

from collections.abc import Iterable
from posixpath import normpath
from typing import TypeAlias
from urllib.parse import unquote

from ..values import reasons
from ..values.errors import ConfigurationError, InvalidRequest
from ..values.metrics import OTHER_RULE
from .route import CANONICAL, Route, is_odd


class RouteRule:
    """A route, prepared for requests."""

    __slots__ = (
        "acr_values",
        "is_plain",
        "is_special",
        "keeps",
        "max_age",
        "name",
        "needs_proof",
        "optional",
        "own_origin",
        "path",
        "public",
        "restricts",
        "scope",
        "scopes",
    )

    def __init__(self, route: Route, *, proof: bool = False) -> None:
        self.path = route.path
        # What metrics call it: as the settings have it, and never what a client sent.
        self.name = f"{','.join(route.methods)} {route.path}".lstrip()
        self.needs_proof = not route.permits and (
            route.proof == "required" or (proof and not route.proof)
        )
        # Whether the rule asks for more than a token and its scope.
        self.is_special = (
            route.public
            or route.own_origin
            or route.max_age is not None
            or bool(route.acr_values)
            or self.needs_proof
        )
        self.is_plain = not (self.is_special or route.scope)  # a valid token is all that it needs
        self.keeps = route.connections == "keep"
        self.own_origin = route.own_origin
        self.restricts = route.restricts or self.needs_proof
        self.public = route.public
        self.optional = route.optional
        self.scope = route.scope
        self.scopes = frozenset(route.scope.split())
        self.max_age = route.max_age
        self.acr_values = tuple(route.acr_values)


_ByMethod: TypeAlias = dict[str | None, RouteRule]  # None: any method
_NO_RULES: _ByMethod = {}


class Routes:
    """All the rules, by path. Made once, never changed.

    `proof`: a route needs a bound token unless it says otherwise.

    Raises:
        ConfigurationError: when two rules say something about the same path and method.

    """

    __slots__ = (
        "_firsts",
        "_longest",
        "_narrow",
        "_narrow_below",
        "_otherwise",
        "_restricts",
        "_wide",
        "_wide_below",
        "of_endpoints",
        "rules",
    )

    def __init__(self, routes: Iterable[Route], *, proof: bool = False) -> None:
        # Permitting rules by their exact path, `/*` by the path before it; all others by that
        # without a last /.
        self._narrow: dict[str, _ByMethod] = {}
        self._narrow_below: dict[str, _ByMethod] = {}
        self._wide: dict[str, _ByMethod] = {}
        self._wide_below: dict[str, _ByMethod] = {}
        self._otherwise = RouteRule(Route("/"), proof=proof)  # a valid token, and nothing more
        self._otherwise.path = ""
        self._otherwise.name = OTHER_RULE
        self.rules = [self._otherwise]
        self.of_endpoints = RouteRule(Route("/"), proof=proof)  # of ours that need a user
        self._restricts = False
        self._longest = 0
        exact: set[tuple[str, bool, str | None]] = set()
        stems: dict[tuple[str, bool, str | None], bool] = {}  # whether its rule permits
        for route in routes:
            below = route.path.endswith("/*")
            path = route.path.removesuffix("/*") if below else route.path
            stem = path.rstrip("/")
            if route.permits:
                table, key = (self._narrow_below if below else self._narrow), path
            else:
                table, key = (self._wide_below if below else self._wide), stem
            rule = RouteRule(route, proof=proof)
            self.rules.append(rule)
            for method in _with_head(route.methods):
                # A rule that isn't narrow covers its path with and without a last slash.
                whole, bare = (path, below, method), (stem, below, method)
                both_permit = stems.get(bare, route.permits) and route.permits
                if whole in exact or (bare in stems and not both_permit):
                    raise ConfigurationError(
                        "routes",
                        f"two rules for {method or 'all methods of'} {route.path}",
                        "keep one, or give each its own methods",
                    )
                exact.add(whole)
                stems[bare] = route.permits
                table.setdefault(key, {})[method] = rule
            # Where every route needs a proof, a rule that needs none is what others are kept from.
            self._restricts |= route.restricts or (proof and route.proof == "accepted")
            self._longest = max(self._longest, len(stem))
        # The first segments of all rules' paths: a path that begins with another one has no rule.
        # None if a rule covers all paths.
        about_all = "" in self._wide or "" in self._wide_below or "" in self._narrow_below
        named = {*self._narrow, *self._narrow_below, *self._wide, *self._wide_below}
        self._firsts = (
            None if about_all else frozenset("/" + one.split("/", 2)[1] for one in named if one)
        )

    @property
    def is_uniform(self) -> bool:
        """Say whether every path needs a valid token and no more. Then `find` isn't needed."""
        return (
            not self._restricts and self._firsts == frozenset() and not self._otherwise.needs_proof
        )

    def find(self, method: str, path: str, *, unchecked: bool = False) -> RouteRule:
        """Return the rule for a request; `unchecked`: for any path, odd or not.

        Raises:
            InvalidRequest: for an odd path, where any rule asks for more than a valid token: the
                application might read it as a path of such a rule. A path is odd, too, if such a
                rule would match it after one more decoding.

        """
        if (
            self._restricts
            and not unchecked
            and (is_odd(path) or ("%" in path and self._is_decoded_otherwise(method, path)))
        ):
            raise InvalidRequest(reasons.PATH_ODD)
        if self._firsts is not None:
            if not self._firsts:  # no rule at all
                return self._otherwise
            end = path.find("/", 1)
            if (path if end < 0 else path[:end]) not in self._firsts:
                return self._otherwise
        whole = path.rstrip("/")
        narrow, wide = self._narrow.get(path), self._wide.get(whole)
        if narrow is not None or wide is not None:
            rule = _choose(narrow, wide, method)
            if rule is not None:
                return rule
        return self._find_above(method, path, whole)

    def logs_in(self, method: str, path: str) -> bool:
        """Say whether a rule with `own_origin` covers a path, with a last slash or without.

        Some frameworks serve both alike, and a wider rule may let the other one in.
        """
        whole = path.rstrip("/")
        tables = self._narrow.get(whole), self._narrow.get(whole + "/")
        rules = [_choose(one, None, method) for one in (*tables, self._narrow_below.get(whole))]
        return any(one is not None and one.own_origin for one in rules)

    def _is_decoded_otherwise(self, method: str, path: str) -> bool:
        """Say whether the path, decoded once more, falls under another rule that restricts."""
        # Some servers don't decode `%2F`, some decode nothing, and an application may decode what
        # was encoded twice. A `%` on purpose seldom leads to another rule.
        decoded = unquote(path)
        if decoded == path:
            return False
        # As the most lenient of them would read it: Flask serves //admin as /admin.
        again = normpath("/" + decoded.replace("\\", "/").lstrip("/"))
        meant = self.find(method, again, unchecked=True)
        return meant.restricts and meant is not self.find(method, path, unchecked=True)

    def _find_above(self, method: str, path: str, whole: str) -> RouteRule:
        stem = whole
        if len(stem) > self._longest:
            # No rule is longer: a path of thousands of segments costs no more than a short one.
            stem = whole[: max(whole.rfind("/", 0, self._longest + 1), 0)]
        while True:
            narrow = self._narrow_below.get(stem) if len(path) > len(stem) else None
            if narrow is not None and (is_odd(path) or not CANONICAL.fullmatch(path)):
                narrow = None
            wide = self._wide_below.get(stem)
            rule = _choose(narrow, wide, method) if narrow or wide else None
            if rule is None and stem != whole and stem in self._wide:
                rule = _choose(None, self._wide[stem], method)
            if rule is not None:
                return rule
            if not stem:
                return self._otherwise
            stem = stem[: max(stem.rfind("/"), 0)]


def _choose(narrow: _ByMethod | None, wide: _ByMethod | None, method: str) -> RouteRule | None:
    """Choose among rules for one path: one that names the method before one for all."""
    narrow, wide = narrow or _NO_RULES, wide or _NO_RULES
    # Frameworks read `post` as POST. So a rule that restricts matches it; one that permits doesn't.
    return narrow.get(method) or wide.get(method.upper()) or narrow.get(None) or wide.get(None)


def _with_head(methods: Iterable[str]) -> tuple[str | None, ...]:
    if not methods:
        return (None,)
    # RFC 9110 s9.3.2: HEAD is GET without the content; frameworks route it to the same endpoint.
    found = dict.fromkeys(methods)
    return (*found, "HEAD") if "GET" in found and "HEAD" not in found else tuple(found)


def below_root(path: str, root: str) -> str:
    """Return `path` without the root it is mounted at, cut at a segment boundary only.

    Some servers put the root in front of the path, others don't; where it isn't there, nothing is
    cut. Where the root stands anywhere else in the path, frameworks cut in different ways, and some
    servers let the client name the root. Such a path is made odd, so that no rule lets it in.
    """
    if not root or root == "/":
        return path or "/"
    if root[0] == "/" and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :] or "/"
    return "\\" + path if root in path else path or "/"
