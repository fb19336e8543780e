"""What a call costs its caller with all four outputs on, beside one subscriber: in steps of the interpreter, not in time."""

from __future__ import annotations

import json
import sys

import relay_core
from tests.plugins.observability.runtimes import configured

MOST = 1.2  # of what the call costs with one subscriber; it is 1.0
CALLS = 300


def steps_of_a_call(relay):
    """The steps of the interpreter that a managed tool call takes on the caller's thread, in the median."""
    taken = []

    def step(frame, what, argument):
        nonlocal count
        frame.f_trace_opcodes = True
        count += what == "opcode"
        return step

    for number in range(CALLS):
        count = 0
        before = sys.gettrace()
        sys.settrace(step)
        try:
            relay.call_tool("search", {"n": number}, lambda args: args)
        finally:
            sys.settrace(before)
        taken.append(count)
    relay.flush(timeout=10)
    return sorted(taken)[CALLS // 2]


def test_four_exporters_cost_the_caller_no_more_than_one_subscriber(tmp_path):
    alone = relay_core.Relay()
    alone.subscriber(lambda event: None)
    folder = json.dumps(str(tmp_path / "runs"))
    beside = configured(
        tmp_path,
        f"""
        [plugins.observability.atof]
        directory = {folder}
        [plugins.observability.atif]
        directory = {folder}
        [plugins.observability.otel]
        protocol = "file"
        directory = {folder}
        [plugins.observability.otel_destinations.words]
        protocol = "file"
        filename = "openinference-{{signal}}.jsonl"
        directory = {folder}
        projection = "openinference"
        """,
    )
    assert len(beside.stats()["subscribers"]) == 4
    one, four = steps_of_a_call(alone), steps_of_a_call(beside)
    for relay in (alone, beside):
        relay.shutdown(timeout=10)
    assert one > 100
    assert four <= MOST * one
    written = sum(path.stat().st_size for path in (tmp_path / "runs").iterdir())
    assert written > CALLS * 1_000, "the exporters have seen the calls"
