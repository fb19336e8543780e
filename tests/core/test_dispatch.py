"""From the caller to the subscribers: order, isolation, re-entrance, flush and shutdown."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from relay_core import Relay
from relay_core.settings import Settings
from tests.waiting import wait_for


@pytest.fixture
def relay():
    runtime = Relay()
    yield runtime
    runtime.shutdown(timeout=20.0)


class Names(list):
    """A subscriber that keeps the events' names."""

    def on_event(self, event):
        self.append(event.name)


class Gate:
    """A subscriber that is stuck in its first event until it is let go."""

    def __init__(self, name="gate", **attributes):
        self.name = name
        self.free = threading.Event()
        self.inside = threading.Event()
        self.seen = []
        self.__dict__.update(attributes)

    def on_event(self, event):
        self.inside.set()
        self.free.wait(20)
        self.seen.append(event.name)


class TestOrder:
    def test_each_subscriber_gets_the_events_in_the_order_of_emission(self, relay):
        one, two = Names(), Names()
        relay.subscriber(one)
        relay.subscriber(two)
        expected = [f"m{n}" for n in range(2_000)]
        for name in expected:
            relay.mark(name)
        report = relay.flush(timeout=20.0)
        assert one == two == expected
        assert report == (4_000, 0, 0, False)

    def test_each_threads_events_stay_in_order(self, relay):
        seen = Names()
        relay.subscriber(seen)

        def emit(letter):
            for n in range(500):
                relay.mark(f"{letter}{n}")

        threads = [threading.Thread(target=emit, args=(letter,)) for letter in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        relay.flush(timeout=20.0)
        assert len(seen) == 2_000
        for letter in "abcd":
            assert [name for name in seen if name[0] == letter] == [f"{letter}{n}" for n in range(500)]

    def test_subscribers_are_served_by_priority_then_name(self, relay):
        order = []
        for name, priority in (("z", 5), ("b", 100), ("a", 100), ("y", -1)):
            relay.subscriber(lambda event, name=name: order.append(name), name=name, priority=priority)
        relay.mark("m")
        relay.flush(timeout=20.0)
        assert order == ["y", "z", "a", "b"]


class TestFailingSubscribers:
    @pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
    def test_what_one_raises_hurts_nobody(self, relay, error, caplog):
        def failing(event):
            raise error("with a secret")

        seen = Names()
        relay.subscriber(failing, priority=1)
        relay.subscriber(seen, name="seen", priority=2)
        with caplog.at_level(logging.DEBUG, "relay"):
            for n in range(100):
                relay.mark(f"m{n}")
            report = relay.flush(timeout=20.0)
        assert seen == [f"m{n}" for n in range(100)]
        assert report == (100, 0, 100, False)
        assert relay.stats()["subscribers"]["failing"]["dropped"] == {"error": 100}
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == 1, "one line a minute"
        assert "'failing'" in lines[0]
        assert error.__name__ in lines[0]
        assert "secret" not in lines[0]

    def test_what_comes_in_a_trickle_is_served_together(self, relay):
        class Exporter:
            sizes = []

            def on_event(self, event):
                raise AssertionError("batches are preferred")

            def on_batch(self, events):
                self.sizes.append(len(events))

        relay.subscriber(Exporter())
        for _ in range(300):
            relay.mark("m")
            time.sleep(0.0002)
        assert relay.flush(timeout=20.0) == (300, 0, 0, False)
        assert sum(Exporter.sizes) == 300
        assert len(Exporter.sizes) < 150

    def test_a_failing_batch_is_dropped_as_a_whole(self, relay):
        class Exporter:
            name = "exporter"

            def on_event(self, event):
                raise AssertionError("batches are preferred")

            def on_batch(self, events):
                raise OSError

        relay.subscriber(Exporter())
        for _ in range(30):
            relay.mark("m")
        assert relay.flush(timeout=20.0) == (0, 0, 30, False)


class TestSlowSubscribers:
    def test_others_do_not_wait_for_a_slow_one(self, relay):
        slow = Names()
        seen = Names()
        enough = threading.Event()

        def dawdle(event):
            enough.wait(0.05)
            slow.on_event(event)

        relay.subscriber(dawdle, priority=1)
        relay.subscriber(seen, name="seen", priority=2)
        began = time.monotonic()
        for n in range(200):
            relay.mark(f"m{n}")
        wait_for(lambda: len(seen) == 200)
        assert time.monotonic() - began < 6.0, "the slow one takes ten seconds"
        assert seen == [f"m{n}" for n in range(200)]
        assert relay.stats()["subscribers"]["dawdle"]["own_thread"] is True
        wait_for(lambda: len(slow) > 20)
        assert slow == [f"m{n}" for n in range(len(slow))], "its own order stays"
        enough.set()

    def test_one_hiccup_does_not_make_a_subscriber_slow(self, relay, monkeypatch):
        monkeypatch.setattr("relay_core.delivery._SLOW_EACH", 5.0)  # the machine may have hiccups of its own
        monkeypatch.setattr("relay_core.dispatch._STUCK", 5.0)
        seen = Names()

        def warming_up(event):
            if not seen:
                time.sleep(0.025)
            seen.on_event(event)

        relay.subscriber(warming_up)
        for _ in range(500):
            relay.mark("m")
        relay.flush(timeout=20.0)
        assert relay.stats()["subscribers"]["warming_up"]["own_thread"] is False

    def test_a_stuck_one_holds_up_neither_flush_nor_the_others(self, relay):
        gate, seen = Gate(), Names()
        relay.subscriber(gate, priority=1)
        relay.subscriber(seen, name="seen", priority=2)
        for n in range(300):
            relay.mark(f"m{n}")
        began = time.monotonic()
        assert relay.flush(timeout=1.0).timed_out
        assert time.monotonic() - began < 10.0, "the stuck one would take twenty seconds"
        wait_for(lambda: len(seen) == 300)
        assert relay.flush(timeout=0.0).pending == 300
        assert seen == [f"m{n}" for n in range(300)]
        gate.free.set()
        assert relay.flush(timeout=20.0) == (600, 0, 0, False)
        assert gate.seen == seen, "once and in order"

    def test_a_stuck_one_starves_nobody_even_if_nobody_flushes(self, relay):
        gate, seen = Gate(), Names()
        relay.subscriber(gate, priority=1)
        relay.subscriber(seen, name="seen", priority=2)
        relay.mark("m")
        wait_for(lambda: seen == ["m"], 10.0)
        gate.free.set()

    def test_one_that_is_stuck_for_a_while_gets_each_event_once(self, relay):
        seen = Names()

        def sometimes(event):
            if event.name == "m5":
                time.sleep(0.7)
            seen.on_event(event)

        relay.subscriber(sometimes)
        for n in range(100):
            relay.mark(f"m{n}")
        relay.flush(timeout=0.1)
        for n in range(100, 200):
            relay.mark(f"m{n}")
        assert relay.flush(timeout=20.0) == (200, 0, 0, False)
        assert seen == [f"m{n}" for n in range(200)]

    def test_three_stuck_ones_hold_up_nobody_else(self, relay):
        gates = [Gate(f"gate{n}") for n in range(3)]
        seen = Names()
        for gate in gates:
            relay.subscriber(gate, priority=1)
        relay.subscriber(seen, name="seen", priority=2)
        for n in range(100):
            relay.mark(f"m{n}")
        wait_for(lambda: len(seen) == 100, 15.0)
        for gate in gates:
            gate.free.set()
        assert relay.flush(timeout=20.0) == (400, 0, 0, False)

    def test_an_exporter_stuck_in_flush_holds_up_nobody_else(self, relay):
        free = threading.Event()

        class Exporter:
            name = "exporter"

            def on_event(self, event):
                pass

            def flush(self, timeout):
                free.wait(10)

        seen = Names()
        relay.subscriber(Exporter(), priority=1)
        relay.subscriber(seen, name="seen", priority=2)
        relay.mark("one")
        began = time.monotonic()
        assert relay.flush(timeout=1.0).timed_out
        assert time.monotonic() - began < 8.0, "the stuck one would take ten seconds"
        relay.mark("two")
        wait_for(lambda: seen == ["one", "two"])
        free.set()


class TestReentrance:
    def test_a_subscriber_may_emit(self, relay):
        seen = Names()

        def echo(event):
            seen.on_event(event)
            if len(seen) < 50:
                relay.mark(f"echo{len(seen)}")

        relay.subscriber(echo)
        relay.mark("first")
        wait_for(lambda: len(seen) == 50)
        relay.flush(timeout=20.0)
        assert seen == ["first", *(f"echo{n}" for n in range(1, 50))]

    def test_a_subscriber_may_register_and_remove(self, relay):
        late, seen = Names(), Names()

        def once(event):
            seen.on_event(event)
            handle.remove()
            relay.subscriber(late, name="late")

        handle = relay.subscriber(once)
        relay.mark("one")
        relay.flush(timeout=20.0)
        relay.mark("two")
        relay.flush(timeout=20.0)
        assert (seen, late) == (["one"], ["two"])

    def test_a_subscriber_may_flush_and_gets_an_answer_at_once(self, relay):
        reports = []

        def flushing(event):
            began = time.monotonic()
            report = relay.flush(timeout=20.0)
            reports.append((report.timed_out, time.monotonic() - began))

        relay.subscriber(flushing)
        relay.mark("m")
        relay.flush(timeout=20.0)
        assert [timed_out for timed_out, _ in reports] == [True], "its own event is still pending"
        assert reports[0][1] < 10.0

    def test_an_async_subscriber_may_flush_too(self, relay):
        took = []

        async def flushing(event):
            began = time.monotonic()
            relay.flush(timeout=20.0)
            took.append(time.monotonic() - began)

        relay.subscriber(flushing)
        relay.mark("m")
        assert not relay.flush(timeout=20.0).timed_out
        assert took[0] < 10.0

    def test_a_subscriber_may_make_managed_calls(self, relay):
        seen = []

        def calling(event):
            if event.kind == "mark":
                seen.append(relay.call_tool("inner", {"n": 1}, lambda args: args["n"]))

        relay.subscriber(calling)
        relay.mark("m")
        relay.flush(timeout=20.0)
        assert seen == [1]

    def test_registering_while_others_count_and_flush(self, relay):
        failures = []
        stop = threading.Event()

        def churn():
            while not stop.is_set():
                relay.subscriber(lambda event: None, name="churn").remove()

        def look():
            try:
                while not stop.is_set():
                    relay.stats()
                    relay.flush(timeout=0.001)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=churn), threading.Thread(target=look), threading.Thread(target=look)]
        for thread in threads:
            thread.start()
        for _ in range(500):
            relay.mark("m")
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []


