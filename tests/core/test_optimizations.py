"""Middleware tells what it made cheaper: a mark for each optimization, and what they brought on the end event."""

from __future__ import annotations

import pytest

import relay_core as relay
from relay_core.llm import LlmResponse, Usage
from tests.core.chat_codec import ChatCodec

MARK = "nemo_relay.llm.optimization"
REQUEST = {"model": "big", "messages": [{"role": "user", "content": "q"}]}
ANSWER = {
    "id": "x",
    "model": "small-2025",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 600, "completion_tokens": 10, "total_tokens": 610},
}
ROUTED = {
    "producer": "router",
    "kind": "model_routing",
    "applied": True,
    "model_transition": {
        "baseline": {"model": "big", "provider": "openai"},
        "effective": {"model": "small", "provider": "openai"},
    },
}
SHORTER = {
    "producer": "compressor",
    "kind": "input_compression",
    "applied": True,
    "token_impact": {
        "baseline": {"prompt_tokens": 1000},
        "effective": {"prompt_tokens": 600},
        "saved": {"prompt_tokens": 400, "total_tokens": 400},
        "quality": "estimated",
        "estimation_method": "chars/4",
    },
}


def telling(rec, *told):
    @rec.relay.request_intercept("llm")
    def tell(call):
        for fields in told:
            call.optimization(**fields)
        return call


def saving(applied=True, **saved):
    return {"producer": "p", "kind": "k", "applied": applied, "token_impact": {"saved": saved}}


def moving(baseline, effective, applied=True):
    models = {"baseline": baseline, "effective": effective}
    return {"producer": "p", "kind": "k", "applied": applied, "model_transition": models}


def marks(rec):
    return [event for event in rec.events if event.name == MARK]


def summary(rec, name="openai"):
    return rec.end(name).category_profile["annotated_response"]["optimization_summary"]


def ask(rec, answer=ANSWER, codec=True, **options):
    return rec.relay.call_llm(
        "openai", REQUEST, lambda request: answer, codec=ChatCodec() if codec else None, **options
    )


def test_each_optimization_is_a_mark_in_the_formats_words(rec):
    telling(rec, ROUTED, {**SHORTER, "payload": {"a": 1}, "payload_schema": {"name": "x", "version": "1"}, "other": 5})
    ask(rec)
    routed, shorter = marks(rec)
    start = rec.start("openai")
    assert {event.parent_uuid for event in marks(rec)} == {start.uuid}
    assert (routed.category, routed.category_profile) == ("custom", {"subtype": MARK})
    assert routed.data_schema == {"name": "nemo.relay.llm_optimization_contribution", "version": "1"}
    assert routed.data == {**ROUTED, "id": routed.data["id"], "sequence": 0}
    more = {"payload": {"a": 1}, "payload_schema": {"name": "x", "version": "1"}, "other": 5}
    assert shorter.data == {**SHORTER, **more, "id": shorter.data["id"], "sequence": 1}
    assert routed.data["id"] != shorter.data["id"]
    names = [(event.name, event.scope_category) for event in rec.events]
    assert names == [("openai", "start"), (MARK, None), (MARK, None), ("openai", "end")]


def test_the_summary_is_that_of_nemo_relay(rec):
    telling(rec, ROUTED, SHORTER, {"producer": "dry", "kind": "x"})
    ask(rec)
    found = summary(rec)
    kept = [event.data for event in marks(rec)]
    assert found.pop("contributions") == kept
    assert [each["applied"] for each in kept] == [True, True, False]
    assert found.pop("effective_usage").items() >= {"completion_tokens": 10, "prompt_tokens": 600}.items()
    assert found == {
        "baseline_model": {"model": "big", "provider": "openai"},
        "baseline_usage": {"completion_tokens": 10, "prompt_tokens": 1000, "total_tokens": 1010},
        "calculation_version": "1",
        "effective_model": {"model": "small", "provider": "openai"},
        "limitations": ["missing_actual_cost", "missing_baseline_pricing"],
        "schema_version": "1",
        "status": "partial",
        "tokens_saved": {"prompt_tokens": 400, "total_tokens": 400},
    }


