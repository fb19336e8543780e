"""The lens over requests of wrapped models, content of all kinds, tool calls, and responses."""

from __future__ import annotations

import pytest
from langchain.agents.middleware import ModelRequest, ModelResponse
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation, GenerationChunk, LLMResult
from langchain_core.tools import tool

import relay_core
from relay_adapter_langchain import LangChainCodec, ModelCall
from relay_core.llm import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    VideoPart,
)

codec = LangChainCodec()
CALL = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def request(*messages, **options):
    return ModelCall.of(GenericFakeChatModel(messages=iter([])), list(messages) or [HumanMessage("hi")], options)


def edit(native, change):
    return codec.encode_request(change(codec.decode_request(native)), native)


# -- requests of wrapped models --------------------------------------------------------------------------------------


def test_a_model_call_is_read_and_edited_like_an_agents_request():
    tools = [{"type": "function", "function": {"name": "search", "parameters": SCHEMA}}]
    native = request(SystemMessage("Be brief."), HumanMessage("hi"), stop=["END"], tools=tools, tool_choice="any")
    view = codec.decode_request(native)
    assert (view.system_prompt(), view.params.stop, view.tool_choice.mode) == ("Be brief.", ("END",), "required")
    assert edit(native, lambda v: v) is native
    result = edit(native, lambda v: v.replace(temperature=0.5, tools=(), tool_choice=None))
    assert (result.model_settings, result.tools) == ({"stop": ["END"], "temperature": 0.5}, [])
    assert result.messages is native.messages
    assert result.options(native, {}) == {"stop": ["END"], "temperature": 0.5}
    result = edit(native, lambda v: v.replace(messages=[Message.system("New."), *v.messages[1:]]))
    assert [m.content for m in result.messages] == ["New.", "hi"]
    assert result.messages[1] is native.messages[1]


def test_text_models_get_text():
    native = ModelCall.of(FakeListLLM(responses=[]), "call 555", {})
    result = edit(native, lambda v: v.map_text(lambda text: text.replace("555", "[phone]")))
    assert result.input(native, "call 555") == "call [phone]"
    longer = edit(native, lambda v: v.replace(messages=[Message.system("Be brief."), *v.messages]))
    assert longer.input(native, "call 555") is longer.messages


@pytest.mark.parametrize(
    "given", [{"reasoning_effort": "low"}, {"reasoning": {"effort": "low", "summary": "auto"}}, {}], ids=str
)
def test_the_effort_of_reasoning_is_written_where_it_is_spelled(given):
    native = request(**given)
    assert (codec.decode_request(native).reasoning or relay_core.llm.Reasoning()).effort == ((given and "low") or None)
    result = edit(
        native,
        lambda v: (
            v.replace(reasoning=relay_core.llm.Reasoning(effort="high"), parallel_tool_calls=False)
            if "reasoning" not in given
            else v.replace(reasoning=v.reasoning.replace(effort="high"))
        ),
    )
    written = result.model_settings.get("reasoning", {}).get("effort") or result.model_settings.get("reasoning_effort")
    assert written == "high"


def test_tools_are_changed_and_added_in_their_own_format():
    anthropic = {"name": "search", "description": "old", "input_schema": SCHEMA}
    openai = {"type": "function", "function": {"name": "look", "description": "old", "parameters": SCHEMA}}
    native = request(tools=[anthropic, openai])

    def change(view):
        first, second = (found.replace(description="new") for found in view.tools)
        return view.replace(tools=[first, second, ToolDefinition("third", "added", SCHEMA, strict=True)])

    one, two, three = edit(native, change).tools
    assert one == {**anthropic, "description": "new"}
    assert two["function"] == {"name": "look", "description": "new", "parameters": SCHEMA}
    assert three["function"] == {"name": "third", "description": "added", "parameters": SCHEMA, "strict": True}
    agents = ModelRequest(model=native.model, messages=[HumanMessage("hi")], tools=[add])
    (changed,) = edit(agents, lambda v: v.replace(tools=[v.tools[0].replace(description="new")])).tools
    assert changed["function"]["description"] == "new"
    assert set(changed["function"]["parameters"]["properties"]) == {"a", "b"}


