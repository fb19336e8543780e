"""The provider-neutral view of an LLM request and of its response.

A codec decodes a provider's JSON into these types and writes edits of them back. All are immutable: change one with
`.replace(...)`. A node remembers in `path` where it stood in the provider's JSON, so that an edit is written back to
exactly that place; `path` takes no part in comparisons. ``None`` means that nobody said: unknown is never zero.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable  # noqa: TC003  msgspec resolves annotations of the structs at run time
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Self, TypeAlias, cast

import msgspec
from msgspec import field
from msgspec.structs import force_setattr

from relay_core.errors import UsageError

__all__ = [
    "AudioPart",
    "Choice",
    "CitationPart",
    "CompactionPart",
    "Conversation",
    "Cost",
    "FilePart",
    "Finish",
    "FinishReason",
    "ImagePart",
    "LlmRequest",
    "LlmResponse",
    "Message",
    "NativePart",
    "Node",
    "Params",
    "Part",
    "PartBase",
    "Path",
    "Reasoning",
    "ReasoningPart",
    "RefusalPart",
    "ResponseFormat",
    "StreamInfo",
    "TextPart",
    "Timing",
    "ToolCallPart",
    "ToolChoice",
    "ToolDefinition",
    "ToolResultPart",
    "Usage",
    "VideoPart",
    "same",
]

Path: TypeAlias = tuple[str | int, ...]
FinishReason: TypeAlias = Literal[
    "stop", "length", "tool_call", "content_filter", "refusal", "pause", "error", "cancelled", "unknown"
]
_Source: TypeAlias = Literal["wire", "framework", "estimated"]
_SOURCES: tuple[_Source, ...] = (
    "wire",
    "framework",
    "estimated",
)  # strongest first; a sum is as strong as its weakest term
_BUCKETS = ("input_cache_read", "input_cache_write", "input_cache_write_1h", "output_reasoning")


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same JSON: ``1``, ``1.0`` and ``True`` differ, key order does not count.

    Example:
        >>> same({"a": 1, "b": [2]}, {"b": [2], "a": 1}), same(1, True), same(1, 1.0)
        (True, False, False)
    """
    if left is right:
        return True
    if isinstance(left, Node):
        names = left.compared_fields()
        return type(left) is type(right) and all(same(getattr(left, name), getattr(right, name)) for name in names)
    if isinstance(left, str):
        return isinstance(right, str) and left == right
    if isinstance(left, dict):
        a, b = cast("dict[Any, Any]", left), cast("dict[Any, Any]", right)
        return isinstance(right, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(left, list | tuple):
        c, d = cast("list[Any]", left), cast("list[Any]", right)
        return isinstance(right, list | tuple) and len(c) == len(d) and all(map(same, c, d))
    if isinstance(left, float):  # by text: a NaN is itself, and 0.0 is not -0.0
        return isinstance(right, float) and repr(left) == repr(right)
    return type(left) is type(right) and left == right


class Node(msgspec.Struct, frozen=True, kw_only=True, eq=False, omit_defaults=True, repr_omit_defaults=True):
    """Base of all neutral types.

    Args:
        path: where the node stands in the provider's JSON; ``None`` for a node that was made by hand.
    """

    path: Path | None = None

    def __eq__(self, other: object) -> bool:
        return same(self, other) if isinstance(other, Node) else NotImplemented

    def __hash__(self) -> int:
        # Text fields only: what else makes two nodes equal has no cheap hash that ignores paths and the order of keys.
        values = (getattr(self, name) for name in self.compared_fields())
        return hash((type(self), *(value for value in values if isinstance(value, str))))

    def compared_fields(self) -> Iterable[str]:
        """The names of the fields that make two nodes equal."""
        return (name for name in self.__struct_fields__ if name != "path")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises:
            UsageError: a name is not a field; the text lists those that are.

        Example:
            >>> TextPart("hello").replace(text="bye")
            TextPart(text='bye')
        """
        unknown = changes.keys() - set(self.__struct_fields__)
        if unknown:
            names = ", ".join(name for name in self.__struct_fields__ if name != "path")
            raise UsageError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}; it has {names}")
        return msgspec.structs.replace(self, **changes)

    def map_text(self, function: Callable[[str], str]) -> Self:
        """Return a copy with `function` applied to every text part below; nodes it does not change stay the same.

        Parts signed by the provider are left alone: it refuses a signed part that was edited.

        Example:
            >>> Message.user("call 555-1234").map_text(lambda text: text.replace("555-1234", "[phone]")).text
            'call [phone]'
        """
        changes: dict[str, Any] = {}
        for name in self.__struct_fields__:
            old = getattr(self, name)
            if not isinstance(old, tuple):
                continue
            items = cast("tuple[Any, ...]", old)
            new = tuple(item.map_text(function) if isinstance(item, Node) else item for item in items)
            if any(a is not b for a, b in zip(new, items, strict=True)):
                changes[name] = new
        return self.replace(**changes) if changes else self


class PartBase(Node, tag_field="type", kw_only=True, frozen=True):
    """What all parts of a message share.

    Args:
        immutable: the provider has signed the part; it may be dropped whole but not changed.
        cache_breakpoint: the provider's prompt cache ends here; an edit before it loses the cached prefix.
    """

    immutable: bool = False
    cache_breakpoint: bool = False


class TextPart(PartBase, tag="text", frozen=True):
    """Text."""

    text: str

    def map_text(self, function: Callable[[str], str]) -> Self:
        """Return a copy with `function` applied to the text, or this part if that changes nothing."""
        text = self.text if self.immutable else function(self.text)
        return self if text == self.text else self.replace(text=text)


class _MediaPart(PartBase, kw_only=True, frozen=True):
    """Bytes by reference or inline: one of `url` (may be a ``data:`` URL), `data` (base64) and `file_id`."""

    url: str | None = None
    data: str | None = None
    file_id: str | None = None
    mime: str | None = None
    name: str | None = None
    detail: str | None = None

    @property
    def inline(self) -> bool:
        """Whether the bytes themselves are in the part."""
        return self.data is not None or (self.url or "").startswith("data:")


class ImagePart(_MediaPart, tag="image", frozen=True):
    """A picture."""


class AudioPart(_MediaPart, tag="audio", frozen=True):
    """A sound."""


class VideoPart(_MediaPart, tag="video", frozen=True):
    """A film."""


class FilePart(_MediaPart, tag="file", frozen=True):
    """A document or any other file."""


class ReasoningPart(PartBase, tag="reasoning", kw_only=True, frozen=True):
    """What the model thought: as text, as a summary, encrypted, or redacted by the provider."""

    text: str | None = None
    signature: str | None = None
    encrypted: str | None = None
    redacted: bool = False


class RefusalPart(PartBase, tag="refusal", frozen=True):
    """The model's words for why it does not answer."""

    text: str


class ToolCallPart(PartBase, tag="tool_call", frozen=True):
    """The model asks for a tool.

    Args:
        name: of the tool.
        arguments: parsed; ``None`` when `arguments_raw` is not JSON.
        id: ties the call to its result; not every provider has one.
        arguments_raw: the arguments' JSON text. Either of the two gives the other.
        server: the provider runs the tool itself.

    Example:
        >>> call = ToolCallPart("search", {"q": "relay"})
        >>> call.arguments_raw, call.replace(arguments={"q": "x"}).arguments_raw
        ('{"q": "relay"}', '{"q": "x"}')
    """

    name: str
    arguments: Any = None
    id: str | None = None
    arguments_raw: str | None = None
    server: bool = False

    def __post_init__(self) -> None:
        if self.arguments is None and self.arguments_raw:
            try:
                force_setattr(self, "arguments", json.loads(self.arguments_raw))
            except (ValueError, RecursionError):  # models do write broken JSON; the raw text stays
                return
        elif self.arguments_raw is None and self.arguments is not None:
            force_setattr(self, "arguments_raw", json.dumps(self.arguments, ensure_ascii=False))

    def compared_fields(self) -> Iterable[str]:
        """Arguments that could be parsed count by value, not by their text."""
        ignored = {"path"} if self.arguments is None else {"path", "arguments_raw"}
        return (name for name in self.__struct_fields__ if name not in ignored)

    def replace(self, **changes: Any) -> Self:
        """Return a copy; a change of `arguments` also writes `arguments_raw`, and the other way round."""
        if "arguments" in changes and "arguments_raw" not in changes:
            changes["arguments_raw"] = None
        elif "arguments_raw" in changes and "arguments" not in changes:
            changes["arguments"] = None
        return super().replace(**changes)


class ToolResultPart(PartBase, tag="tool_result", frozen=True):
    """What a tool gave back."""

    call_id: str | None
    parts: tuple[Part, ...] = ()
    name: str | None = None
    is_error: bool | None = None
    server: bool = False

    def __post_init__(self) -> None:
        force_setattr(self, "parts", _as_parts(self.parts))


class CitationPart(PartBase, tag="citation", kw_only=True, frozen=True):
    """Where a statement comes from; `value` is the provider's annotation as it is."""

    url: str | None = None
    title: str | None = None
    value: Any = None


class CompactionPart(PartBase, tag="compaction", kw_only=True, frozen=True):
    """Earlier turns, compacted by the provider."""

    text: str | None = None
    encrypted: str | None = None


class NativePart(PartBase, tag="native", frozen=True):
    """A part that has no neutral form; only the provider's codec can read or write it."""

    provider: str
    kind: str
    value: Any = None


Part: TypeAlias = (
    TextPart
    | ImagePart
    | AudioPart
    | VideoPart
    | FilePart
    | ReasoningPart
    | RefusalPart
    | ToolCallPart
    | ToolResultPart
    | CitationPart
    | CompactionPart
    | NativePart
)


def _as_parts(value: Any) -> tuple[Part, ...]:
    """Accept a string, or any sequence of parts and strings, where a tuple of parts is meant."""
    if isinstance(value, str):
        return (TextPart(value),)
    return tuple(TextPart(item) if isinstance(item, str) else item for item in value or ())


def _text(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


class Message(Node, frozen=True):
    """One turn of a conversation.

    Args:
        role: system, developer, user, assistant or tool, or the provider's own word.
        parts: what it says; a string means one text part.

    Example:
        >>> Message.user("hi") == Message("user", "hi") == Message("user", (TextPart("hi"),))
        True
    """

    role: str
    parts: tuple[Part, ...] = ()
    name: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "parts", _as_parts(self.parts))

    @classmethod
    def user(cls, parts: str | Iterable[Part]) -> Self:
        """A message with role ``user``."""
        return cls("user", _as_parts(parts))

    @classmethod
    def system(cls, parts: str | Iterable[Part]) -> Self:
        """A message with role ``system``."""
        return cls("system", _as_parts(parts))

    @classmethod
    def assistant(cls, parts: str | Iterable[Part]) -> Self:
        """A message with role ``assistant``."""
        return cls("assistant", _as_parts(parts))

    @property
    def text(self) -> str:
        """The text parts joined; ``""`` if there are none."""
        return _text(self.parts)

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls among the parts."""
        return tuple(part for part in self.parts if isinstance(part, ToolCallPart))


class ToolDefinition(Node, frozen=True):
    """A tool that the model may call: a function, one that the provider runs (server), or a native form."""

    name: str
    description: str | None = None
    schema: Any = None
    strict: bool | None = None
    kind: Literal["function", "server", "native"] = "function"
    native: Any = None


class ToolChoice(Node, frozen=True):
    """Which tool the model must use: `mode` auto, none, required, tool (then `name`) or native (then `value`)."""

    mode: str
    name: str | None = None
    value: Any = None


class Params(Node, kw_only=True, frozen=True):
    """Sampling parameters and limits."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    def __post_init__(self) -> None:
        if self.stop is not None:
            force_setattr(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))


