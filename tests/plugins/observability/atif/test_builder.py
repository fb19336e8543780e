"""From events to steps: matching, order, limits, and what other producers write."""

from __future__ import annotations

import asyncio
import random

import pytest

from relay_core.codecs import Codec
from relay_plugin_observability.atif import AgentFacts, Builder, convert_events, read_atif
from relay_plugin_observability.atif.steps import MOST_DRAFTS
from tests.plugins.observability.atif.goldens import every_trajectory
from tests.plugins.observability.scenarios import (
    LLM,
    SCENARIOS,
    SEARCH,
    answered,
    asked,
    fail,
    give,
    play,
    reply,
    request,
    said,
    used,
    user,
)


def documents(scenario, **options):
    return convert_events(play(scenario), **options).documents


def document(scenario, **options):
    (made,) = documents(scenario, **options)
    read_atif(made)
    return made


def ask(relay, number, *calls, question="Go on.", usage=None):
    answer = reply(number, said(None if calls else "ok", list(calls)), usage)
    relay.call_llm("openai", request(user(f"{question} {number}")), give(answer), **LLM)


def pairs(step):
    """Call ids with the content of their results."""
    found = {row.get("source_call_id"): row.get("content") for row in step.get("observation", {}).get("results", ())}
    return [(call["tool_call_id"], found.get(call["tool_call_id"])) for call in step.get("tool_calls", ())]


def test_without_ids_a_tool_fulfils_the_wish_with_its_arguments():
    def scenario(relay):
        with relay.scope("a", "agent"):
            ask(relay, 1, asked("c1", "search", q="x"), asked("c2", "search", q="y"))
            relay.call_tool("search", {"q": "y"}, give("for y"))
            relay.call_tool("search", {"q": "x"}, give("for x"))

    assert pairs(document(scenario)["steps"][1]) == [("c1", "for x"), ("c2", "for y")]


def test_without_ids_a_tool_fulfils_a_wish_by_name_and_shows_other_arguments():
    def scenario(relay):
        with relay.scope("a", "agent"):
            ask(relay, 1, asked("c1", "search", q="x"))
            relay.call_tool("search", {"q": "rewritten"}, give("found"))

    (call,) = document(scenario)["steps"][1]["tool_calls"]
    assert call["arguments"] == {"q": "x"}
    assert call["extra"]["executed_arguments"] == {"q": "rewritten"}


def test_a_wish_that_the_conversation_has_left_behind_is_not_fulfilled_by_name():
    def scenario(relay):
        with relay.scope("a", "agent"):
            ask(relay, 1, asked("c1", "search", q="x"))
            ask(relay, 2)
            relay.call_tool("search", {"q": "x"}, give("found"))

    steps = document(scenario)["steps"]
    assert pairs(steps[1]) == [("c1", None)]
    assert pairs(steps[4])[0][1] == "found"


def test_results_of_tools_that_nobody_saw_run_come_from_the_next_request():
    def scenario(relay):
        calls = [asked("c1", "search", q="x")]
        with relay.scope("a", "agent"):
            ask(relay, 1, *calls)
            body = request(user("Go on. 1"), said(None, calls), answered("c1", "seen by the model"))
            relay.call_llm("openai", body, give(reply(2, said("done"))), **LLM)

    steps = document(scenario)["steps"]
    assert pairs(steps[1]) == [("c1", "seen by the model")]
    assert steps[1]["observation"]["results"][0]["extra"]["from"] == "next request"
    assert [step["source"] for step in steps] == ["user", "agent", "agent"]


def test_a_result_that_comes_too_late_for_its_step_is_shown_by_itself():
    def scenario(relay):
        with relay.scope("a", "agent"):
            ask(relay, 1, asked("c1", "search", q="x"))
            slow = relay.open_scope("search", "tool", input={"q": "x"}, profile={"tool_call_id": "c1"})
            for number in range(2, MOST_DRAFTS + 2):
                ask(relay, number)
            slow.close(output="at last")

    steps = document(scenario)["steps"]
    assert pairs(steps[1]) == [("c1", None)]
    assert pairs(steps[-1]) == [("c1", "at last")]
    assert steps[-1]["llm_call_count"] == 0


def test_ids_that_a_model_uses_twice_are_told_apart():
    def scenario(relay):
        with relay.scope("a", "agent"):
            ask(relay, 1, asked("same", "search", q="x"), asked("same", "search", q="y"))
            relay.call_tool("search", {"q": "y"}, give("for y"))

    assert pairs(document(scenario)["steps"][1]) == [("same", None), ("same#2", "for y")]


