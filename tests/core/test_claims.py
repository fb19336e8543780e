"""Claims: one model call that two layers see is one pair of events and meets policy once."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

import relay_core as relay
from relay_core.llm import Choice, LlmResponse, Usage
from relay_core.response_index import ResponseIndex
from tests.core.chat_codec import RESPONSES
from tests.core.golden_scenario import Codec, Recording


@pytest.fixture
def checked(rec):
    """Names of the calls that a guardrail has seen."""
    seen = []
    for target in ("llm", "tool"):
        rec.relay.register("guardrail", lambda call: seen.append(call.name), target=target, name=f"count {target}")
    return seen


def shape(rec):
    return [word for word in rec.shape() if "guardrail" not in word]


def test_a_nested_claim_is_the_same_call(rec, checked):
    seen = []

    def inner(request):
        def send(request):
            seen.append(request)
            rec.relay.mark("sent")
            return "answer"

        return rec.relay.call_llm("sdk", request, send, claim=True)

    assert rec.relay.call_llm("framework", {"q": 1}, inner, claim=True) == "answer"
    assert (checked, seen) == (["framework"], [{"q": 1}])
    assert shape(rec) == ["+llm framework", "*sent", "-llm framework ok"]
    assert rec.relay.current_claim() is None


async def test_a_nested_claim_in_async_code(rec, checked):
    async def send(request):
        await asyncio.sleep(0)
        return "answer"

    async def inner(request):
        return await asyncio.create_task(rec.relay.acall_llm("sdk", request, send, claim=True))

    assert await rec.relay.acall_llm("framework", {}, inner, claim=True) == "answer"
    assert (checked, shape(rec)) == (["framework"], ["+llm framework", "-llm framework ok"])


def test_calls_that_do_not_claim_are_calls_of_their_own(rec, checked):
    inner = lambda request: rec.relay.call_llm("inner", request, lambda r: "x")
    rec.relay.call_llm("outer", {}, inner, claim=True)
    assert checked == ["outer", "inner"]
    assert rec.parents()["inner"] == "outer"


def test_an_inner_layer_enriches_the_open_call(rec):
    def inner(request):
        claim = rec.relay.current_claim("llm")
        assert claim.scope is rec.relay.current()
        view = LlmResponse(
            id="r1", choices=[Choice(parts="hi")], usage=Usage.from_inclusive(input_tokens=3, output_tokens=1)
        )
        claim.enrich(view=view, metadata={"request_id": "q"}, profile={"model_name": "real"})
        claim.mark("attempt", {"n": 1})
        return "hi"

    rec.relay.call_llm("framework", {}, inner, claim=True, model="asked")
    end = rec.end("framework")
    assert end.category_profile["model_name"] == "real"
    assert end.category_profile["annotated_response"]["usage"]["prompt_tokens"] == 3
    assert end.metadata["request_id"] == "q"
    assert rec.start("framework").category_profile == {"model_name": "asked"}
    assert rec.parents()["attempt"] == "framework"


def test_facts_that_come_too_late_are_counted(rec):
    claims = []
    rec.relay.call_llm("m", {}, lambda request: claims.append(rec.relay.current_claim()), claim=True)
    claims[0].enrich(metadata={"late": True})
    assert rec.relay.stats()["counters"] == {"late_facts": 1}
    assert "late" not in rec.end("m").metadata


def test_a_claim_by_hand(rec, checked):
    scope = rec.relay.open_scope("run", "llm")
    with rec.relay.claim(scope) as claim:
        assert rec.relay.current_claim("llm") is claim
        assert rec.relay.current_claim("tool") is None
        rec.relay.call_llm("sdk", {}, lambda request: 1, claim=True)
    scope.close()
    assert rec.relay.current_claim() is None
    assert (checked, shape(rec)) == ([], ["+llm run", "-llm run ok"])


def test_a_claim_whose_call_has_ended_counts_no_more(rec, checked):
    kept = []
    rec.relay.call_llm("first", {}, lambda request: kept.append(contextvars.copy_context()), claim=True)
    kept[0].run(rec.relay.call_llm, "background", {}, lambda request: 1, claim=True)
    assert checked == ["first", "background"]


def test_a_tool_clears_the_claim_for_its_own_work(rec, checked):
    def work(args):
        assert rec.relay.current_claim("llm") is None
        assert rec.relay.current_claim("tool") is None
        rec.relay.call_llm("own model", {}, lambda request: 1, claim=True)
        rec.relay.call_tool("own tool", {}, lambda args: 1, claim=True)

    def inner(request):
        rec.relay.call_tool("search", {}, work)
        assert rec.relay.current_claim("llm") is not None

    rec.relay.call_llm("agent model", {}, inner, claim=True)
    assert checked == ["agent model", "search", "own model", "own tool"]
    assert rec.parents()["own model"] == rec.parents()["own tool"] == "search"


def test_two_layers_of_one_tool_call(rec, checked):
    inner = lambda args: rec.relay.call_tool("search", args, lambda a: "hit", claim=True)
    assert rec.relay.call_tool("search", {}, inner, claim=True) == "hit"
    assert (checked, shape(rec)) == (["search"], ["+tool search", "-tool search ok"])


def test_another_tool_inside_a_claimed_tool_meets_policy(rec, checked):
    inner = lambda args: rec.relay.call_tool("shell", args, lambda a: "ran", claim=True)
    rec.relay.call_tool("sub-agent", {}, inner, claim=True)
    assert checked == ["sub-agent", "shell"]


def test_a_claim_is_taken_back_when_the_call_fails(rec):
    with pytest.raises(ValueError):
        rec.relay.call_llm("m", {}, lambda request: int("x"), claim=True)
    assert rec.relay.current_claim() is None


def test_claims_work_without_a_subscriber():
    runtime, seen = relay.Relay(), []
    runtime.register("guardrail", lambda call: seen.append(call.name), target="llm")
    inner = lambda request: runtime.call_llm("sdk", request, lambda r: 1, claim=True)
    runtime.call_llm("framework", {}, inner, claim=True)
    assert seen == ["framework"]


# -- streams ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("lazy", [True, False])
def test_a_nested_stream_is_the_same_call(rec, checked, observed, lazy):
    runtime = rec.relay
    closed, seen = [], []

    def send(request):
        try:
            seen.append(runtime.current_claim().scope.name)
            yield "a"
            yield "b"
        finally:
            closed.append(1)

    def framework(request):
        if lazy:
            yield from runtime.stream_llm("sdk", request, send, claim=True)

    def now(request):
        return runtime.stream_llm("sdk", request, send, claim=True)

    if not observed:
        runtime = relay.Relay()
        runtime.register("guardrail", lambda call: checked.append(call.name), target="llm")
    stream = runtime.stream_llm("framework", {}, framework if lazy else now, claim=True)
    assert next(stream) == "a"
    assert runtime.current_claim() is None
    assert list(stream) == ["b"]
    assert (checked, closed, seen) == (["framework"], [1], ["framework"])
    if observed:
        assert shape(rec) == ["+llm framework", "*llm.chunk", "*llm.chunk", "-llm framework ok"]


async def test_a_nested_async_stream_is_the_same_call(rec, checked):
    closed = []

    async def send(request):
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(1)

    async def framework(request):
        async with rec.relay.astream_llm("sdk", request, send, claim=True) as stream:
            async for chunk in stream:
                yield chunk

    async with rec.relay.astream_llm("framework", {}, framework, claim=True) as stream:
        assert await anext(stream) == "a"
        assert rec.relay.current_claim() is None
    assert (checked, closed) == (["framework"], [1])
    assert shape(rec) == ["+llm framework", "*llm.chunk", "-llm framework cancelled"]


# -- lost context ----------------------------------------------------------------------------------------------------------


def test_of_two_reports_of_one_response_the_later_owns_no_usage(rec):
    answer = RESPONSES["text"]

    def inner(request):
        thread = threading.Thread(target=lambda: rec.relay.call_llm("sdk", request, lambda r: answer, codec=Codec()))
        thread.start()
        thread.join()
        return answer

    rec.relay.call_llm("framework", {}, inner, codec=Codec())
    first, later = rec.end("sdk"), rec.end("framework")
    assert "relay.duplicate_of" not in first.metadata
    assert later.metadata["relay.duplicate_of"] == first.uuid
    assert later.metadata["relay.usage_owner"] is False
    assert later.status == "ok"
    assert later.to_dict()["metadata"] == later.metadata  # reading again changes nothing
    assert later.replace(data=None).metadata == later.metadata


def test_other_responses_and_other_runtimes_are_no_duplicates(rec):
    view = LlmResponse(id="same", choices=[Choice(parts="x")])
    with Recording() as other:
        for runtime in (rec.relay, other.relay):
            runtime.open_scope("adapter", "llm").close(view=view)
        for recording in (rec, other):
            assert "relay.duplicate_of" not in recording.end("adapter").metadata
    rec.clear()
    for response_id in (None, "", "another"):
        for name in ("one", "two"):
            rec.relay.open_scope(name, "llm").close(view=view.replace(id=response_id))
        duplicated = ["relay.duplicate_of" in rec.end(name).metadata for name in ("one", "two")]
        assert duplicated == [False, response_id == "another"]
        rec.clear()
    rec.relay.open_scope("no model call", "retriever").close(view=view)
    assert "relay.duplicate_of" not in rec.end("no model call").metadata


def test_the_index_forgets_the_oldest():
    index = ResponseIndex()
    for i in range(10_000):
        assert index.first(f"r{i}", f"u{i}") == f"u{i}"
    assert index.first("r9999", "again") == "u9999"
    assert index.first("r0", "again") == "again"
    assert len(index._seen) <= 4_096
