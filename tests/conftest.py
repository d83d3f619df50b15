"""What every test shares: one event loop backend, how hard Hypothesis tries, and no skips in CI."""

import gc
import os
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING, cast

import pytest
import time_machine
from hypothesis import HealthCheck, settings

import jwt_middleware
from tests.told import Told, known_secrets

if TYPE_CHECKING:
    from tests.issuing import Clock, World
    from tests.keyserver import KeyServer

# Their asserts are a test's own.
pytest.register_assert_rewrite("tests.wrapped", "tests.world", "tests.clients")

# Two busy cores make no statement about slowness: a test has the time-out of pyproject.toml only.
settings.register_profile(
    "default", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
# CI judges a change, so it must not fail by luck; `make long` seeks new counterexamples.
settings.register_profile(
    "ci", settings.get_profile("default"), derandomize=True, database=None, print_blob=True
)
settings.register_profile("long", settings.get_profile("default"), max_examples=2000)

# Set by nearly every CI service. "false" and "0" are how people switch it off.
CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if CI else "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--prepared",
        type=float,
        default=0,
        metavar="SECONDS",
        help="prepare what tests share that long ago: no test may depend on how old it is",
    )
    parser.addoption(
        "--load",
        type=float,
        default=3,
        metavar="SECONDS",
        help="how long processes live at each engine and pooler",
    )


@contextmanager
def _earlier(config: pytest.Config) -> Generator[None]:
    """Let the clock be behind by what `--prepared` says, with all that Python asks for the time."""
    seconds = config.getoption("--prepared")
    if not seconds or time_machine.escape_hatch.is_travelling():  # one sets up another
        yield
        return
    with time_machine.travel(time.time() - seconds, tick=True):
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Import the test modules: on a slow machine that is long before their last test."""
    with _earlier(session.config):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Set up what several tests share: the last of them may come long after."""
    if fixturedef.scope == "function":
        return (yield)
    with _earlier(request.config):
        return (yield)


# What tests write, they remove: in memory nothing waits for a disk that others are busy with, too.
# Where a container has little of it, or lets no program run from it, the disk is taken as ever.
MEMORY, ROOM = Path("/dev/shm"), 2 << 30  # octets
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK):
    about = os.statvfs(MEMORY)
    if about.f_bavail * about.f_frsize > ROOM and not about.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # it is asked for anew

# They search for counterexamples or start servers, and reach no line that others don't reach.
# To be traced at each line would take half of their time.
NOT_COVERING = {
    "test_client_faults",
    "test_engine_versions",
    "test_fleet",
    "test_linear",
    "test_pooled_load",
    "test_rotation_model",
    "test_rotation_under_load",
    "test_scenarios_engines",
    "test_switching",
}

# A test that did not run, or may fail, shows nothing.
NOT_SHOWN = ("skipped", "xfailed", "xpassed")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a parameter without its address: the workers must agree on the names of all tests."""
    if " at 0x" in repr(val):
        return getattr(val, "__name__", type(val).__name__)
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep groups together: from 9.2 on pytest doesn't read what xdist writes (its issue 1386)."""
    for item in items:
        if item.path.stem in NOT_COVERING:
            item.add_marker("no_cover")
        fields = vars(item)
        if "_nodeid" in fields and hasattr(item, "_id"):
            item._id = type(item._id).parse(fields["_nodeid"])


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Load the whole package while it is traced, and spare the collector what lives to the end.

    A module that a test of NOT_COVERING was the first to need would count as never loaded.
    """
    import_module("tests.django.project")  # parts of the bridges to Django can't be loaded without
    for module in walk_packages(jwt_middleware.__path__, "jwt_middleware."):
        if not module.name.endswith("__main__"):  # it runs
            import_module(module.name)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def told() -> Iterator[Told]:
    """Fail the run if anything that was logged or told in it holds a token or a secret."""
    one = Told()
    with one.watching():
        yield one
    assert one.tokens == []
    assert one.secrets(known_secrets()) == []


@pytest.fixture
def world() -> Iterator["World"]:
    """Give an issuer with both doors and a store in memory."""
    from tests.issuing import opened

    with opened() as one:
        yield one


@pytest.fixture
def clock() -> "Clock":
    """Give a clock that stands until it is moved."""
    from tests.issuing import Clock

    return Clock()


@pytest.fixture
def server() -> Iterator["KeyServer"]:
    """Give a server that publishes keys."""
    from tests.keyserver import KeyServer

    with KeyServer() as one:
        yield one


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Give the address of a PostgreSQL server, one for all tests of a worker."""
    from tests.engines import postgres

    with postgres.shared() as url:
        yield url


@pytest.fixture
def schema(postgres_url: str) -> Iterator[str]:
    """Give the name of a schema that isn't there yet."""
    from tests.engines import postgres

    with postgres.fresh_schema(postgres_url) as name:
        yield name


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, which all the servers that we test with use."""
    return "asyncio"


def _not_shown(config: pytest.Config) -> list[str]:
    """Return a line for every test, or module, that was skipped or expected to fail."""
    reporter = cast("pytest.TerminalReporter", config.pluginmanager.get_plugin("terminalreporter"))
    return [
        f"{outcome}: {report.nodeid}"
        for outcome in NOT_SHOWN
        for report in reporter.stats.get(outcome, ())
    ]


# Not in the workers of xdist: they report to this process, and only it sees everything.
if CI and "PYTEST_XDIST_WORKER" not in os.environ:

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(session: pytest.Session) -> None:
        """Fail a run in which anything was skipped: in CI a skip is a hole that nobody sees."""
        if _not_shown(session.config) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        """Name what was skipped, loudly."""
        if lines := _not_shown(config):
            terminalreporter.section("SKIPPED OR XFAILED, WHICH CI FORBIDS", red=True, bold=True)
            for line in lines:
                terminalreporter.line(line, red=True)
