"""Items of the Responses API: from their JSON to neutral parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_adapter_openai.codecs.wire import audio_of, citation_of, kind_of, tool_call
from relay_core.codec_parts import copy_fields, list_of, table_of, text_of
from relay_core.lens import copy_json
from relay_core.llm import (
    CompactionPart,
    FilePart,
    ImagePart,
    Message,
    NativePart,
    Part,
    Path,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolResultPart,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["API", "CALLS", "OUTPUTS", "TEXTS", "Call", "is_message", "read_item", "read_message"]

API: Final = "openai_responses"
TEXTS: Final = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})


class Call(msgspec.Struct, frozen=True):
    """How a kind of item is a tool call.

    Args:
        name: of the tool; ``None`` if the item names it.
        arguments: the key of the arguments; several keys make one object of them.
        id: the key of the id that the result refers to.
        server: the provider runs the tool.
        result: the key of the result, if the item has it too.
    """

    name: str | None
    arguments: tuple[str, ...]
    id: str = "call_id"
    server: bool = False
    result: str | None = None


CALLS: Final = {
    "function_call": Call(None, ("arguments",)),
    "custom_tool_call": Call(None, ("input",)),
    "computer_call": Call("computer", ("action",)),
    "local_shell_call": Call("local_shell", ("action",)),
    "shell_call": Call("shell", ("action",)),
    "apply_patch_call": Call("apply_patch", ("operation",)),
    "tool_search_call": Call("tool_search", ("arguments",)),
    "program": Call("program", ("code", "fingerprint"), server=True),
    "web_search_call": Call("web_search", ("action",), "id", server=True),
    "file_search_call": Call("file_search", ("queries", "query"), "id", server=True, result="results"),
    "code_interpreter_call": Call("code_interpreter", ("code", "container_id"), "id", server=True, result="outputs"),
    "image_generation_call": Call(
        "image_generation",
        ("action", "revised_prompt", "size", "quality", "background", "output_format"),
        "id",
        server=True,
        result="result",
    ),
    "mcp_call": Call(None, ("arguments",), "id", server=True, result="output"),
}
OUTPUTS: Final = {
    "function_call_output": ("call_id", "output"),
    "custom_tool_call_output": ("call_id", "output"),
    "computer_call_output": ("call_id", "output"),
    "local_shell_call_output": ("id", "output"),
    "shell_call_output": ("call_id", "output"),
    "apply_patch_call_output": ("call_id", "output"),
    "program_output": ("call_id", "result"),
}
"""The keys of the call's id and of the result, by the kind of an item that is a result."""


def is_message(item: dict[Any, Any]) -> bool:
    """Whether an item is a message; the kind may be left out."""
    kind = item.get("type")
    return kind == "message" or (kind is None and "role" in item)


def read_message(item: dict[str, Any], path: Path) -> Message:
    """Read one input item as a message."""
    kind = kind_of(item)
    role = text_of(item.get("role"))
    if role is None:
        role = "tool" if kind in OUTPUTS else "user" if kind == "mcp_approval_response" else "assistant"
    return Message(role, tuple(read_item(item, path)), id=text_of(item.get("id")), path=path)


def read_item(item: dict[str, Any], path: Path) -> list[Part]:
    """Read the parts of one item, of a request or of a response."""
    kind = kind_of(item)
    if is_message(item):
        return _read_content(item.get("content"), (*path, "content"))
    if kind in CALLS:
        return _read_call(item, CALLS[kind], path)
    if kind in OUTPUTS:
        return [_read_output(item, kind, path)]
    if kind == "reasoning":
        return [_read_reasoning(item, path)]
    if kind in {"compaction", "compaction_summary"} and isinstance(item.get("encrypted_content"), str):
        return [CompactionPart(encrypted=item["encrypted_content"], immutable=True, path=path)]
    return [NativePart(API, kind or "item", copy_json(item), path=path)]


def _read_reasoning(item: dict[str, Any], path: Path) -> Part:
    """A thought: summary and text in one part; what is encrypted binds the whole item."""
    chunks = [table_of(chunk).get("text") for key in ("summary", "content") for chunk in list_of(item.get(key))]
    texts = [chunk for chunk in chunks if isinstance(chunk, str)]
    encrypted = text_of(item.get("encrypted_content"))
    text = "\n\n".join(texts) if texts else None
    return ReasoningPart(text=text, encrypted=encrypted, immutable=encrypted is not None, path=path)


def _read_content(value: Any, path: Path) -> list[Part]:
    if isinstance(value, str):
        return [TextPart(value, path=path)]
    return [_read_block(block, (*path, index)) for index, block in enumerate(list_of(value))]


