"""Tools under policy, wherever they are called: by an agent, by a graph's tool node, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from relay_adapter_langchain.answers import as_tool_output
from relay_adapter_langchain.calls import Frame, around_call
from relay_adapter_langchain.policy import Controlled, checked, controlled
from relay_core.errors import Blocked, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_adapter_langchain.policy import OnBlock, Policy
    from relay_core.runtime import Relay

__all__ = ["wrap_tool"]


def wrap_tool(tool: Any, relay: Relay | None = None, *, on_block: OnBlock = "message") -> Any:
    """Copy a tool and put the copy under policy: guardrails and intercepts run around each of its calls.

    The copy is an instance of the same class, with the same schema and the same injected arguments, which neither policy
    nor observers see. In an agent with `RelayMiddleware`, or in a `tool_node`, a call is still managed once.

    Args:
        tool: the tool.
        relay: the runtime; default the process-wide one.
        on_block: what a blocked call gives a model that made it: "message", a tool message with status "error" and the
            reason; or "raise", `Blocked`. A program that calls the tool with plain arguments always gets `Blocked`.

    Returns:
        The copy.

    Raises:
        UsageError: this is no tool, or `on_block` has another value.

    Example:
        >>> import relay_core as relay
        >>> from langchain_core.tools import tool
        >>> @tool
        ... def double(n: int) -> int:
        ...     "Double a number."
        ...     return 2 * n
        >>> runtime = relay.Relay()
        >>> @runtime.request_intercept("tool")
        ... def capped(call):
        ...     return call.replace(request={"n": min(call.request["n"], 100)})
        >>> wrap_tool(double, runtime).invoke({"n": 4000})
        200
    """
    if not isinstance(tool, BaseTool):
        raise UsageError(f"wrap_tool takes a LangChain tool, not {type(tool).__name__}; make one with @tool")
    return controlled(ToolControl, tool, checked("wrap_tool", relay, on_block))


class _Managed:
    """One call of a wrapped tool on its way.

    Args:
        tool: the wrapped tool.
        policy: whose policy it is under.
        args: its arguments; those that are injected stay out of the request.
        call_id: the model's id of the call, if a model made it.
    """

    def __init__(self, tool: Any, policy: Policy, args: Any, call_id: str | None) -> None:
        self.policy = policy
        self.args = args
        self.request = _without_injected(tool, args)
        self.frame = Frame("tool", tool.name, call_id, self.request, tool)
        self.result: Any = None

    def edited(self, request: Any) -> Any:
        """Give the arguments for an edited request: `args` itself where nothing was changed."""
        self.frame.asked = request
        if request is self.request:
            return self.args
        if type(self.args) is not dict or not isinstance(request, dict):
            return request
        return {**{name: value for name, value in self.args.items() if name not in self.request}, **request}

    def options(self) -> dict[str, Any]:
        """Give the options of the managed call."""
        return {"tool_call_id": self.frame.call_id or None, "claim": True, "observation": self.frame}

    def answer(self, result: Any) -> Any:
        """Give what the tool returned as it is, and what an intercept gave instead in the same form."""
        if result is self.result:
            return result
        return as_tool_output(self.frame.name, self.frame.call_id, result)

    def blocked(self, blocked: Blocked) -> ToolMessage:
        """Give the error message for the model, if a blocked call answers with one.

        Raises:
            Blocked: else.
        """
        frame = self.frame
        if frame.ran or self.policy.on_block == "raise" or frame.call_id is None:
            raise blocked
        return ToolMessage(blocked.reason, tool_call_id=frame.call_id, name=frame.name, status="error")

    def run(self, real: Callable[[Any], Any], *, innermost: bool) -> Any:
        """Run the call under policy, or just run it where an outer layer manages it."""
        relay, frame = self.policy.relay, self.frame

        def entered(request: Any) -> Any:
            with frame.entered(relay, innermost=innermost):
                self.result = real(self.edited(request))
                return self.result

        with around_call(relay, frame, innermost=innermost) as is_managed:
            if is_managed:
                return real(self.args)
            try:
                return self.answer(relay.call_tool(frame.name, self.request, entered, **self.options()))
            except Blocked as blocked:
                return self.blocked(blocked)

    async def arun(self, real: Callable[[Any], Any], *, innermost: bool) -> Any:
        """Do the same for an async call."""
        relay, frame = self.policy.relay, self.frame

        async def entered(request: Any) -> Any:
            with frame.entered(relay, innermost=innermost):
                self.result = await real(self.edited(request))
                return self.result

        with around_call(relay, frame, innermost=innermost) as is_managed:
            if is_managed:
                return await real(self.args)
            try:
                return self.answer(await relay.acall_tool(frame.name, self.request, entered, **self.options()))
            except Blocked as blocked:
                return self.blocked(blocked)


class ToolControl(Controlled):
    """The ways to call a tool, each under policy."""

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002  # LangChain's name
        """Call the tool, under policy."""
        bare: Any = super().invoke  # pyright: ignore[reportAttributeAccessIssue]  # of the class that is wrapped
        policy = self.__relay_policy__
        if policy.relay.disabled:
            return bare(input, config, **kwargs)
        args, call_id = _asked(input)
        managed = _Managed(self, policy, args, call_id)
        return managed.run(lambda edited: bare(_put(input, args, edited), config, **kwargs), innermost=False)

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002  # see invoke
        """Call the tool, under policy."""
        bare: Any = super().ainvoke  # pyright: ignore[reportAttributeAccessIssue]  # see invoke
        policy = self.__relay_policy__
        if policy.relay.disabled:
            return await bare(input, config, **kwargs)
        args, call_id = _asked(input)
        managed = _Managed(self, policy, args, call_id)
        return await managed.arun(lambda edited: bare(_put(input, args, edited), config, **kwargs), innermost=False)

    def run(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the tool, under policy."""
        bare: Any = super().run  # pyright: ignore[reportAttributeAccessIssue]  # see invoke
        policy = self.__relay_policy__
        if policy.relay.disabled:
            return bare(tool_input, *args, **kwargs)
        managed = _Managed(self, policy, tool_input, kwargs.get("tool_call_id"))
        return managed.run(lambda edited: bare(edited, *args, **kwargs), innermost=True)

    async def arun(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the tool, under policy."""
        bare: Any = super().arun  # pyright: ignore[reportAttributeAccessIssue]  # see invoke
        policy = self.__relay_policy__
        if policy.relay.disabled:
            return await bare(tool_input, *args, **kwargs)
        managed = _Managed(self, policy, tool_input, kwargs.get("tool_call_id"))
        return await managed.arun(lambda edited: bare(edited, *args, **kwargs), innermost=True)


def _is_tool_call(given: Any) -> bool:
    return isinstance(given, dict) and given.get("type") == "tool_call" and "args" in given


def _asked(given: Any) -> tuple[Any, str | None]:
    """Give the arguments and the model's id of a call."""
    return (given["args"], given.get("id")) if _is_tool_call(given) else (given, None)


def _put(given: Any, args: Any, edited: Any) -> Any:
    """Put edited arguments into the input: the input itself where nothing was changed."""
    if edited is args:
        return given
    return {**given, "args": edited} if _is_tool_call(given) else edited


def _without_injected(tool: Any, args: Any) -> Any:
    """Leave out what LangGraph injects, such as the state of the graph."""
    if type(args) is not dict:
        return args
    shown = tool._filter_injected_args(args)  # the rules are LangChain's
    return args if len(shown) == len(args) else shown
