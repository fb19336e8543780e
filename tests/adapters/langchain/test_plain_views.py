"""The views of ordinary model calls are those that the neutral view gives, and never show what is to be hidden."""

import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

import relay_core as relay
from relay_adapter_langchain import RelayCallbackHandler
from relay_adapter_langchain.annotating import annotated
from relay_adapter_langchain.plain_views import plain_views
from relay_core.payloads import Encoder

USAGE = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}
CALL = {"name": "add", "args": {"a": 1, "b": "zwölf"}, "id": "c1", "type": "tool_call"}
ASKED = [
    [HumanMessage("hi")],
    [SystemMessage("be brief"), HumanMessage("hi", id="h1", name="ann")],
    [HumanMessage(""), AIMessage("", tool_calls=[CALL]), ToolMessage("3", tool_call_id="c1", name="add", id="t")],
    [
        HumanMessage("x"),
        AIMessage("Let me see", tool_calls=[CALL, {**CALL, "id": None}]),
        ToolMessage("", tool_call_id=""),
    ],
    [HumanMessage("x"), ToolMessage("no", tool_call_id="c1", status="error")],
    [HumanMessage([{"type": "text", "text": "a"}, {"type": "image", "url": "https://example.org/a.png"}])],
    [HumanMessage("n") for _ in range(20)],
]
ANSWERED = [
    AIMessage("hi"),
    AIMessage(""),
    AIMessage("hi", usage_metadata=USAGE),
    AIMessage("", tool_calls=[CALL], usage_metadata=USAGE),
    AIMessage("and", tool_calls=[CALL, {**CALL, "name": "sub", "args": {}}]),
    AIMessage("hi", response_metadata={"id": "r1", "model_name": "m", "finish_reason": "stop"}),
    AIMessage("hi", usage_metadata={**USAGE, "input_token_details": {"cache_read": 4}}),
    AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "a"}]),
]


def payloads(asked, answer):
    """Run a model and give the payloads of its start and end events, as they are kept."""
    runtime, seen = relay.Relay(), []
    runtime.subscriber(seen.append)
    model = FakeMessagesListChatModel(responses=[answer])
    model.bind(
        tools=[{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}], seed=3
    ).invoke(asked, {"callbacks": [RelayCallbackHandler(runtime)]})
    runtime.flush(timeout=20.0)
    runtime.shutdown(timeout=20.0)
    return [event for event in seen if event.category == "llm"]


@pytest.mark.parametrize("answer", ANSWERED, ids=lambda value: repr(value)[:60])
@pytest.mark.parametrize("asked", ASKED, ids=lambda value: repr(value)[:60])
def test_both_ways_see_the_same(asked, answer):
    for event in payloads(asked, answer):
        encoder = Encoder()
        quick = plain_views(event.scope_category, event.frozen(), encoder)
        careful = encoder.tree(encoder.freeze(annotated(event.scope_category, event.frozen(), encoder)))
        if quick is not None:
            assert encoder.json(encoder.freeze(quick)) == encoder.json(encoder.freeze(careful))
        assert event.to_dict()["category_profile"].items() >= careful.items()


def test_ordinary_calls_are_read_quickly():
    for asked, answer in zip(ASKED[:4], ANSWERED[:4], strict=True):
        for event in payloads(asked, answer):
            assert plain_views(event.scope_category, event.frozen(), Encoder()) is not None


@pytest.mark.parametrize(
    "args",
    [
        {"api_key": "abcdefgh12345"},
        {"text": "ghp_abcdefghijklmnopqrstuvwxyz0123456789"},
        {"a": {"password": "hunter2"}},
    ],
)
def test_secrets_of_tool_calls_are_in_no_view(args):
    [secret] = [value if isinstance(value, str) else value["password"] for value in args.values()]
    call = AIMessage("", tool_calls=[{**CALL, "args": args}], id="a1")
    for event in payloads([HumanMessage("hi"), call, ToolMessage("3", tool_call_id="c1")], call):
        assert secret.encode() not in event.to_json()
        assert b"[REDACTED]" in event.to_json()