# -- content ---------------------------------------------------------------------------------------------------------

BLOCKS = [
    ({"type": "text", "text": "hi"}, TextPart, {"text": "hi"}),
    ({"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}}, ImagePart, {"detail": "low"}),
    ({"type": "image_url", "image_url": "https://x/y"}, ImagePart, {"url": "https://x/y"}),
    ({"type": "image", "base64": "AA", "mime_type": "image/png"}, ImagePart, {"data": "AA", "mime": "image/png"}),
    (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}},
        ImagePart,
        {"data": "AA", "mime": "image/png"},
    ),
    ({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}, AudioPart, {"mime": "audio/wav"}),
    ({"type": "audio", "file_id": "f1"}, AudioPart, {"file_id": "f1"}),
    ({"type": "video", "url": "https://x/v"}, VideoPart, {"url": "https://x/v"}),
    ({"type": "media", "mime_type": "video/mp4", "file_uri": "gs://x"}, VideoPart, {"url": "gs://x"}),
    ({"type": "file", "file": {"file_data": "AA", "filename": "a.pdf"}}, FilePart, {"data": "AA", "name": "a.pdf"}),
    ({"type": "document", "source": {"type": "url", "url": "https://x/d"}}, FilePart, {"url": "https://x/d"}),
    ({"type": "thinking", "thinking": "hm", "signature": "s"}, ReasoningPart, {"text": "hm", "signature": "s"}),
    ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}, ReasoningPart, {"text": "hm"}),
    ({"type": "redacted_thinking", "data": "zz"}, ReasoningPart, {"encrypted": "zz", "redacted": True}),
    ({"type": "refusal", "refusal": "no"}, RefusalPart, {"text": "no"}),
    ({"type": "something_new", "x": 1}, NativePart, {"kind": "something_new"}),
]


@pytest.mark.parametrize(
    ("block", "kind", "fields"), BLOCKS, ids=[b["type"] + str(i) for i, (b, _, _) in enumerate(BLOCKS)]
)
def test_content_blocks_are_read_and_kept(block, kind, fields):
    native = request(HumanMessage([block, "secret"]))
    part = codec.decode_request(native).messages[0].parts[0]
    assert type(part) is kind
    assert {name: getattr(part, name) for name in fields} == fields
    result = edit(native, lambda v: v.map_text(lambda text: text.replace("secret", "***")))
    assert result.messages[0].content[0] is native.messages[0].content[0]
    assert result.messages[0].content[1] == "***"


def test_media_are_taken_away_replaced_and_added():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    native = request(HumanMessage([{"type": "text", "text": "look"}, image]))

    def change(view):
        message = view.messages[0]
        parts = (message.parts[0], TextPart("[image]"), ImagePart(url="https://x/y"))
        return view.replace(
            messages=[message.replace(parts=parts), Message("user", (FilePart(data="AA", mime="text/plain"),))]
        )

    first, second = edit(native, change).messages
    assert first.content == [
        {"type": "text", "text": "look"},
        {"type": "text", "text": "[image]"},
        {"type": "image", "url": "https://x/y"},
    ]
    assert second.content == [{"type": "file", "base64": "AA", "mime_type": "text/plain"}]
    assert native.messages[0].content[1] == image


def test_tool_calls_that_are_told_twice_are_read_once_and_edited_in_both_places():
    content = [{"type": "text", "text": "ok"}, {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}]
    spelled = [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]
    native = request(AIMessage(content, tool_calls=[CALL], additional_kwargs={"tool_calls": spelled}))
    (message,) = codec.decode_request(native).messages
    assert [type(part) for part in message.parts] == [TextPart, ToolCallPart]

    def change(view):
        (found,) = view.messages
        return view.replace(
            messages=[found.replace(parts=(found.parts[0], found.parts[1].replace(arguments={"a": 9})))]
        )

    (edited,) = edit(native, change).messages
    assert edited.tool_calls == [{**CALL, "args": {"a": 9}}]
    assert edited.content == [content[0], {**content[1], "input": {"a": 9}}]
    assert edited.additional_kwargs["tool_calls"][0]["function"]["arguments"] == '{"a": 9}'
    (emptied,) = edit(
        native, lambda v: v.replace(messages=[v.messages[0].replace(parts=v.messages[0].parts[:1])])
    ).messages
    assert (emptied.tool_calls, emptied.content) == ([], content[:1])
    assert emptied.additional_kwargs["tool_calls"] == []


