"""Which rule a path falls under: precedence, methods, odd paths, roots, impossible rules."""

import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jwt_middleware import ConfigurationError, Route
from jwt_middleware.request.route import MAX_PATH
from jwt_middleware.request.routes import RouteRule, Routes, below_root
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values import reasons
from jwt_middleware.values.errors import InvalidRequest
from tests.world import World

ODD = "odd"


def found(routes: Routes, path: str, method: str = "GET") -> str:
    """Return what the table asks of a request, in one word."""
    try:
        return word(routes.find(method, path))
    except InvalidRequest as error:
        return ODD if error.reason == reasons.PATH_ODD else str(error)


def word(rule: RouteRule | Route) -> str:
    if rule.public or rule.optional:
        return "public" if rule.public else "optional"
    more = [rule.scope, *rule.acr_values, *([] if rule.max_age is None else [str(rule.max_age)])]
    return " ".join(filter(None, more)) or "token"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "public"),
        ("/login", "public"),
        ("/login/", "token"),
        ("/loginx", "token"),
        ("/Login", "token"),
        ("/login/x", "token"),
        ("/docs", "token"),  # /docs/* begins below
        ("/docs/", "public"),
        ("/docs/a/b.html", "public"),
        ("/docsx/", "token"),
        ("/docs/internal", "token"),
        ("/docs/internal/a", "token"),
        ("/docs/internals", "public"),
        ("/maybe", "optional"),
        ("/admin", "admin"),
        ("/admin/", "admin"),
        ("/admin/x/y/z", "admin"),
        ("/administrator", "token"),
        ("/admin/help", "public"),
        ("/admin/help/", "admin"),
        ("/admin/help/x", "admin"),
        ("/admin/users", "users"),
        ("/admin/users/", "users"),
        ("/admin/users/5", "users"),
        ("/admin/users/5/keys/1", "keys"),
        ("/admin/usersx", "admin"),
        ("/pay", "mfa 60"),
        ("/pay/x", "mfa 60"),
        ("/other", "token"),
        ("/*", "token"),
    ],
)
def test_the_most_specific_rule_wins_whatever_their_order(path: str, expected: str) -> None:
    rules = (
        Route("/", public=True),
        Route("/login", public=True),
        Route("/docs/*", public=True),
        Route("/docs/internal"),
        Route("/maybe", optional=True),
        Route("/admin/*", scope="admin"),
        Route("/admin/help", public=True),
        Route("/admin/users", scope="users"),
        Route("/admin/users/5/keys/*", scope="keys"),
        Route("/pay", max_age=60, acr_values=("mfa",)),
    )
    assert found(Routes(rules), path) == expected
    assert found(Routes(reversed(rules)), path) == expected


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", "public"),
        ("HEAD", "public"),
        ("POST", "write"),
        ("post", "write"),
        ("PoSt", "write"),
        ("DELETE", "admin"),
        ("OPTIONS", "rest"),
        ("get", "rest"),
        ("head", "rest"),
        ("GET ", "rest"),
        ("FOO", "rest"),
        ("", "rest"),
    ],
)
def test_a_rule_that_names_the_method_wins(method: str, expected: str) -> None:
    routes = Routes(
        (
            Route("/items", scope="rest"),
            Route("/items", methods=("GET",), public=True),
            Route("/items", methods=("POST", "PUT"), scope="write"),
            Route("/items", methods=("DELETE",), scope="admin"),
        )
    )
    assert found(routes, "/items", method) == expected


def test_a_longer_rule_for_other_methods_leaves_the_shorter_one_in_force() -> None:
    routes = Routes(
        (
            Route("/a/*", scope="all"),
            Route("/a/b", methods=("POST",), scope="post"),
            Route("/a/b/c"),
        )
    )
    assert found(routes, "/a/b", "POST") == "post"
    assert found(routes, "/a/b/x", "POST") == "post"
    assert found(routes, "/a/b", "GET") == "all"
    assert found(routes, "/a/b/c/d", "POST") == "token"


def test_get_implies_head_unless_head_is_named() -> None:
    rules = (Route("/a", methods=("GET",), scope="get"), Route("/a", scope="rest"))
    assert found(Routes(rules), "/a", "HEAD") == "get"
    both = (Route("/a", methods=("GET", "HEAD"), scope="get"),)
    assert found(Routes(both), "/a", "HEAD") == "get"
    assert found(Routes((Route("/a", methods=("HEAD",), public=True),)), "/a", "GET") == "token"


def test_without_rules_every_path_needs_a_token() -> None:
    for path in ("/", "", "/a", "//a", "/a/../b", "/\0", "*", "http://x/"):
        assert found(Routes(()), path) == "token"


