"""Steps as they come in real life: remote, replayed, bridged, without a start, without an end, changing under the hand."""

from __future__ import annotations

import asyncio
import logging
import uuid

import pytest

pytest.importorskip("nat.builder", reason="nvidia-nat-core has an environment of its own: tox -e only-nat")

from nat.data_models.intermediate_step import (
    IntermediateStep,
    IntermediateStepPayload,
    StreamEventData,
    TraceMetadata,
    UsageInfo,
)
from nat.data_models.invocation_node import InvocationNode
from nat.data_models.token_usage import TokenUsageBaseModel
from nat.plugin_api import Context
from pydantic import BaseModel

from relay_adapter_nat import compat, instrument, register, uninstrument
from relay_adapter_nat.runs import StepRun
from relay_adapter_nat.table import StepTable, table_of
from tests.adapters.nat import parts

TOOLS = {"echo": {"_type": "t_echo"}}
REMOTE = "7a1e2f3c-0000-4000-8000-00000000beef"


def _pusher():
    """NAT keeps what is open with the manager, so starts and ends go to the same one."""
    manager = Context.get().intermediate_step_manager

    def push(kind, step_id, name="step", **fields):
        data = StreamEventData(**fields.pop("data", {}))
        payload = IntermediateStepPayload(event_type=kind, UUID=step_id, name=name, data=data, **fields)
        manager.push_intermediate_step(payload)

    return push


async def test_a_remote_parent_is_kept(trace):
    trace.remote.add(REMOTE)

    async def talk(functions, text):
        return text

    async with parts.session(parts.body(talk)) as manager:
        await parts.once(manager, upstream={"parent_id": REMOTE, "parent_name": "upstream"})
    root = trace.one(name="t_caller")
    assert root.parent == REMOTE
    assert root.start["propagation_root_uuid"] == REMOTE


async def test_a_workflow_inside_a_workflow_of_this_process_lies_under_its_function(trace):
    async def inner(functions, text):
        return f"inner {text}"

    async with parts.session(parts.body(inner)) as nested:

        async def outer(functions, text):
            step = Context.get().active_span_id
            # A context of its own, as a request that came over the network has.
            return await asyncio.create_task(parts.once(nested, text, upstream={"parent_id": step}))

        assert await parts.run(parts.body(outer)) == "inner hi"
    inside, outside = sorted(trace.scopes(name="t_caller"), key=lambda pair: pair.parent is None)
    assert outside.parent is None
    assert trace.path(inside) == ["t_caller", "<workflow>", "t_caller"]


async def test_what_came_from_relay_is_not_reported_back(trace):
    told = TraceMetadata(provided_metadata={"nemo_relay": {"uuid": "x"}})

    async def bridged(functions, text):
        push = _pusher()
        push("TOOL_START", "bridged", metadata=told)
        answer = await functions["echo"].acall_invoke(text)
        push("TOOL_END", "bridged", metadata=told)
        push("CUSTOM_START", "mark", "mark:x", metadata={"provided_metadata": {"nemo_relay": {}}})
        push("CUSTOM_END", "mark", "mark:x")
        return answer

    await parts.run(parts.body(bridged, "echo"), functions=TOOLS)
    assert [pair.name for pair in trace.scopes()] == ["t_caller", "<workflow>", "echo"]
    assert trace.one(name="echo").parent == trace.one(name="<workflow>").uuid, (
        "what is inside moves out to the step around"
    )


