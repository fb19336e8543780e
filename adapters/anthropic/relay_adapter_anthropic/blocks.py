"""Content blocks of Anthropic's Messages API, read as neutral parts and built from them."""

from __future__ import annotations

from typing import Any, Final

from relay_core.codec_parts import build_content, known, list_of, table_of, text_of, truth_of
from relay_core.errors import CodecError
from relay_core.lens import copy_json
from relay_core.llm import (
    CitationPart,
    CompactionPart,
    FilePart,
    ImagePart,
    NativePart,
    Part,
    Path,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["API", "build_block", "read_blocks"]

API: Final = "anthropic_messages"
_CALLS: Final = {"tool_use": False, "server_tool_use": True, "mcp_tool_use": True}  # whether the provider runs it
_EPHEMERAL: Final = {"type": "ephemeral"}


def read_blocks(content: Any, path: Path) -> tuple[Part, ...]:
    """The parts of a content that is a string or a list of blocks; of anything else, none."""
    if isinstance(content, str):
        return (TextPart(content, path=path),)
    return tuple(_read(block, (*path, index)) for index, block in enumerate(list_of(content)))


def _read(block: Any, path: Path) -> Part:
    table = table_of(block)
    kind = text_of(table.get("type")) or ""
    marked = table.get("cache_control") is not None
    reader = _READERS.get(kind)
    if kind in _CALLS:
        reader = _call
    elif kind.endswith("tool_result"):
        reader = _tool_result
    part = reader(table, path) if reader is not None else None
    if part is None:
        sealed = any(key.startswith("encrypted") for key in table if isinstance(key, str))
        part = NativePart(API, kind, copy_json(block), immutable=sealed, path=path)
    return part.replace(cache_breakpoint=True) if marked else part


def _text(block: dict[Any, Any], path: Path) -> Part | None:
    text = text_of(block.get("text"))
    if text is None:
        return None
    cited = list_of(block.get("citations"))
    citations = tuple(_citation(item, (*path, "citations", index)) for index, item in enumerate(cited))
    return TextPart(text, citations, path=path)


def _citation(item: Any, path: Path) -> CitationPart:
    table = table_of(item)
    title = text_of(table.get("title")) or text_of(table.get("document_title"))
    url = text_of(table.get("url")) or text_of(table.get("source"))
    return CitationPart(url=url, title=title, value=copy_json(item), path=path)


def _image(block: dict[Any, Any], path: Path) -> Part | None:
    source = _source(block)
    return None if source is None else ImagePart(**source, path=path)


def _document(block: dict[Any, Any], path: Path) -> Part | None:
    name, source = text_of(block.get("title")), table_of(block.get("source"))
    if source.get("type") == "text":
        text, mime = text_of(source.get("data")), text_of(source.get("media_type"))
        return None if text is None else FilePart(text=text, mime=mime, name=name, path=path)
    fields = _source(block)
    return None if fields is None else FilePart(**fields, name=name, path=path)


def _source(block: dict[Any, Any]) -> dict[str, Any] | None:
    """The fields of a media part for the block's source; ``None`` for a source of another kind."""
    source = table_of(block.get("source"))
    names = {"base64": ("data", "data"), "url": ("url", "url"), "file": ("file_id", "file_id")}
    named = names.get(text_of(source.get("type")) or "")
    if named is None:
        return None
    name, key = named
    value = text_of(source.get(key))
    return None if value is None else {name: value, "mime": text_of(source.get("media_type"))}


def _upload(block: dict[Any, Any], path: Path) -> Part:
    return FilePart(file_id=text_of(block.get("file_id")), path=path)


def _thinking(block: dict[Any, Any], path: Path) -> Part:
    signature = text_of(block.get("signature"))
    text = text_of(block.get("thinking"))
    return ReasoningPart(text=text, signature=signature, immutable=bool(signature), path=path)


def _redacted(block: dict[Any, Any], path: Path) -> Part:
    return ReasoningPart(encrypted=text_of(block.get("data")), redacted=True, immutable=True, path=path)


def _compaction(block: dict[Any, Any], path: Path) -> Part:
    sealed = text_of(block.get("encrypted_content"))
    text = text_of(block.get("content"))
    signed = sealed is not None or text_of(block.get("signature")) is not None
    return CompactionPart(text=text, encrypted=sealed, immutable=signed, path=path)


def _call(block: dict[Any, Any], path: Path) -> Part | None:
    name, given = text_of(block.get("name")), block.get("input")
    if name is None:
        return None
    # A stream that broke off leaves the arguments as text; see the assembler.
    raw = given if isinstance(given, str) else None
    arguments = None if raw is not None else copy_json(given)
    call_id, server = text_of(block.get("id")), _CALLS[block["type"]]
    return ToolCallPart(name, arguments, call_id, arguments_raw=raw, server=server, path=path)


def _tool_result(block: dict[Any, Any], path: Path) -> Part | None:
    if "tool_use_id" not in block:
        return None
    content, server = block.get("content"), block["type"] != "tool_result"
    failed = truth_of(block.get("is_error"))
    if isinstance(content, dict):  # what a server tool reports: a lone block, or its error
        parts: tuple[Part, ...] = (_read(content, (*path, "content")),)
        word = text_of(table_of(content).get("type")) or ""
        failed = True if failed is None and word.endswith("_error") else failed
    else:
        parts = read_blocks(content, (*path, "content"))
    return ToolResultPart(text_of(block["tool_use_id"]), parts, is_error=failed, server=server, path=path)


_READERS: Final[dict[str, Any]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "container_upload": _upload,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "compaction": _compaction,
}


def build_block(part: Any) -> Any:
    """The block of a new part.

    Raises:
        CodecError: Anthropic has no block for it.

    Example:
        >>> build_block(TextPart("hi", cache_breakpoint=True))
        {'type': 'text', 'text': 'hi', 'cache_control': {'type': 'ephemeral'}}
    """
    if isinstance(part, CitationPart) and part.value is not None:
        return part.value
    if isinstance(part, NativePart):
        if part.provider != API:
            raise CodecError(f"a native part of {part.provider!r} cannot be written into an Anthropic message")
        return part.value
    fields = _fields(part)
    if fields is None:
        raise CodecError(f"a {type(part).__name__} like this cannot be written into an Anthropic message")
    return {**fields, "cache_control": _EPHEMERAL} if part.cache_breakpoint else fields


def _fields(part: Any) -> dict[str, Any] | None:
    if isinstance(part, TextPart):
        cited = [build_block(item) for item in part.citations] or None
        return {"type": "text", "text": part.text, **known(citations=cited)}
    if isinstance(part, ImagePart | FilePart):
        return _build_media(part)
    if isinstance(part, ReasoningPart):
        if part.redacted:
            return {"type": "redacted_thinking", **known(data=part.encrypted)}
        return {"type": "thinking", **known(thinking=part.text, signature=part.signature)}
    if isinstance(part, CompactionPart):
        return {"type": "compaction", **known(content=part.text, encrypted_content=part.encrypted)}
    if isinstance(part, ToolCallPart):
        given = part.arguments if part.arguments is not None else part.arguments_raw
        if given is None:
            raise CodecError(f"the call of {part.name!r} needs arguments; {{}} where there are none")
        kind = "server_tool_use" if part.server else "tool_use"
        return {"type": kind, **known(id=part.id), "name": part.name, "input": given}
    if isinstance(part, ToolResultPart) and not part.server:
        content = known(content=build_content(part.parts, build_block) if part.parts else None)
        head = {"type": "tool_result", **known(tool_use_id=part.call_id)}
        return {**head, **content, **known(is_error=part.is_error)}
    return None


def _build_media(part: ImagePart | FilePart) -> dict[str, Any] | None:
    text = part.text if isinstance(part, FilePart) else None
    if text is not None:
        if part.mime is None:
            raise CodecError("a text document of Anthropic needs its type: FilePart(text=..., mime='text/plain')")
        source = {"type": "text", "media_type": part.mime, "data": text}
    elif part.data is not None:
        source = {"type": "base64", **known(media_type=part.mime), "data": part.data}
    elif part.file_id is not None:
        source = {"type": "file", "file_id": part.file_id}
    elif part.url is not None and not part.inline:
        source = {"type": "url", "url": part.url}
    else:
        return None
    kind = "image" if isinstance(part, ImagePart) else "document"
    return {"type": kind, "source": source, **known(title=part.name)}
