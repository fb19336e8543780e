"""Reading packed payloads, also those in which a dictionary's keys are containers."""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = ["unpack"]

_decode: Final = msgspec.msgpack.Decoder().decode

# The MessagePack specification's formats: how many bytes an atom has by its first one, or how many tell its length, and
# how many more there are then. https://github.com/msgpack/msgpack/blob/master/spec.md
_SIZES: Final = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
_SIZES_OF_EXTENSIONS: Final = {0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18}
_LENGTHS: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_LENGTHS_OF_EXTENSIONS: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_COUNTS: Final = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_MAPS: Final = (0xDE, 0xDF)


def unpack(data: bytes) -> Any:
    """Read a packed payload.

    A frozen dataclass that is a key was packed as a map, which Python cannot have as a key: it becomes a tuple of its fields.

    Args:
        data: MessagePack.

    Raises:
        msgspec.DecodeError: it is not that.

    Example:
        >>> unpack(bytes.fromhex("81 81a178 01 02"))
        {('x=1',): 2}
    """
    try:
        return _decode(data)
    except msgspec.DecodeError:
        return _Reader(data).value()


class _Reader:
    """Reads container by container; atoms are left to the decoder."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def value(self) -> Any:
        head = self._data[self._at] if self._at < len(self._data) else 0xC1  # which no value begins with
        if 0x80 <= head < 0xA0:
            self._at += 1
            return self._container(head & 0x0F, is_map=head < 0x90)
        if head in _COUNTS:
            self._at += 1
            return self._container(self._number(_COUNTS[head]), is_map=head in _MAPS)
        begin = self._at
        self._at += self._size(head)
        return _decode(self._data[begin : self._at])

    def _container(self, count: int, *, is_map: bool) -> Any:
        if not is_map:
            return [self.value() for _ in range(count)]
        return {_as_key(self.value()): self.value() for _ in range(count)}

    def _size(self, head: int) -> int:
        """Tell how many bytes the atom has that begins here."""
        if 0xA0 <= head < 0xC0:
            return 1 + (head & 0x1F)
        for lengths, more in ((_LENGTHS, 1), (_LENGTHS_OF_EXTENSIONS, 2)):
            if head in lengths:
                at, width = self._at, lengths[head]
                return more + width + int.from_bytes(self._data[at + 1 : at + 1 + width], "big")
        return _SIZES.get(head) or _SIZES_OF_EXTENSIONS.get(head, 1)

    def _number(self, width: int) -> int:
        begin = self._at
        self._at += width
        return int.from_bytes(self._data[begin : self._at], "big")


def _as_key(value: Any) -> Any:
    if type(value) is dict:
        return tuple(f"{name}={field!r}" for name, field in value.items())  # pyright: ignore[reportUnknownVariableType]  # of anything
    if type(value) is list:
        return tuple(map(_as_key, value))  # pyright: ignore[reportUnknownArgumentType]  # of anything
    return value
