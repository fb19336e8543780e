"""Anthropic's token counts as neutral usage.

The input count leaves out tokens that were read from or written to the cache; the output count includes thinking.
"""

from __future__ import annotations

from typing import Any

from relay_core.codec_parts import decimal_of, list_of, table_of
from relay_core.lens import copy_json, value_at
from relay_core.llm import Usage

__all__ = ["read_usage"]


def read_usage(usage: dict[Any, Any]) -> Usage:
    """Read a ``usage``; what a compaction took, which Anthropic counts beside, is added.

    Example:
        >>> usage = read_usage({"input_tokens": 5, "cache_read_input_tokens": 90, "output_tokens": 2})
        >>> usage.input_uncached, usage.input_tokens, usage.total_tokens
        (5, 95, 97)
    """
    iterations = [table_of(item) for item in list_of(usage.get("iterations"))]
    parts = [_counts(usage), *(_counts(item) for item in iterations if item.get("type") == "compaction")]
    columns = zip(*parts, strict=True)
    given, read, written, hour, said, thinking = (_sum(column) for column in columns)
    return Usage.from_exclusive(
        input_tokens=given,
        output_tokens=said,
        cache_read=read,
        cache_write=written,
        cache_write_1h=hour,
        output_reasoning=thinking,
        raw=copy_json(usage),
    )


def _counts(usage: dict[Any, Any]) -> tuple[int | None, ...]:
    """Input, cache read, cache written, of this for an hour, output without thinking, thinking."""
    short, hour = (decimal_of(value_at(usage, ("cache_creation", f"ephemeral_{t}_input_tokens"))) for t in ("5m", "1h"))
    written = decimal_of(usage.get("cache_creation_input_tokens"))
    if written is None:
        written = _sum((short, hour))
    said = decimal_of(usage.get("output_tokens"))
    thinking = decimal_of(value_at(usage, ("output_tokens_details", "thinking_tokens")))
    if said is None or thinking is None or thinking > said:
        thinking = None
    visible = said if said is None or thinking is None else said - thinking
    read = decimal_of(usage.get("cache_read_input_tokens"))
    return decimal_of(usage.get("input_tokens")), read, written, hour, visible, thinking


def _sum(counts: tuple[int | None, ...]) -> int | None:
    """The sum of what is known; unknown if nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
