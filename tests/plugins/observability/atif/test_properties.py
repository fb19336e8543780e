"""Whatever a program does, its documents keep the rules, and long runs stay small."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from relay_core.events import parse_event
from relay_plugin_observability.atif import Builder, convert_events, read_atif
from tests.plugins.observability.atif.goldens import every_trajectory
from tests.plugins.observability.scenarios import deterministic_relay

CATEGORIES = ["agent", "agent", "tool", "tool", "tool", "llm", "llm", "function", "guardrail", "custom"]
NAMES = ["a", "b"]
MOVE = st.tuples(
    st.sampled_from(["open", "open", "close", "mark", "refuse"]),
    st.sampled_from(CATEGORIES),
    st.sampled_from(NAMES),
    st.integers(0, 7),
    st.sampled_from([None, "c1", "c2"]),
    st.sampled_from(["ok", "error", "cancelled", "blocked", "cached", "handoff"]),
)


def shaped(category, name, call_id):
    """Input and output of a scope, such that wishes and executions often meet."""
    if category == "llm":
        wish = {"id": call_id, "function": {"name": name, "arguments": "{}"}}
        request = {"headers": {}, "content": {"messages": [{"role": "user", "content": name}]}}
        return request, {"choices": [{"message": {"content": None, "tool_calls": [wish]}}]}
    if category == "guardrail":
        return {"kind": "tool_conditional_execution", "target_name": name}, {"allowed": True}
    return {}, "done"


def play(moves):
    relay, events, scopes = deterministic_relay(), [], []
    relay.subscriber(events.append, name="property")
    for what, category, name, number, call_id, status in moves:
        parent = scopes[number % len(scopes)][0] if scopes and number < 6 else None
        if what == "open":
            given_, made = shaped(category, name, call_id)
            profile = {"tool_call_id": call_id} if category == "tool" and call_id else None
            metadata = {"nemo_relay_scope_role": "turn"} if category == "custom" else None
            scope = relay.open_scope(name, category, input=given_, parent=parent, profile=profile, metadata=metadata)
            scopes.append((scope, made))
        elif what == "close" and scopes:
            scope, made = scopes.pop(number % len(scopes))
            scope.close(output=made, status=status)
        elif what == "mark":
            relay.mark("compaction" if number % 2 else "note", data={"n": number}, parent=parent)
        elif what == "refuse":
            relay.mark(name, data={"rejected": True, "rejection_reason": "no"}, parent=parent)
    assert not relay.shutdown(timeout=10.0).timed_out
    return events


@settings(max_examples=150)
@given(moves=st.lists(MOVE, max_size=40))
def test_any_program_gives_valid_documents_that_lose_no_execution(moves):
    events = play(moves)
    documents = convert_events(events).documents
    for document in documents:
        read_atif(document)
    ended = [e.uuid for e in events if e.kind == "scope" and e.category == "tool" and e.scope_category == "end"]
    shown = [
        call["extra"]["invocation"]["invocation_id"]
        for trajectory in every_trajectory(documents)
        for step in trajectory["steps"]
        for call in step.get("tool_calls", ())
        if "invocation" in call.get("extra", {})
    ]
    assert sorted(shown) == sorted(ended)


def long_run(turns):
    """The events of a run whose turns are a question and an answer that asks for a tool, which runs; one by one."""
    number = 0

    def event(phase, category, name, data, **profile):
        nonlocal number
        number += 1
        uuid = name if category == "agent" else f"{category}-{number - (phase == 'end')}"
        row = {"kind": "scope", "scope_category": phase, "uuid": uuid, "name": name, "category": category}
        row |= {"parent_uuid": None if category == "agent" else "run", "timestamp": 1_767_225_600_000_000 + number}
        return parse_event({**row, "data": data, "category_profile": profile})

    yield event("start", "agent", "run", None)
    for turn in range(turns):
        body = {"messages": [{"role": "user", "content": f"{turn} " + "x" * 1_000}]}
        wish = {"id": f"c{turn}", "function": {"name": "search", "arguments": '{"q": "x"}'}}
        yield event("start", "llm", "model", {"headers": {}, "content": body})
        yield event("end", "llm", "model", {"choices": [{"message": {"content": "y", "tool_calls": [wish]}}]})
        yield event("start", "tool", "search", {"q": "x"}, tool_call_id=f"c{turn}")
        yield event("end", "tool", "search", {"hits": [turn]}, tool_call_id=f"c{turn}")
    yield event("end", "agent", "run", None)


def test_ten_thousand_steps_take_little_memory(tmp_path):
    written = []

    def write(document):
        size = 0
        with (tmp_path / "document.json").open("wb") as file:
            for piece in document.pieces():
                size += file.write(piece)
        written.append(size)

    builder = Builder(write, folder=str(tmp_path))
    held = 0
    tracemalloc.start()
    try:
        for event in long_run(5_000):
            if len(builder) and event.name == "run":
                held = tracemalloc.get_traced_memory()[0]
            builder.add(event)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert written[0] > 9_000_000
    assert held < 5_000_000
    assert peak < 10_000_000
    document = read_atif(tmp_path / "document.json")
    assert len(document.steps) == 10_000
    assert all(step.observation for step in document.steps[1::2])
