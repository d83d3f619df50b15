"""Old tokens once more, on PostgreSQL, Redis and Valkey, alone and in company."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engines import redis
from tests.grant import test_migration as of
from tests.grant.former import migration
from tests.grant.test_scenarios_engines import each_engine, kinds
from tests.issuing import Kind, World, opened
from tests.rules import accepts, refuses

park = redis.park

__all__ = ["kinds", "park"]
STORIES: dict[str, Callable[[World], None]] = {
    one.__name__.removeprefix("test_"): one
    for one in (
        of.test_an_old_refresh_token_begins_a_grant,
        of.test_however_often_it_comes_it_is_one_grant,
        of.test_an_old_token_after_two_rotations_is_a_second_holder,
        of.test_a_log_out_cant_be_undone,
        of.test_who_logs_out_with_the_old_token_alone_is_out,
        of.test_an_end_of_all_logins_ends_the_old_tokens_of_a_user,
        of.test_a_mass_end_ends_what_was_issued_before,
        of.test_unused_for_the_idle_limit_it_is_over,
    )
}


@accepts("RT-33")
@refuses("RT-33")
@each_engine
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_an_old_token_leads_to_one_grant(
    story: Callable[[World], None], kinds: tuple[Kind, ...]
) -> None:
    with opened(kinds, refresh={"migrate": migration()}) as world:
        story(world)
