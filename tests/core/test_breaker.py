"""What happens when Relay itself keeps failing."""

from __future__ import annotations

import logging
import threading

from relay_core import Relay
from relay_core.settings import Settings
from tests.waiting import told


class Names(list):
    """A subscriber that keeps the events' names."""

    def on_event(self, event):
        self.append(event.name)


def test_after_too_many_faults_telemetry_is_off_and_policy_stays(caplog):
    relay = Relay(Settings(breaker_limit=5))
    seen = Names()
    relay.subscriber(seen)
    blocked = []
    relay.guardrail("tool")(lambda call: blocked.append(call.name))

    def broken():
        raise LookupError("with a secret")

    relay.add_resolver(broken)
    with caplog.at_level(logging.DEBUG, "relay"):
        for _ in range(50):
            with relay.scope("s"):
                pass
    relay.flush(timeout=20.0)
    count = len(seen)
    assert 0 < count < 50
    relay.mark("later", parent=None)
    relay.call_tool("t", {}, lambda args: args)
    relay.flush(timeout=20.0)
    assert len(seen) == count
    assert blocked == ["t"]
    lines = [record.getMessage() for record in told(caplog, "relay")]
    assert len([line for line in lines if "telemetry is off" in line]) == 1
    assert len(lines) <= 2
    assert not any("secret" in line for line in lines)


def test_many_threads_trip_it_once(caplog):
    relay = Relay(Settings(breaker_limit=200))
    relay.subscriber(lambda event: None)

    def broken():
        raise LookupError

    relay.add_resolver(broken)

    def work():
        for _ in range(100):
            relay.current()

    with caplog.at_level(logging.ERROR, "relay"):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert relay.stats()["counters"]["faults"] == 800
    assert len(told(caplog, "relay")) == 1
    assert relay.observed is False
