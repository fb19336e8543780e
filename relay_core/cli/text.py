"""Text for terminals: nothing that a file or a program chose reaches the screen as a control sequence."""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["duration_text", "plural", "safe", "safe_lines", "short_json", "to_json"]

# Printable by Unicode's account, yet invisible: fillers, joiners, variation selectors.
_INVISIBLE: Final = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)]
) | frozenset(range(0xE0100, 0xE01F0))
_UNITS: Final = ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (60.0, 1.0, "s"))


def safe(text: str, limit: int = 200) -> str:
    r"""Escape control, bidirectional, zero-width and other invisible characters, and cut long text.

    Args:
        text: anything.
        limit: most characters of the text that are shown.

    Example:
        >>> safe("evil\x1b[2J\u202e\u200b")
        'evil\\x1b[2J\\u202e\\u200b'
        >>> safe("abcdef", limit=3)
        'abc…'
    """
    cut = text[:limit]
    shown = cut if cut.isascii() and cut.isprintable() else "".join(_escape(char) for char in cut)
    return shown if len(text) <= limit else f"{shown}…"


def _escape(char: str) -> str:
    if char.isprintable() and ord(char) not in _INVISIBLE:
        return char
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def safe_lines(text: str) -> str:
    """Escape a text of several lines; the line ends stay."""
    return "\n".join(safe(line, 2_000) for line in text.split("\n")[:200])


def duration_text(seconds: float | None) -> str:
    """Write a duration for people.

    Example:
        >>> duration_text(0.0123), duration_text(75.5), duration_text(None)
        ('12.3ms', '1m15s', '')
    """
    if seconds is None:
        return ""
    if seconds < 0:
        return f"-{duration_text(-seconds)}"
    for below, factor, unit in _UNITS:
        if seconds < below:
            return f"{seconds * factor:.3g}{unit}" if seconds * factor < 99.95 else f"{seconds * factor:.0f}{unit}"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m{rest:02d}s" if hours else f"{minutes}m{rest:02d}s"


def plural(n: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun.

    Example:
        >>> plural(1, "scope"), plural(2, "scope")
        ('1 scope', '2 scopes')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def short_json(value: Any, limit: int = 80) -> str:
    """Write a payload as one short, safe piece of text.

    Example:
        >>> short_json({"n": 3})
        '{"n": 3}'
    """
    try:
        return safe(json.dumps(value, ensure_ascii=False), limit)
    except (ValueError, RecursionError):
        return "…"


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Write JSON in ASCII alone, so that it is safe on a terminal too."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")
