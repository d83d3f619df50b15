"""Every store is linearizable, as far as many short races of many threads and processes can show.

An engine is a line in `ENGINES`. The second half of this file is about the checker itself: what it
is to find it finds, in one process and in several, and where it finds nothing there is nothing. The
figures are in the log: `pytest tests/stores/test_linear.py -o log_cli=true -o log_cli_level=INFO`.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, combinations, permutations
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware.stores import Store
from jwt_middleware.stores.memory import MemoryStore
from tests.engines import postgres, redis
from tests.linear import __main__ as command
from tests.linear import checker, model
from tests.linear.broken import FAULTS, Unreliable
from tests.linear.checker import MOST, Operation, TooWide
from tests.linear.history import Engine, Fleet, History, NotLinearizable
from tests.linear.model import EMPTY, UNKNOWN, Answer, Call, State
from tests.linear.program import Plan, perform
from tests.stores import RETENTION

park = redis.park

SHORT, LONG = range(20), range(1000)  # seeds
SOON = 100  # histories in which any fault has shown

log = logging.getLogger(__name__)


# --- The engines


class Shared(NamedTuple):
    """A store that processes share: MODULE:CLASS with a `from_url`, the URL, how many processes."""

    kind: str
    url: Callable[[pytest.FixtureRequest], str]
    processes: int = 4


def file(request: pytest.FixtureRequest) -> str:
    return f"sqlite:///{request.getfixturevalue('tmp_path')}/grants.db?synchronous=NORMAL"


def in_schema(request: pytest.FixtureRequest) -> str:
    return with_tables(*(request.getfixturevalue(one) for one in ("postgres_url", "schema")))


def with_tables(url: str, schema: str) -> str:
    """Make the schema, and return the URL of a store in it."""
    with postgres.postgres(url, schema=schema) as store:
        store.check()
    return f"{url}{'&' if '?' in url else '?'}schema={schema}"


def on(topology: str, engine: str) -> Callable[[pytest.FixtureRequest], str]:
    def url(request: pytest.FixtureRequest) -> str:
        found: str = request.getfixturevalue("park")(topology, engine).url
        return found

    return url


POSTGRES, REDIS = "jwt_middleware.stores.postgres", "jwt_middleware.stores.redis"
ENGINES = {
    "memory": Shared("jwt_middleware.stores.memory:MemoryStore", lambda _: "memory://", 1),
    "sqlite": Shared("jwt_middleware.stores.sqlite:SQLiteStore", file),
    "postgresql": Shared(f"{POSTGRES}:PostgresStore", in_schema),
    "postgresql-async": Shared(f"{POSTGRES}:AsyncPostgresStore", in_schema),
    "redis": Shared(f"{REDIS}:RedisStore", on("single", "redis")),
    "valkey-async": Shared(f"{REDIS}:AsyncRedisStore", on("single", "valkey")),
    "cluster": Shared(f"{REDIS}:RedisStore", on("cluster", "valkey")),
    "cluster-async": Shared(f"{REDIS}:AsyncRedisStore", on("cluster", "valkey")),
    "sentinel": Shared(f"{REDIS}:RedisStore", on("sentinel", "redis")),
    "sentinel-async": Shared(f"{REDIS}:AsyncRedisStore", on("sentinel", "redis")),
}

# What is to be met in a run, or it would show little: verbs, and what they were answered.
MET = {
    ("add", "none is over the limit"),
    ("add", "ended others"),
    ("advance", "won"),
    ("advance", "lost"),
    ("advance", "has ended"),
    ("advance", "nothing there"),
    ("advance", "read"),
    ("end", "was alive"),
    ("end", "was not"),
    ("end_subject", "ended some"),
    ("grants", "none"),
    ("grants", "some"),
    ("is_living", "lives"),
    ("is_living", "doesn't"),
}


def outcome(one: Operation) -> str:
    """Return the kind of an answer, as `MET` calls it."""
    _, verb, args = one.call
    if one.answer == UNKNOWN:
        return UNKNOWN
    match verb:
        case "add":
            return "ended others" if one.answer else "none is over the limit"
        case "end":
            return "was alive" if one.answer else "was not"
        case "end_subject":
            return "ended some" if one.answer else "ended none"
        case "grants":
            return "some" if one.answer else "none"
        case "is_living":
            return "lives" if one.answer else "doesn't"
    advanced, row = one.answer
    if row is None:
        return "nothing there"
    if args[1] == args[2]:
        return "read"
    if advanced:
        return "won"
    return "has ended" if model.Row(*row).is_ended else "lost"


def width(operations: Iterable[Operation]) -> int:
    """Return how many operations were on their way at once."""
    ends = [(one.invoked, 1) for one in operations] + [(one.returned, -1) for one in operations]
    now = most = 0
    for _, change in sorted(ends):
        now += change
        most = max(most, now)
    return most


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> Generator[Fleet, None, None]:
    shared: Shared = request.param
    engine = Engine(shared.kind, shared.url(request))
    with Fleet(engine, shared.processes) as one:
        yield one


each_engine = pytest.mark.parametrize(
    "fleet",
    [
        pytest.param(shared, id=name, marks=pytest.mark.xdist_group(f"linear {server}"))
        for name, shared in ENGINES.items()
        for server in [name.removesuffix("-async")]
    ],
    indirect=True,
)


def show_linearizable(fleet: Fleet, seeds: Sequence[int], tmp_path: Path) -> None:
    met: Counter[tuple[str, str]] = Counter()
    widths, sizes, begun = [], [], time.monotonic()
    for seed in seeds:
        history = fleet.history(seed)
        met.update((one.call.verb, outcome(one)) for one in history.operations)
        widths.append(width(history.operations))
        sizes += [one.size for one in history.judge(tmp_path / f"{seed}.jsonl")]
    unknown = sum(count for (_, answer), count in met.items() if answer == UNKNOWN)
    elapsed = time.monotonic() - begun
    log.info("%d operations, %d unknown, %.1f s", met.total(), unknown, elapsed)
    assert set(met) >= MET, f"the histories show little: {met}"
    assert max(widths) >= 8, f"hardly anything met: {widths}"
    # Some two thousand were seen where a quick server lets more calls overlap.
    assert max(sizes) < MOST // 20, "the search grows: it has to be bounded better"


@each_engine
def test_a_store_is_linearizable(fleet: Fleet, tmp_path: Path) -> None:
    show_linearizable(fleet, SHORT, tmp_path)


@pytest.mark.long
@each_engine
def test_a_store_is_linearizable_in_a_thousand_histories(fleet: Fleet, tmp_path: Path) -> None:
    show_linearizable(fleet, LONG, tmp_path)


def test_what_gives_up_waiting_may_have_been_done_or_not(tmp_path: Path) -> None:
    """So short of time that many calls end in StoreUnavailable."""
    url = f"sqlite:///{tmp_path}/grants.db?synchronous=NORMAL&timeout=0.002"
    unknown = 0
    with Fleet(Engine("jwt_middleware.stores.sqlite:SQLiteStore", url), 4) as fleet:
        for seed in SHORT:
            history = fleet.history(seed)
            unknown += sum(one.answer == UNKNOWN for one in history.operations)
            history.judge(tmp_path / f"{seed}.jsonl")
    assert unknown > 0


# --- The checker finds what isn't linearizable, and says where


def race(store: Any, seed: int, threads: ThreadPoolExecutor) -> History:
    """Run a history in this process."""
    plan = Plan("here", seed)
    found = perform(store, plan, range(plan.threads), time.monotonic_ns() + 1_000_000, threads)
    return History(plan, tuple(found))


def expect_violation(
    history: Callable[[int], History], path: Path, seeds: Sequence[int] = range(SOON)
) -> None:
    def judge_all() -> None:
        for seed in seeds:
            history(seed).judge(path)

    with pytest.raises(NotLinearizable):
        judge_all()


each_fault = pytest.mark.parametrize("fault", FAULTS)


@each_fault
def test_a_fault_is_found(fault: Callable[[Any, float], Store], tmp_path: Path) -> None:
    store = fault(time.time, RETENTION)
    with ThreadPoolExecutor(32) as threads:
        expect_violation(lambda seed: race(store, seed, threads), tmp_path / "found.jsonl")


@each_fault
def test_a_fault_is_found_among_lost_answers(
    fault: Callable[[Any, float], Store], tmp_path: Path
) -> None:
    with ThreadPoolExecutor(32) as threads, ThreadPoolExecutor(32) as later:
        store = Unreliable(fault(time.time, RETENTION), later)
        expect_violation(lambda seed: race(store, seed, threads), tmp_path / "found.jsonl")


@pytest.mark.parametrize("kind", ["UpdatesWithoutSwap", "Remembers"])
def test_a_fault_between_processes_is_found(kind: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/grants.db?synchronous=NORMAL"
    with Fleet(Engine(f"tests.linear.broken:{kind}", url), 4) as fleet:
        expect_violation(fleet.history, tmp_path / "found.jsonl")


@pytest.mark.long
@pytest.mark.parametrize("function", ["add_grant", "end_grants"])
def test_a_lock_that_is_not_taken_is_found(
    function: str, postgres_url: str, schema: str, tmp_path: Path
) -> None:
    """In PostgreSQL a login is in no other statement's snapshot until it is committed."""
    url = with_tables(postgres_url, schema)
    for name in ("add_grant", "end_grants"):
        asked = f"SELECT pg_get_functiondef('{schema}.{name}'::regproc)"
        text = postgres.ask(postgres_url, asked)
        # To be slow is no fault, and one is found sooner.
        changed = text.replace("PERFORM set_config", "PERFORM pg_sleep(0.001), set_config")
        if name == function:
            changed = re.sub(r"PERFORM pg_advisory_xact_lock\(.*\);", "", changed)
        postgres.ask(postgres_url, changed)
    with Fleet(Engine(f"{POSTGRES}:PostgresStore", url), 4) as fleet:
        expect_violation(fleet.history, tmp_path / "found.jsonl", LONG)


