"""One pipeline for sync and async callers: coroutines that a sync caller steps through once, without a loop.

Every stage is written once, as ``async def`` with a flag `wait`. For an async caller awaitable answers are awaited in the
caller's own task. For a sync caller nothing ever suspends: the coroutine runs to its end in one step on the caller's
thread, and only a policy callback that must await runs, by itself, on the runtime's helper loop.
"""

# results of any type pass here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any

from relay_core.call_types import CALLS, Call
from relay_core.errors import Blocked, GuardrailFailed, UsageError
from relay_core.middleware import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from relay_core.middleware import CallChain, Registration
    from relay_core.runtime import Relay

    RealCall = tuple[Call, Callable[[Any], Any]]  # the call whose scope is open, and the function behind it

__all__ = ["PLAIN", "before", "execute", "finished", "refuse_await_only", "refuse_coroutine", "step_through"]

_UNABLE = (("coroutine raised StopIteration",), ("generator raised StopIteration",))  # the interpreter's own words
# Ids of types that are surely not awaitable: spares a failing lookup per step. Ids, since a class may forge its hash.
PLAIN = frozenset((*map(id, (dict, list, tuple, str, bytes, int, float, bool, type(None), Block)), *CALLS))


def step_through(steps: Coroutine[Any, Any, Any]) -> Any:
    """Run a pipeline that was made with ``wait=False``, on the caller's thread."""
    try:
        steps.send(None)
    except StopIteration as stop:
        return stop.value
    except RuntimeError as error:
        cause = error.__cause__
        if isinstance(cause, StopIteration) and error.args in _UNABLE:
            raise cause from None  # a coroutine cannot let it through; the caller gets the tool's own one
        raise
    steps.close()
    raise UsageError("a sync Relay call met something that must await; use the async form of the call")


def refuse_coroutine(value: Any) -> Any:
    """Raise for a coroutine that a sync call got; anything else awaitable may be a result and is returned.

    Raises:
        UsageError: names the function and the cure.
    """
    if type(value) is not CoroutineType:
        return value
    value.close()
    raise UsageError(
        f"a sync call got the async function {value.__qualname__!r}; await relay.acall_tool or relay.acall_llm instead"
    )


async def finished(value: Any, wait: bool) -> Any:
    """Await what the real call gave, for an async caller; for a sync caller refuse a coroutine."""
    if not hasattr(type(value), "__await__"):
        return value
    return (await value) if wait else refuse_coroutine(value)


def refuse_await_only(chain: CallChain | None, call: Call) -> None:
    """Raise for a sync call that meets an execution intercept which must await.

    Raises:
        UsageError: names the call, the intercept and the cure.
    """
    if chain is not None and chain.await_only is not None:
        raise UsageError(
            f"sync {call.kind} call {call.name!r} meets {chain.await_only.label}, which is async def. "
            f"Write the intercept as a generator (result = yield call), or call relay.acall_{call.kind}."
        )


async def before(relay: Relay, chain: CallChain, call: Call, wait: bool) -> Call:
    """Run guardrails, then request intercepts. Returns the call to make.

    Raises:
        Blocked: a guardrail said no.
    """
    for guardrail in chain.guardrails:
        if relay.observed:
            answer = await _ask_observed(relay, guardrail, call, wait)
        else:
            try:
                answer = guardrail.fn(call)
                if answer is not None:
                    answer = await _verdict(relay, answer, wait)
            except Exception as error:  # noqa: BLE001  # its policy decides
                answer = _failed(guardrail, call, error)
        if answer is not None:
            relay.mark(call.name, data=call.rejection(answer.reason, guardrail.name), **call.context())
            raise Blocked(answer.reason, guardrail=guardrail.name, call=call)
    kind = type(call)
    for intercept in chain.requests:
        try:
            edited = intercept.fn(call)
            if type(edited) is not kind:
                edited = await _policy(relay, edited, wait)
        except Exception as error:
            error.add_note(f"raised by relay {intercept.label}")
            raise
        if type(edited) is not kind:
            raise UsageError(
                f"{intercept.label} returned {type(edited).__name__}; return the call, or call.replace(request=...)"
            )
        call = edited
    return call


async def _verdict(relay: Relay, answer: Any, wait: bool) -> Block | None:
    """Read what a guardrail answered: nothing, or a Block."""
    if id(type(answer)) not in PLAIN:
        answer = await _policy(relay, answer, wait)
    if answer is not None and type(answer) is not Block:
        raise TypeError(f"it returned {type(answer).__name__}; return None to allow or relay.Block(reason)")
    return answer


