"""What rails can read of requests, responses, arguments and results, and how a rewritten text goes back into them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from relay_core.llm import AudioPart, FilePart, ImagePart, NativePart, ReasoningPart, RefusalPart, TextPart, VideoPart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay_core.llm import LlmRequest, Message, Part

__all__ = [
    "Unplaceable",
    "content_of",
    "envelope",
    "merged",
    "opened",
    "readable",
    "unscanned",
    "user_messages",
    "with_content",
]

_MEDIA: Final = {
    ImagePart: "image",
    AudioPart: "audio",
    VideoPart: "video",
    FilePart: "file",
    NativePart: "native",
}


class Unplaceable(Exception):  # noqa: N818  # what happened to a rewrite
    """A rewritten text has no place in what it was taken from."""


def readable(part: Part) -> str:
    """Give the text of a part: what is said, thought or refused.

    Example:
        >>> readable(TextPart("hi")), readable(ImagePart(url="https://x/y.png"))
        ('hi', '')
    """
    return (part.text or "") if isinstance(part, TextPart | ReasoningPart | RefusalPart) else ""


def unscanned(parts: Iterable[Part]) -> list[str]:
    """Name the kinds of parts that no text rail can read.

    Example:
        >>> unscanned([TextPart("hi"), ImagePart(url="https://x/y.png")])
        ['image']
    """
    return sorted({_MEDIA[type(part)] for part in parts if type(part) in _MEDIA})


def user_messages(view: LlmRequest, most: int) -> list[tuple[int, Message]]:
    """Give the last messages of the user that say something, oldest first, with their places."""
    found = [(place, one) for place, one in enumerate(view.messages) if one.role == "user" and one.parts]
    said = [(place, one) for place, one in found if any(map(readable, one.parts)) or unscanned(one.parts)]
    return said[-most:]


def envelope(tool: str, **fields: Any) -> str:
    """Write arguments or a result as the JSON text that rails read.

    Example:
        >>> envelope("search", arguments={"q": "Köln"})
        '{"tool_name": "search", "arguments": {"q": "Köln"}}'
    """
    return json.dumps({"tool_name": tool, **fields}, ensure_ascii=False, default=str)


def opened(text: str, field: str) -> Any:
    """Read a rewritten envelope.

    Raises:
        Unplaceable: it is no JSON any more, or lacks the field.
    """
    try:
        return json.loads(text)[field]
    except (ValueError, KeyError, TypeError):
        raise Unplaceable(f"the rewritten text is no JSON with {field}") from None


def merged(before: Any, after: Any) -> Any:
    """Give `before` with what differs in `after`, its rewritten JSON; what is the same stays the same object.

    Example:
        >>> when = object()
        >>> merged({"q": "secret", "when": when}, {"q": "***", "when": str(when)}) == {"q": "***", "when": when}
        True
    """
    if isinstance(before, dict) and isinstance(after, dict):
        return {key: merged(before[key], value) if key in before else value for key, value in after.items()}
    if isinstance(before, list | tuple) and isinstance(after, list) and len(before) == len(after):
        return type(before)([merged(a, b) for a, b in zip(before, after, strict=True)])
    plain = json.loads(json.dumps(before, ensure_ascii=False, default=str))
    return before if plain == after and type(plain) is type(after) else after


def content_of(result: Any) -> Any:
    """Give a tool result as plain values: itself, the ``content`` of a framework's message, else its text."""
    if result is None or isinstance(result, str | int | float | bool | dict | list | tuple):
        return result
    found = getattr(result, "content", None)
    return found if isinstance(found, str | list) else str(result)


def with_content(result: Any, content: Any) -> Any:
    """Put rewritten plain values into a result.

    Raises:
        Unplaceable: the result is an object that does not let itself be copied with other content.
    """
    if result is None or isinstance(result, str | int | float | bool | dict | list | tuple):
        return merged(result, content)
    copy = getattr(result, "model_copy", None)
    if copy is None or not isinstance(getattr(result, "content", None), str | list):
        raise Unplaceable(f"a result of type {type(result).__name__} cannot be rewritten")
    updates: dict[str, Any] = {"content": merged(result.content, content)}
    if getattr(result, "artifact", None) is not None:
        updates["artifact"] = None  # it holds the same in another form
    return copy(update=updates)
