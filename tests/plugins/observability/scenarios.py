"""Runs that every exporter must be able to show, played on a runtime whose times and ids are always the same.

`SCENARIOS` maps a name to a function of a runtime, plain or async. `play` runs one and gives its events; a subscriber that
is handed in gets them too. Exporters keep one golden file for each name.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
from itertools import count

import relay_core
from tests.core.chat_codec import ChatCodec

START_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
TICK_NS = 1_000_000
MODEL = "gpt-4o-mini"
SERVED = "gpt-4o-mini-2024-07-18"
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c63f8cfc0f01f0005000201a5f645400000000049454e44ae426082"
    )
).decode()


class Codec(ChatCodec):
    """Also tells what a chunk is, as provider codecs do."""

    def describe_chunk(self, chunk):
        choices = [choice["index"] for choice in chunk["choices"]]
        return {"provider": "openai_chat_completions", "event_type": chunk["object"], "choice_indices": choices}


CODEC = Codec()
LLM = {"model": MODEL, "codec": CODEC}


def deterministic_relay(settings=None):
    """A runtime whose clock moves one millisecond at each look, and whose ids are counted."""
    ticks, numbers = count(START_NS, TICK_NS), count(1)
    return relay_core.Relay(
        settings,
        clock=lambda: next(ticks),
        ids=lambda: f"01b77777-0000-7000-8000-{next(numbers):012x}",
    )


def play(name, subscriber=None, *, settings=None):
    """Run a scenario to its end.

    Args:
        name: in `SCENARIOS`; or a scenario itself.
        subscriber: gets the events as they come; an object with `close` is closed by the runtime's shutdown.
        settings: of the runtime.

    Returns:
        All its events, in order. Scopes that a crash left open have no end event.
    """
    relay = deterministic_relay(settings)
    events = []
    relay.subscriber(events.append, name="scenario-events")
    if subscriber is not None:
        relay.register("subscriber", subscriber, name="scenario-subject")
    scenario = name if callable(name) else SCENARIOS[name]
    if inspect.iscoroutinefunction(scenario):
        with asyncio.Runner() as runner:
            runner.run(scenario(relay))
    else:
        scenario(relay)
    report = relay.shutdown(timeout=20.0)
    assert not report.timed_out, f"scenario {name!r}: {report}"
    assert relay.counters.get("faults", 0) == 0, relay.counters
    return events


# -- pieces ------------------------------------------------------------------------------------------------------------


def tool_definition(name, description, **properties):
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


SEARCH = tool_definition("search", "Search the web", q="string")
WEATHER = tool_definition("get_weather", "Weather by city", city="string")
CLOCK = tool_definition("get_time", "Clock", tz="string")
PLAN = tool_definition("delegate", "Hand a task to the researcher", task="string")


def asked(call_id, name, **arguments):
    """A tool call as the model writes it."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def answered(call_id, content):
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def said(content=None, calls=None, **more):
    return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {}), **more}


def user(content):
    return {"role": "user", "content": content}


def system(content):
    return {"role": "system", "content": content}


def request(*messages, tools=None, **more):
    return {"model": MODEL, "messages": list(messages), **({"tools": tools} if tools else {}), **more}


def used(prompt, completion, *, cached=None, reasoning=None):
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage


def reply(number, message, usage=None, finish=None, model=SERVED):
    finish = finish or ("tool_calls" if message.get("tool_calls") else "stop")
    body = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1767225600,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    return body if usage is None else {**body, "usage": usage}


def chunk(number, *, finish=None, usage=None, **delta):
    body = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "model": SERVED,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return body if usage is None else {**body, "usage": usage}


def give(value):
    """A function that answers with `value`, whatever it is asked."""
    return lambda _: value


def fail(error):
    """A function that raises `error`."""

    def raising(_):
        raise error

    return raising


class expected:
    """The block must raise this error, which goes no further."""

    def __init__(self, kind):
        self._kind = kind

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        assert kind is not None, f"{self._kind.__name__} expected"
        return issubclass(kind, self._kind)


