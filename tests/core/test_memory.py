"""What scopes and queued events cost, and that nothing piles up."""

from __future__ import annotations

import gc
import sys
import threading
import time
import tracemalloc

import pytest

from relay_core import Relay
from relay_core.settings import Queue, Settings
from tests.waiting import collected, wait_for, wait_until_gone


def bytes_of(make, count):
    """Give the bytes that stay allocated per object after making `count` of them."""
    make(100)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = make(count)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    del kept
    return (after - before) / count


def test_an_open_scope_takes_at_most_600_bytes():
    relay = Relay()
    root = relay.open_scope("root", "agent", parent=None)

    def make(count):
        return [relay.open_scope("step", parent=root) for _ in range(count)]

    assert bytes_of(make, 10_000) <= 600


def test_an_open_scope_takes_no_more_while_somebody_subscribes():
    relay = Relay()
    relay.subscriber(lambda event: None)
    root = relay.open_scope("root", "agent", parent=None)

    def make(count):
        made = [relay.open_scope("step", parent=root, input={"n": 1}) for _ in range(count)]
        assert not relay.flush(timeout=20.0).timed_out
        return made

    assert bytes_of(make, 10_000) <= 600
    relay.shutdown(timeout=20.0)


@pytest.mark.parametrize("payload", [None, {"n": 1, "text": "hello"}])
def test_a_queued_event_takes_at_most_600_bytes_beside_its_payload(payload, monkeypatch):
    monkeypatch.setattr("relay_core.dispatch._HUNG", 600.0)  # the sanitizer below is to hold everything up
    relay = Relay(Settings(queue=Queue(policy="drop_newest")))
    free, inside = threading.Event(), threading.Event()

    def jam(event):
        inside.set()
        free.wait(30)
        return event

    relay.sanitizer(jam)
    relay.subscriber(lambda event: None, name="seen")
    relay.mark("first")
    assert inside.wait(20)
    root = relay.open_scope("root", "agent", parent=None)

    def make(count):
        for _ in range(count):
            root.mark("m", data=payload)

    allowance = 0 if payload is None else 250
    assert bytes_of(make, 10_000) <= 600 + allowance
    assert relay.stats()["subscribers"]["seen"]["pending"] >= 10_000
    free.set()
    relay.shutdown(timeout=20.0)


def churn(relay, count):
    for n in range(count // 4):
        with relay.scope(f"job{n % 50}", "agent", input={"n": n}, parent=None) as job:
            job.metadata["n"] = n
            relay.call_tool("tool", {"n": n}, lambda args: args)
            if not n % 100:
                with job.subscriber(lambda event: None):
                    relay.mark("m", data=[n])
            if not n % 5_000:
                relay.flush(timeout=20.0)
    relay.flush(timeout=20.0)


def growth(count):
    """Give the blocks of memory that stay allocated after `count` events, over those after the first few."""
    relay = Relay()
    seen = [0]

    def on_event(event):
        seen[0] += 1
        event.to_json()

    relay.subscriber(on_event)
    relay.guardrail("tool")(lambda call: None)
    churn(relay, 16_000)
    gc.collect()
    before = sys.getallocatedblocks()
    churn(relay, count)
    gc.collect()
    grown = sys.getallocatedblocks() - before
    assert seen[0] >= count
    relay.shutdown(timeout=20.0)
    return grown


def test_nothing_grows_with_the_number_of_events():
    assert growth(100_000) < 500


def test_a_removed_subscriber_is_let_go():
    relay = Relay()

    class Exporter:
        def on_event(self, event):
            time.sleep(0.03)  # long enough for a thread of its own

    def count():
        return sum(type(obj) is Exporter for obj in gc.get_objects())

    for _ in range(3):
        with relay.subscriber(Exporter(), name="let-go"):  # no other test has a thread of this name
            for _ in range(9):
                relay.mark("m")
            relay.flush(timeout=20.0)
    wait_for(collected(lambda: count() <= 1), 30.0)  # one collection takes long in a big process
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == "relay-let-go"])
    assert len(relay.stats()["subscribers"]) <= 1
    relay.shutdown(timeout=20.0)


def test_a_runtime_can_be_let_go():
    import weakref

    def use():
        relay = Relay()
        relay.subscriber(lambda event: None)
        with relay.scope("s"):
            pass
        relay.shutdown(timeout=20.0)
        return weakref.ref(relay)

    wait_until_gone(use(), 30.0)  # one collection takes long in a big process on a busy machine