def test_the_rest_of_the_answer_is_shown_as_ever(rec):
    ask(rec)
    telling(rec, SHORTER)
    ask(rec)
    plain, told = (
        event.category_profile["annotated_response"] for event in rec.events if event.scope_category == "end"
    )
    told = dict(told)
    del told["optimization_summary"]
    assert told == plain


def test_payloads_are_on_the_mark_alone(rec):
    telling(rec, {**SHORTER, "payload": {"text": "much"}, "contribution_id": "c1", "other": 5})
    ask(rec)
    [only] = summary(rec)["contributions"]
    assert only.keys().isdisjoint({"payload", "other"})
    assert only["contribution_id"] == "c1"
    assert marks(rec)[0].data["payload"] == {"text": "much"}


SAVINGS = [
    ([saving(prompt_tokens=400)], {"prompt_tokens": 400, "total_tokens": 400}),
    ([saving(prompt_tokens=400, applied=False)], {}),
    (
        [saving(prompt_tokens=400), saving(prompt_tokens=50, completion_tokens=5, cache_read_tokens=7)],
        {"prompt_tokens": 450, "completion_tokens": 5, "cache_read_tokens": 7, "total_tokens": 455},
    ),
    ([saving(total_tokens=100)], {"total_tokens": 100}),
    ([saving(prompt_tokens=10, total_tokens=100)], {"prompt_tokens": 10, "total_tokens": 100}),
    ([{**SHORTER, "token_impact": {"baseline": {"prompt_tokens": 9}}}], {}),
]


@pytest.mark.parametrize(("told", "saved"), SAVINGS)
def test_savings_add_up(rec, told, saved):
    telling(rec, *told)
    ask(rec)
    found = summary(rec)
    assert found["tokens_saved"] == saved
    usage = ANSWER["usage"]
    assert found["baseline_usage"] == {name: usage[name] + saved.get(name, 0) for name in usage}
    lacking = [name for name in found["limitations"] if name.startswith("missing_effective")]
    assert lacking == [f"missing_effective_{name}" for name in saved if name not in usage]


MODELS = [
    ([], "small-2025", "small-2025"),
    ([moving("big", "small")], "big", "small"),  # small-2025 is a small
    ([moving("big", "vendor/small")], "big", "vendor/small"),
    ([moving("a", "b"), moving("b", "small")], "a", "small"),
    ([moving("big", "small", applied=False)], "small-2025", "small-2025"),
    ([moving("big", "other")], "big", "small-2025"),  # the response knows best
]


@pytest.mark.parametrize(("told", "baseline", "effective"), MODELS)
def test_the_model_is_the_one_that_answered(rec, told, baseline, effective):
    telling(rec, *(told or [saving(prompt_tokens=1)]))
    ask(rec)
    assert (summary(rec)["baseline_model"], summary(rec)["effective_model"]) == (
        {"model": baseline},
        {"model": effective},
    )


def test_costs_are_told_where_they_are_known(rec):
    class Priced(ChatCodec):
        def decode_response(self, response):
            from relay_core.llm import Cost

            return super().decode_response(response).replace(cost=Cost("0.5"))

    handle = rec.relay.register("request_intercept", told_by({"producer": "p", "kind": "dry"}), target="llm")
    rec.relay.call_llm("same", REQUEST, lambda request: ANSWER, codec=Priced())
    handle.remove()
    telling(rec, SHORTER)
    rec.relay.call_llm("less", REQUEST, lambda request: ANSWER, codec=Priced())
    same, less = summary(rec, "same"), summary(rec, "less")
    assert (same["status"], same["limitations"], same["estimated_cost_saved"]) == ("complete", [], 0.0)
    assert same["actual_cost"] == same["baseline_cost"] == less["actual_cost"]
    assert less["actual_cost"]["total"] == 0.5
    assert (less["status"], less["limitations"]) == ("partial", ["missing_baseline_pricing"])
    assert "cost" not in less["effective_usage"]


