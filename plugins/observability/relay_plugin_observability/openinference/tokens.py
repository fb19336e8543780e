"""Token counts and cost of a call. What nobody reported has no attribute: unknown is not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_core.usage import Cost, Usage
from relay_plugin_observability.openinference.values import as_count, as_dict, as_number
from relay_plugin_observability.openinference.words import SPAN
from relay_plugin_observability.prices import ItemizedCost

if TYPE_CHECKING:
    from relay_plugin_observability.openinference.values import Attributes

__all__ = ["put_cost", "put_counts", "put_usage", "read_cost", "read_usage"]

_AUDIO_GIVEN: Final = (("prompt_tokens_details", "audio_tokens"), ("input_token_details", "audio"))
_AUDIO_MADE: Final = (("completion_tokens_details", "audio_tokens"), ("output_token_details", "audio"))
_TELLS_OF_SOUND: Final = frozenset(place for place, _ in (*_AUDIO_GIVEN, *_AUDIO_MADE))
_PLAIN_COUNTS: Final = frozenset(
    {
        "prompt_tokens", "completion_tokens", "total_tokens", "uncached_input_tokens", "cache_read_tokens",
        "reasoning_tokens",
    }
)  # fmt: skip
_MOST: Final = 2**62
_DOLLARS: Final = "USD"
_ITEMS: Final = {
    "input": SPAN.LLM_COST_PROMPT,
    "output": SPAN.LLM_COST_COMPLETION,
    "input_uncached": SPAN.LLM_COST_PROMPT_DETAILS_INPUT,
    "input_cache_read": SPAN.LLM_COST_PROMPT_DETAILS_CACHE_READ,
    "input_cache_write": SPAN.LLM_COST_PROMPT_DETAILS_CACHE_WRITE,
    "output_text": SPAN.LLM_COST_COMPLETION_DETAILS_OUTPUT,
    "output_reasoning": SPAN.LLM_COST_COMPLETION_DETAILS_REASONING,
}


def read_usage(view: dict[str, Any], data: Any) -> Usage | None:
    """Read what a call took, in buckets that do not overlap.

    Args:
        view: the ``usage`` of the event's neutral view; empty if there is none.
        data: the response, read where there is no view.

    Example:
        >>> raw = {"usage": {"input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 2}}
        >>> usage = read_usage({}, raw)
        >>> usage.input_uncached, usage.input_tokens, usage.total_tokens
        (3, 10, 12)
        >>> read_usage({}, {"usage": {}}) is None
        True
    """
    raw = as_dict(as_dict(data).get("usage"))
    usage = _from_view(view) if view else _from_raw(raw) if raw else None
    if usage is None or not raw:
        return usage
    given, made = _detail(raw, _AUDIO_GIVEN), _detail(raw, _AUDIO_MADE)
    if given is None and made is None:
        return usage
    return usage.replace(
        input_modalities=None if given is None else {"audio": given},
        output_modalities=None if made is None else {"audio": made},
    )


def _from_view(view: dict[str, Any]) -> Usage | None:
    prompt, read = as_count(view.get("prompt_tokens")), as_count(view.get("cache_read_tokens"))
    written, uncached = as_count(view.get("cache_write_tokens")), as_count(view.get("uncached_input_tokens"))
    if uncached is None and prompt is not None:
        cached = (read or 0) + (written or 0)
        uncached = prompt - cached if cached <= prompt else prompt
    text, thought = as_count(view.get("completion_tokens")), as_count(view.get("reasoning_tokens"))
    if text is not None and thought is not None and thought <= text:
        text -= thought
    return _usage(uncached, read, written, text, thought, as_count(view.get("total_tokens")))


def _from_raw(raw: dict[str, Any]) -> Usage | None:
    """Read a provider's own usage. Whether its input includes cached tokens shows in the names of its fields."""
    total = as_count(raw.get("total_tokens"))
    if "cache_read_input_tokens" in raw or "cache_creation_input_tokens" in raw:
        read, written = as_count(raw.get("cache_read_input_tokens")), as_count(raw.get("cache_creation_input_tokens"))
        return _usage(as_count(raw.get("input_tokens")), read, written, as_count(raw.get("output_tokens")), None, total)
    given = as_dict(raw.get("prompt_tokens_details") or raw.get("input_tokens_details"))
    made = as_dict(raw.get("completion_tokens_details") or raw.get("output_tokens_details"))
    found = Usage.from_inclusive(
        input_tokens=as_count(raw.get("prompt_tokens", raw.get("input_tokens"))),
        output_tokens=as_count(raw.get("completion_tokens", raw.get("output_tokens"))),
        cache_read=as_count(given.get("cached_tokens")),
        reasoning=as_count(made.get("reasoning_tokens")),
        total=total,
    )
    counts = (found.input_uncached, found.input_cache_read, found.output_text, found.output_reasoning, total)
    return None if all(count is None for count in counts) else found


def _usage(
    uncached: int | None,
    read: int | None,
    written: int | None,
    text: int | None,
    thought: int | None,
    total: int | None,
) -> Usage | None:
    if uncached is read is written is text is thought is total is None:
        return None
    return Usage(
        input_uncached=uncached,
        input_cache_read=read,
        input_cache_write=written,
        output_text=text,
        output_reasoning=thought,
        reported_total=total,
    )


def _detail(raw: dict[str, Any], places: tuple[tuple[str, str], ...]) -> int | None:
    return next((count for one, two in places if (count := as_count(as_dict(raw.get(one)).get(two))) is not None), None)


def put_counts(out: Attributes, view: dict[str, Any], data: Any) -> bool:
    """Write the counts of a neutral view that adds up, without a `Usage` between; False for any other.

    Args:
        out: the attributes so far.
        view: the ``usage`` of the event's neutral view.
        data: the response, which may tell of sound.

    Example:
        >>> out = {}
        >>> put_counts(out, {"prompt_tokens": 5, "completion_tokens": 2, "uncached_input_tokens": 5}, None), out
        (True, {'llm.token_count.prompt': 5, 'llm.token_count.completion': 2, 'llm.token_count.total': 7})
    """
    if not view or not view.keys() <= _PLAIN_COUNTS:
        return False
    given: Any = view.get("prompt_tokens")
    made: Any = view.get("completion_tokens")
    read: Any = view.get("cache_read_tokens", 0)
    thought: Any = view.get("reasoning_tokens", 0)
    if type(given) is not int or type(made) is not int or type(read) is not int or type(thought) is not int:
        return False
    if view.get("uncached_input_tokens") != given - read or not (
        0 <= read <= given < _MOST and 0 <= thought <= made < _MOST
    ):
        return False
    raw = as_dict(as_dict(data).get("usage"))
    if not _TELLS_OF_SOUND.isdisjoint(raw) and (_detail(raw, _AUDIO_GIVEN), _detail(raw, _AUDIO_MADE)) != (None, None):
        return False
    out[SPAN.LLM_TOKEN_COUNT_PROMPT] = given
    out[SPAN.LLM_TOKEN_COUNT_COMPLETION] = made
    out[SPAN.LLM_TOKEN_COUNT_TOTAL] = given + made
    if "cache_read_tokens" in view:
        out[SPAN.LLM_TOKEN_COUNT_PROMPT_DETAILS_CACHE_READ] = read
    if "reasoning_tokens" in view:
        out[SPAN.LLM_TOKEN_COUNT_COMPLETION_DETAILS_REASONING] = thought
    return True


def put_usage(out: Attributes, usage: Usage | None) -> None:
    """Write the counts that are known. The details are parts of their totals and do not overlap each other."""
    if usage is None:
        return
    written = usage.input_cache_write
    if usage.input_cache_write_1h is not None:
        written = (written or 0) + usage.input_cache_write_1h
    given, made = usage.input_tokens, usage.output_tokens
    counts = {
        SPAN.LLM_TOKEN_COUNT_PROMPT: given,
        SPAN.LLM_TOKEN_COUNT_COMPLETION: made,
        SPAN.LLM_TOKEN_COUNT_TOTAL: usage.reported_total if given is None or made is None else given + made,
        SPAN.LLM_TOKEN_COUNT_PROMPT_DETAILS_CACHE_READ: usage.input_cache_read,
        SPAN.LLM_TOKEN_COUNT_PROMPT_DETAILS_CACHE_WRITE: written,
        SPAN.LLM_TOKEN_COUNT_COMPLETION_DETAILS_REASONING: usage.output_reasoning,
    }
    if usage.input_modalities:
        counts[SPAN.LLM_TOKEN_COUNT_PROMPT_DETAILS_AUDIO] = usage.input_modalities.get("audio")
    if usage.output_modalities:
        counts[SPAN.LLM_TOKEN_COUNT_COMPLETION_DETAILS_AUDIO] = usage.output_modalities.get("audio")
    for key, count in counts.items():
        if count is not None and count.bit_length() < 64:
            out[key] = count


def read_cost(view: dict[str, Any], data: Any) -> Cost | None:
    """Read the cost that a provider reported, if it did.

    Example:
        >>> read_cost({}, {"usage": {"cost": 0.0123}}).amount, read_cost({}, {"usage": {}})
        ('0.0123', None)
    """
    raw = as_dict(as_dict(data).get("usage"))
    if "cost" not in view and "cost" not in raw and "cost_usd" not in raw and "cost_usd" not in as_dict(data):
        return None
    for found in (view.get("cost"), raw.get("cost"), raw.get("cost_usd"), as_dict(data).get("cost_usd")):
        fields = as_dict(found)
        amount = as_number(fields.get("total") if fields else found)
        if amount is None or amount < 0:
            continue
        currency, source = fields.get("currency", _DOLLARS), fields.get("source", "provider_reported")
        if type(currency) is not str or type(source) is not str:
            continue
        given, made = as_number(fields.get("input")), as_number(fields.get("output"))
        return ItemizedCost(
            str(amount),
            currency,
            source,
            input=None if given is None else str(given),
            output=None if made is None else str(made),
        )
    return None


def put_cost(out: Attributes, cost: Cost | None) -> None:
    """Write a cost. OpenInference counts in dollars; other money goes under names of Relay's own."""
    if cost is None:
        return
    out["relay.cost.source"] = cost.source
    if cost.currency != _DOLLARS:
        out["relay.cost.currency"] = cost.currency
        _put_amount(out, "relay.cost.total", cost.amount)
        return
    _put_amount(out, SPAN.LLM_COST_TOTAL, cost.amount)
    if isinstance(cost, ItemizedCost):
        for name, key in _ITEMS.items():
            _put_amount(out, key, getattr(cost, name))


def _put_amount(out: Attributes, key: str, amount: str | None) -> None:
    value = None if amount is None else as_number(float(amount))
    if value is not None:
        out[key] = value
