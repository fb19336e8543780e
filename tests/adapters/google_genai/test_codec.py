"""The lens on Gemini's generateContent: the laws, what a view shows, what an edit writes, streams, hostile input."""

from __future__ import annotations

import copy
import json

import pytest

from relay_adapter_google_genai import CODEC
from relay_core.codec_parts import sse_chunks
from relay_core.codecs import Codec
from relay_core.errors import CodecError
from relay_core.llm import (
    AudioPart,
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
    VideoPart,
)
from relay_core.testing.lens import check_lens
from tests.adapters.codec_laws import (
    HostileRequestsAndResponses,
    HostileStreams,
    RecordedRequests,
    assembled,
    key_paths,
    nested,
)
from tests.adapters.google_genai.samples import REQUESTS, RESPONSES, STREAM, USAGE, USER, WEATHER, chunk


def edited(name, function):
    native = copy.deepcopy(REQUESTS[name])
    return CODEC.encode_request(function(CODEC.decode_request(native)), native)


def rewritten(name, function):
    native = copy.deepcopy(RESPONSES[name])
    return CODEC.encode_response(function(CODEC.decode_response(native)), native)


class TestTheLaws:
    def test_it_is_a_codec(self):
        assert isinstance(CODEC, Codec)
        assert (CODEC.name, CODEC.native_types) == ("gemini_generate_content", (dict, list))

    @pytest.mark.parametrize("name", REQUESTS)
    def test_requests(self, name):
        assert len(check_lens(CODEC, copy.deepcopy(REQUESTS[name]))) >= 8

    @pytest.mark.parametrize("name", [name for name in RESPONSES if name != "list of chunks"])
    def test_responses(self, name):
        check_lens(CODEC, copy.deepcopy(RESPONSES[name]), side="response")

    def test_the_response_of_a_stream(self):
        assert len(check_lens(CODEC, assembled(CODEC, STREAM)[0], side="response")) >= 3


class TestReading:
    @pytest.mark.parametrize(
        ("name", "stop", "tokens", "tools"),
        [("every parameter", ("END",), 100, ["weather"]), ("snake case", ("END",), 100, ["weather", "clock"])],
    )
    def test_both_spellings(self, name, stop, tokens, tools):
        view = CODEC.decode_request(REQUESTS[name])
        assert (view.params.stop, view.params.max_output_tokens, view.params.top_p) == (stop, tokens, 0.9)
        assert [tool.name for tool in view.tools] == tools
        assert view.instructions[0] == TextPart("Be brief.")
        assert view.response_format.type == "json_schema"

    def test_parameters(self):
        view = CODEC.decode_request(REQUESTS["every parameter"])
        assert (view.params.top_k, view.params.seed, view.params.n) == (40.0, 7, 2)
        assert view.reasoning == Reasoning(budget_tokens=512, summary="auto")
        assert CODEC.decode_request(REQUESTS["snake case"]).reasoning == Reasoning(effort="low")
        assert view.tool_choice == ToolChoice("tool", "weather")
        assert view.conversation == Conversation(cached_content="cachedContents/1")
        assert view.api_specific["generationConfig"] == {"responseModalities": ["TEXT"]}
        assert (set(view.api_specific), set(view.extra)) == (
            {"generationConfig", "safetySettings", "labels"},
            {"xUnknown"},
        )

    def test_parts(self):
        view = CODEC.decode_request(REQUESTS["every part"])
        asked, said, told = view.messages
        assert [message.role for message in view.messages] == ["user", "assistant", "tool"]
        assert [type(part) for part in asked.parts] == [
            TextPart,
            VideoPart,
            AudioPart,
            FilePart,
            NativePart,
            NativePart,
        ]
        assert (asked.parts[1].url, asked.parts[2].name, asked.parts[4].kind) == ("gs://a/b", "sound", "brandNew")
        assert [part.immutable for part in said.parts[:6]] == [False, True, True, True, False, False]
        assert isinstance(said.parts[0], ReasoningPart)
        assert (said.parts[3].id, said.parts[4].arguments, said.parts[5].arguments) == ("f1", {"city": "Rome"}, None)
        assert [part.server for part in said.parts[6:]] == [True] * 5
        assert (said.parts[7].parts, said.parts[7].is_error, said.parts[8].is_error) == (
            (TextPart("1\n"),),
            False,
            True,
        )
        assert [(part.parts[0].text, part.is_error) for part in told.parts[:2]] == [
            ("rain", False),
            ("no such city", True),
        ]
        assert isinstance(told.parts[2].parts[0], NativePart)
        assert isinstance(told.parts[2].parts[1], ImagePart)
        assert told.parts[3].parts == ()

    def test_tools(self):
        tools = CODEC.decode_request(REQUESTS["groups of tools"]).tools
        assert [(tool.name, tool.kind) for tool in tools] == [
            ("googleSearch", "server"),
            ("weather", "function"),
            ("clock", "function"),
            ("codeExecution", "server"),
            ("other", "function"),
            ("computerUse", "native"),
        ]

    def test_a_response(self):
        view = CODEC.decode_response(RESPONSES["two candidates"])
        first, second = view.choices
        assert (view.id, view.model, view.service_tier, view.created) == ("r1", "gemini-x", "standard", 1767323045.5)
        assert (first.text, first.finish, second.finish) == (
            *("It rains.", Finish("stop", "STOP"), Finish("length", "MAX_TOKENS")),
        )
        cited = [part for part in first.parts if isinstance(part, CitationPart)]
        assert [(part.url, part.title) for part in cited] == [("https://a", None), ("https://b", "B")]

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            *(("STOP", "stop"), (1, "stop"), (2, "length"), ("SAFETY", "content_filter"), (3, "content_filter")),
            *(("MALFORMED_FUNCTION_CALL", "error"), ("OTHER", "unknown"), (99, "unknown")),
        ],
    )
    def test_reasons_to_stop(self, word, reason):
        view = CODEC.decode_response({"candidates": [{"finishReason": word}]})
        assert view.finish == Finish(reason, str(word))

    def test_no_answer_has_a_reason(self):
        assert CODEC.decode_response(RESPONSES["blocked"]).finish == Finish("content_filter", "SAFETY")
        assert CODEC.decode_response(RESPONSES["error"]).finish == Finish("error", "RESOURCE_EXHAUSTED")

    @pytest.mark.parametrize("native", [{}, [], [1], {"contents": "hi"}, {"contents": ["hi"]}, None, 1])
    def test_no_request_and_no_response(self, native):
        with pytest.raises(CodecError):
            CODEC.decode_request(native)
        with pytest.raises(CodecError):
            CODEC.decode_response(native)


