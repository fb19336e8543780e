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

PLAIN: set[type] = {dict, list, str, type(None), Block}  # surely not awaitable: spares a failing lookup per step

__all__ = ["before", "drive", "drive_async", "execute", "refuse_await_only"]


def drive(steps: Steps, relay: Relay) -> Any:
    """Run the pipeline for a sync caller, on its own thread."""
    thrown: BaseException | None = None
    try:
        fn, argument, is_real = next(steps)
        while True:
            try:
                value = fn(argument)
                kind = type(value)
                if kind not in PLAIN and (kind is CoroutineType or hasattr(kind, "__await__")):
                    value = refuse_coroutine(value) if is_real else relay.run_async(value)
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
                kind = type(value)
                if kind not in PLAIN and (kind is CoroutineType or hasattr(kind, "__await__")):
                    value = await value
            except BaseException as error:  # noqa: BLE001  # every exception goes through the pipeline
                fn, argument, _ = steps.throw(error)
            else:
                fn, argument, _ = steps.send(value)
    except StopIteration as stop:
        return stop.value


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
        if relay.observed:
            answer = yield from _ask_observed(relay, guardrail, call)
        else:
            try:
                answer = yield guardrail.fn, call, False
                if answer is not None and type(answer) is not Block:
                    _refuse_answer(answer)
            except Exception as error:  # noqa: BLE001  # its policy decides
                answer = _failed(guardrail, call, error)
        if answer is not None:
            relay.mark(call.name, data={"rejected": True, "rejection_reason": answer.reason}, **call.context())
            raise Blocked(answer.reason, guardrail=guardrail.name, call=call)
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


def _ask_observed(relay: Relay, guardrail: Registration, call: Call) -> Steps:
    """Ask one guardrail inside a scope of its own. Returns None or a Block."""
    scope = relay.open_guardrail(guardrail, call)
    verdict: dict[str, Any] = {"allowed": False, "cancelled": True, "error": "guardrail evaluation cancelled"}
    try:
        answer = yield guardrail.fn, call, False
        if answer is not None and type(answer) is not Block:
            _refuse_answer(answer)
        verdict = {"allowed": True, "rejected": False}
        if answer is not None:
            verdict = {"allowed": False, "rejected": True, "rejection_reason": answer.reason}
        return answer
    except Exception as error:  # noqa: BLE001  # its policy decides
        verdict = {"allowed": guardrail.on_error == "allow", "error": type(error).__qualname__}
        return _failed(guardrail, call, error)
    finally:
        if scope is not None:
            scope.close(output=verdict)


def _failed(guardrail: Registration, call: Call, error: Exception) -> None:
    """A guardrail crashed: let the call pass, or stop it.

    Raises:
        GuardrailFailed: its policy is to block.
    """
    if guardrail.on_error == "block":
        text = f"{guardrail.label} failed with {type(error).__qualname__}: {error}"
        raise GuardrailFailed(text, guardrail=guardrail.name, call=call) from error


def _refuse_answer(answer: Any) -> None:
    raise TypeError(f"it returned {type(answer).__name__}; return None to allow or relay.Block(reason)")


def execute(executions: tuple[Registration, ...], call: Call, real: Callable[[Call], Any]) -> Steps:
    """Run execution intercepts, outermost first, around the real call.

    Each generator that has yielded waits in `bodies` for the outcome of what it wrapped; yielding again asks for another.
    """
    bodies: list[Generator[Any, Any, Any]] = []
    error: BaseException | None = None
    value: Any = None
    try:
        while True:
            try:
                while (index := len(bodies)) < len(executions):
                    intercept = executions[index]
                    if intercept.shape == "async":
                        value = yield from _execute_async(intercept, executions[index + 1 :], call, real)
                        break
                    body = intercept.fn(call)
                    try:
                        call = next(body)
                    except StopIteration as stop:
                        value = stop.value
                        break
                    bodies.append(body)
                    if type(call) not in PLAIN:
                        _refuse_passed(call, intercept)
                else:
                    value = yield real, call, True
                error = None
            except BaseException as raised:  # noqa: BLE001  # the intercepts may handle it
                error = raised
            while bodies:
                body = bodies[-1]
                try:
                    call = body.send(value) if error is None else body.throw(error)
                except StopIteration as stop:
                    value, error = stop.value, None
                except BaseException as raised:  # noqa: BLE001  # for the next intercept outwards
                    error = raised
                else:
                    break  # it yielded again: once more from here inwards
                bodies.pop()
            else:
                if error is not None:
                    raise error
                return value
    finally:
        error = None  # no reference cycle through the traceback
        for body in bodies:
            body.close()


def _execute_async(
    intercept: Registration, inner: tuple[Registration, ...], call: Call, real: Callable[[Call], Any]
) -> Steps:
    active = True

    async def proceed(passed: Call) -> Any:
        if not active:
            raise UsageError(f"{intercept.label} called proceed after it had returned")
        if type(passed) is not type(call):
            _refuse_passed(passed, intercept)
        return await drive_async(execute(inner, passed, real))

    try:
        return (yield lambda given: intercept.fn(given, proceed), call, False)
    finally:
        active = False


def _refuse_passed(given: Any, intercept: Registration) -> None:
    raise UsageError(f"{intercept.label} passed on {type(given).__name__}; pass the call, or call.replace(request=...)")
