"""`AdapterContract`: what every adapter must keep, as a test class to subclass over the real framework."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from relay_core.middleware import Block
from relay_core.testing.adapter_drivers import AdapterDrivers, Outcome, Subject
from relay_core.testing.assertions import assert_well_formed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from relay_core.events import ScopeEvent
    from relay_core.runtime import Relay
    from relay_core.testing.recorder import EventRecorder

__all__ = ["AdapterContract"]

_PATIENCE = 10.0  # seconds
_LEAK = 0.1  # blocks of memory per run above which something grows
_ROUNDS = 15  # of runs at most, for bounded tables to fill up, the last places of which take long
_LEFT = frozenset({"cancelled", "interrupted"})
_WITHOUT_FRAMEWORK = """
import importlib, sys
blocked = set(sys.argv[2:])
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
module, _, attribute = sys.argv[1].partition(":")
adapter = importlib.import_module(module)
for part in filter(None, attribute.split(".")):
    adapter = getattr(adapter, part)
adapter = adapter() if isinstance(adapter, type) else adapter
import relay_core
try:
    relay_core.Relay().adapters.install(adapter)
except relay_core.AdapterError as error:
    print("refused:", error)
"""


class AdapterContract(AdapterDrivers):
    """Tests that every adapter passes. Subclass it in a test module, with a name that pytest collects.

    The drivers (`call_llm` and so on) make one call of the real framework. The `body` that they get plays the provider
    or the tool: the framework's model or tool must return what ``body(text)`` returns and raise what it raises. Where
    `relay` is None, the framework runs without the adapter, for comparison.

    Attributes:
        capabilities: what is supported, and why not where it is not.
        entry: what the adapter's entry point names, such as ``"package.module:adapter"``.
        frameworks: top-level modules of the framework; importing the adapter must not need them.
        growth_runs: calls per round of the growth tests; the environment's ``RELAY_CONTRACT_RUNS`` counts more.

    Example:
        >>> from relay_core.testing import AdapterCapabilities
        >>> class TestToy(AdapterContract):
        ...     capabilities = AdapterCapabilities(tools="the toy has models only")
        ...     entry = "relay_adapter_toy:adapter"
        ...     frameworks = ("toy",)
        ...
        ...     def call_llm(self, relay, text, body):
        ...         return toy.Model(body).invoke(text)
    """

    # -- observation ---------------------------------------------------------------------------------------------------

    def test_one_pair_per_call(self, relay: Relay, relay_events: EventRecorder, subject: Subject) -> None:
        """One logical call is one start with the input and one end with the output."""
        subject.outcome(relay, "the question", "the answer")
        start, end = self.one(relay_events, subject.kind)
        assert b"the question" in start.to_json(), f"the input is not in the start event: {start.to_json()!r}"
        assert b"the answer" in end.to_json(), f"the output is not in the end event: {end.to_json()!r}"
        assert end.status == "ok"

    def test_failure_is_told(self, relay: Relay, relay_events: EventRecorder, subject: Subject) -> None:
        """A call that raises ends with status error and the type of the exception."""
        subject.outcome(relay, "the question", ZeroDivisionError("the failure"))
        _start, end = self.one(relay_events, subject.kind)
        assert end.status == "error", f"a call that raised ended with {end.status}"
        assert (end.metadata or {}).get("error.type") == "ZeroDivisionError", f"its end says {end.metadata}"

    @pytest.mark.parametrize("answer", ["the answer", ZeroDivisionError("the failure")], ids=["result", "exception"])
    def test_objects_keep_their_identity(self, relay_runtime: Relay, subject: Subject, answer: Any) -> None:
        """Requests, results and exceptions pass as they do without the adapter: same objects, same types."""
        self.check_same(relay_runtime, subject, "the question", answer)

    @pytest.mark.parametrize("name", ["surrogate", "nul", "long", "bytes", "cycle", "rude"])
    def test_hostile_payloads(
        self, relay_runtime: Relay, relay_events: EventRecorder, subject: Subject, name: str
    ) -> None:
        """Whatever goes through a call, it ends as it does without the adapter, and its events are whole."""
        hostile = _hostile(name)
        if isinstance(hostile, str):
            self.check_same(relay_runtime, subject, hostile, "the answer")
        self.check_same(relay_runtime, subject, "the question", hostile)
        self.settle(relay_events.runtime)
        assert_well_formed(relay_events)

    def check_same(self, runtime: Relay, subject: Subject, text: str, answer: Any) -> None:
        """Check that a call goes the same way with and without the adapter."""
        bare = subject.outcome(None, text, answer)
        adapter = self.make_adapter()
        runtime.adapters.install(adapter)
        try:
            ours = subject.outcome(runtime, text, answer)
        finally:
            runtime.adapters.uninstall(adapter.name)
        for what, before, after in _traits(bare, ours, text):
            assert before == after, f"with the adapter, {what} is {after}; without, it is {before}"

    def test_parent_is_the_current_scope(self, relay: Relay, relay_events: EventRecorder, subject: Subject) -> None:
        """A call belongs to the scope that is current where it is made, and that stays current."""
        with relay.scope("outer") as outer:
            subject.outcome(relay, "the question", "the answer")
            assert relay.current() is outer, "after the call another scope is current"
        start, _end = self.one(relay_events, subject.kind)
        assert "outer" in _above(relay_events, start), (
            f"the call is not under the scope around it:\n{relay_events.tree()}"
        )

    def test_parents_in_threads(self, relay: Relay, relay_events: EventRecorder, subject: Subject) -> None:
        """Calls made at the same time in several threads each belong to their own thread's scope."""
        self.needs("threads")
        together = threading.Barrier(4, timeout=_PATIENCE)

        def body(value: str) -> str:
            together.wait()
            return value

        def work(name: str) -> None:
            with relay.scope(name):
                subject.run(relay, f"text of {name}", body)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, [f"thread-{n}" for n in range(4)]))
        self.check_own_parents(relay_events, subject.kind, [f"thread-{n}" for n in range(4)])

    def test_parents_in_tasks(self, relay: Relay, relay_events: EventRecorder, subject: Subject) -> None:
        """The same for asyncio tasks."""
        if subject.mode == "sync":
            pytest.skip("tasks are for async calls")

        async def work(name: str) -> None:
            async with relay.scope(name):
                await subject.arun(relay, f"text of {name}", str)

        async def main() -> None:
            await asyncio.gather(*(work(f"task-{n}") for n in range(8)))

        asyncio.run(main())
        self.check_own_parents(relay_events, subject.kind, [f"task-{n}" for n in range(8)])

    def check_own_parents(self, events: EventRecorder, kind: str, names: list[str]) -> None:
        """Check that there is one call under each of the scopes, with the text that was given there."""
        found = self.pairs(events, kind)
        assert len(found) == len(names), f"{len(names)} calls gave {len(found)} scopes:\n{events.tree()}"
        for start, _end in found:
            above = [name for name in _above(events, start) if name in names]
            assert above, f"a call is under none of {names}:\n{events.tree()}"
            assert f"text of {above[0]}".encode() in start.to_json(), f"a call is under the wrong scope, {above[0]}"

    def test_batch(self, relay: Relay, relay_events: EventRecorder) -> None:
        """Each input of a batch is a call of its own, under the scope around the batch."""
        self.needs("batch", "llm")
        texts = [f"text {n}" for n in range(6)]
        with relay.scope("outer"):
            self.batch_llm(relay, texts, str)
        found = self.pairs(relay_events, "llm")
        assert len(found) == len(texts), f"{len(texts)} inputs gave {len(found)} scopes:\n{relay_events.tree()}"
        for text in texts:
            seen = sum(text.encode() in start.to_json() for start, _end in found)
            assert seen == 1, f"{text!r} is the input of {seen} calls"
        assert all("outer" in _above(relay_events, start) for start, _end in found), relay_events.tree()

    # -- streams and cancellation --------------------------------------------------------------------------------------

    @pytest.mark.parametrize("way", ["exhaust", "close", "collect", "fail"])
    def test_stream_ends_once(self, relay: Relay, relay_events: EventRecorder, way: str) -> None:
        """A stream ends once, however it is left, and its steps come one by one."""
        self.needs("streaming", "llm", "sync")
        made: list[int] = []
        stream = self.stream_llm(relay, "the question", _pieces(made, fail=way == "fail"))
        first = self.text_of(next(stream))
        while "piece" not in first:  # frameworks may begin with an empty step
            first = self.text_of(next(stream))
        assert len(made) < 4, "the stream was read to its end before the first step came"
        if way == "close":
            close: Any = getattr(stream, "close", None)
            assert close is not None, f"{type(stream).__name__} has no close()"
            close()
        elif way != "collect":
            with suppress(ZeroDivisionError):
                list(stream)
        del stream
        gc.collect()
        self.check_stream_end(relay_events, way)

    @pytest.mark.parametrize("way", ["exhaust", "close", "cancel", "fail"])
    def test_async_stream_ends_once(self, relay: Relay, relay_events: EventRecorder, way: str) -> None:
        """The same for async streams."""
        self.needs("streaming", "llm", "asynchronous")
        made: list[int] = []

        async def body(text: str) -> AsyncIterator[str]:
            for piece in _pieces(made, fail=way == "fail")(text):
                await asyncio.sleep(30 if way == "cancel" and len(made) > 1 else 0)
                yield piece

        async def consume() -> None:
            stream: Any = self.astream_llm(relay, "the question", body)
            async for step in stream:
                if way == "close" and "piece" in self.text_of(step):
                    await stream.aclose()
                    break

        async def main() -> None:
            task = asyncio.create_task(consume())
            if way == "cancel":
                await _until(lambda: len(made) > 1)
                task.cancel()
            await asyncio.wait([task], timeout=_PATIENCE)
            assert task.done(), "the consumer of the stream did not end"
            if not task.cancelled():
                failure = task.exception()
                assert failure is None or way == "fail", f"the stream raised {failure!r}"

        asyncio.run(main())
        self.check_stream_end(relay_events, way)

    def check_stream_end(self, events: EventRecorder, way: str) -> None:
        """Check the one end of a stream that was left in this way."""
        _start, end = self.one(events, "llm")
        expected = {"exhaust": {"ok"}, "fail": {"error"}}.get(way, _LEFT)
        assert end.status in expected, f"a stream left by {way!r} ended with {end.status}, not {sorted(expected)}"
        assert b"piece 0" in end.to_json(), f"what was streamed is not in the end event: {end.to_json()!r}"

    def test_cancellation(self, relay: Relay, relay_events: EventRecorder, subject: Subject) -> None:
        """A cancelled task stays cancelled; its call ends once, as cancelled."""
        if subject.mode == "sync":
            pytest.skip("only async calls can be cancelled")
        started: list[str] = []

        async def hang(value: str) -> None:
            started.append(value)
            await asyncio.sleep(60)

        async def main() -> bool:
            task = asyncio.create_task(subject.arun(relay, "the question", hang))
            await _until(lambda: started or task.done())
            task.cancel()
            await asyncio.wait([task], timeout=_PATIENCE)
            return task.cancelled()

        assert asyncio.run(main()), "the call swallowed its cancellation"
        _start, end = self.one(relay_events, subject.kind)
        assert end.status == "cancelled", f"a cancelled call ended with {end.status}"

    # -- control -------------------------------------------------------------------------------------------------------

    def test_block(self, relay: Relay, relay_events: EventRecorder, subject: Subject) -> None:
        """A blocked call does not run; the reason reaches the caller, as `Blocked` or in the answer."""
        self.needs("block")

        def refuse(_call: Any) -> Block:
            return Block("not in this house")

        relay.register("guardrail", refuse, target=subject.kind, name="contract")
        outcome = subject.outcome(relay, "the question", "the answer")
        assert outcome.asked is None, "the guardrail said no, and the call was made"
        told = str(outcome.error) if outcome.error is not None else self.text_of(outcome.result)
        assert "not in this house" in told, f"the caller does not see why: {outcome.error or outcome.result!r}"
        self.settle(relay_events.runtime)
        assert_well_formed(relay_events)
        failed = [end.name for end in relay_events.ends() if end.status == "error"]
        assert not failed, f"a blocked call is no error, but {failed} ended as one"

    def test_rewrite(self, relay: Relay, subject: Subject) -> None:
        """What a request intercept asks is what the tool or model gets."""
        self.needs("rewrite")

        def edit(call: Any) -> Any:
            return self.rewritten(call, "the question", "another question")

        relay.register("request_intercept", edit, target=subject.kind, name="contract")
        outcome = subject.outcome(relay, "the question", "the answer")
        assert outcome.error is None, f"the rewritten call failed: {outcome.error!r}"
        assert outcome.asked == "another question", f"after a rewrite, what was asked is {outcome.asked!r}"

    def test_replace(self, relay: Relay, subject: Subject) -> None:
        """What an execution intercept answers is what the caller gets."""
        self.needs("replace")

        def around(call: Any) -> Generator[Any, Any, Any]:
            result = yield call
            return self.replaced(subject.kind, result, "another answer")

        relay.register("execution_intercept", around, target=subject.kind, name="contract")
        outcome = subject.outcome(relay, "the question", "the answer")
        assert outcome.error is None, f"the replaced call failed: {outcome.error!r}"
        assert "another answer" in self.text_of(outcome.result), f"the caller got {outcome.result!r}"

    # -- installation and memory ---------------------------------------------------------------------------------------

    def test_installed_twice_and_taken_off(self, relay: Relay, relay_events: EventRecorder, subject: Subject) -> None:
        """Installed twice, it reports once; taken off, it reports nothing."""
        relay.adapters.install(self.make_adapter())
        subject.outcome(relay, "the question", "the answer")
        self.one(relay_events, subject.kind)
        relay.adapters.uninstall()
        relay_events.clear()
        subject.outcome(None, "the question", "the answer")
        assert not relay_events.events, f"taken off, the adapter still reports:\n{relay_events.tree()}"

    def test_nothing_grows(self, relay: Relay, subject: Subject) -> None:
        """Thousands of calls, some of them failing, leave nothing behind."""
        relay.register("subscriber", id, name="contract")  # reads nothing, keeps nothing
        runs = int(os.environ.get("RELAY_CONTRACT_RUNS", self.growth_runs))
        self._rounds_of(relay, subject, max(runs // 10, 50))
        grown = 0.0
        for _ in range(_ROUNDS):  # a bounded table stops growing when it is full; a leak does not
            before = _blocks(relay)
            self._rounds_of(relay, subject, runs)
            grown = (_blocks(relay) - before) / runs
            if grown < _LEAK:
                return
        raise AssertionError(f"each call leaves {grown:.1f} blocks of memory behind, after {_ROUNDS} rounds of {runs}")

    def _rounds_of(self, relay: Relay, subject: Subject, runs: int) -> None:
        async def main() -> None:
            for n in range(runs):
                with suppress(ZeroDivisionError):
                    await subject.arun(relay, f"text {n}", _sometimes)

        if subject.mode == "async":
            asyncio.run(main())
            return
        for n in range(runs):
            with suppress(ZeroDivisionError):
                subject.run(relay, f"text {n}", _sometimes)

    def test_imports_without_the_framework(self) -> None:
        """The adapter's package can be imported without its framework; installing says what is missing."""
        done = subprocess.run(  # noqa: S603  # our own interpreter and text
            [sys.executable, "-c", _WITHOUT_FRAMEWORK, self.entry, *self.frameworks],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"without {', '.join(self.frameworks)}, {self.entry} fails:\n{done.stderr}"
        assert not self.frameworks or "refused:" in done.stdout, "without its framework, the adapter installs"


def _above(events: EventRecorder, start: ScopeEvent) -> list[str]:
    """Names of the scopes around one, the nearest first."""
    known = {event.uuid: event for event in events.starts()}
    names: list[str] = []
    parent = known.get(start.parent_uuid or "")
    while parent is not None:
        names.append(parent.name)
        parent = known.get(parent.parent_uuid or "")
    return names


def _traits(bare: Outcome, ours: Outcome, text: str) -> list[tuple[str, Any, Any]]:
    """What must be equal with and without the adapter."""
    return [
        ("the type of the exception", type(bare.error).__name__, type(ours.error).__name__),
        ("'the exception is the one raised'", bare.error is bare.answer, ours.error is ours.answer),
        ("the type of the result", type(bare.result).__name__, type(ours.result).__name__),
        ("'the result is the object returned'", bare.result is bare.answer, ours.result is ours.answer),
        ("the type of what was asked", type(bare.asked).__name__, type(ours.asked).__name__),
        ("'what was asked is the object given'", bare.asked is text, ours.asked is text),
        ("'what was asked is equal to what was given'", bare.asked == text, ours.asked == text),
    ]


class _Rude:
    """An object whose every special method raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


def _hostile(name: str) -> Any:
    if name == "cycle":
        cycle: dict[Any, Any] = {"number": 10**400, (1, 2): float("nan")}
        cycle["self"] = cycle
        return cycle
    return {
        "surrogate": "a \ud800 b",
        "nul": "a \0 b",
        "long": "x" * 1_000_000,
        "bytes": b"\xff\x00",
        "rude": _Rude(),
    }[name]


def _pieces(made: list[int], *, fail: bool) -> Callable[[str], Iterator[str]]:
    def body(_text: str) -> Iterator[str]:
        for n in range(4):
            made.append(n)
            if fail and n == 3:
                raise ZeroDivisionError("the failure")
            yield f"piece {n}"

    return body


def _sometimes(text: str) -> str:
    if text.endswith("7"):
        raise ZeroDivisionError("the failure")
    return text


async def _until(condition: Callable[[], Any]) -> None:
    for _ in range(int(_PATIENCE / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the real call was never made")


def _blocks(relay: Relay) -> int:
    relay.flush(timeout=_PATIENCE)
    gc.collect()
    return sys.getallocatedblocks()
