"""Reading and editing an agent's model request through the neutral view."""

from __future__ import annotations

import pytest
from langchain.agents.middleware import ModelRequest, ModelResponse
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

import relay_core
from relay_adapter_langchain import LangChainCodec
from relay_core.codecs import Codec
from relay_core.llm import Message, ReasoningPart, TextPart, ToolDefinition, ToolResultPart

codec = LangChainCodec()


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def shell(command: str) -> str:
    """Run a command."""
    return command


class Special(HumanMessage):
    """A message class of the user's own."""

    priority: int = 0


def make(*messages, **options):
    options.setdefault("tools", [add, shell])
    return ModelRequest(
        model=GenericFakeChatModel(messages=iter([])),
        messages=list(messages) or [HumanMessage("hi")],
        system_message=SystemMessage("Be brief."),
        **options,
    )


def edit(request, change):
    return codec.encode_request(change(codec.decode_request(request)), request)


def test_it_is_a_codec():
    assert isinstance(codec, Codec)
    with relay_core.Relay().codecs.register(codec) as handle:
        assert handle.name == "langchain"


def test_a_request_reads_as_what_the_model_gets():
    call = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    request = make(
        HumanMessage([{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "https://x/y"}}]),
        AIMessage("", tool_calls=[call]),
        ToolMessage("3", tool_call_id="c1", status="error"),
        model_settings={"temperature": 0.1, "max_tokens": 5, "stop": ["END"]},
        tool_choice="any",
    )
    view = codec.decode_request(request)
    assert view.system_prompt() == "Be brief."
    assert [m.role for m in view.messages] == ["system", "user", "assistant", "tool"]
    assert view.messages[1].parts[1].url == "https://x/y"
    assert view.messages[2].tool_calls[0].arguments == {"a": 1}
    assert (view.messages[3].parts[0].call_id, view.messages[3].parts[0].is_error) == ("c1", True)
    assert (view.params.temperature, view.params.max_output_tokens, view.params.stop) == (0.1, 5, ("END",))
    assert [t.name for t in view.tools] == ["add", "shell"]
    assert set(view.tools[0].schema["properties"]) == {"a", "b"}
    assert view.tool_choice.mode == "required"


def test_without_an_edit_the_request_is_the_same_object():
    request = make()
    assert edit(request, lambda view: view) is request
    assert edit(request, lambda view: view.map_text(str.strip)) is request


def test_edited_text_touches_one_message_and_keeps_its_class():
    first, second = Special("call 555", priority=7, id="m1"), HumanMessage("other")
    request = make(first, second)
    result = edit(request, lambda view: view.map_text(lambda text: text.replace("555", "[phone]")))
    edited = result.messages[0]
    assert type(edited) is Special
    assert (edited.content, edited.priority, edited.id) == ("call [phone]", 7, "m1")
    assert first.content == "call 555"
    assert result.messages[1] is second
    assert result.system_message is request.system_message
    assert result.tools is request.tools
    assert request.messages[0] is first


def test_text_in_blocks_and_results_is_edited_in_place():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    text = {"type": "text", "text": "secret", "cache_control": {"type": "ephemeral"}}
    request = make(HumanMessage([text, image, "secret too"]), ToolMessage("a secret", tool_call_id="c1"))
    result = edit(request, lambda view: view.map_text(lambda t: t.replace("secret", "***")))
    blocks = result.messages[0].content
    assert blocks == [{**text, "text": "***"}, image, "*** too"]
    assert blocks[1] is request.messages[0].content[1]
    assert result.messages[1].content == "a ***"
    assert result.messages[1].tool_call_id == "c1"


def test_messages_come_and_go():
    old = HumanMessage("old")
    request = make(old, HumanMessage("last"))
    new = Message.user("inserted")
    result = edit(request, lambda view: view.replace(messages=[view.messages[0], new, view.messages[2]]))
    assert [m.content for m in result.messages] == ["inserted", "last"]
    assert result.system_message is request.system_message
    result = edit(request, lambda view: view.replace(messages=[Message.system("New."), *view.messages[1:]]))
    assert result.system_message.content == "New."
    assert result.messages[0] is old
    result = edit(request, lambda view: view.replace(messages=view.messages[1:]))
    assert result.system_message is None


