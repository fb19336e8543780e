"""Policy around NAT's functions: blocked, rewritten, replaced, skipped, streamed."""

from __future__ import annotations

import pytest

pytest.importorskip("nat.builder", reason="nvidia-nat-core has an environment of its own: tox -e only-nat")

import relay_core as relay
from tests.adapters.nat import parts

POLICY = {"relay": {"_type": "relay"}}
SILENT: dict[str, object] = {}  # no exporter


def _tools(**more):
    under = {"middleware": ["relay"], **more}
    return {
        "weather": {"_type": "t_tool", **under},
        "broken": {"_type": "t_tool", "mode": "fail", **under},
        "echo": {"_type": "t_echo", **under},
        "words": {"_type": "t_stream", **under},
        "tears": {"_type": "t_stream", "fail_at": 2, **under},
    }


SUMS = {"sums": {"_type": "t_sums", "include": ["add", "divide"], "middleware": ["relay"]}}


async def _weather(functions, text):
    return await functions["weather"].acall_invoke(city=text, days=2)


async def _go(trace, fn, *names, text="Oslo", groups=None, **options):
    workflow = parts.body(fn, *names)
    return await parts.run(
        workflow, text, functions=_tools(), function_groups=groups or {}, middleware=POLICY, **options
    )


async def test_a_guardrail_blocks_and_the_caller_gets_relay_s_own_error(trace):
    asked = []

    @trace.relay.guardrail("tool")
    def no_oslo(call):
        asked.append((call.name, call.request))
        return relay.Block("not Oslo") if call.request.get("city") == "Oslo" else None

    with pytest.raises(relay.Blocked, match="not Oslo") as caught:
        await _go(trace, _weather, "weather")
    assert (caught.value.guardrail, caught.value.call.name) == ("no_oslo", "weather")
    assert asked == [("weather", {"city": "Oslo", "days": 2})]
    assert trace.one(name="weather").status == "blocked"
    assert {pair.status for pair in trace.scopes() if pair.category != "guardrail"} == {"blocked"}
    guardrail = trace.one(category="guardrail")
    assert guardrail.parent == trace.one(name="weather").uuid
    assert guardrail.end["data"]["rejection_reason"] == "not Oslo"


async def test_a_request_intercept_rewrites_and_the_trace_says_both(trace):
    @trace.relay.request_intercept("tool")
    def to_bergen(call):
        return call.replace(request={**call.request, "city": "Bergen"})

    assert await _go(trace, _weather, "weather") == "2 days of rain in Bergen"
    tool = trace.one(name="weather")
    assert tool.start["data"]["city"] == "Oslo", "NAT reported it before the middleware ran"
    assert [mark["data"] for mark in trace.marks("nat.arguments")] == [{"city": "Bergen", "days": 2}]
    assert trace.marks("nat.arguments")[0]["parent_uuid"] == tool.uuid
    assert tool.end["data"] == "2 days of rain in Bergen"


async def test_an_edit_that_the_function_cannot_take_is_refused_with_the_function_s_own_schema(trace):
    @trace.relay.request_intercept("tool")
    def wrong(call):
        return call.replace(request={"days": "many"})

    with pytest.raises(ValueError, match="days"):
        await _go(trace, _weather, "weather")


async def test_an_execution_intercept_answers_in_place_of_the_function(trace):
    @trace.relay.execution_intercept("tool")
    def remembered(call):
        return "remembered"
        yield call

    assert await _go(trace, _weather, "weather") == "remembered"
    assert trace.one(name="weather").status == "cached"


async def test_an_execution_intercept_changes_the_result(trace):
    @trace.relay.execution_intercept("tool")
    def louder(call):
        result = yield call
        return result.upper()

    assert await _go(trace, _weather, "weather") == "2 DAYS OF RAIN IN OSLO"
    assert trace.one(name="weather").end["data"] == "2 DAYS OF RAIN IN OSLO"


async def _sum(functions, text):
    return str([await functions["sums__add"].acall_invoke(a=1, b=2), await functions["echo"].ainvoke("x")])


async def test_groups_and_single_arguments_are_under_policy_by_name(trace):
    seen = {}

    @trace.relay.guardrail("tool")
    def look(call):
        seen[call.name] = call.request

    assert await _go(trace, _sum, "sums__add", "echo", groups=SUMS) == "[3, 'echo x']"
    assert seen == {"sums__add": {"a": 1, "b": 2}, "echo": {"text": "x"}}


async def _identity(functions, text):
    try:
        await functions["broken"].acall_invoke(city=text)
    except LookupError as error:
        return type(error).__name__ + str(error.args)


async def test_an_exception_passes_as_it_is(trace):
    @trace.relay.execution_intercept("tool")
    def through(call):
        return (yield call)

    assert await _go(trace, _identity, "broken") == "LookupError('no weather in Oslo',)"
    assert trace.one(name="broken").status == "error"
    assert trace.one(name="t_caller").status == "ok"