def _read_block(value: Any, path: Path) -> Part:
    """Read one block of content; one of no known shape is kept as it is."""
    table = table_of(value)
    kind = kind_of(table)
    if kind in TEXTS and isinstance(table.get("text"), str):
        marks = enumerate(list_of(table.get("annotations")))
        cited = tuple(citation_of(mark, (*path, "annotations", index)) for index, mark in marks)
        return TextPart(table["text"], cited, path=path)
    if kind == "refusal" and isinstance(table.get("refusal"), str):
        return RefusalPart(table["refusal"], path=path)
    if kind in {"input_image", "computer_screenshot"} and not isinstance(table.get("image_url"), dict | list):
        url, file_id = text_of(table.get("image_url")), text_of(table.get("file_id"))
        return ImagePart(url=url, file_id=file_id, detail=text_of(table.get("detail")), path=path)
    if kind == "input_file":
        url, data = text_of(table.get("file_url")), text_of(table.get("file_data"))
        name, file_id = text_of(table.get("filename")), text_of(table.get("file_id"))
        return FilePart(url=url, data=data, file_id=file_id, name=name, path=path)
    if kind == "input_audio" and isinstance(table.get("input_audio"), dict):
        return audio_of(table["input_audio"], path)
    return NativePart(API, kind or "part", copy_json(value), path=path)


# --- tools ------------------------------------------------------------------------------------------------------------


def _read_call(item: dict[str, Any], call: Call, path: Path) -> list[Part]:
    name = call.name if call.name is not None else text_of(item.get("name")) or ""
    call_id = text_of(item.get(call.id)) or text_of(item.get("id"))
    key = call.arguments[0]
    if key == "action" and "actions" in item:
        key = "actions"
    arguments = item.get(key) if len(call.arguments) == 1 else copy_fields(item, keep=call.arguments)
    server = call.server or item.get("execution") == "server"
    part: Part = tool_call(name, arguments, path, id=call_id, server=server)
    if call.result is None or (item.get(call.result) is None and item.get("error") is None):
        return [part]
    return [part, _server_result(item, call.result, call_id, path)]


def _server_result(item: dict[str, Any], key: str, call_id: str | None, path: Path) -> ToolResultPart:
    """The result of a tool that the provider ran, which stands in the item of the call."""
    failed = item.get("error") is not None
    where: Path = (*path, "error" if failed and item.get(key) is None else key)
    value = item.get(str(where[-1]))
    parts = _RESULTS.get(key, _read_list)(value, where, item)
    return ToolResultPart(call_id, tuple(parts), is_error=failed or None, server=True, path=where)


def _read_list(value: Any, path: Path, item: dict[str, Any]) -> list[Part]:
    """Outputs of the code interpreter, results of a file search, what an MCP server gave back, an error."""
    del item
    if isinstance(value, str):
        return [TextPart(value, path=path)]
    if isinstance(value, dict):
        return [NativePart(API, text_of(table_of(value).get("type")) or "result", copy_json(value), path=path)]
    return [_read_result(entry, (*path, index)) for index, entry in enumerate(list_of(value))]


def _read_result(entry: Any, path: Path) -> Part:
    table = table_of(entry)
    kind = text_of(table.get("type")) or "result"
    if kind == "logs" and isinstance(table.get("logs"), str):
        return TextPart(table["logs"], path=(*path, "logs"))
    if kind == "image" and isinstance(table.get("url"), str):
        return ImagePart(url=table["url"], path=path)
    if kind == "result" and isinstance(table.get("text"), str):
        name, file_id = text_of(table.get("filename")), text_of(table.get("file_id"))
        return FilePart(file_id=file_id, name=name, text=table["text"], path=path)
    return NativePart(API, kind, copy_json(entry), path=path)


def _read_image(value: Any, path: Path, item: dict[str, Any]) -> list[Part]:
    if not isinstance(value, str):
        return _read_list(value, path, item)
    form = text_of(item.get("output_format"))
    return [ImagePart(data=value, mime=form and f"image/{form}", path=path)]


_RESULTS: Final[dict[str, Callable[[Any, Path, dict[str, Any]], list[Part]]]] = {"result": _read_image}


def _read_output(item: dict[str, Any], kind: str, path: Path) -> Part:
    """The result of a tool that the caller ran, which is an item of its own."""
    id_key, key = OUTPUTS[kind]
    value, where = item.get(key), (*path, key)
    if kind == "shell_call_output":
        parts = [part for index, entry in enumerate(list_of(value)) for part in _read_shell(entry, (*where, index))]
    elif isinstance(value, dict):
        parts = [_read_block(value, where)]
    else:
        parts = _read_content(value, where)
    failed = item.get("status") == "failed"
    return ToolResultPart(text_of(item.get(id_key)), tuple(parts), is_error=failed or None, path=path)


def _read_shell(entry: Any, path: Path) -> list[Part]:
    table = table_of(entry)
    keys = [key for key in ("stdout", "stderr") if isinstance(table.get(key), str)]
    if not keys:
        return [NativePart(API, "output", copy_json(entry), path=path)]
    return [TextPart(table[key], path=(*path, key)) for key in keys]
