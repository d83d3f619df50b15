"""Your devices: the logins of a user, who can end them."""

from flask import Blueprint, abort, current_app, redirect, render_template
from werkzeug.wrappers import Response

from jwt_middleware import required_token

devices = Blueprint("devices", __name__, url_prefix="/devices")


@devices.get("")
def listed() -> str:
    settings, issuer = (current_app.extensions[name] for name in ("settings", "issuer"))
    token, now = required_token(), settings.clock()
    # A login that was idle for too long can't be used any more, and stays until its absolute end.
    # All have an idle limit here (login.py). A use is written down with up to a tenth of it late.
    found = [
        one
        for one in issuer.grants(token.subject)
        if one.id == token.grant_id or now < one.used_at + 1.2 * one.idle_limit
    ]
    return render_template("devices.html", devices=found, own_id=token.grant_id)


@devices.post("/<grant_id>/end")
def end(grant_id: str) -> Response:
    # With `subject` another user's login isn't touched, whatever the address says.
    issuer = current_app.extensions["issuer"]
    if not issuer.revoke(grant_id, subject=required_token().subject):
        abort(404)
    return redirect("/devices", code=303)


@devices.post("/end-others")
def end_others() -> Response:
    issuer, token = current_app.extensions["issuer"], required_token()
    for one in issuer.grants(token.subject):
        if one.id != token.grant_id:
            issuer.revoke(one.id, subject=token.subject)
    return redirect("/devices", code=303)
