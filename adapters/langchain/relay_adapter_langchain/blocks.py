"""One block of a message's content and its neutral part: LangChain's own blocks and those of the large providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_core.errors import CodecError
from relay_core.llm import (
    AudioPart,
    FilePart,
    ImagePart,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    VideoPart,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay_core.llm import Part, Path

__all__ = ["is_call_block", "new_block", "read_block", "with_arguments"]

_MEDIA: Final[dict[str, type[Any]]] = {
    "image": ImagePart,
    "audio": AudioPart,
    "video": VideoPart,
    "file": FilePart,
    "document": FilePart,
}
_CALLS: Final = {"tool_use": "input", "tool_call": "args", "function_call": "arguments"}


def read_block(block: Any, path: Path) -> Part:
    """Read a block.

    Example:
        >>> read_block({"type": "image", "base64": "AAAA", "mime_type": "image/png"}, ()).mime
        'image/png'
    """
    if isinstance(block, str):
        return TextPart(block, path=path)
    kind = block.get("type") if isinstance(block, dict) else None
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    part = reader(block, path) if reader is not None else None
    return NativePart("langchain", str(kind or "unknown"), block, immutable=True, path=path) if part is None else part


def _string(value: Any) -> str | None:
    """Give text as it is; where an observed payload was cut, a marker stands in its place."""
    return value if isinstance(value, str) else None


def _text(block: Mapping[str, Any], path: Path) -> Part | None:
    text = block.get("text")
    return TextPart(text, path=path) if isinstance(text, str) else None


def _refusal(block: Mapping[str, Any], path: Path) -> Part | None:
    text = block.get("refusal")
    return RefusalPart(text, immutable=True, path=path) if isinstance(text, str) else None


def _image_url(block: Mapping[str, Any], path: Path) -> Part:
    link = block.get("image_url")
    fields = link if isinstance(link, dict) else {"url": link}
    return ImagePart(url=_string(fields.get("url")), detail=fields.get("detail"), path=path)


def _input_audio(block: Mapping[str, Any], path: Path) -> Part:
    audio = block.get("input_audio") or {}
    kind = audio.get("format")
    return AudioPart(data=_string(audio.get("data")), mime=f"audio/{kind}" if kind else None, path=path)


def _media(block: Mapping[str, Any], path: Path) -> Part | None:
    """LangChain's own blocks, with Anthropic's `source` and OpenAI's `file`."""
    inner = block.get("source") if isinstance(block.get("source"), dict) else block.get("file")
    fields = {**block, **inner} if isinstance(inner, dict) else dict(block)
    mime = fields.get("mime_type") or fields.get("media_type")
    made = _MEDIA.get(str(block.get("type"))) or _MEDIA.get(str(mime).partition("/")[0], FilePart)
    return made(
        url=_string(fields.get("url") or fields.get("file_uri")),
        data=_string(fields.get("base64") or fields.get("data") or fields.get("file_data")),
        file_id=fields.get("file_id"),
        mime=mime,
        name=fields.get("filename"),
        path=path,
    )


def _reasoning(block: Mapping[str, Any], path: Path) -> Part:
    text = block.get("reasoning") or block.get("thinking")
    summary = block.get("summary")
    if not text and isinstance(summary, list):
        text = "\n".join(
            item["text"] for item in summary if isinstance(item, dict) and isinstance(item.get("text"), str)
        )
    return ReasoningPart(
        text=text or None,
        signature=block.get("signature"),
        encrypted=block.get("encrypted_content") or block.get("data"),
        redacted=block.get("type") == "redacted_thinking",
        immutable=True,
        path=path,
    )


_READERS: Final[dict[str, Callable[[Mapping[str, Any], Path], Part | None]]] = {
    "text": _text,
    "output_text": _text,
    "input_text": _text,
    "refusal": _refusal,
    "image_url": _image_url,
    "input_audio": _input_audio,
    "media": _media,
    **dict.fromkeys(_MEDIA, _media),
    "reasoning": _reasoning,
    "thinking": _reasoning,
    "redacted_thinking": _reasoning,
}


def new_block(part: Part, role: str) -> dict[str, Any]:
    """Make a block in LangChain's own form, which every provider's package takes.

    Raises:
        CodecError: such a part cannot be put into a message.

    Example:
        >>> new_block(ImagePart(url="https://example.org/a.png"), "user")
        {'type': 'image', 'url': 'https://example.org/a.png'}
    """
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if not isinstance(part, ImagePart | AudioPart | VideoPart | FilePart):
        raise CodecError(f"a {type(part).__name__} of the {role} message cannot be edited or added")
    kind = {ImagePart: "image", AudioPart: "audio", VideoPart: "video"}.get(type(part), "file")
    fields = {"url": part.url, "base64": part.data, "file_id": part.file_id, "mime_type": part.mime}
    return {"type": kind, **{name: value for name, value in fields.items() if value is not None}}


def is_call_block(block: Any, ids: set[Any]) -> bool:
    """Tell whether a block only repeats one of the message's tool calls, as Anthropic's blocks do."""
    if not isinstance(block, dict) or block.get("type") not in _CALLS:
        return False
    return (block.get("call_id") or block.get("id")) in ids


def with_arguments(block: dict[str, Any], name: str, arguments: Any, raw: str | None) -> dict[str, Any]:
    """Copy such a block with other arguments."""
    field = _CALLS[block["type"]]
    return {**block, "name": name, field: raw if field == "arguments" else arguments}