class Reasoning(Node, kw_only=True, frozen=True):
    """How much the model should think, and what it shows of it."""

    effort: str | None = None
    budget_tokens: int | None = None
    summary: str | None = None
    mode: str | None = None


class ResponseFormat(Node, frozen=True):
    """The form the answer must have: `type` text, json or json_schema, or the provider's own word."""

    type: str
    schema: Any = None
    name: str | None = None
    strict: bool | None = None


class Conversation(Node, kw_only=True, frozen=True):
    """State that the provider keeps for the caller."""

    previous_response_id: str | None = None
    conversation: str | None = None
    container: str | None = None
    cached_content: str | None = None


_NO_PARAMS = Params()


class LlmRequest(Node, kw_only=True, frozen=True):
    r"""What is asked of a model, in no provider's terms.

    Args:
        api: name of the codec that made the view, such as ``"openai_chat"``.
        operation: chat, embeddings, rerank, text, image.
        instructions: instructions that stand outside the messages, where the provider has such a place.
        api_specific: fields that only this API knows, by their native name.
        extra: fields that the codec does not know, by their native name.

    Example:
        >>> view = LlmRequest(api="openai_chat", messages=[Message.system("Be brief."), Message.user("hi")])
        >>> view = view.replace(max_output_tokens=512, stop="\n", model="small")
        >>> view.params.max_output_tokens, view.params.stop, view.system_prompt(), view.last_user_text()
        (512, ('\n',), 'Be brief.', 'hi')
    """

    api: str = "custom"
    operation: str = "chat"
    model: str | None = None
    instructions: tuple[Part, ...] = ()
    messages: tuple[Message, ...] = ()
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    params: Params = _NO_PARAMS
    reasoning: Reasoning | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    conversation: Conversation | None = None
    metadata: dict[str, Any] | None = None
    api_specific: dict[str, Any] = field(default_factory=dict[str, Any])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        force_setattr(self, "instructions", _as_parts(self.instructions))
        force_setattr(self, "messages", tuple(self.messages))
        force_setattr(self, "tools", tuple(self.tools))
        if isinstance(self.tool_choice, str):
            force_setattr(self, "tool_choice", ToolChoice(self.tool_choice))

    def replace(self, **changes: Any) -> Self:
        """Return a copy; the names of `Params`, such as ``max_output_tokens``, are accepted as well.

        Raises:
            UsageError: a name is neither a field nor a parameter.
        """
        routed = {name: changes.pop(name) for name in Params.__struct_fields__ if name != "path" and name in changes}
        unknown = changes.keys() - set(self.__struct_fields__)
        if unknown:
            names = ", ".join(name for name in (*self.__struct_fields__, *Params.__struct_fields__) if name != "path")
            raise UsageError(f"LlmRequest has no {', '.join(sorted(unknown))}; it has {names}")
        if routed:
            changes["params"] = changes.get("params", self.params).replace(**routed)
        return msgspec.structs.replace(self, **changes)

    def system_prompt(self) -> str:
        """All instructions: those beside the messages and the system and developer messages, one per line."""
        texts = [_text(self.instructions)]
        texts += [message.text for message in self.messages if message.role in {"system", "developer"}]
        return "\n".join(text for text in texts if text)

    def last_user_text(self) -> str | None:
        """The text of the last user message that has one; ``None`` if there is none."""
        texts = (message.text for message in reversed(self.messages) if message.role == "user")
        return next((text for text in texts if text), None)