class TestUsage:
    def test_buckets_do_not_overlap(self):
        usage = CODEC.decode_response(RESPONSES["two candidates"]).usage
        assert (usage.input_uncached, usage.input_cache_read) == (60, 60)
        assert (usage.output_text, usage.output_reasoning) == (30, 15)
        assert usage.total_tokens == usage.reported_total == 165
        assert usage.input_modalities == {"text": 90, "image": 10}
        assert usage.output_modalities == {"text": 30}

    def test_counts_that_are_left_out(self):
        blocked = CODEC.decode_response(RESPONSES["blocked"]).usage
        assert (blocked.input_tokens, blocked.output_tokens, blocked.total_tokens) == (4, 0, 4)
        unknown = CODEC.decode_response({"usageMetadata": {"promptTokenCount": 4}}).usage
        assert (unknown.input_tokens, unknown.output_tokens, unknown.total_tokens) == (4, None, None)


class TestWriting:
    def test_edits_follow_the_spelling(self):
        native = edited(
            "snake case",
            lambda view: view.replace(max_output_tokens=5, seed=3, instructions=["Be kind."]).replace(
                reasoning=Reasoning(effort="high", budget_tokens=1), tool_choice="none"
            ),
        )
        config = native["generation_config"]
        assert (config["max_output_tokens"], config["seed"]) == (5, 3)
        assert config["thinking_config"] == {"thinking_level": "HIGH", "thinkingBudget": 1}
        assert native["tool_config"] == {"function_calling_config": {"mode": "NONE"}}
        assert native["system_instruction"] == {"parts": [{"text": "Be kind."}]}
        assert set(native) == set(REQUESTS["snake case"])

    def test_names_of_the_caller_are_not_respelled(self):
        def change(view):
            call = view.messages[1].parts[0]
            turned = view.messages[1].replace(parts=[call.replace(arguments={"city_name": "Oslo", "cityName": "x"})])
            return view.replace(messages=(view.messages[0], turned, view.messages[2]))

        native = edited("snake case", change)
        assert native["contents"][1]["parts"][0]["function_call"]["args"] == {"city_name": "Oslo", "cityName": "x"}

    def test_results_of_functions_are_reached_by_policies(self):
        native = edited("every part", lambda view: view.map_text(str.upper))
        parts = native["contents"][2]["parts"]
        assert parts[0]["functionResponse"]["response"] == {"output": "RAIN"}
        assert native["contents"][1]["parts"][1]["text"] == "Signed."
        assert native["contents"][1]["parts"][7]["codeExecutionResult"]["output"] == "1\n"

    def test_other_results(self):
        def change(view):
            message = view.messages[2]
            first, _, third, fourth = message.parts
            image = ImagePart(data="iVBO", mime="image/png")
            kept = third.replace(parts=third.parts[:1])
            turned = message.replace(parts=(first.replace(parts=("dry", image)), kept, fourth.replace(parts=("x",))))
            return view.replace(messages=(*view.messages[:2], turned))

        parts = edited("every part", change)["contents"][2]["parts"]
        assert parts[0]["functionResponse"]["response"] == {"output": "dry"}
        assert parts[0]["functionResponse"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "iVBO"}}]
        assert parts[1] == {"functionResponse": {"name": "clock", "response": {"hour": 1, "minute": 2}}}
        assert parts[2]["functionResponse"] == {"name": "clock", "response": {"result": "x"}}

    def test_a_new_message_with_every_part(self):
        parts = (
            TextPart("a"),
            ImagePart(data="iVBO", mime="image/png"),
            VideoPart(url="gs://a/b", mime="video/mp4"),
            ToolResultPart("1", (TextPart("42"), ImagePart(data="iVBO", mime="image/png")), name="f", is_error=True),
        )
        said = (ReasoningPart(text="hm"), ToolCallPart("f", {"a": 1}, "1"), TextPart("b"))
        native = edited(
            "plain",
            lambda view: view.replace(messages=(*view.messages, Message.assistant(said), Message("tool", parts))),
        )
        assert native["contents"][1] == {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}},
                {"text": "b"},
            ],
        }
        assert native["contents"][2]["role"] == "function"
        answer = native["contents"][2]["parts"][3]["functionResponse"]
        assert (answer["response"], len(answer["parts"])) == ({"error": "42"}, 1)

    def test_tools_join_the_group_of_their_neighbours(self):
        added = ToolDefinition("new", "N", {"type": "object"})
        declared = {"name": "new", "description": "N", "parametersJsonSchema": {"type": "object"}}
        first = edited("groups of tools", lambda view: view.replace(tools=(added, *view.tools)))["tools"]
        assert first[0] == {"functionDeclarations": [declared]}
        between = edited("groups of tools", lambda view: view.replace(tools=(*view.tools[:2], added, *view.tools[2:])))
        assert [item["name"] for item in between["tools"][1]["functionDeclarations"]] == ["weather", "new", "clock"]
        alone = edited("plain", lambda view: view.replace(tools=[added, added.replace(name="more")]))
        assert [item["name"] for item in alone["tools"][0]["functionDeclarations"]] == ["new", "more"]

    def test_groups_that_nothing_is_left_of_go(self):
        kept = {"googleSearch", "other"}
        native = edited(
            "groups of tools", lambda view: view.replace(tools=[tool for tool in view.tools if tool.name in kept])
        )
        tools = REQUESTS["groups of tools"]["tools"]
        assert native["tools"] == [tools[0], {"functionDeclarations": tools[2]["functionDeclarations"]}]
        none = edited("groups of tools", lambda view: view.replace(tools=[], tool_choice=None))
        assert ("tools" in none, none["toolConfig"]) == (False, {"retrievalConfig": {}})

    def test_an_edited_tool_keeps_the_key_of_its_schema(self):
        def change(view):
            tool = view.tools[1].replace(name="forecast", schema={"type": "OBJECT"})
            search = view.tools[0].replace(native={"googleSearch": {"x": 1}})
            return view.replace(tools=(search, tool, *view.tools[2:]))

        tools = edited("groups of tools", change)["tools"]
        assert tools[0] == {"googleSearch": {"x": 1}}
        assert tools[1]["functionDeclarations"][0] == {**WEATHER, "name": "forecast", "parameters": {"type": "OBJECT"}}

    def test_configuration(self):
        form = ResponseFormat("json_schema", {"type": "object"})
        native = edited(
            "plain",
            lambda view: view.replace(
                response_format=form,
                reasoning=Reasoning(budget_tokens=0, summary="none"),
                tool_choice=ToolChoice("tool", "f"),
                conversation=Conversation(cached_content="c"),
                api_specific={"generationConfig": {"logprobs": 2}},
                stop=["X"],
                instructions="Be brief.",
            ),
        )
        assert native["generationConfig"] == {
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"thinkingBudget": 0, "includeThoughts": False},
            "logprobs": 2,
            "stopSequences": ["X"],
        }
        assert native["toolConfig"]["functionCallingConfig"] == {"mode": "ANY", "allowedFunctionNames": ["f"]}
        assert (native["cachedContent"], native["systemInstruction"]) == ("c", {"parts": [{"text": "Be brief."}]})

        def strip(view):
            return view.replace(
                response_format=None, reasoning=None, tool_choice=None, conversation=None, instructions=()
            )

        less = edited("every parameter", strip)
        assert less["generationConfig"]["thinkingConfig"] == {"x": 1}
        assert not {"responseMimeType", "responseSchema"} & less["generationConfig"].keys()
        assert not {"toolConfig", "cachedContent", "systemInstruction"} & less.keys()

    def test_a_tool_choice_leaves_what_stands_beside_it(self):
        beside = {"streamFunctionCallArguments": True}
        native = {"contents": [USER], "toolConfig": {"functionCallingConfig": {"mode": "AUTO", **beside}}}
        view = CODEC.decode_request(native)
        assert view.tool_choice == ToolChoice("auto")
        gone = CODEC.encode_request(view.replace(tool_choice=None), native)
        assert gone["toolConfig"] == {"functionCallingConfig": beside}
        named = CODEC.encode_request(view.replace(tool_choice=ToolChoice("tool", "f")), native)
        assert named["toolConfig"]["functionCallingConfig"] == {"mode": "ANY", **beside, "allowedFunctionNames": ["f"]}

    @pytest.mark.parametrize(
        "change",
        [
            lambda view: view.replace(model="other"),
            lambda view: view.replace(messages=[Message.system("x")]),
            lambda view: view.replace(messages=[Message.user([NativePart("anthropic_messages", "x", {})])]),
            lambda view: view.replace(messages=[Message.user([ImagePart(file_id="f")])]),
            lambda view: view.replace(messages=[Message.user([TextPart("x", cache_breakpoint=True)])]),
            lambda view: view.replace(messages=[Message("tool", [ToolResultPart("1", ("a", "b"), name="f")])]),
            lambda view: view.replace(messages=[Message("user", "x", name="Ann")]),
            lambda view: view.replace(parallel_tool_calls=True),
            lambda view: view.replace(stream=True),
        ],
    )
    def test_refusals_say_where(self, change):
        with pytest.raises(CodecError, match=r"\w{3}"):
            edited("plain", change)

    def test_a_response(self):
        def change(view):
            first, second = view.choices
            first = first.replace(parts=("Note:", *first.parts[1:]), finish=Finish("content_filter", "SAFETY"))
            return view.replace(choices=(first, second.map_text(str.upper)), id="r2")

        native = rewritten("two candidates", change)
        first, second = native["candidates"]
        assert [part.get("text") for part in first["content"]["parts"]] == ["Note:", "It rains.", None]
        assert (first["finishReason"], second["content"]["parts"], native["responseId"]) == (
            *("SAFETY", [{"text": "IT"}], "r2"),
        )

    def test_citations_can_be_dropped_one_by_one(self):
        def change(view):
            first = view.choices[0]
            return view.replace(choices=(first.replace(parts=first.parts[:-1]), view.choices[1]))

        first = rewritten("two candidates", change)["candidates"][0]
        assert (first["groundingMetadata"]["groundingChunks"], len(first["citationMetadata"]["citationSources"])) == (
            [],
            1,
        )

    def test_a_list_of_chunks(self):
        view = CODEC.decode_response(RESPONSES["list of chunks"])
        assert (view.text, view.finish, view.usage.total_tokens) == ("It rains.", Finish("stop", "STOP"), 165)
        native = rewritten("list of chunks", lambda view: view.map_text(str.upper))
        assert [item["candidates"][0]["content"]["parts"][0]["text"] for item in native] == ["IT ", "RAINS."]

    def test_a_blocked_prompt_has_no_answer_to_write_to(self):
        with pytest.raises(CodecError, match="no place"):
            rewritten("blocked", lambda view: view.replace(choices=[view.choices[0].replace(parts=("x",))]))


