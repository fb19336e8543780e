"""The parts of one message, as attributes: text, reasoning, media, and whatever else a provider has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_plugin_observability.openinference.masking import HIDDEN
from relay_plugin_observability.openinference.values import as_dict, as_list, as_text, first_text, is_text, json_text
from relay_plugin_observability.openinference.words import content_keys, document_keys

if TYPE_CHECKING:
    from relay_plugin_observability.openinference.values import Attributes
    from relay_plugin_observability.openinference.words import ContentKeys

__all__ = ["Blobs", "View", "part_text", "put_part"]

_TEXTS: Final = frozenset({"text", "input_text", "output_text", "refusal", "summary_text"})
_REASONING: Final = frozenset({"reasoning", "thinking", "redacted_thinking"})
_MEDIA: Final = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "video_url": "video",
    "input_video": "video",
    "file": "document",
    "input_file": "document",
    "document": "document",
}
_DEFAULT_MIMES: Final = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4"}
_DEEPEST: Final = 32


class Blobs(msgspec.Struct, eq=False, gc=False):
    """Inline media of a raw request by their length: views of it only tell how long they are."""

    raw: Any
    by_length: dict[int, list[tuple[str, str | None]]] | None = None

    def take(self, length: Any) -> tuple[str, str | None] | None:
        """Give the next one of this length, and its MIME type where that is known."""
        if self.by_length is None:
            self.by_length = {}
            self._collect(self.raw, 0)
        found = self.by_length.get(length) if type(length) is int else None
        return found.pop(0) if found else None

    def _collect(self, value: Any, depth: int) -> None:
        if depth > _DEEPEST:
            return
        if type(value) is list:
            for item in as_list(value):
                self._collect(item, depth + 1)
        elif type(value) is dict:
            fields = as_dict(value)
            mime = first_text(fields, "media_type", "mime_type", "mimeType")
            for name, item in fields.items():
                if type(item) is str and (name in ("data", "base64", "file_data") or item.startswith("data:")):
                    self._keep(item, mime)
                else:
                    self._collect(item, depth + 1)

    def _keep(self, data: str, mime: str | None) -> None:
        if self.by_length is not None:
            self.by_length.setdefault(len(data), []).append((data, mime))


class View(msgspec.Struct, eq=False, gc=False):
    """How the messages of one side of a call are shown."""

    hide_text: bool
    hide_images: bool
    limit: int
    mark: str | None
    blobs: Blobs | None = None

    def put_text(self, out: Attributes, key: str, text: str) -> None:
        """Write a text, or what stands for a hidden one."""
        if not self.hide_text:
            out[key] = text
        elif self.mark is not None:
            out[key] = self.mark


def part_text(part: Any) -> str | None:
    """Give the text of a part that is only text; else None."""
    if type(part) is str:
        return part
    fields = as_dict(part)
    if as_text(fields.get("type", "text")) not in _TEXTS:
        return None
    text = fields.get("text", fields.get("refusal"))
    return text if type(text) is str else None


def put_part(out: Attributes, message: str, index: int, part: Any, view: View) -> None:
    """Write one part of a message.

    Args:
        out: the attributes so far.
        message: prefix of the message's keys.
        index: of the part.
        part: text, or a mapping with a ``type``: a content part of the events, or one of a provider's API.
        view: what to show.
    """
    keys = content_keys(message, index)
    text = part_text(part)
    if text is not None:
        out[keys.type] = "text"
        view.put_text(out, keys.text, text)
        return
    fields = as_dict(part)
    kind = as_text(fields.get("type", "unknown"))
    if kind in _MEDIA:
        _put_media(out, keys, _MEDIA[kind], fields, view)
        return
    if kind == "provider_native":
        kind = as_text(fields.get("kind", "unknown"))
        value = fields.get("value")
        fields = as_dict(value) if type(value) is dict else {"text": as_text(value)}
    if kind in _REASONING:
        _put_reasoning(out, keys, fields, view)
        return
    out[keys.type] = kind
    view.put_text(out, keys.text, json_text(fields or part))


def _put_reasoning(out: Attributes, keys: ContentKeys, fields: dict[str, Any], view: View) -> None:
    out[keys.type] = "reasoning"
    text = first_text(fields, "text", "thinking", "reasoning", "content")
    if text is None:
        pieces = [part_text(piece) for piece in as_list(fields.get("summary"))]
        text = "".join(piece for piece in pieces if piece) or None
    if text is not None:
        view.put_text(out, keys.text, text)
    if view.hide_text:
        return  # signed and encrypted thoughts are thoughts
    for key, name in (
        (keys.id, "id"),
        (keys.signature, "signature"),
        (keys.data, "data"),
        (keys.encrypted, "encrypted_content"),
    ):
        value = fields.get(name)
        if is_text(value):
            out[key] = value


def _put_media(out: Attributes, keys: ContentKeys, kind: str, fields: dict[str, Any], view: View) -> None:
    """Write a picture, sound, film or file: by its address, or inline where it is short enough."""
    found = _media(fields, kind, view)
    mime = found.get("mime")
    if kind == "document" and mime is not None and mime.partition("/")[0] in ("image", "audio", "video"):
        kind = mime.partition("/")[0]
    out[keys.type] = kind
    url = found.get("url")
    is_hidden = view.hide_images or (view.hide_text and kind != "image")
    if kind == "document":
        document = document_keys(keys.document)
        shown = {document.id: found.get("id"), document.mime_type: mime, document.name: found.get("name")}
        out.update({key: value for key, value in shown.items() if is_text(value)})
        if is_text(url) and not is_hidden:
            out[document.url] = url
        if is_text(found.get("text")):
            view.put_text(out, document.content, found["text"])
        return
    if kind == "audio":
        if is_text(mime):
            out[keys.audio_type] = mime
        if is_text(found.get("transcript")):
            view.put_text(out, keys.audio_transcript, found["transcript"])
    if is_text(url) and not is_hidden:
        out[{"image": keys.image, "audio": keys.audio, "video": keys.video}[kind]] = url


def _media(fields: dict[str, Any], kind: str, view: View) -> dict[str, Any]:
    """Read where the bytes are, in the forms that the events and the providers have for it."""
    inner: Any = fields
    for name in ("image_url", "image", "audio", "input_audio", "video", "video_url", "file", "document", "source"):
        value = fields.get(name)
        if type(value) is str:
            inner = {"url": value, **fields}
            break
        if type(value) is dict:
            inner = {**fields, **as_dict(value)}
            break
    mime = first_text(inner, "mime_type", "media_type", "mimeType") or _DEFAULT_MIMES.get(kind)
    found = {
        "mime": mime,
        "id": first_text(inner, "file_id"),
        "name": first_text(inner, "name", "filename", "title"),
        "transcript": first_text(inner, "transcript"),
        "text": first_text(inner, "data") if inner.get("type") == "text" or fields.get("type") == "text" else None,
    }
    if first_text(inner, "mime_type", "media_type", "mimeType") is None and kind == "document":
        found["mime"] = None
    found["url"] = None if found["text"] else _address(inner, mime, view)
    return found


def _address(inner: dict[str, Any], mime: str | None, view: View) -> str | None:
    url = first_text(inner, "url", "uri")
    data = first_text(inner, "data", "base64", "file_data")
    if url is None and data is None and "inline_characters" in inner and view.blobs is not None:
        taken = view.blobs.take(inner["inline_characters"])
        if taken is None:
            return HIDDEN  # it is not in the event any more
        data, mime = taken[0], mime or taken[1]
    if data is not None:
        url = data if data.startswith("data:") else f"data:{mime or 'application/octet-stream'};base64,{data}"
    if url is not None and len(url) > view.limit and url.startswith("data:"):
        return HIDDEN
    return url
