"""Many checks at once, many checks in a row, and what the plugin costs."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
import tracemalloc

import pytest

pytest.importorskip(
    "nemoguardrails", reason="needs nemoguardrails, in an environment of its own: tox -e only-guardrails"
)

import relay_core as relay
from relay_plugin_guardrails import Guardrails, RailBlocked
from tests.plugins.guardrails.rails import MASK, REGEX, SECRET, mask


@pytest.mark.parametrize("engine", ["iorails", "llmrails"])
@pytest.mark.timeout(120)
async def test_a_hundred_checks_at_once(watched, engine):
    watch = watched(yaml=REGEX, tool_args={"engine": engine, "timeout": 60.0, "max_inflight": 10})

    async def call(number):
        text = f"{number} {SECRET}" if number % 2 else f"{number}"
        try:
            return await watch.relay.acall_tool("note", {"a": text}, lambda given: given["a"])
        except RailBlocked:
            return "blocked"

    results = await asyncio.gather(*map(call, range(100)))
    assert results == ["blocked" if number % 2 else f"{number}" for number in range(100)]
    assert sorted(watch.decisions()) == ["allow"] * 50 + ["block"] * 50
    assert watch.leaked() == []


def test_threads_may_check_at_once(watched):
    from concurrent.futures import ThreadPoolExecutor

    watch = watched(**MASK, actions={"mask": mask}, tool_args={"timeout": 60.0})
    with ThreadPoolExecutor(8) as pool:
        texts = [f"{number} {SECRET}" for number in range(40)]
        found = list(pool.map(lambda text: watch.relay.call_tool("note", {"a": text}, lambda a: a["a"]), texts))
    assert found == [f"{number} <MASKED>" for number in range(40)]


async def test_no_more_checks_at_once_than_allowed(watched):
    now, most = 0, 0

    async def counting(text):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return text

    watch = watched(**MASK, actions={"mask": counting}, tool_args={"max_inflight": 3, "timeout": 60.0})
    await asyncio.gather(*(watch.rails.acheck("tool_args", f"text {n}") for n in range(12)))
    assert most == 3


def growth_of(run):
    """Give the bytes by which memory has grown, and the number of objects."""
    gc.collect()
    tracemalloc.start()
    before, objects = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
    run()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before, len(gc.get_objects()) - objects


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_checks_leave_nothing(tmp_path):
    runtime = relay.Relay()
    with Guardrails(yaml=REGEX, tool_args={}, tool_result={}).install(runtime):

        def run(first, count):
            async def main():
                for number in range(first, first + count):
                    try:
                        text = f"{number} {SECRET}" if number % 10 == 0 else f"text number {number}"
                        await runtime.acall_tool("note", {"a": text}, lambda given: given)
                    except RailBlocked:
                        pass

            asyncio.run(main())

        run(0, 3_000)  # until every bounded table is full
        size, objects = growth_of(lambda: run(10_000, 10_000))
    runtime.shutdown(timeout=5.0)
    assert size < 300_000, size
    assert objects < 2_000, objects


@pytest.mark.timeout(120)
def test_the_cache_of_the_library_stays_empty(watched):
    watch = watched(**MASK, actions={"mask": mask}, tool_args={})
    for number in range(30):
        watch.rails.check("tool_args", f"text {number}")
    assert not watch.rails.checkers["tool_args"].engine._rails.events_history_cache


@pytest.mark.timeout(120)
def test_the_plugin_costs_little_over_the_library_s_own_check(capsys):
    runtime = relay.Relay()
    with Guardrails(yaml=REGEX, tool_args={}).install(runtime) as rails:
        checker = rails.checkers["tool_args"]
        library, kinds = checker.engine._rails, checker.engine._types
        messages = [{"role": "user", "content": "the sea is blue"}]

        async def main():
            async with library:
                pairs = []
                for _ in range(15):
                    start = time.perf_counter()
                    for _ in range(100):
                        await library.check_async(messages, kinds)
                    middle = time.perf_counter()
                    for _ in range(100):
                        await rails.acheck("tool_args", "the sea is blue")
                    pairs.append(((middle - start) / 100, (time.perf_counter() - middle) / 100))
                return pairs

        pairs = asyncio.run(main())
    direct = statistics.median(a for a, _ in pairs)
    overhead = statistics.median(b - a for a, b in pairs)
    with capsys.disabled():
        sys.stdout.write(f"\nlibrary's check {direct * 1e6:.0f} us, plugin's overhead {overhead * 1e6:+.0f} us\n")
    assert overhead <= max(0.1 * direct, 100e-6)
