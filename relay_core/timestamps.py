"""Event times as text and back: RFC 3339 in UTC, to the nanosecond."""

from __future__ import annotations

import time

__all__ = ["iso_time", "parse_time"]

_FORMAT = "%Y-%m-%dT%H:%M:%S"

_SECOND = 1_000_000_000

_last_second: tuple[int, str] = (0, "1970-01-01T00:00:00.")


def iso_time(ns: int) -> str:
    """Write nanoseconds since the epoch as RFC 3339 in UTC; the text of the second is kept for the next event."""
    global _last_second
    began, prefix = _last_second
    fraction = ns - began
    if not 0 <= fraction < _SECOND:
        second, fraction = divmod(ns, _SECOND)
        prefix = time.strftime(_FORMAT, time.gmtime(second)) + "."
        _last_second = (second * _SECOND, prefix)  # one tuple, so that threads never mix two
    return prefix + "%09d" % fraction + "+00:00"  # noqa: UP031  # half the work of a format specifier


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
