"""What the codecs of the OpenAI formats share."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final, cast

from relay_core.codec_parts import JsonAssembler, JsonCodec, table_of, text_of
from relay_core.errors import CodecError
from relay_core.lens import Op, copy_json, delete, json_diff, put, value_at
from relay_core.llm import AudioPart, CitationPart, Path, TextPart, ToolCallPart
from relay_core.sse import SseEvent, SseReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from relay_core.lens import Edit
    from relay_core.llm import Part

__all__ = [
    "Pieces",
    "WireAssembler",
    "WireCodec",
    "argument_ops",
    "audio_of",
    "built_audio",
    "citation_of",
    "grow",
    "kind_of",
    "plain_text",
    "rewritten",
    "settled",
    "tables_in",
    "tool_call",
]

_MIME: Final = "audio/"


class WireCodec(JsonCodec):
    """Base of the codecs here: a splice and a change of fields are written by methods of their own."""

    def write(self, edits: Sequence[Edit], native: Any) -> Iterable[Op]:
        """Turn edits of a view into operations on `native`."""
        for edit in edits:
            yield from self.spliced(edit, native) if edit.kind == "splice" else self.changed(edit, native)

    def spliced(self, edit: Edit, native: Any) -> Iterable[Op]:
        """Write a sequence into which nodes were put, or from which they were taken."""
        del native
        raise edit.refused(f"{self.name} has no place for it")

    def changed(self, edit: Edit, native: Any) -> Iterable[Op]:
        """Write changed fields of a node."""
        del native
        raise edit.refused(f"{self.name} has no place for it")


# --- reading ----------------------------------------------------------------------------------------------------------


def kind_of(table: dict[Any, Any]) -> str:
    """The ``type`` of an object; ``""`` if it has none."""
    return text_of(table.get("type")) or ""


def plain_text(parts: Sequence[Part]) -> str | None:
    """The text, if the parts are one text without anything that a string could not say."""
    part = parts[0] if len(parts) == 1 else None
    return part.text if isinstance(part, TextPart) and part == TextPart(part.text) else None


def tables_in(value: Any, path: Path) -> list[dict[str, Any]]:
    """The objects of a list; nothing counts as an empty list.

    Raises:
        CodecError: it is no list of objects.
    """
    items: Any = value if value is not None else []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in cast("list[Any]", items)):
        raise CodecError(f"{'.'.join(map(str, path))} must be a list of objects")
    return cast("list[dict[str, Any]]", items)


def tool_call(name: str, arguments: Any, path: Path, **fields: Any) -> ToolCallPart:
    """A tool call from arguments that are JSON text or, at some servers, JSON itself."""
    if isinstance(arguments, str):
        return ToolCallPart(name, arguments_raw=arguments, path=path, **fields)
    return ToolCallPart(name, copy_json(arguments), path=path, **fields)


def citation_of(value: Any, path: Path) -> CitationPart:
    """A citation from an annotation, whose facts may be one level down under the annotation's type."""
    table = table_of(value)
    inner = table_of(table.get(table.get("type") if isinstance(table.get("type"), str) else None)) or table
    title = text_of(inner.get("title")) or text_of(inner.get("filename"))
    return CitationPart(url=text_of(inner.get("url")), title=title, value=copy_json(value), path=path)


def audio_of(value: Any, path: Path) -> AudioPart:
    """A sound from an ``input_audio`` object."""
    table = table_of(value)
    form = text_of(table.get("format"))
    return AudioPart(data=text_of(table.get("data")), mime=form and _MIME + form, path=path)


def built_audio(part: AudioPart) -> dict[str, Any]:
    """The ``input_audio`` object of a sound."""
    table = {"data": part.data, "format": (part.mime or "").removeprefix(_MIME) or None}
    return {name: value for name, value in table.items() if value is not None}


# --- writing ----------------------------------------------------------------------------------------------------------


def argument_ops(edit: Edit, path: Path, native: Any) -> list[Op]:
    """Write changed arguments of a tool call as text, or as JSON where the server uses that."""
    old, new = cast("ToolCallPart", edit.old), cast("ToolCallPart", edit.new)
    if not {"arguments", "arguments_raw"} & set(edit.fields):
        return []
    if isinstance(value_at(native, path), dict | list) and new.arguments is not None:
        return json_diff(old.arguments, new.arguments, path)
    return [put(path, new.arguments_raw)]


def rewritten(native: Any, path: Path, before: Any, after: Any) -> list[Op]:
    """Replace one value, of which the codec would have built `before`, by `after`; unknown fields of it stay."""
    if after is None:
        return [delete(path)]
    if isinstance(value_at(native, path), dict) and isinstance(before, dict) and isinstance(after, dict):
        return json_diff(before, after, path)
    return [Op("set", path, after)]


# --- streams ----------------------------------------------------------------------------------------------------------


class Pieces(list[str]):
    """A text that grows: its pieces, joined once at the end, so that a long stream takes linear time."""


def grow(table: dict[str, Any], key: str, text: str) -> None:
    """Add to the text under a key.

    Example:
        >>> table = {"a": None}
        >>> for word in ("x", "y"):
        ...     grow(table, "a", word)
        >>> settled(table)
        {'a': 'xy'}
    """
    found = table.get(key)
    if isinstance(found, Pieces):
        found.append(text)
    else:
        table[key] = Pieces([found, text] if isinstance(found, str) else [text])


def settled(value: Any) -> Any:
    """A copy with grown texts joined."""
    if isinstance(value, Pieces):
        return "".join(value)
    if isinstance(value, dict):
        return {key: settled(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [settled(item) for item in cast("list[Any]", value)]
    return value


class WireAssembler(JsonAssembler):
    r"""Takes the chunks of a stream as objects, or as the bytes of the event stream in any cut.

    Example:
        >>> from relay_adapter_openai.codecs import ChatAssembler
        >>> assembler = ChatAssembler()
        >>> assembler.feed(b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n')
        >>> assembler.result()["choices"][0]["message"], assembler.facts.complete
        ({'role': 'assistant', 'content': 'hi'}, True)
    """

    done_ends = False
    """Whether ``[DONE]`` is the format's terminal event."""

    def __init__(self) -> None:
        super().__init__()
        self.done = False
        self.error: Any = None
        self._reader = SseReader()

    def feed(self, chunk: Any) -> None:
        """Take the next chunk: an object, or bytes; what cannot be read is counted and skipped."""
        if isinstance(chunk, str):
            chunk = chunk.encode("utf-8", "replace")
        if isinstance(chunk, bytes | bytearray | memoryview):
            for event in self._reader.feed(chunk):
                self._take_event(event)
        else:
            super().feed(chunk)

    def result(self) -> Any:
        """Give the native response as if it had not been streamed, as far as it came; ``None`` before any chunk."""
        rest = self._reader.rest()
        if rest is not None and (rest.data.strip() == "[DONE]" or _parsed(rest.data) is not None):
            whole = copy.deepcopy(self)  # the bytes of the last event may go on, so this state must not have it
            for event in whole._reader.close():
                whole._take_event(event)
            return whole.result()
        try:
            return super().result()
        except RecursionError:
            return None

    def _take_event(self, event: SseEvent) -> None:
        if event.data.strip() == "[DONE]":
            self.done = True
            self.complete = self.complete or (self.done_ends and not self.failed)
            return
        chunk = _parsed(event.data)
        if event.event == "error" and isinstance(chunk, dict) and "error" not in chunk and "type" not in chunk:
            chunk = {"error": chunk}
        super().feed(chunk)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
