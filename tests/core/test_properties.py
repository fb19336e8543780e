"""Whatever is done to scopes in whatever order, nothing raises and the events form a well-formed tree."""

from __future__ import annotations

import asyncio
import contextvars
import threading

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from relay_core import Relay
from relay_core.middleware import Block

QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def assert_tree(events, opened, closed):
    """Starts and ends pair up, parents start first, ends are not before starts, every mark has its place."""
    starts, ends, order = {}, {}, {}
    for index, event in enumerate(events):
        if event.kind == "mark":
            continue
        into = starts if event.scope_category == "start" else ends
        assert event.uuid not in into, "each once"
        into[event.uuid] = event
        order[event.uuid, event.scope_category] = index
    assert starts.keys() == opened
    assert ends.keys() == closed
    for uuid, end in ends.items():
        start = starts[uuid]
        assert order[uuid, "start"] < order[uuid, "end"]
        assert end.timestamp_ns > start.timestamp_ns
        assert (end.name, end.category, end.parent_uuid) == (start.name, start.category, start.parent_uuid)
        assert end.metadata["relay.status"] in {"ok", "error", "cancelled"}
    for uuid, start in starts.items():
        seen, root = {uuid}, start
        while root.parent_uuid is not None:
            assert root.parent_uuid not in seen, "no cycles"
            assert order[root.parent_uuid, "start"] < order[root.uuid, "start"]
            seen.add(root.parent_uuid)
            root = starts[root.parent_uuid]
        assert start.propagation_root_uuid == root.uuid
    for event in events:
        if event.kind == "mark" and event.parent_uuid is not None:
            assert event.parent_uuid in starts


class Worker:
    """A thread that does one thing at a time, in its own context."""

    def __init__(self):
        self._todo, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._work = None
        self._result = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            self._todo.acquire()
            if self._work is None:
                return
            try:
                self._result = (self._work(), None)
            except BaseException as error:
                self._result = (None, error)
            self._done.release()

    def __call__(self, work):
        self._work = work
        self._todo.release()
        if work is not None:
            self._done.acquire()
            value, error = self._result
            if error is not None:
                raise error
            return value
        self._thread.join()
        return None


class Place:
    """A context of its own: one of the tasks that would run on a thread."""

    def __init__(self, worker):
        self._worker = worker
        self._context = contextvars.Context()

    def __call__(self, work):
        return self._worker(lambda: self._context.run(work))


class ScopeMachine(RuleBasedStateMachine):
    """Opens, enters, leaves, closes and marks in any order, over three threads with two contexts each."""

    scopes = Bundle("scopes")
    places = st.integers(0, 5)

    @initialize()
    def start(self):
        self.relay = Relay()
        self.events = []
        self.relay.subscriber(self.events.append)
        self.workers = [Worker() for _ in range(3)]
        self.contexts = [Place(worker) for worker in self.workers for _ in range(2)]
        self.opened, self.closed, self.entered = {}, set(), set()

    def _note(self, scope):
        self.opened[scope.uuid] = scope
        return scope

    @rule(target=scopes, place=places, entered=st.booleans())
    def begin(self, place, entered):
        def work():
            scope = self.relay.scope("s", "function")
            return scope.__enter__() if entered else scope.open()

        scope = self._note(self.contexts[place](work))
        if entered:
            self.entered.add(scope.uuid)
        return scope

    @rule(target=scopes, place=places, parent=scopes)
    def open_under(self, place, parent):
        return self._note(self.contexts[place](lambda: self.relay.open_scope("c", "tool", parent=parent)))

    @rule(target=scopes, place=places)
    def open_root(self, place):
        return self._note(self.contexts[place](lambda: self.relay.open_scope("r", "agent", parent=None)))

    @rule(place=places, scope=scopes)
    def enter_later(self, place, scope):
        if not scope.closed and scope.uuid not in self.entered:
            self.entered.add(scope.uuid)
            self.contexts[place](scope.__enter__)

    @rule(place=places, scope=scopes)
    def work_under(self, place, scope):
        def work():
            outer = self.relay.current()
            with scope.activate():
                assert self.relay.current() is scope
                self.relay.mark("m")
            assert self.relay.current() is outer

        self.contexts[place](work)

    @rule(place=places, scope=scopes, error=st.sampled_from([None, ValueError("x"), asyncio.CancelledError()]))
    def leave(self, place, scope, error):
        self.contexts[place](lambda: scope.__exit__(type(error) if error else None, error, None))
        self.closed.add(scope.uuid)
        assert scope.closed

    @rule(place=places, scope=scopes)
    def close(self, place, scope):
        first = scope.uuid not in self.closed
        assert self.contexts[place](lambda: scope.close(output={"n": 1})) is first
        self.closed.add(scope.uuid)

    @rule(place=places)
    def mark_here(self, place):
        self.contexts[place](lambda: self.relay.mark("m"))

    @rule(place=places, scope=scopes)
    def mark_there(self, place, scope):
        self.contexts[place](lambda: scope.mark("m"))

    @rule(place=places, scope=scopes, fails=st.booleans())
    def call_under(self, place, scope, fails):
        def tool(args):
            self._note(self.relay.current())
            self.closed.add(self.relay.current().uuid)
            if fails:
                raise LookupError
            return args

        def work():
            try:
                self.relay.call_tool("t", {}, tool, parent=scope)
            except LookupError:
                assert fails

        self.contexts[place](work)

    @invariant()
    def current_scope_is_one_of_ours(self):
        for context in self.contexts:
            current = context(self.relay.current)
            assert current is None or current is self.opened[current.uuid]

    def teardown(self):
        report = self.relay.flush(timeout=20.0)
        try:
            assert report == (len(self.events), 0, 0, False)
            assert "faults" not in self.relay.stats()["counters"]
            assert_tree(self.events, self.opened.keys(), self.closed)
        finally:
            for worker in self.workers:
                worker(None)
            self.relay.shutdown(timeout=20.0)


