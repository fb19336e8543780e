"""Messages of chat completions: from their JSON to neutral parts and, for new ones, back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_adapter_openai.codecs.wire import (
    audio_of,
    built_audio,
    citation_of,
    kind_of,
    plain_text,
    tables_in,
    tool_call,
)
from relay_core.codec_parts import known, list_of, table_of, text_of
from relay_core.errors import CodecError
from relay_core.lens import copy_json
from relay_core.llm import (
    AudioPart,
    CitationPart,
    FilePart,
    ImagePart,
    Message,
    NativePart,
    Part,
    Path,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    VideoPart,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "API",
    "HOMES",
    "SPECIFIC",
    "build_home",
    "build_message",
    "build_part",
    "build_parts",
    "check_messages",
    "home_of",
    "read_message",
    "read_parts",
]

API: Final = "openai_chat"
_TEXT_HOMES: Final = ("reasoning", "reasoning_content")  # of OpenRouter and vLLM
_LIST_HOMES: Final = ("reasoning_details", "thinking_blocks")
HOMES: Final = (*_TEXT_HOMES, *_LIST_HOMES, "content", "refusal", "audio", "images", "annotations", "tool_calls")
"""The keys of a message that hold its parts, in the order of the parts."""
SPECIFIC: Final = frozenset(
    [
        "audio",
        "logit_bias",
        "logprobs",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "top_logprobs",
        "user",
        "verbosity",
        "web_search_options",
    ]
)
"""Names of fields of a request that only this API knows."""
_MEDIA: Final = {"image_url": ImagePart, "video_url": VideoPart, "audio_url": AudioPart}
_CALLS: Final = {"function": "arguments", "custom": "input"}


# --- reading ----------------------------------------------------------------------------------------------------------


def read_message(item: dict[str, Any], path: Path) -> Message:
    """Read one message of a request."""
    role = text_of(item.get("role")) or ""
    parts: Sequence[Part] = read_parts(item, path)
    if role in {"tool", "function"}:
        parts = [ToolResultPart(text_of(item.get("tool_call_id")), tuple(parts), path=path)]
    return Message(role, tuple(parts), name=text_of(item.get("name")), path=path)


def read_parts(item: dict[str, Any], path: Path) -> list[Part]:
    """Read the parts of a message, from all the keys that hold some."""
    parts: list[Part] = []
    for key in HOMES:
        value = item.get(key)
        if value is not None:
            parts += _READERS.get(key, _read_list)(value, (*path, key))
    legacy = item.get("function_call")
    if isinstance(legacy, dict):
        parts.append(_read_function(legacy, (*path, "function_call"), None))
    return parts


def _read_thought(value: Any, path: Path) -> list[Part]:
    return [ReasoningPart(text=value, path=path)] if isinstance(value, str) else _read_list(value, path)


def _read_content(value: Any, path: Path) -> list[Part]:
    return [TextPart(value, path=path)] if isinstance(value, str) else _read_list(value, path)


def _read_refusal(value: Any, path: Path) -> list[Part]:
    return [RefusalPart(value, path=path)] if isinstance(value, str) else []


def _read_spoken(value: Any, path: Path) -> list[Part]:
    """The sound of an answer and what it says, as text that policy can see."""
    table = table_of(value)
    if not table:
        return []
    sound = AudioPart(data=text_of(table.get("data")), file_id=text_of(table.get("id")), path=path)
    said = table.get("transcript")
    return [sound, TextPart(said, path=(*path, "transcript"))] if isinstance(said, str) else [sound]


def _read_citations(value: Any, path: Path) -> list[Part]:
    return [citation_of(item, (*path, index)) for index, item in enumerate(list_of(value))]


def _read_calls(value: Any, path: Path) -> list[Part]:
    return [_read_call(item, (*path, index)) for index, item in enumerate(list_of(value))]


def _read_list(value: Any, path: Path) -> list[Part]:
    return [_read_part(item, (*path, index)) for index, item in enumerate(list_of(value))]


_READERS: Final[dict[str, Callable[[Any, Path], list[Part]]]] = {
    "reasoning": _read_thought,
    "reasoning_content": _read_thought,
    "content": _read_content,
    "refusal": _read_refusal,
    "audio": _read_spoken,
    "annotations": _read_citations,
    "tool_calls": _read_calls,
}


def _read_part(value: Any, path: Path) -> Part:
    """Read one block of content; one of no known shape is kept as it is."""
    if isinstance(value, str):
        return TextPart(value, path=path)
    table = table_of(value)
    kind = kind_of(table)
    part = _read_thinking(table, kind, path) or _read_known(table, kind, path)
    if part is None:
        return NativePart(API, kind or "part", copy_json(value), path=path)
    return part.replace(cache_breakpoint=True) if table.get("cache_control") is not None else part


def _read_known(table: dict[Any, Any], kind: str, path: Path) -> Part | None:
    text = table.get("refusal" if kind == "refusal" else "text")
    if kind in {"text", "refusal"} and isinstance(text, str):
        return TextPart(text, path=path) if kind == "text" else RefusalPart(text, path=path)
    inner = table.get(kind)
    if kind in _MEDIA and isinstance(inner, str | dict):
        url = text_of(inner) or text_of(table_of(inner).get("url"))
        return _MEDIA[kind](url=url, detail=text_of(table_of(inner).get("detail")), path=path)
    if not isinstance(inner, dict):
        return None
    if kind == "input_audio":
        return audio_of(inner, path)
    if kind == "file":
        data, name = text_of(table_of(inner).get("file_data")), text_of(table_of(inner).get("filename"))
        return FilePart(data=data, file_id=text_of(table_of(inner).get("file_id")), name=name, path=path)
    return None


def _read_thinking(table: dict[Any, Any], kind: str, path: Path) -> Part | None:
    """Reasoning as compatible servers give it; what carries a signature or is encrypted must stay whole."""
    if kind in {"reasoning.encrypted", "redacted_thinking"}:
        return ReasoningPart(encrypted=text_of(table.get("data")), redacted=True, immutable=True, path=path)
    key = _THOUGHTS.get(kind)
    if key is None:
        return None
    said = table.get(key)
    chunks = [text_of(table_of(chunk).get("text")) or "" for chunk in list_of(said)]  # of Mistral
    text = "".join(chunks) if chunks else text_of(said)
    signature = text_of(table.get("signature"))
    if text is None and signature is None:
        return None
    return ReasoningPart(text=text, signature=signature, immutable=bool(signature), path=path)


_THOUGHTS: Final = {"reasoning.text": "text", "reasoning.summary": "summary", "thinking": "thinking"}


def _read_call(value: Any, path: Path) -> Part:
    table = table_of(value)
    for kind in _CALLS:
        if isinstance(table.get(kind), dict):
            part = _read_function(table[kind], (*path,), text_of(table.get("id")), _CALLS[kind])
            signed = table_of(table_of(table.get("extra_content")).get("google")).get("thought_signature")
            return part.replace(immutable=True) if signed else part
    return NativePart(API, text_of(table.get("type")) or "tool_call", copy_json(value), path=path)


def _read_function(function: dict[str, Any], path: Path, call_id: str | None, key: str = "arguments") -> Part:
    name = function.get("name")
    return tool_call(name if isinstance(name, str) else "", function.get(key), path, id=call_id)


# --- building ---------------------------------------------------------------------------------------------------------


def build_message(message: Message) -> dict[str, Any]:
    """Build the JSON of a new message.

    Raises:
        CodecError: a part has no form in a chat completion.
    """
    named = known(name=message.name)
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], ToolResultPart):
        result = parts[0]
        call = known(tool_call_id=result.call_id)
        return {"role": message.role, **call, **named, **build_parts(result.parts, message.role)}
    return {"role": message.role, **named, **build_parts(parts, message.role)}


def build_parts(parts: Sequence[Part], role: str = "assistant") -> dict[str, Any]:
    """Build the keys of a message that hold its parts."""
    homes: dict[str, list[Part]] = {"content": []}
    for part in parts:
        homes.setdefault(home_of(part, {}), []).append(part)
    result = {key: build_home(key, held) for key, held in homes.items()}
    result["content"] = result["content"] if homes["content"] else (None if role == "assistant" else [])
    return result


def build_home(key: str, parts: Sequence[Part]) -> Any:
    """Build the value of one key from all its parts.

    Raises:
        CodecError: the key holds one text, and there are several.
    """
    if key in {*_TEXT_HOMES, "refusal", "audio", "function_call"} and len(parts) != 1:
        raise CodecError(f"a message of a chat completion has one {key}, not {len(parts)}")
    if key in {*_TEXT_HOMES, "refusal"}:
        return getattr(parts[0], "text", None)
    if key == "audio":
        return known(id=getattr(parts[0], "file_id", None))
    if key == "function_call":
        return build_part(parts[0])["function"]
    text = plain_text(parts) if key == "content" else None
    return text if text is not None else [build_part(part) for part in parts]


def home_of(part: Part, message: dict[Any, Any]) -> str:
    """The key of a message that a part belongs under."""
    if isinstance(part, ReasoningPart):
        listed = next((key for key in _LIST_HOMES if isinstance(message.get(key), list)), None)
        if listed or part.signature or part.encrypted:
            return listed or "reasoning_details"
        return "reasoning" if "reasoning" in message else "reasoning_content"
    if isinstance(part, AudioPart) and part.file_id and not part.data:
        return "audio"
    if isinstance(part, ToolCallPart):
        return "function_call" if "function_call" in message and not message.get("tool_calls") else "tool_calls"
    return {RefusalPart: "refusal", CitationPart: "annotations"}.get(type(part), "content")


def build_part(part: Part) -> Any:
    """Build the JSON of a new part.

    Raises:
        CodecError: it has no form in a chat completion.
    """
    built = _BUILDERS.get(type(part), _no_form)(part)
    if part.cache_breakpoint and isinstance(built, dict) and not isinstance(part, NativePart):
        return {**built, "cache_control": {"type": "ephemeral"}}
    return built


def _no_form(part: Part) -> Any:
    raise CodecError(f"a {type(part).__name__} cannot be written into a chat completion")


def _build_call(part: ToolCallPart) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments_raw if part.arguments_raw is not None else ""}
    return {**known(id=part.id), "type": "function", "function": function}


def _build_thought(part: ReasoningPart) -> dict[str, Any]:
    if part.encrypted is not None:
        return {"type": "reasoning.encrypted", "data": part.encrypted}
    return {"type": "reasoning.text", **known(text=part.text, signature=part.signature)}


def _build_file(part: FilePart) -> dict[str, Any]:
    return {"type": "file", "file": known(file_data=part.data, file_id=part.file_id, filename=part.name)}


def _build_audio(part: AudioPart) -> dict[str, Any]:
    if part.url:
        return {"type": "audio_url", "audio_url": {"url": part.url}}
    return {"type": "input_audio", "input_audio": built_audio(part)}


def _build_native(part: NativePart) -> Any:
    return part.value if part.provider == API else _no_form(part)


_BUILDERS: Final[dict[type, Callable[[Any], Any]]] = {
    TextPart: lambda part: {"type": "text", "text": part.text},
    RefusalPart: lambda part: {"type": "refusal", "refusal": part.text},
    ImagePart: lambda part: {"type": "image_url", "image_url": known(url=part.url, detail=part.detail)},
    VideoPart: lambda part: {"type": "video_url", "video_url": known(url=part.url)},
    AudioPart: _build_audio,
    FilePart: _build_file,
    ReasoningPart: _build_thought,
    ToolCallPart: _build_call,
    CitationPart: lambda part: part.value,
    NativePart: _build_native,
}


def check_messages(value: Any) -> list[dict[str, Any]]:
    """The messages of a request.

    Raises:
        CodecError: they are no list of objects.
    """
    if not isinstance(value, list):
        raise CodecError("a chat request must be a dict with a list of messages")
    return tables_in(value, ("messages",))
