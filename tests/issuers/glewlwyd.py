"""Debian's Glewlwyd, with a configuration and a database of its own: nothing of the system's."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.core.issuers.served import ISSUERS
from tests.issuers import CLIENT, SECRET, Front, Real, answer_of, key_pair, serving
from tests.processes import HOST, free_port

HOME = "https://glewlwyd.example.com"
SCHEMA = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")  # with an administrator
MODULES = "/usr/lib/glewlwyd"
SCOPES = ("api.read", "api.write")
PASSWORD = "correct horse"
CONFIGURATION = """
port = {port}
bind_address = "{host}"
external_url = "{home}/"
login_url = "login.html"
api_prefix = "api"
log_mode = "console"
log_level = "WARNING"
cookie_secure = 1
session_key = "GLEWLWYD2_SESSION_ID"
session_expiration = 3600
admin_session_authentication = "cookie"
login_api_enabled = true
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "{modules}/user"
client_module_path = "{modules}/client"
user_auth_scheme_module_path = "{modules}/scheme"
plugin_module_path = "{modules}/plugin"
hash_algorithm = "SHA512"
database = {{ type = "sqlite3" path = "{database}" }};
"""


def _configure(front: Front) -> None:
    """Log in as the administrator, and make a plugin, scopes, a client and a user."""

    def post(what: str, **members: Any) -> None:
        answer = front.client.post(f"{HOME}/api/{what}/", json=members)
        assert answer.status_code == 200, f"{what}: {answer.text}"

    post("auth", username="admin", password="password")  # as the schema makes it
    private, public = key_pair()
    flows = dict.fromkeys(("code", "id-token", "password", "client", "refresh"), True)
    flows |= dict.fromkeys(("token", "none"), False)
    parameters = {
        "iss": ISSUERS["Glewlwyd"].issuer,
        "jwt-type": "rsa",
        "jwt-key-size": "256",
        "key": private,
        "cert": public,
        "access-token-duration": 3600,
        "refresh-token-duration": 86400,
        "code-duration": 600,
        "refresh-token-rolling": True,
        "allow-non-oidc": True,
        "subject-type": "public",
        **{f"auth-type-{name}-enabled": is_on for name, is_on in flows.items()},
    }
    post("mod/plugin", module="oidc", name="oidc", display_name="oidc", parameters=parameters)
    for scope in SCOPES:
        post("scope", name=scope, display_name=scope, password_required=True, scheme={})
    post(
        "client",
        client_id=CLIENT,
        name=CLIENT,
        confidential=True,
        token_endpoint_auth_method=["client_secret_basic"],
        password=SECRET,
        enabled=True,
        authorization_type=["client_credentials", "password"],
        scope=SCOPES,
    )
    user = {"username": "alice", "name": "Alice", "password": PASSWORD, "enabled": True}
    post("user", **user, scope=["openid", *SCOPES])


@contextmanager
def glewlwyd(folder: Path) -> Generator[Real]:
    """Run it. A token without a resource is for its scopes: another scope is another audience."""
    program = shutil.which("glewlwyd")
    if program is None:
        pytest.skip("no glewlwyd on the PATH: apt-get install glewlwyd")
    database, port, log = folder / "glewlwyd.db", free_port(), folder / "log"
    with closing(sqlite3.connect(database)) as made:
        made.executescript(SCHEMA.read_text("utf-8"))
    (folder / "glewlwyd.conf").write_text(
        CONFIGURATION.format(port=port, host=HOST, home=HOME, modules=MODULES, database=database)
    )
    token = f"{ISSUERS['Glewlwyd'].issuer}/token"
    with serving((program, "-c", str(folder / "glewlwyd.conf")), port, log) as front:
        _configure(front)
        clients = [
            answer_of(front, token, grant_type="client_credentials", scope=scope)
            for scope in SCOPES
        ]
        user = {"username": "alice", "password": PASSWORD, "scope": "openid api.read"}
        version = subprocess.check_output([program, "--version"], text=True).strip()
        yield Real(
            version=f"Glewlwyd {version}",
            front=front,
            access=clients[0]["access_token"],
            for_another=clients[1]["access_token"],
            id_token=answer_of(front, token, grant_type="password", **user)["id_token"],
        )
