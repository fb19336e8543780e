"""R29, R31 to R33, R35: clocks that jump, payloads without end, an hour of work, and the same bytes each time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from relay_core import Relay, parse_event
from relay_core.ids import parse_uuid
from relay_plugin_observability import AtofExporter
from tests.reliability.support import assert_account, run, whole_lines

YEAR_1969 = -86_400 * 10**9
YEAR_10000 = 253_402_300_800 * 10**9
NOW = 1_800_000_000 * 10**9


@pytest.fixture
def relay():
    made = Relay()
    yield made
    made.shutdown(timeout=20.0)


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("back an hour", [NOW, NOW + 10**9, NOW - 3_600 * 10**9, NOW - 3_599 * 10**9]),
        ("equal", [NOW] * 4),
        ("1969", [YEAR_1969 + n for n in range(4)]),
        ("10000", [YEAR_10000 + n for n in range(4)]),
        ("from 1969 to 10000 and back", [YEAR_1969, YEAR_10000, NOW, YEAR_1969]),
        ("before the calendar", [-(2**63)] * 4),
        ("after it", [2**63 - 1] * 4),
    ],
)
def test_R29_a_clock_that_jumps(tmp_path, name, times):
    left = list(times)
    relay = Relay(clock=lambda: left.pop(0) if len(left) > 1 else left[0])
    exporter = AtofExporter(tmp_path / "e.jsonl")
    relay.register("subscriber", exporter)
    for n in range(4):
        with relay.scope(f"s{n}"):
            assert relay.call_tool("t", n, lambda n: n) == n
    report = relay.shutdown(timeout=20.0)
    assert (report.pending, report.timed_out) == (0, False)
    lines = (tmp_path / "e.jsonl").read_bytes().splitlines()
    assert len(lines) == 16, exporter.stats()
    assert all(parse_uuid(json.loads(line)["uuid"]) for line in lines)
    assert_account(relay, "atof", 16, dropped={})


def test_R29_durations_and_order_do_not_follow_the_systems_clock(tmp_path, monkeypatch):
    """The clock of the system is set back an hour in the middle of a scope."""
    relay = Relay()
    exporter = AtofExporter(tmp_path / "e.jsonl")
    relay.register("subscriber", exporter)
    shift, real = [0], time.time_ns
    relay.clock = lambda: real() + shift[0]
    with relay.scope("outer"):
        relay.mark("before")
        shift[0] = -3_600 * 10**9
        with relay.scope("inner"):
            time.sleep(0.01)
    relay.shutdown(timeout=20.0)
    events = [parse_event(line) for line in (tmp_path / "e.jsonl").read_bytes().splitlines()]
    span = {}
    for event in events:
        if event.kind == "scope":
            span.setdefault(event.name, []).append(event.timestamp_ns)
    for name, (began, ended) in span.items():
        assert 10_000_000 <= ended - began < 30 * 10**9, name
    ids = [event.uuid for event in events if event.kind == "mark" or event.scope_category == "start"]
    assert ids == sorted(ids), "identities grow in the order of emission"


HUGE = {
    "a text of 100 MB": lambda: "x" * 100_000_000,
    "bytes of 100 MB": lambda: b"x" * 100_000_000,
    "a million keys": lambda: {f"k{n}": n for n in range(1_000_000)},
    "a million items": lambda: list(range(1_000_000)),
    "5,000 deep": lambda: _deep(5_000),
    "a text of ten million other letters": lambda: "\u6587" * 10_000_000,
}


def _deep(levels):
    made = []
    for _ in range(levels):
        made = [made]
    return made


@pytest.mark.parametrize("what", HUGE)
def test_R32_payloads_without_end_take_bounded_time_and_room(relay, what, tmp_path):
    exporter = AtofExporter(tmp_path / "e.jsonl")
    relay.register("subscriber", exporter)
    payload = HUGE[what]()
    took = []
    for _ in range(3):
        began = time.thread_time()
        relay.mark("m", data=payload)
        took.append(time.thread_time() - began)
    assert not relay.flush(timeout=30.0).timed_out
    assert min(took) < 0.05, f"{min(took) * 1000:.0f} ms on the caller's thread"
    lines = whole_lines(tmp_path / "e.jsonl")
    assert len(lines) == 3
    assert (tmp_path / "e.jsonl").stat().st_size < 3 * 3_000_000
    assert_account(relay, "atof", 3, dropped={})


@pytest.mark.slow
def test_R31_the_lag_that_relay_adds_to_an_event_loop(tmp_path, figure):
    """500 tasks that call a tool with 10 kB, with and without a file."""

    async def tool(args):
        await asyncio.sleep(0.001)
        return args

    async def watch(lags, done):
        loop = asyncio.get_running_loop()
        while not done.is_set():
            before = loop.time()
            await asyncio.sleep(0.001)
            lags.append(loop.time() - before - 0.001)

    async def work(relay):
        for n in range(4):
            await relay.acall_tool("t", {"n": n, "text": "lorem ipsum " * 850}, tool)

    async def main(relay):
        lags, done = [], asyncio.Event()
        watcher = asyncio.create_task(watch(lags, done))
        for _ in range(10):
            for _ in range(50):
                asyncio.create_task(work(relay))  # noqa: RUF006  # the sleep below outlives it
                await asyncio.sleep(0.002)
            await asyncio.sleep(0.1)
        done.set()
        await watcher
        lags.sort()
        return lags[len(lags) * 99 // 100] * 1000

    bare = asyncio.run(main(Relay()))
    relay = Relay()
    relay.register("subscriber", AtofExporter(tmp_path / "e.jsonl"))
    attached = asyncio.run(main(relay))
    assert not relay.flush(timeout=20.0).timed_out
    assert_account(relay, "atof", 4_000, dropped={})
    figure(f"R31, 99th percentile of the loop's lag {bare:.1f} ms bare, {attached:.1f} ms with a file")
    assert attached - bare <= 10  # 5 in peace


def test_R33_runs_that_are_abandoned_leave_nothing(tmp_path):
    """Two seconds of the hour: what is open after it is nothing, and every event is in the file."""
    found = _soak(2, tmp_path)
    assert found["live_scopes"] == 0


@pytest.mark.slow
@pytest.mark.timeout(4_000)
def test_R33_an_hour_of_work_does_not_grow(tmp_path, figure):
    found = _soak(3_600, tmp_path)
    figure(f"R33, an hour: {found}")
    assert found["live_scopes"] == 0
    assert found["slope_kb_per_hour"] < 1_024


def _soak(seconds, folder):
    script = Path(__file__).with_name("soak.py")
    done = subprocess.run(
        [sys.executable, "-W", "error", script, str(seconds), folder],
        capture_output=True,
        timeout=seconds + 60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    account = found["account"]
    assert account["accepted"] == account["delivered"] == found["written"]
    assert (account["pending"], account["dropped"], found["timed_out"], found["counters"]) == (0, {}, False, {})
    return found


def test_R35_the_same_bytes_whatever_the_hash_seed(tmp_path):
    """Sets excepted: a payload shows their members in the order in which the interpreter gives them."""
    text = """
        import itertools
        from relay_plugin_observability import AtofExporter
        ticks, numbers = itertools.count(1_800_000_000 * 10**9, 1_000), itertools.count(1)
        runtime = relay.Relay(
            clock=lambda: next(ticks), ids=lambda: f"00000000-0000-7000-8000-{next(numbers):012x}"
        )
        runtime.register("subscriber", AtofExporter(sys.argv[1]))
        runtime.sanitizer(lambda event: event)
        with runtime.scope("trip", "agent", input={"z": 1, "a": 2, "tags": list("bacd")}):
            runtime.call_tool("search", {"q": [str(n) for n in range(20)]}, lambda args: {"hits": "xyz"})
            runtime.mark("m", data={"api_key": "sk-1234567890abcdefghijklmn"}, metadata={"k2": 1, "k1": 2})
        runtime.shutdown(20.0)
        """
    made = set()
    for seed in ("0", "1", "12345"):
        path = tmp_path / f"{seed}.jsonl"
        run(tmp_path, text, path, env={"PYTHONHASHSEED": seed})
        made.add(path.read_bytes())
    assert len(made) == 1


def test_R26_a_generator_that_moves_between_threads(relay):
    """Each step on another thread: the scope it holds ends once, and no thread is left inside it."""
    seen = []
    relay.register("subscriber", seen.append, name="seen")

    @relay.scope("steps")
    def steps():
        for n in range(4):
            with relay.scope(f"step{n}"):
                yield n

    moving, got, current = steps(), [], []

    def step():
        got.append(next(moving, None))
        current.append(relay.current())

    for _ in range(5):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    relay.flush(timeout=20.0)
    assert got == [0, 1, 2, 3, None]
    assert relay.current() is None
    ends = [event.name for event in seen if event.kind == "scope" and event.scope_category == "end"]
    assert sorted(ends) == ["step0", "step1", "step2", "step3", "steps"]
    assert_account(relay, "seen", 10, dropped={})
