"""What applications are tested with: freezegun and time-machine move our default clock, too."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import freezegun
import pytest
import time_machine

from jwt_middleware import Issuer, Refresh, Settings, Tokens
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.testing import TokenFactory
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.issuing import AUDIENCE, DAY, ISSUER, KEYS, REFRESH, form_octets, posted, refresh_form
from tests.processes import ROOT
from tests.world import NOW, Application, Raw, Sent, World, by_asgi, by_wsgi, encoded

Move = Callable[[float], object]


@contextmanager
def by_freezegun() -> Generator[Move]:
    with freezegun.freeze_time("2027-01-15") as frozen:
        yield frozen.tick


@contextmanager
def by_time_machine() -> Generator[Move]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller.shift


LIBRARIES = pytest.mark.parametrize("frozen", [by_freezegun, by_time_machine])


@LIBRARIES
@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_a_login_expires_and_is_refreshed_when_the_library_says_so(
    frozen: Callable[[], Any], door: str
) -> None:
    # Made before time stands, as an application is.
    refresh = Refresh(store="memory://", access_lifetime=600)
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, keys=KEYS, refresh=refresh)
    issuer, application = Issuer(settings), Application()
    with asyncio.Runner() as runner:
        made: Any = WSGIMiddleware if door == "wsgi" else ASGIMiddleware
        app = made(getattr(application, door), settings)

        def login() -> Tokens:
            if door == "wsgi":
                return issuer.issue("alice")
            return runner.run(issuer.aissue("alice"))

        def answer(sent: Sent) -> Raw:
            return by_wsgi(app, sent) if door == "wsgi" else runner.run(by_asgi(app, sent))

        def called(tokens: dict[str, Any]) -> list[int]:
            """Call twice: the second answer comes from the cache, by the short way."""
            sent = Sent("GET", "/", encoded((), tokens["access_token"]))
            return [answer(sent)[0] for _ in range(2)]

        def refreshed(tokens: dict[str, Any]) -> Raw:
            return answer(posted(REFRESH, form_octets(refresh_form(tokens["refresh_token"]))))

        with frozen() as move:
            first = login()
            assert called(first) == [200, 200]
            move(first["expires_in"] + settings.leeway - 1)
            assert called(first) == [200, 200]
            move(1)
            assert called(first) == [401, 401]
            status, _, body = refreshed(first)
            assert status == 200
            second = json.loads(body)
            assert called(second) == [200, 200]
            move(100 * DAY)
            assert refreshed(second)[0] == 400
            assert called(second) == [401, 401]
        if door == "wsgi":
            settings.close()
        else:
            runner.run(settings.aclose())


@LIBRARIES
def test_the_kit_for_tests_makes_tokens_of_that_time(frozen: Callable[[], Any]) -> None:
    factory = TokenFactory()
    world = World(factory.settings())
    with frozen() as move:
        token = factory.token()
        assert world.get(token=token).status == 200
        move(630)
        assert world.get(token=token).reason == "expired"


SLOW = """
import time
import pytest

AT_IMPORT = time.time()

@pytest.fixture(scope="module")
def shared():
    return time.time()

@pytest.fixture(scope="session")
def shared_more(shared_by_all):
    return time.time()

@pytest.fixture(scope="session")
def shared_by_all():
    return time.time()

def test_it(shared, shared_more, shared_by_all):
    now = time.time()
    for made in (AT_IMPORT, shared, shared_more, shared_by_all):
        assert 7200 <= now - made < 7200 + 600
"""


@pytest.mark.long
def test_what_tests_share_is_as_old_as_it_is_told_to_be(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(SLOW)
    options = ("-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "--prepared", "7200")
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "1 passed" in run.stdout, run.stdout
