"""The story of one tool or LLM call, top to bottom: policy, scope, execution, outcome.

Objects pass by identity: the request that the caller gave reaches the function, and what the function returns or raises
reaches the caller, unless middleware says otherwise.
"""

# results of any type pass here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from contextvars import Token
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from relay_core.claims import hold
from relay_core.observation import settled
from relay_core.pipeline import PLAIN, before, execute, finished, refuse_await_only, refuse_coroutine, step_through
from relay_core.scopes import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.call_types import Call
    from relay_core.middleware import CallChain, Chains
    from relay_core.runtime import Relay
    from relay_core.scopes import Node, Scope

__all__ = ["arun_plain", "begin", "here", "managed", "place", "run", "run_plain", "take_back"]


def here(relay: Relay, parent: Node | None) -> Node | None:
    """Find the parent of a call. A call without middleware leaves that to its scope."""
    if parent is CURRENT:
        return relay.current() if relay._resolvers else relay._current.get()
    return parent


def place(relay: Relay, parent: Node | None) -> tuple[Node | None, Chains]:
    """Find the parent of a call, and what is registered there."""
    parent = here(relay, parent)
    return parent, relay.chains_for(parent) if relay._scoped else relay._chains


def take_back(token: Token[Node | None]) -> None:
    """Restore what was current before, also in another context: who drives a coroutine may give it a new one at each step."""
    try:
        token.var.reset(token)
    except ValueError:
        outer = token.old_value
        token.var.set(None if outer is Token.MISSING else outer)


def run_plain(relay: Relay, scope: Scope, request: Any, fn: Callable[[Any], Any]) -> Any:
    """Run a call that meets no middleware, for a sync caller: `managed` without its stages."""
    scope.open()
    current = relay._current
    token = current.set(scope)
    try:
        result = fn(request)
        if type(result) is CoroutineType:
            refuse_coroutine(result)
    except BaseException as error:
        current.reset(token)
        scope.end(error)
        raise
    current.reset(token)
    scope.output = result
    scope.end()
    return result


async def arun_plain(relay: Relay, scope: Scope, request: Any, fn: Callable[[Any], Any]) -> Any:
    """Run a call that meets no middleware, for an async caller: `managed` without its stages."""
    scope.open()
    current = relay._current
    token = current.set(scope)
    try:
        result = fn(request)
        kind = type(result)
        if kind is CoroutineType or (id(kind) not in PLAIN and hasattr(kind, "__await__")):
            result = await result
    except BaseException as error:
        take_back(token)
        scope.end(error)
        raise
    try:
        current.reset(token)
    except ValueError:  # see `take_back`
        take_back(token)
    scope.output = result
    scope.end()
    return result


def run(relay: Relay, call: Call, chain: CallChain | None, fn: Callable[[Any], Any]) -> Any:
    """Run one call that meets middleware or asks for a claim, for a sync caller."""
    refuse_await_only(chain, call)
    return step_through(managed(relay, call, chain, fn, False))


async def managed(relay: Relay, call: Call, chain: CallChain | None, fn: Callable[[Any], Any], wait: bool) -> Any:
    """Run one call under middleware: guardrails, request intercepts, scope, execution intercepts, the real call."""
    if call.claims and relay.same_call(call):
        return await finished(fn(call.request), wait)
    if chain is not None and (chain.guardrails or chain.requests):
        call = await before(relay, chain, call, wait)
    token = begin(relay, call)
    try:
        if chain is None or not chain.executions:
            call.ran = True
            result = fn(call.request)
            if wait and type(result) is CoroutineType:
                result = await result
            elif id(type(result)) not in PLAIN:
                result = await finished(result, wait)
        else:
            result = await execute(relay, chain.executions, call, (call, fn), wait)
    except BaseException as error:
        fail(relay, call, token, error)
        raise
    try:
        relay._current.reset(token)
    except ValueError:  # see `take_back`
        take_back(token)
    if call.claimed is not None:
        relay.release(call.claimed)
    scope: Any = call.scope
    status = None if call.ran else "cached"
    if call.observation is None:
        scope.output = result
        scope.end(None, status)
    else:
        scope.end(*settled(call, scope, result, None, status))
    return result


def begin(relay: Relay, call: Call) -> Token[Node | None]:
    """Open the call's scope, make it current, emit the marks that middleware has left for it; for `take_back`."""
    scope = call.scope = call.make_scope(relay)
    scope.open()
    if call._marks:
        marks, call._marks = tuple(call._marks), None
        for say in marks:
            say(scope)
    token = relay._current.set(scope)
    if call.claims or relay._claim.get() is not None:
        call.claimed = hold(relay, call, scope)
    return token


def fail(relay: Relay, call: Call, token: Token[Node | None], error: BaseException) -> None:
    """End a call that raised."""
    take_back(token)
    if call.claimed is not None:
        relay.release(call.claimed)
    if call.scope is not None:
        status = None
        if call.observation is not None:
            error, status = settled(call, call.scope, None, error, None)  # pyright: ignore[reportAssignmentType]  # None for what is no error
        call.scope.end(error, status)
