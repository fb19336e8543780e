"""Two runtimes in one process never see each other, and scope-local registrations hold only under their scope."""

from __future__ import annotations

import asyncio
import threading

import pytest

import relay_core
from relay_core import Block, Blocked, Relay


class Events(list):
    def on_event(self, event):
        self.append(event)

    def names(self):
        return [event.name for event in self]


@pytest.fixture
def pair():
    runtimes = Relay(), Relay()
    seen = Events(), Events()
    for runtime, events in zip(runtimes, seen, strict=True):
        runtime.subscriber(events, name="seen")
    yield runtimes, seen
    for runtime in runtimes:
        runtime.shutdown(timeout=20.0)


def check_tree(events, letter, count):
    """Every pair of outer and inner scope is whole, and made of this runtime's own parts."""
    starts = {e.uuid: e for e in events if e.kind == "scope" and e.scope_category == "start"}
    ends = {e.uuid for e in events if e.kind == "scope" and e.scope_category == "end"}
    assert len(starts) == 2 * count
    assert starts.keys() == ends
    assert all(event.name[0] == letter for event in events)
    for event in starts.values():
        if event.name.startswith(f"{letter}inner"):
            parent = starts[event.parent_uuid]
            assert parent.name.removeprefix(f"{letter}outer") == event.name.removeprefix(f"{letter}inner")
        else:
            assert event.parent_uuid is None
    for mark in (e for e in events if e.kind == "mark"):
        assert starts[mark.parent_uuid].name == f"{letter}inner{mark.data}"


class TestTwoRuntimes:
    async def test_two_thousand_tasks(self, pair):
        (one, two), (first, second) = pair

        async def work(n):
            with one.scope(f"aouter{n}") as a:
                await asyncio.sleep(0)
                with two.scope(f"bouter{n}") as b:
                    await asyncio.sleep(0)
                    assert (one.current(), two.current()) == (a, b)
                    async with one.scope(f"ainner{n}") as inner:
                        await asyncio.sleep(0)
                        assert (one.current(), two.current()) == (inner, b)
                        one.mark("amark", n)
                        with two.scope(f"binner{n}"):
                            await asyncio.sleep(0)
                            two.mark("bmark", n)
                    assert (one.current(), two.current()) == (a, b)
            assert one.current() is None
            assert two.current() is None

        await asyncio.gather(*(work(n) for n in range(2_000)))
        assert not one.flush(timeout=20.0).timed_out
        assert not two.flush(timeout=20.0).timed_out
        check_tree(first, "a", 2_000)
        check_tree(second, "b", 2_000)

    def test_threads(self, pair):
        (one, two), (first, second) = pair

        def work(index):
            for n in range(index * 100, index * 100 + 100):
                with one.scope(f"aouter{n}"), two.scope(f"bouter{n}"):
                    with two.scope(f"binner{n}"), one.scope(f"ainner{n}"):
                        one.mark("amark", n)
                        two.mark("bmark", n)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one.flush(timeout=20.0)
        two.flush(timeout=20.0)
        check_tree(first, "a", 800)
        check_tree(second, "b", 800)

    def test_registrations_of_one_mean_nothing_to_the_other(self, pair):
        (one, two), (first, second) = pair
        one.guardrail("tool", name="same")(lambda call: Block("no"))
        two.guardrail("tool", name="same")(lambda call: None)  # the name is free there
        one.request_intercept("llm")(lambda call: call.replace(request="changed"))
        one.sanitizer(lambda event: event.replace(name="hidden"))
        with pytest.raises(Blocked):
            one.call_tool("t", {}, lambda args: "ran")
        assert two.call_tool("t", {}, lambda args: "ran") == "ran"
        assert two.call_llm("m", "given", lambda request: request) == "given"
        one.flush(timeout=20.0)
        two.flush(timeout=20.0)
        assert set(first.names()) == {"hidden"}
        assert second.names() == ["same", "same", "t", "t", "m", "m"]

    @pytest.mark.parametrize("first_asked", [0, 1])
    def test_a_scope_of_one_as_parent_in_the_other_brings_nothing_but_its_place(self, pair, first_asked):
        runtimes, (first, second) = pair
        one, two = runtimes
        local = Events()
        with two.scope("keeps") as other, one.scope("outer") as outer:
            other.sanitizer(lambda event: event)  # so that both look for registrations of scopes
            outer.subscriber(local, name="local")
            outer.guardrail("tool", name="no")(lambda call: Block("of one") if call.name == "here" else None)
            two.register("guardrail", lambda call: Block("of two"), target="llm")  # both have registered as often now
            for runtime in (runtimes[first_asked], runtimes[not first_asked]):
                if runtime is two:
                    assert two.call_tool("there", {}, lambda args: "ran", parent=outer) == "ran"
                else:
                    assert one.call_llm("m", "given", lambda request: request) == "given"
                    with pytest.raises(Blocked, match="of one"):
                        one.call_tool("here", {}, lambda args: "ran")
        one.flush(timeout=20.0)
        two.flush(timeout=20.0)
        assert first.names() == ["outer", "m", "m", "no", "no", "here", "outer"]
        assert second.names() == ["keeps", "there", "there", "keeps"]
        assert local.names() == ["m", "m", "no", "no", "here", "outer"]
        assert [event.parent_uuid for event in second[1:3]] == [outer.uuid] * 2

    def test_shutting_one_down_leaves_the_other(self, pair):
        (one, two), (first, second) = pair
        one.shutdown(timeout=20.0)
        one.mark("m")
        two.mark("m")
        two.flush(timeout=20.0)
        assert (first, second.names()) == ([], ["m"])
        assert one.stats()["subscribers"]["seen"]["dropped"] == {"shutdown": 1}
        assert two.stats()["subscribers"]["seen"]["dropped"] == {}

    def test_a_subscriber_of_one_may_flush_the_other(self, pair):
        (one, two), (_, second) = pair
        reports = []

        def forward(event):
            two.mark(event.name)
            reports.append(two.flush(timeout=5.0).timed_out)

        one.subscriber(forward)
        one.mark("m")
        assert not one.flush(timeout=20.0).timed_out
        assert reports == [False]
        assert second.names() == ["m"]


