"""Logging in and out, by forms."""

from typing import Any

from flask import Blueprint, current_app, redirect, render_template, request
from sqlalchemy import select
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.wrappers import Response

from .models import Database, User

login = Blueprint("login", __name__)
HOUR, DAY = 3600, 86400  # seconds
STAY = {"idle_limit": 30 * DAY, "absolute_limit": 30 * DAY}
# While the browser is open. Some reopen it with all cookies, so the server has limits, too.
SESSION = {"session": True, "idle_limit": 2 * HOUR, "absolute_limit": 12 * HOUR}
NOBODYS = generate_password_hash("")  # an unknown name takes as long as a wrong password

# What browsers say of themselves is a mess: the first that is found counts.
BROWSERS = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "Chrome": "Chrome",
    "Safari": "Safari",
}
SYSTEMS = ("Android", "iPhone", "Mac OS", "Windows", "Linux")


@login.get("/login")
def form() -> str:
    return render_template("login.html")


@login.post("/login")
def log_in() -> Response | tuple[str, int]:
    name, password = request.form["name"], request.form["password"]
    with Database() as db:
        user = db.scalar(select(User).where(User.name == name))
    is_right = check_password_hash(user.password_hash if user else NOBODYS, password)
    if user is None or not is_right:
        return render_template("login.html", problem="Wrong name or password", name=name), 403
    how_long: dict[str, Any] = STAY if "stay" in request.form else SESSION
    tokens = current_app.extensions["issuer"].issue(
        user.id,
        scope="admin" if user.role == "admin" else "",
        label=device_name(request.headers.get("User-Agent", "")),
        replaces=request.environ["jwt_middleware.held"],  # earlier logins of this browser end
        user_agent=request.headers.get("User-Agent"),
        **how_long,
    )
    # Safe: at login_url the middleware lets only paths of this host through as `next`.
    response = redirect(request.args.get("next") or "/", code=303)
    tokens.set_cookies(response)
    return response


@login.post("/logout")
def log_out() -> Response:
    response = redirect("/", code=303)
    # Ends every login that this browser holds: two tabs may have logged in at once.
    held = request.environ["jwt_middleware.held"]
    current_app.extensions["issuer"].log_out(response, held)
    return response


def device_name(user_agent: str) -> str:
    """Return what a user knows this device by, such as "Firefox on Linux"."""
    browser = next((BROWSERS[one] for one in BROWSERS if f"{one}/" in user_agent), "A browser")
    system = next((name for name in SYSTEMS if name in user_agent), "")
    return f"{browser} on {system}" if system else browser
