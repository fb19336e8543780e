"""The provider-neutral view of an LLM request and of its response.

A codec decodes a provider's JSON into these types and writes edits of them back. All are immutable: change one with
`.replace(...)`. A node remembers in `path` where it stood in the provider's JSON, so that an edit is written back to
exactly that place; `path` takes no part in comparisons. ``None`` means that nobody said: unknown is never zero.
"""

from __future__ import annotations

from typing import Any, Literal, Self, TypeAlias

import msgspec
from msgspec import field
from msgspec.structs import force_setattr

from relay_core.errors import UsageError
from relay_core.llm_parts import (
    AudioPart,
    CitationPart,
    CompactionPart,
    FilePart,
    ImagePart,
    Message,
    NativePart,
    Node,
    Part,
    PartBase,
    Path,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    VideoPart,
    as_parts,
    joined_text,
    same,
)
from relay_core.usage import Cost, Usage

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

FinishReason: TypeAlias = Literal[
    "stop", "length", "tool_call", "content_filter", "refusal", "pause", "error", "cancelled", "unknown"
]


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
        if (instructions := as_parts(self.instructions)) is not self.instructions:
            force_setattr(self, "instructions", instructions)
        if type(self.messages) is not tuple:
            force_setattr(self, "messages", tuple(self.messages))
        if type(self.tools) is not tuple:
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
        texts = [joined_text(self.instructions)]
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
        if (parts := as_parts(self.parts)) is not self.parts:
            force_setattr(self, "parts", parts)

    @property
    def text(self) -> str:
        """The text parts joined; ``""`` if there are none."""
        return joined_text(self.parts)

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls among the parts."""
        return tuple(part for part in self.parts if isinstance(part, ToolCallPart))


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
        if type(self.choices) is not tuple:
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