class TestShapes:
    def test_async_subscribers(self, relay):
        seen = Names()

        async def later(event):
            await asyncio.sleep(0)
            seen.on_event(event)

        class Later:
            async def on_event(self, event):
                await later(event)

        relay.subscriber(later)
        relay.subscriber(Later(), name="object")
        relay.mark("m")
        assert relay.flush(timeout=20.0) == (2, 0, 0, False)
        assert seen == ["m", "m"]

    def test_batches_hold_everything_once_and_in_order(self, relay):
        class Exporter(Names):
            sizes = []

            def on_batch(self, events):
                self.sizes.append(len(events))
                self.extend(event.name for event in events)

        exporter = Exporter()
        relay.subscriber(exporter)
        expected = [f"m{n}" for n in range(1_000)]
        for name in expected:
            relay.mark(name)
        assert relay.flush(timeout=20.0) == (1_000, 0, 0, False)
        assert exporter == expected
        assert len(exporter.sizes) < 1_000, "several at a time"

    def test_an_async_batch_is_awaited(self, relay):
        class Exporter(Names):
            async def on_batch(self, events):
                await asyncio.sleep(0)
                self.extend(event.name for event in events)

        exporter = Exporter()
        relay.subscriber(exporter)
        relay.mark("m")
        relay.flush(timeout=20.0)
        assert exporter == ["m"]

    def test_events_are_delivered_without_a_flush(self, relay):
        seen = Names()
        relay.subscriber(seen)
        for n in range(3):  # before, during and after the worker's sleep
            relay.mark(f"m{n}")
            wait_for(lambda n=n: len(seen) == n + 1)
            time.sleep(0.15 * n)


