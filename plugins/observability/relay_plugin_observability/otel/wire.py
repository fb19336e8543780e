"""OTLP's traces as the bytes of their protobuf messages, written directly.

A span has dozens of attributes, and each would be two message objects of protobuf, made only to be written. Writing the
bytes takes a third of the time. What is rare goes through the message classes.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, cast

from relay_plugin_observability.otel.encoding import any_value, clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_plugin_observability.projection import Attribute

__all__ = ["attributes", "field", "fixed32", "fixed64", "number", "varint"]

_ONE: Final = [bytes((value,)) for value in range(128)]
_DOUBLE: Final = Struct("<d").pack
_FIXED64: Final = Struct("<Q").pack
_FIXED32: Final = Struct("<I").pack
_BOOL: Final = {False: b"\x02\x10\x00", True: b"\x02\x10\x01"}
_SIGNED: Final = 1 << 63
_TEXT: Final = frozenset({str})
_BYTES, _EIGHT, _FOUR = 2, 1, 5  # wire types

# Most keys come again and again, with values of the same lengths; arbitrary metadata must not fill the memory.
_MOST_BEGINNINGS: Final = 16_384
_MOST_KEYS: Final = 8192
_MOST_NUMBERS: Final = 1024
_LONGEST_KEY: Final = 256
_SHORT: Final = 512  # bytes of a value
_keys: Final[dict[str, bytes]] = {}
_beginnings: Final[dict[int, dict[str, dict[int, bytes]]]] = {}
"""By the number of the field, the key, and the length of what follows: of a text; below 0, of another value."""
_kept = 0


def varint(value: int) -> bytes:
    r"""Write a number that is not negative.

    Example:
        >>> varint(1), varint(300)
        (b'\x01', b'\xac\x02')
    """
    if value < 128:
        return _ONE[value]
    if value < 16_384:
        return bytes((value & 127 | 128, value >> 7))
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


def _tag(place: int, kind: int) -> bytes:
    return _ONE[place << 3 | kind] if place < 16 else varint(place << 3 | kind)


def field(place: int, data: bytes) -> bytes:
    """Write text, bytes or a message as a field; nothing if it is empty."""
    return _tag(place, _BYTES) + varint(len(data)) + data if data else b""


def number(place: int, value: int) -> bytes:
    """Write a number or an enumeration as a field; nothing if it is 0."""
    return _tag(place, 0) + varint(value) if value else b""


def fixed64(place: int, value: int) -> bytes:
    """Write a number of eight bytes as a field; nothing if it is 0."""
    return _tag(place, _EIGHT) + _FIXED64(value) if value else b""


def fixed32(place: int, value: int) -> bytes:
    """Write a number of four bytes as a field; nothing if it is 0."""
    return _tag(place, _FOUR) + _FIXED32(value) if value else b""


def attributes(place: int, found: Mapping[str, Attribute]) -> bytes:
    """Write attributes as fields with a key and a value each.

    Args:
        place: number of the field that repeats.
        found: a mapping has each key once, and so have the fields.
    """
    known = _beginnings.get(place) or _beginnings.setdefault(place, {})
    parts: list[bytes] = []
    for key, value in found.items():
        if type(value) is str:
            try:
                text = value.encode()
            except UnicodeEncodeError:
                text = value.encode("utf-8", "replace")
            size = len(text)
            if size < _SHORT:
                try:
                    parts += known[key][size], text
                except KeyError:
                    parts += _beginning(place, key, size), text
            else:
                parts += _beginning(place, key, size), text
        else:
            made = _BOOL[value] if type(value) is bool else _other(value)
            try:
                parts += known[key][-len(made)], made
            except KeyError:
                parts += _beginning(place, key, -len(made)), made
    return b"".join(parts)


def _beginning(place: int, key: str, size: int) -> bytes:
    """Write what stands before a value: the tag and length of the whole, the key, and of a text the tag and length."""
    global _kept
    head = _keys.get(key) or _head(key)
    if size < 0:
        made = _tag(place, _BYTES) + varint(len(head) - size) + head
    else:
        told = varint(size)
        inner = size + 1 + len(told)
        length = varint(inner)
        whole = varint(len(head) + len(length) + inner)
        made = b"".join((_tag(place, _BYTES), whole, head, length, b"\n", told))
    if abs(size) < _SHORT and _kept < _MOST_BEGINNINGS and len(key) <= _LONGEST_KEY:
        _kept += 1
        _beginnings[place].setdefault(key, {})[size] = made
    return made


def _head(key: str) -> bytes:
    """Write a key, and the tag of the value that follows it."""
    text = clean(key).encode()
    head = b"\n" + varint(len(text)) + text + b"\x12"
    if len(_keys) < _MOST_KEYS and len(key) <= _LONGEST_KEY:
        _keys[key] = head
    return head


def _other(value: Any) -> bytes:
    """Write the length of a value and the value: a number, texts, or what else there may be."""
    if type(value) is int and -_SIGNED <= value < _SIGNED:
        return _integer(value)
    if type(value) is float:
        return b"\x09\x21" + _DOUBLE(value)
    texts = cast("list[str] | None", value if type(value) is list and _TEXT.issuperset(map(type, value)) else None)  # pyright: ignore[reportUnknownArgumentType]  # what it is a list of is looked at here
    made = any_value(value).SerializeToString() if texts is None else _texts(texts)
    return varint(len(made)) + made


@lru_cache(_MOST_NUMBERS)
def _integer(value: int) -> bytes:
    made = b"\x18" + varint(value & (1 << 64) - 1)
    return varint(len(made)) + made


def _texts(values: list[str]) -> bytes:
    """Write an array of texts, each a value of its own."""
    parts: list[bytes] = []
    for value in values:
        text = clean(value).encode()
        told = varint(len(text))
        parts += b"\n", varint(1 + len(told) + len(text)), b"\n", told, text
    array = b"".join(parts)
    return b"\x2a" + varint(len(array)) + array
