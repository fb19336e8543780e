"""Content blocks of Bedrock's Converse API, read as neutral parts and built from them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from relay_core.codec_parts import known, list_of, table_of, text_of
from relay_core.errors import CodecError
from relay_core.lens import copy_json
from relay_core.llm import (
    AudioPart,
    CitationPart,
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

__all__ = ["API", "build_bare", "build_block", "read_blocks", "text_path"]

API: Final = "bedrock_converse"
_SERVER: Final = "server_tool_use"
_DOCUMENTS: Final = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html",
    "txt": "text/plain",
    "md": "text/markdown",
}
_VIDEOS: Final = {"mov": "video/quicktime", "mkv": "video/x-matroska", "flv": "video/x-flv", "three_gp": "video/3gpp"}
_MEDIA: Final[dict[str, tuple[Any, dict[str, str], str]]] = {  # the part, its media types by format, and what is usual
    "image": (ImagePart, {}, "image/"),
    "video": (VideoPart, _VIDEOS, "video/"),
    "audio": (AudioPart, {"mp3": "audio/mpeg"}, "audio/"),
    "document": (FilePart, _DOCUMENTS, ""),
}


def read_blocks(content: Any, path: Path) -> tuple[Part, ...]:
    """The parts of a list of blocks; of anything else, none."""
    return tuple(_read(block, (*path, index)) for index, block in enumerate(list_of(content)))


def _read(block: Any, path: Path) -> Part:
    table = table_of(block)
    for kind, value in table.items():
        reader = _READERS.get(kind)
        part = None if reader is None else reader(value, path)
        if part is not None:
            return part
    kind = next(iter(table), "")
    return NativePart(API, kind, copy_json(block), cache_breakpoint=kind == "cachePoint", path=path)


def _text(value: Any, path: Path) -> Part | None:
    return TextPart(value, path=path) if isinstance(value, str) else None


def _guarded(value: Any, path: Path) -> Part | None:
    return _text(table_of(table_of(value).get("text")).get("text"), path)


def _cited(value: Any, path: Path) -> Part | None:
    content = list_of(table_of(value).get("content"))
    text = text_of(table_of(content[0]).get("text")) if len(content) == 1 else None
    where = (*path, "citationsContent", "citations")
    cited = list_of(table_of(value).get("citations"))
    citations = tuple(_citation(item, (*where, index)) for index, item in enumerate(cited))
    return None if text is None else TextPart(text, citations, path=path)


def _citation(item: Any, path: Path) -> CitationPart:
    table = table_of(item)
    web = table_of(table_of(table.get("location")).get("web"))
    url = text_of(web.get("url")) or text_of(table.get("source"))
    return CitationPart(url=url, title=text_of(table.get("title")), value=copy_json(item), path=path)


def _media(kind: str) -> Callable[[Any, Path], Part | None]:
    make, types, usual = _MEDIA[kind]

    def read(value: Any, path: Path) -> Part | None:
        table = table_of(value)
        source = _source(table_of(table.get("source")), kind)
        form = text_of(table.get("format"))
        mime = form and (types.get(form) or (f"{usual}{form}" if usual else None))
        named = known(name=text_of(table.get("name"))) if kind == "document" else {}
        return None if source is None else make(**source, **named, mime=mime, path=path)

    return read


def _source(source: dict[Any, Any], kind: str) -> dict[str, Any] | None:
    """The fields of a media part for its source; ``None`` for a source of another kind."""
    data = source.get("bytes")
    if isinstance(data, bytes):  # as boto3 has it
        return {"data": base64.b64encode(data).decode()}
    if isinstance(data, str):
        return {"data": data}
    if kind == "document" and isinstance(source.get("text"), str):
        return {"text": source["text"]}
    uri = text_of(table_of(source.get("s3Location")).get("uri"))
    return None if uri is None else {"url": uri}


def _reasoning(value: Any, path: Path) -> Part | None:
    table = table_of(value)
    if "redactedContent" in table:
        sealed = table["redactedContent"]
        encrypted = base64.b64encode(sealed).decode() if isinstance(sealed, bytes) else text_of(sealed)
        return ReasoningPart(encrypted=encrypted, redacted=True, immutable=True, path=path)
    said = table_of(table.get("reasoningText"))
    signature = text_of(said.get("signature"))
    text = text_of(said.get("text"))
    return ReasoningPart(text=text, signature=signature, immutable=bool(signature), path=path) if said else None


def _call(value: Any, path: Path) -> Part | None:
    table = table_of(value)
    name, given = text_of(table.get("name")), table.get("input")
    if name is None:
        return None
    # A stream that broke off leaves the arguments as text; see the assembler.
    raw = given if isinstance(given, str) else None
    arguments = None if raw is not None else copy_json(given)
    call_id, server = text_of(table.get("toolUseId")), table.get("type") == _SERVER
    return ToolCallPart(name, arguments, call_id, arguments_raw=raw, server=server, path=path)


def _result(value: Any, path: Path) -> Part | None:
    if not isinstance(value, dict):
        return None
    failed = {"error": True, "success": False}.get(text_of(value.get("status")) or "")
    parts = read_blocks(value.get("content"), (*path, "toolResult", "content"))
    server = (text_of(value.get("type")) or "").endswith("_tool_result")
    return ToolResultPart(text_of(value.get("toolUseId")), parts, is_error=failed, server=server, path=path)


_READERS: Final[dict[str, Callable[[Any, Path], Part | None]]] = {
    "text": _text,
    "guardContent": _guarded,
    "citationsContent": _cited,
    **{kind: _media(kind) for kind in _MEDIA},
    "reasoningContent": _reasoning,
    "toolUse": _call,
    "toolResult": _result,
}


def text_path(block: Any, path: Path) -> Path:
    """Where the text of a block stands that was read as a `TextPart`."""
    table = table_of(block)
    if "text" not in table and "guardContent" in table:
        return (*path, "guardContent", "text", "text")
    return (*path, "text") if "text" in table else (*path, "citationsContent", "content", 0, "text")


def build_block(part: Any) -> Any:
    """The block of a new part.

    Raises:
        CodecError: Converse has no block for it.

    Example:
        >>> build_block(ImagePart(data="iVBO", mime="image/png"))
        {'image': {'format': 'png', 'source': {'bytes': 'iVBO'}}}
    """
    if isinstance(part, NativePart):
        if part.provider != API:
            raise CodecError(f"a native part of {part.provider!r} cannot be written into a Converse message")
        return part.value
    if isinstance(part, CitationPart) and part.value is not None:
        return part.value
    fields = None if part.cache_breakpoint else _fields(part)
    if fields is None:
        raise CodecError(f"a {type(part).__name__} like this cannot be written into a Converse message")
    return fields


def build_bare(part: Any) -> Any:
    """The block of a part; what is below it is left to edits of its own."""
    if isinstance(part, ToolResultPart):
        status = None if part.is_error is None else "error" if part.is_error else "success"
        return {"toolResult": known(toolUseId=part.call_id, status=status)}
    return build_block(part)


def _fields(part: Any) -> dict[str, Any] | None:
    if isinstance(part, TextPart):
        if not part.citations:
            return {"text": part.text}
        cited = [build_block(item) for item in part.citations]
        return {"citationsContent": {"content": [{"text": part.text}], "citations": cited}}
    if isinstance(part, ReasoningPart):
        if part.redacted:
            return {"reasoningContent": known(redactedContent=part.encrypted)}
        return {"reasoningContent": {"reasoningText": known(text=part.text, signature=part.signature)}}
    if isinstance(part, ToolCallPart):
        given = part.arguments if part.arguments is not None else part.arguments_raw
        if given is None:
            raise CodecError(f"the call of {part.name!r} needs arguments; {{}} where there are none")
        kind = {"type": _SERVER} if part.server else {}
        fields = {**known(toolUseId=part.id), "name": part.name, "input": given}
        return {"toolUse": {**fields, **kind}}
    if isinstance(part, ToolResultPart) and not part.server:
        head = build_bare(part)["toolResult"]
        return {"toolResult": {**head, "content": [build_block(item) for item in part.parts]}}
    return _build_media(part)


def _build_media(part: Any) -> dict[str, Any] | None:
    kind = next((kind for kind, (make, _, _) in _MEDIA.items() if isinstance(part, make)), None)
    if kind is None:
        return None
    _, types, usual = _MEDIA[kind]
    text = getattr(part, "text", None)
    if text is not None:
        source: dict[str, Any] = {"text": text}
    elif part.data is not None:
        source = {"bytes": part.data}
    elif (part.url or "").startswith("s3://"):
        source = {"s3Location": {"uri": part.url}}
    else:
        return None
    mime = part.mime or ("text/plain" if text is not None else "")
    form = next((form for form, name in types.items() if name == mime), None)
    form = form or (mime.removeprefix(usual) if usual and mime.startswith(usual) else None)
    return {kind: {**known(format=form, name=part.name), "source": source}}
