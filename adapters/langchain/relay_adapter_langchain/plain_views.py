"""The annotated views of ordinary model calls, made of payloads as they are.

They hold only where a payload has nothing to hide, which the encoder finds out when it writes both. They say what
`annotating` says, which goes by way of the neutral view and can read everything; here None stands for what is out of
the ordinary.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import msgspec

from relay_adapter_langchain import annotating
from relay_core.payloads import Frozen, Packed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_core.payloads import Encoder

__all__ = ["plain_views"]

_MANY: Final = 16  # messages; of long conversations `annotating` reads only what is new
_REMEMBERED: Final = 64
_RESPONSE: Final = frozenset({"id", "model", "choices", "usage"})
_CHOICE: Final = frozenset({"message"})
_ANSWER: Final = frozenset({"role", "content", "tool_calls", "id"})
_MESSAGE: Final = frozenset({"role", "content", "tool_calls", "tool_call_id", "name", "id"})
_CALL: Final = frozenset({"name", "args", "id", "type"})
_COUNTS: Final = frozenset({"input_tokens", "output_tokens", "total_tokens"})
_rests: WeakKeyDictionary[Encoder, dict[Any, dict[str, Any]]] = WeakKeyDictionary()


def plain_views(phase: str, frozen: Any, encoder: Encoder) -> dict[str, Any] | None:
    """Make the views of one event of a model call.

    Args:
        phase: "start" or "end".
        frozen: the payload of the event.
        encoder: the runtime's.

    Example:
        >>> from relay_core.payloads import Encoder
        >>> plain_views("end", {"choices": [{"message": {"role": "assistant", "content": "hi"}}]}, Encoder())
        {'annotated_response': {'message': 'hi'}}
    """
    data = _opened(frozen)
    if type(data) is not dict:
        return None
    found = _response(data) if phase == "end" else _request(_opened(data.get("content")), encoder)
    return None if found is None else {"annotated_response" if phase == "end" else "annotated_request": found}


def _opened(part: Any) -> Any:
    value = part.value if type(part) is Frozen else part
    return msgspec.msgpack.decode(value.data) if type(value) is Packed else value


# -- requests --------------------------------------------------------------------------------------------------------


def _request(content: Any, encoder: Encoder) -> dict[str, Any] | None:
    if type(content) is not dict:
        return None
    parts = _opened(content.get("messages"))
    if type(parts) is not list or not 0 < len(parts) <= _MANY:
        return None
    messages: list[Any] = []
    for part in parts:
        if type(part) is not Frozen:
            return None
        maker, known = part.reading or (None, None)
        if maker is not encoder and maker is not _MAKER:
            known = _message(part)
            part.reading = (_MAKER, known)
        if known is None:
            return None
        messages.append(known)
    rest = _rest(content, encoder)
    return None if rest is None else {"messages": Frozen(messages), **rest}


_MAKER: Final = object()


def _message(part: Frozen) -> Frozen | None:
    """Read one message; where it says what its view says, that is the part itself."""
    fields = _opened(part)
    if type(fields) is not dict or not _MESSAGE.issuperset(fields):
        return None
    role, content, name = fields.get("role"), fields.get("content"), fields.get("name")
    if type(role) is not str or type(content) is not str or not (name is None or (type(name) is str and name)):
        return None
    found: dict[str, Any] = {"role": role, "content": content}
    if not (_add_answered(found, fields) if role == "tool" else _add_calls(found, fields)):
        return None
    if name is not None:
        found["name"] = name
    return part if len(found) == len(fields) and "tool_calls" not in found else Frozen(found, shared=True)


def _add_answered(found: dict[str, Any], fields: Mapping[str, Any]) -> bool:
    """Add which call a tool's message answers. Returns whether the message is an ordinary one."""
    if "tool_calls" in fields:
        return False
    if fields.get("tool_call_id"):
        found["tool_call_id"] = fields["tool_call_id"]
    return True


