"""Packed payloads that hold nothing but what JSON can say: read and checked in one pass of C code.

MessagePack knows more than JSON: infinite numbers, bytes, times, keys that are no text. A decoder that is told the types
refuses those. Types cannot contain themselves there, so they are spelled out for some levels.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, NewType

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LEVELS", "reader_of_plain"]

LEVELS: Final = 12
"""How many containers may be in each other. Lists right within lists are known to the two upper levels only."""

_MOST: Final = sys.float_info.max


@cache  # it takes a millisecond or two, once there is something to read
def reader_of_plain() -> Callable[[bytes | bytearray], Any]:
    """Give what reads MessagePack. It raises for what JSON cannot say, and for what is deeper than `LEVELS`.

    Example:
        >>> reader_of_plain()(msgspec.msgpack.encode({"a": [1.5]}))
        {'a': [1.5]}
        >>> reader_of_plain()(msgspec.msgpack.encode({"a": float("inf")}))
        Traceback (most recent call last):
        msgspec.ValidationError: Expected `float` <= 1.7976931348623157e+308 - at `$[...]`
    """
    named: Any = NewType  # a type with a name is compared by that; without, all that is in it would be, again and again
    number: Any = Annotated[float, msgspec.Meta(ge=-_MOST, le=_MOST)]
    atom: Any = named("Atom", str | int | number | bool | None)
    levels: list[Any] = [atom, named("Value", dict[str, atom] | list[atom] | atom)]
    for _ in range(LEVELS - 2):
        item = named("Item", dict[str, levels[-2]] | atom)
        levels.append(named("Value", dict[str, levels[-1]] | list[item] | atom))
    return msgspec.msgpack.Decoder(dict[str, levels[-1]] | list[levels[-4]] | atom).decode