async def test_every_kind_of_step_has_a_scope(trace):
    async def kinds(functions, text):
        push = _pusher()
        for kind in ("TASK", "TTC", "CUSTOM", "SPAN"):
            step = str(uuid.uuid4())
            push(f"{kind}_START", step, kind, data={"input": {"n": 1}}, tags=["a"], metadata={"who": "me"})
            if kind == "SPAN":
                push("SPAN_CHUNK", step, kind, data={"chunk": "part"})
            push(f"{kind}_END", step, kind, data={"output": {"n": 2}})
        return text

    await parts.run(parts.body(kinds))
    found = {pair.name: (pair.category, pair.start["category_profile"].get("subtype")) for pair in trace.scopes()[2:]}
    assert found == {
        "TASK": ("agent", None),
        "TTC": ("custom", "nat.ttc"),
        "CUSTOM": ("custom", "nat.custom"),
        "SPAN": ("custom", "nat.span"),
    }
    span = trace.one(name="SPAN")
    assert (span.start["data"], span.end["data"]) == ({"n": 1}, {"n": 2})
    assert (span.metadata["nat.tags"], span.metadata["nat.metadata"]) == (["a"], {"who": "me"})
    (chunk,) = trace.marks("nat.chunk")
    assert (chunk["data"], chunk["parent_uuid"]) == ("part", span.uuid)


async def test_ids_that_are_no_uuids_become_stable_ones(trace):
    async def odd(functions, text):
        push = _pusher()
        push("SPAN_START", "step 1", "outer")
        push("SPAN_START", "step 2", "inner")
        push("SPAN_END", "step 2", "inner")
        push("SPAN_END", "step 1", "outer")
        return text

    await parts.run(parts.body(odd))
    assert trace.one(name="inner").parent == trace.one(name="outer").uuid
    assert uuid.UUID(trace.one(name="outer").uuid).version == 5


async def test_a_step_that_never_ends_ends_with_its_run(trace):
    async def forgets(functions, text):
        push = _pusher()
        push("SPAN_START", str(uuid.uuid4()), "forgotten")
        return text

    await parts.run(parts.body(forgets))
    span = trace.one(name="forgotten")
    assert (span.status, span.metadata["relay.end_cause"]) == ("cancelled", "no_end")


async def test_payloads_are_taken_as_they_are_at_that_moment(trace):
    class Basket(BaseModel):
        apples: list[int]

    basket = Basket(apples=[1])

    async def changes(functions, text):
        push = _pusher()
        step = str(uuid.uuid4())
        push("SPAN_START", step, "basket", data={"input": basket})
        basket.apples.append(2)
        push("SPAN_END", step, "basket", data={"output": basket})
        basket.apples.clear()
        return text

    await parts.run(parts.body(changes))
    span = trace.one(name="basket")
    assert (span.start["data"], span.end["data"]) == ({"apples": [1]}, {"apples": [1, 2]})


def _step(kind, step_id, parent="root", **fields):
    payload = IntermediateStepPayload(event_type=kind, UUID=step_id, event_timestamp=1.7e9, **fields)
    ancestry = InvocationNode(function_id="root", function_name="root")
    return IntermediateStep(parent_id=parent, function_ancestry=ancestry, payload=payload)


def _ids(n):
    return [str(uuid.UUID(int=number + 1)) for number in range(n)]


@pytest.fixture
def odd_counts(trace):
    """What a test expects to be counted, and takes out again before the trace is checked."""
    yield trace.relay.counters
    for name in [name for name in trace.relay.counters if name.startswith("nat.")]:
        del trace.relay.counters[name]


async def test_an_end_without_a_start_is_counted_and_a_second_start_ignored(trace, odd_counts):
    first, second, third = _ids(3)
    run = StepRun(trace.relay)
    run.take(_step("TOOL_END", second, name="nobody"))
    run.take(_step("WORKFLOW_START", first, name="flow"))
    run.take(_step("WORKFLOW_START", first, name="flow"))
    run.take(_step("SPAN_CHUNK", third))
    run.take(_step("TOOL_START", third, parent="lost", name="tool"))
    run.finish()
    assert odd_counts["nat.ends_without_start"] == 1
    assert odd_counts["nat.starts_of_open_steps"] == 1
    assert trace.one(name="tool").parent == first, "a step whose parent is unknown is the run's"
    assert len(table_of(trace.relay)) == 0


