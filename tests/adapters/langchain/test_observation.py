"""What the callback handler makes of LangChain's runs."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler, adispatch_custom_event, dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool

import relay_core
from relay_adapter_langchain import RelayCallbackHandler, conversations, instrument, shapes, uninstrument
from relay_adapter_langchain.runs import Run
from relay_core.payloads import Encoder
from relay_core.scopes import Scope
from tests.waiting import collected, wait_for


def chat(*answers: Any) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage(a) if isinstance(a, str) else a for a in answers]))


class SlowChat(GenericFakeChatModel):
    """Waits until it is cancelled."""

    started: Any = None

    async def _agenerate(self, *args, **kwargs):
        self.started.set()
        await asyncio.sleep(60)


class Library(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return [Document("a book about " + query, metadata={"page": 3})]


@tool
def double(n: int) -> int:
    """Double a number."""
    return 2 * n


def test_a_chain_is_seen_without_touching_its_code(observed):
    usage = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12, "input_token_details": {"cache_read": 4}}
    answer = AIMessage("four", usage_metadata=usage, response_metadata={"model_name": "m-1", "finish_reason": "stop"})
    chain = ChatPromptTemplate.from_messages([("system", "Count."), ("user", "{q}")]) | chat(answer) | StrOutputParser()
    assert chain.invoke({"q": "2+2?"}) == "four"
    root = observed.one("agent", "RunnableSequence")
    llm = observed.one("llm")
    assert root.parent is None
    assert llm.parent == root.uuid
    assert [p.name for p in observed.scopes("function")] == ["ChatPromptTemplate", "StrOutputParser"]
    assert [p.start["category_profile"]["subtype"] for p in observed.scopes("function")] == ["prompt", "parser"]
    assert {p.status for p in observed.scopes()} == {"ok"}
    assert llm.start["data"]["content"]["messages"] == [
        {"role": "system", "content": "Count."},
        {"role": "user", "content": "2+2?"},
    ]
    profile = llm.profile
    assert profile["model_name"] == "m-1"
    annotated = profile["annotated_response"]
    assert annotated["message"] == "four"
    assert annotated["finish_reason"] == "complete"
    assert annotated["usage"]["prompt_tokens"] == 9
    assert annotated["usage"]["cache_read_tokens"] == 4
    requested = llm.start["category_profile"]["annotated_request"]["messages"]
    assert requested == [{"role": "system", "content": "Count."}, {"role": "user", "content": "2+2?"}]


def test_tools_retrievers_and_text_models(observed):
    assert double.invoke({"n": 4}) == 8
    message = double.invoke({"type": "tool_call", "name": "double", "args": {"n": 5}, "id": "call_1"})
    assert message.content == "10"
    assert Library().invoke("cats")[0].page_content == "a book about cats"
    assert FakeListLLM(responses=["hm"]).invoke("what?") == "hm"
    plain, called = observed.scopes("tool", "double")
    assert plain.start["data"] == {"n": 4}
    assert called.profile["tool_call_id"] == "call_1"
    assert called.end["data"]["content"] == "10"
    found = observed.one("retriever", "Library")
    assert found.start["data"] == {"query": "cats"}
    assert found.end["data"] == {"documents": [{"page_content": "a book about cats", "metadata": {"page": 3}}]}
    llm = observed.one("llm", "FakeListLLM")
    assert llm.start["data"]["content"]["messages"] == [{"role": "user", "content": "what?"}]
    assert llm.profile["annotated_response"]["message"] == "hm"


def test_streams_give_the_same_chunks_and_the_time_to_the_first(observed):
    chain = RunnableLambda(lambda q: [HumanMessage(q)]) | chat("one two three")
    chunks = list(chain.stream("go"))
    assert [c.content for c in chunks if c.content] == ["one", " ", "two", " ", "three"]
    assert all(type(c) is AIMessageChunk for c in chunks)
    assert 0 < observed.one("llm").profile["time_to_first_chunk"] < 5
    assert observed.one("agent").status == "ok"
    assert [m["data"] for m in observed.marks("langchain.inputs")] == ["go"]


def test_a_stream_that_is_left_early_keeps_what_came(observed):
    stream = (RunnableLambda(lambda q: [HumanMessage(q)]) | chat("one two three")).stream("go")
    assert next(stream).content == "one"
    stream.close()
    llm = observed.one("llm")
    assert llm.status == "cancelled"
    assert llm.end["data"]["choices"][0]["message"]["content"] == "one"


async def test_async_streams_and_gather(observed):
    chain = RunnableLambda(lambda q: [HumanMessage(q)]) | chat(*["a b"] * 4)
    results = await asyncio.gather(*(chain.ainvoke(str(i)) for i in range(3)))
    assert [r.content for r in results] == ["a b"] * 3
    assert [c.content async for c in chain.astream("x") if c.content] == ["a", " ", "b"]
    roots = observed.scopes("agent")
    assert len(roots) == 4
    assert sorted(p.parent for p in observed.scopes("llm")) == sorted(p.uuid for p in roots)


async def test_cancelling_ends_what_is_open_below(observed):
    model = SlowChat(messages=iter([]), started=asyncio.Event())
    task = asyncio.create_task((RunnableLambda(lambda q: q) | model).ainvoke("x"))
    await model.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(observed.table()) == 0
    assert observed.one("agent").status == "cancelled"
    assert observed.one("llm").status == "cancelled"


def test_a_handler_added_twice_does_not_double(trace):
    first, second = RelayCallbackHandler(trace.relay), RelayCallbackHandler(trace.relay)
    instrument(trace.relay)
    try:
        model = chat("hi").with_config(callbacks=[first])
        model.invoke("x", {"callbacks": [first, second, first]})
    finally:
        uninstrument()
    assert len(trace.scopes()) == 1


def test_uninstrument_stops_and_instrument_resumes(trace):
    instrument(trace.relay)
    uninstrument()
    double.invoke({"n": 1})
    assert trace.events == []
    instrument(trace.relay)
    double.invoke({"n": 1})
    uninstrument()
    assert len(trace.scopes("tool")) == 1


def test_batches_are_separate_trees(observed):
    chain = RunnableLambda(lambda n: n + 1, name="inc") | RunnableLambda(lambda n: n * 2, name="dbl")
    assert chain.batch(list(range(20)), {"max_concurrency": 8}) == [2 * (n + 1) for n in range(20)]
    roots = {p.uuid for p in observed.scopes("agent")}
    assert len(roots) == 20
    assert all(p.parent is None for p in observed.scopes("agent"))
    for name in ("inc", "dbl"):
        assert {p.parent for p in observed.scopes("function", name)} == roots


def test_parallel_branches_have_the_right_parents(observed):
    branches = RunnableParallel(left=RunnableLambda(len, name="left"), right=RunnableLambda(str, name="right"))
    assert branches.invoke("abc") == {"left": 3, "right": "abc"}
    root = observed.one("agent")
    assert {p.parent for p in observed.scopes("function")} == {root.uuid}


def test_the_attempts_of_a_fallback_are_its_children(observed):
    def fail(q):
        raise ValueError("no")

    chain = RunnableLambda(fail, name="first").with_fallbacks([RunnableLambda(len, name="second")])
    outer = RunnableLambda(chain.invoke, name="outer")
    assert outer.invoke("abc") == 3
    fallback = observed.one(name="RunnableWithFallbacks")
    assert observed.one(name="first").parent == fallback.uuid
    assert observed.one(name="second").parent == fallback.uuid
    assert observed.one(name="first").status == "error"
    assert observed.path(observed.one(name="second")) == ["outer", "RunnableWithFallbacks", "second"]


def test_retries_are_numbered(observed):
    seen = []

    def flaky(q):
        seen.append(q)
        if len(seen) < 3:
            raise ValueError("not yet")
        return q

    RunnableLambda(flaky, name="flaky").with_retry(wait_exponential_jitter=False).invoke("x")
    attempts = observed.scopes(name="flaky")
    tries = [p for p in attempts if p.parent]
    assert [p.start["metadata"].get("attempt") for p in tries] == [None, 2, 3]
    assert [p.status for p in tries] == ["error", "error", "ok"]


def test_exceptions_are_the_same_objects(observed):
    error = LookupError("gone")

    def fail(q):
        raise error

    with pytest.raises(LookupError) as caught:
        RunnableLambda(fail).invoke("x")
    assert caught.value is error
    end = observed.one().end
    assert end["metadata"]["relay.status"] == "error"
    assert end["metadata"]["error.type"] == "LookupError"


def test_own_scopes_and_marks_lie_where_they_are_made(observed):
    relay = observed.relay

    def body(q):
        relay.mark("inside")
        with relay.scope("mine"):
            return double.invoke({"n": q})

    with relay.scope("around", "agent"):
        assert RunnableLambda(body, name="body").invoke(4) == 8
    assert observed.path(observed.one("tool")) == ["around", "body", "mine", "double"]
    assert observed.marks("inside")[0]["parent_uuid"] == observed.one(name="body").uuid
    assert relay.current() is None


def test_a_raw_thread_is_a_tree_of_its_own(observed):
    def body(q):
        thread = threading.Thread(target=double.invoke, args=({"n": q},))
        thread.start()
        thread.join()

    RunnableLambda(body, name="body").invoke(1)
    assert observed.one("tool").parent is None


def test_custom_events_become_marks(observed):
    def body(q):
        dispatch_custom_event("progress", {"done": q})
        return q

    RunnableLambda(body, name="body").invoke(3)
    mark = observed.marks("progress")[0]
    assert mark["data"] == {"done": 3}
    assert mark["parent_uuid"] == observed.one().uuid


def test_a_custom_event_of_another_thread_is_a_mark_of_the_run_that_it_names(observed):
    def work(q, config):
        thread = threading.Thread(target=dispatch_custom_event, args=("far", {"q": q}), kwargs={"config": config})
        thread.start()
        thread.join()

    RunnableLambda(work, name="work").invoke("x")
    assert observed.marks("far")[0]["parent_uuid"] == observed.one(name="work").uuid


async def test_async_custom_events_become_marks(observed):
    async def body(q):
        await adispatch_custom_event("progress", q)

    await RunnableLambda(body, name="body").ainvoke(3)
    assert observed.marks("progress")[0]["parent_uuid"] == observed.one().uuid


def test_handlers_can_be_copied_and_pickled(trace):
    handler = RelayCallbackHandler(trace.relay)
    assert copy.deepcopy(handler) is handler
    assert copy.copy(handler) is handler
    assert pickle.loads(pickle.dumps(handler)).relay is trace.relay
    assert pickle.loads(pickle.dumps(RelayCallbackHandler())).relay is relay_core.default
    model = FakeListLLM(responses=["hi"], callbacks=[handler])
    for other in (copy.deepcopy(model), model.model_copy(deep=True), pickle.loads(pickle.dumps(model))):
        other.invoke("x")
    assert len(trace.scopes("llm")) == 3


def test_hostile_payloads_do_not_reach_the_program(observed):
    class Hostile:
        def __repr__(self):
            raise RuntimeError("never call me")

        __str__ = __repr__

        def __getattr__(self, name):
            raise RuntimeError("nor me")

    ring: dict[str, Any] = {"nan": float("nan"), "bytes": b"\xff", "bad": Hostile()}
    ring["self"] = ring
    assert RunnableLambda(lambda q: ring, name="ring").invoke(ring) is ring
    assert observed.one(name="ring").status == "ok"


class Rude:
    """An object that does not let itself be looked at."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__


