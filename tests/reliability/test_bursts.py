"""R5, R23, R31: more than usual at once, to a file, from threads and from tasks."""

from __future__ import annotations

import sys

import pytest

from tests.reliability.support import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")

# Not ru_maxrss: that begins with the size of the process that started this one.
PEAK = """
def size(what):
    with open("/proc/self/status", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith(what)).split()[1]) / 1024
"""

BURST = """
from relay_plugin_observability import AtofExporter
policy, each, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
runtime = relay.Relay(Settings(queue=Queue(policy=policy, block_timeout=60.0)))
exporter = AtofExporter(path)
runtime.register("subscriber", exporter)
runtime.mark("warm")
assert not runtime.flush(10.0).timed_out
before = size("VmRSS:")
def emit(letter):
    for n in range(each):
        runtime.mark("burst", data={"letter": letter, "n": n})
began = time.monotonic()
threads = [threading.Thread(target=emit, args=(letter,)) for letter in "abcd"]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
emitted = time.monotonic() - began
report = runtime.flush(400.0)
took = time.monotonic() - began
grown = size("VmHWM:") - before
found = runtime.stats()["subscribers"]["atof"]
stats = exporter.stats()
runtime.shutdown(5.0)
with open(path, "rb") as file:
    lines = sum(chunk.count(b"\\n") for chunk in iter(lambda: file.read(1 << 20), b""))
assert not report.timed_out
assert found["accepted"] == 4 * each + 1 == found["delivered"] + sum(found["dropped"].values()), found
assert found["pending"] == 0
assert stats.written == found["delivered"] == lines, (stats, lines)
print(json.dumps({"dropped": found["dropped"], "lines": lines, "emitted_s": emitted, "took_s": took, "grown_mb": grown}))
"""


@pytest.mark.parametrize("policy", ["block", "drop_newest", "drop_oldest"])
def test_R05_a_burst_of_four_threads_to_a_file(tmp_path, policy):
    found = run(tmp_path, PEAK + BURST, policy, 5_000, tmp_path / "e.jsonl")
    if policy == "block":
        assert (found["dropped"], found["lines"]) == ({}, 20_001)
    assert found["lines"] + sum(found["dropped"].values()) == 20_001


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("policy", ["block", "drop_newest", "drop_oldest"])
def test_R05_a_million_events_of_four_threads_to_a_file(tmp_path, policy, figure):
    found = run(tmp_path, PEAK + BURST, policy, 250_000, tmp_path / "e.jsonl", seconds=450)
    if policy == "block":
        assert (found["dropped"], found["lines"]) == ({}, 1_000_001)
    assert found["lines"] + sum(found["dropped"].values()) == 1_000_001
    assert found["grown_mb"] <= 150
    figure(f"R05, a million events to a file, {policy}: {found}")


TASKS = """
import asyncio, collections
count, attached = int(sys.argv[1]), sys.argv[2] == "attached"
open_, starts, wrong = {}, collections.Counter(), []
names = collections.Counter()
def check(event):
    if event.kind != "scope":
        return
    if event.scope_category == "start":
        parent = open_.get(event.parent_uuid)
        open_[event.uuid] = event.name
        names[event.name] += 1
        if event.name.startswith("task"):
            if event.parent_uuid is not None: wrong.append(event.name)
        elif parent != "task" + event.name.split("-")[1]:
            wrong.append((event.name, parent))
    else:
        if open_.pop(event.uuid, None) != event.name: wrong.append(("end", event.name))
if attached:
    relay.subscriber(check)
async def tool(args):
    await asyncio.sleep(0)
    return args
async def work(n):
    if not attached:
        for i in range(4):
            await tool({"n": n})
        return
    with relay.scope(f"task{n}", "agent"):
        for i in range(4):
            given = {"n": n}
            assert await relay.acall_tool(f"t{i}-{n}", given, tool) is given
async def main():
    if attached:
        relay.mark("warm")
    await asyncio.gather(*(work(n) for n in range(count)))
asyncio.run(main())
if attached:
    assert not relay.flush(60.0).timed_out
    found = relay.stats()["subscribers"]["check"]
    assert found["accepted"] == found["delivered"] == count * 10 + 1, found
    assert wrong == [], wrong[:5]
    assert open_ == {}, len(open_)
    assert len(names) == sum(names.values()) == count * 5
print(json.dumps(size("VmHWM:")))
"""


def test_R31_ten_thousand_tasks_with_four_calls_each(tmp_path, figure):
    """Well-formed, and at most 60 MB over the bare program; the checking subscriber's own tables count as well."""
    bare = run(tmp_path, PEAK + TASKS, 10_000, "bare")
    attached = run(tmp_path, PEAK + TASKS, 10_000, "attached")
    assert attached - bare <= 60, (bare, attached)
    figure(f"R31, 10,000 tasks with four calls each: {bare:.0f} MB bare, {attached:.0f} MB attached")
