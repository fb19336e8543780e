"""Generator intercepts that wait for something: for async callers in their own task, for sync callers on the helper loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

import relay_core as relay


async def doubled(value):
    await asyncio.sleep(0)
    return value * 2, threading.current_thread().name


def waits_after(call):
    result = yield call
    value, _ = yield doubled(result)
    return value


def waits_before(call):
    value, _ = yield doubled(call.request)
    return (yield call.replace(request=value))


@pytest.mark.parametrize("around", [waits_after, waits_before])
async def test_both_kinds_of_callers(around):
    runtime = relay.Relay()
    runtime.register("execution_intercept", around, target="tool")
    assert runtime.call_tool("t", 2, lambda x: x + 1) == (6 if around is waits_after else 5)
    assert await runtime.acall_tool("t", 2, lambda x: x + 1) == (6 if around is waits_after else 5)
    runtime.shutdown()


async def test_it_waits_in_the_caller_s_task_or_on_the_helper_loop():
    runtime, threads = relay.Relay(), []

    def around(call):
        result = yield call
        _, thread = yield doubled(result)
        threads.append(thread)
        return result

    runtime.register("execution_intercept", around, target="tool")
    await runtime.acall_tool("t", 2, lambda x: x)
    runtime.call_tool("t", 2, lambda x: x)
    assert threads == ["MainThread", "relay-helper-loop"]
    runtime.shutdown()


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_is_awaited_may_fail_and_the_intercept_may_handle_it(is_async):
    async def failing():
        raise KeyError("gone")

    def around(call):
        result = yield call
        try:
            yield failing()
        except KeyError:
            return (yield call.replace(request=result))

    runtime = relay.Relay()
    runtime.register("execution_intercept", around, target="tool")
    result = (
        (await runtime.acall_tool("t", 1, lambda x: x + 1)) if is_async else runtime.call_tool("t", 1, lambda x: x + 1)
    )
    assert result == 3
    runtime.shutdown()


async def test_several_one_in_another_and_a_stream():
    runtime = relay.Relay()
    for number in (1, 2):
        runtime.register("execution_intercept", waits_after, target="tool", name=f"n{number}", priority=number)
    assert await runtime.acall_tool("t", 1, lambda x: x) == 4
    assert runtime.call_tool("t", 1, lambda x: x) == 4

    async def chunks(request):
        for chunk in request:
            yield chunk

    def around(call):
        value, _ = yield doubled(call.request)
        return (yield call.replace(request=value))

    runtime.register("execution_intercept", around, target="llm")
    assert [c async for c in runtime.astream_llm("l", "ab", chunks)] == ["a", "b", "a", "b"]
    assert list(runtime.stream_llm("l", "ab", iter)) == ["a", "b", "a", "b"]
    runtime.shutdown()


async def test_cancelling_reaches_what_is_awaited():
    cancelled = []

    async def hanging():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    def around(call):
        yield (yield call) and hanging()

    runtime = relay.Relay()
    runtime.register("execution_intercept", around, target="tool")
    task = asyncio.create_task(runtime.acall_tool("t", 1, lambda x: x))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [True]
    runtime.shutdown()


def test_a_shutdown_does_not_cut_off_policy_that_a_call_waits_for():
    runtime, began, go_on = relay.Relay(), threading.Event(), threading.Event()
    helpers, results = [], []

    @runtime.guardrail("tool")
    async def slow(call):
        helpers.append(threading.current_thread())
        began.set()
        await asyncio.to_thread(go_on.wait, 5)

    def work():
        results.append(runtime.call_tool("t", 2, lambda x: x + 1))

    caller = threading.Thread(target=work, daemon=True)
    caller.start()
    assert began.wait(5)
    runtime.shutdown(timeout=1.0)
    assert not results
    go_on.set()
    caller.join(5)
    helpers[0].join(5)
    assert (results, caller.is_alive(), helpers[0].is_alive()) == ([3], False, False)
    assert runtime.call_tool("t", 2, lambda x: x) == 2  # policy holds after a shutdown too
    runtime.shutdown()
