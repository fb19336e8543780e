"""What observers see of the model calls that NAT reports."""

from __future__ import annotations

import sys
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from relay_adapter_nat.steps import is_copied, usage_of
from relay_core.events import Deferred

if TYPE_CHECKING:
    from relay_core.codecs import Codec

__all__ = ["asked", "codec", "replied"]

_ROLES = {"human": "user", "ai": "assistant"}


def codec() -> Codec | None:
    """Give the lens for the shapes made here; None where the adapter for LangChain, which has it, is not installed."""
    module = _langchain("codec")
    return None if module is None else module.CODEC


def _langchain(name: str) -> Any:
    """Give a module of the adapter for LangChain, if that adapter and LangChain are installed."""
    module = sys.modules.get(f"relay_adapter_langchain.{name}")
    if module is None and _has_langchain():
        module = import_module(f"relay_adapter_langchain.{name}")
    return module


@cache
def _has_langchain() -> bool:
    return find_spec("relay_adapter_langchain") is not None and find_spec("langchain_core") is not None


def asked(payload: Any) -> Any:
    """Give the request of a model call, from its start."""
    if is_copied(payload):
        return Deferred(partial(_asked, payload))
    return _asked(payload)


def _asked(payload: Any) -> dict[str, Any]:
    metadata, data = payload.metadata, payload.data
    given = data.input if data is not None else None
    if given is None:
        given = getattr(metadata, "chat_inputs", None)
    messages = given if isinstance(given, list) else [] if given is None else [given]
    tools = [_tool(tool) for tool in getattr(metadata, "tools_schema", None) or ()]
    request: dict[str, Any] = {}
    if payload.name:
        request["model"] = payload.name
    if tools:
        request["tools"] = tools
    request["messages"] = [_message(message) for message in messages]
    return {"headers": {}, "content": request}


def replied(payload: Any) -> Any:
    """Give the response of a model call, from its end."""
    data = payload.data
    message = getattr(data.payload, "message", None) if data is not None else None
    if message is not None and hasattr(message, "model_copy"):
        return Deferred(partial(_replied, payload, message.model_copy()))  # as it is now; the program has the original
    return _replied(payload, None)


def _replied(payload: Any, message: Any) -> dict[str, Any]:
    data = payload.data
    shapes = _langchain("shapes") if message is not None else None
    if shapes is not None:
        response: dict[str, Any] = dict(shapes.reply(message))
    else:
        text = data.output if data is not None else None
        response = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    if payload.name:
        response.setdefault("model", payload.name)
    usage = usage_of(payload)
    if usage is not None:
        response.setdefault("usage", usage)
    return response


def _message(message: Any) -> Any:
    """Give one message: LangChain's as its adapter shows it, text as the user's, others by their usual fields."""
    if isinstance(message, str):
        return {"role": "user", "content": message}
    if isinstance(message, dict):
        return message
    shapes = sys.modules.get("relay_adapter_langchain.shapes")
    if shapes is not None and isinstance(message, shapes.BaseMessage):
        return shapes.shown(message)
    role, content = getattr(message, "role", None) or getattr(message, "type", None), getattr(message, "content", None)
    if not isinstance(role, str):
        return message
    return {"role": _ROLES.get(role, role), "content": content}


def _tool(tool: Any) -> dict[str, Any]:
    function = tool.function
    parameters = function.parameters
    schema = {"type": "object", "properties": parameters.properties, "required": parameters.required}
    return {"name": function.name, "description": function.description, "parameters": schema}
