"""Real workflows: their steps as scopes, with NAT's ids, parents and outcomes."""

from __future__ import annotations

import asyncio
import itertools
import uuid

import pytest

pytest.importorskip("nat.builder", reason="nvidia-nat-core has an environment of its own: tox -e only-nat")

from nat.data_models.runtime_enum import RuntimeTypeEnum
from nat.utils import providers

from tests.adapters.nat import parts

TOOLS = {
    "weather": {"_type": "t_tool"},
    "echo": {"_type": "t_echo"},
    "broken": {"_type": "t_tool", "mode": "fail"},
    "endless": {"_type": "t_tool", "mode": "hang"},
}
SUMS = {"sums": {"_type": "t_sums", "include": ["add", "divide"]}}


@pytest.fixture
def fix_providers():
    """Gives what makes NAT count ids from one and be a second later at each look at its clock, from then on."""
    before = providers.get_id_provider(), providers.get_time_provider()

    def fix():
        ids, seconds = itertools.count(1), itertools.count(1_700_000_000)
        providers.set_id_provider(lambda: str(uuid.UUID(int=next(ids))))
        providers.set_time_provider(lambda: float(next(seconds)))

    yield fix
    providers.set_id_provider(before[0])
    providers.set_time_provider(before[1])


async def _plan(functions, text):
    told = await functions["weather"].acall_invoke(city=text, days=2)
    total = await functions["sums__add"].acall_invoke(a=1, b=2)
    return await functions["echo"].acall_invoke(f"{told} {total}")


async def test_golden_events_with_fixed_ids_and_times(trace, fix_providers):
    workflow = parts.body(_plan, "weather", "echo", "sums__add")
    async with parts.session(workflow, functions=TOOLS, function_groups=SUMS) as manager:
        fix_providers()
        assert await parts.once(manager, "Oslo") == "echo 2 days of rain in Oslo 3"
    lines = [
        (
            e["scope_category"],
            e["category"],
            e["name"],
            e["uuid"][-2:],
            (e["parent_uuid"] or "--")[-2:],
            e["timestamp"][17:19],
        )
        for e in trace.events
    ]
    assert lines == [
        ("start", "agent", "t_caller", "03", "--", "20"),
        ("start", "function", "<workflow>", "04", "03", "21"),
        ("start", "tool", "weather", "05", "04", "22"),
        ("end", "tool", "weather", "05", "04", "23"),
        ("start", "tool", "sums__add", "06", "04", "24"),
        ("end", "tool", "sums__add", "06", "04", "25"),
        ("start", "tool", "echo", "07", "04", "26"),
        ("end", "tool", "echo", "07", "04", "27"),
        ("end", "function", "<workflow>", "04", "03", "28"),
        ("end", "agent", "t_caller", "03", "--", "29"),
    ]
    root = trace.one(name="t_caller")
    assert root.metadata["nat.run_id"] == str(uuid.UUID(int=1)), "the first id is that of the run"
    assert root.metadata["nat.trace_id"] == f"{2:032x}"
    tool = trace.one(name="weather")
    assert (tool.start["data"], tool.end["data"]) == ({"city": "Oslo", "days": 2}, "2 days of rain in Oslo")
    assert tool.metadata["nat.parent_function"] == "<workflow>"
    assert tool.metadata["nat.parent_function_id"] == trace.one(name="<workflow>").uuid
    assert (root.start["data"], root.end["data"]) == ("Oslo", "echo 2 days of rain in Oslo 3")


async def test_the_conversation_is_told(trace):
    async with parts.session(parts.body(_talk)) as manager:
        await parts.once(manager, conversation_id="talk-7")
    facts = trace.one(name="t_caller").metadata
    assert (facts["conversation_id"], facts["session_id"], facts["nat.runtime"]) == ("talk-7", "talk-7", "run_or_serve")


async def test_an_evaluation_is_told_from_a_run_of_a_user(trace):
    async with parts.session(parts.body(_talk)) as manager:
        await parts.once(manager, upstream={"runtime_type": RuntimeTypeEnum.EVALUATE})
    assert trace.one(name="t_caller").metadata["nat.runtime"] == "evaluate"


async def _talk(functions, text):
    return text


async def _broken(functions, text):
    return await functions["broken"].acall_invoke(city=text)


async def test_a_failed_run_ends_everywhere_with_its_error(trace):
    with pytest.raises(LookupError, match="no weather"):
        await parts.run(parts.body(_broken, "broken"), "Oslo", functions=TOOLS)
    assert trace.flow()[3:] == ["end tool broken error", "end function <workflow> error", "end agent t_caller error"]
    for pair in trace.scopes():
        assert pair.metadata["error.type"] == "LookupError", pair.name
        assert pair.metadata["otel.status_description"] == "no weather in Oslo"
    assert trace.one(name="t_caller").metadata["relay.end_cause"] == "run_failed"


async def _recovers(functions, text):
    try:
        await functions["broken"].acall_invoke(city=text)
    except LookupError:
        return await functions["echo"].acall_invoke("never mind")


async def test_an_error_that_is_dealt_with_is_that_function_s_alone(trace):
    """A function that runs while an older exception is handled has not failed."""
    assert await parts.run(parts.body(_recovers, "broken", "echo"), functions=TOOLS) == "echo never mind"
    assert {pair.name: pair.status for pair in trace.scopes()} == {
        "t_caller": "ok",
        "<workflow>": "ok",
        "broken": "error",
        "echo": "ok",
    }


async def _reads_on_while_handling(functions, text):
    stream = functions["words"].astream("a b c")
    told = [await anext(stream)]
    try:
        raise KeyError(text)
    except KeyError:
        told += [word async for word in stream]
    return " ".join(told)


