from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import relay_core
from relay_core.events import parse_event
from relay_plugin_observability import AtofExporter
from tests.waiting import told


def events_of(path):
    data = path.read_bytes()
    assert data.endswith(b"\n")
    return [parse_event(line) for line in data.splitlines()]


def run(code, *args):
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], check=False, capture_output=True, timeout=50)


PROLOGUE = """if True:
    import os, signal, sys, threading
    import relay_core as relay
    from relay_plugin_observability import AtofExporter
    exporter = AtofExporter(sys.argv[1])
    relay.register("subscriber", exporter)
"""


@pytest.mark.parametrize("durability", ["buffered", "line", "fsync"])
def test_a_run_is_on_disk_after_flush(tmp_path, durability):
    runtime = relay_core.Relay()
    exporter = AtofExporter(tmp_path / "e.jsonl", durability=durability)
    runtime.register("subscriber", exporter)
    with runtime.scope("trip", "agent", input={"q": "naïve\n文"}) as trip:
        runtime.call_tool("search", {"n": 1}, lambda args: {"hits": 3})
        runtime.mark("ranked", data={"n": 3})
        trip.output = "done"
    report = runtime.flush(timeout=10)
    assert (report.timed_out, report.pending) == (False, 0)
    events = events_of(exporter.path)
    assert [(e.name, e.kind, getattr(e, "scope_category", None)) for e in events] == [
        ("trip", "scope", "start"),
        ("search", "scope", "start"),
        ("search", "scope", "end"),
        ("ranked", "mark", None),
        ("trip", "scope", "end"),
    ]
    assert events[0].data == {"q": "naïve\n文"}
    assert events[0].parent_uuid is None
    runtime.shutdown(timeout=10)
    assert exporter.stats().state == "closed"
    assert exporter.stats().written == 5


def test_every_line_is_compact_sorted_and_raw(tmp_path):
    runtime = relay_core.Relay()
    exporter = AtofExporter(tmp_path / "e.jsonl")
    runtime.register("subscriber", exporter)
    with runtime.scope("é", "agent", input={"b": 1, "a": "ü"}):
        pass
    runtime.shutdown(timeout=10)
    for line in exporter.path.read_text(encoding="utf-8").splitlines():
        decoded = json.loads(line)
        assert list(decoded) == sorted(decoded)
        assert line.startswith('{"atof_version":"0.1",')
        assert "\\u" not in line


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("relay.flush(10); os._exit(0)", 0),
        ("pass", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError('oops')", 1),
        ("threading.Thread(target=threading.Event().wait, daemon=True).start()", 0),
        ("relay.flush(10); os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("relay.flush(10); os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ],
)
def test_no_event_is_lost_however_the_program_ends(tmp_path, ending, code):
    program = f"{PROLOGUE}\n    for n in range(2000):\n        relay.mark(str(n))\n    {ending}\n"
    done = run(program, tmp_path / "e.jsonl")
    assert done.returncode == code, done.stderr
    assert [event.name for event in events_of(tmp_path / "e.jsonl")] == [str(n) for n in range(2000)]
    assert b"Exception ignored" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_each_forked_worker_writes_its_events_once(tmp_path):
    program = f"""{PROLOGUE}
    for n in range(100):
        relay.mark("before")
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            for n in range(500):
                relay.mark(f"child{{child}}")
            relay.shutdown(10)
            os._exit(0)
        children.append(pid)
    for n in range(100):
        relay.mark("after")
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    """
    done = run(program, tmp_path / "e.jsonl")
    assert done.returncode == 0, done.stderr
    names = [event.name for event in events_of(tmp_path / "e.jsonl")]
    assert {name: names.count(name) for name in set(names)} == {
        "before": 100,
        "after": 100,
        **{f"child{child}": 500 for child in range(4)},
    }


def test_the_program_does_not_notice_a_sink_that_cannot_write(tmp_path, caplog):
    (tmp_path / "a").write_bytes(b"a file in the way")
    runtime = relay_core.Relay()
    exporter = AtofExporter(tmp_path / "a" / "e.jsonl")
    runtime.register("subscriber", exporter)
    for number in range(1000):
        assert runtime.call_tool("double", number, lambda n: 2 * n) == 2 * number
    started = time.monotonic()
    report = runtime.shutdown(timeout=10)
    assert time.monotonic() - started < 10
    assert report.pending == 0
    stats = exporter.stats()
    assert stats.accepted == 2000 == sum(stats.dropped.values())
    assert len(told(caplog)) == 1


def test_many_calls_pass_and_are_counted(tmp_path):
    runtime = relay_core.Relay()
    exporter = AtofExporter(tmp_path / "e.jsonl")
    runtime.register("subscriber", exporter)
    for number in range(10_000):
        runtime.call_tool("echo", {"n": number}, lambda args: args)
        if number % 2_000 == 0:  # one that is held up for a quarter of a second gets a bounded queue of its own
            assert not runtime.flush(timeout=30).timed_out
    report = runtime.shutdown(timeout=30)
    assert report.dropped == 0
    assert exporter.stats().written == 20_000
    assert exporter.path.read_bytes().count(b"\n") == 20_000
