"""Streams of chat completions and of the Responses API, from chunks and from bytes."""

from __future__ import annotations

import json
import time

import pytest

from relay_adapter_openai.codecs import ChatAssembler, ChatCodec, ResponsesAssembler, ResponsesCodec
from relay_core.llm import Finish, ReasoningPart, RefusalPart, StreamInfo
from relay_core.testing.lens import check_lens
from tests.adapters.openai.samples import MESSAGE, RESPONSES_RESPONSES, chunk, sse


def assembled(*chunks, kind=ChatAssembler):
    assembler = kind()
    for each in chunks:
        assembler.feed(each)
    return assembler


def message(*deltas):
    return assembled(*(chunk(delta) for delta in deltas)).result()["choices"][0]["message"]


def call(index=None, call_id=None, name=None, arguments=None, **fields):
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    known = {key: value for key, value in (("index", index), ("id", call_id)) if value is not None}
    return {"tool_calls": [{**known, "function": function, **fields}]}


USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
TEXT = [
    chunk({"role": "assistant", "content": "", "refusal": None}, system_fingerprint="fp", obfuscation="xx"),
    chunk({"content": "It is "}),
    chunk({"content": "dry."}),
    chunk({}, finish="stop"),
]
WHOLE = {
    "id": "c",
    "object": "chat.completion",
    "created": 5,
    "model": "m",
    "system_fingerprint": "fp",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "It is dry.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
}


