"""What other exporters of the format are known to lose or to get wrong, one test for each; ours does not."""

from __future__ import annotations

import json
import os

import msgspec
import pytest

from relay_core.llm import Choice, Cost, LlmResponse
from relay_plugin_observability.atif import AtifExporter, AtifSettings, convert_events, read_atif
from relay_plugin_observability.atif.steps import MOST_DRAFTS
from tests.plugins.observability.atif.goldens import documents_of, every_trajectory
from tests.plugins.observability.scenarios import LLM, PIXEL, give, play, reply, request, said, used, user


def only(name):
    (document,) = documents_of(name)
    return document


def steps_of(name, source):
    return [step for step in only(name)["steps"] if step["source"] == source]


def results_of(step):
    return {row.get("source_call_id"): row for row in step.get("observation", {}).get("results", ())}


def run(scenario, subscriber=None):
    """The documents of a program given as a function of a runtime."""
    return convert_events(play(scenario, subscriber)).documents


def test_defect_01_repeated_tools_without_ids_are_all_kept():
    asked, _, together, alone = steps_of("repeated_tools", "agent")
    assert [row["content"] for row in asked["observation"]["results"]] == ["result 1", "result 2", "result 3"]
    assert len({call["tool_call_id"] for call in together["tool_calls"]}) == 4
    assert len(together["observation"]["results"]) == 4
    assert alone["tool_calls"][0]["function_name"] == "notify"


@pytest.mark.parametrize(
    ("name", "call", "status", "words"),
    [
        ("errors", "call_b1", "error", "ValueError: kaboom: disk on fire"),
        ("cancels", "call_d1", "cancelled", "The tool was cancelled."),
    ],
)
def test_defect_02_failed_and_cancelled_tools_have_an_observation(name, call, status, words):
    step = next(step for step in only(name)["steps"] if call in results_of(step))
    row = results_of(step)[call]
    assert (row["content"], row["extra"]["status"]) == (words, status)
    (entry,) = [entry for entry in step["tool_calls"] if entry["tool_call_id"] == call]
    assert entry["extra"]["invocation"]["status"] == status


def test_defect_03_blocked_calls_and_guardrail_verdicts_are_shown():
    step = steps_of("blocks", "agent")[0]
    row = results_of(step)["call_r1"]
    assert row["content"] == "Blocked by guardrail 'no-rm': rm is denied"
    assert row["extra"]["status"] == "blocked"
    refused, allowed = step["tool_calls"]
    assert [verdict["decision"] for verdict in refused["extra"]["guardrails"]] == ["rejected"]
    assert [verdict["decision"] for verdict in allowed["extra"]["guardrails"]] == ["allowed", "failed"]
    (system,) = steps_of("blocks", "system")
    assert system["extra"]["guardrails"][0]["reason"] == "secrets are not discussed"


def test_defect_04_retries_repeat_no_user_step_and_failures_have_an_agent_step():
    assert [step["message"] for step in steps_of("retries", "user")] == ["Are you there?"]
    statuses = [step["extra"]["invocation"]["status"] for step in steps_of("retries", "agent")]
    assert statuses == ["error", "error", "ok"]
    assert steps_of("retries", "agent")[2]["extra"]["attempt"] == 3
    last = steps_of("errors", "agent")[-1]
    assert last["observation"]["results"][0]["content"] == "RuntimeError: HTTP 500 upstream"


def test_defect_05_a_tool_that_outlives_the_next_model_call_stays_in_its_step():
    first, second = steps_of("parallel_tools", "agent")
    assert list(results_of(first)) == ["call_t1", "call_w1", "call_s1"]
    ended = first["tool_calls"][2]["extra"]["invocation"]["end_timestamp"]
    assert ended > second["extra"]["invocation"]["end_timestamp"]
    assert steps_of("parallel_tools", "system") == []


def test_defect_06_subagents_have_their_own_name_tools_and_model():
    lead = only("subagents")
    researcher, critic = lead["subagent_trajectories"]
    assert [row["agent"]["name"] for row in (lead, researcher, critic)] == ["lead", "researcher", "critic"]
    tools = [
        [tool["function"]["name"] for tool in row["agent"].get("tool_definitions", ())] for row in (lead, researcher)
    ]
    assert tools == [["delegate"], ["search"]]
    assert researcher["agent"]["model_name"] == "o-large-1"
    assert [document["agent"]["name"] for document in documents_of("several_roots")] == ["beta", "alpha", "gamma"]


