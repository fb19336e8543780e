"""R23, R25, R26: cancellation storms, event loops that end too early, other event loops."""

from __future__ import annotations

import asyncio
import collections
import gc
import importlib.util
import random

import pytest

from relay_core import Relay
from tests.reliability.support import assert_account


class Ledger:
    """A subscriber that counts starts and ends and keeps the statuses."""

    name = "ledger"

    def __init__(self):
        self.open = {}
        self.events = self.starts = self.ends = 0
        self.statuses = collections.Counter()
        self.orphans = []

    def on_event(self, event):
        self.events += 1
        if event.kind != "scope":
            return
        if event.scope_category == "start":
            self.starts += 1
            self.open[event.uuid] = event.name
            if event.parent_uuid is not None and event.parent_uuid not in self.open:
                self.orphans.append(event.name)
        else:
            self.ends += 1
            self.statuses[event.metadata["relay.status"]] += 1
            assert self.open.pop(event.uuid) == event.name


@pytest.fixture
def relay():
    made = Relay()
    yield made
    made.shutdown(timeout=20.0)


@pytest.fixture
def ledger(relay):
    made = Ledger()
    relay.register("subscriber", made)
    return made


def balanced(relay, ledger):
    """Everything that began has ended once, under a parent that was open, and every event is accounted for."""
    assert not relay.flush(timeout=20.0).timed_out
    assert (ledger.starts, ledger.open, ledger.orphans) == (ledger.ends, {}, [])
    assert_account(relay, "ledger", ledger.events, dropped={})
    return ledger.statuses


async def chunks(request):
    for n in range(3):
        await asyncio.sleep(0)
        yield n


async def victim(relay, n):
    """A run with a place to be cancelled everywhere."""

    async def tool(args):
        await asyncio.sleep(0)
        async with relay.scope("inside", "function"):
            await asyncio.sleep(0)
        return args

    async with relay.scope("run", "agent", input=n):
        await asyncio.sleep(0)
        await relay.acall_tool("tool", n, tool)
        await asyncio.gather(relay.acall_tool("left", n, tool), relay.acall_tool("right", n, tool))
        async for _ in relay.astream_llm("model", {"n": n}, chunks):
            await asyncio.sleep(0)
    return n


async def storm(relay, count, seed):
    draw = random.Random(seed)
    tasks = [asyncio.create_task(victim(relay, n)) for n in range(count)]
    for _ in range(draw.randrange(2, 10)):
        await asyncio.sleep(0)
    while any(not task.done() for task in tasks):
        for task in draw.sample(tasks, count // 10):
            task.cancel()
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for n, result in enumerate(results):
        assert result == n or isinstance(result, asyncio.CancelledError), result
        assert tasks[n].cancelled() == isinstance(result, asyncio.CancelledError)
    return sum(isinstance(result, asyncio.CancelledError) for result in results)


@pytest.mark.parametrize("seed", range(3))
async def test_R23_a_cancellation_storm(relay, ledger, seed):
    cancelled = await storm(relay, 500, seed)
    statuses = balanced(relay, ledger)
    assert 0 < cancelled
    assert set(statuses) <= {"ok", "cancelled", "interrupted"}
    assert statuses["cancelled"] >= cancelled


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20))
async def test_R23_ten_thousand_tasks_cancelled(relay, ledger, seed):
    cancelled = await storm(relay, 10_000, seed)
    assert balanced(relay, ledger)["cancelled"] >= cancelled > 0


async def test_R23_a_timeout_around_calls(relay, ledger):
    async def tool(args):
        await asyncio.sleep(10)

    for _ in range(20):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await relay.acall_tool("slow", 1, tool)
    assert balanced(relay, ledger) == {"cancelled": 20}


async def test_R23_a_task_group_that_fails(relay, ledger):
    async def tool(n):
        if n == 3:
            raise ValueError("told to the group")
        await asyncio.sleep(10)

    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.TaskGroup() as group:
            for n in range(8):
                group.create_task(relay.acall_tool("t", n, tool))
    assert [type(error) for error in raised.value.exceptions] == [ValueError]
    assert balanced(relay, ledger) == {"error": 1, "cancelled": 7}


def test_R25_a_loop_that_is_closed_over_its_tasks(relay, ledger):
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(victim(relay, n)) for n in range(10)]
    for _ in range(5):
        loop.run_until_complete(asyncio.sleep(0))
    for task in tasks:
        task._log_destroy_pending = False  # that they are destroyed is the point
    loop.close()
    del tasks, task
    gc.collect()
    relay.flush(timeout=20.0)
    assert ledger.starts >= 10
    assert_account(relay, "ledger", ledger.events, dropped={})
    asyncio.run(victim(relay, 11))  # another loop works
    relay.flush(timeout=20.0)
    assert ledger.statuses["ok"] >= 5


def test_R25_async_subscribers_and_policy_outlive_the_loops_of_the_program(relay):
    seen = []

    async def subscriber(event):
        await asyncio.sleep(0)
        seen.append(event.name)

    async def guard(call):
        await asyncio.sleep(0)

    async def tool(args):
        return args

    relay.register("subscriber", subscriber, name="later")
    relay.guardrail("tool")(guard)
    for n in range(5):
        assert asyncio.run(relay.acall_tool(f"t{n}", n, tool)) == n  # a loop of its own each time
        assert relay.call_tool(f"s{n}", n, lambda n: n) == n  # the guardrail runs on the helper loop
    assert not relay.flush(timeout=20.0).timed_out
    assert [name for name in seen if name[0] in "ts"].count("t0") == 2
    assert_account(relay, "later", len(seen), dropped={})


async def test_R25_a_sync_call_with_async_policy_inside_a_running_loop(relay):
    async def guard(call):
        await asyncio.sleep(0)

    relay.guardrail("tool")(guard)
    assert relay.call_tool("t", 1, lambda n: n) == 1


def other_loops():
    yield pytest.param("asyncio", id="asyncio")
    for name in ("uvloop", "trio"):
        missing = importlib.util.find_spec(name) is None
        yield pytest.param(name, id=name, marks=pytest.mark.skipif(missing, reason=f"{name} is not installed"))


@pytest.mark.parametrize("kind", list(other_loops()))
def test_R25_other_event_loops(relay, ledger, kind):
    """Calls, streams, scopes, task groups and cancellation through anyio."""
    anyio = pytest.importorskip("anyio", reason="anyio is not installed")

    async def tool(args):
        await anyio.sleep(0.001)
        return args

    async def parts(request):
        for n in range(3):
            await anyio.sleep(0)
            yield n

    async def work(n):
        async with relay.scope(f"run{n}", "agent"):
            given = {"n": n}
            assert await relay.acall_tool("tool", given, tool) is given
            assert [part async for part in relay.astream_llm("model", given, parts)] == [0, 1, 2]

    async def main():
        async with anyio.create_task_group() as group:
            for n in range(50):
                group.start_soon(work, n)
        with anyio.move_on_after(0.01) as limit:
            async with relay.scope("late", "agent"):
                await anyio.sleep(10)
        assert limit.cancelled_caught

    backend = "trio" if kind == "trio" else "asyncio"
    anyio.run(main, backend=backend, backend_options={"use_uvloop": True} if kind == "uvloop" else {})
    statuses = balanced(relay, ledger)
    assert statuses["ok"] == 150
    assert statuses["cancelled"] == 1, statuses
