"""The site's own tables. Logins aren't among them: they stand in the middleware's store."""

from uuid import uuid4

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

Database = sessionmaker()  # create_app says which
ROLES = ("reader", "editor", "admin")


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"

    # It stands in tokens, so it must never become another user's. A name may be given anew, and so
    # does SQLite with the number of a row that was deleted.
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: uuid4().hex)
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(default="reader")


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"), index=True)
    text: Mapped[str]
