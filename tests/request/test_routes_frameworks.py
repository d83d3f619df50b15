"""Our rules against the real routers of Starlette, Flask and Django, in both directions.

What we call public is routed to the endpoint that the rule names, or nowhere. Whatever they route
to an endpoint that a scope rule names is refused without that scope.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from flask import Flask
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route as Endpoint

from jwt_middleware import Route
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.request.routes import Routes, below_root
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.errors import InvalidRequest
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.django import routed
from tests.world import standing

FACTORY = TokenFactory(clock=standing)

# Every rule, with the endpoints that it names.
PUBLIC: dict[Route, set[str]] = {
    Route("/", public=True): {"home"},
    Route("/login", public=True): {"login"},
    Route("/docs/", public=True): {"docs"},
    Route("/files/*", public=True): {"files"},
    Route("/admin/help", public=True): {"help"},
    Route("/items", methods=("GET",), public=True): {"list"},
}
SCOPES: dict[Route, set[str]] = {
    Route("/admin/*", scope="admin"): {"admin", "user"},
    Route("/reports", scope="reports"): {"reports", "reports-slash", "year"},
    Route("/files/private/*", scope="private"): {"private"},
    Route("/items", methods=("POST",), scope="write"): {"add"},
    Route("/items", scope="items"): {"drop", "item"},
    Route("/caf\xe9/*", scope="caf"): {"cafe"},
}
NEEDED = {endpoint: rule.scope for rule, endpoints in SCOPES.items() for endpoint in endpoints}
ENDPOINTS = {
    "home": ("/", ["GET", "POST"]),
    "login": ("/login", ["GET", "POST"]),
    "docs": ("/docs/", ["GET"]),
    "private": ("/files/private/{path}", ["GET"]),
    "files": ("/files/{path}", ["GET"]),
    "help": ("/admin/help", ["GET"]),
    "admin": ("/admin/", ["GET", "POST"]),
    "user": ("/admin/users/{one}", ["GET", "DELETE"]),
    "reports": ("/reports", ["GET"]),
    "year": ("/reports/{one}/", ["GET", "POST"]),
    "list": ("/items", ["GET"]),
    "add": ("/items", ["POST"]),
    "drop": ("/items", ["DELETE"]),
    "item": ("/items/{one}", ["GET", "PUT"]),
    "cafe": ("/caf\xe9/{one}", ["GET"]),
    "reports-slash": ("/reports/", ["GET"]),
    # Neighbours, which no rule names: a rule that reaches too far would open them.
    "login-slash": ("/login/", ["GET"]),
    "login-case": ("/Login", ["GET"]),
    "login-longer": ("/login.php", ["GET"]),
    "docs-bare": ("/docs", ["GET"]),
    "files-bare": ("/files", ["GET"]),
    "filesystem": ("/filesystem/{one}", ["GET"]),
    "help-below": ("/help", ["GET"]),
}
SETTINGS = FACTORY.settings(routes=(*PUBLIC, *SCOPES))
TABLE = Routes(SETTINGS.routes)
ALONE = {rule: Routes((rule,)) for rule in PUBLIC}
ALL = set(NEEDED.values())
FULL = FACTORY.token(scope=" ".join(ALL))
# By endpoint: a token with every scope but the one that is needed.
LACKING = {name: FACTORY.token(scope=" ".join(ALL - {NEEDED.get(name)})) for name in ENDPOINTS}

# An application, as one call: method, path, root, token -> status, endpoint that was reached.
Served = tuple[int, str | None]
Call = Callable[[str, bytes, str, str | None], Served]


def whole(path: bytes, root: str) -> str:
    """Return the path as servers decode it, behind the root unless that begins with "!"."""
    return ("" if root[:1] == "!" else root) + path.decode("utf-8", "replace")


def starlette(*, guarded: bool) -> Call:
    reached: list[str] = []

    def endpoint(name: str) -> Any:
        async def serve(request: Request) -> PlainTextResponse:
            reached.append(name)
            return PlainTextResponse(name)

        return serve

    app: Any = Starlette(
        routes=[
            Endpoint(path.replace("{path}", "{path:path}"), endpoint(name), methods=methods)
            for name, (path, methods) in ENDPOINTS.items()
        ]
    )
    if guarded:
        app = ASGIMiddleware(app, SETTINGS)

    def call(method: str, path: bytes, root: str, token: str | None) -> Served:
        reached.clear()
        statuses: list[int] = []
        headers = [(b"x-http-method-override", b"GET"), (b"host", b"x/login?")]
        scope = {
            "type": "http",
            "method": method,
            "path": whole(path, root),
            "root_path": root.lstrip("!"),
            "query_string": b"",
            "headers": headers
            + ([(b"authorization", f"Bearer {token}".encode())] if token else []),
        }

        async def receive() -> Any:
            raise AssertionError("nothing here reads a body")

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        with pytest.raises(StopIteration):  # nothing waits, so that no event loop is needed
            app(scope, receive, send).send(None)
        return statuses[0], reached[0] if reached else None

    return call


def flask(*, guarded: bool) -> Call:
    reached: list[str] = []

    def endpoint(name: str) -> Any:
        def serve(**parameters: str) -> str:
            reached.append(name)
            return name

        return serve

    inner = Flask(__name__, static_folder=None)
    for name, (path, methods) in ENDPOINTS.items():
        rule = path.replace("{path}", "<path:path>").replace("{one}", "<one>")
        inner.add_url_rule(rule, name, endpoint(name), methods=methods)
    app: Any = WSGIMiddleware(inner.wsgi_app, SETTINGS) if guarded else inner.wsgi_app

    def call(method: str, path: bytes, root: str, token: str | None) -> Served:
        reached.clear()
        status = routed.WSGI().call(app, method, path, root, token)
        return status, reached[0] if reached else None

    return call


def as_it_came(method: str, path: bytes, root: str) -> tuple[str, str]:
    return method, below_root(whole(path, root), root.lstrip("!"))


def apart(method: str, path: bytes, root: str) -> tuple[str, str]:
    return method, path.decode("utf-8", "replace")  # WSGI has the root apart from the path


Seen = Callable[[str, bytes, str], tuple[str, str]]


class Framework(NamedTuple):
    """One framework: bare, with our middleware, and which method and path its views see."""

    bare: Call
    guarded: Call
    seen: Seen


def django(kind: routed.WSGI | routed.ASGI) -> Framework:
    return Framework(
        routed.app(ENDPOINTS, kind, None), routed.app(ENDPOINTS, kind, SETTINGS), kind.seen
    )


FRAMEWORKS = {
    "starlette": Framework(starlette(guarded=False), starlette(guarded=True), as_it_came),
    "flask": Framework(flask(guarded=False), flask(guarded=True), apart),
    "django": django(routed.WSGI()),
    "django-asgi": django(routed.ASGI()),
}
frameworks = pytest.mark.parametrize(
    ("bare", "guarded", "seen"), FRAMEWORKS.values(), ids=FRAMEWORKS
)

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "FOO", ""]
SPELLED = ["get", "head", "post", "Post", "dELETE", "options", "POST ", "PO\u017fT"]
PATHS = [
    path.replace("{path}", "a/b").replace("{one}", "5").encode() for path, _ in ENDPOINTS.values()
]
PATHS += [b"/files/private", b"/files/", b"/files", b"/admin", b"/admin/help/", b"/reports/"]
# What a path is spoilt with: in place of a slash, in front, behind, or anywhere.
SLASHES = [
    b"//",
    b"///",
    b"/./",
    b"/../",
    b"/x/../",
    b"\\",
    b"/\\",
    b";/",
    b"/;a=b/",
    b"%2f",
    b"%2F",
]
SLASHES += [b"/%2e/", b"/..;/", b"/\0/", b"/\n/", b"\xef\xbc\x8f", b"/ /", b"/%5c/"]
FRONTS = [
    b"",
    b"/",
    b"//",
    b"/.",
    b"/..",
    b"\\",
    b"http://x",
    b"@x",
    b"*",
    b" ",
    b"/login",
    b"/files",
]
FRONTS += [b"/files/..", b"/login;", b"/docs/../", b"\n", b"\0", b"%2f", b"/?", b"\xef\xbb\xbf"]
ENDS = [
    b"/",
    b"//",
    b"/.",
    b"/..",
    b";",
    b";x",
    b"?",
    b"?x=/login",
    b"#",
    b"#/login",
    b"\n",
    b"\r",
    b"\0",
]
ENDS += [
    b"%00",
    b"%0a",
    b"%2f",
    b" ",
    b".",
    b".json",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xa8",
    b"/login",
    b"/*",
]
ANYWHERE = [
    b"\0",
    b"\n",
    b"\t",
    b"\x7f",
    b"/",
    b"%",
    b";",
    b"\\",
    b"\xff",
    b"\xcc\x81",
    b"\xc2\xad",
    b".",
]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Return the path of an endpoint, spoilt in up to three ways."""
    path = draw(st.sampled_from(PATHS))
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["slash", "front", "end", "anywhere", "case", "cut"]))
        at = draw(st.integers(0, max(len(path), 1) - 1))
        if kind == "slash":
            parts = path.split(b"/")
            cut = 1 + at % max(len(parts) - 1, 1)
            between = draw(st.sampled_from(SLASHES))
            path = b"/".join(parts[:cut]) + between + b"/".join(parts[cut:])
        elif kind == "front":
            path = draw(st.sampled_from(FRONTS)) + path
        elif kind == "end":
            path += draw(st.sampled_from(ENDS))
        elif kind == "anywhere":
            path = path[:at] + draw(st.sampled_from(ANYWHERE)) + path[at:]
        elif kind == "case":
            path = path[:at] + path[at:].swapcase()
        else:
            path = path[at:] if draw(st.booleans()) else path[:at]
    return path