def test_a_tool_inside_a_tool_names_the_outer_call():
    def scenario(relay):
        def outer(args):
            return relay.call_tool("inner", {}, give("deep"))

        with relay.scope("a", "agent"):
            relay.call_tool("outer", {}, outer, tool_call_id="o1")

    (step,) = document(scenario)["steps"]
    outer, inner = step["tool_calls"]
    assert (outer["tool_call_id"], inner["extra"]["parent_call_id"]) == ("o1", "o1")


async def _interleaved(relay):
    """Two branches, each with a model call and a tool, in step with each other."""
    turn = asyncio.Barrier(2)

    async def branch(name):
        with relay.scope(name):
            call = asked(f"c-{name}", "search", q=name)
            relay.call_llm("openai", request(user(name)), give(reply(name, said(None, [call]))), **LLM)
            await turn.wait()
            relay.call_tool("search", {"q": name}, give(f"found {name}"))
            await turn.wait()
            body = request(user(name), said(None, [call]), answered(f"c-{name}", "found"))
            relay.call_llm("openai", body, give(reply(name * 2, said(name))), **LLM)

    async with relay.scope("a", "agent"):
        await asyncio.gather(branch("left"), branch("right"))


def test_parallel_branches_keep_their_results():
    steps = document(_interleaved)["steps"]
    found = [pair for step in steps for pair in pairs(step)]
    assert sorted(found) == [("c-left", "found left"), ("c-right", "found right")]


def test_parallel_requests_that_are_equal_ask_once():
    async def scenario(relay):
        gate, numbers = asyncio.Barrier(3), iter(range(3))

        async def answer(body):
            await gate.wait()
            return reply(next(numbers), said("x"))

        async with relay.scope("a", "agent"):
            await asyncio.gather(*(relay.acall_llm("openai", request(user("Draw.")), answer, **LLM) for _ in range(3)))

    assert [step["source"] for step in document(scenario)["steps"]] == ["user", "agent", "agent", "agent"]


def test_an_equal_request_after_an_answer_is_asked_again():
    def scenario(relay):
        with relay.scope("a", "agent"):
            for number in (1, 2):
                relay.call_llm("openai", request(user("Draw.")), give(reply(number, said("x"))), **LLM)

    assert [step["source"] for step in document(scenario)["steps"]] == ["user", "agent", "user", "agent"]


def test_usage_that_nobody_reported_is_absent_and_counted():
    def scenario(relay):
        with relay.scope("a", "agent"):
            ask(relay, 1)
            ask(relay, 2, usage=used(7, 3))

    made = document(scenario)
    assert "metrics" not in made["steps"][1]
    assert made["final_metrics"] == {
        "total_prompt_tokens": 7,
        "total_completion_tokens": 3,
        "total_steps": 4,
        "extra": {"calls_without_usage": 1},
    }


def test_no_usage_at_all_gives_no_totals():
    def scenario(relay):
        with relay.scope("a", "agent"):
            ask(relay, 1)

    assert document(scenario)["final_metrics"] == {"total_steps": 2, "extra": {"calls_without_usage": 1}}


def test_a_response_that_two_layers_report_is_one_step():
    def scenario(relay):
        def outer(body):
            return relay.call_llm("sdk", body, give(reply(1, said("once"), used(5, 5))), **LLM)

        with relay.scope("a", "agent"):
            relay.call_llm("framework", request(user("Hi")), outer, **LLM)

    made = document(scenario)
    assert [step["message"] for step in made["steps"]] == ["Hi", "once"]
    assert made["final_metrics"]["total_prompt_tokens"] == 5
    assert made["extra"]["relay"]["duplicate_calls"] == 1


def test_a_response_that_is_given_again_is_a_step_without_usage():
    def scenario(relay):
        with relay.scope("a", "agent"):
            for question in ("Hi", "Hi again"):
                relay.call_llm("openai", request(user(question)), give(reply(1, said("kept"), used(5, 5))), **LLM)

    made = document(scenario)
    assert [step["message"] for step in made["steps"]] == ["Hi", "kept", "Hi again", "kept"]
    assert made["steps"][3]["extra"]["duplicate_of"] == made["steps"][1]["extra"]["ancestry"]["function_id"]
    assert made["final_metrics"]["total_prompt_tokens"] == 5
    assert "calls_without_usage" not in made["final_metrics"].get("extra", {})


