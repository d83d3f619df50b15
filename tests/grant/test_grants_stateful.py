"""Whatever is done with grants, in whatever order: what rotation and revocation promise holds.

Every step goes through a WSGI door before memory and an ASGI door before a file, which must answer
byte for byte alike.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from jwt_middleware import Grant
from jwt_middleware.values.events import Refreshed, Restored, Reused
from tests.grant.test_rt_exchange import claims_of
from tests.issuing import DAY, HOUR, MINUTE, Kind, Site, memory, opened, sqlite

KINDS: tuple[Kind, ...] = (("wsgi", memory), ("asgi", sqlite))
# The limits are narrow, so that all of them are met.
GATE = 2 * HOUR / 10  # of the idle limit
LIMITS = {"idle_limit": 2 * HOUR, "absolute_limit": 5 * HOUR, "grants_per_subject": 3}
SUBJECTS = st.sampled_from(["alice", "bob"])
SECONDS = st.sampled_from([1, 30, 10 * MINUTE, HOUR, 2 * HOUR + 1, DAY])


def restarted(site: Site) -> None:
    if any(site.folder.iterdir()):
        site.restart()


class Token:
    """A refresh token that was answered once, and the access token that came with it."""

    def __init__(self, text: str, access: str) -> None:
        self.text = text
        claims = claims_of(text)
        self.grant_id: str = claims["sid"]
        self.generation: int = claims["gen"]
        self.issued_at: float = claims["iat"]
        self.jti: str = claims["jti"]
        self.access = access

    def __repr__(self) -> str:
        return f"<token {self.jti[:4]} of {self.grant_id[:4]}, {self.generation}>"


def unused_at(row: Grant, token: Token) -> float:
    """Return the last moment at which the token's grant isn't gone for want of use."""
    used = max(row.rotated_at, row.last_used_at or 0, token.issued_at)
    return used + LIMITS["idle_limit"] + GATE


class Grants(RuleBasedStateMachine):
    """Logins, refreshes with any token ever seen, revocations, time, and restarts."""

    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world = self.stack.enter_context(
            opened(KINDS, refresh={**LIMITS, "sync_wait": 30})
        )  # a machine may be busy
        self.rows: dict[str, Grant] = {}  # as each was when it was last seen
        self.ends: dict[str, float] = {}  # the absolute end, as it was at the login
        self.all: list[Token] = []
        # By grant and generation: the one `jti` that was exchanged for the next.
        self.exchanged: dict[tuple[str, int], str] = {}

    def teardown(self) -> None:
        self.stack.close()

    def _take(self, found: Any, old: Token | None = None) -> Token:
        # RFC 6749 s6: where no refresh token comes, the client keeps the one it has.
        text = found.get("refresh_token", old and old.text)
        token = Token(text, found["access_token"])
        self.all.append(token)
        return token

    @initialize(target=tokens, subject=SUBJECTS)
    def first_login(self, subject: str) -> Any:
        return self.login(subject)

    @rule(target=tokens, subject=SUBJECTS)
    def login(self, subject: str) -> Token:
        token = self._take(self.world.login(subject))
        self.ends[token.grant_id] = self.world.clock.now + LIMITS["absolute_limit"]
        return token

    def row(self, token: Token) -> Grant | None:
        """Return a grant that is not past its absolute end: later its row may be forgotten."""
        if self.world.clock.now >= self.ends[token.grant_id]:
            return None
        return self.world.row(token.grant_id)

    def is_alive(self, token: Token) -> bool:
        row = self.row(token)
        return row is not None and row.ended_at is None

    @rule(target=tokens, subject=SUBJECTS, old=tokens)
    def login_again(self, subject: str, old: Token) -> Token:
        token = self._take(self.world.login(subject, replaces=old.text))
        self.ends[token.grant_id] = self.world.clock.now + LIMITS["absolute_limit"]
        assert not self.is_alive(old)
        return token

    @rule(target=tokens, token=tokens, count=st.integers(1, 3))
    def use(self, token: Token, count: int) -> Token:
        """Refresh some times, as a client does."""
        for _ in range(count):
            self.world.clock.forward(61)
            token = self.refresh(token)
        return token

    @rule(target=tokens, token=tokens)
    def present(self, token: Token) -> Token:
        return self.refresh(token)

    @rule(target=tokens, token=tokens, later=st.sampled_from([0, 61]))
    def present_twice_and_use_both(self, token: Token, later: float) -> Any:
        """Lose an answer, or be two holders."""
        self.world.clock.forward(61)
        answers = [self.refresh(token), self.refresh(token)]
        self.world.clock.forward(later)
        return multiple(*[self.refresh(one) for one in answers])

    def refresh(self, token: Token) -> Token:
        """Present a token, and look at what became of it."""
        before = self.row(token)
        answer = self.world.refresh(token.text)
        after = self.row(token)
        if answer.status != 200:
            assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
            self._check_refusal(token, before, after, answer.events)
            return token
        (event,) = answer.events
        assert isinstance(event, Refreshed), "no store has lost anything"
        assert before is not None
        assert after is not None
        assert before.ended_at is None
        assert self.world.clock.now <= unused_at(before, token)
        leads_on = self.exchanged.get((token.grant_id, token.generation))
        match event.how:
            case "rotated":
                # One line: of a generation one token leads on, and only once.
                assert leads_on is None
                assert self.world.clock.now >= token.issued_at + MINUTE
                self.exchanged[token.grant_id, token.generation] = token.jti
                assert (token.generation, after.parent) == (before.generation, token.jti)
                assert after.generation == before.generation + 1
            case "repeated":
                assert after == replace(before, last_used_at=after.last_used_at)
                assert (leads_on, token.generation) == (token.jti, before.generation - 1)
            case "kept":
                assert after == replace(before, last_used_at=after.last_used_at)
                assert token.generation == before.generation
                assert self.world.clock.now < token.issued_at + MINUTE
        # A served refresh is a use, recorded at most once a gate.
        recorded = max(after.rotated_at, after.last_used_at or 0)
        assert self.world.clock.now - recorded < GATE
        new = self._take(answer.json, token)
        # What a 200 carries works, at once.
        assert self.world.call(new.access).status == 200
        assert new.generation == after.generation
        return new

    def _check_refusal(
        self, token: Token, before: Grant | None, after: Grant | None, events: tuple[Any, ...]
    ) -> None:
        if isinstance(events[0], Reused):
            assert before is not None
            assert after is not None
            assert (before.ended_at, after.end_reason) == (None, "reused")
            # Somebody else holds what came of this token or of its sibling.
            is_parent = self.exchanged[token.grant_id, token.generation] == token.jti
            assert token.generation < before.generation - is_parent
            return
        assert after == before
        if before is not None and before.ended_at is None:
            assert self.world.clock.now > unused_at(before, token)

    @rule(token=tokens, how=st.sampled_from(["log out", "by access token", "revoke"]))
    def end(self, token: Token, how: str) -> None:
        before = self.row(token)
        if before is None:
            return  # past its absolute end: one store has forgotten it, and another not yet
        if how == "revoke":
            was_alive = self.world.each(lambda site: site.ask("revoke", token.grant_id))
            assert was_alive or before.ended_at is not None
        else:
            text = token.text if how == "log out" else token.access
            is_known = how == "log out" or self.world.call(text).status == 200
            assert self.world.revoke(text).status == 200
            if not is_known:
                assert self.row(token) == before
                return
        assert not self.is_alive(token)
        assert self.world.call(token.access).status == 401

    @rule(subject=SUBJECTS)
    def revoke_all(self, subject: str) -> None:
        before = {one.id for one in self.living(subject)}
        ended = self.world.each(lambda site: tuple(sorted(site.ask("revoke_all", subject))))
        assert set(ended) == before
        assert self.living(subject) == ()

    def living(self, subject: str) -> tuple[Grant, ...]:
        found: tuple[Grant, ...] = self.world.each(lambda site: site.ask("grants", subject))
        return found

    @rule(seconds=SECONDS)
    def let_time_pass(self, seconds: float) -> None:
        self.world.clock.forward(seconds)

    @rule()
    def restart(self) -> None:
        # On the same file; memory ends with its process.
        self.world.each(restarted)

    @invariant()
    def generations_only_grow_and_ended_stays_ended(self) -> None:
        for token in {token.grant_id: token for token in self.all}.values():
            row = self.row(token)
            if row is None:
                continue
            before = self.rows.get(row.id, row)
            assert row.generation >= before.generation
            assert row.expires_at == before.expires_at == self.ends[row.id]
            assert before.ended_at is None or row == before
            self.rows[row.id] = row

    @invariant()
    def an_access_token_opens_while_its_grant_lives_and_no_longer(self) -> None:
        for token in self.all[-4:]:
            claims = claims_of(token.access)
            assert claims["exp"] <= self.ends[token.grant_id]
            is_young = self.world.clock.now < claims["exp"] + 30  # the leeway
            row = self.world.row(token.grant_id) if is_young else None
            answer = self.world.call(token.access)
            is_alive = row is not None and row.ended_at is None
            assert (answer.status == 200) is is_alive, answer.reason

    @invariant()
    def nobody_has_more_grants_than_the_limit(self) -> None:
        for subject in ("alice", "bob"):
            living = self.living(subject)
            assert len(living) <= LIMITS["grants_per_subject"]
            assert all(one.ended_at is None for one in living)
            assert all(self.world.clock.now < one.expires_at for one in living)

    @invariant()
    def nothing_is_restored(self) -> None:
        assert not [one for one in self.world.events if isinstance(one, Restored)]


TestGrants = Grants.TestCase
# A step is some 20 requests through two doors: a fifth of the examples that others have.
TestGrants.settings = settings(
    max_examples=settings().max_examples // 5,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow],
)