def test_a_lost_answer_is_no_fault(tmp_path: Path) -> None:
    with ThreadPoolExecutor(32) as threads, ThreadPoolExecutor(32) as later:
        memory = MemoryStore(clock=time.time, retention=RETENTION)
        for seed in SHORT:
            history = race(Unreliable(memory, later), seed, threads)
            assert any(one.answer == UNKNOWN for one in history.operations)
            history.judge(tmp_path / f"{seed}.jsonl")


# --- Histories by hand: (who, verb, args, answer, invoked, returned), of one grant "a"


def made(*lines: tuple[str, str, tuple[Any, ...], Answer, int, int]) -> tuple[Operation, ...]:
    return tuple(
        Operation(who, Call("alice", verb, args), answer, invoked, returned)
        for who, verb, args, answer, invoked, returned in lines
    )


def a(generation: int, parent: str | None = None, end: str | None = None) -> model.Row:
    return model.Row("a", generation, parent, end is not None, end)


ADD = ("x", "add", ("a", 9), (), 0, 1)
READ = ("a", 1, 1, None)

LINEARIZABLE = {
    "nothing": (),
    "one after another": (
        ADD,
        ("x", "advance", ("a", 1, 2, "p"), (True, a(2, "p")), 2, 3),
        ("y", "end", ("a", "logout"), True, 4, 5),
        ("x", "advance", READ, (False, a(2, "p", "logout")), 6, 7),
        ("x", "grants", (), (), 8, 9),
    ),
    "of two at once one wins, whichever began first": (
        ADD,
        ("x", "advance", ("a", 1, 2, "p"), (False, a(2, "q")), 2, 9),
        ("y", "advance", ("a", 1, 2, "q"), (True, a(2, "q")), 3, 8),
    ),
    "a read before the write that had begun": (
        ADD,
        ("x", "advance", ("a", 1, 2, "p"), (True, a(2, "p")), 2, 9),
        ("y", "advance", READ, (False, a(1)), 3, 4),
        ("y", "advance", READ, (False, a(2, "p")), 5, 6),
    ),
    "one may end when the other begins": (
        ("x", "add", ("a", 9), (), 0, 2),
        ("y", "advance", READ, (False, None), 2, 3),
    ),
    "the older one is ended": (
        ADD,
        ("x", "add", ("b", 1), ("a",), 2, 9),
        ("y", "grants", (), (a(1),), 3, 4),
        ("y", "grants", (), (model.Row("b", 1, None, False, None),), 5, 6),
    ),
    "it lives until the end that had begun": (
        ADD,
        ("x", "end", ("a", "logout"), True, 2, 9),
        ("y", "is_living", ("a",), True, 3, 4),
        ("y", "is_living", ("a",), False, 5, 6),
    ),
    "unknown, and was done": (
        ADD,
        ("x", "advance", ("a", 1, 2, "p"), UNKNOWN, 2, 3),
        ("y", "advance", READ, (False, a(2, "p")), 4, 5),
    ),
    "unknown, and was not done": (
        ADD,
        ("x", "advance", ("a", 1, 2, "p"), UNKNOWN, 2, 3),
        ("y", "end", ("a", "logout"), True, 4, 5),
        ("y", "advance", READ, (False, a(1, None, "logout")), 6, 7),
    ),
    "unknown, and done when nobody waited any more": (
        ADD,
        ("x", "advance", ("a", 1, 2, "p"), UNKNOWN, 2, 3),
        ("y", "advance", READ, (False, a(1)), 4, 5),
        ("y", "advance", READ, (False, a(2, "p")), 6, 7),
    ),
}

