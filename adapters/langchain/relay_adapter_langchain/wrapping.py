"""`wrap`: put whatever a program has under policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import RunnableParallel, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.tools import BaseTool

from relay_adapter_langchain.models import wrap_model
from relay_adapter_langchain.tools import wrap_tool
from relay_core.errors import UsageError

if TYPE_CHECKING:
    from relay_core.runtime import Relay

__all__ = ["wrap"]

_CONTAINERS = (RunnableSequence, RunnableParallel, RunnableBindingBase, RunnableWithFallbacks)


def wrap(found: Any, relay: Relay | None = None, **options: Any) -> Any:
    """Copy a model, a tool, a chain of them, or a list or mapping of them, with all models and tools under policy.

    Args:
        found: what to wrap: a model, also with bound tools, retries or fallbacks; a tool; a sequence or parallel step;
            a list, tuple or dict of these.
        relay: the runtime; default the process-wide one.
        **options: as for `wrap_model` and `wrap_tool`.

    Returns:
        The copy. Parts without a model or a tool, such as prompts and functions, stay the same objects.

    Raises:
        UsageError: nothing in it can be put under policy from outside, as in a compiled graph.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from langchain_core.output_parsers import StrOutputParser
        >>> chain = wrap(FakeListChatModel(responses=["hi"]) | StrOutputParser())
        >>> chain.invoke("hello")
        'hi'
    """
    made = _wrapped(found, relay, options)
    if made is found and not isinstance(found, list | tuple | dict):
        raise UsageError(
            f"wrap finds no model and no tool in {type(found).__name__}. Wrap the parts before the whole is made, use "
            f"RelayMiddleware for an agent, and relay_adapter_langgraph.tool_node for a tool node"
        )
    return made


def _wrapped(found: Any, relay: Relay | None, options: dict[str, Any]) -> Any:
    if isinstance(found, BaseLanguageModel):
        return wrap_model(found, relay, **options)
    if isinstance(found, BaseTool):
        return wrap_tool(found, relay, **options)
    if type(found) in (list, tuple):
        return type(found)(_wrapped(item, relay, options) for item in found)
    if type(found) is dict:
        return {key: _wrapped(item, relay, options) for key, item in found.items()}
    if not isinstance(found, _CONTAINERS):
        return found
    updates: dict[str, Any] = {}
    for name, value in found.__dict__.items():
        if isinstance(value, _PARTS):
            made = _wrapped(value, relay, options)
            if _differs(made, value):
                updates[name] = made
    return found.model_copy(update=updates) if updates else found


_PARTS = (BaseLanguageModel, BaseTool, list, tuple, dict, *_CONTAINERS)


def _differs(made: Any, value: Any) -> bool:
    """Tell whether something in it was wrapped; a list or mapping is always a new object."""
    if isinstance(value, list | tuple):
        return any(a is not b for a, b in zip(made, value, strict=True)) if type(value) in (list, tuple) else False
    if isinstance(value, dict):
        return type(value) is dict and any(made[key] is not value[key] for key in value)
    return made is not value