def test_an_answer_of_an_intercept_costs_nothing():
    def scenario(relay):
        @relay.execution_intercept("llm")
        async def cache(call, proceed):
            return reply(1, said("from the cache"), used(100, 10))

        async def never(body):
            raise AssertionError

        async def main():
            async with relay.scope("a", "agent"):
                await relay.acall_llm("openai", request(user("Hi")), never, **LLM)

        asyncio.run(main())

    made = document(scenario)
    step = made["steps"][1]
    assert step["extra"]["invocation"]["status"] == "cached"
    assert "metrics" not in step
    assert "total_prompt_tokens" not in made["final_metrics"]
    assert step["extra"]["answer_usage"]["prompt_tokens"] == 100


def test_payloads_are_written_when_asked_for():
    facts = AgentFacts(payloads=True)
    step = convert_events(play("simple"), facts=facts).documents[0]["steps"][2]
    assert step["extra"]["llm_request"]["messages"][1]["content"] == "What is 2 + 2?"
    assert step["extra"]["llm_response"]["id"] == "chatcmpl-1"


def test_what_the_settings_say_of_the_agent_holds_for_roots():
    facts = AgentFacts(name="acme", version="7", model_name="m", extra={"team": "qa"})
    made = convert_events(play("subagents"), facts=facts).documents[0]
    assert made["agent"]["name"] == "acme"
    assert (made["agent"]["model_name"], made["agent"]["extra"]) == ("m", {"team": "qa"})
    below = made["subagent_trajectories"][0]["agent"]
    assert (below["name"], below["version"], below["model_name"]) == ("researcher", "7", "o-large-1")


def test_a_subagent_can_name_the_call_that_it_serves():
    def scenario(relay):
        with relay.scope("lead", "agent"):
            ask(relay, 1, asked("c1", "hand_over"), asked("c2", "hand_over"))
            with relay.scope("second", "agent", metadata={"delegation_tool_call_id": "c2"}):
                pass

    first, second = document(scenario)["steps"][1]["tool_calls"]
    results = document(scenario)["steps"][1]["observation"]["results"]
    assert [row["source_call_id"] for row in results] == [second["tool_call_id"]] == ["c2"]
    assert first["tool_call_id"] == "c1"


def test_a_late_child_of_a_closed_scope_belongs_to_the_run():
    def scenario(relay):
        with relay.scope("a", "agent"):
            step = relay.open_scope("step")
            step.close()
            relay.call_tool("late", {}, give("x"), parent=step)

    assert document(scenario)["steps"][0]["tool_calls"][0]["function_name"] == "late"


def test_a_run_waits_for_what_is_open_below_it():
    finished = []
    builder = Builder(lambda made: finished.append(made.to_dict()))
    events = play(_outlived)
    for event in events[:-1]:
        builder.add(event)
    assert finished == []
    builder.add(events[-1])
    assert finished[0]["steps"][0]["observation"]["results"][0]["content"] == "late"
    assert finished[0]["extra"]["relay"]["status"] == "ok"


def _outlived(relay):
    with relay.scope("a", "agent"):
        tool = relay.open_scope("slow", "tool", input={})
    tool.close(output="late")


def test_settling_does_not_wait_and_counts_what_comes_later():
    finished = []
    builder = Builder(lambda made: finished.append(made.to_dict()))
    events = play(_outlived)
    for event in events[:-1]:
        builder.add(event)
    builder.settle()
    builder.add(events[-1])
    assert finished[0]["steps"][0]["observation"]["results"][0]["extra"]["status"] == "unfinished"
    assert builder.late == 1


def test_runs_that_never_end_do_not_pile_up(monkeypatch):
    monkeypatch.setattr("relay_plugin_observability.atif.builder._MOST_ROOTS", 3)
    finished = []
    builder = Builder(lambda made: finished.append(made.agent))

    def scenario(relay):
        for number in range(5):
            relay.open_scope(f"run-{number}", "agent", parent=None)

    for event in play(scenario):
        builder.add(event)
    assert (finished, len(builder)) == (["run-0", "run-1"], 3)


def test_a_preview_changes_nothing():
    events = play("subagents")
    plain, watched, previews = [], [], []
    one = Builder(lambda made: plain.append(made.to_json()))
    two = Builder(lambda made: watched.append(made.to_json()))
    for event in events:
        one.add(event)
        two.add(event)
        previews += [made.to_dict() for made in two.unfinished()]
    assert plain == watched
    for preview in previews:
        read_atif(preview)
        assert preview["notes"].startswith("The run has not ended")
    assert len(previews) == len(events) - 1


def test_agents_deep_inside_each_other():
    def scenario(relay):
        scopes = [relay.open_scope("0", "agent", parent=None)]
        for depth in range(1, 60):
            scopes.append(relay.open_scope(str(depth), "agent", parent=scopes[-1]))
        for scope in reversed(scopes):
            scope.close()

    assert len(list(every_trajectory([document(scenario)]))) == 60