async def _ask_observed(relay: Relay, guardrail: Registration, call: Call, wait: bool) -> Block | None:
    """Ask one guardrail inside a scope of its own."""
    scope = relay.open_guardrail(guardrail, call)
    output: dict[str, Any] = {"allowed": False, "cancelled": True, "error": "guardrail evaluation cancelled"}
    status: str | None = "cancelled"
    try:
        answer = await _verdict(relay, guardrail.fn(call), wait)
        output, status = {"allowed": True, "rejected": False}, None
        if answer is not None:
            output = {"allowed": False, "rejected": True, "rejection_reason": answer.reason}
        return answer
    except Exception as error:  # noqa: BLE001  # its policy decides
        output, status = {"allowed": guardrail.on_error == "allow", "error": type(error).__qualname__}, None
        return _failed(guardrail, call, error)
    finally:
        if scope is not None:
            scope.close(output=output, status=status)


async def _policy(relay: Relay, answer: Any, wait: bool) -> Any:
    """Await a policy callback's answer, in the caller's task or on the helper loop."""
    if not hasattr(type(answer), "__await__"):
        return answer
    return (await answer) if wait else relay.run_async(answer)


def _failed(guardrail: Registration, call: Call, error: Exception) -> None:
    """A guardrail crashed: let the call pass, or stop it.

    Raises:
        GuardrailFailed: its policy is to block.
    """
    if guardrail.on_error == "block":
        text = f"{guardrail.label} failed with {type(error).__qualname__}: {error}"
        raise GuardrailFailed(text, guardrail=guardrail.name, call=call) from error


async def execute(relay: Relay, executions: tuple[Registration, ...], call: Call, real: RealCall, wait: bool) -> Any:
    """Run execution intercepts, outermost first, around the real call.

    Each generator that has yielded waits in `bodies` for the outcome of what it wrapped; yielding again asks for another.
    A generator may also yield an awaitable and gets its result: awaited for async callers, on the helper loop for others.
    """
    bodies: list[Generator[Any, Any, Any]] = []
    error: BaseException | None = None
    value: Any = None
    try:
        while True:
            try:
                value, awaited = _inwards(relay, executions, bodies, call, real, wait)
                if awaited is not None:
                    value = await awaited
                error = None
            except BaseException as raised:  # noqa: BLE001  # the intercepts may handle it
                error = raised
            while bodies:  # outwards, with the outcome
                body = bodies.pop()
                try:
                    passed = body.send(value) if error is None else body.throw(error)
                except StopIteration as stop:
                    value, error = stop.value, None
                    continue
                except BaseException as raised:  # noqa: BLE001  # for the next intercept outwards
                    error = raised
                    continue
                bodies.append(body)
                if not _must_await(passed):
                    call = _checked(passed, executions[len(bodies) - 1])
                    break  # it yielded again: once more from here inwards
                value, error = await _asked(relay, passed, wait)
            else:
                if error is not None:
                    raise error
                return value
    finally:
        error = None  # no reference cycle through the traceback
        for body in bodies:
            body.close()


def _inwards(
    relay: Relay,
    executions: tuple[Registration, ...],
    bodies: list[Generator[Any, Any, Any]],
    call: Call,
    real: RealCall,
    wait: bool,
) -> tuple[Any, Coroutine[Any, Any, Any] | None]:
    """Go from the innermost waiting intercept to the real call; give the result, or what must be awaited for it."""
    for intercept in executions[len(bodies) :] if bodies else executions:
        if intercept.shape == "async":
            return None, _execute_async(relay, intercept, executions[len(bodies) + 1 :], call, real)
        body = intercept.fn(call)
        try:
            passed = next(body)
        except StopIteration as stop:
            return stop.value, None
        bodies.append(body)
        if passed is not call:
            if _must_await(passed):
                return None, _policy(relay, passed, wait)
            call = _checked(passed, intercept)
    origin, fn = real
    origin.ran = True
    value = fn(call.request)
    if wait and type(value) is CoroutineType:
        return None, value
    return (value, None) if id(type(value)) in PLAIN else (None, finished(value, wait))


async def _asked(relay: Relay, awaitable: Any, wait: bool) -> tuple[Any, BaseException | None]:
    """Await what an intercept waits for; give the result or the error."""
    try:
        return await _policy(relay, awaitable, wait), None
    except BaseException as raised:  # noqa: BLE001  # for the intercept that asked
        return None, raised


async def _execute_async(
    relay: Relay, intercept: Registration, inner: tuple[Registration, ...], call: Call, real: RealCall
) -> Any:
    active = True

    async def proceed(passed: Call) -> Any:
        if not active:
            raise UsageError(f"{intercept.label} called proceed after it had returned")
        return await execute(relay, inner, _checked(passed, intercept), real, True)

    try:
        return await intercept.fn(call, proceed)
    finally:
        active = False


def _must_await(passed: Any) -> bool:
    kind = type(passed)
    return id(kind) not in PLAIN and hasattr(kind, "__await__")


def _checked(passed: Any, intercept: Registration) -> Call:
    if not isinstance(passed, Call):
        raise UsageError(
            f"{intercept.label} passed on {type(passed).__name__}; pass the call, or call.replace(request=...)"
        )
    return passed
