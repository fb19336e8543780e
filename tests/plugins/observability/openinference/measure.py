"""What a span costs in CPU: ``python -m tests.plugins.observability.openinference.measure``.

Prints microseconds for each span, the best of several runs: over all scenarios, and for two common calls whose events
have been read before (warm) and have not (cold: making the payloads of an event is shared by all its readers).
"""

from __future__ import annotations

import sys
import time

from relay_adapter_openai.codecs import ChatCodec
from tests.plugins.observability.openinference.support import projection, records
from tests.plugins.observability.scenarios import (
    LLM,
    MODEL,
    SCENARIOS,
    SEARCH,
    deterministic_relay,
    give,
    play,
    reply,
    request,
    said,
    system,
    used,
    user,
)

CHAT = ChatCodec()
ROUNDS = 7


def cpu(found):
    subject = projection()
    began = time.process_time()
    for one in found:
        subject.project(one)
    return (time.process_time() - began) / len(found) * 1e6


def calls(make, count=200):
    relay, events = deterministic_relay(), []
    relay.subscriber(events.append)
    for number in range(count):
        make(relay, number)
    relay.shutdown(timeout=20.0)
    return records(events)


def tool(relay, number):
    relay.call_tool("search", {"q": f"x{number}"}, give({"hits": 3}), tool_call_id=f"c{number}")


def llm(relay, number, codec=CHAT):
    body = request(system("Be brief."), user("Hi."), tools=[SEARCH], temperature=0.2)
    answer = reply(number, said("Hello."), used(50, 20))
    relay.call_llm("openai", body, give(answer), model=MODEL, codec=codec)


def other_llm(relay, number):
    """By a codec that makes no outlines."""
    llm(relay, number, LLM["codec"])


def main():
    everything = [one for name in SCENARIOS for one in records(play(name))]
    cpu(everything)
    rows = {"all scenarios, warm": min(cpu(everything) for _ in range(ROUNDS))}
    for make in (tool, llm, other_llm):
        rows[f"{make.__name__} call, cold"] = min(cpu(calls(make)) for _ in range(ROUNDS))
        found = calls(make)
        cpu(found)
        rows[f"{make.__name__} call, warm"] = min(cpu(found) for _ in range(ROUNDS))
    for name, cost in rows.items():
        sys.stdout.write(f"{name:24}{cost:8.1f} µs per span\n")


if __name__ == "__main__":
    main()