def told_by(*told):
    def tell(call):
        for fields in told:
            call.optimization(**fields)
        return call

    return tell


def test_a_call_without_a_codec_has_a_summary_too(rec):
    telling(rec, ROUTED)
    ask(rec, codec=False)
    assert summary(rec)["effective_model"] == {"model": "small", "provider": "openai"}
    assert summary(rec)["limitations"] == ["missing_actual_cost", "missing_effective_usage"]
    assert rec.end("openai").data == ANSWER


def test_a_call_that_fails_has_a_summary_too(rec):
    telling(rec, ROUTED)
    with pytest.raises(ValueError, match="no"):
        rec.relay.call_llm("openai", REQUEST, lambda request: int("no"), codec=ChatCodec())
    assert rec.end("openai").status == "error"
    assert summary(rec)["limitations"] == ["missing_actual_cost", "missing_effective_usage"]
    assert len(marks(rec)) == 1


def test_a_blocked_call_tells_nothing(rec):
    telling(rec, ROUTED)
    rec.relay.register("guardrail", lambda call: relay.Block("no"), target="llm", name="never")
    with pytest.raises(relay.Blocked):
        ask(rec)
    assert marks(rec) == []


def test_execution_intercepts_tell_while_the_call_runs(rec):
    @rec.relay.execution_intercept("llm")
    def routed(call):
        answer = yield call.replace(request={**call.request, "model": "small"})
        call.optimization(**SHORTER)
        return answer

    telling(rec, ROUTED)
    ask(rec)
    assert [event.data["sequence"] for event in marks(rec)] == [0, 1]
    assert [each["producer"] for each in summary(rec)["contributions"]] == ["router", "compressor"]


def test_a_copy_of_the_call_tells_for_it(rec):
    @rec.relay.request_intercept("llm")
    def routed(call):
        made = call.replace(request={**call.request, "model": "small"})
        made.optimization(**ROUTED)
        return made

    assert ask(rec) is ANSWER
    assert rec.start("openai").data["content"]["model"] == "small"
    assert len(summary(rec)["contributions"]) == 1


