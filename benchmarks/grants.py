"""The grant that every store is measured with: a UUID's text as subject, a client and a scope."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager

from jwt_middleware.stores import new_grant_id
from jwt_middleware.values.tokens import FrozenDict, Grant

DAY = 86400  # seconds
NO_CLAIMS = FrozenDict()


def new_grant(claims: FrozenDict = NO_CLAIMS) -> Grant:
    """Return a grant that begins now, of a new subject."""
    now, subject = time.time(), str(uuid.uuid4())
    return Grant(
        id=new_grant_id(subject),
        subject=subject,
        client_id="web",
        scope="read write",
        claims=claims,
        bound_key=None,
        generation=1,
        parent=None,
        rotated_at=now,
        created_at=now,
        expires_at=now + 30 * DAY,
    )


@contextmanager
def one_core() -> Generator[None, None, None]:
    """Keep this process, and the servers that it starts meanwhile, on one core.

    Waking another core takes longer than the work that is compared, and which processes share a
    core is random.
    """
    if sys.platform != "linux":
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