ODD_PATHS: list[Any] = [
    "a",
    "*",
    "@x",
    "http://x/a",
    "//",
    "//a",
    "/a//",
    "/a//b",
    "/.",
    "/..",
    "/a/.",
    "/a/..",
]
ODD_PATHS += [
    "/./a",
    "/../a",
    "/a/./b",
    "/a/../b",
    "\\a",
    "/\\a",
    "/a\\",
    "/a;",
    "/;a",
    "/a;b/c",
    "/\0",
]
ODD_PATHS += ["/a\n", "/a\r\n", "/\ta", "/\x1b", "/\x7f", "\n/a", " /a"]


LONGEST = "/" + "a" * (MAX_PATH - 1)
ODD_PATHS += [pytest.param(LONGEST + "a", id="too long")]


@pytest.mark.parametrize("path", ODD_PATHS, ids=repr)
def test_an_odd_path_is_refused_where_any_rule_asks_for_more_than_a_token(path: str) -> None:
    for route in (Route("/x", scope="a"), Route("/x", max_age=1), Route("/x", acr_values=("a",))):
        world = World(TokenFactory().settings(routes=(route, Route("/*", public=True))))
        answer = world.get(path)
        assert (answer.status, answer.error, answer.reason) == (400, "invalid_request", "path_odd")
    for route in (Route("/*", public=True), Route("/*", optional=True), Route("/x")):
        assert found(Routes((route,)), path) == "token"


def test_the_longest_path_is_not_odd() -> None:
    assert found(Routes((Route("/x", scope="a"), Route("/*", public=True))), LONGEST) == "public"


@pytest.mark.parametrize(
    "path", ["/.a", "/a.", "/...", "/a/...", "/..a", "/a..", "/a/.well-known/b", "/~a"]
)
def test_dots_that_are_no_segment_are_not_odd(path: str) -> None:
    assert found(Routes((Route("/x", scope="a"), Route("/*", public=True))), path) == "public"


@pytest.mark.parametrize(
    "path", ["/a b", "/a%2e", "/a?", "/a#", "/é", "/a\x85", '/"', "/<a>", "/[a]", "/a|b", "/{a}"]
)
def test_a_path_outside_the_canonical_characters_is_public_to_no_rule(path: str) -> None:
    routes = Routes(
        (Route("/*", public=True), Route("/é", scope="e"), Route("/x/*", optional=True))
    )
    assert found(routes, path) == ("e" if path == "/é" else "token")
    assert found(routes, f"/x{path}") == "token"
    assert found(routes, f"{path}/x") == ("e" if path == "/é" else "token")


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/api/a", "/api", "/a"),
        ("/api", "/api", "/"),
        ("/api/", "/api", "/"),
        ("/a", "/api", "/a"),
        ("/api/api/a", "/api", "/api/a"),
        ("/API/a", "/api", "/API/a"),
        ("/api//a", "/api", "//a"),
        ("/a", "", "/a"),
        ("/a", "/", "/a"),
        ("//a", "/", "//a"),
        ("", "/api", "/"),
        ("", "", "/"),
    ],
)
def test_a_root_is_cut_at_a_segment_only(path: str, root: str, expected: str) -> None:
    assert below_root(path, root) == expected


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/apiadmin", "/api"),  # Quart cuts here
        ("/files/api/admin", "/api"),  # Litestar here
        ("/files/xadmin", "/files/x"),
        ("/files/xadmin", "x"),
        ("//api/a", "/api"),
        ("/api/a", "/api/"),
    ],
)
def test_a_root_that_frameworks_cut_in_different_ways_makes_the_path_odd(
    path: str, root: str
) -> None:
    public = Routes((Route("/*", public=True), Route("/files/*", optional=True)))
    found = public.find("GET", below_root(path, root))
    assert not found.public
    assert not found.optional
    with pytest.raises(InvalidRequest):
        Routes((Route("/admin", scope="admin"),)).find("GET", below_root(path, root))


AGAIN = Routes(
    (
        Route("/admin", scope="admin"),
        Route("/projects", scope="projects"),
        Route("/static/*", public=True),
    )
)


