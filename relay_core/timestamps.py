"""Event times as text and back: RFC 3339 in UTC, to the nanosecond."""

from __future__ import annotations

import time

__all__ = ["iso_time", "parse_time"]

_last_second: tuple[int, str] = (-1, "")


def iso_time(ns: int) -> str:
    """Write nanoseconds since the epoch as RFC 3339 in UTC; the text of the second is kept for the next event."""
    global _last_second
    second, fraction = divmod(ns, 1_000_000_000)
    known, prefix = _last_second
    if known != second:
        prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _last_second = (second, prefix)
    return f"{prefix}.{fraction:09d}+00:00"


def parse_time(value: object) -> int:
    """Read an ATOF time: RFC 3339 text, or integer microseconds since the epoch. Returns nanoseconds.

    Raises:
        ValueError: it is neither.
    """
    if type(value) is int:
        return value * 1_000
    if not isinstance(value, str):
        raise ValueError(f"a timestamp is text or integer microseconds, got {type(value).__name__}")  # noqa: TRY004  # bad data
    from datetime import datetime  # noqa: PLC0415  # only readers need it

    head, dot, tail = value.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    zone = tail[len(digits) :] if dot else ""
    moment = datetime.fromisoformat(head + zone) if dot else datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"timestamp {value!r} has no time zone")
    return round(moment.timestamp()) * 1_000_000_000 + int((digits or "0").ljust(9, "0")[:9])