@pytest.mark.parametrize("name", SCENARIOS)
def test_any_part_of_a_run_gives_valid_documents(name):
    """Events that are lost cost their own step, never the document."""
    events = play(name)
    draw = random.Random(name)
    for _ in range(20):
        kept = [event for event in events if draw.random() > 0.3]
        for made in convert_events(kept).documents:
            read_atif(made)


@pytest.mark.parametrize(
    "data",
    [None, 7, "text", {"headers": {}}, [], [1], [{"role": "user"}], {}, {"content": None}, {"content": {"messages": 5}},
     {"headers": {}, "content": {"messages": [{"role": 7, "content": {"a": 1}}]}},
     {"headers": {}, "content": {"input": [{"type": "function_call_output", "output": {"x": 1}}]}},
     {"headers": {}, "content": {"contents": [{"parts": [{"functionResponse": 3}, {"text": 4}]}]}},
     {"headers": {}, "content": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 3}]}]}},
     {"choices": [None]}, {"choices": [{"message": 3}]}, {"output": [None, 3]}, {"candidates": [{}]},
     {"content": [None, {"type": "text", "text": None}]}, {"usage": {"prompt_tokens": -1, "cost": "dear"}},
     {"choices": [{"message": {"tool_calls": [None, {}, {"function": {"arguments": "[1"}}]}}]}],
)  # fmt: skip
def test_strange_payloads_of_model_calls_are_shown_somehow(data):
    def scenario(relay):
        with relay.scope("a", "agent"):
            scope = relay.open_scope("m", "llm", input=data)
            scope.close(output=data)
            relay.open_scope("t", "tool", input=data).close(output=data)

    made = document(scenario)
    assert [step["source"] for step in made["steps"]][-2:] == ["agent", "agent"]


def test_a_step_that_is_no_unicode_costs_itself_only():
    rows = [event.to_dict() for event in play("several_roots")]
    for row in rows:
        if row["name"] == "save" and row["data"] == "saved":
            row["data"] = "\ud800"
    for made in convert_events(rows).documents:
        read_atif(made)
    broken = convert_events(rows).documents[1]["steps"][-1]
    assert broken == {"step_id": 3, "source": "agent", "message": "[a step that cannot be written as JSON]"}


def test_a_picture_that_was_cut_is_mentioned():
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,!!!"}}
    bmp = {"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "Qk0="}}

    def scenario(relay):
        with relay.scope("a", "agent"):
            relay.call_tool("look", {}, give([part, bmp]))

    content = document(scenario)["steps"][0]["observation"]["results"][0]["content"]
    assert content.splitlines() == [
        "[image/png, 3 characters of base64, not kept]",
        "[image/bmp, 4 characters of base64, not kept]",
    ]


def test_a_tool_that_answers_in_the_words_of_mcp():
    answer = {"content": [{"type": "text", "text": "no such file"}], "isError": True, "structuredContent": {"code": 2}}

    def scenario(relay):
        with relay.scope("a", "agent"):
            relay.call_tool("read", {}, give(answer))

    row = document(scenario)["steps"][0]["observation"]["results"][0]
    assert row["content"] == "no such file"
    assert row["extra"] == {"is_error": True, "structured": {"code": 2}, "status": "ok"}


def test_a_tool_that_answers_with_a_message():
    answer = {"type": "tool", "tool_call_id": "c1", "name": "read", "content": "no such file", "status": "error"}

    def scenario(relay):
        with relay.scope("a", "agent"):
            relay.call_tool("read", {}, give({**answer, "artifact": [1]}))

    row = document(scenario)["steps"][0]["observation"]["results"][0]
    assert row["content"] == "no such file"
    assert row["extra"] == {"is_error": True, "structured": [1], "status": "ok"}


def test_a_list_of_texts_that_a_tool_gives_is_data():
    row = document("blocks")["steps"][1]["observation"]["results"][1]
    assert row["content"] == '["a.txt"]'


def test_the_codec_of_the_scenarios_is_one():
    assert isinstance(LLM["codec"], Codec)
    assert SEARCH["function"]["name"] == "search"


def test_a_failing_agent_says_so_in_its_parent():
    def scenario(relay):
        with relay.scope("lead", "agent"):
            try:
                with relay.scope("sub", "agent"):
                    fail(LookupError("lost"))(None)
            except LookupError:
                pass

    made = document(scenario)
    row = made["steps"][0]["observation"]["results"][0]
    assert (row["content"], row["extra"]["status"]) == ("LookupError: lost", "error")
    assert made["subagent_trajectories"][0]["steps"][0]["observation"]["results"][0]["content"] == "LookupError: lost"
