"""For gunicorn's workers in prometheus_client's multiprocess mode: an application and its page."""

import os
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

from jwt_middleware import KeySet, Route, Settings
from jwt_middleware.prometheus import Prometheus
from jwt_middleware.wsgi import JWTMiddleware

settings = Settings(
    issuer="https://login.example",
    audience="https://api.example",
    keys=KeySet.load(os.environ["KEYS"]),
    routes=(Route("/metrics", public=True), Route("/pid", public=True)),
    metrics=Prometheus(),
)


def inside(environ: Any, start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return make_wsgi_app(registry)(environ, start_response)
    start_response("200 OK", [("content-type", "text/plain")])
    return [str(os.getpid()).encode()]


app = JWTMiddleware(inside, settings)
