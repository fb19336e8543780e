"""What tokens cost: a registry of price sources. Relay ships no prices; a program or a plugin registers its own.

A price that nobody knows is None, never zero: a sum with a missing price would look like a cheap run.
"""

from __future__ import annotations

import logging
import threading
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, overload

import msgspec
from msgspec.structs import force_setattr

from relay_core.errors import DuplicateName, UsageError
from relay_core.usage import Cost, Usage

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ItemizedCost", "PriceHandle", "PriceSource", "Prices", "Rates", "cost_of", "prices"]

_log = logging.getLogger("relay.observability")
_PER: Final = Decimal(1_000_000)


class PriceSource(Protocol):
    """Knows what some models cost."""

    def __call__(self, provider: str | None, model: str, usage: Usage, /) -> Cost | None:
        """Price one call.

        Args:
            provider: who runs the model, such as ``"openai"`` or ``"azure"``; None if nobody said.
            model: the model that answered.
            usage: tokens in buckets that do not overlap; a bucket that is None was not reported.

        Returns:
            The cost, or None if this source does not know the model or a price that the usage needs.
        """
        ...


class ItemizedCost(Cost, frozen=True, kw_only=True):
    """A cost and its items, as decimal text in the same currency; None where an item is unknown.

    Example:
        >>> cost = ItemizedCost("0.03", input="0.01", output="0.02")
        >>> cost.amount, cost.input, cost.output_reasoning
        ('0.03', '0.01', None)
    """

    input: str | None = None
    output: str | None = None
    input_uncached: str | None = None
    input_cache_read: str | None = None
    input_cache_write: str | None = None
    output_text: str | None = None
    output_reasoning: str | None = None


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of one model for a million tokens of each bucket; numbers or decimal text.

    Args:
        input: tokens that came from no cache.
        output: the answer.
        cache_read: tokens read from the prompt cache.
        cache_write: tokens written to it for the usual time.
        cache_write_1h: tokens written to it for an hour.
        reasoning: thinking; default the price of the answer.
        currency: ISO code.

    Raises:
        UsageError: a price is not a number, or negative.

    Example:
        >>> rates = Rates(input="2.5", output=10, cache_read="1.25")
        >>> usage = Usage.from_inclusive(input_tokens=1000, cache_read=100, output_tokens=500)
        >>> cost = rates.cost(usage)
        >>> cost.amount, cost.input_uncached, cost.output
        ('0.007375', '0.00225', '0.005')
        >>> rates.cost(usage.replace(input_cache_write=5)) is None  # no price for writing to the cache
        True
    """

    input: Any
    output: Any
    cache_read: Any = None
    cache_write: Any = None
    cache_write_1h: Any = None
    reasoning: Any = None
    currency: str = "USD"

    def __post_init__(self) -> None:
        """Make all prices decimals."""
        for name in ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning"):
            value = getattr(self, name)
            if value is not None or name in ("input", "output"):
                force_setattr(self, name, _price(name, value))

    def cost(self, usage: Usage) -> ItemizedCost | None:
        """Price a usage; None if a count or a price that it needs is unknown."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        reasoning = self.output if self.reasoning is None else self.reasoning
        uncached = _times(usage.input_uncached, self.input)
        read = _times(usage.input_cache_read, self.cache_read)
        short = _times(usage.input_cache_write, self.cache_write)
        long = _times(usage.input_cache_write_1h, self.cache_write_1h)
        text = _times(usage.output_text, self.output)
        thought = _times(usage.output_reasoning, reasoning)
        if uncached is None or read is None or short is None or long is None or text is None or thought is None:
            return None
        given, made = uncached + read + short + long, text + thought
        return ItemizedCost(
            _text(given + made),
            self.currency,
            "model_pricing",
            input=_text(given),
            output=_text(made),
            input_uncached=_text(uncached),
            input_cache_read=None if usage.input_cache_read is None else _text(read),
            input_cache_write=None if usage.input_cache_write is None else _text(short + long),
            output_text=_text(text),
            output_reasoning=None if usage.output_reasoning is None else _text(thought),
        )


