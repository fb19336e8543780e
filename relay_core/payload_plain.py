"""Packed payloads that hold nothing but what JSON can say: read and checked in one pass of C code, some at once.

MessagePack knows more than JSON: infinite numbers, bytes, times, keys that are no text. A decoder that is told the types
refuses those. Types cannot contain themselves there, so they are spelled out for some levels.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, NewType

import msgspec

from relay_core.payload_scan import KEY_CHARS

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.payload_limits import Bounds

__all__ = ["LARGEST", "LEVELS", "Plain", "reader_of_plain"]

LARGEST: Final = 16_384
"""Bytes; larger payloads are looked at value by value, which takes no longer then."""

LEVELS: Final = 12
"""How many containers may be in each other. Below the two upper levels, lists right within lists hold no containers."""

_MOST: Final = sys.float_info.max
_LONGEST_BYTE: Final = 6  # bytes of JSON that one of MessagePack may become: ``false,``, or a control character
_STR16, _STR32, _DOLLAR = 0xDA, 0xDB, 0x24
_long_text: Final = re.compile(rb"\xda[\x04-\xff]|\xdb").search  # how MessagePack begins text above `KEY_CHARS` bytes
_unpack: Final = msgspec.msgpack.Decoder().decode
_write: Final = msgspec.json.Encoder().encode
_read: Final = msgspec.json.Decoder().decode


@cache  # it takes a millisecond or two, once there is something to read
def reader_of_plain(*, longest_key: int | None = None) -> Callable[[bytes | bytearray], list[Any]]:
    """Give what reads a list of payloads. It raises for what JSON cannot say, and for what is deeper than `LEVELS`.

    Args:
        longest_key: refuse longer keys as well, which takes longer.

    Example:
        >>> reader_of_plain()(msgspec.msgpack.encode([{"a": [1.5]}]))
        [{'a': [1.5]}]
        >>> reader_of_plain()(msgspec.msgpack.encode([{"a": float("inf")}]))
        Traceback (most recent call last):
        msgspec.ValidationError: Expected `float` <= 1.7976931348623157e+308 - at `$[0][...]`
    """
    named: Any = NewType  # a type with a name is compared by that; without, all that is in it would be, again and again
    number: Any = Annotated[float, msgspec.Meta(ge=-_MOST, le=_MOST)]
    key: Any = str if longest_key is None else Annotated[str, msgspec.Meta(max_length=longest_key)]
    atom: Any = named("Atom", str | int | number | bool | None)
    levels: list[Any] = [atom, named("Value", dict[key, atom] | list[atom] | atom)]
    for _ in range(LEVELS - 2):
        item = named("Item", dict[key, levels[-2]] | list[atom] | atom)
        levels.append(named("Value", dict[key, levels[-1]] | list[item] | atom))
    return msgspec.msgpack.Decoder(list[dict[key, levels[-1]] | list[levels[-4]] | atom]).decode


class Plain:
    """Reads small payloads that need no change.

    Args:
        limits: which they keep by their size.
        suspicious: tells of bytes whether there may be anything to hide in them.

    Example:
        >>> from relay_core.payloads import Limits
        >>> plain = Plain(Limits(), lambda data: b"secret" in data)
        >>> plain.trees(msgspec.msgpack.encode([{"a": 1}, "b"])), plain.trees(msgspec.msgpack.encode(["secret"]))
        ([{'a': 1}, 'b'], None)
    """

    __slots__ = ("_compared", "_deepest", "_flat", "_most", "_suspicious")

    def __init__(self, limits: Bounds, suspicious: Callable[[bytes | bytearray], bool]) -> None:
        self._suspicious = suspicious
        self._deepest = limits.max_depth
        self._flat = 2 * limits.max_depth  # bytes of JSON that cannot be deeper
        self._compared = min(LARGEST, limits.max_string, limits.max_bytes, 2 * limits.max_items)
        bounds = (LARGEST, limits.max_string, limits.max_bytes // _LONGEST_BYTE, limits.max_items)
        self._most = min(bounds) if limits.max_depth >= LEVELS else 0  # bytes of MessagePack that keep all limits

    def trees(self, data: bytes | bytearray) -> list[Any] | None:
        """Give packed payloads as trees. What is searched for credentials is what is packed.

        Args:
            data: a list of payloads.

        Returns:
            None where one needs a change, or may be too large.
        """
        size = len(data)
        if size > self._most:
            return None
        key: int | None = None
        if size > KEY_CHARS and (_STR16 in data or _STR32 in data) and _long_text(data):
            key = KEY_CHARS  # perhaps it is one
        try:
            trees = reader_of_plain(longest_key=key)(data) if key else reader_of_plain()(data)
        except Exception:  # noqa: BLE001  # too deep for that, or not plain
            return None if key else self._compare(data)
        if self._suspicious(data) or (_DOLLAR in data and data.find(b"$relay") >= 0):
            return None
        return trees

    def _compare(self, data: bytes | bytearray) -> list[Any] | None:
        """Do the same by comparing: whatever JSON cannot say (an infinite number, bytes) reads back as something else."""
        try:
            trees = _unpack(data)
            json = _write(trees)
        except Exception:  # noqa: BLE001  # the careful way decides
            return None
        size = len(json)
        if size > self._compared or (size > self._flat and json.count(b"{") + json.count(b"[") > self._deepest):
            return None
        decoded = _read(json)
        if decoded != trees or self._suspicious(json):
            return None
        return None if _DOLLAR in json and json.find(b'$relay"') >= 0 else decoded
