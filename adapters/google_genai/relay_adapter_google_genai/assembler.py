"""Puts the chunks of a Gemini stream together to the response that would have come unstreamed."""

from __future__ import annotations

from typing import Any, Final

from relay_adapter_google_genai.names import camel, get, spelled
from relay_adapter_google_genai.partial_args import join_arguments
from relay_core.codec_parts import JsonAssembler, list_of, table_of
from relay_core.lens import copy_json

__all__ = ["ContentAssembler"]

_JOINED: Final = frozenset({"text", "thought"})  # a part with other keys, such as a signature, stands alone
_LISTS: Final = frozenset({"citations", "citationSources"})


class ContentAssembler(JsonAssembler):
    """Joins ``GenerateContentResponse`` chunks: texts that follow each other become one part, counts are replaced.

    Example:
        >>> stream = ContentAssembler()
        >>> for text in ("Hel", "lo"):
        ...     stream.feed({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]})
        >>> stream.result()
        {'candidates': [{'content': {'role': 'model', 'parts': [{'text': 'Hello'}]}}]}
    """

    def __init__(self) -> None:
        super().__init__()
        self._head: dict[str, Any] = {}
        self._candidates: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, list[tuple[dict[str, Any], list[str]]]] = {}

    def feed(self, chunk: Any) -> None:
        """Take the next chunk, or the list of all chunks that a stream without SSE gives."""
        for item in chunk if isinstance(chunk, list) else (chunk,):
            super().feed(item)

    def take(self, chunk: dict[str, Any]) -> None:
        """Take one chunk."""
        for key, value in chunk.items():
            if key == "candidates":
                for spot, item in enumerate(list_of(value)):
                    self._candidate(item, spot)
            elif isinstance(value, dict) and camel(key) == "usageMetadata":
                self._head[key] = {**table_of(self._head.get(key)), **value}
            elif value is not None:
                self._head[key] = value
        self.failed = self.failed or isinstance(chunk.get("error"), dict)
        blocked = get(self._head.get(spelled(self._head, "promptFeedback")), "blockReason") is not None
        ended = [get(item, "finishReason") is not None for item in self._candidates.values()]
        self.complete = all(ended) if ended else blocked

    def build(self) -> dict[str, Any]:
        """Make the response."""
        candidates = [self._built(index) for index in sorted(self._candidates)]
        first = {} if not candidates and self._head else {"candidates": candidates}
        return copy_json({**first, **self._head})

    def _candidate(self, item: Any, spot: int) -> None:
        if not isinstance(item, dict):
            return
        given = item.get("index")
        index = given if isinstance(given, int) else spot
        mine = self._candidates.setdefault(index, {})
        for key, value in item.items():
            if key == "content":
                content = table_of(value)
                self._join(index, list_of(content.get("parts")))
                value = {**table_of(mine.get(key)), **content}  # noqa: PLW2901  # parts are filled in at the end
            elif camel(key) == "citationMetadata":
                value = _extended(table_of(mine.get(key)), table_of(value))  # noqa: PLW2901  # the same key
            if value is not None:
                mine[key] = value

    def _join(self, index: int, parts: list[Any]) -> None:
        mine = self._parts.setdefault(index, [])
        for part in parts:
            table = table_of(part)
            text = table.get("text")
            if isinstance(text, str) and mine and table.keys() <= _JOINED:
                last, pieces = mine[-1]
                if pieces and last.get("thought") == table.get("thought") and last.keys() <= _JOINED:
                    pieces.append(text)
                    continue
            call = table.get(spelled(table, "functionCall"))
            if isinstance(call, dict) and mine and not call.get("name") and _continued(mine[-1][0], call):
                continue
            mine.append((table or {"": part}, [text] if isinstance(text, str) else []))

    def _built(self, index: int) -> dict[str, Any]:
        candidate = dict(self._candidates[index])
        made = [
            {**part, "text": "".join(pieces)} if pieces else _with_arguments(part)
            for part, pieces in self._parts.get(index, [])
        ]
        if isinstance(candidate.get("content"), dict) and (made or "parts" in candidate["content"]):
            candidate["content"] = {**candidate["content"], "parts": made}
        return candidate


def _extended(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Citations of a later chunk come on top of the earlier ones."""
    lists = {key: [*list_of(old.get(key)), *list_of(value)] for key, value in new.items() if camel(key) in _LISTS}
    return {**old, **new, **lists}


def _continued(part: dict[str, Any], call: dict[str, Any]) -> bool:
    """Whether a piece of a call belongs to the call before it; then it is added there."""
    key = spelled(part, "functionCall")
    open_call = table_of(part.get(key))
    if get(open_call, "willContinue") is not True:
        return False
    pieces = spelled(open_call, "partialArgs")
    added = [*list_of(open_call.get(pieces)), *list_of(get(call, "partialArgs"))]
    part[key] = {**open_call, pieces: added, spelled(open_call, "willContinue"): get(call, "willContinue")}
    return True


def _with_arguments(part: dict[str, Any]) -> dict[str, Any]:
    """A part whose call has its arguments as an object, not in pieces."""
    key = spelled(part, "functionCall")
    call = part.get(key)
    if not isinstance(call, dict):
        return part
    names = (spelled(call, "partialArgs"), spelled(call, "willContinue"))
    if not any(name in call for name in names):
        return part
    rest = {name: value for name, value in call.items() if name not in names}
    return {
        **part,
        key: {**rest, "args": {**table_of(rest.get("args")), **join_arguments(list_of(call.get(names[0])))}},
    }
