"""Event identities: UUIDv7 (RFC 9562), increasing within a process, drawn without a lock.

An identity is a number from a counter until somebody reads it as text; numbers are `PLACES` apart, so that one may stand
for some things that are drawn together. The milliseconds come from the monotonic clock, so that setting the system clock
back never makes a later identity smaller. Layout, high to low: 48 bits of Unix milliseconds, version 7, 12 bits of process
salt, the variant, 22 bits of process salt, the 40 low bits of the number. Salt and clock offset are taken anew after a fork.
"""

from __future__ import annotations

import os
import time
from itertools import count
from struct import Struct

__all__ = ["PLACES", "numbers", "parse_uuid", "uuid_of", "uuid_text"]

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_UUID_LENGTH = 36
_LOW_64 = (1 << 64) - 1
_COUNTER_BYTES = 5
_MOMENT_CHARS = 13
_MOMENT = (1 << 48) - 1
_COUNTER = (1 << 8 * _COUNTER_BYTES) - 1
_groups = Struct("8s4s4s4s12s").unpack

PLACES = 64  # distance of two numbers
numbers = count(PLACES, PLACES)  # drawn by `next`: a bound ``__next__`` costs four times as much
_epochs: list[
    tuple[int, str, int]
] = []  # first number, text of the salt and clock offset: of the process's ancestors, then its own


_written: tuple[int, str, tuple[int, str, int] | None] = (0, "", None)  # what identities of one millisecond share


def uuid_text(value: int) -> str:
    """Write a 128-bit number as lower-case hyphenated UUID text."""
    return b"-".join(_groups(b"%032x" % value)).decode()


def _reseed() -> None:
    noise = int.from_bytes(os.urandom(5), "big")
    salt = _VERSION_AND_VARIANT | ((noise & 0xFFF) << 64) | ((noise >> 12 & 0x3FFFFF) << 40)
    between = uuid_text(salt)[_MOMENT_CHARS : -2 * _COUNTER_BYTES]
    _epochs.append((next(numbers), between, time.time_ns() - time.perf_counter_ns()))


_reseed()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reseed)


def uuid_of(number: int, monotonic_ns: int) -> str:
    """Write the identity that was drawn as `number` at `monotonic_ns` (``time.perf_counter_ns``) as UUID text."""
    global _written
    for epoch in reversed(_epochs):
        first, salt, offset = epoch
        if number >= first:  # else it was drawn before the fork, and keeps the identity that the parent gives it
            milliseconds = (monotonic_ns + offset) // 1_000_000
            known, prefix, of = _written
            if known != milliseconds or of is not epoch:
                moment = (milliseconds & _MOMENT).to_bytes(6).hex()  # a clock of the user's own may be anywhere
                prefix = f"{moment[:8]}-{moment[8:]}{salt}"
                _written = (milliseconds, prefix, epoch)  # one tuple, so that threads never mix two
            return prefix + (number & _COUNTER).to_bytes(_COUNTER_BYTES).hex()
    raise ValueError(f"no identity has the number {number}")


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