class TestScopeLocal:
    async def test_subscribers_hear_their_own_task_only(self):
        relay = Relay()
        everything = Events()
        relay.subscriber(everything)
        own = [Events() for _ in range(200)]

        async def work(n):
            with relay.scope(f"job{n}") as job:
                await asyncio.sleep(0)
                handle = job.subscriber(own[n], name="own")
                await asyncio.sleep(0)
                with relay.scope(f"step{n}"):
                    await asyncio.sleep(0)
                    relay.mark(f"mark{n}")
                if n % 2:
                    handle.remove()
                relay.mark(f"late{n}")

        await asyncio.gather(*(work(n) for n in range(200)))
        assert not relay.flush(timeout=20.0).timed_out
        for n, events in enumerate(own):
            expected = [f"step{n}", f"mark{n}", f"step{n}"] + ([] if n % 2 else [f"late{n}", f"job{n}"])
            assert events.names() == expected
        assert len(everything) == 200 * 6
        relay.shutdown(timeout=20.0)

    async def test_policy_holds_for_descendants_also_in_other_tasks(self):
        relay = Relay()

        async def call():
            await asyncio.sleep(0)
            return await relay.acall_tool("t", {}, lambda args: "ran")

        async def guarded():
            with relay.scope("guarded") as scope:
                scope.guardrail("tool")(lambda call: Block("no"))
                with pytest.raises(Blocked):
                    await asyncio.create_task(call())

        async def free():
            with relay.scope("free"):
                assert await asyncio.create_task(call()) == "ran"

        await asyncio.gather(*(guarded() if n % 2 else free() for n in range(100)))


class TestModuleLevel:
    def test_functions_belong_to_the_default_runtime(self):
        bound = [name for name in vars(relay_core) if hasattr(vars(relay_core)[name], "__self__")]
        assert len(bound) > 25
        assert all(getattr(relay_core, name).__self__ is relay_core.default for name in bound)

    def test_the_default_runtime_is_one_of_many(self, pair):
        (one, _), (first, _) = pair
        seen = Events()
        with relay_core.subscriber(seen), relay_core.scope("default"), one.scope("own"):
            assert relay_core.current().name == "default"
            assert one.current().name == "own"
        relay_core.flush(timeout=20.0)
        one.flush(timeout=20.0)
        assert seen.names() == ["default", "default"]
        assert first.names() == ["own", "own"]
