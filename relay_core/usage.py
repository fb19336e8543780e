"""What an LLM call took: tokens and money."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from msgspec.structs import force_setattr

from relay_core.errors import UsageError
from relay_core.llm_parts import Node

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Cost", "Usage"]

_Source: TypeAlias = Literal["wire", "framework", "estimated"]
_SOURCES: tuple[_Source, ...] = (
    "wire",
    "framework",
    "estimated",
)  # strongest first; a sum is as strong as its weakest term
_BUCKETS = ("input_cache_read", "input_cache_write", "input_cache_write_1h", "output_reasoning")


class Usage(Node, kw_only=True, frozen=True):
    """Token counts in buckets that do not overlap, so that they can be priced and added.

    The buckets of the input are `input_uncached`, `input_cache_read`, `input_cache_write` and `input_cache_write_1h`;
    those of the output are `output_text` and `output_reasoning`. Tokens that the provider did not report as cached,
    or as reasoning, are in `input_uncached` and `output_text`: the totals add up in any case.

    Args:
        input_cache_write: written to the cache for the provider's usual time (five minutes at Anthropic).
        input_cache_write_1h: written to the cache for an hour.
        output_text: the visible answer, tool calls included.
        input_modalities: the same input tokens, cut by text, audio, image, ...
        output_modalities: the same for the output.
        reported_total: the provider's own total, where it reports one.
        source: wire (the provider said so), framework (passed on by one), or estimated.
        raw: the provider's usage object as it came.

    Example:
        >>> usage = Usage.from_inclusive(input_tokens=100, cache_read=40, output_tokens=30, reasoning=10)
        >>> usage.input_uncached, usage.input_tokens, usage.output_text, usage.total_tokens
        (60, 100, 20, 130)
    """

    input_uncached: int | None = None
    input_cache_read: int | None = None
    input_cache_write: int | None = None
    input_cache_write_1h: int | None = None
    output_text: int | None = None
    output_reasoning: int | None = None
    input_modalities: dict[str, int] | None = None
    output_modalities: dict[str, int] | None = None
    reported_total: int | None = None
    source: _Source = "wire"
    raw: Any = None

    @property
    def input_tokens(self) -> int | None:
        """All input tokens, cached ones included; ``None`` if unknown."""
        whole = self.input_uncached
        if whole is None:
            return None
        return whole + (self.input_cache_read or 0) + (self.input_cache_write or 0) + (self.input_cache_write_1h or 0)

    @property
    def output_tokens(self) -> int | None:
        """All output tokens, reasoning included; ``None`` if unknown."""
        return None if self.output_text is None else self.output_text + (self.output_reasoning or 0)

    @property
    def total_tokens(self) -> int | None:
        """Input and output; the provider's own total if one of the two is unknown."""
        asked, told = self.input_tokens, self.output_tokens
        return self.reported_total if asked is None or told is None else asked + told

    @classmethod
    def from_inclusive(
        cls,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read: int | None = None,
        cache_write: int | None = None,
        reasoning: int | None = None,
        total: int | None = None,
        **fields: Any,
    ) -> Self:
        """Read counts whose input includes cached tokens and whose output includes reasoning (OpenAI, Gemini).

        Some vendors with this API report reasoning beside the output all the same. It is taken as beside when it
        cannot be inside (it is larger), or when only so the parts give the reported total.
        """
        text = output_tokens
        if output_tokens is not None and reasoning:
            beside = reasoning > output_tokens or (
                total is not None and input_tokens is not None and total == input_tokens + output_tokens + reasoning
            )
            text = output_tokens if beside else output_tokens - reasoning
        cached = (cache_read or 0) + (cache_write or 0)
        uncached = input_tokens
        if input_tokens is not None and cached <= input_tokens:
            uncached = input_tokens - cached
        return cls(
            input_uncached=uncached,
            input_cache_read=cache_read,
            input_cache_write=cache_write,
            output_text=text,
            output_reasoning=reasoning,
            reported_total=total,
            **fields,
        )

    @classmethod
    def from_exclusive(
        cls,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read: int | None = None,
        cache_write: int | None = None,
        cache_write_1h: int | None = None,
        **fields: Any,
    ) -> Self:
        """Read counts whose input leaves out cached tokens (Anthropic).

        Args:
            cache_write: all tokens written to the cache, for whatever time.
            cache_write_1h: how many of them were written for an hour.
        """
        short = cache_write
        if cache_write is not None and cache_write_1h is not None:
            short = max(cache_write - cache_write_1h, 0)
        return cls(
            input_uncached=input_tokens,
            input_cache_read=cache_read,
            input_cache_write=short,
            input_cache_write_1h=cache_write_1h,
            output_text=output_tokens,
            **fields,
        )

    def __add__(self, other: Usage) -> Usage:
        """Add bucket by bucket. An unknown input or output stays unknown; a detail counts where it was reported."""
        names = ("input_uncached", "output_text")
        counts: dict[str, Any] = {name: _plus(getattr(self, name), getattr(other, name)) for name in names}
        counts |= {name: _either(getattr(self, name), getattr(other, name)) for name in _BUCKETS}
        return Usage(
            **counts,
            input_modalities=_merge(self.input_modalities, other.input_modalities),
            output_modalities=_merge(self.output_modalities, other.output_modalities),
            reported_total=_plus(self.total_tokens, other.total_tokens),
            source=max((self.source, other.source), key=_SOURCES.index),
        )

    @staticmethod
    def sum(usages: Iterable[Usage | None]) -> Usage | None:
        """Add any number of usages; a ``None`` among them makes the totals unknown, and nothing adds up to ``None``.

        Example:
            >>> Usage.sum([Usage(input_uncached=3, output_text=1), Usage(input_uncached=4)])
            Usage(input_uncached=7)
        """
        total: Usage | None = None
        for usage in usages:
            term = usage if usage is not None else Usage()
            total = term if total is None else total + term
        return total


def _plus(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left + right


def _either(left: int | None, right: int | None) -> int | None:
    return None if left is None and right is None else (left or 0) + (right or 0)


def _merge(left: dict[str, int] | None, right: dict[str, int] | None) -> dict[str, int] | None:
    if left is None or right is None:
        return left or right
    return {name: left.get(name, 0) + right.get(name, 0) for name in (*left, *(right.keys() - left.keys()))}


class Cost(Node, frozen=True):
    """An amount of money, as decimal text so that it adds up exactly.

    Args:
        amount: plain decimal text, such as ``"0.0021"``; numbers are converted.
        currency: ISO code.
        source: who said so: provider_reported, or model_pricing for a computed price.

    Raises:
        UsageError: the amount is not a number.

    Example:
        >>> Cost(0.00001).amount, Cost("1.10").decimal + Cost("2.20").decimal
        ('0.00001', Decimal('3.30'))
    """

    amount: str
    currency: str = "USD"
    source: str = "provider_reported"

    def __post_init__(self) -> None:
        try:
            value = Decimal(str(self.amount))
        except InvalidOperation:
            value = None
        if value is None or not value.is_finite():
            raise UsageError(f"the amount of a Cost must be a decimal number, not {self.amount!r}")
        force_setattr(self, "amount", format(value, "f"))

    @property
    def decimal(self) -> Decimal:
        """The amount as a `Decimal`."""
        return Decimal(self.amount)