class PriceHandle:
    """A registered source; `remove()` or leaving a ``with`` block takes it away again."""

    def __init__(self, name: str, priority: int, source: PriceSource, registry: Prices) -> None:
        self.name = name
        self.priority = priority
        self.source = source
        self._registry = registry

    def remove(self) -> None:
        """Take the source out of its registry; a second call does nothing."""
        self._registry._drop(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"PriceHandle({self.name!r})"


class Prices:
    """Price sources, asked in the order of their priority and name; the first that knows decides.

    Asking never raises: a source that fails is logged once, by the name of its exception, and skipped.

    Example:
        >>> table = {("openai", "small"): Rates(input="0.15", output="0.60")}
        >>> registry = Prices()
        >>> @registry.register(name="mine")
        ... def mine(provider, model, usage):
        ...     rates = table.get((provider, model))
        ...     return rates.cost(usage) if rates else None
        >>> usage = Usage(input_uncached=1_000_000, output_text=0)
        >>> registry.cost("openai", "small", usage).amount, registry.cost("openai", "large", usage)
        ('0.15', None)
    """

    def __init__(self) -> None:
        self._handles: tuple[PriceHandle, ...] = ()
        self._lock = threading.Lock()
        self._complained: set[str] = set()

    @overload
    def register(self, source: PriceSource, /, *, name: str | None = None, priority: int = 100) -> PriceHandle: ...

    @overload
    def register(self, source: None = None, /, *, name: str | None = None, priority: int = 100) -> _Decorator: ...

    def register(
        self, source: PriceSource | None = None, /, *, name: str | None = None, priority: int = 100
    ) -> PriceHandle | _Decorator:
        """Add a source; also a decorator.

        Args:
            source: a callable, see `PriceSource`.
            name: unique in this registry; default the callable's own name.
            priority: lower is asked first; equal ones are asked by name.

        Raises:
            UsageError: it cannot be called, or has no name.
            DuplicateName: the name is taken.
        """
        if source is None:
            return _Decorator(self, name, priority)
        if not callable(source):
            raise UsageError(f"a price source is called with provider, model and usage; {source!r} cannot be called")
        given = name or getattr(source, "__name__", None) or type(source).__name__
        handle = PriceHandle(given, priority, source, self)
        with self._lock:
            if any(one.name == given for one in self._handles):
                raise DuplicateName(f"a price source is named {given!r} already; remove() its handle or choose a name")
            self._handles = tuple(sorted((*self._handles, handle), key=lambda one: (one.priority, one.name)))
        return handle

    def __len__(self) -> int:
        return len(self._handles)

    def names(self) -> list[str]:
        """The names of the sources, in the order in which they are asked."""
        return [handle.name for handle in self._handles]

    def cost(self, provider: str | None, model: str | None, usage: Usage | None) -> Cost | None:
        """Price one call; None if no source knows, or if there is nothing to price."""
        if model is None or usage is None:
            return None
        for handle in self._handles:
            try:
                found: Any = handle.source(provider, model, usage)
            except Exception as error:  # noqa: BLE001  # a price table must not cost a span
                self._complain(handle.name, f"failed with {type(error).__name__}")
                continue
            if isinstance(found, Cost):
                return found
            if found is not None:
                self._complain(handle.name, f"gave a {type(found).__name__} where a Cost or None is expected")
        return None

    def _drop(self, handle: PriceHandle) -> None:
        with self._lock:
            self._handles = tuple(one for one in self._handles if one is not handle)

    def _complain(self, name: str, what: str) -> None:
        if name not in self._complained:
            self._complained.add(name)
            _log.warning("price source %r %s; its answer is left out; said once", name, what)


class _Decorator:
    def __init__(self, registry: Prices, name: str | None, priority: int) -> None:
        self._options = registry, name, priority

    def __call__(self, source: PriceSource) -> PriceHandle:
        registry, name, priority = self._options
        return registry.register(source, name=name, priority=priority)


prices: Final = Prices()
"""The registry that exporters use unless they are given another."""


def cost_of(
    reported: Cost | None, provider: str | None, model: str | None, usage: Usage | None, *, source: Prices | None = None
) -> Cost | None:
    """Give the cost of a call: what the provider said it is, else what a price source says.

    Args:
        reported: from the provider's response.
        provider: who ran the model.
        model: the model that answered.
        usage: what the call took.
        source: a registry; default `prices`.

    Returns:
        The cost; None if nobody knows it.

    Example:
        >>> cost_of(Cost("0.01"), "openai", "small", None).amount, cost_of(None, "openai", "small", None)
        ('0.01', None)
    """
    if reported is not None:
        return reported
    return (prices if source is None else source).cost(provider, model, usage)


def _price(name: str, value: Any) -> Decimal:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if isinstance(value, bool) or not found.is_finite() or found < 0:
        raise UsageError(f"the price {name!r} for a million tokens must be a number of at least 0, not {value!r}")
    return found


def _times(count: int | None, price: Decimal | None) -> Decimal | None:
    """No tokens cost nothing, whatever their price."""
    if not count:
        return Decimal(0)
    return None if price is None else count * price / _PER


def _text(amount: Decimal) -> str:
    return format(amount.normalize(), "f")