class Finish(Node, frozen=True):
    """Why the model stopped: the neutral reason and the provider's own word."""

    reason: FinishReason
    native: str | None = None


class Choice(Node, kw_only=True, frozen=True):
    """One answer; a request with ``n`` above 1 gets several."""

    index: int = 0
    role: str = "assistant"
    parts: tuple[Part, ...] = ()
    finish: Finish | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "parts", _as_parts(self.parts))

    @property
    def text(self) -> str:
        """The text parts joined; ``""`` if there are none."""
        return _text(self.parts)

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls among the parts."""
        return tuple(part for part in self.parts if isinstance(part, ToolCallPart))


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
        return _total(self.input_uncached, self.input_cache_read, self.input_cache_write, self.input_cache_write_1h)

    @property
    def output_tokens(self) -> int | None:
        """All output tokens, reasoning included; ``None`` if unknown."""
        return _total(self.output_text, self.output_reasoning)

    @property
    def total_tokens(self) -> int | None:
        """Input and output; the provider's own total if one of the two is unknown."""
        if self.input_tokens is None or self.output_tokens is None:
            return self.reported_total
        return self.input_tokens + self.output_tokens

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


def _total(whole: int | None, *details: int | None) -> int | None:
    return None if whole is None else whole + sum(detail or 0 for detail in details)


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