def test_results_that_cannot_be_looked_at_end_their_runs(observed):
    rude = Rude()

    @tool
    def make() -> Any:
        """Make one."""
        return rude

    class Odd(BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            return [rude]

    assert make.invoke({}) is rude
    assert Odd().invoke("x") == [rude]
    assert RunnableLambda(lambda q: {"inside": [rude, AIMessage("hi")]}, name="chain").invoke(rude)
    assert [p.status for p in observed.scopes()] == ["ok"] * 3
    assert observed.one(name="chain").end["data"]["inside"][1]["content"] == "hi"


@pytest.mark.parametrize("way", ["on_chain_end", "on_llm_end", "on_tool_end", "on_retriever_end"])
def test_a_run_ends_even_where_its_output_cannot_be_made(way):
    runtime = relay_core.Relay()
    ends = []
    runtime.subscriber(lambda event: ends.append(event.to_dict()) if event.scope_category == "end" else None)
    handler, run_id = RelayCallbackHandler(runtime), uuid4()
    refused = []

    class Refusing(Scope):
        """Fails where it is to show something."""

        def close(self, **options):
            if not refused:
                refused.append(options)
                raise RuntimeError("not this")
            return super().close(**options)

    scope = Refusing().prepare(runtime, "run", "custom", None, None, None, None, (), None).open()
    handler._table.add(Run(run_id, None, "chain", scope, owned=True, mono=0))
    getattr(handler, way)(Rude(), run_id=run_id)
    assert len(handler._table) == 0
    assert runtime.flush(timeout=20.0).pending == 0
    assert [end["data"] for end in ends] == [{"$relay": {"unreadable": "RuntimeError"}}]
    assert runtime.stats()["counters"]["faults"] == 1
    runtime.shutdown(timeout=20.0)


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()])
def test_a_model_response_that_cannot_be_read_is_marked(trace, error):
    handler, ids = RelayCallbackHandler(trace.relay), [uuid4(), uuid4()]
    for run_id in ids:
        handler.on_llm_start(None, ["q"], run_id=run_id, name="model")
    handler.on_llm_end(Rude(), run_id=ids[0])
    handler.on_llm_error(error, run_id=ids[1], response=Rude())
    first, second = trace.scopes("llm")
    assert first.status == "ok"
    assert second.status == ("cancelled" if isinstance(error, asyncio.CancelledError) else "error")
    for pair in (first, second):
        assert pair.end["data"] == {"$relay": {"unreadable": "RuntimeError"}}


