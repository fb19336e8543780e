"""Two tenants in one process: not one event, block, id or limit of one reaches the other."""

from __future__ import annotations

import asyncio
import json
import random
import re
from pathlib import Path

import pytest

import relay_core
from relay_core import Block, Relay
from relay_core.settings import Queue, Settings

TASKS = 10_000
TENANTS = ("acme", "umbrella")


class Sink:
    """Keeps of each event what a tenant could recognise."""

    def __init__(self):
        self.rows = []

    def on_event(self, event):
        data = event.data if isinstance(event.data, dict) else {}
        self.rows.append((event.name, event.uuid, event.parent_uuid, data.get("owner")))


async def visit(runtime, tenant, number, pauses):
    """One request of a tenant: nested scopes, marks and calls, giving way to others at random places."""

    async def pause():
        if pauses.random() < 0.6:
            await asyncio.sleep(0)

    async def tool(args):
        await pause()
        runtime.mark(f"{tenant}.in_tool", {"owner": tenant})
        return {"owner": tenant}

    async with runtime.scope(f"{tenant}.{number}", "agent", input={"owner": tenant}) as top:
        await pause()
        with runtime.scope(f"{tenant}.step", input={"owner": tenant}) as step:
            await pause()
            assert runtime.current() is step
            await runtime.acall_tool(f"{tenant}.tool", {"owner": tenant}, tool)
        await pause()
        assert runtime.current() is top
        runtime.mark(f"{tenant}.mark", {"owner": tenant})


EVENTS = 2 + 2 + 2 + 2  # of one visit: three scopes, and two marks


@pytest.fixture
def pair():
    made = {tenant: Relay(Settings(queue=Queue(max_events=200_000))) for tenant in TENANTS}
    yield made
    for runtime in made.values():
        runtime.shutdown(timeout=20.0)


async def test_S21_ten_thousand_tasks_of_two_runtimes(pair):
    sinks = {tenant: Sink() for tenant in TENANTS}
    everyone = Sink()
    relay_core.subscriber(everyone, name="default")
    for tenant, runtime in pair.items():
        runtime.subscriber(sinks[tenant], name="same name")
    pauses = random.Random(7)
    order = [(TENANTS[n % 2], n) for n in range(TASKS)]
    pauses.shuffle(order)
    await asyncio.gather(*(visit(pair[tenant], tenant, number, pauses) for tenant, number in order))
    for tenant, runtime in pair.items():
        assert not runtime.flush(timeout=30).timed_out
        check(sinks[tenant].rows, tenant, TASKS // 2)
    relay_core.flush(timeout=20.0)
    assert everyone.rows == []


def check(rows, tenant, visits):
    """Everything is here, all of it is the tenant's, and every parent is one of its own."""
    assert len(rows) == visits * EVENTS
    assert {name.partition(".")[0] for name, *_ in rows} == {tenant}
    assert {owner for *_, owner in rows if owner is not None} == {tenant}
    scopes = {uuid for _, uuid, *_ in rows}
    assert all(parent is None or parent in scopes for _, _, parent, _ in rows)
    assert sum(parent is None for _, _, parent, _ in rows) == 2 * visits


async def test_S21_ten_thousand_tasks_with_sinks_of_their_own_scopes():
    """One runtime; each tenant's requests run under a scope that has the tenant's sink and policy."""
    runtime = Relay(Settings(queue=Queue(max_events=400_000)))
    sinks = {tenant: Sink() for tenant in TENANTS}
    pauses = random.Random(11)
    blocked = 0

    async def tenant_work(tenant):
        nonlocal blocked
        with runtime.scope(f"{tenant}.home", "agent") as home:
            home.subscriber(sinks[tenant], name="own")
            if tenant == "umbrella":
                home.guardrail("tool", name="quota")(lambda call: Block("no shell") if call.name == "shell" else None)
            tasks = [asyncio.create_task(visit(runtime, tenant, number, pauses)) for number in range(TASKS // 2)]
            await asyncio.gather(*tasks)
            try:
                await runtime.acall_tool("shell", {}, answer)
            except relay_core.Blocked:
                blocked += 1
                assert tenant == "umbrella"

    async def answer(_args):
        return "ran"

    await asyncio.gather(*(asyncio.create_task(tenant_work(tenant)) for tenant in TENANTS))
    assert not runtime.flush(timeout=30).timed_out
    assert blocked == 1
    for tenant in TENANTS:
        rows = [row for row in sinks[tenant].rows if row[0].startswith(f"{tenant}.") and not row[0].endswith(".home")]
        names = {name.partition(".")[0] for name, *_ in sinks[tenant].rows}
        assert names <= {tenant, "shell", "quota"}
        assert ("quota" in names) == (tenant == "umbrella")
        # A guardrail of the scope is asked about every tool call, in a scope of its own.
        assert len(rows) == TASKS // 2 * EVENTS
        assert {owner for *_, owner in rows if owner is not None} == {tenant}
    runtime.shutdown(timeout=20.0)


def test_S21_one_tenants_limits_rules_and_end_are_not_the_others(tmp_path):
    strict = Relay(Settings(queue=Queue(max_events=16, policy="drop_newest")))
    open_one = Relay()
    sinks = Sink(), Sink()
    strict.sanitizer(lambda event: event.replace(name="hidden"))
    strict.subscriber(sinks[0])
    open_one.subscriber(sinks[1])
    for number in range(200):
        strict.mark(f"a{number}")
        open_one.mark(f"b{number}", {"owner": "b"})
    strict.shutdown(timeout=20.0)
    open_one.mark("after")
    assert not open_one.flush(timeout=20.0).timed_out
    assert {row[0] for row in sinks[0].rows} == {"hidden"}
    assert [row[0] for row in sinks[1].rows] == [*(f"b{number}" for number in range(200)), "after"]
    assert json.dumps(open_one.stats(), default=str).count("hidden") == 0
    open_one.shutdown(timeout=20.0)


def test_S21_the_page_has_a_row_for_each_case_and_names_tests_that_exist():
    tests = Path(__file__).parents[1]
    page = (tests.parent / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (S\d+(?:, S\d+)?) \|", page, re.MULTILINE)
    assert ", ".join(rows).split(", ") == [f"S{n}" for n in range(1, 26)]
    everything = "".join(path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)\*?`", page):
        if not name.endswith(".py"):
            assert f"def {name}" in everything, name
    for path in re.findall(r"`([\w/]+\.py)`", page):
        assert list(tests.rglob(path)), path