def test_parameters_go_where_they_are_spelled():
    request = make(model_settings={"max_completion_tokens": 9, "seed": 3})
    result = edit(request, lambda view: view.replace(max_output_tokens=5, seed=None, stop="X", model="other"))
    assert result.model_settings == {"max_completion_tokens": 5, "stop": ["X"], "model": "other"}
    assert request.model_settings == {"max_completion_tokens": 9, "seed": 3}


def test_tools_can_be_taken_away():
    result = edit(make(), lambda view: view.replace(tools=[t for t in view.tools if t.name != "shell"]))
    assert result.tools == [add]
    assert edit(make(), lambda view: view.replace(tool_choice="none")).tool_choice == "none"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda view: view.replace(tools=[*view.tools, ToolDefinition("new")]), "'new'"),
        (lambda view: view.replace(instructions="x"), "instructions"),
        (lambda view: view.replace(stream=True), "stream"),
        (lambda view: view.replace(messages=[Message("user", (ReasoningPart(text="hm"),))]), "ReasoningPart"),
        (lambda view: view.replace(messages=[Message("robot", "x")]), "'robot'"),
        (lambda view: view.replace(messages=[view.messages[1].replace(role="assistant")]), "role"),
        (lambda view: view.replace(messages=[view.messages[3].replace(parts=(ToolResultPart("c2"),))]), "result"),
    ],
)
def test_other_edits_are_refused_by_name(change, place):
    call = {"name": "add", "args": {}, "id": "c1", "type": "tool_call"}
    request = make(HumanMessage("hi"), AIMessage("", tool_calls=[call]), ToolMessage("3", tool_call_id="c1"))
    with pytest.raises(relay_core.CodecError, match=place):
        edit(request, change)


def test_a_parameter_of_the_model_itself_cannot_be_unset():
    class Tuned(GenericFakeChatModel):
        temperature: float = 0.7

    request = make().override(model=Tuned(messages=iter([])))
    assert codec.decode_request(request).params.temperature == 0.7
    with pytest.raises(relay_core.CodecError, match="params"):
        edit(request, lambda view: view.replace(temperature=None))


def test_responses_are_read_and_their_text_edited():
    usage = {
        "input_tokens": 10,
        "output_tokens": 8,
        "total_tokens": 18,
        "input_token_details": {"cache_read": 4, "cache_creation": 1},
        "output_token_details": {"reasoning": 5},
    }
    facts = {"model_name": "m", "finish_reason": "length", "id": "r1"}
    message = AIMessage("hello", usage_metadata=usage, response_metadata=facts)
    response = ModelResponse(result=[message])
    for native in (message, response):
        view = codec.decode_response(native)
        assert (view.text, view.model, view.id, view.finish.reason) == ("hello", "m", "r1", "length")
        assert (view.usage.input_uncached, view.usage.input_cache_read, view.usage.input_cache_write) == (5, 4, 1)
        assert (view.usage.output_text, view.usage.output_reasoning, view.usage.source) == (3, 5, "framework")
        assert codec.encode_response(view, native) is native
    view = codec.decode_response(response)
    choice = view.choices[0].replace(parts=(TextPart("bye"),))
    edited = codec.encode_response(view.replace(choices=[choice]), response)
    assert edited.result[0].content == "bye"
    assert edited.result[0].usage_metadata == usage
    assert message.content == "hello"
    with pytest.raises(relay_core.CodecError):
        codec.encode_response(view.replace(model="other"), response)


def test_chunks_add_up():
    assembler = codec.assembler()
    for piece in ("a", "b"):
        assembler.feed(AIMessageChunk(piece))
    assembler.feed(AIMessageChunk("", chunk_position="last"))
    assert assembler.result().content == "ab"
    assert (assembler.facts.events, assembler.facts.complete) == (3, True)


def test_foreign_objects_are_refused():
    for attempt in (lambda: codec.decode_request(object()), lambda: codec.decode_response(object())):
        with pytest.raises(relay_core.CodecError, match="object"):
            attempt()
