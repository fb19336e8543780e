"""The annotated views of model calls, with what is known of messages and tools since earlier calls.

A message that is frozen once is read once: its part of the view is kept with it. So is what stands beside the messages,
as long as it is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from relay_adapter_langchain.conversations import same
from relay_adapter_langchain.messages import message_view
from relay_adapter_langchain.views import request_view, response_view
from relay_core.annotations import annotated_request, annotated_response
from relay_core.llm import LlmRequest
from relay_core.payloads import Frozen

if TYPE_CHECKING:
    from relay_core.payloads import Encoder

__all__ = ["annotated", "beside"]

_ATOMS: Final = frozenset({str, int, float, bool, type(None)})
_REMEMBERED: Final = 64
_LONGEST: Final = 65_536  # bytes
_rests: WeakKeyDictionary[Encoder, dict[bytes, dict[str, Any]]] = WeakKeyDictionary()


def annotated(phase: str, frozen: Any, encoder: Encoder) -> dict[str, Any] | None:
    """Make the views of one event of a model call; None where its payload is not of the usual form.

    Args:
        phase: "start" or "end".
        frozen: the payload of the event.
        encoder: the runtime's.

    Example:
        >>> from relay_core.payloads import Encoder
        >>> message = Frozen({"role": "user", "content": "hi"})
        >>> request = Frozen({"model": "m", "messages": [message]})
        >>> found = annotated("start", {"headers": {}, "content": request}, encoder := Encoder())
        >>> encoder.tree(found)
        {'annotated_request': {'messages': [{'role': 'user', 'content': 'hi'}], 'model': 'm'}}
    """
    if phase == "end":
        data = encoder.tree(frozen)
        return {"annotated_response": Frozen(annotated_response(response_view(data)))} if type(data) is dict else None
    data = frozen.value if type(frozen) is Frozen else frozen
    content = data.get("content") if type(data) is dict else None
    if type(content) is Frozen:
        content = content.value
    if type(content) is not dict or "$relay" in content:
        return None
    messages = _messages(content.get("messages"), encoder)
    if messages is None:
        return None
    rest = _rest(content)
    if encoder.size(content["messages"]) + encoder.size(rest) > encoder.limits.max_bytes // 2:
        return None  # perhaps something is left out of what observers see
    return {"annotated_request": Frozen({"messages": messages, **_beside(rest, encoder)})}


def _messages(given: Any, encoder: Encoder) -> Frozen | None:
    """Give the messages as the view has them: only what is new is read, the rest was when it was new."""
    parts = given.value if type(given) is Frozen else given
    if type(parts) is not list or not parts or len(parts) > encoder.limits.max_items:
        return None
    key = parts[min(1, len(parts) - 1)]  # the first is often one that many conversations share
    if type(key) is not Frozen:
        return None
    before = key.heard
    count = 0 if before is None or before[0] is not encoder else same(before[1], parts)
    if count == len(parts) == len(before[1] if before else ()):
        return before[2]
    found: list[Frozen] = before[2].value[:count] if before and count else []
    for part in parts[count:]:
        if type(part) is not Frozen:
            return None
        found.append(_read(part, encoder))
    row = Frozen(found)
    if before and count:
        row.base = (before[2], count)
    key.heard = (encoder, parts, row)
    return row


def _read(part: Frozen, encoder: Encoder) -> Frozen:
    maker, known = part.reading or (None, None)
    if maker is not encoder or known is None:
        view = message_view(encoder.tree(part), ())
        [read] = annotated_request(LlmRequest(api="langchain", messages=(view,)))["messages"]
        known = Frozen(read)
        part.reading = (encoder, known)
    return known


def beside(content: dict[str, Any], encoder: Encoder) -> dict[str, Any]:
    """Give what the view has beside the messages: usually the same as for the call before."""
    return _beside(_rest(content), encoder)


def _rest(content: dict[str, Any]) -> Frozen:
    return Frozen({name: value for name, value in content.items() if name != "messages"})


def _beside(rest: Frozen, encoder: Encoder) -> dict[str, Any]:
    json = encoder.json(rest)
    rests = _rests.get(encoder)
    if rests is None:
        rests = _rests[encoder] = {}
    known = rests.get(json)
    if known is None:
        known = annotated_request(request_view(encoder.tree(rest)))
        del known["messages"]
        known = {name: value if type(value) in _ATOMS else Frozen(value) for name, value in known.items()}
        if len(json) <= _LONGEST:
            if len(rests) >= _REMEMBERED:
                rests.clear()
            rests[json] = known
    return known
