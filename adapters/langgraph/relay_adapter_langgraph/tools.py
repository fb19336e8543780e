"""Tool nodes under policy."""

from __future__ import annotations

import functools
import inspect
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Union

from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import TOOL_CALL_ERROR_TEMPLATE

from relay_adapter_langchain.gate import ToolGate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from langchain_core.tools import BaseTool
    from langgraph.prebuilt.tool_node import ToolCallRequest

    from relay_adapter_langchain.policy import OnBlock
    from relay_core.runtime import Relay

__all__ = ["awrap_tool_call", "tool_node", "wrap_tool_call"]

# The exception that a tool has raised and that its node did not handle: it is not to be handled because of us.
_unhandled: Final[ContextVar[int]] = ContextVar("relay_langgraph_unhandled", default=0)


@functools.cache
def _default_gate() -> ToolGate:
    return ToolGate(called="wrap_tool_call")


def wrap_tool_call(request: ToolCallRequest, execute: Callable[[ToolCallRequest], Any]) -> Any:
    """Run a tool call under the policy of the process-wide runtime: ``ToolNode(tools, wrap_tool_call=...)``.

    Prefer `tool_node`, which also keeps the node's own handling of errors as it is.
    """
    return _default_gate().wrap_tool_call(request, execute)


async def awrap_tool_call(request: ToolCallRequest, execute: Callable[[ToolCallRequest], Awaitable[Any]]) -> Any:
    """Do the same for async nodes: ``ToolNode(tools, awrap_tool_call=...)``."""
    return await _default_gate().awrap_tool_call(request, execute)


def tool_node(
    tools: Sequence[BaseTool | Callable[..., Any]],
    *,
    relay: Relay | None = None,
    on_block: OnBlock = "message",
    wrap_tool_call: Callable[..., Any] | None = None,
    awrap_tool_call: Callable[..., Any] | None = None,
    **options: Any,
) -> ToolNode:
    """Make a LangGraph `ToolNode` whose tool calls are under policy.

    Args:
        tools: the tools.
        relay: the runtime; default the process-wide one.
        on_block: "message" answers a blocked call with a tool message that has status "error" and the reason; "raise"
            raises `Blocked`, whatever ``handle_tool_errors`` says.
        wrap_tool_call: a wrapper of your own, around the policy: guardrails see what it asks for.
        awrap_tool_call: the same for async nodes.
        **options: for `ToolNode`: name, tags, handle_tool_errors, messages_key.

    Returns:
        The node.

    Raises:
        UsageError: `on_block` has another value.

    Example:
        >>> import relay_core as relay
        >>> from langchain_core.messages import AIMessage
        >>> from langgraph.graph import MessagesState, StateGraph
        >>> runtime = relay.Relay()
        >>> @runtime.guardrail("tool")
        ... def small(call):
        ...     return relay.Block("too much") if call.request["n"] > 9 else None
        >>> def double(n: int) -> int:
        ...     "Double a number."
        ...     return 2 * n
        >>> builder = StateGraph(MessagesState).add_node("tools", tool_node([double], relay=runtime))
        >>> graph = builder.add_edge("__start__", "tools").compile()
        >>> calls = [{"name": "double", "args": {"n": n}, "id": str(n)} for n in (4, 40)]
        >>> [m.content for m in graph.invoke({"messages": [AIMessage("", tool_calls=calls)]})["messages"][1:]]
        ['8', 'too much']
    """
    gate = ToolGate(relay, on_block=on_block, called="tool_node")
    if "handle_tool_errors" in options:
        options["handle_tool_errors"] = _as_before(options["handle_tool_errors"])
    return ToolNode(
        tools,
        wrap_tool_call=_sync_wrapper(gate, wrap_tool_call),
        awrap_tool_call=_async_wrapper(gate, awrap_tool_call, wrap_tool_call),
        **options,
    )


def _sync_wrapper(gate: ToolGate, outer: Callable[..., Any] | None) -> Callable[..., Any]:
    def wrapped(request: ToolCallRequest, execute: Callable[[ToolCallRequest], Any]) -> Any:
        def inner(asked: ToolCallRequest) -> Any:
            try:
                return gate.wrap_tool_call(asked, execute)
            except Exception as error:
                _unhandled.set(id(error))
                raise

        return inner(request) if outer is None else outer(request, inner)

    return wrapped


def _async_wrapper(
    gate: ToolGate, outer: Callable[..., Any] | None, sync_outer: Callable[..., Any] | None
) -> Callable[..., Any] | None:
    if outer is None and sync_outer is not None:
        return None  # the node then runs the sync wrapper, as it would have

    async def wrapped(request: ToolCallRequest, execute: Callable[[ToolCallRequest], Awaitable[Any]]) -> Any:
        async def inner(asked: ToolCallRequest) -> Any:
            try:
                return await gate.awrap_tool_call(asked, execute)
            except Exception as error:
                _unhandled.set(id(error))
                raise

        return await inner(request) if outer is None else await outer(request, inner)

    return wrapped


def _as_before(handle: Any) -> Any:
    """Give a ``handle_tool_errors`` that handles what the node would have handled without a wrapper.

    A node hands every exception that leaves a wrapper to it, also those that it has just let through.
    """
    if handle is False or handle is None:
        return handle

    def text(error: Exception) -> Any:
        if _unhandled.get() == id(error):
            _unhandled.set(0)
            raise error
        if isinstance(handle, str):
            return handle
        if callable(handle) and not inspect.isclass(handle):
            return handle(error)
        return TOOL_CALL_ERROR_TEMPLATE.format(error=repr(error))

    if callable(handle) and not inspect.isclass(handle):
        return functools.wraps(handle)(text)
    kinds: Any = (handle,) if inspect.isclass(handle) else handle if isinstance(handle, tuple) else (Exception,)
    text.__annotations__ = {"error": Union[kinds], "return": str}  # noqa: UP007  # the node reads it; made at run time
    return text