@pytest.mark.parametrize(
    "path",
    [
        "/admin%2Fx",  # cheroot leaves %2F, mod_wsgi too where it is told to
        "/admin%2fx",
        "/%2Fadmin",
        "/admin%5Cx",
        "/adm%69n",  # socketify decodes nothing
        "/adm%69n/users",
        "/x%2F..%2Fadmin",
        "/x/%2e%2e/admin",
        "/projects/1%2F..%2F..%2Fadmin",
    ],
)
def test_a_path_that_a_rule_would_name_if_it_were_decoded_again_is_odd(path: str) -> None:
    assert found(AGAIN, path) == ODD
    # Where no rule asks for more than a token, there is nothing to slip past.
    assert found(Routes((Route("/*", public=True),)), path) == "token"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/projects/group%2Fname", "projects"),
        ("/projects/a%2F..%2Fb", "projects"),
        ("/projects/100%", "projects"),
        ("/admin/50%25", "admin"),
        ("/go/https%3A%2F%2Fexample.org%2Fadmin", "token"),
        ("/wiki/100%effective", "token"),
        ("/wiki/a%zz", "token"),
        ("/static%2Fapp.js", "token"),
        ("/static/a%2Fb.js", "token"),
    ],
)
def test_a_percent_sign_that_leads_to_no_other_rule_is_not_odd(path: str, expected: str) -> None:
    assert found(AGAIN, path) == expected


EQUAL = [
    (Route("/a", scope="x"), Route("/a", scope="y")),
    (Route("/a", public=True), Route("/a", scope="y")),
    (Route("/a"), Route("/a/", scope="y")),
    (Route("/a/*", public=True), Route("/a/*")),
    (Route("/a", methods=("GET", "PUT")), Route("/a", methods=("PUT",), public=True)),
    (Route("/a", methods=("GET",)), Route("/a", methods=("HEAD",), public=True)),
    (Route("/", public=True), Route("/")),
]


@pytest.mark.parametrize("rules", EQUAL, ids=range(len(EQUAL)))
def test_two_rules_for_one_path_and_method_are_an_error(rules: tuple[Route, Route]) -> None:
    for order in (rules, rules[::-1]):
        with pytest.raises(ConfigurationError, match=r"two rules for .*keep one") as caught:
            TokenFactory().settings(routes=order)
        assert caught.value.field == "routes"


def test_a_public_path_with_and_without_its_last_slash_are_two() -> None:
    # A public rule matches its very path; who means both spellings has to write both.
    routes = Routes((Route("/login", public=True), Route("/login/", public=True)))
    assert [found(routes, path) for path in ("/login", "/login/", "/login//")] == [
        "public",
        "public",
        "token",
    ]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"path": "admin"}, "path", "must begin with /"),
    ({"path": ""}, "path", "must begin with /"),
    ({"path": "*"}, "path", "must begin with /"),
    ({"path": None}, "path", "must begin with /"),
    ({"path": b"/a"}, "path", "must begin with /"),
    ({"path": "https://api.example/a"}, "path", "must begin with /"),
    ({"path": "//a"}, "path", "same path"),
    ({"path": "/a//*"}, "path", "same path"),
    ({"path": "/a/../b"}, "path", "same path"),
    ({"path": "/a;b"}, "path", "same path"),
    ({"path": "/a\\b"}, "path", "same path"),
    ({"path": "/a\n"}, "path", "same path"),
    ({"path": "/a\u200bb"}, "path", "same path"),
    ({"path": "/a*", "scope": "x"}, "path", "only at the end"),
    ({"path": "/*/a", "scope": "x"}, "path", "only at the end"),
    ({"path": "/**", "scope": "x"}, "path", "only at the end"),
    ({"path": "/users/{id}"}, "path", r"end with /\*"),
    ({"path": "/users/<int:id>"}, "path", r"end with /\*"),
    ({"path": "/a%2Fb"}, "path", "no %"),
    ({"path": "/a?b=c"}, "path", "no query"),
    ({"path": "/a#b"}, "path", "no fragment"),
    ({"path": "/é", "public": True}, "path", "use letters"),
    ({"path": "/a b", "optional": True}, "path", "use letters"),
    ({"path": '/"', "public": True}, "path", "use letters"),
    ({"methods": "GET"}, "methods", "tuple of strings"),
    ({"methods": ("get",)}, "methods", "upper-case"),
    ({"methods": ("GET POST",)}, "methods", "is no method"),
    ({"methods": ("",)}, "methods", "is no method"),
    ({"methods": ("*",)}, "methods", "is no method"),
    ({"methods": (b"GET",)}, "methods", "tuple of strings"),
    ({"methods": None}, "methods", "tuple of strings"),
    ({"scope": "a  b"}, "scope", "separated by one space"),
    ({"scope": " a"}, "scope", "separated by one space"),
    ({"scope": 'a"b'}, "scope", "separated by one space"),
    ({"scope": "é"}, "scope", "separated by one space"),
    ({"scope": ("a", "b")}, "scope", "separated by one space"),
    ({"scope": None}, "scope", "separated by one space"),
    ({"acr_values": "mfa"}, "acr_values", "tuple of strings"),
    ({"acr_values": ("a b",)}, "acr_values", "visible ASCII"),
    ({"acr_values": ("",)}, "acr_values", "visible ASCII"),
    ({"acr_values": None}, "acr_values", "tuple of strings"),
    ({"max_age": -1}, "max_age", "0 or more"),
    ({"max_age": 1.5}, "max_age", "whole number"),
    ({"max_age": True}, "max_age", "whole number"),
    ({"max_age": "60"}, "max_age", "whole number"),
    ({"public": True, "optional": True}, "public", "reads no credentials"),
    ({"public": True, "scope": "a"}, "public", "make two rules"),
    ({"public": True, "max_age": 0}, "public", "make two rules"),
    ({"optional": True, "acr_values": ("a",)}, "optional", "make two rules"),
    ({"public": "no"}, "public", "True or False"),
    ({"optional": 1}, "optional", "True or False"),
]


