"""A recording that checks every line it gets, and the reference scenario played on it.

The scenario is one agent run with everything that events can show: parallel tools, a failing and two blocked calls, a
sub-agent with a stream, every category, marks and metrics.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import jsonschema

import relay_core as relay
from relay_core.events import parse_event
from tests.core.chat_codec import ChatCodec

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parent / "golden" / "atof.schema.json").read_text())
)


class Recording:
    """A runtime and the events it has emitted. On leaving, every line must keep the schema and read back the same."""

    def __init__(self, settings=None, **options):
        self.relay = relay.Relay(settings, **options)
        self._events = []
        self.relay.subscriber(self._events.append, name="recording")
        self.faults = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        self.relay.shutdown(timeout=20.0)
        if kind is None:
            self.check()

    def check(self):
        assert self.relay.counters.get("faults", 0) == self.faults
        ended = set()
        for event in self._events:
            line = event.to_json()
            assert b"\n" not in line
            SCHEMA.validate(json.loads(line))
            assert parse_event(line).to_dict() == event.to_dict()
            if event.kind == "scope" and event.scope_category == "end":
                assert event.uuid not in ended, f"{event.name} ended twice"
                ended.add(event.uuid)

    @property
    def events(self):
        assert not self.relay.flush(timeout=20.0).timed_out
        return self._events

    def clear(self):
        self.events.clear()

    def shape(self):
        """Each event in a few words: "+tool search" for a start, "-tool search ok" for an end, "*ranked" for a mark."""
        return [_words(event) for event in self.events]

    def find(self, name, phase=None):
        """The one event of this name, of this phase if told."""
        found = [e for e in self.events if e.name == name and (phase is None or phase == phase_of(e))]
        assert len(found) == 1, f"{len(found)} events {name!r} {phase}: {self.shape()}"
        return found[0]

    def start(self, name):
        return self.find(name, "start")

    def end(self, name):
        return self.find(name, "end")

    def parents(self):
        """Name of the parent of each scope and mark, by name."""
        names = {e.uuid: e.name for e in self.events if e.kind == "scope"}
        return {e.name: names.get(e.parent_uuid) for e in self.events}


def phase_of(event):
    return event.scope_category if event.kind == "scope" else "mark"


def _words(event):
    if event.kind == "mark":
        return f"*{event.name}"
    if event.scope_category == "start":
        return f"+{event.category} {event.name}"
    return f"-{event.category} {event.name} {event.status}"


def normalised(lines):
    """What two runs of one scenario must have in common: no ids and times; parents by name; concurrent calls in turn.

    Args:
        lines: the decoded lines of a file.
    """
    names = {line["uuid"]: line["name"] for line in lines if line["kind"] == "scope"}
    targets = {line["uuid"]: line["data"]["target_name"] for line in lines if _has_target(line)}
    rows = [_row(line, names) for line in lines]
    spots = [i for i, row in enumerate(rows) if row["parent"] == "parallel-tools"]
    turn = [targets.get(lines[i]["uuid"], lines[i]["name"]) for i in spots]
    order = sorted(range(len(spots)), key=lambda k: turn.index(turn[k]))
    for spot, row in zip(spots, [rows[spots[k]] for k in order], strict=True):
        rows[spot] = row
    return rows


def _has_target(line):
    return line["category"] == "guardrail" and isinstance(line["data"], dict) and "target_name" in line["data"]


def _row(line, names):
    profile = dict(line["category_profile"]) if line["category_profile"] is not None else None
    if profile and "time_to_first_chunk" in profile:
        profile["time_to_first_chunk"] = "seconds"
    parent = line["parent_uuid"]
    return {
        "what": f"{line['category'] or 'mark'} {line.get('scope_category', '')}".strip(),
        "name": line["name"],
        "parent": None if parent is None else names.get(parent, "a scope without events"),
        "data": line["data"],
        "metadata": line["metadata"],
        "profile": profile,
        "attributes": line.get("attributes"),
        "data_schema": line["data_schema"],
    }


# -- the scenario ------------------------------------------------------------------------------------------------------

_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_ZONE = {"type": "object", "properties": {"tz": {"type": "string"}}}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather by city", "parameters": _CITY},
    },
    {"type": "function", "function": {"name": "get_time", "description": "Clock", "parameters": _ZONE}},
]
QUESTION = "Weather in Oslo and the time?"


def _asked(call_id, name, arguments):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def _reply(response_id, content, finish, usage, tool_calls=None):
    message = {"role": "assistant", "content": content, **({"tool_calls": tool_calls} if tool_calls else {})}
    return {
        "id": response_id,
        "object": "chat.completion",
        "created": 1767225600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "system_fingerprint": "fp_x",
        "usage": usage,
    }


def _used(prompt, completion, **details):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}


def _user(text):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}


class Codec(ChatCodec):
    """Also tells what a chunk is, as provider codecs do."""

    def describe_chunk(self, chunk):
        choices = [choice["index"] for choice in chunk["choices"]]
        return {"provider": "openai_chat_completions", "event_type": chunk["object"], "choice_indices": choices}


def register(runtime):
    """What the reference run has registered: two guardrails and the rewriting of what observers see."""

    @runtime.guardrail("tool", name="no-rm", priority=10)
    def no_rm(call):
        return relay.Block("tool rm_rf is denied") if call.name == "rm_rf" else None

    @runtime.guardrail("llm", name="no-forbidden", priority=10)
    def no_forbidden(call):
        said = [message.get("content") for message in call.request["messages"]]
        return relay.Block("forbidden prompt") if "FORBIDDEN" in said else None

    @runtime.sanitizer(name="redact", priority=10)
    def redact(event):
        data = event.data
        if event.category == "tool" and isinstance(data, dict) and "api_key" in data:
            return event.replace(data={**data, "api_key": "[REDACTED]"})
        return event.replace(data={**data, "sanitized": True}) if event.name == "workflow_start" else event


async def play(runtime):
    """Run the scenario on a runtime that has `register` applied."""
    codec = Codec()
    options = {"model": "gpt-4o-mini", "codec": codec}
    who = {"session_id": "sess-001", "user.id": "u-42"}
    async with runtime.scope(
        "root-agent", "agent", input={"question": QUESTION}, metadata=who, attributes=["relocatable"]
    ):
        runtime.mark("workflow_start", data={"phase": 1}, metadata={"trace_id": "abc"}, severity="info")
        messages = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": QUESTION}]
        await _first_turn(runtime, messages, options)
        await _tools(runtime)
        await _refusals(runtime, options)
        await _second_turn(runtime, messages, options)
        await _subagent(runtime, options)
        _categories(runtime)
        _by_hand(runtime, codec)
        _marks(runtime)


async def _first_turn(runtime, messages, options):
    calls = [_asked("call_w1", "get_weather", {"city": "Oslo"}), _asked("call_t1", "get_time", {"tz": "CET"})]
    details = {"prompt_tokens_details": {"cached_tokens": 10}, "completion_tokens_details": {"reasoning_tokens": 4}}

    async def send(request):
        return _reply("chatcmpl-1", None, "tool_calls", _used(50, 20, **details), calls)

    request = {"model": "gpt-4o-mini", "messages": messages, "tools": TOOLS, "temperature": 0.2, "max_tokens": 128}
    await runtime.acall_llm(
        "openai",
        {**request, "reasoning_effort": "low"},
        send,
        headers={"authorization": "Bearer sk-secret", "x-req": "1"},
        metadata={"request_id": "r1"},
        **options,
    )


async def _tools(runtime):
    asked = {name: asyncio.Event() for name in ("weather", "clock")}

    async def weather(args):
        asked["weather"].set()
        await asked["clock"].wait()  # the clock answers first
        return {"temp_c": -3, "api_key": "secret-key"}

    async def clock(args):
        await asked["weather"].wait()
        asked["clock"].set()
        return "12:00"

    async def boom(args):
        raise ValueError("kaboom: disk on fire")

    with runtime.scope("parallel-tools", attributes=["parallel"]):
        await asyncio.gather(
            runtime.acall_tool(
                "get_weather",
                {"city": "Oslo", "api_key": "k-123"},
                weather,
                tool_call_id="call_w1",
                attributes=["remote"],
                metadata={"m": 1},
            ),
            runtime.acall_tool("get_time", {"tz": "CET"}, clock, tool_call_id="call_t1"),
        )
    with _expected(ValueError):
        await runtime.acall_tool("boom", {"x": 1}, boom, tool_call_id="call_b1")


async def _refusals(runtime, options):
    async def never(request):
        raise AssertionError("must not run")

    async def upstream(request):
        raise RuntimeError("HTTP 500 upstream")

    with _expected(relay.Blocked):
        await runtime.acall_tool("rm_rf", {"path": "/"}, never, tool_call_id="call_x1")
    with _expected(relay.Blocked):
        await runtime.acall_llm("openai", _user("FORBIDDEN"), never, **options)
    with _expected(RuntimeError):
        await runtime.acall_llm("openai", _user("again"), upstream, **options)


async def _second_turn(runtime, messages, options):
    calls = [_asked("call_w1", "get_weather", {"city": "Oslo"}), _asked("call_t1", "get_time", {"tz": "CET"})]
    more = [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_w1", "content": '{"temp_c": -3}'},
        {"role": "tool", "tool_call_id": "call_t1", "content": "12:00"},
    ]

    async def send(request):
        return _reply("chatcmpl-2", "It is -3C, 12:00.", "stop", _used(90, 12))

    request = {"model": "gpt-4o-mini", "messages": messages + more, "tools": TOOLS}
    await runtime.acall_llm("openai", request, send, **options)


async def _subagent(runtime, options):
    def chunk(text):
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        return {
            "id": "chatcmpl-3",
            "object": "chat.completion.chunk",
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [choice],
        }

    async def stream(request):
        for text in ("Oslo ", "is ", "cold."):
            yield chunk(text)

    def assemble(chunks):
        text = "".join(c["choices"][0]["delta"]["content"] for c in chunks)
        return _reply("chatcmpl-3", text, "stop", _used(11, 3))

    async def search(args):
        return {"docs": ["a", "b"]}

    metadata = {"session_id": "sess-001", "subagent": True}
    with runtime.scope("research-subagent", "agent", input={"task": "summarise"}, metadata=metadata):
        request = {**_user("Summarise."), "stream": True}
        chunks = runtime.astream_llm("openai", request, stream, assemble=assemble, attributes=["stateful"], **options)
        async for _ in chunks:
            pass
        await runtime.acall_tool("search_docs", {"q": "oslo"}, search)


def _categories(runtime):
    with runtime.scope("vector-lookup", "retriever", input={"query": "oslo"}):
        pass
    named = {"embed": "embedder", "rerank": "reranker", "judge": "evaluator", "gr": "guardrail"}
    for name, category in {**named, "cust": "custom", "unk": "unknown"}.items():
        with runtime.scope(name, category):
            pass
    with _expected(KeyError), runtime.scope("failing-fn"):
        raise KeyError("nope")


def _by_hand(runtime, codec):
    data = {"headers": {}, "content": _user("manual")}
    scope = runtime.open_scope("openai", "llm", input=data, profile={"model_name": "gpt-4o-mini"})
    reply = _reply("chatcmpl-4", "ok", "stop", _used(5, 1))
    scope.close(output=reply, view=codec.decode_response(reply))
    runtime.open_scope("manual_tool", "tool", input={"a": 1}, profile={}).close(output={"fallback": True})


def _marks(runtime):
    kinds = [
        relay.Measurement(
            "demo.turns", "counter", "u64", 1, unit="{turn}", description="turns", attributes={"agent": "root"}
        ),
        relay.Measurement("demo.latency", "histogram", "f64", 12.5, unit="ms", boundaries=[5.0, 10.0, 20.0]),
        relay.Measurement("demo.depth", "gauge", "i64", -2),
        relay.Measurement("demo.inflight", "up_down_counter", "i64", 3),
    ]
    runtime.metric("turn.metrics", kinds)
    schema = {"name": "demo.schema", "version": "2"}
    runtime.mark("typed-mark", data={"x": 1}, data_schema=schema, severity="warn")
    runtime.mark("no-severity-mark", data="just a string")
    runtime.mark("err-mark", data={"message": "bad"}, severity="error")


class _expected:
    def __init__(self, kind):
        self._kind = kind

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        assert kind is not None, f"{self._kind.__name__} expected"
        return kind is self._kind
