"""Debian's LemonLDAP::NG: its portal under plackup, with a configuration of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.core.issuers.served import ISSUERS
from tests.issuers import CLIENT, REDIRECT, SECRET, Real, answer_of, key_pair, serving
from tests.processes import HOST, free_port

PORTAL = Path("/usr/share/lemonldap-ng/portal")
PACKAGES = (
    "liblemonldap-ng-portal-perl libplack-perl libio-string-perl libmime-tools-perl "
    "libstring-random-perl libcrypt-openssl-bignum-perl libcrypt-openssl-rsa-perl"
)
ANOTHER = "another-web"
USER = "dwho"  # one of its demonstration's, whose passwords are their names
FILES = """
[all]
logLevel = warn
[configuration]
type = File
dirName = {folder}/conf
localStorage = Cache::FileCache
localStorageOptions = {{ 'namespace' => 'conf', 'cache_root' => '{folder}/cache' }}
[portal]
templateDir = {portal}/templates
languages = en
"""


def _party(client: str) -> dict[str, object]:
    """Return what is set for one relying party."""
    options = {
        "ClientID": client,
        "ClientSecret": SECRET,
        "RedirectUris": REDIRECT,
        "AccessTokenJWT": 1,
        "AccessTokenSignAlg": "RS256",
        "IDTokenSignAlg": "RS256",
        "AllowPasswordGrant": 1,
        "UserIDAttr": "uid",
    }
    return {f"oidcRPMetaDataOptions{name}": value for name, value in options.items()}


def _configure(folder: Path, issuer: str, scope: str) -> None:
    """Write its two files, and make the folders that they name."""
    for name in ("conf", "cache", "sessions/lock"):
        (folder / name).mkdir(parents=True)
    private, public = key_pair()
    sessions = folder / "sessions"
    configuration = {
        "cfgNum": 1,
        "cfgDate": 1_700_000_000,  # without one it counts as no configuration
        "portal": f"{issuer}/",
        "domain": "example.org",
        "authentication": "Demo",
        "userDB": "Same",
        "passwordDB": "Null",
        "registerDB": "Null",
        "captcha": "::Main::Plugin",  # a plugin that does nothing: the usual one draws pictures
        "key": SECRET,
        "whatToTrace": "uid",
        "demoExportedVars": {"uid": "uid", "cn": "cn", "mail": "mail"},
        "locationRules": {"auth.example.org": {"default": "accept"}},
        "globalStorage": "Apache::Session::File",
        "globalStorageOptions": {"Directory": f"{sessions}", "LockDirectory": f"{sessions}/lock"},
        "localSessionStorageOptions": {"namespace": "sessions", "cache_root": f"{folder}/cache"},
        "issuerDBOpenIDConnectActivation": 1,
        "oidcServiceMetaDataIssuer": issuer,
        "oidcServicePrivateKeySig": private,
        "oidcServicePublicKeySig": public,
        "oidcRPMetaDataOptions": {name: _party(name) for name in (CLIENT, ANOTHER)},
        "oidcRPMetaDataExportedVars": {CLIENT: {}, ANOTHER: {}},
        "oidcRPMetaDataScopeRules": {name: {scope: "1"} for name in (CLIENT, ANOTHER)},
    }
    (folder / "conf" / "lmConf-1.json").write_text(json.dumps(configuration))
    (folder / "files.ini").write_text(FILES.format(folder=folder, portal=PORTAL))


@contextmanager
def lemonldap(folder: Path) -> Generator[Real]:
    """Run it. The audience of a token is its client."""
    program, portal = shutil.which("plackup"), PORTAL / "htdocs" / "index.psgi"
    if program is None or not portal.exists():
        pytest.skip(f"no LemonLDAP::NG: apt-get install {PACKAGES}")
    one, port = ISSUERS["LemonLDAP::NG"], free_port()
    _configure(folder, one.issuer, one.scope)
    command = (program, "--host", HOST, "--port", "{port}", str(portal))
    files, token = {"LLNG_DEFAULTCONFFILE": f"{folder}/files.ini"}, f"{one.issuer}/oauth2/token"
    user = {"username": USER, "password": USER, "scope": f"openid {one.scope}"}
    code = "use Lemonldap::NG::Portal; print $Lemonldap::NG::Portal::VERSION"
    with serving(command, port, folder / "log", **files) as front:
        ours, others = (
            answer_of(front, token, client=client, grant_type="password", **user)
            for client in (CLIENT, ANOTHER)
        )
        yield Real(
            version=f"LemonLDAP::NG {subprocess.check_output(['perl', '-e', code], text=True)}",
            front=front,
            access=ours["access_token"],
            for_another=others["access_token"],
            id_token=ours["id_token"],
            # It names the session of a browser, and there is none here.
            differs={"ID token's claims": {"sid: str"}},
        )
