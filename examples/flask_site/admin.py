"""The admin's pages: roles, and the end of a user's logins."""

from flask import Blueprint, abort, current_app, redirect, render_template, request
from sqlalchemy import select
from werkzeug.wrappers import Response

from jwt_middleware import required_token
from jwt_middleware.flask import require

from .models import ROLES, Database, User

admin = Blueprint("admin", __name__, url_prefix="/admin")


@admin.before_request
@require(scope="admin")
def only_admins() -> None:
    """Guard all views of this file. A scope is as old as its login; the claim is fresh."""
    if required_token().claims["role"] != "admin":
        abort(403)


@admin.get("")
def users() -> str:
    with Database() as db:
        found = db.scalars(select(User).order_by(User.name)).all()
    issuer = current_app.extensions["issuer"]
    logins = {user.id: len(issuer.grants(user.id)) for user in found}
    return render_template("admin.html", users=found, roles=ROLES, logins=logins)


@admin.post("/<user_id>/role")
def set_role(user_id: str) -> Response:
    role = request.form["role"]
    if role not in ROLES:
        abort(400)
    with Database.begin() as db:
        user = db.get(User, user_id) or abort(404)
        before, user.role = user.role, role
        # Another role is in the user's next access token, at most ten minutes later. But a scope is
        # given for a whole login, so whoever becomes admin, or is none any more, must log in anew.
        # Before the commit: if the logins can't be ended now, the role doesn't change, either.
        if before != role and "admin" in (before, role):
            current_app.extensions["issuer"].revoke_all(user_id, reason="another role")
    return redirect("/admin", code=303)


@admin.post("/<user_id>/log-out")
def log_out_everywhere(user_id: str) -> Response:
    current_app.extensions["issuer"].revoke_all(user_id, reason="by an admin")
    return redirect("/admin", code=303)