# And which answer is the one that can't be.
IMPOSSIBLE = {
    "a read forgets what was answered": (
        (
            ADD,
            ("x", "advance", ("a", 1, 2, "p"), (True, a(2, "p")), 2, 3),
            ("y", "advance", READ, (False, a(1)), 4, 5),
        ),
        2,
    ),
    "what was seen is unseen": (
        (
            ADD,
            ("x", "advance", ("a", 1, 2, "p"), (True, a(2, "p")), 2, 20),
            ("y", "advance", READ, (False, a(2, "p")), 3, 4),
            ("z", "advance", READ, (False, a(1)), 5, 6),
        ),
        3,
    ),
    "two win one generation": (
        (
            ADD,
            ("x", "advance", ("a", 1, 2, "p"), (True, a(2, "p")), 2, 8),
            ("y", "advance", ("a", 1, 2, "q"), (True, a(2, "q")), 3, 9),
        ),
        2,
    ),
    "one loses to nobody": (
        (
            ADD,
            ("x", "advance", ("a", 1, 2, "p"), (True, a(2, "p")), 2, 9),
            ("y", "advance", ("a", 1, 2, "q"), (False, a(1)), 3, 8),
        ),
        2,
    ),
    "an end is not in force": (
        (
            ADD,
            ("x", "end", ("a", "logout"), True, 2, 3),
            ("y", "advance", ("a", 1, 2, "p"), (True, a(2, "p")), 4, 5),
        ),
        2,
    ),
    "it lives after its end": (
        (
            ADD,
            ("x", "end", ("a", "logout"), True, 2, 3),
            ("y", "is_living", ("a",), True, 4, 5),
        ),
        2,
    ),
    "two end one grant": (
        (
            ADD,
            ("x", "end", ("a", "logout"), True, 2, 8),
            ("y", "end", ("a", "logout"), True, 3, 9),
        ),
        2,
    ),
    "the reason changes": (
        (
            ADD,
            ("x", "end", ("a", "logout"), True, 2, 3),
            ("y", "end", ("a", "reused"), False, 4, 5),
            ("y", "advance", READ, (False, a(1, None, "reused")), 6, 7),
        ),
        3,
    ),
    "a grant from nowhere": (
        (("x", "advance", READ, (False, a(1)), 0, 1), ("y", "add", ("a", 9), (), 2, 3)),
        0,
    ),
    "the newest is ended for the limit": ((ADD, ("x", "add", ("b", 1), ("b",), 2, 3)), 1),
    "unknown, done, and then not done": (
        (
            ADD,
            ("x", "advance", ("a", 1, 2, "p"), UNKNOWN, 2, 3),
            ("y", "advance", READ, (False, a(2, "p")), 4, 5),
            ("y", "advance", READ, (False, a(1)), 6, 7),
        ),
        3,
    ),
    "done before it was asked for": (
        (
            ADD,
            ("y", "advance", READ, (False, a(2, "p")), 2, 3),
            ("x", "advance", ("a", 1, 2, "p"), UNKNOWN, 4, 5),
        ),
        1,
    ),
}


