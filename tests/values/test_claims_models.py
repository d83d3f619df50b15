"""`AccessToken.claims_as`: claims become an object only if they are what its annotations say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, ValidationError

from jwt_middleware import AccessToken
from jwt_middleware.values.tokens import FrozenDict


@dataclass(frozen=True)
class Address:
    city: str


@dataclass(frozen=True)
class Staff:
    sub: str
    roles: list[str]
    level: int | None = None
    ratio: float = 0.0
    plan: Literal["free", "paid"] = "free"
    tags: frozenset[str] = frozenset()
    seats: tuple[int, ...] = ()
    rooms: dict[str, int] = field(default_factory=dict)
    more: dict = field(default_factory=dict)
    several: list = field(default_factory=list)
    address: Address | None = None
    anything: Any = None
    made: str = field(default="here", init=False)


def token(**claims: Any) -> AccessToken:
    return AccessToken(FrozenDict({"sub": "alice", "roles": ("editor",), **claims}))


def test_claims_become_an_object_by_name() -> None:
    found = token(
        level=3,
        ratio=1,
        plan="paid",
        tags=("a", "b"),
        seats=(1, 2),
        rooms=FrozenDict(a=1),
        more=FrozenDict(x=("y",)),
        several=(1, "x"),
        address=FrozenDict(city="Ulm", zip="89073"),
        anything=FrozenDict(deep=(1,)),
        iss="left out",
    ).claims_as(Staff)
    assert found == Staff(
        sub="alice",
        roles=["editor"],
        level=3,
        ratio=1,
        plan="paid",
        tags=frozenset("ab"),
        seats=(1, 2),
        rooms={"a": 1},
        more={"x": ["y"]},
        several=[1, "x"],
        address=Address(city="Ulm"),
        anything={"deep": [1]},
    )
    assert found.made == "here"
    assert type(found.roles) is list  # one's own, to change
    assert token().claims_as(Staff) == Staff(sub="alice", roles=["editor"])


@pytest.mark.parametrize(
    "claims",
    [
        {"roles": "no admin"},  # `"admin" in roles` would be true
        {"roles": FrozenDict(admin=True)},
        {"roles": ("editor", 1)},
        {"sub": 1},
        {"level": True},
        {"level": "3"},
        {"level": 3.5},
        {"ratio": "1"},
        {"plan": "gold"},
        {"plan": None},
        {"tags": "ab"},
        {"tags": (FrozenDict(),)},
        {"seats": (1, "2")},
        {"rooms": ("a",)},
        {"rooms": FrozenDict(a="1")},
        {"address": "Ulm"},
        {"address": FrozenDict()},
        {"roles": None},
    ],
    ids=str,
)
def test_a_claim_of_another_type_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(claims))}|Address"):
        token(**claims).claims_as(Staff)


def test_a_claim_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"Staff\.roles: the token has no such claim"):
        AccessToken(FrozenDict(sub="alice")).claims_as(Staff)


@dataclass
class Unclear:
    pair: tuple[int, str]


@dataclass
class SetOfAnything:
    tags: set


def test_what_cannot_be_checked_is_refused_whatever_the_token_says() -> None:
    with pytest.raises(TypeError, match=r"Unclear\.pair.*pydantic"):
        token(pair=(1, "a")).claims_as(Unclear)
    with pytest.raises(TypeError, match="no dataclass"):
        token().claims_as(dict)
    with pytest.raises(ValueError, match="can't be in a set"):
        token(tags=(FrozenDict(),)).claims_as(SetOfAnything)
    assert token(tags=("a", "a")).claims_as(SetOfAnything) == SetOfAnything({"a"})


class StaffModel(BaseModel):
    sub: str
    roles: list[str]


class StaffStruct(msgspec.Struct):
    sub: str
    roles: list[str]


@pytest.mark.parametrize("model", [StaffModel, StaffStruct])
def test_models_of_other_libraries_check_values_themselves(model: type[Any]) -> None:
    found = token().claims_as(model)
    assert (found.sub, found.roles) == ("alice", ["editor"])
    for wrong in ({"roles": "admin"}, {"sub": 5}):
        with pytest.raises(ValueError, match=r"roles|sub") as caught:
            token(**wrong).claims_as(model)
        assert isinstance(caught.value, ValidationError) is (model is StaffModel)
