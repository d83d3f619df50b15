"""The notes: scopes in the routes and beside endpoints, and roles as they are now."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, HTTPException, Request

from jwt_middleware.fastapi import CurrentToken, RequireScope

from .users import SCOPES, Users

router = APIRouter(prefix="/api")


class Board:
    """What hangs on the board. Yours is a database."""

    def __init__(self) -> None:
        self.notes: list[dict[str, str]] = [{"by": "the house", "text": "Welcome!"}]


@router.get("/notes", tags=["notes"])
async def read(request: Request) -> list[dict[str, str]]:
    """Return the notes. `/api/notes/*` needs `notes:read`: settings.py."""
    board: Board = request.app.state.board
    return board.notes


@router.post("/notes", status_code=201, dependencies=[RequireScope("notes:write")], tags=["notes"])
async def write(
    text: Annotated[str, Body(embed=True, max_length=200)], token: CurrentToken, request: Request
) -> dict[str, str]:
    """Put up a note: it needs `notes:write`, too, which stands beside the endpoint."""
    note = {"by": token.subject, "text": text}
    request.app.state.board.notes.append(note)
    request.app.state.chat.tell(f"{token.subject} has put up a note")
    return note


async def must_be_admin(token: CurrentToken) -> None:
    """Look at the role in the token, which is at most ten minutes old.

    The scope `admin` says what this login was given; the role says what the user is by now.
    """
    if token.claims["role"] != "admin":
        raise HTTPException(403, "your role isn't admin any more")


@router.put(
    "/admin/users/{name}/role",
    status_code=204,
    dependencies=[Depends(must_be_admin)],
    tags=["admin"],
)
def change_role(name: str, role: Annotated[str, Body(embed=True)], request: Request) -> None:
    """Change a user's role, from the user's next refresh on."""
    users: Users = request.app.state.users
    if role not in SCOPES:
        raise HTTPException(422, "there is no such role")
    if not users.change_role(name, role):
        raise HTTPException(404, "there is no such user")


@router.post(
    "/admin/users/{name}/logout",
    status_code=204,
    dependencies=[Depends(must_be_admin)],
    tags=["admin"],
)
async def log_out(name: str, request: Request) -> None:
    """End all logins of a user now: what is open is closed, and no token is good any more."""
    await request.app.state.issuer.arevoke_all(name)
