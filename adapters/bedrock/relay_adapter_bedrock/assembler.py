"""Puts the events of a ConverseStream together to the response that would have come unstreamed."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from relay_core.codec_parts import JsonAssembler, list_of, table_of
from relay_core.lens import copy_json

__all__ = ["ConverseAssembler"]

_PADDING: Final = "p"  # of random length, against guesses from the size of events
_METADATA: Final = ("usage", "metrics", "trace", "performanceConfig", "serviceTier")


class ConverseAssembler(JsonAssembler):
    """Joins ``messageStart`` to ``metadata``; events are objects with one key, as boto3 and `EventStreamDecoder` give.

    An exception in the stream stays as ``error`` beside what had come.

    Example:
        >>> stream = ConverseAssembler()
        >>> stream.feed({"messageStart": {"role": "assistant"}})
        >>> stream.feed({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "4"}}})
        >>> stream.feed({"messageStop": {"stopReason": "end_turn"}})
        >>> stream.result()
        {'output': {'message': {'role': 'assistant', 'content': [{'text': '4'}]}}, 'stopReason': 'end_turn'}
    """

    def __init__(self) -> None:
        super().__init__()
        self._role = "assistant"
        self._tail: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, dict[tuple[str, ...], list[Any]]] = {}

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one event."""
        for kind, value in chunk.items():
            table = table_of(value)
            if kind == "messageStart":
                self._role = table["role"] if isinstance(table.get("role"), str) else self._role
            elif kind in {"contentBlockStart", "contentBlockDelta"}:
                self._block_event(table)
            elif kind == "messageStop":
                self.complete = True
                self._tail.update({name: item for name, item in table.items() if name != _PADDING and item is not None})
            elif kind == "metadata":
                self._tail.update({name: table[name] for name in _METADATA if table.get(name) is not None})
            elif kind.endswith("Exception") or kind == "error":
                self.failed = True
                self._tail["error"] = {"type": kind, **table}
            elif kind not in {"contentBlockStop", _PADDING} and value is not None:
                self._tail[kind] = value  # such as Bedrock's metrics of an invocation

    def build(self) -> dict[str, Any]:
        """Make the response."""
        content: list[Any] = []
        lone = False
        for index in sorted(self._blocks):
            block, was_lone = self._built(index), lone
            lone = block.keys() == {"text"} and self._blocks[index] == {} and len(self._pieces[index]["text",]) == 1
            if lone and was_lone:  # Nova's own streams number every delta as a block
                content[-1] = {"text": content[-1]["text"] + block["text"]}
            else:
                content.append(block)
        return copy_json({"output": {"message": {"role": self._role, "content": content}}, **self._tail})

    def _block_event(self, event: dict[str, Any]) -> None:
        index = event.get("contentBlockIndex", 0)
        if not isinstance(index, int):
            return
        block = self._blocks.setdefault(index, {})
        for kind, value in table_of(event.get("start")).items():
            block[kind] = value
        for kind, value in table_of(event.get("delta")).items():
            if kind == "text":
                self._piece(index, ("text",), value)
            elif kind == "citation":
                self._piece(index, ("citationsContent", "citations"), value)
            elif isinstance(value, dict):
                nest = ("reasoningText",) if kind == "reasoningContent" else ()
                for name, item in value.items():
                    self._piece(index, (kind, *(() if name == "redactedContent" else nest), name), item)
            else:
                self._piece(index, (kind, *(("content",) if kind == "toolResult" else ())), value)

    def _piece(self, index: int, path: tuple[str, ...], value: Any) -> None:
        if value is not None:
            self._pieces.setdefault(index, {}).setdefault(path, []).append(value)

    def _built(self, index: int) -> dict[str, Any]:
        block = copy_json(self._blocks[index])
        for path, pieces in self._pieces.get(index, {}).items():
            spot = block
            for key in path[:-1]:
                spot[key] = dict(table_of(spot.get(key)))
                spot = spot[key]
            spot[path[-1]] = _joined(path, pieces)
        cited = block.get("citationsContent")
        if isinstance(cited, dict) and isinstance(block.get("text"), str):
            return {"citationsContent": {"content": [{"text": block["text"]}], **cited}}
        call = block.get("toolUse")
        if isinstance(call, dict) and "input" not in call:
            call["input"] = {}
        return block


def _joined(path: tuple[str, ...], pieces: list[Any]) -> Any:
    """The whole of what came in pieces; the input of a tool as text where the stream broke off within it."""
    if path[-1] in {"citations", "content"}:
        return [item for piece in pieces for item in (list_of(piece) if isinstance(piece, list) else [piece])]
    if path[-1] == "redactedContent":
        return _sealed(pieces)
    if not all(isinstance(piece, str) for piece in pieces):
        return pieces[-1]
    text = "".join(pieces)
    if path != ("toolUse", "input"):
        return text
    try:
        return json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return text


def _sealed(pieces: list[Any]) -> Any:
    """Encrypted content: each piece is base64 of its own, or bytes."""
    try:
        whole = b"".join(piece if isinstance(piece, bytes) else base64.b64decode(piece) for piece in pieces)
    except (ValueError, TypeError):
        return pieces[-1]
    return whole if isinstance(pieces[0], bytes) else base64.b64encode(whole).decode()