def test_defect_07_totals_include_subagents():
    lead = only("subagents")
    own = [
        step["metrics"]["prompt_tokens"]
        for row in every_trajectory([lead])
        for step in row["steps"]
        if "metrics" in step
    ]
    assert lead["final_metrics"]["total_prompt_tokens"] == sum(own) == 300
    assert lead["final_metrics"]["total_steps"] == len(lead["steps"])

    def costly(relay):
        def ask(amount):
            view = LlmResponse(choices=[Choice(parts="x")], cost=Cost(amount))
            relay.open_scope("m", "llm", input={"headers": {}, "content": "q"}).close(output="x", view=view)

        with relay.scope("a", "agent"):
            with relay.scope("b", "agent"):
                ask("0.1")
            ask("0.2")

    (document,) = run(costly)
    assert document["final_metrics"]["total_cost_usd"] == 0.3
    assert document["subagent_trajectories"][0]["final_metrics"]["total_cost_usd"] == 0.1


def test_defect_08_cached_tokens_are_hits_only():
    metrics = steps_of("raw_calls", "agent")[0]["metrics"]
    assert metrics == {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "cached_tokens": 4,
        "extra": {"cache_write_tokens": 6},
    }


def test_defect_09_pictures_are_content_parts_with_files():
    made = convert_events(play("multimodal"))
    message = made.documents[0]["steps"][0]["message"]
    assert [part["type"] for part in message] == ["text", "image", "image"]
    assert message[1]["source"] == {"media_type": "image/jpeg", "path": "https://example.com/cat.jpg"}
    assert made.media[message[2]["source"]["path"]].startswith(b"\x89PNG")
    assert b"base64" not in msgspec.json.encode(made.documents)


