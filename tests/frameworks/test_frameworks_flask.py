"""Flask, wrapped by `app.wsgi_app = JWTMiddleware(app.wsgi_app, settings)`."""

from collections.abc import Iterator

import pytest
from flask import Flask, jsonify, request, stream_with_context
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from werkzeug.test import Client

from jwt_middleware import AccessToken, current_token
from jwt_middleware.wsgi import JWTMiddleware
from tests.wrapped import FACTORY, SETTINGS, Promises, report


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    app.wsgi_app = JWTMiddleware(app.wsgi_app, SETTINGS)  # type: ignore[method-assign]
    return app


class TestFlask(Promises):
    @pytest.fixture
    def calls(self) -> list[str]:
        return []

    @pytest.fixture
    def client(self, app: Flask, calls: list[str]) -> FlaskClient:
        def view() -> ResponseReturnValue:
            calls.append(request.path)
            return jsonify(report(request.environ["jwt_middleware.token"]))

        for path in ("/me", "/open", "/admin/users"):
            app.add_url_rule(path, view_func=view)
        return app.test_client()


def test_remote_user_is_the_subject(app: Flask) -> None:
    @app.get("/me")
    @app.get("/open")
    def view() -> ResponseReturnValue:
        return jsonify(request.remote_user, request.environ.get("AUTH_TYPE"))

    client = app.test_client()
    assert client.get("/me", headers=FACTORY.bearer()).json == ["alice", "Bearer"]
    # A client that speaks for itself is no user.
    machine = FACTORY.bearer(sub="robot", client_id="robot")
    assert client.get("/me", headers=machine).json == [None, "Bearer"]
    # Nor does a header make one, or what a server in front has said.
    assert client.get("/open", headers={"Remote-User": "root"}).json == [None, None]
    assert client.get("/open", environ_overrides={"REMOTE_USER": "root"}).json == [None, None]


def test_the_token_is_current_in_views_and_streams_and_gone_afterwards(app: Flask) -> None:
    seen: list[AccessToken | None] = []

    @app.get("/me")
    async def view() -> ResponseReturnValue:  # Flask runs an `async def` view in a loop of its own
        seen.append(current_token())

        def chunks() -> Iterator[str]:
            for _ in range(2):
                seen.append(current_token())
                assert request.environ["jwt_middleware.token"] is current_token()
                yield "chunk "

        response = app.response_class(stream_with_context(chunks()))
        response.call_on_close(lambda: seen.append(current_token()))
        return response

    answer = app.test_client().get("/me", headers=FACTORY.bearer(), buffered=True)
    assert answer.text == "chunk chunk "
    assert [one.subject for one in seen if one is not None] == ["alice"] * 4
    assert len({id(one) for one in seen}) == 1
    assert current_token() is None


def test_what_flask_raises_passes_and_leaves_nothing_behind(app: Flask) -> None:
    app.testing = True

    @app.get("/me")
    def view() -> ResponseReturnValue:
        raise ZeroDivisionError(current_token() is not None)

    with pytest.raises(ZeroDivisionError, match="True"):
        app.test_client().get("/me", headers=FACTORY.bearer())
    assert current_token() is None


def test_a_path_that_flask_reads_as_another_does_not_lead_around_a_scope() -> None:
    app = Flask(__name__)
    app.add_url_rule("/admin/users", view_func=lambda: "for admins")
    plain, wrapped = Client(app), Client(JWTMiddleware(app, SETTINGS))
    # Given as a server decodes it; the test client would read a host out of `//admin`.
    odd = {"environ_overrides": {"PATH_INFO": "//admin/users"}, "headers": FACTORY.bearer()}
    assert plain.get(**odd).text == "for admins"
    assert wrapped.get(**odd).status_code == 400