def test_other_handlers_see_the_same_as_before(observed):
    seen = []

    class Other(BaseCallbackHandler):
        def on_chain_start(self, serialized, inputs, **kwargs):
            seen.append(inputs)

        def on_chain_end(self, outputs, **kwargs):
            seen.append(outputs)

    value = object()
    assert RunnableLambda(lambda q: q).invoke(value, {"callbacks": [Other()]}) is value
    assert seen == [value, value]


def test_nothing_is_made_of_payloads_when_nobody_observes():
    runtime = relay_core.Relay()

    class Untouchable(dict):
        def items(self):
            raise AssertionError("read")

    handler = RelayCallbackHandler(runtime)
    RunnableLambda(lambda q: q).invoke(Untouchable(), {"callbacks": [handler]})
    assert runtime.stats()["counters"] == {}


def test_a_message_is_converted_once_and_shown_as_it_is_now(observed):
    echo = RunnableLambda(len, name="count")
    first, kept = HumanMessage("before"), len(conversations._messages)
    history = [first, *(AIMessage(str(i)) for i in range(5))]
    echo.invoke(history)
    frozen = shapes.shown(history)
    assert all(a is b for a, b in zip(frozen, shapes.shown(history), strict=True))
    first.content = "after"
    echo.invoke(history)
    assert [p.start["data"][0]["content"] for p in observed.scopes(name="count")] == ["before", "after"]
    del history, first, frozen
    wait_for(collected(lambda: len(conversations._messages) <= kept))


