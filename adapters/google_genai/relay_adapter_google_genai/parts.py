"""Parts of Gemini's contents, read as neutral parts and built from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_adapter_google_genai.names import camel, get, spelled
from relay_core.codec_parts import known, list_of, table_of, text_of
from relay_core.errors import CodecError
from relay_core.lens import Edit, Op, copy_json, put, value_at
from relay_core.llm import (
    AudioPart,
    FilePart,
    ImagePart,
    NativePart,
    Part,
    Path,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    VideoPart,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["API", "build_bare", "build_part", "read_parts", "result_ops"]

API: Final = "gemini_generate_content"
_CODE: Final = "code_execution"
_BESIDE: Final = frozenset(
    [
        "thought",
        "thoughtSignature",
        "videoMetadata",
        "partMetadata",
        "mediaResolution",
        "mediaProcessing",
        "speechMetadata",
    ]
)
_OUTCOMES: Final = {"OUTCOME_OK": False, "1": False, "OUTCOME_UNSPECIFIED": None, "0": None}
# Where a function's answer is one text, its key says how it went.
_ANSWERS: Final[dict[str, bool | None]] = {"result": None, "output": False, "error": True}
_MEDIA: Final = {"image": ImagePart, "audio": AudioPart, "video": VideoPart}


def read_parts(parts: Any, path: Path) -> tuple[Part, ...]:
    """The neutral parts of a list of parts; a lone string is one text."""
    if isinstance(parts, str):
        return (TextPart(parts, path=path),)
    return tuple(_read(part, (*path, index)) for index, part in enumerate(list_of(parts)))


def _read(part: Any, path: Path) -> Part:
    table = table_of(part)
    signature = text_of(get(table, "thoughtSignature"))
    found = _text(table, signature, path)
    if found is None:
        kinds = {camel(key): key for key in table if isinstance(key, str)}
        others = [name for name in kinds if name not in _BESIDE]
        kind = next((name for name in others if name in _READERS), next(iter(others), ""))
        value, reader = table.get(kinds.get(kind, "")), _READERS.get(kind)
        found = reader(value, path, kinds[kind]) if reader is not None and isinstance(value, dict) else None
        if found is None and not kind and signature is not None:
            return ReasoningPart(signature=signature, immutable=True, path=path)
        found = found or NativePart(API, kind, copy_json(part), path=path)
    return found if signature is None else found.replace(immutable=True)


def _text(table: dict[Any, Any], signature: str | None, path: Path) -> Part | None:
    text = text_of(table.get("text"))
    if text is None:
        return None
    if table.get("thought") is True:
        return ReasoningPart(text=text, signature=signature, path=path)
    return TextPart(text, path=path)


def _call(value: dict[Any, Any], path: Path, _key: str) -> Part | None:
    name = text_of(value.get("name"))
    call_id, arguments = text_of(value.get("id")), copy_json(value.get("args"))
    return None if name is None else ToolCallPart(name, arguments, call_id, path=path)


def _server_call(value: dict[Any, Any], path: Path, _key: str) -> Part:
    name, arguments = text_of(get(value, "toolType")) or "", copy_json(value.get("args"))
    return ToolCallPart(name, arguments, text_of(value.get("id")), server=True, path=path)


def _code(value: dict[Any, Any], path: Path, _key: str) -> Part:
    return ToolCallPart(_CODE, copy_json(value), text_of(value.get("id")), server=True, path=path)


def _code_result(value: dict[Any, Any], path: Path, key: str) -> Part:
    output, outcome = text_of(value.get("output")), value.get("outcome")
    parts = () if output is None else (TextPart(output, path=(*path, key, "output")),)
    failed = None if isinstance(outcome, dict | list | None) else _OUTCOMES.get(str(outcome), True)
    return ToolResultPart(text_of(value.get("id")), parts, _CODE, failed, server=True, path=path)


def _result(value: dict[Any, Any], path: Path, key: str) -> Part:
    response = value.get("response")
    where = (*path, key, "response")
    answer = next(iter(table_of(response))) if len(table_of(response)) == 1 else None
    failed = None
    parts: list[Part] = []
    if isinstance(response, dict) and answer in _ANSWERS and isinstance(response[answer], str):
        failed = _ANSWERS[answer]
        parts.append(TextPart(response[answer], path=(*where, answer)))
    elif response is not None:
        failed = True if answer == "error" else None
        parts.append(NativePart(API, "response", copy_json(response), path=where))
    parts += read_parts(list_of(value.get("parts")), (*path, key, "parts"))
    name = text_of(value.get("name")) or text_of(get(value, "toolType"))
    server = camel(key) == "toolResponse"
    return ToolResultPart(text_of(value.get("id")), tuple(parts), name, failed, server=server, path=path)


def _inline(value: dict[Any, Any], path: Path, _key: str) -> Part:
    return _media(value, {"data": text_of(value.get("data"))}, path)


def _file(value: dict[Any, Any], path: Path, _key: str) -> Part:
    return _media(value, {"url": text_of(get(value, "fileUri"))}, path)


def _media(value: dict[Any, Any], source: dict[str, Any], path: Path) -> Part:
    mime = text_of(get(value, "mimeType"))
    make: Any = _MEDIA.get((mime or "").partition("/")[0], FilePart)
    return make(**source, mime=mime, name=text_of(get(value, "displayName")), path=path)


_READERS: Final[dict[str, Callable[[dict[Any, Any], Path, str], Any]]] = {
    "functionCall": _call,
    "functionResponse": _result,
    "inlineData": _inline,
    "fileData": _file,
    "executableCode": _code,
    "codeExecutionResult": _code_result,
    "toolCall": _server_call,
    "toolResponse": _result,
}


def build_part(part: Any) -> Any:
    """Build a new part.

    Raises:
        CodecError: Gemini has no part for it.

    Example:
        >>> build_part(ToolResultPart("1", "42", name="add"))
        {'functionResponse': {'id': '1', 'name': 'add', 'response': {'result': '42'}}}
    """
    fields = _fields(part)
    if fields is None:
        raise CodecError(f"a {type(part).__name__} like this cannot be written into a Gemini content")
    return fields


def build_bare(part: Any) -> Any:
    """Build a part without what is below it, which edits of its own reach."""
    if isinstance(part, ToolResultPart) and not part.server:
        return {"functionResponse": known(id=part.call_id, name=part.name)}
    return build_part(part)


def _fields(part: Any) -> Any:
    if isinstance(part, TextPart) and not part.cache_breakpoint:
        return {"text": part.text}
    if isinstance(part, ReasoningPart) and not part.redacted:
        return known(text=part.text, thought=None if part.text is None else True, thoughtSignature=part.signature)
    if isinstance(part, ToolCallPart):
        if not part.server:
            return {"functionCall": known(id=part.id, name=part.name, args=part.arguments)}
        fields = {"toolCall": known(id=part.id, toolType=part.name, args=part.arguments)}
        return {"executableCode": part.arguments} if part.name == _CODE else fields
    if isinstance(part, ToolResultPart) and not part.server:
        bare = known(id=part.call_id, name=part.name)
        return {"functionResponse": {**bare, **_answer(part.parts, part.is_error, build_part)}}
    if isinstance(part, NativePart) and part.provider == API and part.kind != "response":
        return part.value
    return _build_media(part)


def _build_media(part: Any) -> Any:
    if not isinstance(part, ImagePart | AudioPart | VideoPart | FilePart) or part.file_id is not None:
        return None
    named = known(displayName=part.name)
    if part.data is not None:
        return {"inlineData": {**known(mimeType=part.mime), "data": part.data, **named}}
    if part.url is not None and not part.inline:
        return {"fileData": {**known(mimeType=part.mime), "fileUri": part.url, **named}}
    return None


def _answer(parts: tuple[Part, ...], failed: bool | None, build: Callable[[Any], Any]) -> dict[str, Any]:
    """The fields of a function's answer: one text or one object, then media."""
    said = [part for part in parts if isinstance(part, TextPart) or getattr(part, "kind", "") == "response"]
    media = [build(part) for part in parts if part not in said]
    if len(said) > 1 or (said and parts[0] is not said[0]):
        raise CodecError("a Gemini function response holds one text or one object, before any media")
    response = None
    if said and isinstance(said[0], TextPart):
        key = next(key for key, meaning in _ANSWERS.items() if meaning is failed)
        response = {key: said[0].text}
    elif said:
        response = getattr(said[0], "value", None)
    return known(response=response, parts=media or None)


def result_ops(edit: Edit, native: Any) -> list[Op]:
    """Write another sequence of parts into a tool's result."""
    node: ToolResultPart = edit.old
    if node.server or node.path is None:
        raise edit.refused("the result of a tool that Gemini runs stands as it is")
    native_part = value_at(native, node.path)
    home = (*node.path, spelled(native_part, "functionResponse"))
    there = {id(item.new): item.old.path for item in edit.items if item.old is not None and item.new == item.old}

    def build(part: Any) -> Any:
        return value_at(native, there[id(part)]) if id(part) in there else build_part(part)

    fields = _answer(tuple(item.new for item in edit.items), edit.new.is_error, build)
    return [put((*home, name), fields.get(name)) for name in ("response", "parts")]
