"""The Responses API: the lens laws, what the view shows, and edits that must be written or refused."""

from __future__ import annotations

import pytest

from relay_adapter_openai.codecs import ResponsesCodec
from relay_core.errors import CodecError
from relay_core.llm import (
    CitationPart,
    CompactionPart,
    Conversation,
    FilePart,
    Finish,
    ImagePart,
    Message,
    NativePart,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolDefinition,
    ToolResultPart,
)
from relay_core.testing.lens import check_lens
from tests.adapters.codec_laws import kinds_of_edits
from tests.adapters.openai.samples import MESSAGE, RESPONSES_REQUESTS, RESPONSES_RESPONSES, SCHEMA, USER

codec = ResponsesCodec()
TOOLS = RESPONSES_REQUESTS["tools"]


def encode(native, **changes):
    return codec.encode_request(codec.decode_request(native).replace(**changes), native)


def with_message(native, index, change):
    messages = list(codec.decode_request(native).messages)
    messages[index] = change(messages[index])
    return encode(native, messages=messages)["input"]


def with_parts(native, change):
    view = codec.decode_response(native)
    (choice,) = view.choices
    return codec.encode_response(view.replace(choices=[choice.replace(parts=change(choice.parts))]), native)["output"]


class TestLaws:
    @pytest.mark.parametrize("name", RESPONSES_REQUESTS)
    def test_requests_keep_the_laws(self, name):
        kinds = kinds_of_edits(codec, RESPONSES_REQUESTS[name])
        assert kinds >= {"no edit", "messages inserted", "tools inserted", "param temperature set"}

    @pytest.mark.parametrize("name", RESPONSES_RESPONSES)
    def test_responses_keep_the_laws(self, name):
        assert check_lens(codec, RESPONSES_RESPONSES[name], side="response")


class TestReadingRequests:
    def test_a_string_is_a_message_of_the_user(self):
        assert codec.decode_request(RESPONSES_REQUESTS["a string"]).messages == (Message.user("Will it rain?"),)

    def test_fields(self):
        view = codec.decode_request(RESPONSES_REQUESTS["fields"])
        assert view.system_prompt() == "Be brief."
        assert (view.params.max_output_tokens, view.params.temperature, view.params.top_p) == (90, 0.2, 1)
        assert view.reasoning == Reasoning(effort="low", summary="auto")
        assert view.response_format == ResponseFormat("json_schema", schema=SCHEMA, name="answer", strict=True)
        assert view.conversation == Conversation(previous_response_id="resp_0", conversation="conv_1")
        include = ["reasoning.encrypted_content"]
        assert view.api_specific == {"include": include, "store": False, "text": {"verbosity": "low"}}
        assert view.extra == {"x_unknown": [None, {}]}

    def test_tools(self):
        view = codec.decode_request(TOOLS)
        assert [(tool.name, tool.kind) for tool in view.tools] == [
            ("weather", "function"),
            ("web_search_preview", "server"),
            ("mcp", "server"),
            ("sql", "native"),
            ("computer_use_preview", "native"),
        ]
        assert view.tool_choice == ToolChoice("tool", "weather")

    def test_every_kind_of_item(self):
        messages = codec.decode_request(TOOLS).messages
        parts = [message.parts for message in messages]
        assert [message.role for message in messages[3:5]] == ["assistant", "tool"]
        assert [message.id for message in messages[1:4]] == ["rs_1", "rs_2", "fc_1"]
        assert parts[1] == (ReasoningPart(text="Hm."),)
        assert parts[2] == (ReasoningPart(encrypted="ENC", immutable=True),)
        assert parts[3] == (ToolCallPart("weather", {"city": "Oslo"}, "call_1"),)
        assert parts[4] == (ToolResultPart("call_1", "dry"),)
        assert parts[5][0].arguments_raw == "select 1"
        assert parts[6] == (ToolResultPart("call_2", "1"),)
        assert parts[7] == (ToolCallPart("computer", {"type": "click", "x": 1, "y": 2}, "call_3"),)
        assert parts[8] == (ToolResultPart("call_3", [ImagePart(url="data:image/png;base64,QUJD")]),)
        assert parts[9][0].name == "local_shell"
        assert parts[10] == (ToolResultPart("call_4", "a.txt"),)
        assert parts[12] == (ToolResultPart("call_5", ["a", ""]),)
        assert parts[14] == (ToolResultPart("call_6", "no such file", is_error=True),)
        assert parts[15] == (NativePart("openai_responses", "item_reference", TOOLS["input"][15]),)
        assert messages[16].role == "user"
        assert parts[17] == (CompactionPart(encrypted="ENC", immutable=True),)
        assert parts[18] == (TextPart("Dry."), RefusalPart("No more."))

    def test_media(self):
        (message,) = codec.decode_request(RESPONSES_REQUESTS["media"]).messages
        assert message.parts[1] == ImagePart(url="https://x.test/a.png", detail="low")
        assert message.parts[2].file_id == "file-1"
        assert (message.parts[3].name, message.parts[4].mime, message.parts[5].kind) == (
            "a.pdf",
            "audio/mp3",
            "input_thing",
        )

    @pytest.mark.parametrize("wrong", ["text", {}, {"input": 3}, {"input": ["x"]}, {"input": "x", "tools": {}}])
    def test_what_is_no_request_is_refused(self, wrong):
        with pytest.raises(CodecError):
            codec.decode_request(wrong)


