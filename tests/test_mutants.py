"""Each fault that was made on purpose is noticed by a test, and by the one that is named for it."""

from pathlib import Path

import pytest

from tests.mutants import FAILED, Mutant, copied, mutants, run

EVERY = mutants()


def test_every_mutant_applies_to_the_package_as_it_is() -> None:
    assert [problem for one in EVERY if (problem := one.problem())] == []
    assert len({one.name for one in EVERY}) == len(EVERY)
    assert all(one.tests and one.allows and one.old != one.new for one in EVERY)


@pytest.mark.long
@pytest.mark.parametrize("mutant", EVERY, ids=lambda one: one.name)
def test_no_mutant_lives(mutant: Mutant, tmp_path: Path) -> None:
    mutant.apply(copied(tmp_path))
    status, told = run(tmp_path, mutant.tests)
    assert status == FAILED, f"{mutant.name} allows: {mutant.allows}\n{told}"


@pytest.mark.long
def test_the_tests_that_notice_pass_without_a_mutant(tmp_path: Path) -> None:
    named = dict.fromkeys(name for one in EVERY for name in one.tests)
    status, told = run(copied(tmp_path), tuple(named))
    assert status == 0, told
