"""Tool calls of a tool node under policy: what the middleware of agents and the tool nodes of graphs have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import ToolMessage

from relay_adapter_langchain.calls import Frame, around_call
from relay_adapter_langchain.policy import checked
from relay_core.errors import Blocked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from relay_adapter_langchain.policy import OnBlock
    from relay_core.runtime import Relay

__all__ = ["ToolGate", "map_control_flow"]


def map_control_flow(relay: Relay) -> None:
    """Tell a runtime that LangGraph's control flow is no failure."""
    from langgraph.errors import GraphBubbleUp, ParentCommand  # noqa: PLC0415  # needs LangGraph

    relay.map_status(GraphBubbleUp, "interrupted")
    relay.map_status(ParentCommand, "handoff")


class ToolGate:
    """The two functions that a tool node takes to run its calls; these run them under policy.

    Args:
        relay: the runtime; default the process-wide one.
        on_block: what a blocked call gives: "message", a tool message with status "error" and the reason, so that the
            model can go on; or "raise", `Blocked`.
        called: what to name in an error.

    Raises:
        UsageError: `on_block` has another value.

    Example:
        >>> ToolGate(on_block="raise").on_block
        'raise'
    """

    def __init__(self, relay: Relay | None = None, *, on_block: OnBlock = "message", called: str = "ToolGate") -> None:
        super().__init__()  # of the middleware that it is part of
        self.relay: Relay
        self.on_block: OnBlock
        self.relay, self.on_block = checked(called, relay, on_block)
        map_control_flow(self.relay)

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Run a tool call under policy.

        Args:
            request: LangGraph's ``ToolCallRequest``.
            handler: makes the call.
        """
        relay = self.relay
        if relay.disabled:
            return handler(request)
        call = request.tool_call
        frame = Frame("tool", call["name"], call.get("id"), call["args"])

        def real(args: Any) -> Any:
            frame.asked = args
            with frame.entered(relay):
                return handler(_with_args(request, args))

        with around_call(relay, frame) as is_managed:
            if is_managed:
                return handler(request)
            try:
                return relay.call_tool(frame.name, call["args"], real, **_options(frame))
            except Blocked as blocked:
                return self._blocked_tool(frame, blocked)

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Run a tool call of an async agent or node under policy."""
        relay = self.relay
        if relay.disabled:
            return await handler(request)
        call = request.tool_call
        frame = Frame("tool", call["name"], call.get("id"), call["args"])

        async def real(args: Any) -> Any:
            frame.asked = args
            with frame.entered(relay):
                return await handler(_with_args(request, args))

        with around_call(relay, frame) as is_managed:
            if is_managed:
                return await handler(request)
            try:
                return await relay.acall_tool(frame.name, call["args"], real, **_options(frame))
            except Blocked as blocked:
                return self._blocked_tool(frame, blocked)

    def _blocked_tool(self, frame: Frame, blocked: Blocked) -> ToolMessage:
        if frame.ran or self.on_block == "raise":
            raise blocked
        return ToolMessage(blocked.reason, tool_call_id=frame.call_id or "", name=frame.name, status="error")


def _options(frame: Frame) -> dict[str, Any]:
    return {"tool_call_id": frame.call_id or None, "claim": True, "observation": frame}


def _with_args(request: Any, args: Any) -> Any:
    given = request.tool_call
    return request if args is given["args"] else request.override(tool_call={**given, "args": args})
