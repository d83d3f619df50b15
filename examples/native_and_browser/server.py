"""Notes for a browser (cookies, pages, forms) and for a program (Bearer, JSON), on one server.

One Settings and one middleware serve both: cookies go out only where `set_cookies` is called.
"""

import os
from typing import Any

from flask import Flask, abort, redirect, render_template_string, request
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.wrappers import Response

from jwt_middleware import (
    Cookies,
    Issuer,
    KeySet,
    Refresh,
    Route,
    Settings,
    Unavailable,
    current_token,
    required_token,
)
from jwt_middleware.wsgi import JWTMiddleware

USERS = {"alice": generate_password_hash("wonderland")}  # yours: a database
NOBODYS = generate_password_hash("")  # an unknown name takes as long as a wrong password
CAREFUL = {
    "Cache-Control": "no-store",  # tokens; and "back" would show pages after a log-out
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; form-action 'self'",
}


def make_settings() -> Settings:
    return Settings(
        issuer=os.environ.get("SITE_URL", "http://localhost:8000"),  # what the browser shows
        audience="notes",
        keys=KeySet.load("keys.json"),
        login_url="/login",  # for page loads; what a program asks for is answered 401
        routes=(
            Route("/login", public=True, own_origin=True),
            Route("/logout", public=True, own_origin=True),  # also when the token has expired
            Route("/api/login", public=True, own_origin=True),
        ),
        refresh=Refresh(store="sqlite:///grants.db", cookies=Cookies(access=True, forms=True)),
    )


def is_right(name: str, password: str) -> bool:
    return check_password_hash(USERS.get(name, NOBODYS), password) and name in USERS


def make_app(settings: Settings | None = None) -> Flask:
    """Make the server; tests give settings of their own."""
    settings = settings or make_settings()
    app = Flask(__name__)
    app.wsgi_app = JWTMiddleware(app.wsgi_app, settings)  # type: ignore[method-assign]
    issuer, notes = Issuer(settings), dict[str, list[str]]()  # yours: a database of notes
    serve_the_program(app, issuer, notes)
    serve_the_browser(app, issuer, notes)

    @app.errorhandler(Unavailable)
    def busy(error: Unavailable) -> Any:
        retry_after = {"Retry-After": str(error.retry_after)}
        if request.path.startswith("/api/"):
            return {"error": error.error}, error.status, retry_after
        return page("Please try again in a moment", "</main>"), error.status, retry_after

    @app.after_request
    def careful(response: Any) -> Any:
        response.headers.update(CAREFUL)
        return response

    return app


def serve_the_program(app: Flask, issuer: Issuer, notes: dict[str, list[str]]) -> None:
    @app.post("/api/login")
    def program_logs_in() -> dict[str, Any]:
        sent = request.get_json()
        name, password, old = (str(sent.get(one, "")) for one in ("name", "password", "replaces"))
        if not is_right(name, password):
            abort(403)
        device = "".join(filter(str.isprintable, str(sent.get("device", ""))))[:200]
        tokens = issuer.issue(
            name,
            client_id="notes-program",
            label=device,
            replaces=old or None,  # a refresh token: the earlier login of this program ends
            user_agent=request.headers.get("User-Agent"),
        )
        # `tokens` alone leaves out what is meant for cookies. None is set here, and /auth/refresh
        # answers this login as it is asked from now on: a token in the body, tokens in the body.
        return {
            **tokens,
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
        }

    @app.get("/api/notes")
    def program_lists() -> dict[str, Any]:
        return {"notes": notes.get(required_token().subject, [])}

    @app.post("/api/notes")
    def program_adds() -> tuple[dict[str, Any], int]:
        notes.setdefault(required_token().subject, []).append(str(request.get_json()["text"]))
        return {}, 201


def serve_the_browser(app: Flask, issuer: Issuer, notes: dict[str, list[str]]) -> None:
    @app.route("/login", methods=["GET", "POST"])
    def login() -> Any:
        if request.method == "GET":
            return page("Log in", LOGIN)
        name = request.form["name"]
        if not is_right(name, request.form["password"]):
            return page("Log in", LOGIN, problem="Wrong name or password"), 403
        tokens = issuer.issue(
            name,
            label="A browser",
            replaces=request.environ["jwt_middleware.held"],  # earlier logins of this browser end
            user_agent=request.headers.get("User-Agent"),
        )
        # Safe: at login_url the middleware lets only paths of this host through as `next`.
        response = redirect(request.args.get("next") or "/", code=303)
        tokens.set_cookies(response)
        return response

    @app.get("/")
    def listed() -> str:
        name = required_token().subject
        devices = [one.label for one in issuer.grants(name)]
        return page("Your notes", NOTES, notes=notes.get(name, []), devices=devices)

    @app.post("/")
    def add() -> Response:
        notes.setdefault(required_token().subject, []).append(request.form["text"])
        return redirect("/", code=303)

    @app.post("/logout")
    def log_out() -> Response:
        response = redirect("/login", code=303)
        # Ends every login that this browser holds: two tabs may have logged in at once.
        issuer.log_out(response, request.environ["jwt_middleware.held"])
        return response


def page(title: str, body: str, **context: Any) -> str:
    return render_template_string(HEAD + body, title=title, token=current_token(), **context)


HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<link rel="icon" href="data:,">
{% if token %}
<header><form method="post" action="/logout"><button>Log out</button></form></header>
{% endif %}
<main><h1>{{ title }}</h1>"""
LOGIN = """{% if problem %}<p role="alert">{{ problem }}</p>{% endif %}
<form method="post">
  <p><label>Name <input name="name" required autocomplete="username"></label>
  <p><label>Password
    <input name="password" type="password" required autocomplete="current-password"></label>
  <p><button>Log in</button>
</form></main>"""
NOTES = """<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
<form method="post">
  <p><label>A note <input name="text" required></label> <button>Add</button>
</form>
<h2>Where you are logged in</h2>
<ul>{% for device in devices %}<li>{{ device or "A device without a name" }}</li>{% endfor %}</ul>
</main>"""
