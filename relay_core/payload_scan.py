"""May the C encoder have this payload? It writes NaN as null, bytes as base64, drops colliding keys, and knows no bounds."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import TYPE_CHECKING, Any, Final, cast

from relay_core.payload_types import type_of

if TYPE_CHECKING:
    from relay_core.payload_limits import Bounds

__all__ = ["KEY_CHARS", "Scan"]

_NATIVE: Final = frozenset({dt.date, dt.timedelta, uuid.UUID, decimal.Decimal})
KEY_CHARS: Final = 1024
_NODES: Final = 200_000


class Scan:
    """Looks at every value of one frozen payload.

    Args:
        limits: how large it may be.
        holder: the type that holds a part frozen before; `parts` collects its instances.

    Example:
        >>> from relay_core.payloads import Frozen, Limits
        >>> scan = Scan(Limits(), Frozen)
        >>> scan.clean({"a": [1, "x"]}, 64), scan.clean({1: 2}, 64), scan.clean([b"x"], 64)
        (True, False, False)
    """

    __slots__ = ("_chars", "_holder", "_items", "_nodes", "_string", "parts")

    def __init__(self, limits: Bounds, holder: type) -> None:
        self._chars = limits.max_bytes
        self._items = limits.max_items
        self._string = limits.max_string
        self._nodes = _NODES
        self._holder = holder
        self.parts: list[Any] = []

    def clean(self, obj: Any, depth: int) -> bool:  # noqa: C901, PLR0912  # calls in this loop would double its time
        """Tell whether `msgspec.json.encode` gives what is wanted.

        Args:
            obj: what `relay_core.payloads.freeze` gave.
            depth: how many levels it may have.

        Returns:
            False where something has to be bounded or marked.

        Example:
            See `Scan`.
        """
        kind = type_of(obj)
        if kind is dict:
            values: Any = cast("dict[Any, Any]", obj).values()
            for key in cast("dict[Any, Any]", obj):
                if type(key) is not str or len(key) > KEY_CHARS:
                    return False
        elif kind is list or kind is tuple:
            values = obj
        else:
            return self._atom(obj, kind)
        self._nodes -= len(obj)
        if len(obj) > self._items or depth <= 0 or self._nodes < 0:
            return False
        string, total = self._string, 0
        for value in values:
            kind = type_of(value)
            if kind is str:
                size = len(value)
                if size > string:
                    return False
                total += size
            elif value is None or kind is bool:
                continue
            elif kind is dict or kind is list or kind is tuple:
                if not self.clean(value, depth - 1):
                    return False
            elif not self._atom(value, kind):
                return False
        self._chars -= total
        return self._chars >= 0

    def _atom(self, value: Any, kind: type) -> bool:
        if kind is float:
            return value - value == 0.0
        if kind is int:
            return -(2**63) <= value < 2**64
        if kind is self._holder:
            self.parts.append(value)
            return True
        if kind is dt.datetime or kind is dt.time:
            return value.tzinfo is None or type(value.tzinfo) is dt.timezone
        return value is None or kind is bool or kind in _NATIVE or (kind is str and len(value) <= self._string)