TestScopeMachine = ScopeMachine.TestCase
TestScopeMachine.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


# A task is a list of steps; a list among the steps is a child task that runs beside the rest.
steps = st.recursive(
    st.lists(st.sampled_from(["scope", "leave", "yield", "mark", "tool", "fail"]), max_size=6),
    lambda inner: st.lists(st.one_of(st.sampled_from(["scope", "leave", "yield", "mark"]), inner), max_size=6),
    max_leaves=8,
)


@QUICK
@given(st.lists(steps, min_size=1, max_size=5), st.booleans())
def test_any_interleaving_of_tasks_gives_a_tree(tasks, in_threads):
    relay = Relay()
    events, opened, closed = [], set(), set()
    relay.subscriber(events.append)

    async def failing(args):
        await asyncio.sleep(0)
        raise LookupError

    async def run(todo):
        stack, children = [], []
        for step in todo:
            if isinstance(step, list):
                children.append(asyncio.create_task(run(step)))
            elif step == "scope":
                stack.append(relay.scope("s").__enter__())
                opened.add(stack[-1].uuid)
                assert relay.current() is stack[-1]
            elif step == "leave" and stack:
                closed.add(stack[-1].uuid)
                stack.pop().__exit__(None, None, None)
            elif step == "yield":
                await asyncio.sleep(0)
            elif step == "mark":
                relay.mark("m")
            elif step == "tool":
                assert relay.call_tool("t", 1, lambda args: args) == 1
            elif step == "fail":
                try:
                    await relay.acall_tool("t", 1, failing)
                except LookupError:
                    pass
        for scope in stack:  # outermost first: the wrong way round
            closed.add(scope.uuid)
            scope.__exit__(None, None, None)
        await asyncio.gather(*children)

    if in_threads:
        threads = [threading.Thread(target=asyncio.run, args=(run(todo),)) for todo in tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:

        async def main():
            await asyncio.gather(*(run(todo) for todo in tasks))

        asyncio.run(main())
    assert not relay.flush(timeout=20.0).timed_out
    tools = {event.uuid for event in events if event.kind == "scope" and event.name == "t"}
    assert_tree(events, opened | tools, closed | tools)
    relay.shutdown(timeout=20.0)


levels = st.lists(
    st.tuples(st.sampled_from(["guardrail", "request_intercept", "execution_intercept"]), st.integers(-3, 3)),
    max_size=6,
)


@QUICK
@given(levels, levels, st.integers(0, 20))
def test_middleware_runs_by_kind_then_priority_then_name(everywhere, local, blocker):
    relay = Relay()
    order = []

    def make(kind, label):
        if kind == "guardrail":

            def check(call):
                order.append(label)
                return Block("stop") if label[2] == f"n{blocker}" else None

            return check
        if kind == "request_intercept":

            def edit(call):
                order.append(label)
                return call.replace(request=[*call.request, label])

            return edit

        def around(call):
            order.append(label)
            result = yield call
            order.append(("after", label))
            return result

        return around

    registered = []
    with relay.scope("s") as scope:
        for level, entries in ((relay, everywhere), (scope, local)):
            for kind, priority in entries:
                label = (kind, priority, f"n{len(registered)}")
                level.register(kind, make(kind, label), target="tool", name=label[2], priority=priority)
                registered.append(label)

        def expected(kind):
            return sorted((label for label in registered if label[0] == kind), key=lambda label: label[1:])

        guardrails = expected("guardrail")
        names = [label[2] for label in guardrails]
        if f"n{blocker}" in names:
            try:
                relay.call_tool("t", [], lambda request: request)
            except Exception as error:
                assert error.guardrail == f"n{blocker}"
            else:
                raise AssertionError("it was not blocked")
            assert order == guardrails[: names.index(f"n{blocker}") + 1]
            return
        result = relay.call_tool("t", [], lambda request: request)
    requests, executions = expected("request_intercept"), expected("execution_intercept")
    assert result == requests
    assert order == [*guardrails, *requests, *executions, *(("after", label) for label in reversed(executions))]
