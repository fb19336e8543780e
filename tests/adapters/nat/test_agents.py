"""NAT's own LangGraph agents with a scripted model: calls of models and tools, and who reports what."""

from __future__ import annotations

import contextlib

import pytest

pytest.importorskip("nat.builder", reason="nvidia-nat-core has an environment of its own: tox -e only-nat")

from langchain_core.messages import HumanMessage
from nat.plugin_api import LLMFrameworkEnum

import relay_adapter_langchain
import relay_core as relay
from relay_adapter_langchain import RelayCallbackHandler, wrap_model
from tests.adapters.nat import parts

LLMS = {"model": {"_type": "t_scripted", "script": "agent"}}
AGENT = {"_type": "tool_calling_agent", "tool_names": ["weather"], "llm_name": "model"}


@pytest.fixture(autouse=True)
def script(monkeypatch):
    told = [parts.calls(("weather", {"city": "Oslo", "days": 2})), "It rains."]
    monkeypatch.setitem(parts.SCRIPTS, "agent", told)
    return told


async def _ask(mode="ok", middleware=None, **more):
    weather = {"_type": "t_tool", "mode": mode, "middleware": list(middleware or ())}
    return await parts.run(
        {**AGENT, **more.pop("agent", {})},
        "Rain?",
        functions={"weather": weather},
        llms=LLMS,
        **{"middleware": middleware or {}, **more},
    )


async def test_an_agent_s_calls_have_what_they_were_asked_and_answered(trace):
    assert await _ask() == "It rains."
    first, second = trace.scopes(category="llm")
    assert first.start["data"]["content"]["messages"] == [{"role": "user", "content": "Rain?"}]
    assert first.end["category_profile"]["annotated_response"]["tool_calls"][0]["arguments"] == {
        "city": "Oslo",
        "days": 2,
    }
    usage = second.end["category_profile"]["annotated_response"]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["cache_read_tokens"]) == (11, 5, 4)
    assert second.start["category_profile"]["model_name"] == "scripted-1"
    assert 0 < second.end["category_profile"]["time_to_first_chunk"] < 60
    tool = trace.one("tool", "weather")
    assert tool.start["data"] == {"city": "Oslo", "days": 2}
    assert tool.end["category_profile"]["tool_call_id"] == "call_0"


async def test_a_tool_and_the_function_in_it_are_told_to_be_one_call(trace):
    await _ask()
    tool, function = trace.one("tool", "weather"), trace.one("function", "weather")
    assert function.parent == tool.uuid
    assert function.metadata["relay.duplicate_of"] == tool.uuid


async def test_a_blocked_tool_of_an_agent_ends_as_blocked_with_its_twin(trace):
    trace.relay.register("guardrail", lambda call: relay.Block("no weather today"), target="tool", name="no")
    await _ask(middleware={"relay": {"_type": "relay"}})
    assert [pair.status for pair in trace.scopes(name="weather")] == ["blocked", "blocked"]
    last = trace.scopes(category="llm")[-1]
    assert "no weather today" in str(last.start["data"]), "the agent tells its model"


async def test_a_tool_that_fails_ends_with_its_twin(trace):
    await _ask(mode="fail")
    assert {pair.metadata.get("error.type") for pair in trace.scopes(name="weather")} == {"LookupError"}
    assert trace.one(name="tool_calling_agent").status == "ok", "the agent went on"


async def test_a_model_that_fails_ends_with_the_run(trace, script):
    script[:] = [ZeroDivisionError("the model broke")]
    with pytest.raises(ZeroDivisionError):
        await _ask()
    model = trace.scopes(category="llm")[0]
    assert model.status == "error" and model.metadata["relay.end_cause"] == "run_failed"
    assert trace.one(name="tool_calling_agent").metadata["error.type"] == "ZeroDivisionError"


async def _recovers(models, text):
    with contextlib.suppress(ZeroDivisionError):
        await models[0].ainvoke(text)
    return "went on"


async def test_a_model_whose_failure_is_dealt_with_ends_as_an_error(trace, script):
    """NAT reports no end of it, and no error."""
    script[:] = [ZeroDivisionError("the model broke")]
    assert await parts.run(_workflow("recovers", _Asks(_recovers)), llms=LLMS) == "went on"
    model = trace.one(category="llm")
    assert (model.status, model.metadata["relay.end_cause"]) == ("error", "no_end")
    assert trace.one(name="t_caller").status == "ok"


async def test_with_the_langchain_adapter_every_run_is_reported_once(trace):
    """LangChain's runs are the adapter's, which knows of errors; NAT's functions stay where they are in them."""
    relay_adapter_langchain.instrument(trace.relay)
    try:
        await _ask()
    finally:
        relay_adapter_langchain.uninstrument()
    assert len(trace.scopes(category="llm")) == 2
    tool = trace.one("tool", "weather")
    function = trace.one("function", "weather")
    assert function.parent == tool.uuid and function.metadata["relay.duplicate_of"] == tool.uuid
    graph = trace.one(name="LangGraph")
    assert graph.parent == trace.one(name="<workflow>").uuid
    assert trace.path(tool)[:3] == ["tool_calling_agent", "<workflow>", "LangGraph"]