async def test_policy_runs_once_where_the_middleware_is_listed_twice(trace):
    asked = []
    trace.relay.register("guardrail", lambda call: asked.append(call.name), target="tool", name="count")
    functions = {"weather": {"_type": "t_tool", "middleware": ["relay", "again"]}}
    both = {**POLICY, "again": {"_type": "relay"}}
    await parts.run(parts.body(_weather, "weather"), functions=functions, middleware=both)
    assert asked == ["weather"]


async def test_without_the_exporter_the_middleware_reports_the_call_itself(trace):
    trace.relay.register("guardrail", lambda call: None, target="tool", name="fine")
    await _go(trace, _weather, "weather", telemetry=SILENT)
    assert trace.flow()[-2:] == ["start tool weather", "end tool weather ok"]
    assert trace.one(name="weather").end["data"] == "2 days of rain in Oslo"


@pytest.mark.parametrize("order", [["skips", "relay"], ["relay", "skips"]])
async def test_a_function_that_other_middleware_skips_has_no_error(trace, order):
    """Where Relay's middleware is the last, it was not reached, which the end of the function tells."""
    trace.relay.register("guardrail", lambda call: None, target="tool", name="fine")
    functions = {"weather": {"_type": "t_tool", "middleware": order}}
    both = {**POLICY, "skips": {"_type": "t_skips"}}
    assert await parts.run(parts.body(_asked, "weather"), functions=functions, middleware=both) == "None"
    tool = trace.one(name="weather")
    assert (tool.status, tool.end["data"]) == ("ok", None)
    assert tool.metadata.get("nat.skipped", False) is (order[0] == "skips")


async def _asked(functions, text):
    return str(await functions["weather"].acall_invoke(city=text))


async def _stream_of(name, functions, text):
    return [chunk async for chunk in functions[name].astream(text)]


async def _words(functions, text):
    return "|".join(await _stream_of("words", functions, text))


async def _tears(functions, text):
    return "|".join(await _stream_of("tears", functions, text))


@pytest.mark.parametrize("telemetry", [{"relay": {"_type": "relay"}}, SILENT], ids=["exporter", "alone"])
async def test_a_stream_is_under_policy_and_keeps_its_chunks(trace, telemetry):
    @trace.relay.request_intercept("tool")
    def more(call):
        return call.replace(request={"text": call.request["text"] + " c"})

    assert await _go(trace, _words, "words", text="a b", telemetry=telemetry) == "a|b|c"
    tool = trace.one(name="words")
    assert (tool.status, tool.end["data"]) == ("ok", ["a", "b", "c"])


@pytest.mark.parametrize("telemetry", [{"relay": {"_type": "relay"}}, SILENT], ids=["exporter", "alone"])
async def test_a_stream_that_breaks_fails(trace, telemetry):
    trace.relay.register("guardrail", lambda call: None, target="tool", name="fine")
    with pytest.raises(ZeroDivisionError):
        await _go(trace, _tears, "tears", text="a b c", telemetry=telemetry)
    assert trace.one(name="tears").status == "error"


@pytest.mark.parametrize("telemetry", [{"relay": {"_type": "relay"}}, SILENT], ids=["exporter", "alone"])
async def test_a_blocked_stream_gives_nothing(trace, telemetry):
    trace.relay.register("guardrail", lambda call: relay.Block("hush"), target="tool", name="hush")
    with pytest.raises(relay.Blocked, match="hush"):
        await _go(trace, _words, "words", text="a b", telemetry=telemetry)
    assert [pair.status for pair in trace.scopes(name="words")] == (["blocked"] if telemetry else [])


async def test_an_intercept_answers_in_place_of_a_stream(trace):
    @trace.relay.execution_intercept("tool")
    def instead(call):
        return ["x", "y"]
        yield call

    assert await _go(trace, _words, "words") == "x|y"
    assert trace.one(name="words").status == "cached"


async def _leaves(functions, text):
    stream = functions["words"].astream(text)
    async for _chunk in stream:
        break
    await stream.aclose()
    return "left"


async def test_a_stream_that_is_left_early_is_cancelled(trace):
    trace.relay.register("guardrail", lambda call: None, target="tool", name="fine")
    assert await _go(trace, _leaves, "words", text="a b c") == "left"
    assert trace.one(name="words").status == "cancelled"
    assert trace.one(name="t_caller").status == "ok"


async def test_a_stream_of_the_workflow_itself(trace):
    async def rest(prepared, text):
        for word in text.split():
            yield word

    workflow = parts.body(_words, "words", stream=rest)
    async with parts.session(workflow, functions=_tools(), middleware=POLICY) as manager:
        async with manager.session() as opened, opened.run("a b") as runner:
            assert [chunk async for chunk in runner.result_stream()] == ["a", "b"]
    assert trace.one(name="t_caller").end["data"] == ["a", "b"]


async def test_a_disabled_runtime_is_out_of_the_way(trace, monkeypatch):
    trace.relay.register("guardrail", lambda call: relay.Block("no"), target="tool", name="no")
    monkeypatch.setattr(trace.relay, "disabled", True)
    assert await _go(trace, _weather, "weather") == "2 days of rain in Oslo"
    assert await _go(trace, _words, "words", text="a b") == "a|b"
    assert trace.recorded == []