class Exporter(Names):
    def __init__(self):
        self.calls = []

    def flush(self, timeout):
        self.calls.append(("flush", len(self)))
        assert 0 <= timeout <= 20.0

    def close(self, timeout):
        self.calls.append(("close", len(self)))


class TestFlushAndShutdown:
    def test_flush_lets_exporters_write_out(self, relay):
        exporter = Exporter()
        relay.subscriber(exporter)
        relay.mark("m")
        relay.flush(timeout=20.0)
        assert exporter.calls == [("flush", 1)]

    @pytest.mark.parametrize("error", [OSError, SystemExit])
    def test_an_exporter_that_fails_to_flush_hurts_nobody(self, relay, error):
        class Failing(Exporter):
            def flush(self, timeout):
                raise error

        seen = Names()
        relay.subscriber(Failing(), name="a")
        relay.subscriber(seen, name="b")
        for n in range(3):
            relay.mark(f"m{n}")
            assert not relay.flush(timeout=20.0).timed_out
        assert len(seen) == 3

    def test_shutdown_delivers_closes_once_and_drops_what_comes_later(self):
        relay = Relay()
        exporter = Exporter()
        relay.subscriber(exporter, name="exporter")
        scope = relay.open_scope("late", parent=None)
        assert relay.shutdown(timeout=20.0) == (1, 0, 0, False)
        assert relay.shutdown(timeout=20.0) == (1, 0, 0, False)
        relay.mark("m")
        scope.close()
        assert relay.flush(timeout=20.0) == (1, 0, 2, False)
        assert exporter.calls == [("flush", 1), ("close", 1)]
        assert relay.stats()["subscribers"]["exporter"]["dropped"] == {"shutdown": 2}

    def test_shutdown_without_any_event_closes_too_and_starts_no_thread(self):
        relay = Relay()
        exporter = Exporter()
        relay.subscriber(exporter)
        threads = threading.active_count()
        relay.flush(timeout=20.0)
        relay.shutdown(timeout=20.0)
        assert threading.active_count() == threads
        assert exporter.calls[-1] == ("close", 0)

    def test_shutdown_ends_the_threads(self):
        before = set(threading.enumerate())
        relay = Relay()

        async def on_event(event):
            time.sleep(0.03)  # noqa: ASYNC251  # slow on purpose, so that it gets a thread of its own

        relay.subscriber(on_event)
        for _ in range(9):
            relay.mark("m")
        relay.shutdown(timeout=20.0)
        wait_for(lambda: set(threading.enumerate()) <= before)

    def test_shutdown_gives_up_what_a_stuck_subscriber_leaves(self):
        relay = Relay(Settings())
        gate = Gate()
        relay.subscriber(gate)
        for _ in range(100):
            relay.mark("m")
        assert gate.inside.wait(20)
        began = time.monotonic()
        report = relay.shutdown(timeout=0.6)
        assert time.monotonic() - began < 10.0, "the stuck one would take twenty seconds"
        assert report.timed_out
        gate.free.set()
        wait_for(lambda: relay.stats()["subscribers"]["gate"]["pending"] == 0)
        account = relay.stats()["subscribers"]["gate"]
        assert account["accepted"] == 100
        assert account["delivered"] == len(gate.seen)

    def test_a_subscriber_may_shut_down(self):
        relay = Relay()
        done = threading.Event()

        def ending(event):
            relay.shutdown(timeout=20.0)
            done.set()

        relay.subscriber(ending)
        relay.mark("m")
        assert done.wait(10.0)


