"""A record is to its users what a dataclass with the same fields is."""

import copy
import inspect
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import (
    FrozenInstanceError,
    asdict,
    astuple,
    dataclass,
    field,
    fields,
    is_dataclass,
    replace,
)
from functools import partial
from typing import Any, ClassVar, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware import AccessToken, Settings, TrustedIssuer
from jwt_middleware.values.later import pattern, record


def build(make: Callable[..., Any], **options: bool) -> Any:
    """Return a class with every kind of field, made by one of the two."""

    class Both:
        """What both are made of."""

        kind: ClassVar[str] = "both"
        sort = "of both"

        one: int = field(kw_only=False)
        two: str
        three: tuple[int, ...] = ()
        four: float = field(default=4.0, repr=False, metadata={"minimum": 0})
        five: list[int] | None = field(default=None, compare=False)
        six: int = field(init=False, default=6)

        def __post_init__(self) -> None:
            if self.one < 0:
                raise ValueError("one")

        @property
        def twice(self) -> int:
            return 2 * self.one

    Both.__qualname__ = "Both"
    return make(**options)(Both)


def dataclasses(**options: bool) -> Callable[[type], Any]:
    return dataclass(frozen=True, **{"slots": True, "kw_only": True, **options})


# Each record, and the dataclass that it is to be like.
PAIRS = {
    "slots": (build(record), build(dataclasses)),
    "dict": (build(record, slots=False), build(dataclasses, slots=False)),
    "identity": (build(record, eq=False), build(dataclasses, eq=False)),
}
each_pair = pytest.mark.parametrize(("ours", "theirs"), PAIRS.values(), ids=PAIRS)

# Classes that pickle can find, as it finds all of ours.
Slotted, Open = build(record), build(record, slots=False)
for name, cls in (("Slotted", Slotted), ("Open", Open)):
    cls.__qualname__ = cls.__name__ = name


@record
class Base:
    first: int
    second: int = 2


@record(kw_only=False, eq=False)
class Derived(Base):
    third: int = 3

    def __repr__(self) -> str:
        return "own"


def outcome(call: Callable[[], Any]) -> object:
    """Return what a call says, be it an error."""
    try:
        return call()
    except (AttributeError, TypeError, ValueError) as error:
        return type(error), str(error)


ARGUMENTS = st.dictionaries(
    st.sampled_from(["one", "two", "three", "four", "five", "six", "seven"]),
    st.integers(-1, 3) | st.just("text") | st.just((1, 2)),
)


@each_pair
@given(args=st.lists(st.integers(-1, 3), max_size=3), named=ARGUMENTS)
def test_it_takes_the_same_arguments(
    ours: Any, theirs: Any, args: list[int], named: dict[str, Any]
) -> None:
    def made_by(cls: Any) -> object:
        return outcome(lambda: astuple(cls(*args, **named)))

    assert made_by(ours) == made_by(theirs)
    assert outcome(lambda: repr(ours(*args, **named))) == outcome(
        lambda: repr(theirs(*args, **named))
    )


@each_pair
@given(
    left=st.tuples(st.integers(0, 1), st.sampled_from("ab"), st.integers(0, 1)),
    right=st.tuples(st.integers(0, 1), st.sampled_from("ab"), st.integers(0, 1)),
)
def test_it_compares_alike(ours: Any, theirs: Any, left: Any, right: Any) -> None:
    def compared(cls: Any) -> tuple[bool, ...]:
        a, b = (cls(one, two=two, five=[five]) for one, two, five in (left, right))
        hashes = cls.__hash__ is object.__hash__ or hash(a) == hash(b)
        return a == b, a != b, a == a, a == 1, hashes, len({a, b}) == 1

    assert compared(ours) == compared(theirs)


@each_pair
def test_it_looks_the_same(ours: Any, theirs: Any) -> None:
    def seen(cls: Any) -> object:
        value = cls(1, two="b", five=[5])
        return (
            [(one.name, one.type, one.default, one.metadata, one.init) for one in fields(cls)],
            asdict(value),
            replace(value, one=2).twice,
            outcome(lambda: replace(value, six=7)),
            outcome(lambda: replace(value, one=-1)),
            is_dataclass(cls),
            cls.__match_args__,
            inspect.signature(cls),
            cls.__doc__,
            cls.kind,
            get_type_hints(cls),
            hasattr(value, "__dict__"),
            hasattr(value, "__weakref__"),
            getattr(cls, "__slots__", None),
            outcome(lambda: cls.three) == (),
        )

    assert seen(ours) == seen(theirs)


@each_pair
@pytest.mark.parametrize("name", ["one", "six", "twice", "other"])
def test_it_is_frozen(ours: Any, theirs: Any, name: str) -> None:
    del theirs  # one with slots raises a TypeError for what is no field
    value = ours(1, two="b")
    with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(value, name, 3)
    with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(value, name)


