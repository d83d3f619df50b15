"""Run tests of Django's own with our middleware in `MIDDLEWARE`: those of its client, and of users.

    python -m tests.django.own_suite LOCK FOLDER

They come with Django's source, not with its wheel. LOCK is the file of requirements, with hashes,
that the installed Django is from; FOLDER is where its source is put. It needs pip and setuptools.
All paths are public, so that nothing but our presence can change what the tests see. A few ask for
a path with a space or an accent, which no rule can make public: these requests get a token.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

ROOT = Path(__file__).parent.parent.parent
SUITES = (
    *("test_client", "test_client_regress", "handlers", "asgi", "async", "middleware"),
    *("middleware_exceptions", "csrf_tests", "sessions_tests", "requests_tests", "auth_tests"),
)
AUTHENTICATION = '    "django.contrib.auth.middleware.AuthenticationMiddleware",\n'
SETTINGS = """
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.utils.decorators import sync_and_async_middleware
from jwt_middleware import Route
from jwt_middleware.request.route import CANONICAL
from jwt_middleware.testing import TokenFactory

TOKENS = TokenFactory()
JWT_MIDDLEWARE = TOKENS.settings(routes=(Route("/", public=True), Route("/*", public=True)))


@sync_and_async_middleware
def with_token(get_response):
    def middleware(request):
        if not CANONICAL.fullmatch(request.path_info):
            request.META["HTTP_AUTHORIZATION"] = TOKENS.bearer()["Authorization"]
        return get_response(request)

    if iscoroutinefunction(get_response):
        markcoroutinefunction(middleware)
    return middleware
"""


def source(lock: Path, folder: Path) -> Path:
    """Return the folder of the tests of the installed version, fetched if it isn't there."""
    tests = folder / f"django-{django.__version__}" / "tests"
    if tests.is_dir():
        return tests
    entry = re.search(r"^django==.*(?:\n {4}.*)*", lock.read_text("utf-8"), re.MULTILINE)
    assert entry is not None
    assert entry[0].startswith(f"django=={django.__version__} "), "another Django is installed"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as one:
        print(entry[0], file=one, flush=True)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"),
                *("--no-deps", "--no-binary", "django", "--no-build-isolation"),
                *("--dest", str(folder), "-r", one.name),
            ],
            check=True,
        )
    with tarfile.open(next(folder.glob(f"[dD]jango-{django.__version__}.tar.gz"))) as packed:
        packed.extractall(folder, filter="data")
    return tests


def main() -> int:
    """Return 0 where all tests pass."""
    tests = source(Path(sys.argv[1]), Path(sys.argv[2]))
    runner = (tests / "runtests.py").read_text("utf-8")
    assert runner.count(AUTHENTICATION) == 1
    ours = AUTHENTICATION + '    "ours.with_token", "jwt_middleware.django.JWTMiddleware",\n'
    (tests / "run_ours.py").write_text(runner.replace(AUTHENTICATION, ours), "utf-8")
    (tests / "ours.py").write_text(
        (tests / "test_sqlite.py").read_text("utf-8") + SETTINGS, "utf-8"
    )
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "run_ours.py", "--settings=ours", "--parallel=1", *SUITES],
        cwd=tests,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
