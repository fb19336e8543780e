"""The lens on Anthropic's Messages API: the laws, what a view shows, what an edit writes, streams, hostile input."""

from __future__ import annotations

import copy

import pytest

from relay_adapter_anthropic.codec import CODEC
from relay_core.codec_parts import sse_chunks
from relay_core.codecs import Codec
from relay_core.errors import CodecError
from relay_core.llm import (
    Choice,
    CitationPart,
    Conversation,
    FilePart,
    Finish,
    ImagePart,
    Message,
    NativePart,
    Reasoning,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolDefinition,
    ToolResultPart,
)
from relay_core.testing.lens import check_lens
from tests.adapters.anthropic.samples import (
    CONTENT,
    HEAD,
    REQUESTS,
    RESPONSES,
    STREAM,
    USAGE,
    USER,
    WEATHER,
    delta,
    start,
)
from tests.adapters.codec_laws import (
    HostileRequestsAndResponses,
    HostileStreams,
    RecordedRequests,
    assembled,
    key_paths,
    nested,
)


def request(name):
    return copy.deepcopy(REQUESTS[name])


def edited(name, function):
    native = request(name)
    return CODEC.encode_request(function(CODEC.decode_request(native)), native)


class TestTheLaws:
    def test_it_is_a_codec(self):
        assert isinstance(CODEC, Codec)
        assert (CODEC.name, CODEC.native_types) == ("anthropic_messages", (dict,))

    @pytest.mark.parametrize("name", REQUESTS)
    def test_requests(self, name):
        assert len(check_lens(CODEC, request(name))) >= 8

    @pytest.mark.parametrize("name", RESPONSES)
    def test_responses(self, name):
        check_lens(CODEC, copy.deepcopy(RESPONSES[name]), side="response")

    def test_the_message_of_a_stream(self):
        native, _ = assembled(CODEC, STREAM)
        assert len(check_lens(CODEC, native, side="response")) >= 3


class TestReading:
    def test_parameters(self):
        view = CODEC.decode_request(request("every parameter"))
        params = view.params
        assert (params.max_output_tokens, params.temperature, params.top_p, params.top_k) == (2000, 1, 0.9, 40)
        assert (params.stop, view.stream, view.metadata) == (("END", "STOP"), True, {"user_id": "u-1"})
        assert view.reasoning == Reasoning(mode="enabled", budget_tokens=1024, summary="summarized", effort="low")
        assert view.response_format == ResponseFormat("json_schema", {"type": "object"})
        assert view.conversation == Conversation(container="container_1")
        assert set(view.api_specific) == {"service_tier", "context_management"}
        assert (set(view.extra), view.system_prompt()) == ({"x_unknown"}, "Be brief.")

    def test_media_and_marks(self):
        view = CODEC.decode_request(request("blocks"))
        parts = view.messages[0].parts
        assert [type(part) for part in parts] == [
            *(TextPart, ImagePart, ImagePart, ImagePart, FilePart, FilePart),
            *(NativePart, NativePart, FilePart, NativePart),
        ]
        assert (parts[1].data, parts[1].mime, parts[2].url, parts[3].file_id) == (
            *("iVBO", "image/png", "https://example.org/a.png", "file_1"),
        )
        assert (parts[4].name, parts[5].text, parts[9].kind) == ("Paper", "Ann, 555-1234", "from_the_future")
        assert [part.cache_breakpoint for part in (*view.instructions, parts[2])] == [False, True, True]

    def test_thoughts_tools_and_results(self):
        view = CODEC.decode_request(request("tools"))
        thought, sealed, said, call, empty = view.messages[1].parts
        assert (thought.signature, thought.immutable, sealed.redacted, sealed.immutable) == ("c2ln", True, True, True)
        assert (said.immutable, call.id, call.arguments, empty.arguments) == (
            *(False, "t1", {"city": "Oslo", "days": [1, 2]}, {}),
        )
        first, second, third = view.messages[2].parts
        assert (first.call_id, first.parts, first.cache_breakpoint) == ("t1", (TextPart("rain"),), True)
        assert (second.is_error, len(second.parts), third.parts) == (True, 2, ())
        assert [tool.kind for tool in view.tools] == ["function", "function", "server", "native", "server"]
        assert (view.tools[0].schema, view.tools[1].strict) == (WEATHER["input_schema"], True)
        assert (view.tool_choice, view.parallel_tool_calls) == (ToolChoice("tool", "weather"), False)

    def test_what_the_provider_runs(self):
        parts = CODEC.decode_request(request("server tools")).messages[1].parts
        call, found, mcp, said, failed, compacted, signed, cited = parts
        assert (call.server, mcp.server, found.server, said.server) == (True, True, True, True)
        assert (found.parts[0].immutable, said.parts[0].text, failed.is_error) == (True, "nothing on Monday", True)
        assert (compacted.text, compacted.immutable, signed.immutable) == ("They spoke of the weather.", False, True)
        assert isinstance(cited.citations[0], CitationPart)
        assert (cited.citations[0].url, cited.citations[0].title) == ("https://a", "A")

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("tool_use", "tool_call"),
            ("pause_turn", "pause"),
            ("refusal", "refusal"),
            ("brand_new", "unknown"),
        ],
    )
    def test_reasons_to_stop(self, word, reason):
        view = CODEC.decode_response({"content": [], "stop_reason": word})
        assert view.finish == Finish(reason, word)

    def test_an_error_body(self):
        view = CODEC.decode_response(RESPONSES["error"])
        assert (view.finish, view.text, view.request_id) == (Finish("error", "overloaded_error"), "", "req_1")

    @pytest.mark.parametrize("native", [{}, {"messages": {}}, {"messages": ["hi"]}, {"messages": [{}]}, [], "x", None])
    def test_no_request(self, native):
        with pytest.raises(CodecError):
            CODEC.decode_request(native)

    @pytest.mark.parametrize("native", [{}, {"content": 1}, {"type": "error"}, {"completion": "x"}, [], None])
    def test_no_response(self, native):
        with pytest.raises(CodecError):
            CODEC.decode_response(native)


