"""Programs do the same with and without Relay: results, exceptions, chunks, graph events and supersteps."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from relay_adapter_langchain import RelayCallbackHandler, RelayMiddleware, wrap
from tests.adapters.langchain.models import Scripted
from tests.adapters.langchain.programs import PROGRAMS, Parts

_MADE_UP = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}|0x[0-9a-f]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)?")


def normal(value: Any) -> Any:
    """Give a value without what differs between any two runs."""
    if isinstance(value, str):
        return _TIME.sub("<time>", _MADE_UP.sub("<id>", value))
    if isinstance(value, dict):
        return {normal(str(key)): normal(item) for key, item in value.items() if key != "callbacks"}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(normal(item) for item in value)]
    if isinstance(value, BaseMessage | Document):
        return [type(value).__name__, normal(value.model_dump())]
    return normal(repr(value))


def outcome(program, parts):
    try:
        result = program(parts)
        if inspect.isawaitable(result):

            async def main():
                return await result

            result = asyncio.run(main())
    except Exception as error:
        return ["raised", type(error).__name__, normal(str(error))]
    return ["gave", normal(result)]


def policy(runtime):
    """Middleware of every kind that lets everything pass."""
    for kind in ("llm", "tool"):
        runtime.register("guardrail", lambda call: None, target=kind)
        runtime.register("request_intercept", lambda call: call, target=kind)

        def pass_on(call):
            return (yield call)

        runtime.register("execution_intercept", pass_on, target=kind)
    runtime.register(
        "request_intercept", lambda call: call.replace(request=call.view.map_text(str)), target="llm", name="lens"
    )


def parts_of(way, trace):
    handler = RelayCallbackHandler(trace.relay)
    if way == "observed":
        return Parts()  # the process-wide handler sees it
    if way == "handler":
        return Parts([handler, handler])
    policy(trace.relay)
    if way == "middleware":
        return Parts([handler], middleware=[RelayMiddleware(trace.relay)])
    both = [RelayMiddleware(trace.relay)] if way == "everything" else []
    return Parts(middleware=both, wrap=lambda part: wrap(part, trace.relay))


def test_there_are_enough_programs():
    assert len(PROGRAMS) >= 30


WAYS = ["observed", "handler", "middleware", "wrapped", "everything"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_does_the_same(request, program, way):
    bare = outcome(program, Parts())
    trace = request.getfixturevalue("trace" if way in ("handler", "middleware") else "observed")
    assert outcome(program, parts_of(way, trace)) == bare
    assert trace.events


class Streaming(GenericFakeChatModel):
    """Keeps the chunks that it makes."""

    made: list[Any] = []

    def _stream(self, *args, **kwargs):
        for chunk in super()._stream(*args, **kwargs):
            self.made.append(chunk.message)
            yield chunk


def caught(work):
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("it has not failed")


@pytest.mark.parametrize("way", WAYS)
def test_objects_are_the_very_same(request, way):
    trace = request.getfixturevalue("trace" if way in ("handler", "middleware") else "observed")
    parts = parts_of(way, trace)
    answer, given, failure = AIMessage("hi", id="a"), object(), ZeroDivisionError("mine")

    @tool
    def give(fails: bool) -> Any:
        """Give or fail."""
        if fails:
            raise failure
        return given

    def fails(_):
        raise failure

    wrapped, model = parts.wrap(give), parts.wrap(Scripted(body=lambda _: answer))
    assert model.invoke("x", parts.config) is answer
    assert all(found is answer for found in model.batch(["x", "y"], parts.config))
    assert (RunnableLambda(lambda q: q) | model).invoke("x", parts.config) is answer
    assert wrapped.invoke({"fails": False}, parts.config) is given
    streaming = parts.wrap(Streaming(messages=iter([AIMessage("one two")])))
    chunks = list(streaming.stream("x", parts.config))
    assert len(chunks) >= 3
    assert all(chunk in map(id, streaming.made) for chunk in map(id, chunks[:3]))
    failing = parts.wrap(Scripted(body=fails))
    assert caught(lambda: wrapped.invoke({"fails": True}, parts.config)) is failure
    assert caught(lambda: failing.invoke("x", parts.config)) is failure
    assert caught(lambda: list(failing.stream("x", parts.config))) is failure
    assert caught(lambda: RunnableLambda(fails).invoke("x", parts.config)) is failure
    assert failing.batch(["x"], parts.config, return_exceptions=True)[0] is failure
    assert RunnableLambda(lambda _: given).batch(["x", "y"], parts.config) == [given, given]
    agent = parts.agent(answer)
    assert agent.invoke({"messages": [HumanMessage("go")]}, parts.config)["messages"][-1] is answer
    assert trace.events
