"""The careful snapshot: bounded in time, depth and width, for values that the C encoder may not or cannot copy."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from relay_core.payload_hooks import KEEP, Note, key_text, reduce_object
from relay_core.payload_types import mro_of, type_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["walk"]

# The C methods of the base classes, whatever a subclass overrides; one name for the type checker.
_dict: Any = dict
_list: Any = list
_tuple: Any = tuple
_set: Any = set
_frozenset: Any = frozenset

_BUDGET: Final = 0.015  # seconds of the caller's thread; a busy machine must not cost records
_LOOK_EVERY: Final = 128  # values between two looks at the clock
_STACK: Final = 100  # levels; the default depth limit is lower
_PLAIN: Final = frozenset(map(id, (str, int, float, bool, type(None), Note, *KEEP)))
_KEYS: Final = frozenset(map(id, (str, int, float, bool, type(None))))


def walk(obj: Any, max_depth: int, max_items: int, passed: tuple[type, ...] = ()) -> Any:
    """Copy any object to plain values within about 15 ms; what does not fit is replaced by a `Note`.

    Args:
        obj: any object. None of its own code runs.
        max_depth: deepest level that is copied.
        max_items: widest container that is copied whole.
        passed: further types that are kept by identity.

    Returns:
        Atoms, lists, dictionaries and notes.

    Example:
        >>> ring = []
        >>> ring.append(ring)
        >>> walk(ring, 64, 100)[0].fields
        {'cycle': True}
    """
    return _Walk(min(max_depth, _STACK), max_items, frozenset(map(id, passed))).value(obj, 0)


class _Walk:
    __slots__ = ("_countdown", "_deadline", "_max_depth", "_max_items", "_passed", "_path", "_spent")

    def __init__(self, max_depth: int, max_items: int, passed: frozenset[int]) -> None:
        self._max_depth = max_depth
        self._max_items = max_items
        self._passed = _PLAIN | passed
        self._path: set[int] = set()
        self._deadline = time.thread_time() + _BUDGET
        self._countdown = _LOOK_EVERY
        self._spent = False

    def value(self, obj: Any, depth: int) -> Any:
        if id(type_of(obj)) in self._passed:
            return obj
        if depth >= self._max_depth:
            return Note({"depth": depth})
        if id(obj) in self._path:
            return Note({"cycle": True})
        self._path.add(id(obj))
        try:
            return self._container(obj, depth)
        except Exception:  # noqa: BLE001  # a container that changes in another thread, an exotic type
            return Note({"unreadable": True})
        finally:
            self._path.discard(id(obj))

    def _container(self, obj: Any, depth: int) -> Any:
        mro = mro_of(type_of(obj))
        for base in mro:
            if base is dict:
                return self._dict(obj, depth)
            if base is list:
                return self._list(_list.__iter__(obj), _list.__len__(obj), depth)
            if base is tuple:
                return self._list(_tuple.__iter__(obj), _tuple.__len__(obj), depth)
            if base is set:
                return self._list(_set.__iter__(obj), _set.__len__(obj), depth)
            if base is frozenset:
                return self._list(_frozenset.__iter__(obj), _frozenset.__len__(obj), depth)
        plain = reduce_object(obj)
        if type(plain) is Note:
            if plain.rest is not None:
                rest = self.value(plain.rest, depth)
                plain.rest = rest if type(rest) is dict else {"rest": rest}
            return plain
        return self.value(plain, depth)

    def _list(self, items: Iterable[Any], size: int, depth: int) -> list[Any]:
        out: list[Any] = []
        try:
            for item in islice(items, self._max_items):
                if self._out_of_time():
                    break
                out.append(self.value(item, depth + 1))
        except RuntimeError:  # another thread changed it meanwhile; what is missing is said below
            size = max(size, len(out) + 1)
        if len(out) < size:
            out.append(self._cut(size, len(out)))
        return out

    def _dict(self, obj: dict[Any, Any], depth: int) -> Any:
        size = _dict.__len__(obj)
        out: dict[Any, Any] = {}
        kinds: dict[str, None] = {}
        same: dict[str, int] = {}
        try:
            for key, value in islice(_dict.items(obj), self._max_items):
                if self._out_of_time():
                    break
                name = key
                if id(type_of(key)) not in _KEYS:
                    name, kind = key_text(key)
                    kinds[kind] = None
                name = _free(name, out, same)
                out[name] = self.value(value, depth + 1)
        except RuntimeError:  # another thread changed it meanwhile; what is missing is said below
            size = max(size, len(out) + 1)
        fields: dict[str, Any] = self._cut(size, len(out)).fields if len(out) < size else {}
        if kinds:
            fields["keys"] = list(kinds)
        return Note(fields, out) if fields else out

    def _cut(self, size: int, kept: int) -> Note:
        return Note({"items": size, "kept": kept, **({"time": True} if self._spent else {})})

    def _out_of_time(self) -> bool:
        self._countdown -= 1
        if self._countdown <= 0:
            self._countdown = _LOOK_EVERY
            self._spent = self._spent or time.thread_time() > self._deadline
        return self._spent


def _free(name: Any, taken: dict[Any, Any], same: dict[str, int]) -> Any:
    """Find a key that is not taken: another object may have been spelled the same."""
    if name not in taken:
        return name
    name = str(name)
    while name in taken:
        same[name] = same.get(name, 1) + 1
        candidate = f"{name}#{same[name]}"
        if candidate not in taken:
            return candidate
    return name