def test_a_growing_conversation_is_frozen_once_and_shown_as_it_is():
    history: list[Any] = [HumanMessage(f"m{i}", id=str(i)) for i in range(20)]

    def contents(messages):
        return [fields["content"] for fields in Encoder().tree(shapes.llm_request(messages, {}))["messages"]]

    first = conversations.frozen_messages(history)
    assert conversations.frozen_messages(list(history)) is first
    assert contents(history) == [f"m{i}" for i in range(20)]
    history.append(AIMessage("more"))
    grown = conversations.frozen_messages(history)
    assert grown.value[:20] == first.value
    history[3].content = "changed"
    assert contents(history)[3] == "changed"
    history[4] = HumanMessage("another")
    assert contents(history)[4] == "another"
    del history[10:]
    assert len(contents(history)) == 10
    kept = len(conversations._histories)
    del history, first, grown
    wait_for(collected(lambda: len(conversations._histories) < kept))


def test_lists_that_hold_more_than_messages_are_kept_whole(observed):
    mixed = [HumanMessage("one"), AIMessage("two"), ("user", "three"), {"role": "user", "content": "four"}]
    RunnableLambda(lambda q: q, name="mixed").invoke(mixed)
    shown = observed.one(name="mixed").start["data"]
    assert [part["content"] if isinstance(part, dict) else part for part in shown] == [
        "one",
        "two",
        ["user", "three"],
        "four",
    ]