class TestReadingResponses:
    def test_text_thought_citations_and_usage(self):
        view = codec.decode_response(RESPONSES_RESPONSES["text"])
        assert (view.text, view.finish, view.created) == ("Dry.", Finish("stop", "completed"), 1700000000)
        thought, text = view.choices[0].parts
        assert thought == ReasoningPart(text="Hm.", encrypted="E", immutable=True)
        assert (text.citations[0].url, text.citations[0].title) == ("https://x.test", "X")
        usage = view.usage
        assert (usage.input_uncached, usage.input_cache_read, usage.input_cache_write) == (30, 60, 10)
        assert (usage.output_text, usage.output_reasoning, usage.total_tokens) == (10, 20, 130)
        assert view.extra == {"x_unknown": {"a": []}}

    def test_server_tools_show_call_and_result(self):
        parts = codec.decode_response(RESPONSES_RESPONSES["server tools"]).choices[0].parts
        calls = {part.id: part for part in parts if isinstance(part, ToolCallPart)}
        results = {part.call_id: part for part in parts if isinstance(part, ToolResultPart)}
        assert all(part.server for part in (*calls.values(), *results.values()))
        assert calls["ws"] == ToolCallPart("web_search", {"type": "search", "query": "rain"}, "ws", server=True)
        assert calls["fs"].arguments == {"queries": ["rain"]}
        assert results["fs"].parts == (FilePart(file_id="file-1", name="a.md", text="It rains."),)
        assert calls["ci"].arguments == {"code": "print(1)", "container_id": "cntr"}
        assert results["ci"].parts == (TextPart("1"), ImagePart(url="https://x.test/a.png"))
        assert results["ig"].parts == (ImagePart(data="QUJD", mime="image/png"),)
        assert (calls["mc"].name, results["mc"].parts) == ("find", (TextPart("found"),))
        assert results["md"].is_error
        assert [part.kind for part in parts if isinstance(part, NativePart)] == ["mcp_list_tools", "some_new_call"]

    def test_why_an_answer_ended(self):
        def finish(name):
            return codec.decode_response(RESPONSES_RESPONSES[name]).finish

        assert finish("cut") == Finish("length", "max_output_tokens")
        assert finish("failed") == Finish("error", "failed")
        assert codec.decode_response({"status": "in_progress", "output": []}).finish is None
        blocked = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}
        assert codec.decode_response(blocked).finish.reason == "content_filter"
        assert codec.decode_response({"status": "cancelled", "output": []}).finish.reason == "cancelled"

    def test_a_refused_request_has_an_error(self):
        view = codec.decode_response(RESPONSES_RESPONSES["refused"])
        assert (view.choices, view.api_specific["error"]["code"]) == ((), "x")

    @pytest.mark.parametrize("wrong", ["text", {}, {"output": "x"}, {"output": ["x"]}, {"choices": []}])
    def test_what_is_no_response_is_refused(self, wrong):
        with pytest.raises(CodecError):
            codec.decode_response(wrong)