class _Asks:
    """A workflow that asks a model by its own code."""

    def __init__(self, ask, wrapper=LLMFrameworkEnum.LANGCHAIN, wrap=None):
        self.ask, self.wrapper, self.wrap = ask, wrapper, wrap

    async def prepare(self, builder):
        models = [await builder.get_llm("model", wrapper_type=self.wrapper) for _ in range(2)]
        return [self.wrap(model) if self.wrap else model for model in models]

    async def __call__(self, models, text):
        return str(await self.ask(models, text))


def _workflow(name, asks):
    parts.BODIES[name] = asks
    return {"_type": "t_caller", "body": name}


async def _invoke(models, text):
    return (await models[0].ainvoke(text)).content


async def test_a_model_wrapped_by_the_langchain_adapter_is_one_call_under_policy(trace, script):
    script[:] = ["hello"]
    trace.relay.register("guardrail", lambda call: None, target="llm", name="fine")
    workflow = _workflow("wrapped", _Asks(_invoke, wrap=lambda model: wrap_model(model, trace.relay)))
    assert await parts.run(workflow, llms=LLMS) == "hello"
    call = trace.one(category="llm")
    assert call.parent == trace.one(name="<workflow>").uuid
    assert "nat.step_id" in call.metadata, "NAT's own report of the call was recognised"


async def test_a_handler_that_is_given_to_one_call_is_recognised(trace, script):
    script[:] = ["hello"]
    handler = RelayCallbackHandler(trace.relay)

    async def ask(models, text):
        return (await models[0].ainvoke(text, {"callbacks": [handler]})).content

    await parts.run(_workflow("handled", _Asks(ask)), llms=LLMS)
    call = trace.one(category="llm")
    assert call.metadata["langchain.run_id"], "LangChain's own handler was there first and knows more"
    assert call.parent == trace.one(name="<workflow>").uuid


# -- the experimental middleware -------------------------------------------------------------------------------------

EXPERIMENTAL = {"llms": {"_type": "relay_experimental_llm"}}


async def _every_way(models, text):
    answers = []
    for model in models:
        answers += [model.invoke(text).content, (await model.ainvoke(text)).content]
        answers += [(await model.agenerate([[HumanMessage(text)]])).generations[0][0].text]
        answers += ["".join([chunk.content for chunk in model.stream(text)])]
        answers += ["".join([chunk.content async for chunk in model.astream(text)])]
    return answers


async def test_every_client_of_langchain_is_under_policy_in_every_way(trace, script):
    script[:] = ["hello"]
    asked = []
    trace.relay.register("guardrail", lambda call: asked.append(call.view.last_user_text()), target="llm", name="look")
    answer = await parts.run(_workflow("every", _Asks(_every_way)), "hi", llms=LLMS, middleware=EXPERIMENTAL)
    assert answer == str(["hello"] * 10)
    assert asked == ["hi"] * 10, "the second client as well as the first, sync as well as async"
    assert len(trace.scopes(category="llm")) == 10


async def test_a_blocked_model_raises_relay_s_own_error(trace, script):
    trace.relay.register("guardrail", lambda call: relay.Block("hush"), target="llm", name="hush")
    with pytest.raises(relay.Blocked, match="hush"):
        await parts.run(_workflow("blocked", _Asks(_invoke)), llms=LLMS, middleware=EXPERIMENTAL)
    assert trace.one(name="t_caller").status == "blocked"
    assert trace.scopes(category="llm") == []


async def _raw_ways(models, text):
    model = models[1]
    answers = [model.complete(text), await model.acomplete(text), list(model.stream_complete(text))]
    answers += [[chunk async for chunk in await model.astream_complete(text)]]
    answers += [[chunk async for chunk in model.astream(text)]]
    assert isinstance(model, parts.RawModel)
    return answers


async def test_clients_of_other_frameworks_are_under_policy_by_their_methods(trace):
    @trace.relay.request_intercept("llm")
    def louder(call):
        return call.replace(request={"args": [call.request["args"][0].upper()], "kwargs": {}})

    workflow = _workflow("raw", _Asks(_raw_ways, wrapper="t_raw"))
    answer = await parts.run(workflow, "a b", llms=LLMS, middleware=EXPERIMENTAL)
    assert answer == str(["sync A B", "async A B", ["A", "B"], ["A", "B"], ["A", "B"]])
    calls = trace.scopes(category="llm")
    assert len(calls) == 5 and {call.start["category_profile"]["model_name"] for call in calls} == {"raw-1"}
    assert {call.parent for call in calls} == {trace.one(name="<workflow>").uuid}


async def test_an_agent_s_model_is_under_policy_by_the_experimental_middleware(trace):
    asked = []
    trace.relay.register("guardrail", lambda call: asked.append(call.kind), target="llm", name="look")
    assert await _ask(middleware=None) == "It rains."
    assert asked == []
    weather = {"_type": "t_tool"}
    await parts.run(AGENT, "Rain?", functions={"weather": weather}, llms=LLMS, middleware=EXPERIMENTAL)
    assert asked == ["llm", "llm"]
    assert len(trace.scopes(category="llm")) == 4, "two runs of two calls, each once"
