"""A request that a fake provider received."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request, as it arrived.

    Args:
        method: `POST` or `GET`.
        path: The path without the query string.
        headers: Header values by lower-case name. They may hold an API key, so `repr` leaves them out.
        body: The decoded JSON body, or None when there is none or it does not parse.
        at: When it arrived, on `time.monotonic()`.
        number: Its place in arrival order, from 1.
        query: The query string.
        raw: The body as bytes.
        api: The API it was for (`openai_chat`, `openai_responses`, `anthropic_messages`, `openai_embeddings`,
            `models`), or an empty string when no API has such a path.
        deployment: The deployment that an Azure path names.

    Example:
        >>> RecordedRequest(
        ...     "POST", "/v1/messages", {}, {"messages": [{"role": "user", "content": "Hi"}]}, 0.0
        ... ).last_user_text
        'Hi'
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: Any
    at: float
    number: int = 1
    query: str = ""
    raw: bytes = field(default=b"", repr=False)
    api: str = ""
    deployment: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """The body when it is a JSON object, else an empty one."""
        body: Any = self.body
        return cast("dict[str, Any]", body) if isinstance(body, dict) else {}

    @property
    def stream(self) -> bool:
        """Whether the client asked for a stream."""
        return self.fields.get("stream") is True

    @property
    def model(self) -> str:
        """The model that was asked for; on Azure paths the deployment may stand in for it."""
        model = self.fields.get("model")
        return model if isinstance(model, str) and model else self.deployment

    @property
    def last_user_text(self) -> str:
        """The text of the last message with the role `user`."""
        texts = [text_of(item.get("content")) for item in self._items() if item.get("role") == "user"]
        return texts[-1] if texts else ""

    @property
    def prompt_text(self) -> str:
        """All text of the prompt, joined: instructions, messages, tool calls' arguments and tool results."""
        parts = [text_of(self.fields.get(name)) for name in ("instructions", "system")]
        for item in self._items():
            parts += [text_of(item.get(name)) for name in ("content", "output", "arguments")]
        return "".join(parts)

    def _items(self) -> Iterator[dict[str, Any]]:
        items: Any = self.fields.get("messages", self.fields.get("input"))
        if isinstance(items, str):
            yield {"role": "user", "content": items}
        elif isinstance(items, list):
            for item in cast("list[Any]", items):
                if isinstance(item, dict):
                    yield cast("dict[str, Any]", item)


def text_of(content: Any) -> str:
    """Collect the text in a message's content, whichever shape an API gives it.

    Args:
        content: A string, a list of content parts, or anything else.

    Returns:
        The text, empty when there is none.

    Example:
        >>> text_of(
        ...     [{"type": "text", "text": "a"}, {"type": "tool_result", "content": [{"type": "text", "text": "b"}]}]
        ... )
        'ab'
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts: list[str] = []
    for part in cast("list[Any]", content):
        if isinstance(part, dict):
            fields = cast("dict[str, Any]", part)
            texts.append(text_of(fields.get("text", fields.get("content"))))
        else:
            texts.append(text_of(part))
    return "".join(texts)
