"""The assembler of chat completion chunks."""

from __future__ import annotations

from typing import Any, Final, cast

from relay_adapter_openai.codecs.wire import Pieces, WireAssembler, grow, settled
from relay_core.codec_parts import list_of, table_of, text_of

__all__ = ["ChatAssembler"]

_NOISE: Final = {"choices", "object", "obfuscation", "usage", "error"}
_SET_ONCE: Final = {"id", "role", "type", "format", "signature", "expires_at"}
_JOINED: Final = {"text", "summary", "thinking"}


class ChatAssembler(WireAssembler):
    """Joins chat completion chunks; all choices, interleaved tool calls, usage as it was last reported.

    Example:
        >>> assembler = ChatAssembler()
        >>> for text in ("4", "2"):
        ...     assembler.feed({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]})
        >>> assembler.result()["choices"][0]["message"]["content"], assembler.facts.complete
        ('42', False)
    """

    done_ends = True

    def __init__(self) -> None:
        super().__init__()
        self._head: dict[str, Any] = {}
        self._choices: dict[int, _Reply] = {}
        self._usage: Any = None

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one chunk; it is a copy, to be kept and changed at will."""
        if chunk.get("error") is not None:
            self.error, self.failed = chunk["error"], True
        for name, value in chunk.items():
            if name not in _NOISE:
                _set_head(self._head, name, value)
        self._usage = chunk.get("usage") or self._usage
        for item in list_of(chunk.get("choices")):
            if isinstance(item, dict):
                index = item.get("index")
                spot = index if isinstance(index, int) else 0
                self._choices.setdefault(spot, _Reply(spot)).take(cast("dict[str, Any]", item))
        finished = bool(self._choices) and all(reply.finished for reply in self._choices.values())
        self.complete = finished and not self.failed

    def build(self) -> dict[str, Any]:
        """Make the completion as far as it came."""
        head = settled(self._head)
        result = {"id": head.pop("id", None), "object": "chat.completion", **head}
        result["choices"] = [self._choices[index].build(result["id"]) for index in sorted(self._choices)]
        if self._usage is not None:
            result["usage"] = settled(self._usage)
        if self.error is not None:
            result["error"] = settled(self.error)
        return {name: value for name, value in result.items() if name != "id" or value is not None}


class _Reply:
    """One choice, as far as it came."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.finished = False
        self._message: dict[str, Any] = {"role": "assistant", "content": None}
        self._rest: dict[str, Any] = {}
        self._calls = _Calls()

    def take(self, item: dict[str, Any]) -> None:
        delta = item.get("delta")
        for name, value in item.items():
            if name == "text" and not isinstance(delta, dict) and isinstance(value, str):
                grow(self._message, "content", value)  # a completion of old
            elif name == "logprobs":
                _join_logprobs(self._rest, value)
            elif name not in {"delta", "message", "index", "text"}:
                _set_head(self._rest, name, value)
        self.finished = self.finished or isinstance(item.get("finish_reason"), str)
        # Some servers end a stream with the whole message.
        for name, value in table_of(delta if isinstance(delta, dict) else item.get("message")).items():
            self._join(str(name), value)

    def _join(self, name: str, value: Any) -> None:
        if name == "tool_calls":
            self._calls.take(list_of(value))
        elif name == "role":
            self._message["role"] = text_of(value) or self._message["role"]
        elif name == "content":
            self._join_content(value)
        else:
            _join_field(self._message, name, value)

    def _join_content(self, value: Any) -> None:
        """Content is text, or blocks; a server may change from one to the other on the way."""
        held = self._message["content"]
        if isinstance(value, str) and value and _is_list(held):
            value = [{"type": "text", "text": value}]
        elif isinstance(value, list) and isinstance(held, Pieces) and any(held):
            self._message["content"] = [{"type": "text", "text": "".join(held)}]
        if isinstance(value, list):
            held = self._message["content"]
            self._message["content"] = _join_list(held if _is_list(held) else [], cast("list[Any]", value))
        elif isinstance(value, str) and not _is_list(held):
            grow(self._message, "content", value)

    def build(self, response_id: Any) -> dict[str, Any]:
        message = settled(self._message)
        calls = self._calls.build(f"{response_id or 'call'}_{self.index}")
        rest = {"finish_reason": None, **settled(self._rest)}
        return {"index": self.index, "message": {**message, "tool_calls": calls} if calls else message, **rest}