@pytest.mark.parametrize("cls", [Slotted, Open])
def test_it_is_copied_and_pickled(cls: Any) -> None:
    value = cls(1, two="b", five=[5])
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.copy(value) == value
    deep = copy.deepcopy(value)
    assert (deep, deep.five) == (value, [5])
    assert deep.five is not value.five
    assert value.__replace__(one=2).one == 2
    if sys.version_info >= (3, 13):
        assert copy.replace(value, one=2).one == 2


def test_a_default_may_be_made_for_each() -> None:
    @record
    class Made:
        one: list[int] = field(default_factory=list)
        two: list[int] = field(init=False, default_factory=list)

    assert (Made().one, Made().two) == ([], [])
    assert Made().one is not Made().one
    assert Made().two is not Made().two
    assert Made(one=[1]).one == [1]
    assert replace(Made(), one=[1]) == Made(one=[1])
    assert fields(Made)[0].default_factory is list
    assert str(inspect.signature(Made)) == "(*, one: list[int] = <factory>) -> None"


def test_a_record_may_have_the_fields_of_another() -> None:
    value = Derived(third=4, first=1)
    assert (value.first, value.second, value.third) == (1, 2, 4)
    assert [one.name for one in fields(Derived)] == ["first", "second", "third"]
    assert repr(value) == "own"
    assert repr(Base(first=1)) == "Base(first=1, second=2)"
    with pytest.raises(FrozenInstanceError):
        value.first = 3  # type: ignore[misc]


def test_a_subclass_has_attributes_of_its_own() -> None:
    class Plain(Base):
        def __init__(self, first: int) -> None:
            super().__init__(first=first)
            self.more = 1

    value = Plain(7)
    assert (value.first, value.second, value.more) == (7, 2, 1)
    del value.more
    assert not hasattr(value, "more")
    with pytest.raises(FrozenInstanceError):
        value.first = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del value.first  # pyright: ignore[reportAttributeAccessIssue]


def test_a_dataclass_may_be_made_of_a_record() -> None:
    @dataclass(frozen=True, kw_only=True)
    class More(Base):
        third: int = 3

    value = More(first=1)
    assert asdict(value) == {"first": 1, "second": 2, "third": 3}
    assert value == More(first=1)
    assert value != Base(first=1)


def test_annotations_of_its_initializer_are_those_of_its_module() -> None:
    for cls in (Settings, TrustedIssuer, AccessToken):
        hints = get_type_hints(cls.__init__)
        assert hints.pop("return") is type(None)
        assert hints == {name: get_type_hints(cls)[name] for name in hints}
        assert set(inspect.signature(cls, eval_str=True).parameters) == set(hints)


def test_its_signature_is_known_before_it_is_made() -> None:
    assert inspect.signature(build(record)) == inspect.signature(build(dataclasses))


def test_another_thread_may_be_sooner() -> None:
    cls = build(record)
    begin, look = vars(cls)["__init__"], vars(cls)["__repr__"]
    value = cls(1, two="b")
    shown = repr(value)
    late = cls.__new__(cls)
    begin.__get__(late, cls)(1, two="b")
    assert late == value
    assert look.__get__(late, cls)() == shown


def test_threads_may_be_the_first_together() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(20):
                cls = build(record)
                call = partial(lambda cls, _: (cls(1, two="b"), repr(cls(1, two="b"))), cls)
                assert len(set(pool.map(call, range(8)))) == 1
    finally:
        sys.setswitchinterval(before)


def test_nothing_is_compiled_before_it_is_needed() -> None:
    cls = build(record)
    assert not inspect.isfunction(vars(cls)["__init__"])
    cls(1, two="b")
    assert inspect.isfunction(vars(cls)["__init__"])
    assert not inspect.isfunction(vars(cls)["__repr__"])


@record(kw_only=False, guarded=False)
class Quick:
    one: int
    two: str = ""


def test_what_is_not_guarded_is_made_and_compared_like_the_others() -> None:
    value = Quick(1, two="b")
    assert (value.one, value.two, repr(value)) == (1, "b", "Quick(one=1, two='b')")
    assert value == Quick(1, "b") != Quick(1)
    assert hash(value) == hash(Quick(1, "b"))
    assert replace(value, one=2) == Quick(2, "b")
    assert pickle.loads(pickle.dumps(value)) == value
    value.one = 3  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    assert value.one == 3


@pytest.mark.parametrize("text", ["a+", b"a+"])
def test_a_pattern_is_compiled_once(text: Any) -> None:
    found = pattern(text)
    assert found() is found()
    assert found().fullmatch(text[:1] * 3)
    assert not found().fullmatch(text)