class TestWritingRequests:
    def test_a_second_message_makes_a_list_of_a_string(self):
        view = codec.decode_request(RESPONSES_REQUESTS["a string"])
        written = encode(RESPONSES_REQUESTS["a string"], messages=[Message.system("S"), *view.messages])
        assert written["input"] == [{"role": "system", "content": "S"}, USER]

    def test_a_second_part_makes_a_list_of_a_string(self):
        parts = [TextPart("see"), ImagePart(url="u")]
        written = encode(RESPONSES_REQUESTS["a string"], messages=[Message.user(parts)])["input"]
        blocks = [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "u"}]
        assert written == [{"role": "user", "content": blocks}]

    def test_new_messages_have_the_form_of_the_api(self):
        messages = [
            Message.assistant([TextPart("a"), TextPart("b")]),
            Message.assistant([ToolCallPart("f", {"a": 1}, "c1")]),
            Message("tool", [ToolResultPart("c1", "42")]),
            Message.assistant([ReasoningPart(encrypted="E", immutable=True)]),
        ]
        assert encode({"input": []}, messages=messages)["input"] == [
            {
                "role": "assistant",
                "content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}],
            },
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "42"},
            {"type": "reasoning", "summary": [], "encrypted_content": "E"},
        ]

    def test_arguments_are_written_as_they_were(self):
        click = with_message(TOOLS, 7, lambda m: m.replace(parts=[m.parts[0].replace(arguments={"type": "wait"})]))
        assert click[7] == {"type": "computer_call", "id": "cc_1", "call_id": "call_3", "action": {"type": "wait"}}
        sql = with_message(TOOLS, 5, lambda m: m.replace(parts=[m.parts[0].replace(arguments_raw="select 2")]))
        assert sql[5]["input"] == "select 2"
        assert sql[4] is TOOLS["input"][4]

    def test_results_are_edited_in_their_form(self):
        listed = with_message(TOOLS, 6, lambda m: m.map_text(lambda _: "***"))
        assert listed[6]["output"] == [{"type": "input_text", "text": "***"}]
        shell = with_message(TOOLS, 12, lambda m: m.map_text(lambda _: "***"))
        assert shell[12]["output"][0] == {**TOOLS["input"][12]["output"][0], "stdout": "***", "stderr": "***"}
        another = with_message(TOOLS, 4, lambda m: m.replace(parts=[ToolResultPart("call_1", "other")]))
        assert another[4] == {"type": "function_call_output", "call_id": "call_1", "output": "other"}

    def test_a_thought_may_be_edited_if_it_is_not_encrypted(self):
        def edited(message):
            return message.replace(parts=[message.parts[0].replace(text="***")])

        assert with_message(TOOLS, 1, edited)[1]["summary"] == [{"type": "summary_text", "text": "***"}]
        with pytest.raises(CodecError, match="signed by the provider"):
            with_message(TOOLS, 2, edited)
        messages = codec.decode_request(TOOLS).messages
        assert len(encode(TOOLS, messages=[*messages[:2], *messages[3:]])["input"]) == len(messages) - 1

    def test_an_item_may_become_a_message(self):
        written = with_message(TOOLS, 3, lambda m: m.replace(parts=[TextPart("call taken out")]))
        assert written[3] == {"id": "fc_1", "role": "assistant", "content": "call taken out"}

    def test_fields_keep_what_the_view_does_not_show(self):
        native = RESPONSES_REQUESTS["fields"]
        assert encode(native, reasoning=Reasoning(effort="high"))["reasoning"] == {"effort": "high", "x": 1}
        assert encode(native, response_format=ResponseFormat("text"))["text"] == {
            "format": {"type": "text"}, "verbosity": "low",
        }  # fmt: skip
        assert encode(native, response_format=None)["text"] == {"verbosity": "low"}
        written = encode(native, api_specific={"store": True, "text": {"verbosity": "high"}})
        assert (written["store"], written["text"]["verbosity"]) == (True, "high")
        assert written["text"]["format"] is native["text"]["format"]
        moved = encode(native, conversation=Conversation(conversation="conv_2"))
        assert (moved["conversation"], "previous_response_id" in moved) == ({"id": "conv_2"}, False)

    def test_instructions_come_and_go(self):
        assert encode(RESPONSES_REQUESTS["a string"], instructions="S")["instructions"] == "S"
        assert "instructions" not in encode(RESPONSES_REQUESTS["fields"], instructions=())

    def test_a_changed_tool_keeps_what_the_view_does_not_show(self):
        first, *rest = codec.decode_request(TOOLS).tools
        written = encode(TOOLS, tools=[first.replace(description="d"), *rest[1:], ToolDefinition("f", schema=SCHEMA)])
        assert written["tools"][0] == {**TOOLS["tools"][0], "description": "d"}
        assert written["tools"][-1] == {"type": "function", "name": "f", "parameters": SCHEMA}
        assert encode(TOOLS, tool_choice="required")["tool_choice"] == "required"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"seed": 5}, "seed"),
            ({"instructions": ["a", "b"]}, "one text"),
            ({"reasoning": Reasoning(budget_tokens=5)}, "reasoning"),
            ({"conversation": Conversation(container="c")}, "conversation"),
            ({"messages": [Message.assistant([TextPart("a"), ToolCallPart("f", {})])]}, "ToolCallPart"),
            ({"messages": [Message.user([NativePart("gemini", "x", {})])]}, "NativePart"),
            ({"messages": [Message.assistant([ToolCallPart("f", {}, server=True)])]}, "ToolCallPart"),
        ],
    )
    def test_what_has_no_place_is_refused_by_name(self, changes, message):
        with pytest.raises(CodecError, match=message):
            encode(RESPONSES_REQUESTS["a string"], **changes)

    def test_the_only_part_of_an_item_goes_with_its_message(self):
        with pytest.raises(CodecError, match="take out or put in the whole message"):
            with_message(TOOLS, 3, lambda m: m.replace(parts=[]))


