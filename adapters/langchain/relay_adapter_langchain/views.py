"""Reading the observed shape of a model request or response as a neutral view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_adapter_langchain.messages import message_view
from relay_core.llm import (
    Choice,
    Finish,
    LlmRequest,
    LlmResponse,
    Params,
    Reasoning,
    ToolCallPart,
    ToolChoice,
    ToolDefinition,
    Usage,
    same,
)
from relay_core.payloads import Encoder, Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_core.llm import FinishReason

__all__ = ["native_tool_choice", "request_view", "response_view", "spelling"]

_SPELLINGS: Final = {
    "max_output_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "stop": ("stop", "stop_sequences"),
}
_MODES: Final = {"auto": "auto", "none": "none", "any": "required", "required": "required"}
_MODALITIES: Final = ("text", "audio", "image", "video")
_FINISH: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "STOP": "stop",
    "length": "length",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "tool_calls": "tool_call",
    "tool_use": "tool_call",
    "content_filter": "content_filter",
    "refusal": "refusal",
}


def spelling(name: str, settings: Mapping[str, Any]) -> str:
    """Give the key of a parameter: the one in use, else the usual one.

    Example:
        >>> spelling("max_output_tokens", {}), spelling("max_output_tokens", {"max_completion_tokens": 5})
        ('max_tokens', 'max_completion_tokens')
    """
    names = _SPELLINGS.get(name, (name,))
    return next((known for known in names if known in settings), names[0])


def request_view(native: Mapping[str, Any]) -> LlmRequest:
    """Read a request."""
    values = {name: native.get(spelling(name, native)) for name in Params.__struct_fields__ if name != "path"}
    stop = values["stop"]
    values["stop"] = tuple(stop) if isinstance(stop, list | tuple) else (stop,) if isinstance(stop, str) else None
    model = native.get("model")
    messages = native.get("messages") or []
    return LlmRequest(
        api="langchain",
        model=model if isinstance(model, str) else None,
        messages=tuple(message_view(_open(item), ("messages", i)) for i, item in enumerate(messages)),
        tools=tuple(_tool(_open(item), i) for i, item in enumerate(native.get("tools") or [])),
        tool_choice=_tool_choice(native.get("tool_choice")),
        parallel_tool_calls=native.get("parallel_tool_calls"),
        params=Params(**values),
        reasoning=_reasoning(native),
    )


def _reasoning(native: Mapping[str, Any]) -> Reasoning | None:
    """Read how much the model shall think, as OpenAI's, Anthropic's and Google's packages take it."""
    inner = native.get("reasoning")
    inner = inner if isinstance(inner, dict) else {}
    thinking = native.get("thinking")
    thinking = thinking if isinstance(thinking, dict) else {}
    effort = native.get("reasoning_effort") or inner.get("effort")
    budget = thinking.get("budget_tokens") or native.get("thinking_budget")
    found = Reasoning(effort=effort, budget_tokens=budget, summary=inner.get("summary"), mode=thinking.get("type"))
    return None if same(found, Reasoning()) else found


def _open(item: Any) -> Any:
    """Open a part of an observed shape; there it is without credentials, as observers get it."""
    return Encoder().tree(item.value) if type(item) is Frozen else item


def _tool(tool: Any, index: int) -> ToolDefinition:
    path = ("tools", index)
    function = tool.get("function", tool) if isinstance(tool, dict) else {}
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        kind = tool.get("type") if isinstance(tool, dict) else None
        return ToolDefinition(str(kind or "unknown"), kind="native", native=tool, path=path)
    schema = function.get("parameters") or function.get("input_schema")
    return ToolDefinition(name, function.get("description"), schema, function.get("strict"), path=path)


def _tool_choice(choice: Any) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, bool):
        return ToolChoice("required" if choice else "auto")
    if isinstance(choice, str):
        mode = _MODES.get(choice)
        return ToolChoice(mode) if mode else ToolChoice("tool", choice)
    name = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    return ToolChoice("tool", name) if name else ToolChoice("native", value=choice)


def native_tool_choice(choice: ToolChoice | None) -> Any:
    """Spell a tool choice for LangChain."""
    if choice is None:
        return None
    if choice.mode == "tool":
        return choice.name
    return choice.value if choice.mode == "native" else {"required": "any"}.get(choice.mode, choice.mode)


# -- responses -------------------------------------------------------------------------------------------------------


def response_view(native: Mapping[str, Any]) -> LlmResponse:
    """Read a response: the observed shape, or the fields of LangChain's ``ModelResponse``."""
    result = native.get("result")
    if isinstance(result, list) and result:
        native = _of_messages(_open(result[0]))
    choices = native.get("choices") or []
    return LlmResponse(
        api="langchain",
        id=native.get("id"),
        model=native.get("model"),
        choices=tuple(_choice(_open(item), i) for i, item in enumerate(choices)),
        usage=_usage(_open(native.get("usage"))),
        service_tier=native.get("service_tier"),
        system_fingerprint=native.get("system_fingerprint"),
    )


def _of_messages(message: Mapping[str, Any]) -> dict[str, Any]:
    facts = message.get("response_metadata") or {}
    return {
        "id": facts.get("id"),
        "model": facts.get("model_name") or facts.get("model"),
        "choices": [
            {"message": {"role": "assistant", **message}, "finish_reason": facts.get("finish_reason")},
        ],
        "usage": message.get("usage_metadata"),
    }


def _choice(choice: Any, index: int) -> Choice:
    message = message_view(_open(choice["message"]), ("choices", index, "message"))
    native = choice.get("finish_reason")
    finish = None
    if isinstance(native, str):
        finish = Finish(_FINISH.get(native, "unknown"), native)
    elif any(isinstance(part, ToolCallPart) for part in message.parts):
        finish = Finish("tool_call")
    return Choice(index=index, parts=message.parts, finish=finish)


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict) or not usage:
        return None
    given = usage.get("input_token_details") or {}
    made = usage.get("output_token_details") or {}
    return Usage.from_inclusive(
        input_tokens=_first(usage, "input_tokens", "prompt_tokens"),
        output_tokens=_first(usage, "output_tokens", "completion_tokens"),
        cache_read=given.get("cache_read"),
        cache_write=given.get("cache_creation"),
        reasoning=made.get("reasoning"),
        input_modalities=_modalities(given),
        output_modalities=_modalities(made),
        total=usage.get("total_tokens"),
        source="framework",
        raw=usage,
    )


def _modalities(details: Mapping[str, Any]) -> dict[str, int] | None:
    found = {name: details[name] for name in _MODALITIES if isinstance(details.get(name), int)}
    return found or None


def _first(fields: Mapping[str, Any], *names: str) -> int | None:
    return next((fields[name] for name in names if isinstance(fields.get(name), int)), None)