async def test_replayed_steps_of_a_remote_run_keep_their_tree(trace):
    first, second = _ids(2)

    async def replays(functions, text):
        manager = Context.get().intermediate_step_manager
        here = Context.get().active_span_id
        usage = UsageInfo(token_usage=TokenUsageBaseModel(prompt_tokens=3, completion_tokens=2, total_tokens=5))
        manager.push_intermediate_steps(
            [
                _step("TASK_START", first, here, name="far"),
                _step("LLM_START", second, first, name="m-1", data=StreamEventData(input="q")),
                _step("LLM_END", second, first, name="m-1", data=StreamEventData(output="a"), usage_info=usage),
                _step("TASK_END", first, here, name="far"),
            ]
        )
        return text

    await parts.run(parts.body(replays))
    model = trace.one(category="llm")
    assert trace.path(model) == ["t_caller", "<workflow>", "far", "m-1"]
    told = model.end["category_profile"]["annotated_response"]
    assert (told["message"], told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == ("a", 3, 2)


async def test_tokens_that_nobody_counted_are_absent(trace):
    (only,) = _ids(1)
    run = StepRun(trace.relay)
    run.take(_step("LLM_START", only, name="m", data=StreamEventData(input=[{"role": "user", "content": "q"}])))
    run.take(_step("LLM_END", only, name="m", data=StreamEventData(output="a"), usage_info=UsageInfo()))
    model = trace.one(category="llm")
    assert "usage" not in model.end["data"]
    assert model.start["data"]["content"]["messages"] == [{"role": "user", "content": "q"}]


async def test_the_table_is_bounded(trace):
    table = StepTable(trace.relay, cap=2)
    run = StepRun(trace.relay)
    run._table = table
    ids = _ids(4)
    for step_id in ids:
        run.take(_step("SPAN_START", step_id, name=step_id[-1]))
    assert len(table) == 2
    assert trace.one(name="1").metadata["relay.end_cause"] == "given_up"
    run.finish()


async def test_a_hostile_payload_does_no_harm(trace):
    class Rude:
        def __getattr__(self, name):
            raise RuntimeError(name)

        __str__ = __repr__ = __getattr__

    async def rude(functions, text):
        push = _pusher()
        step = str(uuid.uuid4())
        push("SPAN_START", step, "rude", data={"input": {"rude": Rude(), "cycle": (c := [])}})
        c.append(c)
        push("SPAN_END", step, "rude", data={"output": c})
        return text

    assert await parts.run(parts.body(rude)) == "hi"
    assert trace.one(name="rude").status == "ok"


async def test_instrument_sees_workflows_that_say_nothing_of_relay_and_doubles_none(trace):
    async def talk(functions, text):
        return text

    instrument(trace.relay)
    instrument(trace.relay)
    try:
        await parts.run(parts.body(talk), telemetry={})
        await parts.run(parts.body(talk))
        assert [pair.name for pair in trace.scopes()] == ["t_caller", "<workflow>"] * 2
    finally:
        uninstrument()
    await parts.run(parts.body(talk), telemetry={})
    assert len(trace.scopes()) == 4, "taken off, it reports nothing"


async def test_models_without_the_profiler_are_warned_of_once(trace, caplog, monkeypatch):
    async def talk(functions, text):
        return text

    monkeypatch.setattr(compat, "has_profiler", lambda: False)
    monkeypatch.setattr(register, "_warned", False)
    with caplog.at_level(logging.WARNING, logger="relay"):
        for _ in range(2):
            await parts.run(parts.body(talk), llms={"model": {"_type": "t_scripted"}})
        await parts.run(parts.body(talk))
    (told,) = [record.getMessage() for record in caplog.records if record.name == "relay"]
    assert "no calls of its models (model) without nvidia-nat-profiler" in told
    assert "relay-adapter-nat[llm]" in told