def _add_calls(found: dict[str, Any], fields: Mapping[str, Any]) -> bool:
    """Add which tools a message asks for. Returns whether the message is an ordinary one."""
    if "tool_call_id" in fields:
        return False
    if "tool_calls" in fields:
        calls = _calls(fields["tool_calls"])
        if calls is None:
            return False
        if not found["content"]:
            del found["content"]
        found["tool_calls"] = [_asked(call) for call in calls]
    return True


def _asked(call: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {} if call.get("id") is None else {"id": call["id"]}
    arguments = json.dumps(call["args"], ensure_ascii=False)
    found.update({"type": "function", "function": {"name": call["name"], "arguments": arguments}})
    return found


def _calls(given: Any) -> list[dict[str, Any]] | None:
    """Give tool calls that are well formed."""
    calls = _opened(given)
    if type(calls) is not list:
        return None
    for call in calls:
        if type(call) is not dict or not _CALL.issuperset(call) or type(call.get("args")) is not dict:
            return None
        if type(call.get("name")) is not str or not call["name"]:
            return None
    return calls


def _rest(content: Mapping[str, Any], encoder: Encoder) -> dict[str, Any] | None:
    """Give what the view has beside the messages: usually the same as for the call before."""
    given = {name: value for name, value in content.items() if name != "messages"}
    if not given:
        return given
    key = tuple(given.items()) if _come_again(given) else encoder.joint.packed_bytes(given)
    if key is None:
        return None
    rests = _rests.get(encoder)
    if rests is None:
        rests = _rests[encoder] = {}
    known = rests.get(key)
    if known is None:
        known = annotating.beside(content, encoder)
        if len(rests) >= _REMEMBERED:
            rests.clear()
        rests[key] = known
    return known


def _come_again(given: Mapping[str, Any]) -> bool:
    """Tell whether the same values are likely to be the same objects again, of which it is easy to tell."""
    for value in given.values():
        if type(value) is not str and not (type(value) is Frozen and value.shared):
            return False
    return True


# -- responses -------------------------------------------------------------------------------------------------------


def _response(data: Mapping[str, Any]) -> dict[str, Any] | None:
    choices = _opened(data.get("choices"))
    if not _RESPONSE.issuperset(data) or type(choices) is not list or len(choices) != 1:
        return None
    choice = _opened(choices[0])
    if type(choice) is not dict or not _CHOICE.issuperset(choice):
        return None
    said = _answer(_opened(choice.get("message")))
    if said is None:
        return None
    found: dict[str, Any] = {name: data[name] for name in ("id", "model") if data.get(name)}
    found.update(said)
    usage = _opened(data.get("usage"))
    if usage is not None:
        counts = _usage(usage)
        if counts is None:
            return None
        found["usage"] = counts
    return found


def _answer(message: Any) -> dict[str, Any] | None:
    if type(message) is not dict or not _ANSWER.issuperset(message) or message.get("role") != "assistant":
        return None
    content = message.get("content")
    if type(content) is not str:
        return None
    found: dict[str, Any] = {"message": content} if content else {}
    if "tool_calls" in message:
        calls = _calls(message["tool_calls"])
        if not calls:
            return None
        found["tool_calls"] = [_wanted(call) for call in calls]
        found["finish_reason"] = "tool_use"
    return found


def _wanted(call: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {} if call.get("id") is None else {"id": call["id"]}
    found["name"], found["arguments"] = call["name"], call["args"]
    return found


def _usage(usage: Any) -> dict[str, Any] | None:
    if type(usage) is not dict or not _COUNTS.issuperset(usage):
        return None
    asked, told = usage.get("input_tokens"), usage.get("output_tokens")
    if type(asked) is not int or type(told) is not int:
        return None
    return {
        "prompt_tokens": asked,
        "completion_tokens": told,
        "total_tokens": asked + told,
        "uncached_input_tokens": asked,
    }
