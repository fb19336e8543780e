"""Tokens and money as the OpenAI API and compatible servers report them."""

# plain JSON of any form passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import Any, Final

from relay_core.codec_parts import decimal_of, number_of, table_of
from relay_core.lens import copy_json
from relay_core.llm import Cost, Usage
from relay_core.outlines import counts_line, is_count

__all__ = ["cost_of", "plain_counts", "usage_of"]

_MODALITIES: Final = ("text", "audio", "image", "video")
_NAMES: Final = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))
_COUNTED: Final = [
    frozenset({given, told, "total_tokens", f"{given}_details", f"{told}_details"}) for given, told in _NAMES
]
_TOTALS: Final = 3  # keys of a usage without details
_CACHED_APART: Final = frozenset({"cache_write_tokens", "cache_creation_tokens"})
_MOST: Final = 1e15  # a price beyond this is no price


def usage_of(native: Any) -> Usage | None:
    """Read a usage object of any of the formats; ``None`` if there is none.

    The input includes cached tokens and the output includes reasoning. Servers that count the one or the other beside
    it are known by their total.

    Example:
        >>> usage = usage_of(
        ...     {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}
        ... )
        >>> usage.input_uncached, usage.input_cache_read, usage.output_text, usage.total_tokens
        (4, 5, 4, 13)
    """
    usage = table_of(native)
    if not usage:
        return None
    inputs = _details(usage, "prompt_tokens_details", "input_tokens_details")
    outputs = _details(usage, "completion_tokens_details", "output_tokens_details")
    given = _first(usage, "prompt_tokens", "input_tokens")
    answered = _first(usage, "completion_tokens", "output_tokens")
    total = decimal_of(usage.get("total_tokens"))
    read = _first(inputs, "cached_tokens")
    if read is None:
        read = _first(usage, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
    written = _first(inputs, "cache_write_tokens", "cache_creation_tokens")
    reasoning = _first(outputs, "reasoning_tokens")
    if reasoning is None:
        reasoning = _first(usage, "reasoning_tokens")
    if given is None and answered is None:
        given = total  # an embedding has no output
    given, answered = _completed(given, answered, (read or 0) + (written or 0), reasoning or 0, total)
    return Usage.from_inclusive(
        input_tokens=given,
        output_tokens=answered,
        cache_read=read,
        cache_write=written,
        reasoning=reasoning,
        total=total,
        input_modalities=_modalities(inputs),
        output_modalities=_modalities(outputs),
        raw=copy_json(native),
    )


def cost_of(native: Any) -> Cost | None:
    """Read what a gateway charged, from its usage object; ``None`` if it does not say.

    Example:
        >>> cost_of({"cost": 0.25})
        Cost(amount='0.25')
    """
    usage = table_of(native)
    for value in (usage.get("cost"), table_of(usage.get("cost")).get("total_cost"), usage.get("estimated_cost")):
        amount = number_of(value)
        if amount is not None and abs(amount) < _MOST:  # not so of NaN
            return Cost(amount)
    return None


def plain_counts(usage: dict[str, Any]) -> dict[str, Any] | None:
    """Show the counts of a usage that adds up as the annotated view shows them; None for one to be looked at closely.

    Example:
        >>> plain_counts({"input_tokens": 9, "output_tokens": 4, "total_tokens": 13})["uncached_input_tokens"]
        9
    """
    get, is_newer = usage.get, "input_tokens" in usage
    given, told = _NAMES[is_newer]
    asked, answered = get(given), get(told)
    if not is_count(asked) or not is_count(answered) or asked + answered != get("total_tokens"):
        return None
    if not usage.keys() <= _COUNTED[is_newer]:
        return None
    if len(usage) == _TOTALS:
        return counts_line(asked, answered)
    inputs, outputs = get(f"{given}_details") or {}, get(f"{told}_details") or {}
    if type(inputs) is not dict or type(outputs) is not dict or not _CACHED_APART.isdisjoint(inputs):
        return None
    read, thought = inputs.get("cached_tokens"), outputs.get("reasoning_tokens")
    if (read is not None and (not is_count(read) or read > asked)) or (
        thought is not None and (not is_count(thought) or thought > answered)
    ):
        return None
    return counts_line(asked - (read or 0), answered, read, thought)


def _completed(
    given: int | None, answered: int | None, cached: int, reasoning: int, total: int | None
) -> tuple[int | None, int | None]:
    """Add to the counts what only the total says: cached input beside the input, unnamed reasoning in the output."""
    if given is None or answered is None or total is None:
        return given, answered
    rest = total - given - answered
    if rest <= 0 or rest == reasoning:
        return given, answered
    if rest == cached and cached > 0:
        return total - answered, answered
    return given, answered + (rest if reasoning == 0 else 0)


def _details(usage: dict[Any, Any], *names: str) -> dict[Any, Any]:
    return next((table_of(usage[name]) for name in names if table_of(usage.get(name))), {})


def _first(table: dict[Any, Any], *names: str) -> int | None:
    counts = (decimal_of(table.get(name)) for name in names)
    return next((count for count in counts if count is not None), None)


def _modalities(details: dict[Any, Any]) -> dict[str, int] | None:
    """Tokens by kind; text alone says nothing."""
    counts = {name: decimal_of(details.get(f"{name}_tokens")) for name in _MODALITIES}
    found = {name: count for name, count in counts.items() if count}
    return found if found.keys() - {"text"} else None