# -- scenarios ---------------------------------------------------------------------------------------------------------


def simple(relay):
    """One question, one answer; reasoning, cached tokens and a session."""
    messages = (system("You are terse."), user("What is 2 + 2?"))
    message = said("4", reasoning_content="Two and two are four.")
    metadata = {"session_id": "sess-001", "user.id": "u-42"}
    with relay.scope("calculator", "agent", input={"question": "What is 2 + 2?"}, metadata=metadata) as scope:
        body = request(*messages, reasoning_effort="low", temperature=0.2)
        relay.call_llm(
            "openai", body, give(reply(1, message, used(50, 20, cached=10, reasoning=4))), headers={"x-req": "1"}, **LLM
        )
        scope.output = "4"


def tool_loop(relay):
    """Two turns with one tool in between; the tool gives JSON."""
    first = (system("Be helpful."), user("Weather in Oslo?"))
    calls = [asked("call_w1", "get_weather", city="Oslo")]
    with relay.scope("weather-agent", "agent"):
        body = request(*first, tools=[WEATHER, CLOCK])
        relay.call_llm("openai", body, give(reply(1, said(None, calls), used(60, 12))), **LLM)
        relay.call_tool("get_weather", {"city": "Oslo"}, give({"temp_c": -3}), tool_call_id="call_w1")
        body = request(*first, said(None, calls), answered("call_w1", '{"temp_c": -3}'), tools=[WEATHER, CLOCK])
        relay.call_llm("openai", body, give(reply(2, said("It is -3 C."), used(90, 8, cached=50))), **LLM)


def nested_agents(relay):
    """An agent in a function in an agent, and one more level; the inner ones answer by themselves."""
    with relay.scope("outer", "agent", metadata={"session_id": "sess-nested"}):
        relay.call_llm("openai", request(user("Plan it.")), give(reply(1, said("Planned."), used(10, 2))), **LLM)
        with relay.scope("step-one"), relay.scope("middle", "agent", input="do the first part") as middle:
            relay.call_llm("openai", request(user("Part one.")), give(reply(2, said("Done."), used(20, 3))), **LLM)
            with relay.scope("inner", "agent", input={"task": "detail"}) as inner:
                relay.call_llm("openai", request(user("Detail.")), give(reply(3, said("Fine."), used(30, 4))), **LLM)
                inner.output = "Fine."
            middle.output = "Done."
        relay.call_llm("openai", request(user("Sum up.")), give(reply(4, said("All done."), used(40, 5))), **LLM)


async def parallel_tools(relay):
    """Two tools at once, the second ends first; then the model ends while a third tool still runs."""
    order = {name: asyncio.Event() for name in ("weather", "clock", "model")}

    async def weather(args):
        order["weather"].set()
        await order["clock"].wait()
        return {"temp_c": -3}

    async def clock(args):
        await order["weather"].wait()
        order["clock"].set()
        return "12:00"

    async def search(args):
        await order["model"].wait()
        return ["a", "b"]

    first = user("Weather in Oslo, the time, and news?")
    calls = [
        asked("call_w1", "get_weather", city="Oslo"),
        asked("call_t1", "get_time", tz="CET"),
        asked("call_s1", "search", q="news"),
    ]
    tools = [WEATHER, CLOCK, SEARCH]
    async with relay.scope("guide", "agent"):
        body = request(first, tools=tools)
        relay.call_llm("openai", body, give(reply(1, said(None, calls), used(50, 20))), **LLM)
        slow = asyncio.create_task(relay.acall_tool("search", {"q": "news"}, search, tool_call_id="call_s1"))
        await asyncio.sleep(0)
        with relay.scope("both", attributes=["parallel"]):
            await asyncio.gather(
                relay.acall_tool("get_weather", {"city": "Oslo"}, weather, tool_call_id="call_w1"),
                relay.acall_tool("get_time", {"tz": "CET"}, clock, tool_call_id="call_t1"),
            )
        known = (answered("call_w1", '{"temp_c": -3}'), answered("call_t1", "12:00"))
        body = request(first, said(None, calls), *known, tools=tools)
        relay.call_llm("openai", body, give(reply(2, said("-3 C at 12:00, news to come."), used(80, 9))), **LLM)
        order["model"].set()
        await slow


