"""Events in the words of readers that know chat completions only, such as the ATOF-to-ATIF converter of NVIDIA NAT.

Such a reader refuses a file when a model's payload has another shape, or when a tool's result names a call that the last
answer of the model did not ask for. The dialect writes those payloads as chat completions, which ``data_schema`` then
says, and keeps what was there in ``metadata``: nothing is lost.
"""

from __future__ import annotations

from typing import Any, Final, Literal, cast

import msgspec

__all__ = ["Dialect", "NatDialect", "dialect_of"]

Dialect = Literal["relay", "nat"]

_SCHEMA: Final = {"name": "openai/chat-completions", "version": "1"}
_ORIGINAL: Final = "relay.data"
_CALL_ID: Final = "relay.tool_call_id"
_MOST_SCOPES: Final = 100_000
_Row = dict[str, Any]
_decode = msgspec.json.Decoder(_Row).decode
_encode = msgspec.json.Encoder(order="sorted").encode


def dialect_of(name: Dialect) -> NatDialect | None:
    """Make what rewrites lines; None leaves them as they are."""
    return NatDialect() if name == "nat" else None


class NatDialect:
    """Rewrites the lines of one exporter, in their order.

    Example:
        >>> line = b'{"kind":"mark","name":"m","data":{"a":1},"metadata":null}'
        >>> NatDialect().line(line)
        b'{"data":null,"kind":"mark","metadata":{"relay.data":{"a":1}},"name":"m"}'
    """

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, str]] = {}  # of open scopes: category, and whose trajectory they are in
        self._asked: dict[str, set[str]] = {}  # by trajectory: the calls that the last answer asked for

    def line(self, line: bytes) -> bytes | None:
        """Rewrite one line.

        Returns:
            The line, or None for the start of a guardrail: its end becomes a mark that tells all.

        Raises:
            ValueError: it is no JSON object.
        """
        row = _decode(line)
        if row.get("kind") == "mark":
            self._mark(row)
        elif row.get("scope_category") == "start":
            self._start(row)
            if row.get("category") == "guardrail":
                return None
        else:
            self._end(row)
        return _encode(row)

    def _mark(self, row: _Row) -> None:
        data = row.get("data")
        if isinstance(data, dict) and "role" in data:  # the reader makes a step of it
            self._asked.pop(self._trajectory(row), None)
        elif data is not None:
            _set_data(row, None)

    def _start(self, row: _Row) -> None:
        uuid, category = row.get("uuid", ""), row.get("category") or ""
        around = self._places.get(row.get("parent_uuid") or "", ("", ""))
        trajectory = uuid if category == "agent" and around[0] in ("tool", "context") else around[1]
        if len(self._places) >= _MOST_SCOPES:
            self._places.pop(next(iter(self._places)))
        self._places[uuid] = (category, trajectory)
        if category == "llm":
            self._asked.pop(trajectory, None)
            messages = _messages(row)
            headers = _table(_table(row.get("data")).get("headers"))
            _set_data(row, {"content": {"messages": messages}, "headers": headers} if messages else None)

    def _end(self, row: _Row) -> None:
        trajectory = self._trajectory(row)
        profile = _table(row.get("category_profile"))
        if row.get("category") == "llm":
            answer = _answer(profile.get("annotated_response"), row.get("data"))
            self._asked[trajectory] = {call["id"] for call in answer.get("tool_calls", ())}
            _set_data(row, answer or None)
        elif row.get("category") == "tool":
            call_id = profile.get("tool_call_id")
            if call_id is not None and call_id not in self._asked.get(trajectory, ()):
                row["category_profile"] = {key: value for key, value in profile.items() if key != "tool_call_id"}
                row["metadata"] = {**_table(row.get("metadata")), _CALL_ID: call_id}
        elif row.get("category") == "guardrail":
            _make_mark(row)
        elif row.get("category") != "agent":  # the reader makes a step of it, and forgets what was asked
            self._asked.pop(trajectory, None)
        self._places.pop(row.get("uuid", ""), None)
        if trajectory == row.get("uuid"):
            self._asked.pop(trajectory, None)

    def _trajectory(self, row: _Row) -> str:
        own = self._places.get(row.get("uuid", ""))
        return own[1] if own is not None else self._places.get(row.get("parent_uuid") or "", ("", ""))[1]


def _make_mark(row: _Row) -> None:
    """A decision is a point in time: as a scope it would come between a question and its tools."""
    del row["scope_category"], row["attributes"]
    row["kind"] = "mark"
    row["metadata"] = {**_table(row.get("metadata")), "relay.category": row["category"]}
    row["category"] = row["category_profile"] = None
    _set_data(row, None)


def _set_data(row: _Row, data: _Row | None) -> None:
    """Put other data in place of what is there, which moves into the metadata."""
    original = row.get("data")
    if original is not None:
        row["metadata"] = {**_table(row.get("metadata")), _ORIGINAL: original}
    row["data"] = data
    if data is not None:
        row["data_schema"] = _SCHEMA


def _messages(row: _Row) -> list[_Row]:
    """Find the messages of a request, in the view of a codec or else in the request itself."""
    view = _table(_table(row.get("category_profile")).get("annotated_request"))
    data = _table(row.get("data"))
    request = view or _table(data.get("content")) or data
    found: list[_Row] = []
    instructions = _text(request.get("instructions") or request.get("system"))
    if instructions:
        found.append({"role": "system", "content": instructions})
    given = request.get("messages", request.get("input", request.get("contents")))
    if isinstance(given, str):
        return [*found, {"role": "user", "content": given}]
    for item in _list(given):
        message = _table(item)
        text = _text(message.get("content", message.get("parts")))
        if text:
            role = message.get("role") or "user"
            found.append({"role": "system" if role == "developer" else role, "content": text})
    return found


def _answer(view: Any, data: Any) -> _Row:
    """Find text and tool calls of a response, in the view of a codec or else in the response itself."""
    known = _table(view)
    choice = _table(next(iter(_list(_table(data).get("choices"))), None))
    message = known or _table(choice.get("message")) or _table(data)
    blocks = _list(message.get("content"))
    text = _text(message.get("message", message.get("content")))
    calls = [_table(call) for call in _list(message.get("tool_calls"))]
    calls += [_table(block) for block in blocks if _table(block).get("type") == "tool_use"]
    answer: _Row = {"content": text} if text else {}
    named = [call for call in map(_call, calls) if call["id"]]
    return {**answer, "tool_calls": named} if named else answer


def _call(call: _Row) -> _Row:
    function = _table(call.get("function")) or call
    arguments: Any = function.get("arguments", function.get("input"))
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except (ValueError, RecursionError):
            arguments = {"raw": arguments}
    if not isinstance(arguments, dict):
        arguments = {} if arguments is None else {"value": arguments}
    return {"id": str(call.get("id") or ""), "name": str(function.get("name") or ""), "arguments": arguments}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = [item if isinstance(item, str) else _table(item).get("text") for item in _list(content)]
    return "\n".join(part for part in parts if isinstance(part, str))


def _table(value: Any) -> _Row:
    return cast("_Row", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
