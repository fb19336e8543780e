"""What was said or given back, as a text or a list of content parts. Pictures become files; the rest keeps its JSON text."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_plugin_observability.atif.model import IMAGE_TYPES, ImageContent, MediaSource, TextContent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay_plugin_observability.atif.model import Content, ContentPart

    Keep = Callable[[str, bytes], str | None]

__all__ = ["JSON_TYPE", "inline_images", "json_text", "message_content", "result_content", "words"]

JSON_TYPE: Final = "application/json"
_TEXT_TYPES: Final = frozenset({"text", "input_text", "output_text", "summary_text"})
_IMAGE_TYPES: Final = frozenset({"image", "image_url", "input_image"})
_HIDDEN: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "tool_use", "function_call"})
_RESULT_KEYS: Final = frozenset({"content", "isError", "structuredContent", "_meta", "meta"})
_BY_ENDING: Final = {**{ending: mime for mime, ending in IMAGE_TYPES.items()}, "jpeg": "image/jpeg"}
_UNKNOWN_IMAGE: Final = "image/jpeg"  # a URL need not tell, and the format wants one of four
_encode = msgspec.json.Encoder(order="deterministic").encode


def json_text(value: Any) -> str:
    """Write a value as compact JSON text with sorted keys.

    Example:
        >>> json_text({"b": 1, "a": [None]})
        '{"a":[null],"b":1}'
    """
    return _encode(value).decode()


def words(value: Any) -> str | None:
    """Give a text that says something; None for anything else.

    Example:
        >>> words("hi"), words(""), words(5)
        ('hi', None, None)
    """
    return value if isinstance(value, str) and value else None


def message_content(value: Any, keep: Keep, spare: Iterator[tuple[str, str]] | None = None) -> Content:
    r"""Read what a message says.

    Args:
        value: text, a list of a provider's content parts, or anything else, which becomes JSON text.
        keep: stores the bytes of a picture and gives the path to write, or None if it cannot.
        spare: media type and base64 text of the pictures that `value` only mentions, in order.

    Example:
        >>> message_content([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], lambda mime, data: None)
        'a\nb'
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    parts = _parts(value, keep, spare) if isinstance(value, list) else None
    return json_text(value) if parts is None else _joined(parts)


def result_content(value: Any, keep: Keep) -> tuple[Content, dict[str, Any]]:
    """Read what a tool gave back.

    Returns:
        The content, and what there is to say about it: its ``content_type`` if it is JSON, ``is_error`` if the tool said so.

    Example:
        >>> result_content({"temp": -3}, lambda mime, data: None)
        ('{"temp":-3}', {'content_type': 'application/json'})
    """
    value, facts = _unwrapped(value)
    if isinstance(value, str):
        return value, facts
    # A list of whatever the tool likes is data; only what must be meant as content is content.
    parts = _parts(value, keep, None) if isinstance(value, list) and value and all(map(_is_part, value)) else None
    if parts is not None:
        return _joined(parts), facts
    return json_text(value), {**facts, "content_type": JSON_TYPE}


def inline_images(parts: Any) -> Iterator[tuple[str, str]]:
    """Give media type and base64 text of the pictures that stand inside a provider's content parts."""
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict):
            mime, data, _ = _image(part)
            if data is not None:
                yield mime or _UNKNOWN_IMAGE, data


def _unwrapped(value: Any) -> tuple[Any, dict[str, Any]]:
    """Take the content out of an answer in the words of MCP, or out of a message that carries a tool's result."""
    facts: dict[str, Any] = {}
    if not isinstance(value, dict) or "content" not in value:
        return value, facts
    is_message = "tool_call_id" in value and "tool" in (value.get("type"), value.get("role"))
    if not is_message and not (isinstance(value["content"], list) and value.keys() <= _RESULT_KEYS):
        return value, facts
    if value.get("isError") is True or (is_message and value.get("status") == "error"):
        facts["is_error"] = True
    structured = value.get("artifact" if is_message else "structuredContent")
    if structured is not None:
        facts["structured"] = structured
    return value["content"], facts


def _is_part(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    if kind in _TEXT_TYPES:
        return isinstance(item.get("text"), str)
    return kind in _IMAGE_TYPES and any(_image(item)[1:])


def _joined(parts: Sequence[ContentPart]) -> Content:
    texts = [part.text for part in parts if isinstance(part, TextContent)]
    return "\n".join(texts) if len(texts) == len(parts) else list(parts)


def _parts(items: list[Any], keep: Keep, spare: Iterator[tuple[str, str]] | None) -> list[ContentPart] | None:
    """None if one of them is no content part."""
    made: list[ContentPart] = []
    for item in items:
        if isinstance(item, str):
            made.append(TextContent(text=item))
            continue
        if not isinstance(item, dict):
            return None
        kind = item.get("type")
        if kind in _HIDDEN or (kind == "provider_native" and item.get("kind") in _HIDDEN):
            continue
        part = _part(item, kind, keep, spare)
        if part is None:
            return None
        made.append(part)
    return made


def _part(item: dict[str, Any], kind: Any, keep: Keep, spare: Iterator[tuple[str, str]] | None) -> ContentPart | None:
    text = item.get("text")
    if isinstance(text, str) and (kind in _TEXT_TYPES or (kind is None and item.keys() <= {"text", "thought"})):
        return TextContent(text=text)
    if kind == "refusal" and isinstance(item.get("refusal"), str):
        return TextContent(text=item["refusal"])
    if kind in _IMAGE_TYPES or "inlineData" in item or "fileData" in item:
        return _picture(item, keep, spare)
    return TextContent(text=json_text(item)) if isinstance(kind, str) else None


def _picture(item: dict[str, Any], keep: Keep, spare: Iterator[tuple[str, str]] | None) -> ContentPart:
    mime, data, url = _image(item)
    if data is None and url is None and spare is not None:
        mime, data = next(spare, (mime, None))
    if data is not None:
        known = mime or _UNKNOWN_IMAGE
        path = _kept(known, data, keep) if known in IMAGE_TYPES else None
        if path is not None:
            return ImageContent(source=MediaSource(media_type=known, path=path))
        return TextContent(text=f"[{known}, {len(data)} characters of base64, not kept]")
    if url is not None:
        return ImageContent(source=MediaSource(media_type=_url_type(mime, url), path=url))
    return TextContent(text="[image, not kept]")


def _kept(mime: str, data: str, keep: Keep) -> str | None:
    try:
        return keep(mime, base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):  # cut by a payload limit, for instance
        return None


def _image(item: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    """Media type, base64 text and address of a provider's picture; what is not there is None."""
    inner: Any = item.get("inlineData") or item.get("fileData") or item.get("source") or item.get("image_url")
    inner = inner or item.get("image") or item
    if isinstance(inner, str):
        inner = {"url": inner}
    if not isinstance(inner, dict):
        return None, None, None
    mime = next(
        (inner[key] for key in ("media_type", "mimeType", "mime_type") if isinstance(inner.get(key), str)), None
    )
    url = next((inner[key] for key in ("url", "fileUri", "path") if isinstance(inner.get(key), str)), None)
    data = inner.get("data") if isinstance(inner.get("data"), str) else None
    if url is not None and url.startswith("data:"):
        head, comma, body = url[5:].partition(",")
        return head.partition(";")[0] or mime, body if comma and "base64" in head else None, None
    return mime, data, None if data is not None else url


def _url_type(mime: str | None, url: str) -> str:
    ending = url.partition("?")[0].rpartition(".")[2].lower()
    return mime if mime in IMAGE_TYPES else _BY_ENDING.get(ending, _UNKNOWN_IMAGE)
