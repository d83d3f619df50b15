"""What a change of settings does to logins that are bound to a key or to a device."""

from __future__ import annotations

from collections.abc import Iterator

from .. import Cookies, Settings
from .lines import Line


def key_changes(old: Settings, new: Settings) -> Iterator[Line]:
    """Yield what happens to logins that are bound to a key, and to those that aren't."""
    before, after = old.proofs, new.proofs
    if before is not None and after is None:
        yield Line(
            "FAIL",
            "proofs",
            "who has a login that is bound to a key gets 503 at each refresh, and keeps it unused",
            "keep `proofs`; a new login without a proof is bound to no key",
        )
    if before is not None and after is not None:
        gone = [one for one in before.algorithms if one not in after.algorithms]
        if gone:
            yield Line(
                "warn",
                "proofs",
                f"clients whose key is for {', '.join(gone)} can't refresh: they log in anew",
                "keep these algorithms",
            )
    if after is not None and after.required and not (before is not None and before.required):
        yield Line(
            "warn",
            "proofs",
            "access tokens that are bound to no key open no route any more: such clients log in "
            "anew, with a proof",
            "first have all clients log in with a key, then required=True",
        )


def device_changes(before: Cookies | None, after: Cookies | None) -> Iterator[Line]:
    """Yield what happens to logins that are bound to a browser's device."""
    if before is None or after is None:
        return  # told elsewhere
    if before.device_bound and not after.device_bound:
        yield Line("ok", "cookies", "logins that were bound to a device go on unbound")
    if after.device_bound and not before.device_bound:
        yield Line(
            "ok",
            "cookies",
            "logins of before stay bound to no device; a process of a version that doesn't know "
            "device_bound drops the marks of others",
        )
