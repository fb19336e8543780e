"""The lens on Bedrock's Converse API: the laws, what a view shows, what an edit writes, hostile input."""

from __future__ import annotations

import copy

import pytest

from relay_adapter_bedrock import CODEC
from relay_core.codecs import Codec
from relay_core.errors import CodecError
from relay_core.llm import (
    AudioPart,
    FilePart,
    Finish,
    ImagePart,
    Message,
    NativePart,
    Reasoning,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolDefinition,
    ToolResultPart,
    VideoPart,
)
from relay_core.testing.lens import check_lens
from tests.adapters.bedrock.samples import REQUESTS, RESPONSES, SCHEMA, WEATHER, converse_records
from tests.adapters.codec_laws import HostileRequestsAndResponses, RecordedRequests, nested


def edited(name, function):
    native = copy.deepcopy(REQUESTS[name])
    return CODEC.encode_request(function(CODEC.decode_request(native)), native)


class TestTheLaws:
    def test_it_is_a_codec(self):
        assert isinstance(CODEC, Codec)
        assert (CODEC.name, CODEC.native_types) == ("bedrock_converse", (dict,))

    @pytest.mark.parametrize("name", REQUESTS)
    def test_requests(self, name):
        assert len(check_lens(CODEC, copy.deepcopy(REQUESTS[name]))) >= 8

    @pytest.mark.parametrize("name", RESPONSES)
    def test_responses(self, name):
        check_lens(CODEC, copy.deepcopy(RESPONSES[name]), side="response")


class TestReading:
    def test_parameters(self):
        view = CODEC.decode_request(REQUESTS["every parameter"])
        params = view.params
        assert (view.model, params.max_output_tokens, params.temperature, params.top_p, params.stop) == (
            *("a.model", 100, 0.5, 0.9, ("END",)),
        )
        assert (view.reasoning, view.tool_choice) == (
            Reasoning(mode="enabled", budget_tokens=1024),
            ToolChoice("tool", "weather"),
        )
        assert [getattr(part, "text", None) for part in view.instructions] == ["Be brief.", "Guarded.", None]
        assert view.instructions[2].cache_breakpoint
        assert view.api_specific["additionalModelRequestFields"] == {"top_k": 5}
        assert view.api_specific["inferenceConfig"] == {"x": 1}
        assert (view.metadata, set(view.extra)) == ({"team": "a"}, {"xUnknown"})

    def test_nova(self):
        view = CODEC.decode_request(REQUESTS["Nova's own body"])
        assert (view.params.top_k, view.reasoning) == (20, Reasoning(mode="enabled", effort="low"))

    def test_blocks(self):
        asked, said, told = CODEC.decode_request(REQUESTS["every block"]).messages
        assert [type(part) for part in asked.parts] == [
            *(TextPart, ImagePart, FilePart, FilePart, NativePart, VideoPart, AudioPart),
            *(TextPart, NativePart, NativePart, NativePart),
        ]
        assert [getattr(part, "mime", None) for part in asked.parts[1:7]] == [
            *("image/png", "application/pdf", "text/plain", None, "video/quicktime", "audio/mpeg"),
        ]
        assert (asked.parts[5].url, asked.parts[7].text, asked.parts[8].cache_breakpoint) == (
            *("s3://a/b", "Is it so?", True),
        )
        signed, unsigned, sealed, call, server, cited = said.parts
        assert (signed.immutable, unsigned.immutable, sealed.redacted, sealed.immutable) == (True, False, True, True)
        assert (call.arguments, server.server, cited.text) == ({"city": "Oslo"}, True, "It rains.")
        assert (cited.citations[0].url, cited.citations[0].title) == ("https://a", "D")
        assert (told.parts[0].is_error, told.parts[0].parts[1].value, told.parts[1].server) == (
            *(True, {"json": {"mm": 3}}, True),
        )

    def test_bytes_as_boto3_has_them(self):
        native = {
            "messages": [{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": b"\x89P"}}}]}]
        }
        view = CODEC.decode_request(native)
        assert view.messages[0].parts[0].data == "iVA="
        written = CODEC.encode_request(view.replace(messages=(Message.user("a"), *view.messages)), native)
        assert written["messages"][1] is native["messages"][0]

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            *(("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_call")),
            *(("guardrail_intervened", "content_filter"), ("content_filtered", "content_filter")),
            *(("malformed_tool_use", "error"), ("brand_new", "unknown")),
        ],
    )
    def test_reasons_to_stop(self, word, reason):
        assert CODEC.decode_response({"stopReason": word}).finish == Finish(reason, word)

    def test_a_response(self):
        view = CODEC.decode_response(RESPONSES["message"])
        assert (view.text, view.timing.duration, view.service_tier) == ("It rains.", 1.5, "default")
        assert CODEC.decode_response(RESPONSES["from boto3"]).request_id == "r1"
        assert CODEC.decode_response(RESPONSES["error"]).finish == Finish("error", "throttlingException")

    @pytest.mark.parametrize("native", [{}, {"messages": "hi"}, {"messages": [1]}, {"inputText": "x"}, [], None])
    def test_no_request_and_no_response(self, native):
        with pytest.raises(CodecError):
            CODEC.decode_request(native)
        with pytest.raises(CodecError):
            CODEC.decode_response(native)


