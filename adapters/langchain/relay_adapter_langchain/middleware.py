"""The middleware that puts every model and tool call of an agent under policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage

from relay_adapter_langchain.calls import Frame, around_call
from relay_adapter_langchain.codec import CODEC, named_model
from relay_adapter_langchain.gate import ToolGate
from relay_adapter_langchain.policy import checked
from relay_core.errors import Blocked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain.agents.middleware import ModelRequest

    from relay_adapter_langchain.policy import OnBlock
    from relay_core.runtime import Relay

__all__ = ["RelayMiddleware"]


class RelayMiddleware(ToolGate, AgentMiddleware):
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
        super().__init__(relay, on_block=on_block, called="RelayMiddleware")
        self.on_block_model: OnBlock = checked("RelayMiddleware", relay, on_block_model or on_block).on_block

    def wrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], Any]) -> Any:
        """Run a model call under policy."""
        relay = self.relay
        if relay.disabled:
            return handler(request)
        frame = Frame("llm", _model_name(request), asked=request)

        def real(edited: ModelRequest) -> Any:
            frame.asked = edited
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
        frame = Frame("llm", _model_name(request), asked=request)

        async def real(edited: ModelRequest) -> Any:
            frame.asked = edited
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


def _model_name(request: ModelRequest) -> str:
    return request.model.get_name()


def _model_options(frame: Frame, request: ModelRequest) -> dict[str, Any]:
    return {"codec": CODEC, "model": named_model(request.model), "claim": True, "observation": frame}
