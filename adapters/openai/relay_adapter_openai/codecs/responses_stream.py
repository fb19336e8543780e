"""The assembler of the events of the Responses API."""

from __future__ import annotations

from typing import Any, Final, cast

from relay_adapter_openai.codecs.wire import Pieces, WireAssembler, grow, settled
from relay_core.codec_parts import list_of, table_of, text_of

__all__ = ["ResponsesAssembler"]

_ENDS: Final = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_ITEM_TEXTS: Final = {
    "response.function_call_arguments": ("arguments", "arguments"),
    "response.custom_tool_call_input": ("input", "input"),
    "response.mcp_call_arguments": ("arguments", "arguments"),
    "response.code_interpreter_call_code": ("code", "code"),
}
"""Events that add to a text of an item: the key in the item, and the key of the whole text in the last event."""
_BLOCK_TEXTS: Final = {
    "response.output_text": ("content", "content_index", "output_text", "text"),
    "response.refusal": ("content", "content_index", "refusal", "refusal"),
    "response.reasoning_text": ("content", "content_index", "reasoning_text", "text"),
    "response.reasoning_summary_text": ("summary", "summary_index", "summary_text", "text"),
}
"""Events that add to a text in a list of an item: the list, the index, the block's type, the key of the text."""
_PARTS: Final = {
    "response.content_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}
_MOST: Final = 10_000  # items of one response, blocks of one item


class ResponsesAssembler(WireAssembler):
    """Follows the events of one response; the last one has it whole, a truncated stream gives what came.

    Example:
        >>> assembler = ResponsesAssembler()
        >>> assembler.feed({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}})
        >>> assembler.feed({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "hi"})
        >>> assembler.result()["output"][0]["content"]
        [{'type': 'output_text', 'text': 'hi', 'annotations': []}]
    """

    def __init__(self) -> None:
        super().__init__()
        self._head: dict[str, Any] = {}
        self._items: dict[int, dict[str, Any]] = {}

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one event; it is a copy, to be kept and changed at will."""
        kind = text_of(chunk.get("type")) or ""
        response = chunk.get("response")
        if kind == "error" or (not kind and chunk.get("error") is not None):
            self._fail(chunk)
        elif isinstance(response, dict) and kind.startswith("response."):
            self._take_response(cast("dict[str, Any]", response), kind)
        elif kind.startswith("response.output_item.") and isinstance(chunk.get("item"), dict):
            index = self._index(chunk, text_of(chunk["item"].get("id")))
            if index is not None:
                self._items[index] = chunk["item"]
        else:
            self._take_piece(kind, chunk)

    def build(self) -> dict[str, Any]:
        """Make the response as far as it came."""
        result = settled(self._head)
        if not list_of(result.get("output")) and self._items:
            result["output"] = [settled(self._items[index]) for index in sorted(self._items)]
        if self.error is not None and not result.get("error"):
            result["error"] = settled(self.error)
            result["status"] = "failed"
        return {"object": "response", **result, "output": list_of(result.get("output"))}

    def _fail(self, chunk: dict[str, Any]) -> None:
        given = chunk.get("error") if isinstance(chunk.get("error"), dict) else chunk
        self.error = {name: value for name, value in table_of(given).items() if name not in {"type", "sequence_number"}}
        self.failed, self.complete = True, False

    def _take_response(self, response: dict[str, Any], kind: str) -> None:
        """A snapshot of the response, at the end the whole of it."""
        self._head.update(response)
        status = _ENDS.get(kind)
        if status is None:
            return
        if not isinstance(self._head.get("status"), str) or self._head["status"] == "in_progress":
            self._head["status"] = status
        self.failed = self.failed or status == "failed"
        self.complete = not self.failed

    def _take_piece(self, kind: str, chunk: dict[str, Any]) -> None:
        stem, _, stage = kind.rpartition(".")
        index = self._index(chunk, text_of(chunk.get("item_id")))
        if index is None:
            return
        if stem in _ITEM_TEXTS:
            key, whole = _ITEM_TEXTS[stem]
            _add(self._item(index, chunk, stem), key, chunk, whole, stage)
        elif stem in _BLOCK_TEXTS:
            field, spot, block, key = _BLOCK_TEXTS[stem]
            held = _block(self._item(index, chunk, stem), field, chunk, spot, block)
            if held is not None:
                _add(held, key, chunk, key, stage)
                _add_logprobs(held, chunk, stage)
        elif stem in _PARTS:
            self._take_part(index, chunk, *_PARTS[stem])
        elif kind == "response.output_text.annotation.added":
            held = _block(self._item(index, chunk, stem), "content", chunk, "content_index", "output_text")
            if held is not None:
                _extend(held, "annotations", [chunk.get("annotation")])
        elif kind == "response.image_generation_call.partial_image" and "partial_image_b64" in chunk:
            self._item(index, chunk, stem)["result"] = chunk["partial_image_b64"]

    def _take_part(self, index: int, chunk: dict[str, Any], field: str, spot: str) -> None:
        """A block of an item, empty at first and then whole."""
        part = chunk.get("part")
        if isinstance(part, dict):
            kind = text_of(part.get("type")) or ""
            held = _block(self._item(index, chunk, "response.content_part"), field, chunk, spot, kind)
            if held is not None:
                held.clear()
                held.update(cast("dict[str, Any]", part))

    def _index(self, chunk: dict[str, Any], item_id: str | None) -> int | None:
        """Where an item stands; by its id, at servers that leave out the index."""
        if "output_index" in chunk or item_id is None:
            return _spot(chunk, "output_index")
        held = next((index for index, item in self._items.items() if item.get("id") == item_id), None)
        return held if held is not None else len(self._items) if len(self._items) < _MOST else None

    def _item(self, index: int, chunk: dict[str, Any], stem: str) -> dict[str, Any]:
        """The item at an index; one that was not announced is made."""
        if index not in self._items:
            item: dict[str, Any] = {**({"id": chunk["item_id"]} if isinstance(chunk.get("item_id"), str) else {})}
            self._items[index] = {**item, **_made(stem)}
        return self._items[index]


def _made(stem: str) -> dict[str, Any]:
    """An item whose beginning was lost."""
    if "reasoning" in stem:
        return {"type": "reasoning", "summary": []}
    kinds = ("function_call", "custom_tool_call", "mcp_call", "code_interpreter_call", "image_generation_call")
    kind = next((kind for kind in kinds if stem.startswith(f"response.{kind}")), None)
    if kind is None:
        return {"type": "message", "role": "assistant", "status": "in_progress", "content": []}
    return {"type": kind, "status": "in_progress"}


def _spot(chunk: dict[str, Any], name: str) -> int | None:
    value = chunk.get(name, 0)
    return value if isinstance(value, int) and 0 <= value < _MOST else None


def _block(item: dict[str, Any], field: str, chunk: dict[str, Any], spot: str, kind: str) -> dict[str, Any] | None:
    """The block that an event is about, made if it was not announced."""
    index = _spot(chunk, spot)
    blocks = item.get(field)
    if not isinstance(blocks, list):
        blocks = item[field] = list[Any]()
    if index is None:
        return None
    while len(blocks) <= index:
        empty = {"refusal": ""} if kind == "refusal" else {"text": ""}
        blocks.append({"type": kind, **empty, **({"annotations": []} if kind == "output_text" else {})})
    held = cast("Any", blocks[index])
    return held if isinstance(held, dict) else None


def _add(table: dict[str, Any], key: str, chunk: dict[str, Any], whole: str, stage: str) -> None:
    """Add the words of an event to a text; the last event has the text whole."""
    delta, text = chunk.get("delta"), chunk.get(whole)
    if stage == "delta" and isinstance(delta, str):
        grow(table, key, delta)
    elif stage == "done" and isinstance(text, str):
        table[key] = Pieces([text])


def _add_logprobs(table: dict[str, Any], chunk: dict[str, Any], stage: str) -> None:
    given = list_of(chunk.get("logprobs"))
    if given and stage == "delta":
        _extend(table, "logprobs", given)
    elif given:
        table["logprobs"] = given


def _extend(table: dict[str, Any], key: str, items: list[Any]) -> None:
    """Add to a list under a key, in place: a stream may be long."""
    if isinstance(table.get(key), list):
        table[key].extend(items)
    else:
        table[key] = items
