"""Scopes: how they open and close, what their events say, and how the current one follows tasks and threads."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

import relay_core as relay
from relay_core.payloads import Frozen, freeze
from relay_core.scopes import RemoteScope
from tests.core.golden_scenario import Recording


def test_a_scope_gives_a_start_and_an_end(rec):
    with rec.relay.scope("trip", "agent", input={"q": 1}, metadata={"m": 1}, attributes=["remote", "parallel"]) as trip:
        trip.output = {"a": 2}
    start, end = rec.events
    assert (start.data, end.data) == ({"q": 1}, {"a": 2})
    assert start.uuid == end.uuid == trip.uuid
    assert start.attributes == end.attributes == ["parallel", "remote"]
    assert end.metadata == {"m": 1, "otel.status_code": "OK", "relay.status": "ok"}
    assert (trip.closed, trip.status, trip.parent_uuid, trip.root_uuid) == (True, "ok", None, trip.uuid)
    assert end.timestamp_ns >= start.timestamp_ns + 1_000


async def test_async_with_is_the_same(rec):
    async with rec.relay.scope("outer"):
        async with rec.relay.scope("inner"):
            await asyncio.sleep(0)
    assert rec.shape() == ["+function outer", "+function inner", "-function inner ok", "-function outer ok"]
    assert rec.parents() == {"outer": None, "inner": "outer"}


def test_metadata_is_shown_as_it_is_at_start_and_at_end(rec):
    given = {"a": 1}
    with rec.relay.scope("s", metadata=given) as scope:
        scope.metadata["b"] = 2
        scope.metadata["a"] = 3
    assert given == {"a": 1}
    assert rec.start("s").metadata == {"a": 1}
    assert rec.end("s").metadata == {"a": 3, "b": 2, "otel.status_code": "OK", "relay.status": "ok"}


def test_input_and_output_are_shown_as_they_were(rec):
    data = {"list": [1]}
    with rec.relay.scope("s", input=data) as scope:
        data["list"].append(2)
        scope.output = data
    data["list"].append(3)
    assert rec.start("s").data == {"list": [1]}
    assert rec.end("s").data == {"list": [1, 2]}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ValueError("bad"), "error", "ERROR"),
        (asyncio.CancelledError(), "cancelled", "UNSET"),
        (GeneratorExit(), "cancelled", "UNSET"),
        (KeyboardInterrupt(), "cancelled", "UNSET"),
        (SystemExit(0), "ok", "OK"),
        (SystemExit(None), "ok", "OK"),
        (SystemExit(1), "error", "ERROR"),
        (relay.Blocked("no"), "blocked", "UNSET"),
        (BaseException("odd"), "error", "ERROR"),
    ],
)
def test_the_status_follows_the_exception(rec, error, status, code):
    with pytest.raises(type(error)) as caught, rec.relay.scope("s") as scope:
        raise error
    assert caught.value is error
    metadata = rec.end("s").metadata
    assert (scope.status, rec.end("s").status, metadata["otel.status_code"]) == (status, status, code)
    assert ("error.type" in metadata) is (code != "OK")


def test_an_error_tells_its_type_and_message(rec):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    for name, error in (("s", ValueError("bad")), ("long", ValueError("x" * 5000)), ("mute", Mute())):
        with pytest.raises(type(error)), rec.relay.scope(name):
            raise error
    assert rec.end("s").metadata["error.type"] == "ValueError"
    assert rec.end("s").metadata["otel.status_description"] == "bad"
    assert len(rec.end("long").metadata["otel.status_description"]) < 2_100
    assert "cannot be read" in rec.end("mute").metadata["otel.status_description"]


def test_own_status_for_control_flow(rec):
    class Interrupt(Exception):
        pass

    class Handoff(Interrupt):
        pass

    rec.relay.map_status(Interrupt, "interrupted")
    rec.relay.map_status(Handoff, "handoff")
    for error in (Interrupt, Handoff, type("Deeper", (Interrupt,), {})):
        with pytest.raises(error), rec.relay.scope(error.__name__):
            raise error
    assert [rec.end(n).status for n in ("Interrupt", "Handoff", "Deeper")] == ["interrupted", "handoff", "interrupted"]
    assert rec.end("Handoff").metadata["otel.status_code"] == "UNSET"


# -- closing --------------------------------------------------------------------------------------------------------------


def test_a_second_close_is_counted_and_does_nothing(rec):
    scope = rec.relay.open_scope("s", parent=None)
    assert scope.close(output=1, status="handoff") is True
    assert scope.close(output=2, error=ValueError()) is False
    assert (rec.end("s").data, rec.end("s").status) == (1, "handoff")
    assert rec.relay.stats()["counters"] == {"double_closes": 1}


def test_close_takes_everything_the_end_event_shows(rec):
    scope = rec.relay.open_scope("s", "llm", metadata={"a": 1, "b": 1}, profile={"model_name": "m"})
    scope.close(output="x", status="interrupted", metadata={"b": 2}, profile={"model_name": "n"})
    assert rec.start("s").category_profile == {"model_name": "m"}
    assert rec.end("s").category_profile == {"model_name": "n"}
    assert rec.end("s").metadata == {"a": 1, "b": 2, "otel.status_code": "UNSET", "relay.status": "interrupted"}


def test_an_unknown_status_is_an_error(rec):
    scope = rec.relay.open_scope("s")
    scope.close(status="splendid")
    assert rec.end("s").status == "error"


def test_close_in_any_order_and_after_the_parent(rec):
    a = rec.relay.open_scope("a")
    b = rec.relay.open_scope("b", parent=a)
    c = rec.relay.open_scope("c", parent=b)
    assert [s.close() for s in (a, c, b)] == [True, True, True]
    late = rec.relay.open_scope("late", parent=a)
    late.close()
    assert rec.parents() == {"a": None, "b": "a", "c": "b", "late": "a"}
    assert late.root_uuid == a.uuid


def test_of_many_closers_one_wins(rec):
    scope = rec.relay.open_scope("s")
    won = []
    gate = threading.Barrier(8)

    def close():
        gate.wait()
        won.append(scope.close())

    threads = [threading.Thread(target=close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    assert rec.relay.stats()["counters"] == {"double_closes": 7}


def test_exits_in_the_wrong_order_leave_nothing_current(rec):
    a, b = rec.relay.scope("a"), rec.relay.scope("b")
    a.__enter__()
    b.__enter__()
    a.__exit__(None, None, None)
    assert rec.relay.current() is None
    b.__exit__(None, None, None)
    assert rec.relay.current() is None
    assert rec.parents() == {"a": None, "b": "a"}


def test_exit_in_another_thread(rec):
    with rec.relay.scope("outer") as outer:
        inner = rec.relay.scope("inner")
        inner.__enter__()
        thread = threading.Thread(target=inner.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
        assert (inner.status, outer.status) == ("ok", None)
    assert rec.relay.current() is None
    assert rec.shape()[-2:] == ["-function inner ok", "-function outer ok"]


def test_a_scope_that_ends_inside_a_call_does_not_trouble_it(rec):
    stack = ExitStack()
    stack.enter_context(rec.relay.scope("a"))
    assert rec.relay.call_tool("t", {}, lambda args: stack.close() or 1) == 1
    assert rec.shape() == ["+function a", "+tool t", "-function a ok", "-tool t ok"]


def test_a_scope_that_ends_under_an_activation_does_not_trouble_it(rec):
    a, b = rec.relay.scope("a"), rec.relay.open_scope("b")
    a.__enter__()
    with b.activate():
        a.__exit__(None, None, None)
        assert rec.relay.current() is b
    b.close()


def test_scopes_leaked_by_a_tool_do_not_become_the_callers(rec):
    leaked = []

    def leaky(args):
        leaked.append(rec.relay.scope("leaked").__enter__())

    with rec.relay.scope("outer") as outer:
        rec.relay.call_tool("t", {}, leaky)
        assert rec.relay.current() is outer
        rec.relay.mark("after")
    assert rec.relay.current() is None
    leaked[0].close()
    assert rec.parents() == {"outer": None, "t": "outer", "leaked": "t", "after": "outer"}


def test_misuse_is_told(rec):
    with pytest.raises(relay.UsageError, match="no category 'agnet'"):
        rec.relay.scope("s", "agnet")
    with pytest.raises(relay.UsageError, match="text"):
        rec.relay.scope(3)
    scope = rec.relay.open_scope("s")
    with pytest.raises(relay.UsageError, match="opened before"):
        scope.open()
    with scope, pytest.raises(relay.UsageError, match="entered before"), scope:
        pass
    assert rec.relay.current() is None
    with pytest.raises(relay.UsageError, match="has ended"), scope:
        pass


# -- parents and times -----------------------------------------------------------------------------------------------------


def test_explicit_parents(rec):
    remote = RemoteScope("0190c0de-0000-7000-8000-000000000001", root_uuid="0190c0de-0000-7000-8000-000000000002")
    elsewhere = rec.relay.open_scope("elsewhere", parent=None)
    with rec.relay.scope("outer"):
        with rec.relay.scope("root", parent=None) as root, rec.relay.scope("under") as under:
            assert (root.parent_uuid, under.parent_uuid, under.root_uuid) == (None, root.uuid, root.uuid)
        with rec.relay.scope("other", parent=elsewhere) as other:
            assert other.parent_uuid == elsewhere.uuid
        with rec.relay.scope("far", parent=remote) as far, rec.relay.scope("below") as below:
            assert (far.parent_uuid, far.root_uuid, below.root_uuid) == (
                remote.uuid,
                remote.root_uuid,
                remote.root_uuid,
            )
        rec.relay.mark("m", parent=None)
    assert rec.find("m").parent_uuid is None
    assert rec.find("m").propagation_root_uuid is None
    assert rec.start("far").parent_uuid == remote.uuid
    assert rec.start("below").propagation_root_uuid == remote.root_uuid


@pytest.mark.parametrize("parent", ["0190c0de-0000-7000-8000-000000000001", 7, relay.scope("never opened")])
def test_what_cannot_be_a_parent_is_told(rec, parent):
    with pytest.raises(relay.UsageError, match="scope 's': parent is"):
        rec.relay.open_scope("s", parent=parent)
    assert rec.shape() == []


def test_attributes_are_sorted_words(rec):
    rec.relay.open_scope("one", attributes="remote")
    rec.relay.open_scope("many", attributes=["z", "a", "z", 1])
    assert (rec.start("one").attributes, rec.start("many").attributes) == (["remote"], ["1", "a", "z"])


def test_explicit_times(rec):
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    scope = rec.relay.open_scope("s", timestamp=at)
    rec.relay.mark("m", timestamp=at.astimezone(tz=None))
    scope.close(timestamp=at + timedelta(seconds=1.5))
    assert rec.start("s").timestamp == rec.find("m").timestamp == "2026-01-02T03:04:05.678901000+00:00"
    assert rec.end("s").timestamp == "2026-01-02T03:04:07.178901000+00:00"
    rec.relay.open_scope("ns", timestamp=1_700_000_000_123_456_789).close(timestamp=1_700_000_000_123_456_000)
    assert rec.start("ns").timestamp_ns == 1_700_000_000_123_456_789
    assert rec.end("ns").timestamp_ns == 1_700_000_000_123_457_789  # never before the start


@pytest.mark.parametrize("bad", [datetime(2026, 1, 1), "2026-01-01", 1.5])  # noqa: DTZ001  # naive is the point
def test_other_times_are_misuse_whether_observed_or_not(rec, bad):
    for runtime in (rec.relay, relay.Relay()):
        with pytest.raises(relay.UsageError, match="timestamp"):
            runtime.mark("m", timestamp=bad)
        scope = runtime.scope("s", timestamp=bad)
        for _ in range(2):
            with pytest.raises(relay.UsageError, match="timestamp"), scope:
                raise AssertionError("entered")
        assert runtime.current() is None


def test_a_wrong_time_does_not_stop_an_end(rec):
    scope = rec.relay.open_scope("s")
    assert scope.close(timestamp=datetime(2026, 1, 1)) is True  # noqa: DTZ001  # naive is the point
    assert rec.end("s").timestamp_ns > rec.start("s").timestamp_ns
    assert rec.relay.stats()["counters"] == {"bad_timestamps": 1}


# -- the current scope -----------------------------------------------------------------------------------------------------


async def test_tasks_inherit_the_current_scope(rec):
    async def work(name, delay):
        async with rec.relay.scope(name):
            await asyncio.sleep(delay)
            with rec.relay.scope(f"{name}.in"):
                await asyncio.sleep(delay)

    async with rec.relay.scope("root"):
        await asyncio.gather(work("w1", 0.002), work("w2", 0.001), work("w3", 0))
        async with asyncio.TaskGroup() as group:
            group.create_task(work("t1", 0.001))
            group.create_task(work("t2", 0))
        task = asyncio.create_task(work("late", 0.005))
        await asyncio.sleep(0)
        await asyncio.to_thread(lambda: rec.relay.scope("threaded").__enter__().close())
        assert rec.relay.current().name == "root"
    await task
    parents = rec.parents()
    assert {n for n, p in parents.items() if p == "root"} == {"w1", "w2", "w3", "t1", "t2", "late", "threaded"}
    assert all(parents[f"{n}.in"] == n for n in ("w1", "w2", "w3", "t1", "t2", "late"))


def test_a_plain_thread_starts_at_a_root_and_bind_carries_the_scope(rec):
    with rec.relay.scope("root") as root:
        seen = []
        for fn in (lambda: seen.append(rec.relay.current()), rec.relay.bind(lambda: seen.append(rec.relay.current()))):
            thread = threading.Thread(target=fn)
            thread.start()
            thread.join()
    assert seen == [None, root]


def test_wrapped_executors_carry_the_scope_of_each_submission(rec):
    def work(name):
        with rec.relay.scope(name):
            return rec.relay.current().name

    with ThreadPoolExecutor(2) as pool:
        wrapped = rec.relay.wrap_executor(pool)
        with rec.relay.scope("a"):
            first = wrapped.submit(work, "one")
            mapped = list(wrapped.map(work, ["m1", "m2"]))
        with rec.relay.scope("b"):
            second = wrapped.submit(work, name="two")
        assert (first.result(), second.result(), mapped) == ("one", "two", ["m1", "m2"])
        assert pool.submit(rec.relay.current).result() is None
    parents = rec.parents()
    assert (parents["one"], parents["m1"], parents["m2"], parents["two"]) == ("a", "a", "a", "b")


def test_an_executor_of_processes_is_refused_with_the_way_to_do_it():
    with ProcessPoolExecutor(1) as pool, pytest.raises(relay.UsageError, match=r"relay\.inject\(\)"):
        relay.wrap_executor(pool)


def test_activate_makes_current_for_a_block_and_does_not_close(rec):
    scope = rec.relay.open_scope("s", parent=None)
    assert rec.relay.current() is None
    with rec.relay.scope("outer") as outer:
        with scope.activate() as active, rec.relay.scope("in"):
            assert active is scope
        assert rec.relay.current() is outer
    assert not scope.closed
    scope.close()
    assert rec.parents()["in"] == "s"


def test_resolvers_tell_scopes_below_the_current_one(rec):
    with rec.relay.scope("outer") as outer:
        below = rec.relay.open_scope("below")
        apart = rec.relay.open_scope("apart", parent=None)
        told = [below]
        remove = rec.relay.add_resolver(lambda: told[0])
        assert rec.relay.current() is below
        with rec.relay.scope("child"):
            assert rec.relay.current().name == "child"  # the context is deeper than what the resolver tells
        told[0] = apart
        assert rec.relay.current() is outer
        told[0] = None
        assert rec.relay.current() is outer
        told[0] = below
        remove()
        assert rec.relay.current() is outer
        for scope in (below, apart):
            scope.close()
    assert rec.parents()["child"] == "below"


def test_a_failing_resolver_is_a_fault_of_relay_only(rec):
    def broken():
        raise RuntimeError("no")

    remove = rec.relay.add_resolver(broken)
    with rec.relay.scope("s") as scope:
        assert rec.relay.current() is scope
    remove()
    rec.faults = rec.relay.stats()["counters"]["faults"]
    assert rec.faults == 2


# -- ids -------------------------------------------------------------------------------------------------------------------


def test_ids_are_version_7_and_rise(rec):
    scopes = []
    for i in range(200):
        with rec.relay.scope(f"s{i}") as scope:
            scopes.append(scope)
    ids = [scope.uuid for scope in scopes]
    assert ids == sorted(ids)
    assert len(set(ids)) == 200
    assert {(text[14], text[19] in "89ab") for text in ids} == {("7", True)}


def test_ids_of_threads_do_not_meet(rec):
    ids = []

    def draw():
        ids.extend([rec.relay.open_scope("s") for _ in range(300)])

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({scope.uuid for scope in ids}) == 1_200


def in_child(work):
    """What `work` gives as text in a forked child."""
    receive, send = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(send, str(work()).encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


forking = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@forking
def test_a_forked_child_draws_other_ids(rec):
    def work():
        return rec.relay.open_scope("child", parent=None).uuid

    theirs, mine = in_child(work), work()
    assert theirs[15:23] != mine[15:23]  # the salt


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@forking
def test_a_forked_child_does_not_end_the_parents_scopes(rec):
    def work():
        with rec.relay.scope("child"):
            pass
        rec.relay.current().close()
        return ",".join(rec.shape())

    with rec.relay.scope("parent"):
        rec.clear()
        assert in_child(work) == "+function child,-function child ok"
    assert rec.shape() == ["-function parent ok"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@forking
def test_a_scope_keeps_its_id_in_a_forked_child(rec):
    with rec.relay.scope("parent") as parent:
        theirs = in_child(lambda: parent.uuid)
        assert theirs == parent.uuid


def test_own_clock_and_ids():
    ticks = iter(range(1_000_000_000, 9_000_000_000, 1_000_000))
    drawn = (f"0190c0de-0000-7000-8000-{i:012d}" for i in range(1, 10))
    with Recording(clock=lambda: next(ticks), ids=lambda: next(drawn)) as rec:
        with rec.relay.scope("s") as scope:
            rec.relay.mark("m")
        assert scope.uuid.endswith("001")
        assert rec.find("m").uuid.endswith("002")
        assert rec.start("s").timestamp == "1970-01-01T00:00:01.000000000+00:00"
        assert rec.end("s").timestamp_ns >= rec.find("m").timestamp_ns


def test_runtimes_do_not_see_each_other(rec):
    other = relay.Relay()
    with rec.relay.scope("mine"), other.scope("theirs") as theirs:
        assert theirs.parent_uuid is None
        assert relay.current() is None
    assert rec.shape() == ["+function mine", "-function mine ok"]


def test_a_dropped_open_scope_costs_nothing(rec):
    rec.relay.open_scope("gone")
    gc.collect()
    assert rec.shape() == ["+function gone"]


def test_the_only_subscriber_may_come_to_a_scope_that_is_open():
    runtime, seen = relay.Relay(), []
    scope = runtime.open_scope("late", parent=None)
    scope.subscriber(lambda event: seen.append((event.name, event.scope_category, event.data)))
    scope.close(output=1)
    runtime.flush(timeout=20.0)
    assert seen == [("late", "end", 1)]
    runtime.shutdown(timeout=20.0)


def test_a_subscriber_of_the_runtime_that_comes_late_does_not_see_the_end_of_what_it_saw_no_start_of():
    runtime, seen = relay.Relay(), []
    scope = runtime.open_scope("late", parent=None)
    scope.sanitizer(lambda event: event)
    runtime.subscriber(seen.append)
    scope.close()
    runtime.flush(timeout=20.0)
    assert seen == []
    runtime.shutdown(timeout=20.0)


@pytest.mark.parametrize("metadata", ["abc", 5, [1]])
def test_metadata_that_is_no_mapping_is_misuse(metadata):
    with pytest.raises(relay.UsageError, match=r"metadata is a mapping, got"):
        relay.Relay().scope("trip", metadata=metadata)


def test_headers_that_are_no_mapping_are_misuse():
    with pytest.raises(relay.UsageError, match=r"'local': headers is a mapping, got list"):
        relay.Relay().call_llm("local", {}, lambda request: None, headers=[("a", "b")])


@pytest.mark.parametrize("observed", [True, False])
def test_a_profile_that_is_no_mapping_is_misuse(runtime, observed):
    if observed:
        runtime.subscriber(lambda event: None)
    with pytest.raises(relay.UsageError, match=r"tool call 't': profile is a mapping, got str"):
        runtime.call_tool("t", {}, lambda args: None, profile="abc", tool_call_id="c1")
    with pytest.raises(relay.UsageError, match=r"LLM call 'm': profile is a mapping, got list"):
        runtime.call_llm("m", {}, lambda request: None, profile=["a"], model="big")


@pytest.mark.parametrize("given", ["abc", ["a"], 5])
@pytest.mark.parametrize("field", ["metadata", "profile"])
def test_an_end_does_not_fail_for_what_is_no_mapping(rec, field, given):
    assert rec.relay.open_scope("trip").close(output=1, **{field: given})
    assert (rec.end("trip").data, rec.end("trip").status) == (1, "ok")
    assert rec.relay.stats()["counters"] == {"bad_mappings": 1}


def test_attributes_that_are_no_words_are_misuse(runtime):
    with pytest.raises(relay.UsageError, match='attributes are words such as "remote", got int'):
        runtime.call_tool("t", {}, lambda args: None, attributes=5)


@pytest.mark.parametrize("field", ["metadata", "profile"])
def test_a_marks_mappings_are_mappings(field):
    with pytest.raises(relay.UsageError, match=rf"mark 'm': {field} is a mapping, got str"):
        relay.Relay().mark("m", **{field: "abc"})


@pytest.mark.parametrize("schema", ["abc", ["name"], {"name": "n"}, {"name": "n", "version": 1}])
def test_a_marks_data_schema_has_name_and_version(schema):
    with pytest.raises(relay.UsageError, match="data_schema needs name and version"):
        relay.Relay().mark("m", data_schema=schema)


def test_a_frozen_profile_is_merged_like_any_other():
    runtime, seen = relay.Relay(), []
    runtime.subscriber(seen.append)
    for frozen in (Frozen({"model_name": "m"}), Frozen(freeze({"model_name": "m"}))):
        runtime.open_scope("call", "llm", profile=frozen).close(profile={"tool_call_id": "t"})
    runtime.flush(timeout=20.0)
    assert [event.category_profile for event in seen if event.scope_category == "end"] == [
        {"model_name": "m", "tool_call_id": "t"}
    ] * 2
    runtime.shutdown(timeout=20.0)