async def test_an_error_of_the_reader_is_not_that_of_the_stream(trace):
    words = {"words": {"_type": "t_stream"}}
    assert await parts.run(parts.body(_reads_on_while_handling, "words"), functions=words) == "a b c"
    assert (trace.one(name="words").status, trace.one(name="words").end["data"]) == ("ok", ["a", "b", "c"])


async def _late(functions):
    for _ in range(20):
        await asyncio.sleep(0)
    return await functions["echo"].acall_invoke("late")


async def _waits_in_the_end(functions, text):
    late = asyncio.create_task(_late(functions))
    try:
        await functions["broken"].acall_invoke(city=text)
    except LookupError:
        return text
    finally:
        await late


async def test_a_sibling_may_end_after_the_branch_that_failed(trace):
    assert await parts.run(parts.body(_waits_in_the_end, "broken", "echo"), functions=TOOLS) == "hi"
    assert trace.one(name="echo").status == "ok"
    assert trace.one(name="echo").parent == trace.one(name="<workflow>").uuid


async def test_what_still_runs_when_its_run_has_failed_is_told_to_be_cut_off(trace):
    left = []

    async def gathered(functions, text):
        left.append(asyncio.create_task(functions["endless"].acall_invoke(city=text)))
        await asyncio.gather(functions["broken"].acall_invoke(city=text), *left)

    with pytest.raises(LookupError):
        await parts.run(parts.body(gathered, "broken", "endless"), functions=TOOLS)
    assert trace.one(name="t_caller").metadata["error.type"] == "LookupError"
    cut = trace.one(name="endless")
    assert (cut.status, cut.metadata["relay.end_cause"]) == ("cancelled", "run_failed")
    left[0].cancel()
    await asyncio.wait(left)  # NAT tells nobody of its end


async def test_a_cancelled_run_is_cancelled_and_no_error(trace):
    started = asyncio.Event()

    async def endless(functions, text):
        asyncio.get_running_loop().call_soon(started.set)
        return await functions["endless"].acall_invoke(city=text)

    async with parts.session(parts.body(endless, "endless"), functions=TOOLS) as manager:
        task = asyncio.create_task(parts.once(manager))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [pair.name for pair in trace.scopes()] == ["t_caller", "<workflow>", "endless"]
    assert {pair.status for pair in trace.scopes()} == {"cancelled"}


async def test_scopes_and_marks_of_the_program_lie_where_they_are_made(trace):
    async def own_work(functions, text):
        with trace.relay.scope("mine"):
            trace.relay.mark("thought", data={"n": 1})
            return await functions["echo"].acall_invoke(text)

    with trace.relay.scope("around"):
        await parts.run(parts.body(own_work, "echo"), functions=TOOLS)
    assert trace.path(trace.one(name="mine")) == ["around", "t_caller", "<workflow>", "mine"]
    assert trace.marks("thought")[0]["parent_uuid"] == trace.one(name="mine").uuid
    assert trace.one(name="echo").parent == trace.one(name="<workflow>").uuid, "NAT's own parents are kept"


async def test_a_scope_that_was_current_when_the_workflow_was_built_is_no_parent(trace):
    """NAT gives every run the context variables that were set while it was built."""
    with trace.relay.scope("building"):
        opened = parts.session(parts.body(_talk))
        manager = await opened.__aenter__()
    await parts.once(manager)
    await opened.__aexit__(None, None, None)
    assert trace.one(name="t_caller").parent is None


async def _stamped(functions, text):
    for _ in range(3):
        await asyncio.sleep(0)
        text = await functions["echo"].acall_invoke(text)
    return text


async def test_a_hundred_runs_at_once_do_not_mix(trace):
    async with parts.session(parts.body(_stamped, "echo"), functions=TOOLS) as manager:
        results = await asyncio.gather(*(parts.once(manager, f"run {n}") for n in range(100)))
    assert results == [f"echo echo echo run {n}" for n in range(100)]
    pairs = trace.scopes()
    roots = [pair for pair in pairs if pair.parent is None]
    assert len(roots) == 100 and len(pairs) == 500
    assert all(root.status == "ok" for root in roots)
    own = {root.uuid: root.start["data"] for root in roots}
    known = {pair.uuid: pair for pair in pairs}
    for pair in pairs:
        top = pair
        while top.parent is not None:
            top = known[top.parent]
        assert str(pair.start["data"]).endswith(own[top.uuid]), "a step is under the run that made it"


async def test_inputs_and_outputs_can_be_left_out(trace):
    quiet = {"relay": {"_type": "relay", "payloads": False}}
    await parts.run(
        parts.body(_plan, "weather", "echo", "sums__add"), functions=TOOLS, function_groups=SUMS, telemetry=quiet
    )
    assert [event["data"] for event in trace.events] == [None] * 10
    assert trace.one(name="weather").status == "ok"


async def test_secrets_and_what_a_sanitizer_removes_never_show(trace):
    """NAT reports inputs before any middleware has seen them, so redaction is applied to what it reports."""

    @trace.relay.sanitizer
    def no_oslo(event):
        return event.replace(data="[city]") if "Oslo" in str(event.data) else event

    workflow = parts.body(_plan, "weather", "echo", "sums__add")
    await parts.run(workflow, "Oslo api_key=sk-abcdefghijklmnopqrstuvwxyz123456", functions=TOOLS, function_groups=SUMS)
    told = "".join(map(str, trace.events))
    assert "Oslo" not in told and "[city]" in told
    assert "abcdefghijklmnop" not in told
