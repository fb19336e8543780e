"""Where the text of an Anthropic stream's events is, for rules that rewrite it."""

from __future__ import annotations

from typing import Any

from relay_core.codec_parts import table_of, text_of
from relay_core.text_rules import ChunkText, ChunkTexts

__all__ = ["message_texts"]


def message_texts(chunk: Any) -> ChunkTexts:
    """Find the text and the cited text in an event. Thinking is left alone: it is signed.

    Args:
        chunk: one event as a dict.

    Example:
        >>> delta = {"type": "text_delta", "text": "Hi"}
        >>> message_texts({"type": "content_block_delta", "index": 0, "delta": delta}).texts[0].text
        'Hi'
    """
    event = table_of(chunk)
    kind, index = event.get("type"), event.get("index")
    if kind == "content_block_delta":
        return _delta(table_of(event.get("delta")), index)
    if kind == "content_block_start":
        text = text_of(table_of(event.get("content_block")).get("text"))
        return ChunkTexts((ChunkText(("content_block", "text"), text, (index, "text")),) if text else ())
    if kind == "content_block_stop":
        return ChunkTexts(ends=(index,))
    return ChunkTexts(last=kind in {"message_delta", "message_stop", "error"})


def _delta(delta: dict[Any, Any], index: Any) -> ChunkTexts:
    if delta.get("type") == "text_delta":
        text = text_of(delta.get("text"))
        return ChunkTexts((ChunkText(("delta", "text"), text, (index, "text")),) if text else ())
    cited = text_of(table_of(delta.get("citation")).get("cited_text"))
    return ChunkTexts((ChunkText(("delta", "citation", "cited_text"), cited),) if cited else ())