async def repeated_tools(relay):
    """Tools of one name without ids: three after each other, four at once, and one nobody asked for."""
    calls = [asked(f"call_{n}", "search", q=f"topic {n}") for n in range(1, 4)]
    gate = asyncio.Event()

    async def wait(args):
        await gate.wait()
        return f"found {args['q']}"

    async def open_gate():
        gate.set()

    async with relay.scope("searcher", "agent"):
        body = request(user("Search three topics."), tools=[SEARCH])
        relay.call_llm("openai", body, give(reply(1, said(None, calls), used(30, 30))), **LLM)
        for n in range(1, 4):
            relay.call_tool("search", {"q": f"topic {n}"}, give(f"result {n}"))
        relay.call_llm("openai", request(user("Now more.")), give(reply(2, said("On it."), used(20, 3))), **LLM)
        together = [relay.acall_tool("search", {"q": "same"}, wait) for _ in range(4)]
        await asyncio.gather(*together, open_gate())
        relay.call_tool("notify", {"text": "ready"}, give(None))


def errors(relay):
    """A tool that fails, a model that fails, and the agent that fails because of it."""
    calls = [asked("call_b1", "boom", x=1), asked("call_s1", "search", q="x")]
    with expected(RuntimeError), relay.scope("unlucky", "agent", metadata={"session_id": "sess-err"}):
        relay.call_llm("openai", request(user("Try it.")), give(reply(1, said("Trying.", calls), used(9, 9))), **LLM)
        with expected(ValueError):
            relay.call_tool("boom", {"x": 1}, fail(ValueError("kaboom: disk on fire")), tool_call_id="call_b1")
        relay.call_tool("search", {"q": "x"}, give("found"), tool_call_id="call_s1")
        known = (answered("call_b1", "ValueError"), answered("call_s1", "found"))
        body = request(user("Try it."), said("Trying.", calls), *known)
        relay.call_llm("openai", body, fail(RuntimeError("HTTP 500 upstream")), **LLM)


async def cancels(relay):
    """A tool, a model call and a stream that are cancelled; then the agent itself."""

    async def until_began(make):
        began = asyncio.Event()

        async def hang(_):
            began.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(make(hang))
        await began.wait()
        task.cancel()
        with expected(asyncio.CancelledError):
            await task

    async def chunks(body):
        yield chunk(3, content="Once ")
        yield chunk(3, content="upon a time")

    async def agent(hang):
        calls = [asked("call_d1", "download", url="https://example.com/big")]
        async with relay.scope("impatient", "agent"):
            answer = reply(1, said(None, calls), used(12, 6))
            relay.call_llm("openai", request(user("Get it.")), give(answer), **LLM)
            where = {"url": "https://example.com/big"}
            await until_began(lambda wait: relay.acall_tool("download", where, wait, tool_call_id="call_d1"))
            await until_began(lambda wait: relay.acall_llm("openai", request(user("Still there?")), wait, **LLM))
            stream = relay.astream_llm("openai", request(user("Tell a story."), stream=True), chunks, **LLM)
            async for _ in stream:
                break
            await stream.aclose()
            await hang(None)

    await until_began(agent)