class Timing(Node, kw_only=True, frozen=True):
    """Seconds: until the first chunk of a stream, and until the end."""

    time_to_first_chunk: float | None = None
    duration: float | None = None


class StreamInfo(Node, kw_only=True, frozen=True):
    """How a stream went: number of chunks, whether the provider's terminal event was seen, and why it ended."""

    events: int = 0
    complete: bool = False
    end_cause: str | None = None


class LlmResponse(Node, kw_only=True, frozen=True):
    """What a model answered, in no provider's terms.

    Args:
        api: name of the codec that made the view.
        request_id: the provider's id of the HTTP request, where it is known.
        created: seconds since 1970.
        api_specific: fields that only this API knows, by their native name.
        extra: fields that the codec does not know, by their native name.

    Example:
        >>> response = LlmResponse(choices=[Choice(parts="4", finish=Finish("stop"))])
        >>> response.text, response.finish, response.tool_calls
        ('4', Finish(reason='stop'), ())
    """

    api: str = "custom"
    id: str | None = None
    request_id: str | None = None
    model: str | None = None
    created: int | float | None = None
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    cost: Cost | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    timing: Timing | None = None
    stream: StreamInfo | None = None
    api_specific: dict[str, Any] = field(default_factory=dict[str, Any])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        force_setattr(self, "choices", tuple(self.choices))

    @property
    def text(self) -> str:
        """The text of the first choice; ``""`` if there is none."""
        return self.choices[0].text if self.choices else ""

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls of the first choice."""
        return self.choices[0].tool_calls if self.choices else ()

    @property
    def finish(self) -> Finish | None:
        """Why the first choice stopped."""
        return self.choices[0].finish if self.choices else None
