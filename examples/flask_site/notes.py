"""The home page, and each user's notes. Readers read, editors and admins write."""

from flask import Blueprint, abort, redirect, render_template, request
from sqlalchemy import select
from werkzeug.wrappers import Response

from jwt_middleware import required_token

from .models import Database, Note

notes = Blueprint("notes", __name__)


@notes.get("/")
def home() -> str:
    return render_template("home.html")


@notes.get("/notes")
def listed() -> str:
    token = required_token()
    with Database() as db:
        found = db.scalars(select(Note).where(Note.user_id == token.subject)).all()
    return render_template("notes.html", notes=found)


@notes.post("/notes")
def add() -> Response:
    token = required_token()
    if token.claims["role"] not in ("editor", "admin"):
        abort(403)
    with Database.begin() as db:
        db.add(Note(user_id=token.subject, text=request.form["text"]))
    return redirect("/notes", code=303)
