"""What a server starts: `uvicorn fastapi_site.main:app`. README.md says what is needed first."""

import logging
import os
from pathlib import Path

from jwt_middleware import ConnectionCut, KeySet

from .app import make_app
from .settings import make_settings
from .users import Users

users = Users(Path("users.db"))
settings = make_settings(
    os.environ.get("SITE_URL", "http://localhost:8000"),  # what the browser shows
    KeySet.load("keys.json"),
    users,
    store="sqlite:///grants.db",
)
app = make_app(settings, users, Path("archive.bin"))


def is_no_cut(record: logging.LogRecord) -> bool:
    """Keep out of the log what was cut on purpose: servers take it for a fault of the site."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConnectionCut))


logging.getLogger("uvicorn.error").addFilter(is_no_cut)
