"""A server for an hour, as a program: `python tests/reliability/soak.py SECONDS FOLDER` prints what it grew by, as JSON.

200 events a second from runs with tools, models, marks and streams; one run in twenty is abandoned, never closed. What
runs leave behind must go: the resident size and the number of live objects stay level after the warm-up.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path

import relay_core as relay
from relay_core.scopes import Scope
from relay_plugin_observability import AtofExporter
from relay_plugin_observability.rotation import Rotation

RUNS_PER_SECOND = 20  # of ten events each
SAMPLES = 60


def resident():
    """The process's resident size in kB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


async def chunks(request):
    for n in range(3):
        yield {"n": n}


async def run(n):
    if n % 20 == 0:  # somebody forgets about it: opened, never closed, collected
        lost = relay.open_scope("abandoned", "agent", input={"n": n}, parent=None)
        relay.open_scope("step", parent=lost)
        relay.mark("m", parent=lost)
        stream = relay.astream_llm("model", {"n": n}, chunks)
        await anext(stream)
        return
    with relay.scope("run", "agent", input={"n": n}) as scope:
        await relay.acall_tool("search", {"query": f"q{n}"}, lambda args: {"hits": [n] * 10})
        relay.mark("ranked", data={"n": n})
        async for _ in relay.astream_llm("model", {"messages": [{"role": "user", "content": "x" * 500}]}, chunks):
            await asyncio.sleep(0)
        scope.output = "done"


async def main(seconds, folder):
    exporter = AtofExporter(f"{folder}/soak.jsonl", rotation=Rotation(max_bytes=10_000_000, keep=2))
    relay.register("subscriber", exporter)
    began, n, samples = time.monotonic(), 0, []
    while (passed := time.monotonic() - began) < seconds:
        if passed >= len(samples) * seconds / SAMPLES:
            gc.collect()
            samples.append((passed, resident()))
        await asyncio.gather(*(run(n + i) for i in range(RUNS_PER_SECOND)))
        n += RUNS_PER_SECOND
        await asyncio.sleep(max(0.0, began + n / RUNS_PER_SECOND - time.monotonic()))
    report = relay.flush(timeout=30.0)
    gc.collect()
    account = relay.stats()["subscribers"]["atof"]
    later = [(at, kb) for at, kb in samples if at >= seconds / 6]  # the rest is warm-up
    middle = sum(at for at, _ in later) / len(later)
    mean = sum(kb for _, kb in later) / len(later)
    slope = sum((at - middle) * (kb - mean) for at, kb in later) / max(1e-9, sum((at - middle) ** 2 for at, _ in later))
    live = sum(isinstance(thing, Scope) for thing in gc.get_objects())
    result = {
        "seconds": round(time.monotonic() - began),
        "runs": n,
        "account": account,
        "timed_out": report.timed_out,
        "written": exporter.stats().written,
        "live_scopes": live,
        "first_kb": later[0][1],
        "last_kb": later[-1][1],
        "slope_kb_per_hour": round(slope * 3600),
        "counters": relay.stats()["counters"],
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2]))