def blocks(relay):
    """Guardrails that let pass, refuse and crash; a tool, a model call and an unasked tool are blocked."""

    @relay.guardrail("tool", name="no-rm", priority=10)
    def no_rm(call):
        return relay_core.Block("rm is denied") if call.name == "rm" else None

    @relay.guardrail("llm", name="no-secrets", priority=10)
    def no_secrets(call):
        words = [message.get("content") for message in call.request["messages"]]
        return relay_core.Block("secrets are not discussed") if "SECRET" in words else None

    @relay.guardrail("tool", name="shaky", priority=20, on_error="allow")
    def shaky(call):
        if call.name == "list":
            raise LookupError("policy file is gone")

    def never(_):
        raise AssertionError("must not run")

    calls = [asked("call_r1", "rm", path="/"), asked("call_l1", "list", path="/tmp")]
    with relay.scope("cautious", "agent"):
        relay.call_llm("openai", request(user("Clean up.")), give(reply(1, said(None, calls), used(9, 9))), **LLM)
        with expected(relay_core.Blocked):
            relay.call_tool("rm", {"path": "/"}, never, tool_call_id="call_r1")
        relay.call_tool("list", {"path": "/tmp"}, give(["a.txt"]), tool_call_id="call_l1")
        with expected(relay_core.Blocked):
            relay.call_llm("openai", request(user("SECRET")), never, **LLM)
        with expected(relay_core.Blocked):
            relay.call_tool("rm", {"path": "/home"}, never)
        body = request(user("Clean up."), said(None, calls), answered("call_r1", "denied"), answered("call_l1", "a"))
        relay.call_llm("openai", body, give(reply(2, said("I may not."), used(30, 4))), **LLM)


def streaming(relay):
    """A stream with a tool call in pieces, one that is left early, and one that fails in the middle."""

    def asks(body):
        start = {"index": 0, "id": "call_t1", "function": {"name": "get_time", "arguments": '{"tz"'}}
        yield chunk(1, role="assistant", content="Let me ")
        yield chunk(1, content="look.", tool_calls=[start])
        yield chunk(1, tool_calls=[{"index": 0, "function": {"arguments": ': "CET"}'}}])
        yield chunk(1, finish="tool_calls", usage=used(40, 11, cached=0))

    def talks(body):
        yield chunk(2, content="It is ")
        yield chunk(2, content="noon.")
        yield chunk(2, finish="stop")

    def breaks(body):
        yield chunk(3, content="And ")
        raise ConnectionError("the line went dead")

    first = user("What time is it?")
    with relay.scope("speaker", "agent"):
        for _ in relay.stream_llm("openai", request(first, tools=[CLOCK], stream=True), asks, **LLM):
            pass
        relay.call_tool("get_time", {"tz": "CET"}, give("12:00"), tool_call_id="call_t1")
        calls = [asked("call_t1", "get_time", tz="CET")]
        body = request(first, said("Let me look.", calls), answered("call_t1", "12:00"), stream=True)
        stream = relay.stream_llm("openai", body, talks, **LLM)
        next(stream)
        stream.close()
        with expected(ConnectionError):
            for _ in relay.stream_llm("openai", body, breaks, **LLM):
                pass


def multimodal(relay):
    """A question with a linked and an inline image; a tool that gives an image."""
    inline = f"data:image/png;base64,{PIXEL}"
    parts = [
        {"type": "text", "text": "Compare these."},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": inline}},
    ]
    calls = [asked("call_c1", "crop", x=1)]
    cropped = [{"type": "text", "text": "The left half."}, {"type": "image_url", "image_url": {"url": inline}}]
    with relay.scope("viewer", "agent"):
        relay.call_llm("openai", request(user(parts)), give(reply(1, said(None, calls), used(900, 9))), **LLM)
        relay.call_tool("crop", {"x": 1}, give(cropped), tool_call_id="call_c1")
        body = request(user(parts), said(None, calls), answered("call_c1", "The left half."))
        relay.call_llm("openai", body, give(reply(2, said("Both are cats."), used(950, 5, cached=896))), **LLM)