class TestUsage:
    def test_buckets_do_not_overlap(self):
        usage = CODEC.decode_response(RESPONSES["message"]).usage
        assert (usage.input_uncached, usage.input_cache_read) == (10, 300)
        assert (usage.input_cache_write, usage.input_cache_write_1h) == (20, 30)
        assert usage.total_tokens == usage.reported_total == 400

    def test_a_model_whose_input_includes_cached_tokens(self):
        counts = {"inputTokens": 100, "outputTokens": 5, "cacheReadInputTokens": 60, "totalTokens": 105}
        usage = CODEC.decode_response({"stopReason": "end_turn", "usage": counts}).usage
        assert (usage.input_uncached, usage.input_cache_read, usage.total_tokens) == (40, 60, 105)


class TestWriting:
    def test_text_is_reached_wherever_it_stands(self):
        native = edited("every block", lambda view: view.map_text(str.upper))
        content = native["messages"][0]["content"]
        assert content[0] == {"text": "LOOK:", "xUnknown": 1}
        assert content[3]["document"]["source"] == {"text": "ANN, 555-1234"}
        assert content[7]["guardContent"]["text"] == {"text": "IS IT SO?", "qualifiers": ["query"]}
        assert native["messages"][1]["content"][5]["citationsContent"]["content"] == [{"text": "IT RAINS."}]
        assert native["messages"][2]["content"][0]["toolResult"]["content"][0] == {"text": "RAIN"}

    def test_a_new_message_with_every_part(self):
        parts = (
            TextPart("a"),
            ImagePart(data="iVBO", mime="image/png"),
            FilePart(text="plain", mime="text/plain", name="N"),
            VideoPart(url="s3://a/b", mime="video/mp4"),
            ToolResultPart("1", ("42",), is_error=False),
        )
        said = (ReasoningPart(text="hm"), ToolCallPart("weather", {"city": "Rome"}, "1"))
        native = edited(
            "plain", lambda view: view.replace(messages=(*view.messages, Message.assistant(said), Message.user(parts)))
        )
        assert native["messages"][1]["content"][0] == {"reasoningContent": {"reasoningText": {"text": "hm"}}}
        assert native["messages"][2]["content"][2:] == [
            {"document": {"format": "txt", "name": "N", "source": {"text": "plain"}}},
            {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://a/b"}}}},
            {"toolResult": {"toolUseId": "1", "status": "success", "content": [{"text": "42"}]}},
        ]

    def test_results_and_citations(self):
        def change(view):
            said, told = view.messages[1], view.messages[2]
            cited = said.parts[5].replace(citations=())
            result = told.parts[0].replace(parts=("dry",), is_error=False, call_id="t9")
            turned = (said.replace(parts=(*said.parts[:5], cited)), told.replace(parts=(result, told.parts[1])))
            return view.replace(messages=(view.messages[0], *turned))

        native = edited("every block", change)
        assert native["messages"][1]["content"][5]["citationsContent"]["citations"] == []
        result = native["messages"][2]["content"][0]["toolResult"]
        assert result == {"toolUseId": "t9", "content": [{"text": "dry"}], "status": "success"}

    def test_tools_and_their_choice(self):
        added = ToolDefinition("new", schema={"type": "object"})
        native = edited("plain", lambda view: view.replace(tools=[added], tool_choice="required"))
        spec = {"name": "new", "inputSchema": {"json": {"type": "object"}}}
        assert native["toolConfig"] == {"tools": [{"toolSpec": spec}], "toolChoice": {"any": {}}}
        assert "toolConfig" not in edited("every block", lambda view: view.replace(tools=()))
        assert "toolConfig" not in edited("every parameter", lambda view: view.replace(tools=(), tool_choice=None))
        kept = edited("odd types", lambda view: view.replace(tools=(), tool_choice="auto"))
        assert kept["toolConfig"] == {"toolChoice": {"auto": {}}}
        renamed = edited("every parameter", lambda view: view.replace(tools=[view.tools[0].replace(description="D")]))
        assert renamed["toolConfig"]["tools"] == [{"toolSpec": {**WEATHER["toolSpec"], "description": "D"}}]
        assert REQUESTS["every parameter"]["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"] == SCHEMA

    def test_reasoning_and_the_rest(self):
        native = edited(
            "plain",
            lambda view: view.replace(
                reasoning=Reasoning(mode="enabled", budget_tokens=1024),
                metadata={"a": "b"},
                api_specific={"additionalModelRequestFields": {"top_k": 5}, "inferenceConfig": {"x": 1}},
                instructions="Be kind.",
                temperature=0.5,
            ),
        )
        assert native["additionalModelRequestFields"] == {
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "top_k": 5,
        }
        assert native["inferenceConfig"] == {"temperature": 0.5, "x": 1}
        assert (native["requestMetadata"], native["system"]) == ({"a": "b"}, [{"text": "Be kind."}])
        less = edited("every parameter", lambda view: view.replace(reasoning=None, instructions=(), model="b.model"))
        assert (less["additionalModelRequestFields"], "system" in less, less["modelId"]) == (
            {"top_k": 5},
            False,
            "b.model",
        )
        nova = edited(
            "Nova's own body", lambda view: view.replace(reasoning=view.reasoning.replace(effort="high"), top_k=5)
        )
        assert nova["additionalModelRequestFields"]["reasoningConfig"]["maxReasoningEffort"] == "high"
        assert nova["inferenceConfig"]["topK"] == 5

    @pytest.mark.parametrize(
        "change",
        [
            lambda view: view.replace(model="other"),
            lambda view: view.replace(top_k=5),
            lambda view: view.replace(seed=5),
            lambda view: view.replace(tool_choice="none"),
            lambda view: view.replace(messages=[Message.system("x")]),
            lambda view: view.replace(messages=[Message("tool", [ToolResultPart("1", ("a",))])]),
            lambda view: view.replace(messages=[Message.user([TextPart("x", cache_breakpoint=True)])]),
            lambda view: view.replace(messages=[Message.user([ImagePart(url="https://a")])]),
            lambda view: view.replace(messages=[Message.assistant([ToolCallPart("f", id="1")])]),
            lambda view: view.replace(tools=[ToolDefinition("bare")]),
        ],
    )
    def test_refusals_say_where(self, change):
        with pytest.raises(CodecError, match=r"\w{3}"):
            edited("plain", change)

    def test_a_response(self):
        native = copy.deepcopy(RESPONSES["message"])
        view = CODEC.decode_response(native)
        choice = view.choices[0]
        changed = choice.replace(parts=choice.parts[:2], finish=Finish("stop", "end_turn")).map_text(str.upper)
        written = CODEC.encode_response(view.replace(choices=[changed]), native)
        assert written["output"]["message"]["content"][1:] == [{"text": "IT RAINS."}]
        assert (written["stopReason"], written["usage"] is native["usage"]) == ("end_turn", True)


class TestHostileInput(HostileRequestsAndResponses):
    codec = CODEC
    requests = REQUESTS
    responses = RESPONSES

    def test_deep_nesting(self):
        with pytest.raises(CodecError, match="too deeply"):
            CODEC.decode_request({"messages": [{"role": "user", "content": [{"x": nested()}]}]})


class TestRecordedTraffic(RecordedRequests):
    codec = CODEC

    def records(self):
        return converse_records()

    def test_responses_keep_the_laws(self):
        natives = self.plain()
        assert len(natives) >= 10
        for native in natives:
            assert check_lens(CODEC, native, side="response")
            usage = CODEC.decode_response(native).usage
            assert usage.reported_total in (None, usage.total_tokens)