def judged(operations: Iterable[Operation]) -> checker.Verdict[State]:
    return checker.check(operations, EMPTY, model.step)


@pytest.mark.parametrize("lines", LINEARIZABLE.values(), ids=LINEARIZABLE)
def test_there_is_an_order(lines: tuple[Any, ...]) -> None:
    operations = made(*lines)
    verdict = judged(operations)
    assert verdict.violation is None
    assert is_order(verdict.order, operations)


@pytest.mark.parametrize(("lines", "where"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_there_is_no_order(lines: tuple[Any, ...], where: int) -> None:
    operations = made(*lines)
    verdict = judged(operations)
    assert verdict.violation is not None
    assert verdict.order == ()
    assert verdict.violation.operation == operations[where]


def is_order(order: Sequence[Operation], operations: Iterable[Operation]) -> bool:
    """Say whether this is an order as the definition wants it, without any search."""
    left, state = set(operations) - set(order), EMPTY
    if any(one.answer != UNKNOWN for one in left):
        return False
    for place, one in enumerate(order):
        if any(later.until < one.invoked for later in order[place:]):
            return False
        after = model.step(state, one.call, one.answer)
        if after is None:
            return False
        state = after
    return True


# --- Histories by chance


CALLS = st.one_of(
    st.tuples(st.just("add"), st.tuples(st.sampled_from("ab"), st.integers(1, 2))),
    st.tuples(
        st.just("advance"),
        st.tuples(
            st.sampled_from("ab"), st.integers(1, 3), st.integers(1, 3), st.sampled_from("pq")
        ),
    ),
    st.tuples(st.just("end"), st.tuples(st.sampled_from("ab"), st.sampled_from(("l", "r")))),
    st.tuples(st.just("end_subject"), st.just(("l",))),
    st.tuples(st.just("grants"), st.just(())),
    st.tuples(st.just("is_living"), st.tuples(st.sampled_from("ab"))),
).map(lambda one: Call("alice", *one))
SPREAD = st.integers(0, 40)


@given(st.lists(st.tuples(CALLS, SPREAD, SPREAD, st.sampled_from(("known", "done", "not done")))))
def test_what_happened_in_some_order_is_linearizable(
    run: list[tuple[Call, int, int, str]],
) -> None:
    """Each step happens at a point, ten apart, and its call lasts from before to after it."""
    state, operations = EMPTY, []
    for place, (call, before, after, known) in enumerate(run):
        answer: Answer = UNKNOWN
        if known != "not done":
            state, found = model.perform(state, call)
            answer = found if known == "known" else UNKNOWN
        times = (10 * place - before, 10 * place + after)
        operations.append(Operation(str(place), call, answer, *times))
    verdict = judged(operations)
    assert verdict.violation is None
    assert is_order(verdict.order, operations)


@given(st.lists(CALLS), CALLS, st.lists(CALLS))
def test_what_changes_nothing_now_changes_nothing_later(
    first: list[Call], call: Call, then: list[Call]
) -> None:
    """The model keeps what the checker's shortcut relies on."""
    state = EMPTY
    for one in first:
        state, _ = model.perform(state, one)
    after, answer = model.perform(state, call)
    if after != state:
        return
    for one in then:
        state, _ = model.perform(state, one)
        assert model.step(state, call, answer) in (None, state)


def by_chance(random: Random) -> tuple[Operation, ...]:
    """Return a few operations, with answers that came in an order that may be impossible."""
    calls = [
        Call("alice", "add", ("a", 9)),
        *random.choices(
            (
                Call("alice", "add", ("b", 1)),
                Call("alice", "advance", ("a", 1, 2, "p")),
                Call("alice", "advance", ("a", 1, 2, "q")),
                Call("alice", "advance", ("a", 2, 1, "r")),
                Call("alice", "advance", READ),
                Call("alice", "end", ("a", "logout")),
                Call("alice", "end_subject", ("logout",)),
                Call("alice", "grants", ()),
                Call("alice", "is_living", ("a",)),
            ),
            k=random.randint(1, 4),
        ),
    ]
    answers: dict[int, Answer] = {}
    state = EMPTY
    for number in random.sample(range(len(calls)), len(calls)):
        state, answers[number] = model.perform(state, calls[number])
    found = []
    for number, call in enumerate(calls):
        invoked = random.randrange(20)
        answer = random.choices((answers[number], UNKNOWN), (4, 1))[0]
        found.append(Operation(str(number), call, answer, invoked, invoked + random.randrange(15)))
    return tuple(found)


def has_order(operations: Sequence[Operation]) -> bool:
    """Try all orders of all that is known and any of what isn't."""
    known = [one for one in operations if one.answer != UNKNOWN]
    unknown = [one for one in operations if one.answer == UNKNOWN]
    done = chain.from_iterable(combinations(unknown, n) for n in range(len(unknown) + 1))
    return any(
        is_order(order, operations) for some in done for order in permutations((*known, *some))
    )


def test_it_finds_an_order_exactly_where_there_is_one() -> None:
    """Against the definition, in 3,000 small histories; the violation told is the first one."""
    found = Counter[bool]()
    for seed in range(3000):
        operations = by_chance(Random(seed))
        verdict = judged(operations)
        found[verdict.violation is None] += 1
        assert has_order(operations) is (verdict.violation is None), seed
        if verdict.violation is None:
            assert is_order(verdict.order, operations), seed
        else:
            assert is_first(verdict.violation, operations), seed
    assert min(found[True], found[False]) > 500, found


def is_first(violation: checker.Violation[State], operations: Iterable[Operation]) -> bool:
    """Say whether there is an order until that operation returns, and none with it."""
    until = violation.operation.until
    known = [one for one in operations if one.until < until]
    begun = [one for one in operations if one.until >= until and one.invoked <= until]
    others = [one for one in begun if one != violation.operation]
    may = [one._replace(answer=UNKNOWN) for one in others]
    return has_order([*known, *may]) and set(violation.meanwhile) == set(others)


def test_a_search_that_is_too_wide_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hundred logins whose outcome nobody knows, and one answer that can't be."""
    monkeypatch.setattr(checker, "MOST", 2000)
    lines = [("x", "add", (str(number), 9), UNKNOWN, 0, 1) for number in range(100)]
    with pytest.raises(TooWide, match="101 operations, and no end after 2000 looks"):
        judged(made(*lines, ("y", "grants", (), (a(7),), 2, 3)))


# --- What is said of a violation


def lost_update() -> History:
    plan = Plan("here", 0)
    subject = plan.subjects[0]
    first = plan.grants[subject][0]
    row = model.Row(first, 2, "p", False, None)
    lines = (
        ("0", "add", (first, 9), (), 0, 1_000_000),
        ("1", "grants", (), (model.Row(first, 1, None, False, None),), 1_100_000, 1_200_000),
        ("1", "advance", (first, 1, 2, "p"), (True, row), 2_000_000, 3_000_000),
        ("2", "end", (first, "reused"), UNKNOWN, 2_400_000, 3_400_000),
        ("3", "grants", (), (), 2_400_000, 9_400_000),
        (
            "2",
            "advance",
            (first, 1, 2, "q"),
            (True, row._replace(parent="q")),
            2_500_000,
            3_500_000,
        ),
    )
    operations = [one._replace(call=one.call._replace(subject=subject)) for one in made(*lines)]
    return History(plan, tuple(operations))


def test_a_violation_is_told_in_words_and_can_be_judged_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.jsonl"
    with pytest.raises(NotLinearizable) as found:
        lost_update().judge(path)
    assert (
        str(found.value)
        == f"""\
seed 0: no order explains these answers

      2.500 to     3.500   2: advance(alice/0, 1, 2, q) = True, <alice/0 2 of q>

  It would be False, <alice/0 2 of p> after all that was answered before; the last changes:

      0.000 to     1.000   0: add(alice/0, 9) = []
      2.000 to     3.000   1: advance(alice/0, 1, 2, p) = True, <alice/0 2 of p>

  That leaves <alice/0 2 of p>

  What else may have changed something, and was answered later:

      2.400 to     3.400   2: end(alice/0, reused) = unknown
again: python -m tests.linear {path}"""
    )
    assert History.load(path).operations == lost_update().operations
    with pytest.raises(NotLinearizable) as again:
        command.main(str(path))
    assert str(again.value) == str(found.value)
    sound = lost_update()
    sound._replace(operations=sound.operations[:-1]).save(path)
    command.main(str(path))
    assert capsys.readouterr().out == "linearizable: 5 operations, 0 operations\n"