@pytest.mark.parametrize(("options", "field", "words"), WRONG, ids=lambda value: str(value)[:50])
def test_a_rule_that_can_not_be_meant_says_what_is_wrong(
    options: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Route(options.get("path", "/a"), **{k: v for k, v in options.items() if k != "path"})
    assert caught.value.field == f"Route({options.get('path', '/a')!r}).{field}"


def test_a_route_is_a_value() -> None:
    route = Route("/a", methods=["GET"], acr_values=["x"])
    assert route == Route("/a", methods=("GET",), acr_values=("x",))
    assert pickle.loads(pickle.dumps(route)) == route
    assert len({route, Route("/a", methods=("GET",), acr_values=("x",))}) == 1


def expected(rules: tuple[Route, ...], path: str, method: str) -> str:
    """Say the same by the sentences of `Route`'s docstring, rule by rule and without any table."""
    ranked: list[tuple[tuple[int, int, bool, bool], Route]] = []
    for rule in rules:
        below = rule.path.endswith("/*")
        stem = rule.path.removesuffix("*").rstrip("/")
        methods = {*rule.methods, *(("HEAD",) if "GET" in rule.methods else ())}
        if methods and (method if rule.permits else method.upper()) not in methods:
            continue
        whole = path.rstrip("/")
        if rule.permits:
            if not (path.startswith(stem + "/") if below else path == rule.path):
                continue
            closeness = 1 if below else 2
        else:
            if whole != stem and not whole.startswith(stem + "/"):
                continue
            closeness = 1 if below else 2 if whole == stem else 0
        ranked.append(((len(stem), closeness, bool(methods), rule.permits), rule))
    return word(max(ranked, key=lambda one: one[0])[1]) if ranked else "token"


PATHS = st.lists(st.sampled_from(["a", "b", "ab", "c"]), max_size=4).map(
    lambda s: "/" + "/".join(s)
)
METHODS = st.sampled_from([(), ("GET",), ("POST",), ("HEAD",), ("GET", "POST")])
OPTIONS = st.sampled_from(
    [{"public": True}, {"optional": True}, {"scope": "s"}, {"scope": "t"}, {"max_age": 9}, {}]
)
RULES = st.builds(
    lambda path, end, methods, options: Route(
        path.rstrip("/") + "/*" if end == "*" else path if end == "" or path == "/" else path + "/",
        methods=methods,
        **options,
    ),
    PATHS,
    st.sampled_from(["", "", "/", "*", "*"]),
    METHODS,
    OPTIONS,
)


@given(
    st.lists(RULES, max_size=6),
    PATHS,
    st.sampled_from(["", "/"]),
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "post"]),
)
@example([Route("/a/b/c", scope="s"), Route("/a/*", public=True)], "/a/b/cc", "", "GET")
def test_the_table_finds_what_the_sentences_say(
    rules: list[Route], path: str, slash: str, method: str
) -> None:
    kept: list[Route] = []
    for rule in rules:
        try:
            Routes((*kept, rule))
        except ConfigurationError:
            continue
        kept.append(rule)
    path = path + slash if path != "/" else path
    assert found(Routes(kept), path, method) == expected(tuple(kept), path, method)


@given(st.text(), st.text(max_size=6))
def test_no_path_and_no_method_raises(path: str, method: str) -> None:
    routes = Routes(
        (Route("/*", public=True), Route("/a/*", scope="a"), Route("/a/b", methods=("GET",)))
    )
    assert found(routes, path, method) in ("public", "token", "a", ODD)
    if found(routes, path, method) == "public":
        assert path.startswith("/")
        assert path.isascii()


def test_where_there_is_one_rule_for_all_nobody_has_to_look_for_it() -> None:
    none = Routes(())
    assert none.is_uniform
    for route in (Route("/login", public=True), Route("/admin/*", scope="admin"), Route("/*")):
        assert not Routes((route,)).is_uniform
