"""Where the text of the chunks of OpenAI's streams is, for rules that rewrite it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_core.codec_parts import list_of, table_of, text_of
from relay_core.text_rules import ChunkText, ChunkTexts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_core.llm import Path

__all__ = ["chat_texts", "responses_texts"]

_FIELDS: Final = ("content", "refusal", "reasoning_content", "reasoning")
_PIECES: Final = {
    "response.output_text": "content_index",
    "response.refusal": "content_index",
    "response.reasoning_text": "content_index",
    "response.reasoning_summary_text": "summary_index",
}
_LAST: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"}
)
_WHOLE: Final = ("text", "refusal")
_LISTS: Final = ("content", "summary")


def chat_texts(chunk: Any) -> ChunkTexts:
    """Find the texts in a chunk of a chat completion: content, refusal and reasoning of every choice.

    Args:
        chunk: one chunk as a dict.

    Example:
        >>> chat_texts({"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}).texts[0].text
        'Hi'
    """
    texts: list[ChunkText] = []
    ends: list[Any] = []
    for place, item in enumerate(list_of(table_of(chunk).get("choices"))):
        choice = table_of(item)
        index = choice.get("index", place)
        echoes: tuple[Path, ...] = (("choices", place, "logprobs"),) if choice.get("logprobs") is not None else ()
        delta = table_of(choice.get("delta"))
        for field in _FIELDS:
            text = text_of(delta.get(field))
            if text:
                texts.append(ChunkText(("choices", place, "delta", field), text, (index, field), echoes))
        for spot, part in enumerate(list_of(delta.get("content"))):
            text = text_of(table_of(part).get("text"))
            if text:
                path: Path = ("choices", place, "delta", "content", spot, "text")
                texts.append(ChunkText(path, text, (index, "content"), echoes))
        if choice.get("finish_reason"):
            ends.append(index)
    return ChunkTexts(tuple(texts), tuple(ends))


def responses_texts(chunk: Any) -> ChunkTexts:
    """Find the texts in an event of a response; the events that repeat a text whole are found as well.

    Args:
        chunk: one event as a dict.

    Example:
        >>> event = {"type": "response.output_text.delta", "item_id": "m", "content_index": 0, "delta": "Hi"}
        >>> responses_texts(event).texts[0].text
        'Hi'
    """
    event = table_of(chunk)
    kind = text_of(event.get("type")) or ""
    stem, _, stage = kind.rpartition(".")
    if stem in _PIECES:
        group = (event.get("item_id"), event.get("output_index"), event.get(_PIECES[stem]))
        echoes: tuple[Path, ...] = (("logprobs",),) if event.get("logprobs") else ()
        text = text_of(event.get("delta"))
        if stage == "delta":
            found = (ChunkText(("delta",), text, (group, stem), echoes),) if text else ()
            return ChunkTexts(found, counter="sequence_number")
        return ChunkTexts(tuple(_whole(event, (), echoes)), ends=(group,), counter="sequence_number")
    whole = [
        *_whole(table_of(event.get("part")), ("part",)),
        *_item(table_of(event.get("item")), ("item",)),
        *(
            text
            for place, item in enumerate(list_of(table_of(event.get("response")).get("output")))
            for text in _item(table_of(item), ("response", "output", place))
        ),
    ]
    return ChunkTexts(tuple(whole), last=kind in _LAST, counter="sequence_number")


def _item(item: dict[Any, Any], path: Path) -> Iterator[ChunkText]:
    for name in _LISTS:
        for place, part in enumerate(list_of(item.get(name))):
            yield from _whole(table_of(part), (*path, name, place))


def _whole(part: dict[Any, Any], path: Path, echoes: tuple[Path, ...] = ()) -> Iterator[ChunkText]:
    if part.get("logprobs"):
        echoes = ((*path, "logprobs"),)
    for name in _WHOLE:
        text = text_of(part.get(name))
        if text:
            yield ChunkText((*path, name), text, None, echoes)