async def test_streams_and_their_chunks(rec):
    chunks = [
        {"id": "x", "model": "small", "choices": [{"index": 0, "delta": {"content": "h"}}]},
        {"id": "x", "model": "small", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]

    async def send(request):
        for chunk in chunks:
            yield chunk

    telling(rec, ROUTED)
    stream = rec.relay.astream_llm("openai", REQUEST, send, codec=ChatCodec(), assemble=lambda got: ANSWER)
    assert [chunk async for chunk in stream] == chunks
    assert summary(rec)["effective_usage"]["prompt_tokens"] == 600
    told = [event.data for event in rec.events if event.name == "llm.chunk"]
    rec.relay.register("request_intercept", lambda call: call, target="llm", name="other")
    plain = rec.relay.stream_llm("plain", REQUEST, lambda request: iter(chunks), codec=ChatCodec())
    list(plain)
    assert told == [event.data for event in rec.events if event.name == "llm.chunk"][2:]


def test_what_an_inner_layer_knows_better_is_in_the_summary(rec):
    usage = Usage.from_inclusive(input_tokens=7, output_tokens=2)

    def inner(request):
        rec.relay.current_claim("llm").enrich(facts=lambda: LlmResponse(id="r9", model="real", usage=usage))
        return ANSWER

    telling(rec, saving(prompt_tokens=1))
    rec.relay.call_llm("openai", REQUEST, inner, codec=ChatCodec(), claim=True)
    shown = rec.end("openai").category_profile["annotated_response"]
    assert (shown["id"], shown["message"]) == ("r9", "hi")
    assert summary(rec)["effective_model"] == {"model": "real"}
    assert summary(rec)["baseline_usage"] == {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}


def test_a_view_of_an_inner_layer_keeps_the_summary(rec):
    def inner(request):
        rec.relay.current_claim("llm").enrich(view=LlmResponse(id="r9", model="real"))
        return ANSWER

    telling(rec, ROUTED)
    rec.relay.call_llm("openai", REQUEST, inner, codec=ChatCodec(), claim=True)
    assert rec.end("openai").category_profile["annotated_response"]["id"] == "r9"
    assert summary(rec)["baseline_model"] == {"model": "big", "provider": "openai"}


def test_the_summary_is_bounded_and_says_so(rec):
    telling(rec, *[saving(prompt_tokens=1)] * 100)
    ask(rec)
    assert len(marks(rec)) == 100
    assert len(summary(rec)["contributions"]) == 64
    assert "contribution_limit_exceeded" in summary(rec)["limitations"]


def test_secrets_in_it_are_scrubbed(rec):
    secret = "sk-ant-api03-" + "a1B2" * 20
    telling(rec, {"producer": "p", "kind": "k", "applied": True, "model_transition": {"effective": secret}})
    ask(rec)
    assert secret.encode() not in b"".join(event.to_json() for event in rec.events)


def test_an_optimization_that_comes_too_late_is_counted(rec):
    kept = []

    @rec.relay.execution_intercept("llm")
    def keep(call):
        kept.append(call)
        return (yield call)

    ask(rec)
    kept[0].optimization(**ROUTED)
    assert marks(rec) == []
    assert rec.relay.stats()["counters"] == {"late_facts": 1}


WRONG = [
    ({"producer": ""}, "producer and kind are text"),
    ({"kind": None}, "producer and kind are text"),
    ({"applied": 1}, "applied is True or False"),
    ({"id": "x"}, "id is given by Relay"),
    ({"contribution_id": 1}, "contribution_id is text"),
    ({"model_transition": "small"}, "model_transition is a mapping, got str"),
    ({"model_transition": {"to": "small"}}, "model_transition has no to; it has baseline, effective"),
    ({"model_transition": {"effective": 3}}, r"model_transition\['effective'\] is a mapping, got int"),
    ({"model_transition": {"effective": {"provider": "x"}}}, "is a model's name, or"),
    ({"token_impact": {"saved": {"tokens": 1}}}, r"token_impact\['saved'\] has no tokens"),
    ({"token_impact": {"saved": {"prompt_tokens": -1}}}, "prompt_tokens is a count, not -1"),
    ({"token_impact": {"saved": {"prompt_tokens": True}}}, "prompt_tokens is a count, not True"),
    ({"token_impact": {"quality": "guessed"}}, "observed or estimated, not 'guessed'"),
    ({"token_impact": {"estimation_method": 4}}, "is text"),
]


@pytest.mark.parametrize(("fields", "said"), WRONG)
@pytest.mark.parametrize("observed", [True, False])
def test_misuse_is_told_whether_or_not_somebody_observes(fields, said, observed):
    runtime = relay.Relay()
    if observed:
        runtime.subscriber(lambda event: None)
    runtime.register("request_intercept", told_by({"producer": "p", "kind": "k", **fields}), target="llm", name="wrong")
    with pytest.raises(relay.UsageError, match=said):
        runtime.call_llm("openai", REQUEST, lambda request: ANSWER)
    runtime.shutdown(timeout=20.0)


def test_nobody_observes_nothing_is_kept():
    runtime, scopes = relay.Relay(), []

    @runtime.request_intercept("llm")
    def tell(call):
        call.optimization(**ROUTED)
        return call

    codec = ChatCodec()
    runtime.call_llm("openai", REQUEST, lambda request: scopes.append(runtime.current()), codec=codec)
    assert scopes[0]._codec is codec
    assert runtime.stats()["subscribers"] == {}