def subagents(relay):
    """An agent that a tool call starts, one that it starts by itself, both with tools and a model of their own."""

    def research(args):
        with relay.scope("researcher", "agent", input=args, metadata={"session_id": "sess-sub"}) as scope:
            calls = [asked("call_s1", "search", q="fjords")]
            body = {**request(system("You research."), user(args["task"]), tools=[SEARCH]), "model": "o-large"}
            answer = reply(2, said(None, calls), used(70, 7), model="o-large-1")
            relay.call_llm("openai", body, give(answer), model="o-large", codec=CODEC)
            relay.call_tool("search", {"q": "fjords"}, give({"hits": 3}), tool_call_id="call_s1")
            more = {**body, "messages": [*body["messages"], said(None, calls), answered("call_s1", '{"hits": 3}')]}
            answer = reply(3, said("Three fjords."), used(90, 4), model="o-large-1")
            relay.call_llm("openai", more, give(answer), model="o-large", codec=CODEC)
            scope.output = "Three fjords."
        return "Three fjords."

    first = (system("You lead."), user("Tell me of fjords."))
    calls = [asked("call_d1", "delegate", task="count fjords")]
    with relay.scope("lead", "agent", metadata={"session_id": "sess-sub"}):
        body = request(*first, tools=[PLAN])
        relay.call_llm("openai", body, give(reply(1, said("I delegate.", calls), used(40, 8))), **LLM)
        relay.call_tool("delegate", {"task": "count fjords"}, research, tool_call_id="call_d1")
        with relay.scope("critic", "agent", input="Three fjords.") as critic:
            answer = reply(4, said("Good."), used(20, 1))
            relay.call_llm("openai", request(user("Judge: Three fjords.")), give(answer), **LLM)
            critic.output = "Good."
        body = request(*first, said("I delegate.", calls), answered("call_d1", "Three fjords."), tools=[PLAN])
        relay.call_llm("openai", body, give(reply(5, said("There are three."), used(80, 6))), **LLM)


def retries(relay):
    """A model call that fails twice before it works, and a tool that is run again under the same id."""
    body = request(system("Be patient."), user("Are you there?"))
    calls = [asked("call_p1", "ping", host="a")]
    with relay.scope("stubborn", "agent"):
        for error in (TimeoutError("no answer"), ConnectionError("reset")):
            with expected(type(error)):
                relay.call_llm("openai", body, fail(error), **LLM)
        relay.call_llm("openai", body, give(reply(1, said(None, calls), used(15, 5))), **LLM)
        with expected(TimeoutError):
            relay.call_tool("ping", {"host": "a"}, fail(TimeoutError("no echo")), tool_call_id="call_p1")
        relay.call_tool("ping", {"host": "a"}, give("pong"), tool_call_id="call_p1")


async def several_roots(relay):
    """Two agents at the same time, interleaved, and a third that runs after them."""
    turns = [asyncio.Event() for _ in range(4)]

    async def first():
        async with relay.scope("alpha", "agent", metadata={"session_id": "sess-a"}, parent=None):
            relay.call_llm("openai", request(user("A?")), give(reply(1, said("a1"), used(1, 1))), **LLM)
            turns[0].set()
            await turns[1].wait()
            relay.call_tool("save", {"what": "a"}, give("saved"))
            turns[2].set()
            await turns[3].wait()

    async def second():
        await turns[0].wait()
        async with relay.scope("beta", "agent", metadata={"session_id": "sess-b"}, parent=None):
            relay.call_llm("openai", request(user("B?")), give(reply(2, said("b1"), used(2, 2))), **LLM)
            turns[1].set()
            await turns[2].wait()
            relay.call_llm("openai", request(user("C?")), give(reply(3, said("b2"), used(3, 3))), **LLM)
        turns[3].set()

    await asyncio.gather(first(), second())
    with relay.scope("gamma", "agent"):
        relay.call_tool("save", {"what": "c"}, give("saved"))


def crash(relay):
    """The program dies in a tool of a sub-agent: five scopes never end."""
    relay.open_scope(
        "doomed", "agent", input="go", parent=None, metadata={"session_id": "sess-crash"}
    ).activate().__enter__()
    calls = [asked("call_s1", "search", q="x"), asked("call_d1", "delegate", task="t")]
    answer = reply(1, said("Going.", calls), used(7, 7))
    relay.call_llm("openai", request(user("Go.")), give(answer), **LLM)
    relay.call_tool("search", {"q": "x"}, give("found"), tool_call_id="call_s1")
    relay.open_scope(
        "delegate", "tool", input={"task": "t"}, profile={"tool_call_id": "call_d1"}
    ).activate().__enter__()
    relay.open_scope("helper", "agent").activate().__enter__()
    data = {"headers": {}, "content": request(user("Help."))}
    relay.open_scope("openai", "llm", input=data, profile={"model_name": MODEL})
    relay.open_scope("write", "tool", input={"path": "a"})
    relay.mark("last-words", data={"text": "oh"}, severity="error")


