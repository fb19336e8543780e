"""What kinds of value a payload holds: decides who may copy it, before a C encoder touches it.

C encoders know no bounds, encode a long text anew if it is not ASCII, and run the code of a few rare types.
"""

# payloads may hold anything:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from itertools import islice
from typing import Any, Final

from relay_core.payload_hooks import reduce_object
from relay_core.payload_types import expands, mro_of, sizer, slots

__all__ = ["FEW", "SHORT", "glance", "look"]

_VALUES: Final = 200_000  # as many as a recorded payload may have; looking at them takes some 8 ms
FEW: Final = 4
_LONG: Final = 1_048_576  # characters, more than a packed payload may have
SHORT: Final = 1_024
_ATOMS: Final = frozenset(map(id, (str, int, float, bool, type(None), bytes)))  # by id: a class may forge its hash
_KEYS: Final = frozenset(map(id, (str, int, float, bool, type(None), bytes)))
# The C methods of the base classes, whatever a subclass overrides; one name for the type checker.
_bases: Final[tuple[tuple[Any, str], ...]] = (
    (dict, "values"),
    *((base, "__iter__") for base in (list, tuple, set, frozenset)),
)
_iterators: Final[dict[int, Any]] = {id(base): getattr(base, name) for base, name in _bases}


def glance(root: Any) -> bool:
    """Look at the first values of a payload, and of the last container among them: all there are in most.

    Args:
        root: a dictionary, list or tuple.

    Returns:
        Whether all of them are plain JSON, and no text is longer than a packed payload may be.

    Raises:
        RuntimeError: another thread changes it meanwhile.

    Example:
        >>> glance({"a": [1, "xyz"]}), glance([1] * 100), glance([{1}])
        (True, True, False)
    """
    if type(root) is dict:
        root = root.values()
    left = FEW
    while True:
        size = len(root)
        left -= size
        below = None
        for value in root if size <= FEW else islice(root, FEW):
            kind = type(value)
            if kind is str:
                if len(value) > _LONG:
                    return False
            elif kind is dict or kind is list or kind is tuple:
                below = value
            elif not (kind is int or kind is bool or kind is float or value is None or kind is bytes):
                return False
        if below is None or left <= 0:
            return True
        root = below.values() if type(below) is dict else below


def look(root: Any, max_depth: int, max_items: int, passed: frozenset[int] = frozenset()) -> bool:  # noqa: C901  # calls would double its time
    """Look at every value of a payload, level by level.

    Args:
        root: any object.
        max_depth: deepest level it may have.
        max_items: most entries of one container.
        passed: identities of types that are kept as they are.

    Returns:
        Whether an encoder with a hook may copy it: it is bounded, and none of its objects has code that would run.

    Raises:
        RuntimeError: another thread changes it meanwhile.

    Example:
        >>> class Odd(set): ...
        >>> look([[{1, 2}]], 64, 100), look([[Odd()]], 64, 100)
        (True, False)
    """
    passed |= _ATOMS
    level: list[Any] = [(root,)]
    count = 0
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for container in level:
            count += len(container)
            if len(container) > max_items or count > _VALUES:
                return False
            values: Any = container
            if type(container) is dict:
                if not all(id(type(key)) in _KEYS for key in container):
                    return False
                values = container.values()
            for value in values:
                kind = type(value)
                if id(kind) in passed:
                    continue
                if kind is dict or kind is list or kind is tuple:
                    below.append(value)
                elif sizer(kind)(value) > max_items:
                    return False
                elif expands(kind):
                    below.append(_contents(value, kind))
        if not below:
            return True
        level = below
    return False


def _contents(value: Any, kind: type) -> Any:
    """Give what a C encoder reads of an object without asking its hook."""
    mro = mro_of(kind)
    for base in mro:
        values = _iterators.get(id(base))
        if values is not None:
            return list(values(value))
    plain = reduce_object(value)
    return list(plain.values()) if type(plain) is dict else slots(value, mro)
