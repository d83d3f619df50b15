"""One library of Python that makes proofs of a key (DPoP), driven as its documentation says.

It is started as `python provers.py LIBRARY URL ALGORITHM`, hears lines of JSON and says some, as
`provers.mjs` does. It runs in an environment of its own, which has the libraries and nothing else.
"""

# pyright: reportMissingImports=false

import json
import sys
from typing import Any

Said = dict[str, Any]
CLIENT = "web"


class RequestsOauth2Client:
    """It makes the proofs of tokens and of token requests, and tries again with a nonce."""

    def __init__(self, base: str, algorithm: str) -> None:
        from requests_oauth2client import DPoPKey, OAuth2Client

        self._base = base
        self._key = DPoPKey.generate(alg=algorithm)
        self._at_login, self._client = (
            OAuth2Client(
                token_endpoint=f"{base}{path}",
                client_id=CLIENT,
                testing=True,  # it takes http for tests only
            )
            for path in ("/login", "/auth/refresh")
        )
        self._token: Any = None

    def log_in(self) -> Said:
        self._token = self._at_login.resource_owner_password(
            "alice", "secret", dpop=True, dpop_key=self._key
        )
        return self._said()

    def refresh(self) -> Said:
        self._token = self._client.refresh_token(self._token)
        return self._said()

    def get(self, path: str) -> Said:
        import requests

        answer = requests.get(f"{self._base}{path}", auth=self._token)
        return {"status": answer.status_code, **answer.json()}

    def _said(self) -> Said:
        names = ("access_token", "refresh_token", "token_type")
        return {name: getattr(self._token, name) for name in names}


LIBRARIES = {"requests-oauth2client": RequestsOauth2Client}


def main(library: str, base: str, algorithm: str) -> None:
    client = LIBRARIES[library](base, algorithm)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            match asked["do"]:
                case "log in":
                    said = client.log_in()
                case "refresh":
                    said = client.refresh()
                case _:
                    said = client.get(asked["path"])
        except Exception as error:  # noqa: BLE001
            said = {"error": type(error).__name__, "says": str(error)}
        print(json.dumps(said), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
