"""How the one pipeline generator runs: a driver for sync callers and a driver for async callers.

The generator yields steps ``(function, argument, is_real)``; a driver calls the function and sends the result back. The
async driver awaits what is awaitable. The sync driver never starts a loop around the tool or model call; only a policy
callback that must await runs, by itself, on the runtime's helper loop.
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any

from relay_core.errors import Blocked, GuardrailFailed, UsageError
from relay_core.middleware import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from relay_core.calls import Call
    from relay_core.middleware import CallChain, Registration
    from relay_core.runtime import Relay

    Step = tuple[Callable[[Any], Any], Any, bool]
    Steps = Generator[Step, Any, Any]

__all__ = ["before", "drive", "drive_async", "execute", "refuse_await_only"]


def drive(steps: Steps, relay: Relay) -> Any:
    """Run the pipeline for a sync caller, on its own thread."""
    thrown: BaseException | None = None
    try:
        fn, argument, is_real = next(steps)
        while True:
            try:
                value = fn(argument)
                if type(value) is CoroutineType or hasattr(type(value), "__await__"):
                    value = _refuse(value) if is_real else relay.run_async(value)
            except BaseException as error:  # noqa: BLE001  # every exception goes through the pipeline
                thrown = error
                fn, argument, is_real = steps.throw(error)
            else:
                fn, argument, is_real = steps.send(value)
    except StopIteration as stop:
        return stop.value
    except RuntimeError as error:
        if isinstance(thrown, StopIteration) and error.__cause__ is thrown:
            raise thrown from None  # a generator cannot let it through; the caller gets the tool's own exception
        raise


async def drive_async(steps: Steps) -> Any:
    """Run the pipeline for an async caller, in its own task."""
    try:
        fn, argument, _ = next(steps)
        while True:
            try:
                value = fn(argument)
                if type(value) is CoroutineType or hasattr(type(value), "__await__"):
                    value = await value
            except BaseException as error:  # noqa: BLE001  # every exception goes through the pipeline
                fn, argument, _ = steps.throw(error)
            else:
                fn, argument, _ = steps.send(value)
    except StopIteration as stop:
        return stop.value


def _refuse(value: Any) -> Any:
    if type(value) is not CoroutineType:
        return value  # an awaitable object may be a result: a future, say
    value.close()
    raise UsageError(
        f"a sync call got the async function {value.__qualname__!r}; await relay.acall_tool or relay.acall_llm instead"
    )


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


def before(relay: Relay, chain: CallChain, call: Call) -> Steps:
    """Run guardrails, then request intercepts. Returns the call to make.

    Raises:
        Blocked: a guardrail said no.
    """
    for guardrail in chain.guardrails:
        yield from _ask(relay, guardrail, call)
    for intercept in chain.requests:
        try:
            edited = yield intercept.fn, call, False
        except Exception as error:
            error.add_note(f"raised by relay {intercept.label}")
            raise
        if type(edited) is not type(call):
            raise UsageError(
                f"{intercept.label} returned {type(edited).__name__}; return the call, or call.replace(request=...)"
            )
        call = edited
    return call


def _ask(relay: Relay, guardrail: Registration, call: Call) -> Steps:
    scope = relay.open_guardrail(guardrail, call)
    verdict: dict[str, Any] = {"allowed": False, "cancelled": True, "error": "guardrail evaluation cancelled"}
    answer: Block | None = None
    try:
        answer = yield guardrail.fn, call, False
        if answer is not None and type(answer) is not Block:
            raise TypeError(f"it returned {type(answer).__name__}; return None to allow or relay.Block(reason)")  # noqa: TRY301
        verdict = {"allowed": True, "rejected": False}
        if answer is not None:
            verdict = {"allowed": False, "rejected": True, "rejection_reason": answer.reason}
    except Exception as error:
        verdict = {"allowed": guardrail.on_error == "allow", "error": type(error).__qualname__}
        if guardrail.on_error == "block":
            failed = f"{guardrail.label} failed with {type(error).__qualname__}: {error}"
            raise GuardrailFailed(failed, guardrail=guardrail.name, call=call) from error
    finally:
        if scope is not None:
            scope.close(output=verdict)
    if answer is not None:
        relay.mark(call.name, data={"rejected": True, "rejection_reason": answer.reason}, **call.context())
        raise Blocked(answer.reason, guardrail=guardrail.name, call=call)


def execute(chain: CallChain, index: int, call: Call, real: Callable[[Call], Any]) -> Steps:
    """Run execution intercept `index` around the later ones and the real call."""
    if index == len(chain.executions):
        return (yield real, call, True)
    intercept = chain.executions[index]
    if intercept.shape == "async":
        return (yield from _execute_async(chain, index, call, real))
    body = intercept.fn(call)
    try:
        inner = next(body)
        while True:
            _check_call(inner, call, intercept)
            try:
                value = yield from execute(chain, index + 1, inner, real)
            except BaseException as error:  # noqa: BLE001  # the intercept may handle it and try again
                inner = body.throw(error)
            else:
                inner = body.send(value)
    except StopIteration as stop:
        return stop.value
    finally:
        body.close()


def _execute_async(chain: CallChain, index: int, call: Call, real: Callable[[Call], Any]) -> Steps:
    intercept = chain.executions[index]
    active = True

    async def proceed(inner: Call) -> Any:
        if not active:
            raise UsageError(f"{intercept.label} called proceed after it had returned")
        _check_call(inner, call, intercept)
        return await drive_async(execute(chain, index + 1, inner, real))

    try:
        return (yield lambda given: intercept.fn(given, proceed), call, False)
    finally:
        active = False


def _check_call(given: Any, call: Call, intercept: Registration) -> None:
    if type(given) is not type(call):
        raise UsageError(
            f"{intercept.label} passed on {type(given).__name__}; pass the call, or call.replace(request=...)"
        )