class TestWritingResponses:
    def test_text_takes_the_place_of_everything(self):
        written = with_parts(RESPONSES_RESPONSES["calls"], lambda _: [TextPart("Blocked.")])
        block = {"type": "output_text", "text": "Blocked.", "annotations": []}
        assert written == [{**MESSAGE, "content": [block]}]

    def test_text_where_no_message_was_makes_one(self):
        native = {"status": "completed", "output": RESPONSES_RESPONSES["calls"]["output"][1:]}
        (item,) = with_parts(native, lambda _: [TextPart("Blocked.")])
        assert (item["type"], item["role"], item["content"][0]["text"]) == ("message", "assistant", "Blocked.")

    def test_calls_can_be_taken_out_and_put_in(self):
        native = RESPONSES_RESPONSES["calls"]
        assert with_parts(native, lambda parts: parts[:1]) == native["output"][:1]
        added = with_parts(native, lambda parts: [*parts, ToolCallPart("f", {}, "c9")])
        assert added[3] == {"type": "function_call", "call_id": "c9", "name": "f", "arguments": "{}"}
        assert added[:3] == native["output"]

    def test_encrypted_thoughts_can_be_dropped(self):
        native = RESPONSES_RESPONSES["text"]
        assert with_parts(native, lambda parts: parts[1:]) == [native["output"][1]]

    def test_text_beside_text_stands_in_the_same_message(self):
        native = RESPONSES_RESPONSES["text"]
        written = with_parts(native, lambda parts: [*parts, TextPart("More.")])
        assert [block["text"] for block in written[1]["content"]] == ["Dry.", "More."]
        assert written[1]["content"][0] is native["output"][1]["content"][0]

    def test_a_server_tool_goes_with_its_result(self):
        native = RESPONSES_RESPONSES["server tools"]
        written = with_parts(native, lambda parts: [*parts[:1], *parts[3:]])
        assert [item["id"] for item in written] == ["ws", "ci", "ig", "ml", "mc", "md", "new", "msg_2"]
        dropped = with_parts(native, lambda parts: [*parts[:2], *parts[3:]])
        assert "results" not in dropped[1]
        with pytest.raises(CodecError, match="take that out too"):
            with_parts(native, lambda parts: [*parts[:1], *parts[2:]])

    def test_results_of_server_tools_can_be_edited_in_place(self):
        view = codec.decode_response(RESPONSES_RESPONSES["server tools"]).map_text(lambda _: "***")
        output = codec.encode_response(view, RESPONSES_RESPONSES["server tools"])["output"]
        assert output[1]["results"][0] == {"file_id": "file-1", "filename": "a.md", "score": 0.5, "text": "***"}
        assert output[2]["outputs"][0] == {"type": "logs", "logs": "***"}
        assert output[5]["output"] == "***"

    def test_citations_come_and_go(self):
        def edited(parts):
            return [parts[0], parts[1].replace(citations=(CitationPart(value={"type": "file_path", "file_id": "f"}),))]

        written = with_parts(RESPONSES_RESPONSES["text"], edited)
        assert written[1]["content"][0]["annotations"] == [{"type": "file_path", "file_id": "f"}]

    def test_the_reason_to_finish_is_the_status(self):
        native = RESPONSES_RESPONSES["text"]
        view = codec.decode_response(native)
        blocked = view.choices[0].replace(finish=Finish("content_filter", "content_filter"))
        written = codec.encode_response(view.replace(choices=[blocked]), native)
        assert (written["status"], written["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
        cut = codec.decode_response(RESPONSES_RESPONSES["cut"])
        done = cut.choices[0].replace(finish=Finish("stop", "completed"))
        written = codec.encode_response(cut.replace(choices=[done]), RESPONSES_RESPONSES["cut"])
        assert (written["status"], written["incomplete_details"]) == ("completed", None)
