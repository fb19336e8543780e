"""Chat completions: the lens laws, what the view shows, and edits that must be written or refused."""

from __future__ import annotations

import copy

import pytest

from relay_adapter_openai.codecs import ChatCodec, codecs
from relay_core.codecs import Codec, CodecRegistry, StreamAssembler
from relay_core.errors import CodecError
from relay_core.llm import (
    AudioPart,
    Choice,
    CitationPart,
    Finish,
    ImagePart,
    LlmRequest,
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
from tests.adapters.openai.samples import CALL, CHAT_REQUESTS, CHAT_RESPONSES, FUNCTION, SCHEMA, USER

codec = ChatCodec()


def encode(native, **changes):
    return codec.encode_request(codec.decode_request(native).replace(**changes), native)


def answer(message, **fields):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop", **fields}
    return {"id": "c", "choices": [choice]}


def with_parts(native, parts, index=0):
    view = codec.decode_response(native)
    choices = list(view.choices)
    choices[index] = choices[index].replace(parts=parts(choices[index].parts))
    return codec.encode_response(view.replace(choices=choices), native)


class TestLaws:
    @pytest.mark.parametrize("name", CHAT_REQUESTS)
    def test_requests_keep_the_laws(self, name):
        kinds = kinds_of_edits(codec, CHAT_REQUESTS[name])
        assert kinds >= {"no edit", "messages inserted", "tools inserted", "param temperature set"}

    @pytest.mark.parametrize("name", CHAT_RESPONSES)
    def test_responses_keep_the_laws(self, name):
        assert check_lens(codec, CHAT_RESPONSES[name], side="response")

    def test_the_codecs_fit_the_protocols_and_a_registry(self):
        registry = CodecRegistry()
        for each in codecs():
            assert isinstance(each, Codec)
            assert isinstance(each.assembler(), StreamAssembler)
            registry.register(each)
        assert registry.names() == ["openai_chat", "openai_embeddings", "openai_responses"]


class TestReadingRequests:
    def test_parameters(self):
        view = codec.decode_request(CHAT_REQUESTS["limits"])
        params = view.params
        assert (params.max_output_tokens, params.temperature, params.seed, params.n, params.stop) == (
            30,
            1,
            7,
            3,
            ("END",),
        )
        assert view.metadata == {"team": "blue"}
        assert view.api_specific == {"logit_bias": {"50256": -100}, "user": "u-1"}
        assert codec.decode_request(CHAT_REQUESTS["two limits"]).params.max_output_tokens == 40

    def test_unknown_fields(self):
        assert codec.decode_request(CHAT_REQUESTS["unknown fields"]).extra == {
            "zeta": {"deep": [1, {"a": None}]},
            "guided_json": {"a": 1},
            "alpha": 0,
        }

    def test_every_block_of_content(self):
        system, user = codec.decode_request(CHAT_REQUESTS["media"]).messages
        assert system.parts == (TextPart("Be brief.", cache_breakpoint=True),)
        assert user.name == "ann"
        assert [type(part).__name__ for part in user.parts] == [
            "TextPart", "ImagePart", "ImagePart", "AudioPart", "FilePart", "VideoPart", "NativePart", "TextPart",
        ]  # fmt: skip
        assert user.parts[1] == ImagePart(url="https://x.test/a.png", detail="low")
        assert user.parts[3] == AudioPart(data="QUJD", mime="audio/wav")
        assert (user.parts[4].file_id, user.parts[4].name) == ("file-1", "a.pdf")
        assert user.parts[6] == NativePart(
            "openai_chat", "vendor_block", {"type": "vendor_block", "payload": {"a": [1]}}
        )

    def test_tools_and_calls(self):
        view = codec.decode_request(CHAT_REQUESTS["tools"])
        assert [(tool.name, tool.kind) for tool in view.tools] == [
            ("weather", "function"), ("sql", "native"), ("web_search", "server"),
        ]  # fmt: skip
        assert view.tools[0].schema == SCHEMA
        assert view.tool_choice == ToolChoice("tool", "weather")
        assert view.parallel_tool_calls is False
        weather, sql = view.messages[2].tool_calls
        assert (weather.id, weather.arguments, weather.arguments_raw) == (
            "call_a",
            {"city": "Oslo"},
            '{"city":  "Oslo"}',
        )
        assert (sql.name, sql.arguments_raw) == ("sql", "select 1")
        assert view.messages[3].parts == (ToolResultPart("call_a", "dry"),)

    def test_functions_of_old(self):
        view = codec.decode_request(CHAT_REQUESTS["functions of old"])
        assert view.tools[0].name == "weather"
        assert view.tool_choice == ToolChoice("tool", "weather")
        assert view.messages[1].tool_calls == (ToolCallPart("weather", {"city": "Oslo"}),)
        assert view.messages[2].parts == (ToolResultPart(None, "dry"),)

    def test_thoughts_of_compatible_servers(self):
        _, plain, detailed, blocks = codec.decode_request(CHAT_REQUESTS["thoughts"]).messages
        assert plain.parts[0] == ReasoningPart(text="Clouds are few.")
        assert detailed.parts[:4] == (
            ReasoningPart(text="Few clouds."),
            ReasoningPart(text="Few clouds.", signature="sig", immutable=True),
            ReasoningPart(text="Dry."),
            ReasoningPart(encrypted="ENC", redacted=True, immutable=True),
        )
        assert blocks.parts[:2] == (ReasoningPart(text="Hm.", signature="s", immutable=True), ReasoningPart(text="Hm."))

    def test_reasoning_and_formats(self):
        assert codec.decode_request(CHAT_REQUESTS["thoughts"]).reasoning == Reasoning(effort="low")
        gateway = codec.decode_request(CHAT_REQUESTS["gateway reasoning"])
        assert gateway.reasoning == Reasoning(effort="high", budget_tokens=900)
        form = codec.decode_request(CHAT_REQUESTS["structured"]).response_format
        assert form == ResponseFormat("json_schema", schema=SCHEMA, name="answer", strict=True)
        other = codec.decode_request(CHAT_REQUESTS["other formats"])
        assert (other.response_format, other.tool_choice) == (ResponseFormat("json"), ToolChoice("required"))

    def test_wrong_types_count_as_not_given(self):
        wrong = {
            "model": 5,
            "temperature": "hot",
            "n": True,
            "max_tokens": -1,
            "stop": 3,
            "stream": "yes",
            "metadata": 1,
        }
        view = codec.decode_request({"messages": [{"content": 7, "role": None, "tool_calls": "x"}], **wrong})
        assert view.replace(api="custom", messages=()) == LlmRequest()
        assert view.messages == (Message(""),)

    @pytest.mark.parametrize(
        "wrong", ["text", None, [], {}, {"messages": None}, {"messages": ["x"]}, {"messages": [], "tools": [1]}]
    )
    def test_what_is_no_request_is_refused(self, wrong):
        with pytest.raises(CodecError, match=r"must be|is a dict"):
            codec.decode_request(wrong)


class TestReadingResponses:
    def test_usage_is_in_buckets_that_add_up(self):
        usage = codec.decode_response(CHAT_RESPONSES["text"]).usage
        assert (usage.input_uncached, usage.input_cache_read, usage.output_text, usage.output_reasoning) == (
            36,
            64,
            10,
            20,
        )
        assert usage.total_tokens == usage.reported_total == 130
        assert usage.input_modalities == {"audio": 4}

    @pytest.mark.parametrize(
        ("usage", "expected"),
        [
            ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 5}, (4, 5, 4, None)),
            ({"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 5, "total_tokens": 13}, (4, 5, 4, None)),
            (  # reasoning beside the output
                {
                    "prompt_tokens": 9,
                    "completion_tokens": 4,
                    "total_tokens": 20,
                    "completion_tokens_details": {"reasoning_tokens": 7},
                },
                (9, None, 4, 7),
            ),
            # thoughts that only the total tells of
            ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 20}, (9, None, 11, None)),
            (  # cached input beside the input
                {
                    "prompt_tokens": 9,
                    "completion_tokens": 4,
                    "total_tokens": 18,
                    "prompt_tokens_details": {"cached_tokens": 5},
                },
                (9, 5, 4, None),
            ),
            ({"total_tokens": 5}, (5, None, None, None)),
        ],
    )
    def test_usage_of_compatible_servers(self, usage, expected):
        view = codec.decode_response({**answer({"content": "x"}), "usage": usage}).usage
        assert (view.input_uncached, view.input_cache_read, view.output_text, view.output_reasoning) == expected
        assert view.total_tokens == usage.get("total_tokens", view.total_tokens)
        assert view.raw == usage

    def test_usage_of_groq_streams_and_cost_of_gateways(self):
        groq = {**answer({"content": "x"}), "x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}}
        assert codec.decode_response(groq).usage.total_tokens == 3
        assert codec.decode_response(CHAT_RESPONSES["gateway"]).cost.amount == "0.00125"
        for wrong in (float("nan"), float("inf"), 10**400, "much", True, {"total": 1}):
            assert codec.decode_response({**answer({}), "usage": {"cost": wrong}}).cost is None

    def test_all_choices_and_why_they_ended(self):
        view = codec.decode_response(CHAT_RESPONSES["several"])
        assert [choice.index for choice in view.choices] == [0, 1, 2, 3]
        assert [choice.finish.reason for choice in view.choices] == ["tool_call", "content_filter", "length", "unknown"]
        assert view.tool_calls == (ToolCallPart("weather", {"city": "Oslo"}, "call_a"),)
        assert view.choices[1].parts == (RefusalPart("I will not."),)
        assert view.choices[3].parts == ()

    def test_words_of_compatible_servers(self):
        for word, reason in (("eos", "stop"), ("model_length", "length"), ("error", "error"), ("new", "unknown")):
            assert codec.decode_response(answer({}, finish_reason=word)).finish == Finish(reason, word)

    def test_what_was_spoken_is_text(self):
        view = codec.decode_response(CHAT_RESPONSES["spoken"])
        assert view.text == "It is dry."
        assert view.choices[0].parts[0] == AudioPart(data="QUJD", file_id="audio_1")

    def test_parts_of_gateways(self):
        parts = codec.decode_response(CHAT_RESPONSES["gateway"]).choices[0].parts
        assert [type(part).__name__ for part in parts] == [
            "ReasoningPart", "ReasoningPart", "TextPart", "ImagePart", "CitationPart",
        ]  # fmt: skip
        assert (parts[4].url, parts[4].title) == ("https://x.test", "X")

    def test_a_refused_request_has_an_error(self):
        view = codec.decode_response(CHAT_RESPONSES["refused"])
        assert view.choices == ()
        assert view.api_specific["error"]["message"] == "No such model."

    @pytest.mark.parametrize("wrong", ["text", None, {}, {"choices": None}, {"choices": [1]}, {"choices": "x"}])
    def test_what_is_no_response_is_refused(self, wrong):
        with pytest.raises(CodecError):
            codec.decode_response(wrong)

    def test_a_signed_tool_call_must_stay_whole(self):
        signed = {**CALL, "extra_content": {"google": {"thought_signature": "s"}}}
        native = answer({"tool_calls": [signed]})
        view = codec.decode_response(native)
        assert view.tool_calls[0].immutable
        with pytest.raises(CodecError, match="signed by the provider"):
            with_parts(native, lambda parts: [parts[0].replace(arguments={})])
        assert "tool_calls" not in with_parts(native, lambda parts: [TextPart("blocked")])["choices"][0]["message"]


class TestWritingRequests:
    def test_a_limit_keeps_its_name(self):
        assert encode(CHAT_REQUESTS["limits"], max_output_tokens=5)["max_tokens"] == 5
        assert encode(CHAT_REQUESTS["plain"], max_output_tokens=5)["max_completion_tokens"] == 5
        both = encode(CHAT_REQUESTS["two limits"], max_output_tokens=5)
        assert (both["max_tokens"], both["max_completion_tokens"]) == (30, 5)
        assert (
            not {"max_tokens", "max_completion_tokens"}
            & encode(CHAT_REQUESTS["two limits"], max_output_tokens=None).keys()
        )

    def test_arguments_are_written_as_they_were(self):
        native = CHAT_REQUESTS["object arguments"]
        view = codec.decode_request(native)
        call = view.messages[0].tool_calls[0].replace(arguments={"a": [1], "b": 2})
        written = encode(native, messages=[view.messages[0].replace(parts=[call])])
        assert written["messages"][0]["tool_calls"][0]["function"]["arguments"] == {"a": [1], "b": 2}
        native = CHAT_REQUESTS["tools"]
        view = codec.decode_request(native)
        sql = view.messages[2].parts[1].replace(arguments_raw="select 2", name="sql2")
        message = view.messages[2].replace(parts=[view.messages[2].parts[0], sql])
        written = encode(native, messages=[*view.messages[:2], message, *view.messages[3:]])
        calls = written["messages"][2]["tool_calls"]
        assert calls[1]["custom"] == {"name": "sql2", "input": "select 2"}
        assert calls[0] is native["messages"][2]["tool_calls"][0]

    def test_new_messages_have_the_form_of_the_api(self):
        messages = [
            Message.system("Be brief."),
            Message.user([TextPart("see"), ImagePart(url="u"), AudioPart(data="QQ==", mime="audio/wav")]),
            Message.assistant([ReasoningPart(text="hm"), TextPart("so"), ToolCallPart("f", {"a": 1}, "c1")]),
            Message("tool", [ToolResultPart("c1", "42")]),
        ]
        assert encode({"messages": []}, messages=messages)["messages"] == [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": "u"}},
                    {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
                ],
            },
            {
                "role": "assistant",
                "content": "so",
                "reasoning_content": "hm",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ]

    def test_moved_messages_keep_what_the_view_does_not_show(self):
        native = {"messages": [{**USER, "x": 1}, {"role": "assistant", "content": "b", "x": 2}]}
        first, second = codec.decode_request(native).messages
        written = encode(native, messages=[second.map_text(str.upper), first])
        assert written["messages"] == [{"role": "assistant", "content": "B", "x": 2}, {**USER, "x": 1}]

    def test_a_cache_breakpoint_makes_a_block_of_a_string(self):
        native = {"messages": [{"role": "system", "content": "long", "x": 1}]}
        (message,) = codec.decode_request(native).messages
        written = encode(native, messages=[message.replace(parts=[message.parts[0].replace(cache_breakpoint=True)])])
        block = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}
        assert written["messages"] == [{"role": "system", "content": [block], "x": 1}]

    def test_another_result_takes_the_place_of_the_first(self):
        native = CHAT_REQUESTS["tools"]
        view = codec.decode_request(native)
        message = view.messages[3].replace(parts=[ToolResultPart("call_a", "redacted")])
        written = encode(native, messages=[*view.messages[:3], message, view.messages[4]])["messages"][3]
        assert written == {"role": "tool", "tool_call_id": "call_a", "content": "redacted", "name": "weather"}

    def test_tools_go_where_tools_are(self):
        added = ToolDefinition("f", schema=SCHEMA)
        old = encode(CHAT_REQUESTS["functions of old"], tools=[added])
        assert old["functions"] == [{"name": "f", "parameters": SCHEMA}]
        assert "tools" not in old
        new = encode(CHAT_REQUESTS["plain"], tools=[added])
        assert new["tools"] == [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
        assert "functions" not in encode(CHAT_REQUESTS["functions of old"], tools=[])

    def test_a_changed_tool_keeps_what_the_view_does_not_show(self):
        native = CHAT_REQUESTS["tools"]
        first, *rest = codec.decode_request(native).tools
        written = encode(native, tools=[first.replace(description="d", strict=None), *rest])["tools"]
        assert written[0] == {"type": "function", "function": {**FUNCTION, "description": "d"}, "y": 2}
        assert written[1] is native["tools"][1]

    def test_choices_formats_and_reasoning(self):
        assert encode(CHAT_REQUESTS["tools"], tool_choice="none")["tool_choice"] == "none"
        assert encode(CHAT_REQUESTS["functions of old"], tool_choice="auto")["function_call"] == "auto"
        form = ResponseFormat("json_schema", schema={}, name="n")
        asked = encode(CHAT_REQUESTS["plain"], response_format=form)["response_format"]
        assert asked == {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
        view = codec.decode_request(CHAT_REQUESTS["structured"])
        changed = encode(CHAT_REQUESTS["structured"], response_format=view.response_format.replace(name="m"))
        assert changed["response_format"]["json_schema"]["description"] == "d"
        assert encode(CHAT_REQUESTS["thoughts"], reasoning=Reasoning(effort="high"))["reasoning_effort"] == "high"
        gateway = encode(CHAT_REQUESTS["gateway reasoning"], reasoning=Reasoning(effort="low", budget_tokens=1))
        assert gateway["reasoning"] == {"effort": "low", "max_tokens": 1, "exclude": False}

    def test_reasoning_may_be_dropped_whole(self):
        native = CHAT_REQUESTS["thoughts"]
        view = codec.decode_request(native)
        messages = [
            message.replace(parts=[part for part in message.parts if not isinstance(part, ReasoningPart)])
            for message in view.messages
        ]
        written = encode(native, messages=messages)["messages"]
        assert written[1] == {"role": "assistant", "content": "No."}
        assert written[2] == {"role": "assistant", "content": "No."}
        assert written[3] == {"role": "assistant", "content": [{"type": "text", "text": "Dry."}]}

    def test_the_original_is_never_changed(self):
        native = CHAT_REQUESTS["tools"]
        before = copy.deepcopy(native)
        encode(native, messages=[], tools=[], model="x", temperature=0.5, tool_choice=None)
        assert native == before

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"instructions": "Be brief."}, "instructions"),
            ({"operation": "rerank"}, "operation"),
            ({"reasoning": Reasoning(budget_tokens=5)}, "reasoning"),
            ({"messages": [Message.user([ToolResultPart("c", "x"), ToolResultPart("d", "y")])]}, "ToolResultPart"),
            ({"messages": [Message.user([NativePart("gemini", "x", {})])]}, "NativePart"),
            ({"messages": [Message.assistant([RefusalPart("a"), RefusalPart("b")])]}, "refusal"),
            ({"messages": [Message.assistant([ToolCallPart("f", server=True)])]}, r"messages\[0\]\.parts"),
            ({"messages": [Message.assistant([ToolCallPart("f", {}), TextPart("after")])]}, r"messages\[0\]\.parts"),
        ],
    )
    def test_what_has_no_place_is_refused_by_name(self, changes, message):
        with pytest.raises(CodecError, match=message):
            encode(CHAT_REQUESTS["plain"], **changes)