paths = (
    spoilt() | spoilt() | spoilt() | st.binary(max_size=12) | st.text(max_size=12).map(str.encode)
)
methods = st.sampled_from([*METHODS, *SPELLED])
# Some servers put the root in front of the path, others ("!") don't.
roots = st.sampled_from(["", "", "/api", "/files", "!/api", "!/files", "!/admin"])
EXAMPLES = 4 * settings().max_examples  # they are quick, and most bad paths lead nowhere


@pytest.mark.parametrize(
    ("framework", "path", "endpoint"),
    [
        ("flask", b"//admin/users/5", "user"),
        ("flask", b"admin/users/5", "user"),
        ("starlette", b"/reports\n", "reports"),
        ("starlette", b"/files/../admin/help", "files"),
    ],
)
def test_the_danger_is_real(framework: str, path: bytes, endpoint: str) -> None:
    # A router that reads a path otherwise than it is written is why odd paths are refused.
    bare, guarded, _ = FRAMEWORKS[framework]
    assert bare("GET", path, "", None) == (200, endpoint)
    for token in (None, FULL):
        assert guarded("GET", path, "", token) == (400, None)


@frameworks
@pytest.mark.parametrize("root", ["", "/api"])
@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_endpoint_opens_for_whom_it_is_meant(
    bare: Call, guarded: Call, seen: Seen, root: str, name: str
) -> None:
    path, (method, *_) = ENDPOINTS[name]
    written = path.replace("{path}", "a/b").replace("{one}", "5").encode()
    assert bare(method, written, root, None) == (200, name)
    public = any(name in endpoints for endpoints in PUBLIC.values())
    assert guarded(method, written, root, None) == ((200, name) if public else (401, None))
    lacking = guarded(method, written, root, LACKING[name])
    assert lacking == ((403, None) if name in NEEDED else (200, name))
    assert guarded(method, written, root, FULL) == (200, name)


