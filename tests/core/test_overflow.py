"""A full queue: what each policy gives up, how long a caller waits, and accounts that add up all the time."""

from __future__ import annotations

import threading
import time

import pytest

from relay_core import Relay
from relay_core.settings import Queue, Settings
from tests.waiting import wait_for


class Gate:
    """A subscriber that is stuck until it is let go."""

    def __init__(self, name="gate", **attributes):
        self.name = name
        self.free = threading.Event()
        self.inside = threading.Event()
        self.seen = []
        self.__dict__.update(attributes)

    def on_event(self, event):
        self.inside.set()
        self.free.wait(20)
        self.seen.append((event.name, event.parent_uuid is None, event.kind))


class Jam:
    """A sanitizer that holds the worker itself, so that the queue fills up however patient the runtime is."""

    def __init__(self):
        self.free = threading.Event()
        self.inside = threading.Event()

    def __call__(self, event):
        self.inside.set()
        self.free.wait(20)
        return event


def jammed(policy, **queue):
    """Make a runtime whose worker is stuck with one event in its hands."""
    relay = Relay(Settings(queue=Queue(policy=policy, **{"max_events": 8, "block_timeout": 0.1, **queue})))
    jam = Jam()
    relay.register("sanitizer", jam, name="jam")
    seen = []
    relay.subscriber(lambda event: seen.append(event.name), name="seen")
    root = relay.open_scope("root", "agent", parent=None)
    assert jam.inside.wait(20)
    return relay, jam, seen, root


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A machine that is busy may take longer to fill a queue than a runtime waits for a sanitizer."""
    monkeypatch.setattr("relay_core.dispatch._HUNG", 60.0)


def account(relay, name="seen"):
    return relay.stats()["subscribers"][name]


class TestPolicies:
    def test_drop_newest_keeps_the_oldest(self):
        relay, jam, seen, root = jammed("drop_newest")
        for n in range(20):
            root.mark(f"m{n}")
        assert account(relay)["dropped"] == {"queue_full": 12}
        assert account(relay)["pending"] == 9
        jam.free.set()
        assert relay.flush(timeout=20.0) == (9, 0, 12, False)
        assert seen == ["root", *(f"m{n}" for n in range(8))]

    def test_drop_oldest_keeps_the_newest(self):
        relay, jam, seen, root = jammed("drop_oldest")
        for n in range(20):
            root.mark(f"m{n}")
        assert account(relay)["dropped"] == {"queue_full": 12}
        jam.free.set()
        assert relay.flush(timeout=20.0) == (9, 0, 12, False)
        assert seen == ["root", *(f"m{n}" for n in range(12, 20))]

    def test_block_waits_for_room(self):
        relay, jam, seen, root = jammed("block", block_timeout=60.0)
        began = time.monotonic()
        threading.Timer(0.2, jam.free.set).start()
        for n in range(20):
            root.mark(f"m{n}")
        assert 0.2 <= time.monotonic() - began < 30.0
        assert relay.flush(timeout=20.0) == (21, 0, 0, False)
        assert seen == ["root", *(f"m{n}" for n in range(20))]

    def test_block_waits_up_to_its_deadline_and_then_not_again(self):
        relay, jam, seen, root = jammed("block", block_timeout=0.2)
        for n in range(8):
            root.mark(f"m{n}")
        took = []
        for _ in range(201):
            began = time.monotonic()
            root.mark("too many")
            took.append(time.monotonic() - began)
        assert 0.15 < took[0] < 10.0
        assert sum(each > 0.15 for each in took[1:]) < 10, "a stalled subscriber is waited for once"
        assert account(relay)["dropped"] == {"deadline": 201}
        jam.free.set()
        assert relay.flush(timeout=20.0) == (9, 0, 201, False)
        for n in range(8):
            root.mark(f"again{n}")
        assert relay.flush(timeout=20.0).delivered == 17, "it has moved, so it gets events again"
        assert seen[-1] == "again7"

    def test_each_subscriber_may_have_its_own_policy(self):
        relay = Relay(Settings(queue=Queue(max_events=4, policy="drop_newest")))
        jam = Jam()
        relay.register("sanitizer", jam, name="jam")
        new, old = [], []

        class Latest:
            name = "latest"
            queue_policy = "drop_oldest"

            def on_event(self, event):
                old.append(event.name)

        relay.subscriber(lambda event: new.append(event.name), name="first")
        relay.subscriber(Latest())
        root = relay.open_scope("root", parent=None)
        assert jam.inside.wait(20)
        for n in range(10):
            root.mark(f"m{n}")
        jam.free.set()
        relay.flush(timeout=20.0)
        assert new == ["root", "m0", "m1", "m2", "m3"]
        assert old == ["root", "m6", "m7", "m8", "m9"]
        assert account(relay, "first")["policy"] == "drop_newest"
        assert account(relay, "latest")["dropped"] == {"queue_full": 6}

    @pytest.mark.parametrize("policy", ["block", "drop_newest", "drop_oldest"])
    def test_roots_are_the_last_to_go(self, policy):
        relay, jam, seen, root = jammed(policy, block_timeout=0.01)
        for n in range(40):
            root.mark(f"m{n}")
        for n in range(4):
            with relay.scope(f"job{n}", "agent", parent=None):
                pass
        jam.free.set()
        relay.flush(timeout=20.0)
        assert [name for name in seen if name.startswith("job")] == [f"job{n}" for n in range(4) for _ in range(2)]

    @pytest.mark.parametrize("policy", ["block", "drop_newest", "drop_oldest"])
    def test_the_queue_is_bounded_for_roots_too(self, policy):
        relay, jam, seen, _root = jammed(policy, block_timeout=0.01)
        for n in range(100):
            relay.open_scope(f"job{n}", parent=None)
        assert account(relay)["pending"] <= 17
        assert account(relay)["accepted"] == 101
        jam.free.set()
        report = relay.flush(timeout=20.0)
        assert report.delivered + report.dropped == 101
        assert len(seen) == report.delivered
        if policy == "drop_oldest":
            assert seen[-1] == "job99"

    def test_bytes_are_limited_too(self):
        relay, jam, _seen, root = jammed("drop_newest", max_events=10_000, max_bytes=1_000_000)
        sizes = []
        relay.subscriber(lambda event: sizes.append(len(event.to_json())), name="sizes")
        for n in range(1_000):
            with relay.scope(f"s{n}", input={"n": n}, parent=root) as scope:
                scope.output = f"{n:010}" * 1_000  # only the end events are large
        jam.free.set()
        report = relay.flush(timeout=20.0)
        assert report.delivered + report.dropped == 4_001
        assert len(sizes) < 2_000, "ten megabytes do not fit"
        assert sum(size for size in sizes if size > 10_000) < 1_500_000
        for n in range(100):  # there is room again
            root.mark(f"m{n}")
        assert relay.flush(timeout=20.0).delivered == report.delivered + 200


@pytest.mark.parametrize("policy", ["block", "drop_newest", "drop_oldest"])
def test_accounts_add_up_all_the_time(policy):
    """Emitting, delivering and dropping go on while another thread looks."""
    relay = Relay(Settings(queue=Queue(max_events=64, policy=policy, block_timeout=0.002)))
    seen = {"fast": 0, "slow": 0, "failing": 0}

    def fast(event):
        seen["fast"] += 1

    def slow(event):
        seen["slow"] += 1
        if not seen["slow"] % 50:
            time.sleep(0.002)

    def failing(event):
        seen["failing"] += 1
        if not seen["failing"] % 3:
            raise ValueError

    for subscriber in (fast, slow, failing):
        relay.subscriber(subscriber)
    began, emitted = [0] * 4, [0] * 4

    def emit(index):
        for n in range(1_500):
            began[index] += 1
            if n % 20:
                relay.mark("m")
            else:
                relay.open_scope("s", parent=None)
            emitted[index] += 1

    wrong, looks = [], 0
    threads = [threading.Thread(target=emit, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for name in seen:
            least = sum(emitted)
            found = relay.stats()["subscribers"][name]
            most = sum(began)
            looks += 1
            assert found["accepted"] == found["delivered"] + sum(found["dropped"].values()) + found["pending"]
            if not least <= found["accepted"] <= most:
                wrong.append((name, least, found, most))
    assert wrong == []
    assert looks > 20
    report = relay.flush(timeout=20.0)
    assert not report.timed_out
    assert report.pending == 0
    for name, count in seen.items():
        found = relay.stats()["subscribers"][name]
        assert found["accepted"] == 6_000
        assert found["pending"] == 0
        assert found["delivered"] + found["dropped"].get("error", 0) == count
    relay.shutdown(timeout=20.0)


def stuck_in_a_lane(policy="drop_newest", **queue):
    """A runtime and its subscriber, which has got a thread of its own and is stuck there."""
    relay = Relay(Settings(queue=Queue(**queue)))
    gate = Gate(queue_policy=policy)
    relay.subscriber(gate)
    relay.mark("first")
    wait_for(lambda: account(relay, "gate")["own_thread"])
    return relay, gate


def test_a_lane_is_bounded_and_counts_what_it_gives_up(monkeypatch):
    monkeypatch.setattr("relay_core.delivery._LANE_EVENTS", 20)
    relay, gate = stuck_in_a_lane()
    for n in range(50):
        relay.mark(f"m{n}")
    wait_for(lambda: account(relay, "gate")["dropped"] == {"subscriber_slow": 30})
    gate.free.set()
    assert relay.flush(timeout=20.0) == (21, 0, 30, False)
    assert [name for name, _, _ in gate.seen] == ["first", *(f"m{n}" for n in range(20))]


def test_a_lane_is_bounded_by_bytes_too(monkeypatch):
    monkeypatch.setattr("relay_core.delivery._LANE_BYTES", 10_000)
    relay, gate = stuck_in_a_lane()
    for n in range(8):
        relay.mark(f"m{n}", data="x" * 4_000)
    wait_for(lambda: account(relay, "gate")["dropped"] == {"subscriber_slow": 5})
    gate.free.set()
    assert relay.flush(timeout=20.0) == (4, 0, 5, False)
    relay.mark("later", data="x" * 4_000)  # there is room again
    assert relay.flush(timeout=20.0) == (5, 0, 5, False)


def test_callers_wait_for_a_blocking_subscriber_with_a_full_lane(monkeypatch):
    monkeypatch.setattr("relay_core.delivery._LANE_EVENTS", 20)
    relay, gate = stuck_in_a_lane("block", max_events=8, block_timeout=60.0)
    emitted = []

    def emit():
        for n in range(300):
            relay.mark(f"m{n}")
            emitted.append(n)

    thread = threading.Thread(target=emit)
    thread.start()
    wait_for(lambda: account(relay, "gate")["pending"] >= 20)
    time.sleep(0.1)
    assert thread.is_alive()
    assert len(emitted) <= 20 + 2 * 8 + 1
    gate.free.set()
    thread.join(20)
    assert relay.flush(timeout=20.0) == (301, 0, 0, False)
    assert [name for name, _, _ in gate.seen] == ["first", *(f"m{n}" for n in range(300))]
    relay.shutdown(timeout=1.0)


def test_a_subscriber_that_stays_stuck_is_waited_for_once(monkeypatch):
    monkeypatch.setattr("relay_core.delivery._LANE_EVENTS", 20)
    relay, gate = stuck_in_a_lane("block", max_events=8, block_timeout=0.1)
    seen = []
    relay.subscriber(lambda event: seen.append(event.name), name="seen")
    began = time.monotonic()
    for n in range(300):
        relay.mark(f"m{n}")
    assert time.monotonic() - began < 15.0, "300 waits would have taken twice as long"
    wait_for(lambda: len(seen) + sum(account(relay)["dropped"].values()) == 300)
    found = account(relay, "gate")
    assert set(found["dropped"]) <= {"subscriber_slow", "deadline"}
    assert found["accepted"] == found["pending"] + sum(found["dropped"].values()) == 301
    gate.free.set()
    assert not relay.flush(timeout=20.0).timed_out
    lost = sum(account(relay, "gate")["dropped"].values())
    assert lost >= 200
    for n in range(100):  # it moves again, so nothing is lost
        relay.mark(f"late{n}")
        relay.flush(timeout=20.0)
    assert sum(account(relay, "gate")["dropped"].values()) == lost
    relay.shutdown(timeout=1.0)


def test_who_waits_for_a_lane_while_the_runtime_shuts_down_is_counted(monkeypatch):
    monkeypatch.setattr("relay_core.delivery._LANE_EVENTS", 20)
    relay, gate = stuck_in_a_lane("block", max_events=8, block_timeout=60.0)
    emitted = []

    def emit():
        for n in range(100):
            relay.mark(f"m{n}")
            emitted.append(n)

    thread = threading.Thread(target=emit)
    thread.start()
    wait_for(lambda: account(relay, "gate")["pending"] >= 20)
    relay.shutdown(timeout=0.05)
    gate.free.set()
    thread.join(20)
    assert len(emitted) == 100
    wait_for(lambda: account(relay, "gate")["pending"] == 0)
    found = account(relay, "gate")
    assert found["delivered"] + sum(found["dropped"].values()) == 101


def test_a_subscriber_that_emits_does_not_wait_for_its_own_lane(monkeypatch):
    monkeypatch.setattr("relay_core.delivery._LANE_EVENTS", 4)
    relay = Relay(Settings(queue=Queue(max_events=8, block_timeout=60.0)))
    names = []

    def echo(event):
        names.append(event.name)
        if event.name == "slow":
            time.sleep(0.4)
        elif event.name == "m":
            relay.mark("echo")

    relay.subscriber(echo)
    relay.mark("slow")
    for _ in range(50):
        relay.mark("m")
    wait_for(lambda: not relay.flush(timeout=20.0).pending)
    found = account(relay, "echo")
    assert found["own_thread"]
    assert found["delivered"] + sum(found["dropped"].values()) == 1 + 50 + names.count("m")
    assert names.count("m") == 50
    relay.shutdown(timeout=1.0)


def test_a_lane_ends_with_its_subscriber_and_serves_late_events(monkeypatch):
    monkeypatch.setattr("relay_core.delivery._LANE_LOOK", 0.02)
    relay = Relay()
    seen, threads = [], []

    def slow(event):
        time.sleep(0.03)
        seen.append(event.name)
        threads.append(threading.current_thread())

    handle = relay.subscriber(slow, name="leaving")
    scope = relay.open_scope("open", parent=None)
    for _ in range(9):
        relay.mark("m")
    relay.flush(timeout=20.0)
    assert account(relay, "leaving")["own_thread"]
    assert threads[-1].is_alive()
    handle.remove()
    wait_for(lambda: not threads[-1].is_alive())
    scope.close()  # it saw the start
    assert not relay.flush(timeout=20.0).timed_out
    assert seen == ["open", *("m",) * 9, "open"]
    relay.shutdown(timeout=20.0)


def test_a_busy_subscriber_slows_callers_down_instead_of_losing_events(monkeypatch):
    """Less than a millisecond for each event is work, not slowness, however long the burst."""
    # A machine that is busy stops a thread for shorter.
    monkeypatch.setattr("relay_core.delivery._SLOW", 5.0)
    monkeypatch.setattr("relay_core.dispatch._STUCK", 5.0)
    relay = Relay(Settings(queue=Queue(max_events=1_000, block_timeout=60.0)))
    seen = []

    def busy(event):
        seen.append(event.name)
        end = time.perf_counter() + 0.0003
        while time.perf_counter() < end:
            pass

    relay.subscriber(busy)
    for n in range(12_000):
        relay.mark(f"m{n}")
    assert relay.flush(timeout=20.0) == (12_000, 0, 0, False)
    assert seen == [f"m{n}" for n in range(12_000)]
    assert account(relay, "busy")["own_thread"] is False
    relay.shutdown(timeout=20.0)


def test_a_slow_exporter_of_batches_still_gets_batches():
    relay = Relay()
    sizes = []

    class Exporter:
        name = "exporter"

        def on_event(self, event):
            raise AssertionError("batches are preferred")

        def on_batch(self, events):
            sizes.append(len(events))
            time.sleep(0.6 if len(sizes) == 1 else 0.05)

    relay.subscriber(Exporter())
    for _ in range(10):
        relay.mark("m")
    wait_for(lambda: account(relay, "exporter")["own_thread"])
    for _ in range(2_000):
        relay.mark("m")
    assert relay.flush(timeout=20.0) == (2_010, 0, 0, False)
    assert len(sizes) < 40
    relay.shutdown(timeout=20.0)