class TestWritingResponses:
    def test_text_takes_the_place_of_calls(self):
        native = CHAT_RESPONSES["several"]
        written = with_parts(native, lambda _: [TextPart("Blocked.")])
        assert written["choices"][0]["message"] == {"role": "assistant", "content": "Blocked."}
        assert written["choices"][1] is native["choices"][1]

    def test_a_call_can_be_taken_out_alone(self):
        native = answer({"content": None, "tool_calls": [CALL, {**CALL, "id": "call_b"}]})
        written = with_parts(native, lambda parts: parts[1:])["choices"][0]["message"]["tool_calls"]
        assert written == [{**CALL, "id": "call_b"}]

    def test_the_transcript_can_be_edited(self):
        native = CHAT_RESPONSES["spoken"]
        view = codec.decode_response(native).map_text(str.upper)
        message = codec.encode_response(view, native)["choices"][0]["message"]
        assert message["audio"] == {**native["choices"][0]["message"]["audio"], "transcript": "IT IS DRY."}

    def test_finish_choices_and_fields(self):
        native = CHAT_RESPONSES["text"]
        view = codec.decode_response(native)
        finish = Finish("content_filter", "content_filter")
        edited = view.replace(choices=[view.choices[0].replace(finish=finish), Choice(index=1, parts="No.")], model="n")
        written = codec.encode_response(edited, native)
        assert written["choices"][0]["finish_reason"] == "content_filter"
        assert written["choices"][1] == {
            "index": 1, "message": {"role": "assistant", "content": "No."}, "finish_reason": None,
        }  # fmt: skip
        assert written["model"] == "n"
        assert codec.encode_response(view.replace(choices=()), native)["choices"] == []

    def test_citations_come_and_go(self):
        native = answer({"content": "x", "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]})
        written = with_parts(native, lambda parts: [*parts, CitationPart(value={"type": "file", "file": {}})])
        assert len(written["choices"][0]["message"]["annotations"]) == 2

    def test_a_completion_of_old_is_one_text(self):
        native = CHAT_RESPONSES["text of old"]
        assert with_parts(native, lambda _: [TextPart("Wet.")])["choices"][0]["text"] == "Wet."
        with pytest.raises(CodecError, match="one text"):
            with_parts(native, lambda parts: [*parts, TextPart("more")])

    def test_usage_cannot_be_edited(self):
        native = CHAT_RESPONSES["text"]
        view = codec.decode_response(native)
        with pytest.raises(CodecError, match="usage"):
            codec.encode_response(view.replace(usage=view.usage.replace(output_text=1)), native)