def test_only_the_assistant_calls_tools():
    with pytest.raises(relay_core.CodecError, match="only the assistant"):
        edit(request(), lambda v: v.replace(messages=[v.messages[0].replace(parts=(ToolCallPart("add", {}),))]))


# -- responses -------------------------------------------------------------------------------------------------------


def said(view, *parts):
    return view.replace(choices=[view.choices[0].replace(parts=parts)])


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: ModelResponse(result=[m])])
def test_the_tool_calls_of_a_response_can_be_taken_away_or_changed(wrap):
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_token_details": {"audio": 1}}
    native = wrap(AIMessage("ok", tool_calls=[CALL], usage_metadata=usage))
    view = codec.decode_response(native)
    assert view.usage.input_modalities == {"audio": 1}
    changed = codec.encode_response(said(view, TextPart("no"), view.tool_calls[0].replace(name="sub")), native)
    message = getattr(changed, "result", [changed])[0]
    assert (message.content, message.tool_calls[0]["name"], message.usage_metadata) == ("no", "sub", usage)
    gone = codec.encode_response(said(view, view.choices[0].parts[0]), native)
    assert getattr(gone, "result", [gone])[0].tool_calls == []


def test_the_results_of_generate_are_edited_by_generation():
    native = LLMResult(generations=[[ChatGeneration(message=AIMessage("a")), ChatGeneration(message=AIMessage("b"))]])
    view = codec.decode_response(native)
    choices = [view.choices[0], view.choices[1].replace(parts=(TextPart("z"),))]
    edited = codec.encode_response(view.replace(choices=choices), native)
    assert edited.generations[0][0] is native.generations[0][0]
    assert (edited.generations[0][1].text, edited.generations[0][1].message.content) == ("z", "z")
    text = LLMResult(generations=[[Generation(text="a")]])
    view = codec.decode_response(text)
    assert codec.encode_response(said(view, TextPart("b")), text).generations[0][0].text == "b"


@pytest.mark.parametrize("change", [lambda v: v.replace(model="other"), lambda v: v.replace(choices=())])
def test_other_edits_of_responses_are_refused(change):
    native = AIMessage("ok")
    with pytest.raises(relay_core.CodecError, match="nothing else"):
        codec.encode_response(change(codec.decode_response(native)), native)


def test_chunks_are_described_without_their_text():
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    chunk = AIMessageChunk(
        "a secret",
        tool_call_chunks=[{"name": "add", "args": "{", "id": "c1", "index": 0, "type": "tool_call_chunk"}],
        response_metadata={"finish_reason": "stop"},
        usage_metadata=usage,
    )
    said_of = codec.describe_chunk(chunk)
    assert said_of == {
        "provider": "langchain",
        "event_type": "AIMessageChunk",
        "finish_reasons": [{"choice_index": 0, "finish_reason": "stop"}],
        "tool_call_indices": [0],
        "usage": usage,
    }
    assert codec.describe_chunk("text") == {"provider": "langchain", "event_type": "str"}


def test_the_chunks_of_text_models_add_up():
    assembler = codec.assembler()
    for chunk in ("a", GenerationChunk(text="b"), object()):
        assembler.feed(chunk)
    assert assembler.result() == "ab"


def test_results_of_tools_keep_whose_they_are():
    native = request(ToolMessage([{"type": "text", "text": "a secret"}], tool_call_id="c1"))
    result = edit(native, lambda v: v.map_text(lambda text: text.replace("secret", "***")))
    assert result.messages[0].content == [{"type": "text", "text": "a ***"}]
    assert result.messages[0].tool_call_id == "c1"
