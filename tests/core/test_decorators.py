"""Scopes as decorators: of functions, coroutine functions, generators and async generators."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tests.waiting import cancelled_in_the_middle, until


def test_a_decorated_function(rec):
    @rec.relay.scope("add", "tool")
    def add(a, b=2, *rest, **more):
        """Doc."""
        return a + b

    assert (add(1), add(1, 3, 4, x=5), add.__name__, add.__doc__) == (3, 4, "add", "Doc.")
    starts = [e.data for e in rec.events if e.scope_category == "start"]
    assert starts == [{"a": 1}, {"a": 1, "b": 3, "rest": [4], "more": {"x": 5}}]
    assert [e.data for e in rec.events if e.scope_category == "end"] == [3, 4]
    assert len({e.uuid for e in rec.events}) == 2
    with pytest.raises(TypeError):
        add()
    assert rec.shape()[-1] == "-tool add error"


def test_a_decorated_method_does_not_record_self(rec):
    class Agent:
        @rec.relay.scope("run", "agent")
        def run(self, q):
            return self

    agent = Agent()
    assert agent.run("x") is agent
    assert rec.start("run").data == {"q": "x"}


async def test_a_decorated_coroutine_function(rec):
    @rec.relay.scope("work")
    async def work(n):
        await asyncio.sleep(0)
        if n < 0:
            raise ValueError("negative")
        return [n]

    assert asyncio.iscoroutinefunction(work)
    assert await asyncio.gather(work(1), work(2)) == [[1], [2]]
    with pytest.raises(ValueError, match="negative"):
        await work(-1)
    assert sorted(rec.shape()) == ["+function work"] * 3 + ["-function work error"] + ["-function work ok"] * 2


@pytest.fixture
def echo(rec):
    """A decorated generator function that does everything a generator can."""

    @rec.relay.scope("gen")
    def gen(*items):
        try:
            for item in items:
                try:
                    got = yield item
                except KeyError as error:
                    got = error
                rec.relay.mark("got", data=repr(got))
        finally:
            rec.relay.mark("cleanup")
        return "done"

    return gen


def test_a_decorated_generator_runs_to_its_end(rec, echo):
    with rec.relay.scope("outer") as outer:
        running = echo(1, 2, 3)
        assert next(running) == 1
        assert rec.relay.current() is outer  # between two steps the caller's scope is current
        assert running.send("a") == 2
        error = KeyError("b")
        assert running.throw(error) == 3
        with pytest.raises(StopIteration) as stop:
            next(running)
        assert stop.value.value == "done"
    assert [e.data for e in rec.events if e.name == "got"] == ["'a'", "KeyError('b')", "None"]
    assert rec.end("gen").data == "done"
    parents = rec.parents()
    assert (parents["gen"], parents["got"], parents["cleanup"]) == ("outer", "gen", "gen")


def test_a_decorated_generator_that_is_closed_or_collected(rec, echo):
    running = echo(1, 2)
    next(running)
    running.close()
    running.close()
    assert rec.shape() == ["+function gen", "*cleanup", "-function gen cancelled"]
    rec.clear()
    next(echo(1))
    gc.collect()
    assert rec.shape() == ["+function gen", "*cleanup", "-function gen cancelled"]
    rec.clear()
    echo(1).close()  # it never began
    assert rec.shape() == []


def test_a_decorated_generator_that_fails(rec, echo):
    running = echo(1)
    next(running)
    error = OSError("x")
    with pytest.raises(OSError, match="x") as caught:
        running.throw(error)
    assert caught.value is error
    assert rec.shape() == ["+function gen", "*cleanup", "-function gen error"]


async def test_a_decorated_generator_that_cannot_be_called_has_an_end(rec):
    @rec.relay.scope("gen")
    def gen(item):
        yield item

    @rec.relay.scope("agen")
    async def agen(item):
        yield item

    with pytest.raises(TypeError, match="item"):
        next(gen())
    with pytest.raises(TypeError, match="item"):
        await anext(agen())
    assert rec.shape() == ["+function gen", "-function gen error", "+function agen", "-function agen error"]


def test_a_failing_cleanup_is_an_error(rec):
    @rec.relay.scope("gen")
    def gen():
        try:
            yield 1
        finally:
            raise OSError("cleanup")

    running = gen()
    next(running)
    with pytest.raises(OSError, match="cleanup"):
        running.close()
    assert rec.end("gen").status == "error"


def test_yield_from_a_decorated_generator(rec, echo):
    def outer():
        return (yield from echo(1, 2))

    running = outer()
    assert [next(running), running.send("x")] == [1, 2]
    with pytest.raises(StopIteration) as stop:
        next(running)
    assert stop.value.value == "done"
    assert rec.end("gen").status == "ok"


async def test_a_decorated_async_generator(rec):
    @rec.relay.scope("agen")
    async def agen(*items):
        try:
            for item in items:
                await asyncio.sleep(0)
                try:
                    got = yield item
                except KeyError:
                    got = "caught"
                rec.relay.mark("got", data=got)
        finally:
            await asyncio.sleep(0)
            rec.relay.mark("cleanup")

    async with rec.relay.scope("outer") as outer:
        running = agen(1, 2, 3)
        assert await anext(running) == 1
        assert rec.relay.current() is outer
        assert await running.asend("a") == 2
        assert await running.athrow(KeyError()) == 3
        with pytest.raises(StopAsyncIteration):
            await anext(running)
    assert [e.data for e in rec.events if e.name == "got"] == ["a", "caught", None]
    assert (rec.end("agen").status, rec.parents()["cleanup"]) == ("ok", "agen")
    rec.clear()
    running = agen(1, 2)
    await anext(running)
    await running.aclose()
    assert rec.shape() == ["+function agen", "*cleanup", "-function agen cancelled"]
    rec.clear()
    async for _ in agen(1, 2):
        break
    gc.collect()
    await until(lambda: rec.shape()[-1].startswith("-"))
    assert rec.shape() == ["+function agen", "*cleanup", "-function agen cancelled"]


def test_async_generators_that_an_ending_loop_closes(rec):
    problems, left = [], []

    @rec.relay.scope("agen")
    async def agen():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            rec.relay.mark("cleanup")

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
        for _ in range(10):
            left.append(agen())
            await anext(left[-1])

    asyncio.run(main())
    assert problems == []
    assert sorted(rec.shape()) == ["*cleanup"] * 10 + ["+function agen"] * 10 + ["-function agen cancelled"] * 10


async def test_a_cancelled_async_generator(rec):
    @rec.relay.scope("agen")
    async def agen():
        yield 1
        await asyncio.sleep(60)

    async def consume():
        async for _ in agen():
            pass

    await cancelled_in_the_middle(consume)
    assert rec.end("agen").status == "cancelled"


def test_a_scope_held_by_a_generator_is_gone_when_the_generator_is(rec):
    def gen():
        with rec.relay.scope("held"):
            yield

    with rec.relay.scope("outer") as outer:
        running = gen()
        next(running)
        running.close()
        assert rec.relay.current() is outer
    assert rec.shape()[2:] == ["-function held cancelled", "-function outer ok"]