class TestChat:
    def test_a_stream_gives_what_one_answer_would_have_been(self):
        assembler = assembled(*TEXT)
        assert assembler.result() == WHOLE
        assert assembler.facts == StreamInfo(events=4, complete=True, end_cause="complete")
        check_lens(ChatCodec(), assembler.result(), side="response")

    @pytest.mark.parametrize("size", [1, 7, 10_000])
    def test_bytes_give_the_same_however_they_are_cut(self, size):
        data = b": ping\n\n" + sse(*TEXT).replace(b"\n", b"\r\n")
        pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
        assembler = assembled(*pieces)
        assert (assembler.result(), assembler.facts.complete, assembler.done) == (WHOLE, True, True)
        assert assembled(data.decode()).result() == WHOLE

    def test_the_last_event_may_lack_its_end(self):
        data = sse(*TEXT, done=False).rstrip(b"\n")
        assembler = assembled(data[:-3])
        assert assembler.result()["choices"][0]["finish_reason"] is None
        assembler.feed(data[-3:])
        assert assembler.result() == WHOLE
        assembler.feed(b"\n\ndata: [DONE]")
        assert assembler.result() == WHOLE

    def test_nothing_came(self):
        assert ChatAssembler().result() is None
        assert assembled(b": ping\n\n").result() is None

    def test_a_truncated_stream_gives_what_came(self):
        assembler = assembled(*TEXT[:2])
        assert assembler.result()["choices"][0]["message"]["content"] == "It is "
        assert assembler.facts == StreamInfo(events=2)
        assert ChatCodec().decode_response(assembler.result()).finish is None

    def test_a_result_shares_nothing_with_what_comes_after(self):
        assembler = assembled(*TEXT[:2])
        before = assembler.result()
        before["choices"].clear()
        assembler.feed(TEXT[2])
        assert assembler.result()["choices"][0]["message"]["content"] == "It is dry."

    @pytest.mark.parametrize(
        "last", [chunk({}, usage=USAGE), {"id": "c", "choices": [], "usage": USAGE}, {"usage": USAGE}]
    )
    def test_usage_comes_with_or_without_choices_and_is_assigned(self, last):
        first = chunk({"content": "x"}, usage={"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6})
        assert assembled(first, chunk({}, usage=None), last, chunk({}, usage=None)).result()["usage"] == USAGE

    def test_usage_of_groq(self):
        result = assembled(chunk({}, x_groq={"id": "r"}), chunk({}, x_groq={"usage": USAGE})).result()
        assert result["x_groq"] == {"id": "r", "usage": USAGE}
        assert ChatCodec().decode_response(result).usage.total_tokens == 7

    def test_usage_of_moonshot_and_an_end_without_a_reason(self):
        last = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": None, "usage": USAGE}]}
        assembler = assembled(sse(TEXT[0], last))
        assert ChatCodec().decode_response(assembler.result()).usage.total_tokens == 7
        assert assembler.facts.complete
        assert not assembled(sse(TEXT[0], last, done=False)).facts.complete

    def test_an_empty_first_chunk_of_azure(self):
        head = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{"a": 1}]}
        result = assembled(head, *TEXT).result()
        assert result == {**WHOLE, "prompt_filter_results": [{"a": 1}]}

    def test_interleaved_calls_are_joined_by_index(self):
        calls = message(
            call(0, "a", "f", ""), call(1, "b", "g", '{"y"'), call(0, None, None, '{"x":'), call(1, None, None, ":2}"),
            call(0, None, None, "1}"),
        )["tool_calls"]  # fmt: skip
        assert calls == [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"y":2}'}},
        ]

    def test_missing_ids_are_made(self):
        calls = message(call(0, None, "f", "{}"), call(1, None, "g", "{}"))["tool_calls"]
        assert [each["id"] for each in calls] == ["c_0_0", "c_0_1"]

    @pytest.mark.parametrize(
        "deltas",
        [
            [call(0, "a", "f", "{}"), call(0, "b", "g", "{}")],  # every call is number 0
            [call(None, "a", "f", "{"), call(None, "b", "g", "{}"), call(None, "a", None, "}")],  # by id alone
            [call(None, None, "f", "{"), call(None, None, None, "}"), call(None, None, "g", "{}")],  # by order alone
            [call(0, "a", "f", "{"), call(0, "a", "f", "}"), call(1, "b", "g", "{}")],  # the name every time
            [call(10**9, "a", "f", "{}"), call(-1, "b", "g", "{}")],
        ],
    )
    def test_calls_of_servers_that_do_not_number_them(self, deltas):
        calls = message(*deltas)["tool_calls"]
        assert [(each["function"]["name"], each["function"]["arguments"]) for each in calls] == [
            ("f", "{}"),
            ("g", "{}"),
        ]

    def test_custom_and_legacy_calls(self):
        custom = {"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "sel"}}]}
        more = {"tool_calls": [{"index": 0, "custom": {"input": "ect"}}]}
        assert message(custom, more)["tool_calls"] == [
            {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "select"}}
        ]
        legacy = message({"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}})
        assert legacy["function_call"] == {"name": "f", "arguments": "{}"}

    def test_thoughts_of_compatible_servers(self):
        assert message({"reasoning_content": "a"}, {"reasoning_content": "b"})["reasoning_content"] == "ab"

        def detail(**fields):
            return {"reasoning": fields.get("text", ""), "reasoning_details": [{"index": 0, **fields}]}

        text = "reasoning.text"
        joined = message(
            detail(type=text, text="Few "), detail(type=text, text="clouds."), detail(type=text, signature="s"),
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "E", "index": 1}]},
        )  # fmt: skip
        assert joined["reasoning"] == "Few clouds."
        assert joined["reasoning_details"] == [
            {"index": 0, "type": text, "text": "Few clouds.", "signature": "s"},
            {"type": "reasoning.encrypted", "data": "E", "index": 1},
        ]
        view = ChatCodec().decode_response({"choices": [{"message": joined}]})
        assert view.choices[0].parts[1] == ReasoningPart(text="Few clouds.", signature="s", immutable=True)

    def test_content_in_blocks(self):
        def think(text):
            return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}

        blocks = message({"content": ""}, think("a"), think("b"), {"content": "so"}, {"content": " on"})["content"]
        assert blocks == [
            {"type": "thinking", "thinking": [{"type": "text", "text": "ab"}]}, {"type": "text", "text": "so on"},
        ]  # fmt: skip

    def test_sound_refusal_logprobs_and_unknown_fields(self):
        spoken = message({"audio": {"id": "a", "transcript": "It "}}, {"audio": {"data": "QQ==", "transcript": "is."}})
        assert spoken["audio"] == {"id": "a", "transcript": "It is.", "data": "QQ=="}
        assert message({"refusal": "I "}, {"refusal": "won't."})["refusal"] == "I won't."
        assert message({"x_new": "a", "token_id": 1}, {"x_new": "b", "token_id": 2})["x_new"] == "ab"
        tokens = [{**chunk({})["choices"][0], "logprobs": {"content": [{"token": word}]}} for word in "ab"]
        choice = assembled(*({"choices": [each]} for each in tokens)).result()["choices"][0]
        assert choice["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}

    def test_several_choices(self):
        assembler = assembled(chunk({"content": "b"}, index=1), chunk({"content": "a"}), chunk({}, finish="stop"))
        assert [choice["message"]["content"] for choice in assembler.result()["choices"]] == ["a", "b"]
        assert not assembler.facts.complete
        assembler.feed(chunk({}, index=1, finish="length"))
        assert assembler.facts.complete

    def test_completions_of_old(self):
        pieces = [{"choices": [{"index": 0, "text": text}]} for text in "ab"]
        assert assembled(*pieces).result()["choices"][0]["message"]["content"] == "ab"

    @pytest.mark.parametrize(
        "event", [b'data: {"error": {"message": "No."}}\n\n', b'event: error\ndata: {"message": "No."}\n\n']
    )
    def test_an_error_in_the_stream(self, event):
        assembler = assembled(sse(*TEXT[:2], done=False), event)
        result = assembler.result()
        assert (result["error"], result["choices"][0]["message"]["content"]) == ({"message": "No."}, "It is ")
        assert assembler.facts == StreamInfo(events=3, end_cause="error")
        assert ChatCodec().decode_response(result).api_specific["error"] == {"message": "No."}

    def test_noise_is_skipped(self):
        noise = [None, 5, "no event", [], {"choices": "x"}, {"choices": [None, {"delta": 3}]}, b"data: {broken\n\n"]
        noise += [
            {"choices": [{"index": True, "delta": {"tool_calls": [None, {"function": 3}], "content": 7}}]},
            object(),
        ]
        noise += [
            {"choices": [{"delta": call(0, {"a": 1}, None, "x")}]},
            {"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]},
        ]
        noise += [{"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "b", "custom": None, "function": "x"}]}}]}]
        noise += [{"choices": [{"delta": call(0, "b", "f", "{}")}]}]
        result = assembled(*noise, *TEXT).result()
        assert result["choices"][0]["message"]["content"] == "It is dry."


LIFE = [
    {"type": "response.created", "response": {"id": "r", "status": "in_progress", "model": "m", "output": []}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs", "summary": []}},
    {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0,
     "part": {"type": "summary_text", "text": ""}},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Hm"},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "."},
    {"type": "response.output_item.added", "output_index": 1,
     "item": {"type": "message", "id": "msg", "role": "assistant", "status": "in_progress", "content": []}},
    {"type": "response.content_part.added", "output_index": 1, "content_index": 0,
     "part": {"type": "output_text", "text": "", "annotations": []}},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "It is "},
    {"type": "response.output_item.added", "output_index": 2,
     "item": {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a":'},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "dry."},
    {"type": "response.output_text.annotation.added", "output_index": 1, "content_index": 0, "annotation": {"type": "x"}},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "1}"},
    {"type": "response.web_search_call.searching", "output_index": 3},
    {"type": "response.something.new", "payload": [1]},
]  # fmt: skip
CAME = [
    {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {
        "type": "message",
        "id": "msg",
        "role": "assistant",
        "status": "in_progress",
        "content": [{"type": "output_text", "text": "It is dry.", "annotations": [{"type": "x"}]}],
    },
    {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
]


class TestResponses:
    def test_the_last_event_has_the_whole_response(self):
        whole = RESPONSES_RESPONSES["text"]
        assembler = assembled(*LIFE, {"type": "response.completed", "response": whole}, kind=ResponsesAssembler)
        assert assembler.result() == {**whole}
        assert assembler.facts == StreamInfo(events=16, complete=True, end_cause="complete")
        check_lens(ResponsesCodec(), assembler.result(), side="response")

    @pytest.mark.parametrize("size", [1, 50])
    def test_a_truncated_stream_gives_what_came(self, size):
        data = sse(*LIFE, done=False, named=True)
        pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
        for assembler in (assembled(*LIFE, kind=ResponsesAssembler), assembled(*pieces, kind=ResponsesAssembler)):
            result = assembler.result()
            assert (result["status"], result["output"]) == ("in_progress", CAME)
            assert assembler.facts == StreamInfo(events=15)
            view = ResponsesCodec().decode_response(result)
            assert (view.text, view.finish, view.tool_calls[0].arguments) == ("It is dry.", None, {"a": 1})

    def test_events_whose_beginning_was_lost(self):
        lost = [event for event in LIFE if "added" not in event["type"] or "annotation" in event["type"]][1:]
        result = assembled(*lost, kind=ResponsesAssembler).result()
        assert [item["type"] for item in result["output"]] == ["reasoning", "message", "function_call"]
        assert ResponsesCodec().decode_response(result).text == "It is dry."

    def test_items_are_told_apart_by_id_where_there_is_no_index(self):
        ids = ["rs", "msg", "fc"]
        bare = []
        for event in LIFE[:13]:
            known = {"item_id": ids[event["output_index"]]} if "output_index" in event and "item" not in event else {}
            bare.append({**{key: value for key, value in event.items() if key != "output_index"}, **known})
        assert assembled(*bare, kind=ResponsesAssembler).result()["output"] == CAME

    def test_whole_items_and_texts_take_the_place_of_pieces(self):
        done = [
            {"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "Dry."},
            {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": "{}"},
            {"type": "response.output_item.done", "output_index": 0, "item": {"type": "reasoning", "id": "new"}},
        ]
        output = assembled(*LIFE, *done, kind=ResponsesAssembler).result()["output"]
        assert output[0] == {"type": "reasoning", "id": "new"}
        assert output[1]["content"][0]["text"] == "Dry."
        assert output[2]["arguments"] == "{}"

    def test_other_texts_of_items(self):
        events = [
            {"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": "I won't."},
            {"type": "response.reasoning_text.delta", "output_index": 1, "content_index": 0, "delta": "Hm."},
            {"type": "response.custom_tool_call_input.delta", "output_index": 2, "delta": "select"},
            {"type": "response.mcp_call_arguments.delta", "output_index": 3, "delta": "{}"},
            {"type": "response.code_interpreter_call_code.delta", "output_index": 4, "delta": "print()"},
            {"type": "response.image_generation_call.partial_image", "output_index": 5, "partial_image_b64": "QQ=="},
        ]
        view = ResponsesCodec().decode_response(assembled(*events, kind=ResponsesAssembler).result())
        refusal, thought, sql, mcp, code, image, picture = view.choices[0].parts
        assert (refusal, thought) == (RefusalPart("I won't."), ReasoningPart(text="Hm."))
        assert (sql.arguments_raw, mcp.arguments_raw, code.arguments) == ("select", "{}", {"code": "print()"})
        assert (image.name, picture.parts[0].data) == ("image_generation", "QQ==")

    def test_a_response_that_ends_early(self):
        cut = {**RESPONSES_RESPONSES["cut"]}
        assembler = assembled({"type": "response.incomplete", "response": cut}, kind=ResponsesAssembler)
        assert assembler.facts.complete
        assert ResponsesCodec().decode_response(assembler.result()).finish == Finish("length", "max_output_tokens")

    def test_errors_in_the_stream(self):
        error = {"type": "error", "code": "server_error", "message": "No.", "sequence_number": 3}
        assembler = assembled(*LIFE, error, kind=ResponsesAssembler)
        result = assembler.result()
        assert (result["status"], result["error"]) == ("failed", {"code": "server_error", "message": "No."})
        assert result["output"] == CAME
        assert assembler.facts == StreamInfo(events=16, end_cause="error")
        failed = {"type": "response.failed", "response": RESPONSES_RESPONSES["failed"]}
        assembler.feed(failed)
        assert assembler.result()["error"] == RESPONSES_RESPONSES["failed"]["error"]
        assert not assembler.facts.complete
        assert assembled({"error": {"message": "x"}}, kind=ResponsesAssembler).result()["error"] == {"message": "x"}

    def test_a_last_event_without_output_keeps_the_items(self):
        bare = {"id": "r", "object": "response", "status": "completed", "output": []}
        item = {"type": "response.output_item.done", "output_index": 0, "item": MESSAGE}
        result = assembled(item, {"type": "response.completed", "response": bare}, kind=ResponsesAssembler).result()
        assert result["output"] == [MESSAGE]

    def test_noise_is_skipped(self):
        noise = [None, {"type": 5}, {"type": "response.output_text.delta", "output_index": 10**9, "delta": "x"}]
        noise += [{"type": "response.output_text.delta", "output_index": 0, "content_index": 10**9, "delta": "x"}]
        noise += [
            {"type": "response.output_item.added", "output_index": "x", "item": {}},
            {"type": "response.completed"},
        ]
        part = {"type": "output_text", "text": "", "annotations": None, "logprobs": 5}
        noise += [{"type": "response.content_part.added", "output_index": 8, "part": part}]
        noise += [{"type": "response.output_text.annotation.added", "output_index": 8, "annotation": {}}]
        noise += [{"type": "response.output_text.delta", "output_index": 8, "delta": 5, "logprobs": [{}]}]
        noise += [{"type": "response.created", "response": "x"}, b"data: 5\n\n", b"event: x\ndata: \n\n"]
        assembler = assembled(*noise, *LIFE, kind=ResponsesAssembler)
        assert ResponsesCodec().decode_response(assembler.result()).text == "It is dry."


@pytest.mark.parametrize("kind", [ChatAssembler, ResponsesAssembler])
def test_time_is_linear_in_the_stream(kind):
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "word "}
    piece = json.dumps(chunk({"content": "word "}) if kind is ChatAssembler else delta).encode()
    event = b"data: " + piece + b"\n\n"

    def spent(count):
        assembler = kind()
        begin = time.thread_time()
        for _ in range(count):
            assembler.feed(event)
        result = assembler.result()
        assert b"word word" in json.dumps(result).encode()
        return time.thread_time() - begin

    small = min(spent(1000) for _ in range(3))
    assert spent(10_000) < 40 * small