def no_agent(relay):
    """Work without any agent: a lone model call, a lone tool, and a pipeline with both."""
    relay.call_llm("openai", request(user("Hi.")), give(reply(1, said("Hello."), used(3, 2))), **LLM)
    relay.call_tool("search", {"q": "lone"}, give("found"))
    with relay.scope("pipeline", input={"job": 7}):
        relay.call_tool("load", {"id": 7}, give({"rows": 2}))
        relay.call_llm("openai", request(user("Sum up 2 rows.")), give(reply(2, said("Two."), used(5, 1))), **LLM)
    with relay.scope("idle"):
        pass


def turns(relay):
    """A chat whose every turn is a root: the second one repeats the history, and an agent does the work."""
    role = {"nemo_relay_scope_role": "turn", "session_id": "sess-chat", "user_id": "u-7"}
    with relay.scope("turn-1", "custom", metadata=role, profile={"subtype": "turn"}):
        relay.call_llm("openai", request(user("I am Ada.")), give(reply(1, said("Hello Ada."), used(5, 3))), **LLM)
    history = (user("I am Ada."), said("Hello Ada."), user("Who am I?"))
    with relay.scope("turn-2", "custom", metadata=role, profile={"subtype": "turn"}), relay.scope("chat", "agent"):
        relay.call_llm("openai", request(*history), give(reply(2, said("Ada."), used(15, 2, cached=8))), **LLM)


def compaction(relay):
    """The context is compacted between two calls; the rest of the marks beside it."""
    history = (system("Be brief."), user("One?"), said("1"), user("Two?"))
    with relay.scope("long-runner", "agent"):
        relay.mark("session.start", data={"cwd": "project"}, metadata={"trace_id": "abc"}, severity="info")
        relay.call_llm("openai", request(*history[:2]), give(reply(1, said("1"), used(10, 1))), **LLM)
        relay.call_llm("openai", request(*history), give(reply(2, said("2"), used(20, 1))), **LLM)
        relay.mark("compaction", data={"tokens_before": 9000, "tokens_after": 800, "summary": "Counted to two."})
        body = request(history[0], user("Summary: counted to two. Three?"))
        relay.call_llm("openai", body, give(reply(3, said("3"), used(12, 1))), **LLM)
        relay.mark("skill.load", data={"skill_name": "counting"}, severity="debug")
        kinds = [
            relay_core.Measurement("demo.turns", "counter", "u64", 3, unit="{turn}", attributes={"agent": "long"}),
            relay_core.Measurement("demo.latency", "histogram", "f64", 12.5, unit="ms", boundaries=[5.0, 10.0, 20.0]),
        ]
        relay.metric("turn.metrics", kinds)


def retrieval(relay):
    """Every category that is neither agent, model nor tool, in one question-answering run."""
    documents = [
        {"id": "d1", "content": "Oslo is a city.", "score": 0.9, "metadata": {"source": "wiki"}},
        {"id": "d2", "content": "Bergen is wet.", "score": 0.7},
    ]
    with relay.scope("answerer", "agent", input="Where is Oslo?") as agent:
        profile = {"model_name": "embed-small"}
        with relay.scope("embed", "embedder", input={"input": ["Where is Oslo?"]}, profile=profile) as embed:
            embed.output = {"data": [{"index": 0, "embedding": [0.1, -0.2, 0.3]}], "usage": {"prompt_tokens": 4}}
        with relay.scope("vector-lookup", "retriever", input={"query": "Where is Oslo?"}) as retriever:
            retriever.output = {"documents": documents}
        options = {"query": "Where is Oslo?", "documents": documents, "top_n": 1}
        with relay.scope("rerank", "reranker", input=options, profile={"model_name": "rank-1"}) as rerank:
            rerank.output = {"results": [{"index": 0, "relevance_score": 0.95}]}
        body = request(system("Use: Oslo is a city."), user("Where is Oslo?"))
        relay.call_llm("openai", body, give(reply(1, said("In Norway."), used(25, 3))), **LLM)
        with relay.scope("judge", "evaluator", input={"answer": "In Norway."}) as judge:
            judge.output = {"score": 0.8, "label": "good"}
        with relay.scope("output-check", "guardrail", input={"text": "In Norway."}) as check:
            check.output = {"allowed": True, "rejected": False}
        with relay.scope("render", "custom", profile={"subtype": "template"}), relay.scope("whatever", "unknown"):
            pass
        agent.output = "In Norway."


