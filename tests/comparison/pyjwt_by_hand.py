"""PyJWT alone: what it does when nothing but the key, the algorithm and the names are given."""

from __future__ import annotations

import time

import jwt

from tests.comparison import rows


def main() -> None:
    claims = {"iss": "login", "aud": "api", "sub": "alice", "exp": int(time.time()) + 60}
    token = jwt.encode(claims, rows.SECRET, algorithm="HS256")

    def decode(text: str, algorithms: tuple[str, ...] | None = ("HS256",)) -> object:
        return jwt.decode(text, rows.SECRET, algorithms, audience="api", issuer="login")

    assert decode(token)
    refresh = jwt.encode({**claims, "kind": "refresh"}, rows.SECRET, algorithm="HS256")
    assert decode(refresh)  # whose claim `kind` is it? The caller's to look at
    yours = "yours to write"
    rows.tell(
        "pyjwt",
        {
            rows.TYP: f"`{jwt.get_unverified_header(token)['typ']}`",
            rows.ALG: "none: " + rows.warned(lambda: decode(token, algorithms=None)),
            rows.WEAK: rows.warned(lambda: jwt.encode(claims, rows.SHORT, algorithm="HS256")),
            rows.CONFUSED: "served, until you look at a claim",
            rows.RENEWED: yours,
            rows.LOST: yours,
            rows.REUSED: yours,
            rows.LOGGED_OUT: "served until `exp`",
            rows.ASKED: "0",
            rows.COOKIE: "has no cookies",
        },
    )


if __name__ == "__main__":
    main()
