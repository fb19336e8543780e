"""Event identities: UUIDv7 (RFC 9562), increasing within a process, drawn without a lock.

An identity is an int until somebody reads it as text. Layout, high to low: 48 bits of Unix milliseconds, version 7,
12 bits of process salt, the variant, 22 bits of process salt, a 40-bit counter. The salt is drawn anew after a fork.
"""

from __future__ import annotations

import os
import time
from itertools import count

__all__ = ["new_id", "parse_uuid", "uuid_text"]

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_UUID_LENGTH = 36
_LOW_64 = (1 << 64) - 1


class _Source:
    """The salt and counter of this process."""

    __slots__ = ("counter", "last_ms", "salt")

    def __init__(self) -> None:
        self.last_ms = 0
        self.reseed()

    def reseed(self) -> None:
        noise = int.from_bytes(os.urandom(5), "big")
        self.salt = _VERSION_AND_VARIANT | ((noise & 0xFFF) << 64) | ((noise >> 12 & 0x3FFFFF) << 40)
        self.counter = count(1)


_source = _Source()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_source.reseed)


def new_id() -> int:
    """Draw the next identity: later than every earlier one of this process, also when the clock is set back."""
    source = _source
    ms = time.time_ns() // 1_000_000
    if ms < source.last_ms:
        ms = source.last_ms
    else:
        source.last_ms = ms
    return (ms << 80 | source.salt) + next(source.counter)


def uuid_text(value: int) -> str:
    """Write an identity as lower-case hyphenated UUID text."""
    h = f"{value:032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def parse_uuid(text: object) -> str | None:
    """Read UUID text from outside; None unless it is a plain UUID with a usable lower half (it becomes a span id)."""
    if not isinstance(text, str) or len(text) != _UUID_LENGTH or text[8::5][:4] != "----":
        return None
    try:
        value = int(text.replace("-", ""), 16)
    except ValueError:
        return None
    written = uuid_text(value)
    return written if value & _LOW_64 and written == text.lower() else None
