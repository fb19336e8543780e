"""The function middleware: guardrails and intercepts around NAT's functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import relay_core
from relay_adapter_nat.arguments import Arguments
from relay_adapter_nat.compat import FunctionMiddleware
from relay_adapter_nat.scopes import StepScope
from relay_adapter_nat.table import table_of
from relay_core.call_types import ToolCall
from relay_core.calls import managed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from relay_adapter_nat.compat import FunctionMiddlewareContext
    from relay_core.runtime import Relay
    from relay_core.scopes import Scope

__all__ = ["RelayFunctionMiddleware"]


class RelayFunctionMiddleware(FunctionMiddleware):
    """Runs tool guardrails, request intercepts and execution intercepts around each call of a function.

    A YAML file names it in the ``middleware`` of a function or a function group; in code it is given to
    ``function.configure_middleware``. With the exporter on as well, a call is still one start and one end.

    Args:
        relay: the runtime; default the process-wide one.

    Example:
        >>> import relay_core as relay
        >>> RelayFunctionMiddleware(relay.Relay()).enabled
        True
    """

    def __init__(self, relay: Relay | None = None) -> None:
        super().__init__()
        self.relay = relay if relay is not None else relay_core.default
        self._table = table_of(self.relay)

    async def function_middleware_invoke(
        self, *args: Any, call_next: Callable[..., Any], context: FunctionMiddlewareContext, **kwargs: Any
    ) -> Any:
        """Call a function, under policy.

        Raises:
            Blocked: a guardrail said no; the function did not run.
            Exception: what the function raised, the same object.
        """
        relay = self.relay
        is_ours, scope = self._place(context.name)
        if not is_ours or not args:
            outer = relay.swap_claim(None)  # what the function calls is not the call that was claimed
            try:
                return await call_next(*args, **kwargs)
            finally:
                relay.swap_claim(outer)
        if scope is not None and relay.chains_for(scope).tool is None:
            return await call_next(*args, **kwargs)  # NAT reports it, and nobody has a say
        arguments = Arguments(args[0], context.input_schema)

        async def real(request: Any) -> Any:
            return await call_next(arguments.back(request), *args[1:], **kwargs)

        if scope is None:
            return await relay.acall_tool(context.name, arguments.shown, real)
        call = _StepCall(context.name, arguments.shown, scope)
        return await managed(relay, call, relay.chains_for(scope).tool, real, True)

    async def function_middleware_stream(
        self, *args: Any, call_next: Callable[..., Any], context: FunctionMiddlewareContext, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Stream from a function, under policy: it runs once, before the first chunk.

        Yields:
            The function's chunks, the same objects; or what an execution intercept gives instead.

        Raises:
            Blocked: a guardrail said no; the function did not run.
        """
        is_ours, scope = self._place(context.name)
        if not is_ours or not args:
            source = call_next(*args, **kwargs)
        else:
            step = _own_scope(self.relay, context.name) if scope is None else scope
            arguments = Arguments(args[0], context.input_schema)

            def real(request: Any) -> Any:
                return call_next(arguments.back(request), *args[1:], **kwargs)

            source = self._managed_stream(_StepCall(context.name, arguments.shown, step), real)
            if scope is None:
                source = _ended_by(step, source)
        try:
            async for chunk in source:
                yield chunk
        finally:
            await _close(source)

    async def _managed_stream(self, call: _StepCall, real: Callable[[Any], Any]) -> AsyncIterator[Any]:
        made = await managed(self.relay, call, self.relay.chains_for(call.parent).tool, real, True)
        try:
            if hasattr(type(made), "__aiter__"):
                async for chunk in made:
                    yield chunk
            else:  # an intercept has answered in the function's place
                for chunk in made if isinstance(made, list | tuple) else (made,):
                    yield chunk
        finally:
            await _close(made)

    def _place(self, name: str) -> tuple[bool, StepScope | None]:
        """Tell whether policy is for us to apply, and give the scope of NAT's step, if the exporter has one.

        It is not where an outer adapter manages this very call, or where it has been applied to the step.
        """
        claim = self.relay.current_claim("tool")
        if self.relay.disabled or (claim is not None and claim.scope.name == name):
            return False, None
        step = self._table.function(name)
        if step is None:
            return True, None
        scope = step.scope
        if not isinstance(scope, StepScope) or scope.managed:
            return False, None
        scope.managed = True
        self._table.controlled.add(name)
        return True, scope


class _StepCall(ToolCall):
    """A call whose scope is that of NAT's step, or one that ends with a stream."""

    __slots__ = ("asked", "step")

    def __init__(self, name: str, request: Any, step: StepScope) -> None:
        super().__init__(name, request, step if step.opened else step.parent)
        self.step = step
        self.asked = request

    def _copy_into(self, made: Any) -> None:
        super()._copy_into(made)
        made.step, made.asked = self.step, self.asked

    def make_scope(self, relay: Relay) -> Scope:  # noqa: ARG002  # the base class's
        """Give the step's scope. One that is open tells of arguments that policy has changed by a mark."""
        if not self.step.opened:
            self.step.ask(self.request)
        elif self.request is not self.asked:
            self.step.mark("nat.arguments", data=self.request)
        return self.step


def _own_scope(relay: Relay, name: str) -> StepScope:
    scope = StepScope(relay.new_id(), relay, name, "tool", relay.current(), None, None, {})
    scope.managed = True
    return scope


async def _ended_by(scope: StepScope, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Pass a stream on, and end the scope with it."""
    chunks: list[Any] = []
    error: BaseException | None = None
    try:
        async for chunk in source:
            chunks.append(chunk)
            yield chunk
    except BaseException as raised:
        error = raised
        raise
    finally:
        if scope.opened:  # a blocked call has no scope
            scope.settle(chunks, error)
        await _close(source)


async def _close(source: Any) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()
