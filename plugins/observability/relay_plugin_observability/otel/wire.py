"""OTLP's traces as the bytes of their protobuf messages, written directly.

A span has dozens of attributes, and each would be two message objects of protobuf, made only to be written. Writing the
bytes takes a third of the time. What is rare goes through the message classes.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final

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
_BYTES, _EIGHT, _FOUR = 2, 1, 5  # wire types

# Most keys come again and again; keys of arbitrary metadata must not fill the memory.
_keys: Final[dict[str, bytes]] = {}
_MOST_KEYS: Final = 8192
_LONGEST_KEY: Final = 256
_beginnings: Final[dict[tuple[int, str, int], bytes]] = {}
_MOST_BEGINNINGS: Final = 16_384
_SHORT: Final = 64  # bytes of text


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
    known = _beginnings
    parts: list[bytes] = []
    put = parts.append
    for key, value in found.items():
        if type(value) is str:
            try:
                text = value.encode()
            except UnicodeEncodeError:
                text = value.encode("utf-8", "replace")
            size = len(text)
            if size < _SHORT:  # all that stands before the text is the same for texts of one length
                put(known.get((place, key, size)) or _beginning(place, key, size))
            else:
                put(_before(place, key, size))
            put(text)
        else:
            put(_scalar(place, key, value))
    return b"".join(parts)


def _beginning(place: int, key: str, size: int) -> bytes:
    made = _before(place, key, size)
    if len(_beginnings) < _MOST_BEGINNINGS and len(key) <= _LONGEST_KEY:
        _beginnings[place, key, size] = made
    return made


def _before(place: int, key: str, size: int) -> bytes:
    """Write what stands before a text of some bytes: the tag and length of the whole, the key, the text's length."""
    head, told = _keys.get(key) or _head(key), varint(size)
    inner = size + 1 + len(told)
    length = varint(inner)
    return b"".join((_tag(place, _BYTES), varint(len(head) + len(length) + inner), head, length, b"\n", told))


def _scalar(place: int, key: str, value: Any) -> bytes:
    head = _keys.get(key) or _head(key)
    made = _BOOL[value] if type(value) is bool else _other(value)
    return b"".join((_tag(place, _BYTES), varint(len(head) + len(made)), head, made))


def _head(key: str) -> bytes:
    """Write a key, and the tag of the value that follows it."""
    text = clean(key).encode()
    head = b"\n" + varint(len(text)) + text + b"\x12"
    if len(_keys) < _MOST_KEYS and len(key) <= _LONGEST_KEY:
        _keys[key] = head
    return head


def _other(value: Any) -> bytes:
    """Write the length of a value and the value: a number, or what else there may be."""
    if type(value) is int and -_SIGNED <= value < _SIGNED:
        made = b"\x18" + varint(value & (1 << 64) - 1)
    elif type(value) is float:
        made = b"\x21" + _DOUBLE(value)
    else:
        made = any_value(value).SerializeToString()
    return varint(len(made)) + made
