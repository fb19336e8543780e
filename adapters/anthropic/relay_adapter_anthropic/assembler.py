"""Puts the events of an Anthropic stream together to the message that would have come unstreamed."""

from __future__ import annotations

import json
from typing import Any, Final

from relay_core.codec_parts import JsonAssembler, list_of, table_of, text_of
from relay_core.lens import copy_json

__all__ = ["MessageAssembler"]

_KINDS: Final = {  # of a block whose start was lost, by its first delta
    "text_delta": {"type": "text", "text": ""},
    "citations_delta": {"type": "text", "text": ""},
    "input_json_delta": {"type": "tool_use", "name": "", "input": {}},
    "thinking_delta": {"type": "thinking", "thinking": "", "signature": ""},
    "signature_delta": {"type": "thinking", "thinking": "", "signature": ""},
    "compaction_delta": {"type": "compaction", "content": ""},
}
_ROUTING: Final = frozenset({"type", "index"})
_CARRIED: Final = {  # what a delta adds to its block; some say more about the stream itself
    "text_delta": ("text",),
    "thinking_delta": ("thinking",),
    "signature_delta": ("signature",),
    "input_json_delta": ("partial_json",),
}


class MessageAssembler(JsonAssembler):
    """Joins ``message_start`` to ``message_stop``.

    Usage is cumulative: a later count replaces an earlier one, and counts that only the start has are kept. An error
    event stays as ``error`` beside what had come.

    Example:
        >>> stream = MessageAssembler()
        >>> stream.feed({"type": "message_start", "message": {"id": "m", "type": "message", "content": []}})
        >>> stream.feed({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        >>> stream.feed({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "4"}})
        >>> stream.result()
        {'id': 'm', 'type': 'message', 'content': [{'type': 'text', 'text': '4'}]}
    """

    def __init__(self) -> None:
        super().__init__()
        self._message: dict[str, Any] | None = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, dict[str, list[str]]] = {}

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one event."""
        kind = chunk.get("type")
        if kind == "content_block_delta":
            self._delta(chunk)
        elif kind == "content_block_start":
            index = chunk.get("index")
            if isinstance(index, int) and isinstance(chunk.get("content_block"), dict):
                self._blocks[index] = chunk["content_block"]
        elif kind == "message_start":
            self._message = {**table_of(chunk.get("message")), **self._head()}
        elif kind == "message_delta":
            self._merge(chunk)
        elif kind == "message_stop":
            self.complete = True
            self._merge(chunk)  # Bedrock adds its metrics
        elif kind == "error":
            self.failed = True
            self._merge(chunk)

    def build(self) -> dict[str, Any]:
        """Make the message."""
        message = self._head()
        if not message.keys() - {"error"} and not self._blocks and "error" in message:
            return {"type": "error", "error": copy_json(message["error"])}
        started = [block for block in list_of(message.get("content")) if not self._blocks]
        content = [self._block(index) for index in sorted(self._blocks)]
        first = {} if "type" in message else {"type": "message", "role": "assistant"}
        return copy_json({**first, **message, "content": [*started, *content]})

    def _head(self) -> dict[str, Any]:
        return {} if self._message is None else self._message

    def _merge(self, chunk: dict[str, Any]) -> None:
        """Take over what an event says of the whole message."""
        message = self._message = dict(self._head())
        message.update(table_of(chunk.get("delta")))
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            message["usage"] = {**table_of(message.get("usage")), **_given(usage)}
        rest = {name: value for name, value in chunk.items() if name not in {"delta", "usage", *_ROUTING}}
        message.update(_given(rest))

    def _delta(self, chunk: dict[str, Any]) -> None:
        index, delta = chunk.get("index"), table_of(chunk.get("delta"))
        kind = text_of(delta.get("type")) or ""
        if not isinstance(index, int) or not delta:
            return
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = copy_json(_KINDS.get(kind, {"type": kind.removesuffix("_delta")}))
        if kind == "citations_delta":
            cited = block.get("citations")
            block["citations"] = [*list_of(cited), delta.get("citation")]
            return
        for name, value in delta.items():
            if name in _ROUTING or name not in _CARRIED.get(kind, delta):
                continue
            if isinstance(value, str):
                self._pieces.setdefault(index, {}).setdefault(name, []).append(value)
            elif value is not None:
                block[name] = value

    def _block(self, index: int) -> dict[str, Any]:
        block = dict(self._blocks[index])
        for name, pieces in self._pieces.get(index, {}).items():
            if name == "partial_json":
                block["input"] = _parsed("".join(pieces), block.get("input"))
            else:
                block[name] = (text_of(block.get(name)) or "") + "".join(pieces)
        return block


def _given(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value is not None}


def _parsed(text: str, start: Any) -> Any:
    """The arguments of a tool call; as text where the stream broke off within them."""
    if not text:
        return start
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
