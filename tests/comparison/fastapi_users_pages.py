"""FastAPI Users with its JWT strategy, over a bearer transport and over its cookie."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
from fastapi_users.authentication import (
    AuthenticationBackend,
    BearerTransport,
    CookieTransport,
    JWTStrategy,
)
from starlette.testclient import TestClient

from tests.comparison import rows


@dataclass
class User:
    email: str = "alice@example.com"
    hashed_password: str = ""
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    is_active: bool = True
    is_superuser: bool = False
    is_verified: bool = True


class Table:
    """A table of one user, which counts the questions."""

    def __init__(self, user: User) -> None:
        self.user, self.asked = user, 0

    async def get(self, id: uuid.UUID) -> User | None:
        self.asked += 1
        return self.user if id == self.user.id else None

    async def get_by_email(self, email: str) -> User | None:
        return self.user if email == self.user.email else None


class Manager(UUIDIDMixin, BaseUserManager[Any, uuid.UUID]):
    pass


def application(transport: Any, secret: str = rows.SECRET) -> tuple[TestClient, Table]:
    table = Table(User())

    async def manager() -> AsyncIterator[Manager]:
        found = Manager(table)  # type: ignore[arg-type]
        table.user.hashed_password = found.password_helper.hash("pw")
        yield found

    strategy: Any = JWTStrategy(secret=secret, lifetime_seconds=3600)
    backend = AuthenticationBackend("jwt", transport, lambda: strategy)
    users = FastAPIUsers[Any, uuid.UUID](manager, [backend])
    app = FastAPI()
    app.include_router(users.get_auth_router(backend))
    current = users.current_user(active=True)

    @app.api_route("/me", methods=["GET", "POST"])
    async def me(user: Annotated[Any, Depends(current)]) -> str:
        return str(user.email)

    return TestClient(app, base_url="https://testserver"), table


def main() -> None:
    form = {"username": "alice@example.com", "password": "pw"}
    client, table = application(BearerTransport(tokenUrl="login"))
    answer = client.post("/login", data=form).json()
    assert set(answer) == {"access_token", "token_type"}
    bearer = {"Authorization": f"Bearer {answer['access_token']}"}
    assert client.get("/me", headers=bearer).status_code == 200
    questions = table.asked
    assert client.post("/logout", headers=bearer).status_code == 204
    after = client.get("/me", headers=bearer).status_code
    browser, _ = application(CookieTransport())
    browser.post("/login", data=form)
    forged = browser.post("/me").status_code
    assert (after, forged) == (200, 200)
    short = application(BearerTransport(tokenUrl="login"), rows.SHORT)[0]
    none = "has no refresh tokens"
    rows.tell(
        "fastapi-users",
        {
            rows.TYP: f"`{jwt.get_unverified_header(answer['access_token'])['typ']}`",
            rows.ALG: JWTStrategy(rows.SECRET, 60).algorithm,
            rows.WEAK: rows.warned(lambda: short.post("/login", data=form)),
            rows.CONFUSED: none,
            rows.RENEWED: none,
            rows.LOST: none,
            rows.REUSED: none,
            rows.LOGGED_OUT: "served until `exp`; its other strategies ask a store",
            rows.ASKED: f"{questions}, for the user",
            rows.COOKIE: "served: `SameSite=Lax` is the protection",
        },
    )


if __name__ == "__main__":
    main()
