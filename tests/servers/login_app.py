"""An application that logs somebody in when it is made; how a server forks it is the test's."""

import json
import os

from jwt_middleware import Issuer, KeySet, Refresh, Route, Settings
from jwt_middleware.wsgi import JWTMiddleware

settings = Settings(
    issuer="https://login.example",
    audience="https://api.example",
    keys=KeySet.load(os.environ["TEST_KEYS"]),
    routes=(Route("/login", public=True),),
    refresh=Refresh(store=os.environ["TEST_STORE"]),
)
issuer = Issuer(settings)
first = issuer.issue("first")


def inner(environ, start_response):
    body = {"worker": os.getpid(), "master": os.getppid()}
    if environ["PATH_INFO"] == "/login":
        body |= issuer.issue("alice")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


app = JWTMiddleware(inner, settings)