@frameworks
@settings(max_examples=EXAMPLES)
@given(method=methods, path=paths, root=roots)
@example(method="GET", path=b"/files/private", root="")
@example(method="GET", path=b"/admin/help/", root="")
@example(method="post", path=b"/items", root="")
@example(method="HEAD", path=b"/items", root="")
def test_what_is_public_is_routed_to_the_endpoint_that_the_rule_names(
    bare: Call, guarded: Call, seen: Seen, method: str, path: bytes, root: str
) -> None:
    asked, text = seen(method, path, root)
    try:
        public = TABLE.find(asked, text).public
    except InvalidRequest:
        public = False
    named = [PUBLIC[rule] for rule, table in ALONE.items() if table.find(asked, text).public]
    assert bool(named) >= public
    status, endpoint = bare(method, path, root, None)
    if public:
        # Nowhere is good, too: not found, no such method, or a redirect to another path.
        assert endpoint is None or any(endpoint in endpoints for endpoints in named)
        assert guarded(method, path, root, None) == (status, endpoint)
    else:
        assert guarded(method, path, root, None)[1] is None


@frameworks
@settings(max_examples=EXAMPLES)
@given(method=methods, path=paths, root=roots)
@example(method="GET", path=b"//admin/users/5", root="")
@example(method="GET", path=b"admin/users/5", root="")
@example(method="GET", path=b"/reports\n", root="/api")
@example(method="get", path=b"/admin/users/5", root="")
@example(method="PO\u017fT", path=b"/items", root="")
@example(method="HEAD", path=b"/admin", root="/files")
def test_what_reaches_an_endpoint_of_a_scope_rule_needs_that_scope(
    bare: Call, guarded: Call, seen: Seen, method: str, path: bytes, root: str
) -> None:
    _, endpoint = bare(method, path, root, None)
    if endpoint in NEEDED:
        status, reached = guarded(method, path, root, LACKING[endpoint])
        assert (status in (400, 403), reached) == (True, None)
        assert guarded(method, path, root, None)[0] in (400, 401)
    # With every scope, what is not odd is served as if we weren't there.
    status, reached = guarded(method, path, root, FULL)
    assert (status, reached) in ((400, None), bare(method, path, root, None))
