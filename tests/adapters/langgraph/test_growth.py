"""Many runs leave nothing behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

from langgraph.checkpoint.memory import InMemorySaver

from tests.adapters.langgraph.graphs import ask, line

RUNS = 1_000


async def test_a_thousand_runs_of_which_a_tenth_are_cancelled(observed):
    async def quick(state):
        await asyncio.sleep(0)
        return {"seen": [1]}

    async def hang(state):
        started[state["seen"][0]].set()
        await asyncio.sleep(60)

    well, ill = line(("a", quick), ("b", quick)), line(("a", quick), ("b", hang))
    stopped = line(("a", quick), ask, checkpointer=InMemorySaver())
    started = {number: asyncio.Event() for number in range(0, RUNS, 10)}

    async def one(number):
        if number % 10 == 0:
            running = asyncio.create_task(ill.ainvoke({"seen": [number]}))
            await started[number].wait()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        elif number % 10 == 1:
            await stopped.ainvoke({"seen": []}, {"configurable": {"thread_id": str(number)}})
        else:
            await well.ainvoke({"seen": []})

    for first in range(0, RUNS, 50):
        await asyncio.gather(*(one(number) for number in range(first, first + 50)))
    table = observed.table()
    assert len(table) == 0
    assert len(table._late) == 0
    statuses = Counter(p.status for p in observed.scopes("agent"))
    assert statuses == {"ok": 800, "cancelled": 100, "interrupted": 100}
