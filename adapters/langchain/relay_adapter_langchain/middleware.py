"""The middleware that puts every model and tool call of an agent under policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.errors import GraphBubbleUp, ParentCommand

import relay_core
from relay_adapter_langchain.calls import Frame, around_call
from relay_adapter_langchain.codec import CODEC, named_model
from relay_core.errors import Blocked, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain.agents.middleware import ModelRequest, ToolCallRequest

    from relay_core.runtime import Relay

__all__ = ["RelayMiddleware"]

OnBlock = Literal["message", "raise"]


class RelayMiddleware(AgentMiddleware):
    """Runs the guardrails and intercepts of a runtime around each model and tool call of ``create_agent``.

    It adds no node to the graph and keeps requests, responses and exceptions the objects that they are.

    Args:
        relay: the runtime; default the process-wide one.
        on_block: what a blocked tool call gives: "message", a tool message with status "error" and the reason, so that
            the model can go on; or "raise", `Blocked`.
        on_block_model: the same for a blocked model call, where "message" ends the turn with the reason as the
            assistant's words; default as `on_block`.

    Raises:
        UsageError: `on_block` has another value.

    Example:
        >>> import relay_core as relay
        >>> from langchain.agents import create_agent
        >>> from langchain_core.language_models import FakeListChatModel
        >>> runtime = relay.Relay()
        >>> @runtime.guardrail("llm")
        ... def closed(call):
        ...     return relay.Block("we are closed")
        >>> agent = create_agent(FakeListChatModel(responses=["hi"]), middleware=[RelayMiddleware(runtime)])
        >>> agent.invoke({"messages": "hello"})["messages"][-1].content
        'we are closed'
    """

    def __init__(
        self, relay: Relay | None = None, *, on_block: OnBlock = "message", on_block_model: OnBlock | None = None
    ) -> None:
        super().__init__()
        for value in (on_block, on_block_model or on_block):
            if value not in ("message", "raise"):
                raise UsageError(f'RelayMiddleware: on_block is "message" or "raise", not {value!r}')
        self.relay: Relay = relay if relay is not None else relay_core.default
        self.on_block: OnBlock = on_block
        self.on_block_model: OnBlock = on_block_model or on_block
        self.relay.map_status(GraphBubbleUp, "interrupted")
        self.relay.map_status(ParentCommand, "handoff")

    # -- model calls ---------------------------------------------------------------------------------------------

    def wrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], Any]) -> Any:
        """Run a model call under policy."""
        relay = self.relay
        if relay.disabled:
            return handler(request)
        frame = Frame("llm", _model_name(request))

        def real(edited: ModelRequest) -> Any:
            with frame.entered(relay):
                return handler(edited)

        with around_call(relay, frame) as is_managed:
            if is_managed:
                return handler(request)
            try:
                return relay.call_llm(frame.name, request, real, **_model_options(frame, request))
            except Blocked as blocked:
                return self._blocked_model(frame, blocked)

    async def awrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[Any]]) -> Any:
        """Run a model call of an async agent under policy."""
        relay = self.relay
        if relay.disabled:
            return await handler(request)
        frame = Frame("llm", _model_name(request))

        async def real(edited: ModelRequest) -> Any:
            with frame.entered(relay):
                return await handler(edited)

        with around_call(relay, frame) as is_managed:
            if is_managed:
                return await handler(request)
            try:
                return await relay.acall_llm(frame.name, request, real, **_model_options(frame, request))
            except Blocked as blocked:
                return self._blocked_model(frame, blocked)

    def _blocked_model(self, frame: Frame, blocked: Blocked) -> AIMessage:
        if frame.ran or self.on_block_model == "raise":
            raise blocked
        return AIMessage(content=blocked.words)

    # -- tool calls ----------------------------------------------------------------------------------------------

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Run a tool call under policy."""
        relay = self.relay
        if relay.disabled:
            return handler(request)
        call = request.tool_call
        frame = Frame("tool", call["name"], call.get("id"))

        def real(args: Any) -> Any:
            with frame.entered(relay):
                return handler(_with_args(request, args))

        with around_call(relay, frame) as is_managed:
            if is_managed:
                return handler(request)
            try:
                return relay.call_tool(frame.name, call["args"], real, **_tool_options(frame))
            except Blocked as blocked:
                return self._blocked_tool(frame, blocked)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """Run a tool call of an async agent under policy."""
        relay = self.relay
        if relay.disabled:
            return await handler(request)
        call = request.tool_call
        frame = Frame("tool", call["name"], call.get("id"))

        async def real(args: Any) -> Any:
            with frame.entered(relay):
                return await handler(_with_args(request, args))

        with around_call(relay, frame) as is_managed:
            if is_managed:
                return await handler(request)
            try:
                return await relay.acall_tool(frame.name, call["args"], real, **_tool_options(frame))
            except Blocked as blocked:
                return self._blocked_tool(frame, blocked)

    def _blocked_tool(self, frame: Frame, blocked: Blocked) -> ToolMessage:
        if frame.ran or self.on_block == "raise":
            raise blocked
        return ToolMessage(blocked.reason, tool_call_id=frame.call_id or "", name=frame.name, status="error")


def _model_name(request: ModelRequest) -> str:
    return request.model.get_name()


def _model_options(frame: Frame, request: ModelRequest) -> dict[str, Any]:
    return {"codec": CODEC, "model": named_model(request.model), "claim": True, "observation": frame}


def _tool_options(frame: Frame) -> dict[str, Any]:
    return {"tool_call_id": frame.call_id or None, "claim": True, "observation": frame}


def _with_args(request: ToolCallRequest, args: Any) -> ToolCallRequest:
    given = request.tool_call
    return request if args is given["args"] else request.override(tool_call={**given, "args": args})
