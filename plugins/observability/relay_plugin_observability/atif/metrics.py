"""What model calls took, as the format counts it: cache hits are part of the prompt, unknown is not zero."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

import msgspec

from relay_core.usage import Usage
from relay_plugin_observability.atif.model import FinalMetrics, Metrics
from relay_plugin_observability.prices import cost_of, prices

__all__ = ["Totals", "metrics_of", "priced"]

_PROMPT: Final = ("prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens", "prompt_eval_count")
_COMPLETION: Final = ("completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens", "eval_count")
_HITS: Final = (
    "cache_read_tokens",
    "cached_tokens",
    "cache_read_input_tokens",
    "cachedContentTokenCount",
    "cacheReadInputTokens",
)
_WRITES: Final = ("cache_write_tokens", "cache_creation_input_tokens", "cacheWriteInputTokens")
_TOTAL: Final = ("total_tokens", "totalTokenCount", "totalTokens")
_REASONING: Final = ("reasoning_tokens", "thoughtsTokenCount")
_COUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_tokens",
)
_ANNOTATED: Final = frozenset({*_COUNTS, "uncached_input_tokens"})
# Providers whose prompt count leaves out what was cached.
_EXCLUSIVE: Final = frozenset(
    {"cache_read_input_tokens", "cache_creation_input_tokens", "cacheReadInputTokens", "cacheWriteInputTokens"}
)


def metrics_of(usage: Any) -> Metrics | None:
    """Read token counts and cost from an annotated or a provider's own usage object.

    Returns:
        None if it holds nothing that can be counted.

    Example:
        >>> found = metrics_of({"input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 9})
        >>> found.prompt_tokens, found.cached_tokens, found.cost_usd
        (14, 4, None)
    """
    if not isinstance(usage, dict):
        return None
    if usage.keys() <= _ANNOTATED:
        return _annotated(usage)
    details = _merged(usage, ("prompt_tokens_details", "input_tokens_details"))
    written = _first(usage, _WRITES)
    hits = _first(usage, _HITS)
    hits = _first(details, _HITS) if hits is None else hits
    prompt = _first(usage, _PROMPT)
    if prompt is not None and not _EXCLUSIVE.isdisjoint(usage):
        prompt += (hits or 0) + (written or 0)
    reasoning = _first(usage, _REASONING)
    if reasoning is None:
        reasoning = _first(_merged(usage, ("completion_tokens_details", "output_tokens_details")), _REASONING)
    cost_usd, foreign = _cost(usage)
    extra = {
        "cache_write_tokens": written,
        "reasoning_tokens": reasoning,
        "total_tokens": _first(usage, _TOTAL),
        "cost": foreign,
    }
    known = {key: value for key, value in extra.items() if value is not None}
    made = Metrics(
        prompt_tokens=prompt,
        completion_tokens=_first(usage, _COMPLETION),
        cached_tokens=hits,
        cost_usd=cost_usd,
        extra=known or None,
    )
    return made if made != Metrics() else None


def _annotated(usage: dict[str, Any]) -> Metrics | None:
    """Read the counts of an annotated view, which has them under one name each."""
    counts = [value if type(value := usage.get(key)) is int and value >= 0 else None for key in _COUNTS]
    prompt, completion, hits, written, reasoning, total = counts
    extra: dict[str, Any] = {}
    if written is not None:
        extra["cache_write_tokens"] = written
    if reasoning is not None:
        extra["reasoning_tokens"] = reasoning
    if total is not None:
        extra["total_tokens"] = total
    if prompt is completion is hits is None and not extra:
        return None
    return Metrics(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=hits, extra=extra or None)


def priced(metrics: Metrics | None, provider: str | None, model: str | None) -> Metrics | None:
    """Add what the tokens cost, where the provider did not say and a registered price source knows.

    Args:
        metrics: of one call.
        provider: who ran the model.
        model: the model that answered.

    Example:
        >>> priced(Metrics(prompt_tokens=3), "openai", "unknown-model").cost_usd is None
        True
    """
    if not len(prices) or metrics is None or metrics.cost_usd is not None or model is None:
        return metrics
    extra = metrics.extra or {}
    usage = Usage.from_inclusive(
        input_tokens=metrics.prompt_tokens,
        output_tokens=metrics.completion_tokens,
        cache_read=metrics.cached_tokens,
        cache_write=extra.get("cache_write_tokens"),
        reasoning=extra.get("reasoning_tokens"),
    )
    cost = cost_of(None, provider, model, usage)
    if cost is None or cost.currency != "USD":
        return metrics
    return msgspec.structs.replace(metrics, cost_usd=float(cost.decimal))


def _merged(usage: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return next((usage[key] for key in keys if isinstance(usage.get(key), dict)), {})


def _first(row: dict[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = row.get(name)
        if type(value) is int and value >= 0:
            return value
    return None


def _cost(usage: dict[str, Any]) -> tuple[float | None, Any]:
    """The cost in dollars; or, in another currency, the object as it is."""
    cost = usage.get("cost", usage.get("cost_usd"))
    if isinstance(cost, dict):
        if cost.get("currency", "USD") != "USD":
            return None, cost
        cost = cost.get("total")
    if cost is not None and isinstance(cost, int | float) and not isinstance(cost, bool) and math.isfinite(cost):
        return float(cost), None
    return None, None


class Totals(msgspec.Struct):
    """Sums over steps; a sum is None until something is known of it.

    Example:
        >>> totals = Totals()
        >>> totals.add(Metrics(prompt_tokens=5))
        >>> totals.add(None)
        >>> final = totals.final(steps=2)
        >>> final.total_prompt_tokens, final.total_cached_tokens, final.extra
        (5, None, {'calls_without_usage': 1})
    """

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    cost: Decimal | None = None
    unknown: int = 0  # model calls that reported no usage
    steps: int = 0
    agents: int = 0

    def add(self, metrics: Metrics | None) -> None:
        """Count one model call."""
        if metrics is None:
            self.unknown += 1
            return
        if metrics.prompt_tokens is None and metrics.completion_tokens is None:
            self.unknown += 1
        self.prompt = _plus(self.prompt, metrics.prompt_tokens)
        self.completion = _plus(self.completion, metrics.completion_tokens)
        if metrics.cached_tokens is not None:
            self.cached = _plus(self.cached, metrics.cached_tokens)
        if metrics.cost_usd is not None:
            self.cost = _plus(self.cost, Decimal(str(metrics.cost_usd)))

    def merge(self, other: Totals) -> None:
        """Count a whole subagent."""
        self.prompt = _plus(self.prompt, other.prompt)
        self.completion = _plus(self.completion, other.completion)
        self.cached = _plus(self.cached, other.cached)
        self.cost = _plus(self.cost, other.cost)
        self.unknown += other.unknown
        self.steps += other.steps
        self.agents += other.agents + 1

    def final(self, *, steps: int) -> FinalMetrics:
        """Write the sums down for a trajectory that has this many steps of its own."""
        extra: dict[str, Any] = {}
        if self.unknown:
            extra["calls_without_usage"] = self.unknown
        if self.agents:
            extra |= {"subagents": self.agents, "subagent_steps": self.steps}
        return FinalMetrics(
            total_prompt_tokens=self.prompt,
            total_completion_tokens=self.completion,
            total_cached_tokens=self.cached,
            total_cost_usd=None if self.cost is None else float(self.cost),
            total_steps=steps,
            extra=extra or None,
        )


def _plus(left: Any, right: Any) -> Any:
    return right if left is None else left if right is None else left + right
