"""Read-only JSON: what one request reads, no request can change."""

from typing import TYPE_CHECKING, Any, NoReturn


class FrozenDict(dict[str, Any]):
    """A JSON object that can't be changed: a `dict` to read, to compare and to serialize.

    A verified token is handed to many requests, so its claims must stay what was signed.
    Arrays inside are tuples. `dict(claims)` gives a copy to change.
    """

    __slots__ = ()

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("claims are read-only: change a copy, dict(claims)")

    if not TYPE_CHECKING:  # to a type checker it is a dict, which is what readers take it for
        __setitem__ = __delitem__ = __ior__ = _refuse
        clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type["FrozenDict"], tuple[dict[str, Any]]]:
        return FrozenDict, (dict(self),)

    def copy(self) -> "FrozenDict":
        """Return this very object: there is nothing that a copy could protect."""
        return self