@pytest.mark.parametrize("kind", ["", "base63", None])
@pytest.mark.parametrize("block", ["image", "document"])
def test_a_source_of_another_kind_passes_as_it_is(block, kind):
    native = {"type": block, "source": {"type": kind, "": "x", "data": "y"}}
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [native]}]}
    [part] = CODEC.decode_request(body).messages[0].parts
    assert isinstance(part, NativePart)
    assert part.value == native


class TestUsage:
    def test_buckets_do_not_overlap(self):
        usage = CODEC.decode_response(RESPONSES["message"]).usage
        assert (usage.input_uncached, usage.input_cache_read) == (10, 300)
        assert (usage.input_cache_write, usage.input_cache_write_1h) == (20, 30)
        assert (usage.output_text, usage.output_reasoning) == (25, 15)
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (360, 40, 400)

    def test_a_compaction_counts_as_well(self):
        iterations = [
            {"type": "message", "input_tokens": 10, "output_tokens": 2},
            {"type": "compaction", "input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 5},
        ]
        counts = {"input_tokens": 10, "output_tokens": 2, "iterations": iterations}
        usage = CODEC.decode_response({"content": [], "usage": counts}).usage
        assert (usage.input_uncached, usage.input_cache_read, usage.output_text) == (110, 5, 22)

    def test_unknown_is_not_zero(self):
        usage = CODEC.decode_response(RESPONSES["new reason"]).usage
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (None, 1, None)


class TestWriting:
    def test_a_string_stays_a_string_and_becomes_a_list_only_for_a_second_part(self):
        native = edited("plain", lambda view: view.map_text(str.upper))
        assert native["messages"][0]["content"] == "WILL IT RAIN IN OSLO?"
        image = ImagePart(data="iVBO", mime="image/png")

        def add(view):
            message = view.messages[0]
            return view.replace(messages=[message.replace(parts=(*message.parts, image))])

        content = edited("plain", add)["messages"][0]["content"]
        assert content == [
            {"type": "text", "text": USER["content"]},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        ]

    def test_text_documents_are_reached_by_policies(self):
        native = edited("blocks", lambda view: view.map_text(lambda text: text.replace("555-1234", "[phone]")))
        assert native["messages"][0]["content"][5]["source"]["data"] == "Ann, [phone]"

    def test_signed_parts_can_be_dropped_whole(self):
        def drop(view):
            message = view.messages[1]
            kept = tuple(part for part in message.parts if not isinstance(part, ReasoningPart))
            return view.replace(messages=(view.messages[0], message.replace(parts=kept), *view.messages[2:]))

        native = edited("tools", drop)
        assert [block["type"] for block in native["messages"][1]["content"]] == ["text", "tool_use", "tool_use"]

    def test_a_new_message_with_every_part(self):
        parts = (
            TextPart("a", cache_breakpoint=True),
            FilePart(url="https://a/b.pdf"),
            FilePart(text="plain", mime="text/plain", name="N"),
            ToolResultPart("t9", (TextPart("42"),), is_error=False),
            ToolResultPart("t8"),
        )
        bare = ToolCallPart("weather", id="t8")

        def add(last):
            said = Message.assistant([ReasoningPart(text="hm"), ToolCallPart("weather", {"city": "Rome"}, "t9"), last])
            return lambda view: view.replace(messages=(*view.messages, said, Message.user(parts)))

        with pytest.raises(CodecError, match="'weather' needs arguments"):
            edited("plain", add(bare))
        messages = edited("plain", add(bare.replace(arguments={})))["messages"]
        assert messages[1]["content"][0] == {"type": "thinking", "thinking": "hm"}
        content = messages[2]["content"]
        assert content[0] == {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
        assert content[3] == {"type": "tool_result", "tool_use_id": "t9", "content": "42", "is_error": False}
        assert content[4] == {"type": "tool_result", "tool_use_id": "t8"}

    def test_instructions(self):
        text = edited("plain", lambda view: view.replace(instructions="Be kind."))
        assert text["system"] == "Be kind."
        native = edited("blocks", lambda view: view.replace(instructions=("First.", *view.instructions)))
        assert native["system"][0] == {"type": "text", "text": "First."}
        assert native["system"][1:] == REQUESTS["blocks"]["system"]
        assert "system" not in edited("every parameter", lambda view: view.replace(instructions=()))

    def test_tool_choice_and_parallel_calls(self):
        native = edited("plain", lambda view: view.replace(tool_choice="required", parallel_tool_calls=False))
        assert native["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
        native = edited("tools", lambda view: view.replace(tool_choice="auto", parallel_tool_calls=True))
        assert native["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": False}
        with pytest.raises(CodecError, match="set tool_choice as well"):
            edited("plain", lambda view: view.replace(parallel_tool_calls=False))
        gone = edited("tools", lambda view: view.replace(tool_choice=None, parallel_tool_calls=None))
        assert "tool_choice" not in gone

    def test_reasoning_format_and_the_rest(self):
        thinking = Reasoning(mode="enabled", budget_tokens=2048)
        form = ResponseFormat("json_schema", {"type": "object"})
        native = edited(
            "plain",
            lambda view: view.replace(
                reasoning=thinking, response_format=form, conversation=Conversation(container="c"), stop="X"
            ),
        )
        assert native["thinking"] == {"type": "enabled", "budget_tokens": 2048}
        assert native["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
        assert (native["container"], native["stop_sequences"]) == ("c", ["X"])
        less = edited("every parameter", lambda view: view.replace(reasoning=None, response_format=None, metadata=None))
        assert "thinking" not in less
        assert (less["output_config"], "metadata" in less) == ({}, False)
        specific = edited("plain", lambda view: view.replace(api_specific={"service_tier": "auto"}, extra={"x": [1]}))
        assert (specific["service_tier"], specific["x"]) == ("auto", [1])
        old_form = edited(
            "odd types", lambda view: view.replace(response_format=form.replace(schema={"type": "array"}))
        )
        assert old_form["output_format"]["schema"] == {"type": "array"}

    def test_tools(self):
        def change(view):
            first = view.tools[0].replace(description="New.")
            return view.replace(tools=(first, *view.tools[2:], ToolDefinition("bare")))

        with pytest.raises(CodecError, match="'bare' needs a schema"):
            edited("tools", change)
        tools = edited("tools", lambda view: view.replace(tools=change(view).tools[:-1]))["tools"]
        assert tools[0] == {**WEATHER, "description": "New.", "cache_control": {"type": "ephemeral"}}
        assert tools[1:] == REQUESTS["tools"]["tools"][2:]

    def test_moved_messages_keep_what_the_view_does_not_show(self):
        native = edited("blocks", lambda view: view.replace(messages=view.messages[::-1]))
        assert native["messages"] == REQUESTS["blocks"]["messages"][::-1]

    def test_a_response(self):
        native = copy.deepcopy(RESPONSES["message"])
        view = CODEC.decode_response(native)
        choice = view.choices[0]
        kept = tuple(part for part in choice.parts if not isinstance(part, ToolCallPart))
        changed = choice.replace(parts=kept, finish=Finish("stop", "end_turn")).map_text(str.upper)
        written = CODEC.encode_response(view.replace(choices=[changed], id="msg_2"), native)
        assert (written["id"], written["stop_reason"]) == ("msg_2", "end_turn")
        assert [block["type"] for block in written["content"]] == ["thinking", "text"]
        assert written["content"][1] == {**CONTENT[1], "text": "IT RAINS."}

    @pytest.mark.parametrize(
        "change",
        [
            lambda view: view.replace(messages=[Message("tool", [ToolResultPart("t", ("a",))])]),
            lambda view: view.replace(messages=[Message("user", "x", name="Ann")]),
            lambda view: view.replace(seed=1),
            lambda view: view.replace(operation="embeddings"),
            lambda view: view.replace(reasoning=Reasoning(budget_tokens=5)),
            lambda view: view.replace(response_format=ResponseFormat("json_schema", {}, name="n")),
            lambda view: view.replace(messages=[Message.user([ImagePart(url="data:image/png;base64,iVBO")])]),
            lambda view: view.replace(messages=[Message.user([NativePart("gemini", "x", {})])]),
            lambda view: view.replace(messages=[Message.user([FilePart(text="x")])]),
            lambda view: view.replace(extra={"temperature": 1}),
        ],
    )
    def test_refusals_say_where(self, change):
        with pytest.raises(CodecError, match=r"\w{3}"):
            edited("plain", change)

    def test_a_reason_to_finish_needs_the_providers_word(self):
        view = CODEC.decode_response(RESPONSES["message"])
        choice = view.choices[0]
        with pytest.raises(CodecError, match=r"Finish\('length', 'max_tokens'\)"):
            changed = choice.replace(finish=choice.finish.replace(reason="length"))
            CODEC.encode_response(view.replace(choices=[changed]), RESPONSES["message"])

    def test_usage_is_no_matter_of_edits(self):
        view = CODEC.decode_response(RESPONSES["message"])
        with pytest.raises(CodecError):
            CODEC.encode_response(view.replace(usage=view.usage.replace(input_uncached=1)), RESPONSES["message"])
        with pytest.raises(CodecError):
            CODEC.encode_response(view.replace(choices=[*view.choices, Choice()]), RESPONSES["message"])


class TestStreams:
    def test_the_whole_message(self):
        native, facts = assembled(CODEC, STREAM)
        expected = {key: value for key, value in RESPONSES["message"].items() if key != "x_unknown"}
        assert native == {**expected, "usage": {**USAGE, "output_tokens": 40}}
        assert (facts.events, facts.complete, facts.end_cause) == (len(STREAM), True, "complete")

    def test_the_chunks_stay_as_they_are(self):
        before = copy.deepcopy(STREAM)
        native, _ = assembled(CODEC, STREAM)
        native["usage"].clear()
        native["content"][2]["input"].clear()
        assert before == STREAM

    @pytest.mark.parametrize("length", range(len(STREAM)))
    def test_a_broken_off_stream_gives_what_came(self, length):
        native, facts = assembled(CODEC, STREAM[:length])
        assert (facts.complete, facts.end_cause) == (False, None)
        if length:
            check_lens(CODEC, native, side="response")

    def test_arguments_that_broke_off_stay_as_text(self):
        native, _ = assembled(CODEC, STREAM[:13])
        call = CODEC.decode_response(native).tool_calls[0]
        assert (call.arguments, call.arguments_raw) == (None, '{"city": ')

    def test_an_error_in_the_stream(self):
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}
        native, facts = assembled(CODEC, [*STREAM[:9], error])
        view = CODEC.decode_response(native)
        assert (view.text, view.finish) == ("It ", Finish("error", "overloaded_error"))
        assert (facts.complete, facts.end_cause) == (False, "error")
        assert assembled(CODEC, [error])[0] == error

    def test_lost_starts_and_unknown_deltas(self):
        native, _ = assembled(
            CODEC,
            [
                delta(4, type="text_delta", text="b"),
                delta(1, type="thinking_delta", thinking="a"),
                start(2, type="brand_new", told=""),
                delta(2, type="brand_new_delta", told="x"),
                delta(2, type="brand_new_delta", told="y", more=[1]),
                delta("2", type="text_delta", text="no"),
                "noise",
                None,
            ],
        )
        assert native["content"] == [
            {"type": "thinking", "thinking": "a", "signature": ""},
            {"type": "brand_new", "told": "xy", "more": [1]},
            {"type": "text", "text": "b"},
        ]

    def test_from_bytes(self):
        lines = ['event: ping\r\ndata: {"type": "ping"}\r\n\r\n', ": note\r\n\r\n"]
        lines += [f"data: {chunk}\n\n" for chunk in ('{"type":"message_start","message":{"content":[]}}', "broken")]
        lines += ['data: {"type":"content_block_delta","index":0,\ndata: "delta":{"type":"text_delta","text":"æ"}}\n\n']
        data = "".join(lines).encode()
        native, _ = assembled(CODEC, sse_chunks(data[i : i + 1] for i in range(len(data))))
        assert native["content"] == [{"type": "text", "text": "æ"}]

    def test_no_chunk_no_message(self):
        assert assembled(CODEC, [])[0] is None
        assert HEAD["message"]["content"] == []


class TestHostileInput(HostileRequestsAndResponses, HostileStreams):
    codec = CODEC
    requests = REQUESTS
    responses = RESPONSES
    stream = STREAM
    always_readable = True

    def test_deep_nesting(self):
        deep = nested()
        with pytest.raises(CodecError, match="too deeply"):
            CODEC.decode_request({"messages": [{"role": "user", "content": [deep]}]})
        with pytest.raises(CodecError, match="too deeply"):
            CODEC.decode_response({"content": [{"type": "x", "y": deep}]})
        assert assembled(CODEC, [{"type": "message_start", "message": {"x": deep}}])[1].events == 1


class TestRecordedTraffic(RecordedRequests):
    codec = CODEC
    formats = ("anthropic_messages",)

    def test_responses_and_streams_keep_the_laws_and_have_one_shape(self):
        plain, streams = self.plain(), self.streamed()
        assert (len(plain) >= 40, len(streams) >= 25) == (True, True)
        for native in (*plain, *streams):
            assert check_lens(CODEC, native, side="response")
            view = CODEC.decode_response(native)
            assert (len(view.choices), view.finish.reason != "unknown", view.usage.total_tokens > 0) == (1, True, True)
            raw = native["usage"]
            cached = (raw.get(f"cache_{kind}_input_tokens") or 0 for kind in ("read", "creation"))
            assert view.usage.total_tokens == raw["input_tokens"] + raw["output_tokens"] + sum(cached)
        own = {".usage.output_tokens_details", ".usage.output_tokens_details.thinking_tokens", ".stop_details"}
        shape = set().union(*map(key_paths, plain)) | own
        arguments = ".content[].input."
        assert {path for native in streams for path in key_paths(native) - shape if arguments not in path} == set()
