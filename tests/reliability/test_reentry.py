"""R28: events from signal handlers, finalizers and weak references, which may come in the middle of Relay's own code."""

from __future__ import annotations

import faulthandler
import gc
import logging
import random
import signal
import sys
import threading
import time
import weakref

import pytest

from relay_core import Relay
from relay_core.settings import Queue, Settings
from tests.reliability.support import assert_account, run


@pytest.fixture(autouse=True)
def _no_deadlock():
    """A deadlock in a signal handler stops pytest's own timeout too: this one shows where, and ends the process."""
    faulthandler.dump_traceback_later(50, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
@pytest.mark.parametrize("policy", ["block", "drop_newest", "drop_oldest"])
def test_R28_a_signal_handler_that_emits(policy):
    """It interrupts its own thread anywhere: while a queue is full, a worker starts, a drop is counted."""
    draw = random.Random(28)
    emitted = {"program": 0, "handler": 0}
    for round_ in range(8):
        # A handler cannot wait for a queue whose lock its own thread holds: some room beyond the limit is for it.
        size = 512 if policy == "block" else 32
        relay = Relay(Settings(queue=Queue(policy=policy, max_events=size, block_timeout=5.0)))
        seen, over = [], []
        relay.register("subscriber", lambda event, seen=seen: seen.append(event.name), name="seen")
        emitted = {"program": 0, "handler": 0}

        def handler(number, frame, relay=relay, emitted=emitted, round_=round_, over=over):
            if over:
                return
            emitted["handler"] += 2
            with relay.scope("in handler", input={"x": 1}):
                pass
            if round_ % 3 == 0:
                relay.stats()
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.00002, 0.0005))

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.00001 * (1 + round_))
            end = time.monotonic() + 0.15
            while time.monotonic() < end:
                relay.mark("m", data="x" * 100_000 if emitted["program"] % 3 else None)
                emitted["program"] += 1
        finally:
            over.append(True)
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
        assert emitted["handler"]
        assert not relay.flush(timeout=30.0).timed_out
        account = assert_account(relay, "seen", sum(emitted.values()))
        assert account["delivered"] == len(seen)
        assert policy != "block" or account["dropped"] == {}
        relay.shutdown(timeout=2.0)


def test_R28_finalizers_and_weak_references_that_emit():
    """The garbage collector runs them on any thread, the worker's too."""
    relay = Relay(Settings(queue=Queue(policy="drop_oldest", max_events=64)))
    emitted = [0]
    lock = threading.Lock()

    def emit(name):
        with lock:
            emitted[0] += 1
        relay.mark(name, data={"text": "x" * 3_000})

    class Cyclic:
        def __init__(self):
            self.me = self

        def __del__(self):
            relay.mark("__del__", data={"text": "x" * 3_000})
            finalized.append(1)  # list.append cannot be interrupted; the lock could

    finalized, references = [], []

    def gone(reference):
        relay.mark("weakref")
        finalized.append(1)

    seen = []

    def subscriber(event):
        seen.append(event.name)
        references.append(weakref.ref(Cyclic(), gone))

    relay.register("subscriber", subscriber, name="seen")
    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for _ in range(2_000):
            references.append(weakref.ref(Cyclic(), gone))
            emit("m")
            if len(references) > 500:
                references.clear()
    finally:
        gc.set_threshold(*threshold)
    references.clear()
    deadline = time.monotonic() + 10
    while relay.stats()["subscribers"]["seen"]["pending"] and time.monotonic() < deadline:
        relay.flush(timeout=0.2)
    gc.collect()
    relay.shutdown(timeout=5.0)  # the subscriber itself makes garbage without end
    found = relay.stats()["subscribers"]["seen"]
    assert found["accepted"] == emitted[0] + len(finalized), (found, emitted, len(finalized))
    assert finalized
    assert found["delivered"] == len(seen)


def test_R28_a_log_handler_that_emits():
    """Relay's own log lines reach it too: no endless loop."""
    relay = Relay()
    events = [0]

    class Handler(logging.Handler):
        def emit(self, record):
            events[0] += 1
            relay.mark("log", data={"text": record.getMessage()})

    def failing(event):
        raise ValueError

    handler, logger = Handler(), logging.getLogger("relay")  # other libraries' threads log to the root as well
    logger.addHandler(handler)
    try:
        relay.subscriber(failing)
        relay.mark("m")
        assert not relay.flush(timeout=20.0).timed_out
        assert not relay.flush(timeout=20.0).timed_out
    finally:
        logger.removeHandler(handler)
    assert_account(relay, "failing", 1 + events[0], dropped={"error": 1 + events[0]})
    assert events[0] == 1
    relay.shutdown(timeout=1.0)


def test_R28_profilers_and_tracers_that_emit(tmp_path):
    text = """
        seen = []
        relay.subscriber(lambda event: seen.append(event.name))
        busy = threading.local()
        def profile(frame, event, argument):
            if event == "call" and not getattr(busy, "now", False):
                busy.now = True
                relay.mark("profile")
                busy.now = False
        sys.setprofile(profile)
        for _ in range(200):
            with relay.scope("s"):
                pass
        sys.setprofile(None)
        assert not relay.flush(10.0).timed_out
        account = relay.stats()["subscribers"]["<lambda>"]
        assert account["accepted"] == account["delivered"] == len(seen), account
        print(json.dumps([seen.count("s"), seen.count("profile") > 400]))
        """
    assert run(tmp_path, text) == [400, True]