class TestStreams:
    def test_the_whole_response(self):
        native, facts = assembled(CODEC, STREAM)
        parts = native["candidates"][0]["content"]["parts"]
        assert parts == [
            {"text": "Hm.", "thought": True},
            {"text": "It rains."},
            {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "weather", "args": {"city": "Rome"}}},
            {"text": "Done."},
            {"text": "", "thoughtSignature": "c2ln"},
        ]
        assert (native["usageMetadata"], facts.complete, facts.end_cause) == (USAGE, True, "complete")

    def test_candidates_are_kept_apart(self):
        chunks = [
            {"candidates": [{"index": index, "content": {"parts": [{"text": text}]}, **end}]}
            for index, text, end in [(1, "b", {}), (0, "a", {}), (1, "B", {"finishReason": "STOP"})]
        ]
        native, facts = assembled(CODEC, chunks)
        view = CODEC.decode_response(native)
        assert ([choice.text for choice in view.choices], facts.complete) == (["a", "bB"], False)

    def test_later_sources_come_on_top(self):
        sources = [{"uri": "https://a"}, {"uri": "https://b"}]
        native, _ = assembled(CODEC, [chunk(citationMetadata={"citationSources": [source]}) for source in sources])
        assert native["candidates"][0]["citationMetadata"]["citationSources"] == sources

    def test_arguments_in_pieces(self):
        city = [{"jsonPath": "$.to['the city']", "stringValue": text, "willContinue": True} for text in ("Os", "lo")]
        calls = [
            {"name": "weather", "id": "1", "willContinue": True},
            {"partialArgs": city[:1], "willContinue": True},
            {"partialArgs": [city[1], {"jsonPath": "$.days[0]", "numberValue": 2}], "willContinue": True},
            {"partialArgs": [{"jsonPath": "$.days[9]", "numberValue": 3}, {"jsonPath": "$.days.x", "boolValue": True}]},
            {"name": "clock", "args": {}},
        ]
        native, _ = assembled(CODEC, [chunk({"functionCall": call}) for call in calls])
        first, second = CODEC.decode_response(native).tool_calls
        assert (first.id, first.arguments) == ("1", {"to": {"the city": "Oslo"}, "days": [2]})
        assert (second.name, second.arguments) == ("clock", {})
        check_lens(CODEC, native, side="response")

    @pytest.mark.parametrize("length", range(len(STREAM)))
    def test_a_broken_off_stream_gives_what_came(self, length):
        native, facts = assembled(CODEC, STREAM[:length])
        assert facts.complete is False
        if length:
            check_lens(CODEC, native, side="response")

    def test_errors_and_blocks(self):
        _, facts = assembled(CODEC, [STREAM[0], RESPONSES["error"]])
        assert (facts.complete, facts.end_cause) == (False, "error")
        assert assembled(CODEC, [RESPONSES["blocked"]])[1].complete is True

    def test_bytes_and_lists(self):
        data = b"".join(b"data: " + json.dumps(item).encode() + b"\r\n\r\n" for item in STREAM)
        whole = assembled(CODEC, STREAM)[0]
        assert assembled(CODEC, sse_chunks([data]))[0] == whole
        assert assembled(CODEC, [STREAM])[0] == whole
        assert assembled(CODEC, [])[0] is None


class TestHostileInput(HostileRequestsAndResponses, HostileStreams):
    codec = CODEC
    requests = REQUESTS
    responses = RESPONSES
    stream = STREAM
    one_event_a_chunk = False  # a list of chunks is several

    def test_deep_nesting(self):
        deep = nested()
        with pytest.raises(CodecError, match="too deeply"):
            CODEC.decode_request({"contents": [{"parts": [{"x": deep}]}]})
        assert assembled(CODEC, [{"candidates": deep}])[1].events == 1
        assert USER["role"] == "user"


class TestRecordedTraffic(RecordedRequests):
    codec = CODEC
    formats = ("gemini_generate_content",)

    def test_responses_and_streams_keep_the_laws_and_have_one_shape(self):
        plain, streams = self.plain(), self.streamed()
        assert (len(plain) >= 40, len(streams) >= 9) == (True, True)
        for native in (*plain, *streams):
            check_lens(CODEC, native, side="response")
            view = CODEC.decode_response(native)
            assert view.choices
            if view.usage.reported_total is not None:
                assert view.usage.input_tokens + view.usage.output_tokens == view.usage.reported_total
        shape = set().union(*map(key_paths, plain))
        assert {path for native in streams for path in key_paths(native) - shape if ".args." not in path} == set()