class _Calls:
    """The tool calls of one choice. Servers number them, or name them, or do neither."""

    def __init__(self) -> None:
        self._slots: list[dict[str, Any]] = []
        self._by_index: dict[int, dict[str, Any]] = {}
        self._by_id: dict[str, dict[str, Any]] = {}

    def take(self, deltas: list[Any]) -> None:
        for delta in deltas:
            if isinstance(delta, dict):
                table = cast("dict[str, Any]", delta)
                _join_call(self._slot(table), table)

    def _slot(self, delta: dict[str, Any]) -> dict[str, Any]:
        index, call_id = delta.get("index"), text_of(delta.get("id"))
        index = index if isinstance(index, int) else None
        slot = self._by_index.get(index) if index is not None else self._unnumbered(delta, call_id)
        if slot is not None and call_id and text_of(slot.get("id")) not in {None, "", call_id}:
            slot = self._by_id.get(call_id)  # some servers number every call 0
        if slot is None:
            slot = {}
            self._slots.append(slot)
        if index is not None:
            self._by_index[index] = slot
        if call_id:
            self._by_id[call_id] = slot
        return slot

    def _unnumbered(self, delta: dict[str, Any], call_id: str | None) -> dict[str, Any] | None:
        if call_id:
            return self._by_id.get(call_id)
        begins = bool(table_of(delta.get("function")).get("name"))
        return self._slots[-1] if self._slots and not begins else None

    def build(self, stem: str) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        for number, slot in enumerate(self._slots):
            call = settled(slot)
            call_id = call.pop("id", None) or f"{stem}_{number}"
            kind = call.pop("type", None) or ("custom" if "custom" in call else "function")
            calls.append({"id": call_id, "type": kind, **call})
        return calls


def _join_call(slot: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name in {"function", "custom"} and isinstance(value, dict):
            if not isinstance(slot.get(name), dict):
                slot[name] = {}
            held = slot[name]
            for key, text in cast("dict[str, Any]", value).items():
                if key == "name" and isinstance(text, str) and settled(held.get("name")) == text:
                    continue  # the same name with every delta
                _join_field(held, key, text)
        elif name != "index":
            _join_field(slot, name, value)


def _set_head(table: dict[str, Any], name: str, value: Any) -> None:
    """Keep the newest value that says something; objects are joined."""
    if value is None or value == "" or (value == 0 and name in table):
        table.setdefault(name, value)
    elif isinstance(value, dict) and isinstance(table.get(name), dict):
        table[name].update(value)
    else:
        table[name] = value


def _join_field(table: dict[str, Any], name: str, value: Any) -> None:
    """Add a piece of a field: text grows, lists get longer, objects are joined field by field."""
    held = table.get(name)
    if value is None:
        table.setdefault(name, None)
    elif isinstance(value, str) and name not in _SET_ONCE:
        grow(table, name, value)
    elif isinstance(value, str):
        table[name] = value or held
    elif isinstance(value, dict) and isinstance(held, dict):
        for key, item in cast("dict[str, Any]", value).items():
            _join_field(cast("dict[str, Any]", held), key, item)
    elif isinstance(value, list):
        table[name] = _join_list(held if _is_list(held) else [], cast("list[Any]", value))
    else:
        table[name] = value


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and not isinstance(value, Pieces)


def _join_list(held: Any, pieces: list[Any]) -> list[Any]:
    """Add blocks; one that goes on the last block, such as the next words of a thought, is joined to it."""
    for piece in pieces:
        last = held[-1] if held else None
        if isinstance(piece, dict) and isinstance(last, dict) and _goes_on(last, cast("Any", piece)):
            for key, item in cast("dict[str, Any]", piece).items():
                if key != "index":
                    _join_field(cast("dict[str, Any]", last), key, item)
        else:
            held.append(piece)
    return held


def _goes_on(last: dict[str, Any], piece: dict[str, Any]) -> bool:
    same_place = last.get("type") == piece.get("type") and last.get("index") == piece.get("index")
    grows = _JOINED & piece.keys()
    ended = bool(last.get("signature")) and bool(grows)
    return same_place and "type" in piece and not ended and bool(grows or "signature" in piece)


def _join_logprobs(table: dict[str, Any], value: Any) -> None:
    held = table.get("logprobs")
    if not isinstance(value, dict) or not isinstance(held, dict):
        table["logprobs"] = value if held is None else held
        return
    for key, items in cast("dict[str, Any]", value).items():
        if isinstance(items, list) and isinstance(held.get(key), list):
            held[key].extend(items)
        elif items is not None:
            held[key] = items
