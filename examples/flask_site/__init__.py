"""Notes, a whole small site in Flask: README.md beside this file says how to start it."""

import os
from datetime import UTC, datetime

import click
from flask import Flask, Response, render_template
from sqlalchemy import create_engine
from werkzeug.security import generate_password_hash

from jwt_middleware import Issuer, Settings, Unavailable, current_token
from jwt_middleware.wsgi import JWTMiddleware

from .admin import admin
from .devices import devices
from .login import login
from .models import ROLES, Base, Database, User
from .notes import notes
from .settings import make_settings


def create_app(settings: Settings | None = None, database: str = "") -> Flask:
    """Make the site; tests give settings and a database of their own."""
    settings = settings or make_settings()
    engine = create_engine(database or os.environ.get("DATABASE", "sqlite:///site.db"))
    Base.metadata.create_all(engine)
    Database.configure(bind=engine)

    app = Flask(__name__)
    app.wsgi_app = JWTMiddleware(app.wsgi_app, settings)  # type: ignore[method-assign]
    app.extensions["settings"] = settings
    app.extensions["issuer"] = Issuer(settings)
    for blueprint in (login, notes, devices, admin):
        app.register_blueprint(blueprint)
    app.context_processor(lambda: {"token": current_token()})
    app.add_template_filter(when)

    @app.errorhandler(Unavailable)
    def unavailable(error: Unavailable) -> tuple[str, int, dict[str, str]]:
        return render_template("busy.html"), error.status, {"Retry-After": str(error.retry_after)}

    @app.after_request
    def careful(response: Response) -> Response:
        if response.mimetype == "text/html":
            response.headers["Cache-Control"] = "no-store"  # or "back" shows pages after a log-out
            response.headers["Content-Security-Policy"] = (
                "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"
            )
        return response

    @app.cli.command("add-user")
    @click.argument("name")
    @click.option("--role", type=click.Choice(ROLES), default="reader")
    @click.password_option()
    def add_user(name: str, role: str, password: str) -> None:
        """Add a user to the database."""
        with Database.begin() as db:
            db.add(User(name=name, role=role, password_hash=generate_password_hash(password)))

    return app


def when(seconds: float) -> str:
    """Return a time of the middleware's, seconds since 1970, as text."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %B %Y, %H:%M UTC")