ANTHROPIC = [
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
]
RESPONSES = [{"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}]
GEMINI = [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}]


@pytest.mark.parametrize(
    ("name", "body", "pictures"),
    [
        ("anthropic", {"max_tokens": 9, "messages": [{"role": "user", "content": ANTHROPIC}]}, 2),
        ("openai.responses", {"input": [{"role": "user", "content": RESPONSES}]}, 1),
        ("gemini", {"contents": [{"role": "user", "parts": GEMINI}]}, 1),
    ],
)
def test_defect_09_pictures_of_other_providers(name, body, pictures):
    def scenario(relay):
        with relay.scope("viewer", "agent"):
            relay.call_llm(name, body, give({"content": "ok"}), model="m")

    made = convert_events(play(scenario))
    places = [part["source"]["path"] for part in made.documents[0]["steps"][0]["message"]]
    assert len(places) == pictures
    assert made.media[places[0]].startswith(b"\x89PNG")
    assert PIXEL.encode() not in msgspec.json.encode(made.documents)


def test_defect_10_json_results_are_content():
    row = results_of(steps_of("tool_loop", "agent")[0])["call_w1"]
    assert json.loads(row["content"]) == {"temp_c": -3}
    assert row["extra"]["content_type"] == "application/json"


def test_defect_11_reasoning_refusals_and_function_calls_of_all_providers():
    anthropic, responses, gemini, *_, refusing = steps_of("raw_calls", "agent")
    assert anthropic["reasoning_content"] == "A lookup is due."
    assert responses["reasoning_content"] == "A greeting."
    assert gemini["tool_calls"][0]["function_name"] == "get_weather"
    assert (refusing["message"], refusing["extra"]["refusal"]) == ("No.", True)
    assert steps_of("simple", "agent")[0]["reasoning_content"] == "Two and two are four."


def test_defect_12_agents_without_calls_have_steps():
    for trajectory in every_trajectory(documents_of("empty_agents")):
        read_atif(trajectory)
    echo = documents_of("empty_agents")[0]
    assert [(step["source"], step["message"]) for step in echo["steps"]] == [
        ("user", '{"text":"hi"}'),
        ("agent", '{"text":"hi"}'),
    ]


def test_defect_13_the_system_prompt_is_a_system_step_told_once():
    messages = [step["message"] for step in steps_of("compaction", "system")]
    assert messages.count("Be brief.") == 1
    assert [step["message"] for step in steps_of("raw_calls", "system")] == ["Think first.", "Be kind.", "Be exact."]


def test_defect_14_compaction_is_context_management():
    step = steps_of("compaction", "system")[1]
    assert step["message"] == "Counted to two."
    assert step["extra"]["context_management"] == {
        "type": "compaction",
        "boundary": "replace",
        "tokens_before": 9000,
        "tokens_after": 800,
    }


def test_defect_15_a_delegation_keeps_the_facts_of_its_tool():
    step = steps_of("subagents", "agent")[0]
    tool = next(event for event in play("subagents") if event.name == "delegate")
    row = results_of(step)["call_d1"]
    assert row["content"] == "Three fjords."
    assert row["subagent_trajectory_ref"][0]["extra"] == {"name": "researcher"}
    assert step["tool_calls"][0]["extra"]["ancestry"]["function_id"] == tool.uuid


def test_defect_16_work_outside_an_agent_has_documents():
    documents = documents_of("no_agent")
    assert [document["agent"]["name"] for document in documents] == ["openai", "search", "pipeline"]


def test_defect_17_files_appear_whole_and_hold_nothing_twice(tmp_path):
    play("tool_loop", AtifExporter(AtifSettings(directory=str(tmp_path))))
    (path,) = tmp_path.iterdir()  # no temporary file is left
    text = path.read_text()
    assert text.count("You") == 0
    assert text.count("Weather in Oslo?") == 1
    assert text.count("Be helpful.") == 1
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def test_defect_18_long_runs_do_not_stay_in_memory(tmp_path):
    held = []

    class Watching(AtifExporter):
        def on_batch(self, events):
            super().on_batch(events)
            held.extend((len(trail.log.drafts), trail.log.in_memory) for trail in self._builder._roots.values())

    def long(relay):
        with relay.scope("long", "agent"):
            for n in range(1_500):
                answer = reply(n, said("y" * 2_000), used(5, 5))
                relay.call_llm("openai", request(user(f"question {n}")), give(answer), **LLM)

    exporter = Watching(AtifSettings(directory=str(tmp_path)))
    run(long, exporter)
    assert exporter.stats().bytes > 3_000_000
    assert max(drafts for drafts, _ in held) <= 2 < MOST_DRAFTS
    assert max(size for _, size in held) < 1_100_000


def implicit_root(events):
    """The events as a producer writes them that names a parent which no event describes."""
    rows = [event.to_dict() for event in events]
    for row in rows:
        row["propagation_root_uuid"] = "0" * 8 + "-0000-7000-8000-000000000000"
        row["parent_uuid"] = row["parent_uuid"] or row["propagation_root_uuid"]
    return rows


@pytest.mark.parametrize("name", ["subagents", "several_roots", "no_agent", "turns"])
def test_defect_19_a_parent_that_never_appears_makes_a_root(name):
    shown = [document["trajectory_id"] for document in documents_of(name)]
    assert [d["trajectory_id"] for d in convert_events(implicit_root(play(name))).documents] == shown


def test_defect_20_custom_scopes_without_subtype_are_read():
    rows = [event.to_dict() for event in play("turns")]
    for row in rows:
        row["category_profile"] = None if row.get("category") == "custom" else row["category_profile"]
    assert [document["agent"]["name"] for document in convert_events(rows).documents] == ["turn-1", "chat"]


def test_defect_21_the_outcome_is_read_from_the_status_code_alone():
    rows = [event.to_dict() for event in play("errors")]
    for row in rows:
        row["metadata"] = {k: v for k, v in (row["metadata"] or {}).items() if k != "relay.status"}
    (document,) = convert_events(rows).documents
    assert document["extra"]["relay"]["status"] == "error"
    assert [step["extra"]["invocation"]["status"] for step in document["steps"][1:]] == ["ok", "error"]


def test_defect_22_our_events_pass_the_toolkits_own_converter(tmp_path):
    converter = pytest.importorskip(
        "nat.atof.scripts.atof_to_atif_converter", reason="nvidia-nat-atif is not installed"
    )
    pytest.importorskip("jsonschema", reason="the converter validates with jsonschema")
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(event.to_json() + b"\n" for event in play("tool_loop")))
    assert [step.source for step in converter.convert_file(path).steps]


def test_defect_25_a_refusal_without_facts_is_linked_to_its_call_and_guardrail():
    step = steps_of("blocks", "agent")[0]
    assert results_of(step)["call_r1"]["extra"]["guardrail"] == "no-rm"
    unasked = steps_of("blocks", "agent")[1]
    assert unasked["tool_calls"][0]["function_name"] == "rm"


def test_defect_29_events_out_of_order_give_the_same_documents():
    events = play("parallel_tools")
    shuffled = [*reversed(events)]
    assert convert_events(shuffled).documents == convert_events(events).documents


def test_defect_30_unknown_keys_of_events_are_ignored():
    rows = [{**event.to_dict(), "sequence": 7, "atof_version": "0.9"} for event in play("simple")]
    assert convert_events(rows).documents == documents_of("simple")