def empty_agents(relay):
    """Agents that call nothing: one with input and output, one with neither, one below another."""
    with relay.scope("echo", "agent", input={"text": "hi"}) as echo:
        echo.output = {"text": "hi"}
    with relay.scope("silent", "agent"):
        pass
    with relay.scope("boss", "agent", input="work"), relay.scope("lazy", "agent", metadata={"subagent": True}):
        pass


def raw_calls(relay):
    """Providers without a codec: Anthropic, Responses and Gemini shapes, a text, and something nobody knows."""
    anthropic = {
        "model": "claude-x",
        "system": "Think first.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Look up Oslo."}]}],
    }
    thinking = {
        "id": "msg_1",
        "model": "claude-x-1",
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "A lookup is due.", "signature": "c2ln"},
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"q": "Oslo"}},
        ],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 6,
            "output_tokens": 9,
        },
    }
    responses = {"model": "o-x", "instructions": "Be kind.", "input": [{"role": "user", "content": "Hello?"}]}
    summary = {
        "id": "resp_1",
        "model": "o-x-1",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "A greeting."}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello!"}]},
            {"type": "function_call", "call_id": "fc_1", "name": "get_time", "arguments": '{"tz": "UTC"}'},
        ],
        "usage": {
            "input_tokens": 8,
            "input_tokens_details": {"cached_tokens": 2},
            "output_tokens": 6,
            "total_tokens": 14,
        },
    }
    gemini = {
        "systemInstruction": {"parts": [{"text": "Be exact."}]},
        "contents": [{"role": "user", "parts": [{"text": "Weather?"}]}],
    }
    functions = {
        "modelVersion": "gemini-x-1",
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [{"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}}}],
                }
            }
        ],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3, "cachedContentTokenCount": 5},
    }
    with relay.scope("polyglot", "agent"):
        relay.call_llm("anthropic", anthropic, give(thinking), model="claude-x")
        relay.call_tool("search", {"q": "Oslo"}, give("a city"))
        relay.call_llm("openai.responses", responses, give(summary), model="o-x")
        relay.call_llm("gemini", gemini, give(functions), model="gemini-x")
        relay.call_tool("get_weather", {"city": "Oslo"}, give({"temp_c": -3}))
        relay.call_llm("local", {"prompt": "Once upon"}, give("a time"), model="tiny")
        relay.call_llm("odd", {"x": [1, 2]}, give({"y": 3}), model="odd-1")
        relay.call_llm("refusing", request(user("Do harm.")), give(reply(9, said(None, refusal="No."))), **LLM)


SCENARIOS = {
    "simple": simple,
    "tool_loop": tool_loop,
    "nested_agents": nested_agents,
    "parallel_tools": parallel_tools,
    "repeated_tools": repeated_tools,
    "errors": errors,
    "cancels": cancels,
    "blocks": blocks,
    "streaming": streaming,
    "multimodal": multimodal,
    "subagents": subagents,
    "retries": retries,
    "several_roots": several_roots,
    "crash": crash,
    "no_agent": no_agent,
    "turns": turns,
    "compaction": compaction,
    "retrieval": retrieval,
    "empty_agents": empty_agents,
    "raw_calls": raw_calls,
}
