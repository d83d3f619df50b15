"""The functions that flows may ask for, in both kinds; and how sync code calls and waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..grant.ports import Ports
from ..keys.signer import ExternalKey
from ..keys.waits import result_within
from ..settings.settings import Settings
from ..stores.contract import STORE_VERBS
from ..values.flows import Flow, run
from ..values.tokens import Hidden
from .hooks import SYNC_KIND, Hooks, asynchronous, is_async, unawaited
from .live_store import LiveStore

if TYPE_CHECKING:
    from .awaiting import Awaiting


class Waiting:
    """How sync code calls and waits (WSGI, and `issue`): in the thread that it runs in."""

    drive = carry = staticmethod(run)
    wait = staticmethod(result_within)

    def __init__(self, store: Any) -> None:
        self._store = store

    def call_verb(self, verb: str, args: tuple[Any, ...]) -> Any:
        """Call a verb of the store. Raises what it raises, and ConfigurationError."""
        # Only its answer shows that a decorated verb is async. Nothing has been done then.
        return unawaited(getattr(self._store, verb)(*args), f"{verb} is")

    def call(self, threads: str, hook: Callable[..., Any], args: Hidden[tuple[Any, ...]]) -> Any:
        """Call a function of the application's. Raises what it raises."""
        return hook(*args.value)

    sync = staticmethod(LiveStore.sync)
    begin_sync = staticmethod(LiveStore.join)


def ports(
    kind: Waiting | Awaiting, settings: Settings, hooks: Hooks, store: LiveStore | None
) -> Ports:
    """Return the functions that flows ask for. Those of the async kind must be awaited."""

    def driven(flow: Callable[..., Flow[Any]], *given: Any) -> Callable[..., Any]:
        return lambda *args: kind.drive(flow(*given, *args))

    found: dict[str, Any] = {
        "find_key": lambda keys, *args: kind.drive(keys.finding(kind.wait, *args)),
        "renew_keys": lambda keys, *args, **options: kind.drive(
            keys.renewing(kind.wait, *args, **options)
        ),
        "sign": driven(hooks.sign, kind),
    }
    if settings.issuer_for is not None:
        found["find_issuer"] = driven(hooks.find_issuer, kind, settings.issuer_for)
    group = settings.refresh
    if group is not None and store is not None:
        verbs = {verb: driven(store.call, kind.call_verb, verb) for verb in STORE_VERBS}
        found |= {
            "store": SimpleNamespace(**verbs),
            "sync": partial(kind.sync, store),
            "begin_sync": partial(kind.begin_sync, store),
        }
        if group.claims_for is not None:
            found["claims_for"] = driven(hooks.answer, kind, "claims_for", group.claims_for)
        migration = group.migrate
        if migration is not None and migration.is_blocked is not None:
            found["is_blocked"] = driven(hooks.answer, kind, "is_blocked", migration.is_blocked)
        if migration is not None and migration.subject is not None:
            found["former_subject"] = driven(hooks.answer, kind, "subject", migration.subject)
    return Ports(**found)


def check_waits(settings: Settings, store: Any) -> None:
    """Check that sync code has nothing async to call. Raises ConfigurationError."""
    group, signer = settings.refresh, settings.keys.signer
    migration = group.migrate if group is not None else None
    sign = signer.signer.sign if group is not None and isinstance(signer, ExternalKey) else None
    for field, call, subject, remedy in (
        ("issuer_for", settings.issuer_for, "is", "use def"),
        ("refresh.store", getattr(store, "advance", None), "is", SYNC_KIND),
        ("refresh.claims_for", group.claims_for if group is not None else None, "is", "use def"),
        (
            "refresh.migrate.is_blocked",
            migration.is_blocked if migration else None,
            "is",
            "use def",
        ),
        ("refresh.migrate.subject", migration.subject if migration else None, "is", "use def"),
        ("keys", sign, "their signer is", "use def"),
    ):
        if call is not None and is_async(call):
            raise asynchronous(field, subject, remedy)