class TestPreparation:
    def test_a_sanitizer_that_hangs_holds_events_up_for_a_moment_only(self, relay, caplog):
        free, calls, seen = threading.Event(), [], []

        def stuck(event):
            calls.append(event.name)
            free.wait(20)
            return event

        relay.subscriber(seen.append)
        relay.register("sanitizer", stuck, name="stuck")
        for name in ("one", "two", "three"):
            relay.mark(name, data={"secret": name})
        began = time.monotonic()
        with caplog.at_level(logging.WARNING, logger="relay"):
            report = relay.flush(timeout=20.0)
        assert time.monotonic() - began < 15.0
        assert report == (3, 0, 0, False)
        assert [(event.name, event.data) for event in seen] == [("one", None), ("two", None), ("three", None)]
        assert calls == ["one"]
        assert any("'stuck'" in line and "does not come back" in line for line in caplog.messages)
        free.set()
        wait_for(lambda: not relay.dispatcher._hung)
        relay.mark("four", data={"n": 4})
        assert relay.flush(timeout=20.0).pending == 0
        assert [event.data for event in seen[3:]] == [{"n": 4}]

    def test_an_injector_that_hangs_adds_nothing_and_sanitizers_still_run(self, relay):
        free, seen = threading.Event(), []
        relay.subscriber(seen.append)
        relay.register("metadata_injector", lambda event: {"late": free.wait(20)}, name="stuck")
        relay.register("sanitizer", lambda event: event.replace(data="clean"), name="clean")
        relay.mark("one", data="dirty")
        assert relay.flush(timeout=20.0) == (1, 0, 0, False)
        assert (seen[0].data, seen[0].metadata) == ("clean", None)
        free.set()

    def test_shutdown_gives_up_what_a_hanging_sanitizer_holds(self, monkeypatch):
        monkeypatch.setattr("relay_core.dispatch._HUNG", 60.0)
        relay, free, seen = Relay(), threading.Event(), []
        relay.subscriber(seen.append, name="seen")
        relay.register("sanitizer", lambda event: free.wait(20) and event, name="stuck")
        for name in ("one", "two"):
            relay.mark(name)
        assert relay.shutdown(timeout=0.3) == (0, 0, 2, True)
        assert relay.stats()["subscribers"]["seen"]["dropped"] == {"shutdown": 2}
        free.set()
        time.sleep(0.1)
        assert seen == []
        assert relay.dispatcher.report().delivered == 0


def test_accounts_of_subscribers_with_one_name_are_kept_apart(relay):
    one, two = Names(), Names()
    relay.register("subscriber", one, name="same")
    relay.mark("first")
    assert relay.flush(timeout=20.0).pending == 0
    with relay.scope("agent") as scope:
        scope.register("subscriber", two, name="same")  # here only
        relay.mark("second")
    assert relay.flush(timeout=20.0).pending == 0
    found = relay.stats()["subscribers"]
    assert {label: account["delivered"] for label, account in found.items()} == {"same": 4, "same#2": 2}


def test_runtimes_that_live_for_a_moment_leave_no_thread():
    watchers = []
    for _ in range(60):
        runtime = Relay()
        runtime.subscriber(lambda event: None)
        runtime.mark("only")
        watchers.append(runtime.dispatcher._watcher)
        runtime.shutdown(timeout=20.0)
    for watcher in watchers:
        watcher.join(10.0)
        assert not watcher.is_alive()
