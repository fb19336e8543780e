"""Marks of chunks that wait side by side: none is lost, none comes twice, and all events keep their order."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core import Relay
from relay_core.chunk_marks import RUN_CHUNKS, ChunkRun
from relay_core.settings import Queue, Settings
from relay_core.stainless.blocks import counted
from relay_core.stainless.wire import Wire
from tests.core.test_overflow import account, jammed


def chunks_of(relay, count, between=lambda n: None):
    """Read a stream of numbers, and do something after each."""
    for n in relay.stream_llm("m", {}, lambda request: iter(range(count))):
        between(n)


def indexes(events):
    return [event.data["chunk_index"] for event in events if event.name == "llm.chunk"]


def test_a_burst_waits_in_runs_and_all_of_it_comes():
    relay, jam, _, root = jammed("block", max_events=100_000)
    events = []
    relay.subscriber(events.append, name="events")
    chunks_of(relay, 200)
    waiting = relay.dispatcher.queue
    runs = [item for item in waiting if isinstance(item, ChunkRun)]
    assert [len(run) for run in runs] == [RUN_CHUNKS, RUN_CHUNKS, RUN_CHUNKS, 200 - 3 * RUN_CHUNKS]
    assert account(relay, "events")["pending"] == 202
    jam.free.set()
    assert relay.flush(timeout=20.0).dropped == 0
    assert indexes(events) == list(range(200))
    times = [event.timestamp_ns for event in events]
    uuids = [event.uuid for event in events if event.kind == "mark"]
    assert times == sorted(times)
    assert uuids == sorted(set(uuids))
    root.close()
    relay.shutdown(timeout=5.0)


def test_identities_of_the_user_that_run_out_are_an_error_as_for_scopes():
    relay = Relay(ids=iter(["id-1", "id-2"]).__next__)
    relay.subscriber(print)
    with pytest.raises(RuntimeError, match="StopIteration"):
        chunks_of(relay, 2)
    relay.shutdown(timeout=5.0)


def test_a_clock_of_the_user_that_runs_out_is_an_error():
    relay = Relay(clock=iter(range(1_000, 9_000, 1_000)).__next__)
    relay.subscriber(print)
    with pytest.raises(RuntimeError, match="StopIteration"):
        chunks_of(relay, 20)


def test_identities_keep_the_order_also_within_a_millisecond():
    """A run that the worker has emptied is queued again behind what came in between."""
    relay = Relay()
    events = []
    relay.subscriber(events.append)

    def between(n):
        if not n % 3:
            relay.mark("between")
        if not n % 5:
            relay.flush(timeout=5.0)

    chunks_of(relay, 3 * RUN_CHUNKS, between)
    relay.flush(timeout=20.0)
    uuids = [event.uuid for event in events if event.kind == "mark"]
    assert len(uuids) == 4 * RUN_CHUNKS
    assert uuids == sorted(set(uuids))
    relay.shutdown(timeout=5.0)


def test_what_is_emitted_between_chunks_stays_between_them():
    relay, jam, seen, _ = jammed("block", max_events=100_000)
    chunks_of(relay, 9, lambda n: relay.mark(f"after {n}") if n % 3 == 2 else None)
    jam.free.set()
    relay.flush(timeout=20.0)
    burst = ["llm.chunk"] * 3
    assert seen == ["root", "m", *burst, "after 2", *burst, "after 5", *burst, "after 8", "m"]


def test_two_streams_in_turn_keep_their_chunks_apart():
    relay = Relay()
    events = []
    relay.subscriber(events.append)
    streams = [relay.stream_llm(name, {}, lambda request: iter(range(300))) for name in "ab"]
    for _ in zip(*streams, strict=True):
        pass
    relay.flush(timeout=20.0)
    for name in "ab":
        scope = next(event for event in events if event.name == name)
        assert indexes(event for event in events if event.parent_uuid == scope.uuid) == list(range(300))
    relay.shutdown(timeout=5.0)


def test_the_worker_may_take_a_run_at_any_moment():
    """Threads change places all the time; flushes and marks come in between."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    relay = Relay(Settings(queue=Queue(max_events=1_000_000)))
    events = []
    relay.subscriber(events.append)
    try:

        def read(name):
            order = []
            for n in relay.stream_llm(name, {}, lambda request: iter(range(3_000))):
                order.append(("llm.chunk", n))
                if not n % 7:
                    relay.mark("between", data={"n": n})
                    order.append(("between", n))
            found[name] = order

        found = {}
        threads = [threading.Thread(target=read, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            relay.flush(timeout=1.0)
        report = relay.flush(timeout=30.0)
    finally:
        sys.setswitchinterval(interval)
    assert (report.pending, report.dropped) == (0, 0)
    for name, order in found.items():
        scope = next(event for event in events if event.name == name)
        own = [event for event in events if event.parent_uuid == scope.uuid and event.name == "llm.chunk"]
        assert indexes(own) == [n for kind, n in order if kind == "llm.chunk"]
    between = [event.data["n"] for event in events if event.name == "between"]
    assert len(between) == sum(kind == "between" for order in found.values() for kind, _ in order)
    assert report.delivered == len(events) == 3 * 3_000 + len(between) + 6
    relay.shutdown(timeout=5.0)


@pytest.mark.parametrize("policy", ["block", "drop_newest", "drop_oldest"])
def test_a_queue_that_is_full_of_chunks(policy):
    """What is given up is counted one by one, and what waits stays within a quarter more than the limit."""
    most = 4 * RUN_CHUNKS * 2  # two runs
    relay, jam, seen, root = jammed(policy, max_events=most, block_timeout=0.0)
    chunks_of(relay, 3 * most)
    found = account(relay)
    assert found["accepted"] == found["pending"] + sum(found["dropped"].values()) == 3 * most + 3
    assert most <= found["pending"] <= most * 5 / 4 + 2
    jam.free.set()
    report = relay.flush(timeout=20.0)
    assert (report.pending, report.delivered) == (0, len(seen))
    assert report.delivered + report.dropped == 3 * most + 3
    root.close()
    relay.shutdown(timeout=5.0)


def test_the_oldest_chunk_of_a_run_goes_first():
    relay, jam, _, root = jammed("drop_oldest", max_events=8 * RUN_CHUNKS)
    events = []
    relay.subscriber(events.append, name="events")
    chunks_of(relay, 10)
    for n in range(8 * RUN_CHUNKS):
        root.mark(f"m{n}")
    jam.free.set()
    relay.flush(timeout=20.0)
    dropped = account(relay, "events")["dropped"]["queue_full"]
    left = indexes(events)
    assert left == list(range(10))[10 - len(left) :]
    assert len(events) + dropped == 10 + 8 * RUN_CHUNKS + 2
    relay.shutdown(timeout=5.0)


def test_chunks_after_a_shutdown_are_counted_as_dropped():
    relay = Relay()
    relay.subscriber(lambda event: None, name="seen")
    chunks_of(relay, 20, lambda n: relay.shutdown(timeout=5.0) if n == 9 else None)
    assert account(relay)["delivered"] == 11
    assert account(relay)["dropped"] == {"shutdown": 11}


def test_a_shutdown_gives_up_what_waits_in_runs():
    relay, jam, _, _ = jammed("block", max_events=100_000)
    chunks_of(relay, 100)
    report = relay.shutdown(timeout=0.05)
    jam.free.set()
    assert report.timed_out
    found = account(relay)
    assert found["accepted"] == found["delivered"] + sum(found["dropped"].values()) + found["pending"] == 103


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # other threads run: that is what is tested
def test_a_stream_that_goes_on_in_a_forked_child(tmp_path):
    relay, jam, _, _ = jammed("block", max_events=100_000)
    stream = relay.stream_llm("m", {}, lambda request: iter(range(20)))
    for _ in range(5):
        next(stream)
    if os.fork() == 0:
        code = 1
        try:
            seen = []
            jam.free.set()
            relay.subscriber(lambda event: seen.append(event.data["chunk_index"]), name="child")
            taken = [next(stream) for _ in range(3)]
            relay.flush(timeout=10.0)
            (tmp_path / "said").write_text(f"{taken} {account(relay)['delivered']}")
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    assert (tmp_path / "said").read_text() == "[5, 6, 7] 3"
    jam.free.set()
    list(stream)
    assert relay.flush(timeout=20.0).dropped == 0
    assert account(relay)["delivered"] == 1 + 20 + 2
    relay.shutdown(timeout=5.0)


def test_a_slow_stream_takes_no_new_run_for_each_chunk():
    relay = Relay()
    events = []
    relay.subscriber(events.append)
    put, runs = relay.dispatcher.put_run, []
    relay.dispatcher.put_run = lambda run: (runs.append(run), put(run))

    def settle(n):
        end = time.monotonic() + 20
        while len(events) < n + 2 and time.monotonic() < end:
            time.sleep(0.001)

    chunks_of(relay, 10, settle)
    relay.flush(timeout=20.0)
    assert indexes(events) == list(range(10))
    assert len(runs) == 10
    assert len({id(run) for run in runs}) == 1
    relay.shutdown(timeout=5.0)


EVENTS = st.lists(st.sampled_from([b"data: 1", b"event: x\ndata: {}", b": hello"]), max_size=8)


@given(events=EVENTS, rest=st.sampled_from([b"", b"da"]), cuts=st.lists(st.integers(0, 150), max_size=8))
def test_events_are_found_however_the_bytes_are_cut(events, rest, cuts):
    data = b"".join(event + b"\n\n" for event in events) + rest
    places = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    wire = Wire((), decodes=False)
    wire.events = True
    found = [part for piece in [*pieces, None] for part in wire.parts(piece)]
    assert b"".join(found) == data
    assert len(found) == counted(pieces)
    assert all(part.endswith(b"\n\n") for part in found[: len(events)])
