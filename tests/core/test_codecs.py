"""The codec registry, patches of native JSON, and the lens laws on written and on recorded traffic."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.codecs import (
    Codec,
    CodecRegistry,
    StreamAssembler,
    apply_patch,
    delete,
    diff,
    insert,
    json_diff,
    put,
    value_at,
)
from relay_core.errors import CodecError, DuplicateName, UsageError
from relay_core.llm import LlmRequest, Message, ReasoningPart, TextPart, ToolDefinition, same
from relay_core.testing.lens import check_lens


def _load():
    spec = importlib.util.spec_from_file_location("chat_codec", Path(__file__).with_name("chat_codec.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


chat_codec = _load()
ChatCodec, REQUESTS, RESPONSES = chat_codec.ChatCodec, chat_codec.REQUESTS, chat_codec.RESPONSES
FUNCTION, USER = chat_codec.FUNCTION, chat_codec.USER


class TestRegistry:
    def test_a_registered_codec_is_found_until_its_handle_is_removed(self):
        registry, codec = CodecRegistry(), ChatCodec()
        with registry.register(codec) as handle:
            assert registry.get("openai_chat") is codec
            assert "openai_chat" in registry
            assert handle.name == "openai_chat"
        assert registry.names() == []
        handle.remove()

    def test_an_old_handle_does_not_remove_its_successor(self):
        registry = CodecRegistry()
        old = registry.register(ChatCodec())
        old.remove()
        registry.register(ChatCodec())
        old.remove()
        assert registry.names() == ["openai_chat"]

    def test_an_unknown_name_lists_what_is_known_and_the_cure(self):
        registry = CodecRegistry()
        registry.register(ChatCodec())
        with pytest.raises(CodecError) as caught:
            registry.get("openai_chatt")
        assert "registered are 'openai_chat'. Did you mean 'openai_chat'?" in str(caught.value)
        assert "install that adapter" in str(caught.value)

    def test_a_taken_name_is_refused(self):
        registry = CodecRegistry()
        first = registry.register(ChatCodec())
        with pytest.raises(DuplicateName, match="'openai_chat' is registered already, by ChatCodec"):
            registry.register(ChatCodec())
        assert registry.get("openai_chat") is first.codec

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"name": ""}, "`name` must be a non-empty string"),
            ({"native_types": dict}, "`native_types` must be a tuple of types"),
            ({"encode_response": None, "assembler": 3}, r"lacks encode_response\(\), assembler\(\)"),
        ],
    )
    def test_a_wrong_object_is_refused_by_what_it_lacks(self, change, message):
        wrong = type("Wrong", (ChatCodec,), change)()
        with pytest.raises(UsageError, match=message):
            CodecRegistry().register(wrong)

    def test_a_class_is_refused(self):
        with pytest.raises(UsageError, match=r"register an instance, ChatCodec\(\)"):
            CodecRegistry().register(ChatCodec)

    def test_the_test_codec_fits_the_protocols(self):
        assert isinstance(ChatCodec(), Codec)
        assert isinstance(ChatCodec().assembler(), StreamAssembler)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=12,
)


class TestPatches:
    @given(old=JSON, new=JSON)
    def test_the_diff_of_two_values_turns_one_into_the_other(self, old, new):
        before = copy.deepcopy(old)
        assert same(apply_patch(old, json_diff(old, new)), new)
        assert same(old, before)

    @given(old=st.dictionaries(st.sampled_from("abcd"), JSON), new=st.dictionaries(st.sampled_from("abcd"), JSON))
    def test_untouched_values_keep_their_identity(self, old, new):
        result = apply_patch(old, json_diff(old, new))
        for key in old.keys() & new.keys():
            if same(old[key], new[key]):
                assert result[key] is old[key]

    @given(native=JSON)
    def test_an_empty_patch_returns_the_object_itself(self, native):
        assert apply_patch(native, []) is native

    def test_the_patched_part_shares_nothing_with_what_was_put_in(self):
        value = {"b": [1]}
        result = apply_patch({}, [put(("a",), value)])
        value["b"].append(2)
        assert result == {"a": {"b": [1]}}

    def test_key_order_is_kept(self):
        native = {"z": 1, "a": {"y": 1, "b": 2}, "m": 3}
        result = apply_patch(native, [put(("a", "y"), 9), put(("z",), 8)])
        assert json.dumps(result) == '{"z": 8, "a": {"y": 9, "b": 2}, "m": 3}'

    def test_indices_mean_the_original_list(self):
        ops = [
            insert(("l", 1), "x"),
            delete(("l", 0)),
            insert(("l", 1), "y"),
            put(("l", 2), "C"),
            insert(("l", 3), "e"),
        ]
        assert apply_patch({"l": ["a", "b", "c"]}, ops) == {"l": ["x", "y", "b", "C", "e"]}

    def test_deleting_what_is_absent_changes_nothing(self):
        native = {"a": {"b": 1}, "l": [1]}
        ops = [delete(("a", "x")), delete(("p", "q", "r")), delete(("l", 5)), put(("zz",), None)]
        assert apply_patch(native, ops) is native

    def test_missing_objects_on_the_way_are_made(self):
        assert apply_patch({"c": None}, [put(("c", "t"), 1), insert(("l", 0), 2)]) == {"c": {"t": 1}, "l": [2]}

    def test_a_later_set_above_replaces_earlier_changes_below(self):
        assert apply_patch({"a": {"b": 1}}, [put(("a", "b"), 2), put(("a",), "whole")]) == {"a": "whole"}

    @pytest.mark.parametrize(
        ("ops", "message"),
        [
            ([put(("a",), 1), put(("a", "b"), 2)], r"^a\.b cannot change: what holds it is replaced"),
            ([put(("s", "x"), 2)], "^s is a str; the edit needs a dict"),
            ([insert(("s", 0), 2)], "^s is a str; the edit needs a list"),
            ([insert(("s", "x"), 2)], r"inserted at s\.x"),
            ([put(("l", 7), 2)], r"^l\[7\] does not exist"),
            ([put(("a",), object())], "object cannot be written as JSON"),
        ],
    )
    def test_impossible_operations_name_the_path(self, ops, message):
        native = {"a": {"b": 1}, "s": "text", "l": [1]}
        with pytest.raises(CodecError, match=message):
            apply_patch(native, ops)
        assert native == {"a": {"b": 1}, "s": "text", "l": [1]}

    def test_value_at_never_fails(self):
        native = {"a": [{"b": None}]}
        assert value_at(native, ("a", 0, "b"), 5) is None
        for path in (("a", 1), ("a", -1), ("a", "b"), ("x", "y"), (0,)):
            assert value_at(native, path, 5) == 5


class TestWritingBack:
    def encode(self, native, **changes):
        codec = ChatCodec()
        return codec.encode_request(codec.decode_request(native).replace(**changes), native)

    def test_an_unedited_view_returns_the_object_itself(self):
        native = REQUESTS["tools"]
        assert self.encode(native) is native

    def test_a_parameter_uses_the_name_that_is_there(self):
        assert self.encode(REQUESTS["limits"], max_output_tokens=512)["max_tokens"] == 512
        assert self.encode(REQUESTS["plain"], max_output_tokens=512)["max_completion_tokens"] == 512
        assert "temperature" not in self.encode(REQUESTS["limits"], temperature=None)

    def test_messages_can_move_and_keep_unknown_fields(self):
        native = REQUESTS["tools"]
        messages = ChatCodec().decode_request(native).messages
        result = self.encode(native, messages=messages[::-1])
        assert result["messages"] == native["messages"][::-1]

    def test_a_moved_and_edited_message_keeps_unknown_fields(self):
        native = {"messages": [{"role": "user", "content": "a", "x": 1}, {"role": "user", "content": "b", "x": 2}]}
        first, second = ChatCodec().decode_request(native).messages
        result = self.encode(native, messages=[second.replace(parts=[second.parts[0].replace(text="B")]), first])
        assert result["messages"] == [{"role": "user", "content": "B", "x": 2}, native["messages"][0]]

    @given(plan=st.lists(st.tuples(st.none() | st.integers(0, 4), st.booleans()), max_size=8))
    def test_any_order_of_kept_edited_and_new_messages_is_written(self, plan):
        codec = ChatCodec()
        native = {"messages": [{"role": "user", "content": f"text {index}", "x": index} for index in range(5)]}
        messages = codec.decode_request(native).messages
        edited = []
        for origin, change in plan:
            message = Message.user("new") if origin is None else messages[origin]
            edited.append(message.map_text(str.upper) if change else message)
        result = self.encode(native, messages=edited)
        assert codec.decode_request(result).messages == tuple(edited)
        assert [item.get("x") for item in result["messages"]] == [origin for origin, _ in plan]

    def test_a_copied_message_stands_twice(self):
        native = {"messages": [{"role": "user", "content": "a", "x": 1}]}
        (message,) = ChatCodec().decode_request(native).messages
        edited = message.replace(parts=[message.parts[0].replace(text="b")])
        result = self.encode(native, messages=[edited, message])
        assert result["messages"] == [{"role": "user", "content": "b", "x": 1}, native["messages"][0]]
        assert result["messages"][1] is native["messages"][0]

    def test_a_second_part_turns_string_content_into_a_list(self):
        native = {"messages": [USER]}
        (message,) = ChatCodec().decode_request(native).messages
        parts = [message.parts[0].replace(text="HI"), TextPart("and more")]
        result = self.encode(native, messages=[message.replace(parts=parts)])
        texts = [{"type": "text", "text": "HI"}, {"type": "text", "text": "and more"}]
        assert result["messages"] == [{"role": "user", "content": texts}]

    def test_parts_of_a_list_come_and_go(self):
        native = REQUESTS["blocks"]
        system, user = ChatCodec().decode_request(native).messages
        edited = user.replace(parts=[user.parts[0], TextPart("new"), user.parts[2]])
        result = self.encode(native, messages=[system, edited])
        before = native["messages"][1]["content"]
        assert result["messages"][1]["content"] == [before[0], {"type": "text", "text": "new"}, before[2]]
        assert result["messages"][1]["content"][0] is before[0]

    def test_a_replaced_tool_description_keeps_unknown_keys(self):
        native = REQUESTS["tools"]
        first, second = ChatCodec().decode_request(native).tools
        result = self.encode(native, tools=[first.replace(description="new"), second])
        function = result["tools"][0]["function"]
        assert (function["description"], function["x_unknown"]) == ("new", [1])
        assert result["tools"][1] is native["tools"][1]

    def test_the_last_tool_takes_the_list_with_it(self):
        native = {"messages": [USER], "tools": [{"type": "function", "function": FUNCTION}]}
        assert self.encode(native, tools=[]) == {"messages": [USER]}
        added = self.encode(REQUESTS["plain"], tools=[ToolDefinition("t")])
        assert added["tools"] == [{"type": "function", "function": {"name": "t"}}]

    def test_response_text_and_finish_are_written(self):
        codec, native = ChatCodec(), RESPONSES["text"]
        view = codec.decode_response(native)
        result = codec.encode_response(view.map_text(lambda text: text + "2"), native)
        assert result["choices"][0]["message"]["content"] == "42"
        assert result["usage"] is native["usage"]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"instructions": "Be brief."}, "edit of instructions at .root. cannot be written"),
            ({"api": "gemini"}, "edit of api at .root. cannot be written"),
            ({"tools": [ToolDefinition("x", schema=object())]}, "object cannot be written as JSON"),
            ({"messages": [Message.user([ReasoningPart(signature="s")])]}, r"messages\[0\]\.parts"),
        ],
    )
    def test_an_impossible_edit_is_an_error_that_names_it(self, changes, message):
        with pytest.raises(CodecError, match=message):
            self.encode(REQUESTS["plain"], **changes)

    def test_usage_of_a_response_cannot_be_edited(self):
        codec, native = ChatCodec(), RESPONSES["text"]
        view = codec.decode_response(native)
        with pytest.raises(CodecError, match="edit of output_text at usage cannot be written"):
            codec.encode_response(view.replace(usage=view.usage.replace(output_text=1)), native)

    def test_a_signed_part_may_be_dropped_but_not_edited(self):
        signed = ReasoningPart(text="t", signature="s", immutable=True, path=("messages", 0, "content", 0))
        old = LlmRequest(messages=[Message.assistant([signed, TextPart("a")]).replace(path=("messages", 0))])
        edited = old.messages[0].replace(parts=[signed.replace(text="x"), TextPart("a")])
        with pytest.raises(CodecError, match=r"^messages\[0\]\.parts\[0\] is signed .* drop the whole part"):
            diff(old.replace(messages=[edited]), old)
        unmarked = signed.replace(text="x", immutable=False)
        with pytest.raises(CodecError, match="signed"):
            diff(old.replace(messages=[edited.replace(parts=[unmarked, TextPart("a")])]), old)
        (edit,) = diff(old.replace(messages=[edited.replace(parts=[TextPart("a")])]), old)
        assert (edit.kind, edit.removed) == ("splice", (signed,))

    def test_a_native_object_of_another_kind_is_refused(self):
        for wrong in ("text", {}, {"messages": None}):
            with pytest.raises(CodecError, match="must be a dict with a list"):
                ChatCodec().decode_request(wrong)


class TestLaws:
    @pytest.mark.parametrize("name", REQUESTS)
    def test_requests_keep_the_laws(self, name):
        held = check_lens(ChatCodec(), REQUESTS[name])
        assert {edit.split(" at ")[0] for edit in held} >= {"no edit", "messages inserted", "tools inserted"}

    @pytest.mark.parametrize("name", RESPONSES)
    def test_responses_keep_the_laws(self, name):
        held = check_lens(ChatCodec(), RESPONSES[name], side="response")
        assert len(held) > 1

    def test_edits_the_api_has_no_place_for_must_be_refused(self):
        with pytest.raises(AssertionError, match=r"law 4 \(model set\)"):
            check_lens(ChatCodec(), REQUESTS["plain"], unsupported=["model"])


class Normalises(ChatCodec):
    encode_request = lambda self, view, native: {"model": None, **ChatCodec.encode_request(self, view, native)}


class ForgetsTools(ChatCodec):
    def encode_request(self, view, native):
        return super().encode_request(view.replace(tools=self.decode_request(native).tools), native)


class CopiesAll(ChatCodec):
    encode_request = lambda self, view, native: copy.deepcopy(ChatCodec.encode_request(self, view, native))


class Sorts(ChatCodec):
    def encode_request(self, view, native):
        result = super().encode_request(view, native)
        return result if result is native else dict(sorted(result.items()))


class WritesAnything(ChatCodec):
    def encode_request(self, view, native):
        try:
            return super().encode_request(view, native)
        except CodecError:
            return native


class Aliases(ChatCodec):
    def decode_request(self, native):
        return super().decode_request(native).replace(extra={k: v for k, v in native.items() if k in ("zeta", "alpha")})


class Mutates(ChatCodec):
    def decode_request(self, native):
        native.setdefault("stream", False)
        return super().decode_request(native)


class MutatesOnWriting(ChatCodec):
    def encode_request(self, view, native):
        result = super().encode_request(view, native)
        if result is not native:
            native["n"] = 1
        return result


class TestTheLawsCatch:
    @pytest.mark.parametrize(
        ("codec", "law"),
        [
            (Normalises, "law 1"),
            (ForgetsTools, "law 2"),
            (CopiesAll, "law 3"),
            (Sorts, "law 3"),
            (WritesAnything, "law 4"),
            (Aliases, "law 5"),
            (Mutates, "law 5"),
            (MutatesOnWriting, "law 2|law 3"),
        ],
    )
    def test_a_broken_codec(self, codec, law):
        native = copy.deepcopy(REQUESTS["unknown"])
        with pytest.raises(AssertionError, match=law):
            check_lens(codec(), native)


class TestStreams:
    def feed(self, chunks):
        assembler = ChatCodec().assembler()
        for chunk in chunks:
            assembler.feed(chunk)
        return assembler

    def test_chunks_become_one_response(self):
        head = {"index": 0, "function": {"name": "f", "arguments": '{"a"'}, "id": "c1"}
        assembler = self.feed(
            [
                {"id": "r", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]},
                {"choices": [{"index": 0, "delta": {"content": "b", "tool_calls": [head]}}]},
                {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}}]},
                "unknown chunk",
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
                {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
            ]
        )
        view = ChatCodec().decode_response(assembler.result())
        assert (view.text, view.tool_calls[0].arguments, view.finish.reason) == ("ab", {"a": 1}, "tool_call")
        assert view.usage.total_tokens == 7
        assert (assembler.facts.events, assembler.facts.complete) == (6, True)

    def test_a_stream_that_breaks_off_is_not_complete(self):
        assembler = self.feed([{"choices": [{"index": 0, "delta": {"content": "a"}}]}])
        assert assembler.facts.complete is False
        assert ChatCodec().decode_response(assembler.result()).text == "a"
        assert self.feed([]).result() is None


@pytest.fixture(scope="module")
def corpus():
    folder = os.environ.get("RELAY_CORPUS")
    if not folder:
        pytest.skip("RELAY_CORPUS names no folder of recorded provider traffic")
    file = Path(folder, "openai_chat.jsonl")
    if not file.exists():
        pytest.skip(f"RELAY_CORPUS has no {file.name}")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


class TestRecordedTraffic:
    def test_recorded_requests_keep_the_laws(self, corpus):
        codec = ChatCodec()
        held = [len(check_lens(codec, record["request"])) for record in corpus]
        assert len(held) >= 300
        assert min(held) >= 8

    def test_recorded_responses_keep_the_laws(self, corpus):
        natives = [record["response"] for record in corpus if "choices" in (record.get("response") or {})]
        assert len(natives) >= 300
        for native in natives:
            check_lens(ChatCodec(), native, side="response")

    def test_recorded_usage_adds_up_to_the_wire_total(self, corpus):
        checked = 0
        for record in corpus:
            raw = (record.get("response") or {}).get("usage")
            if raw:
                assert ChatCodec().decode_response(record["response"]).usage.total_tokens == raw["total_tokens"]
                checked += 1
        assert checked >= 300

    def test_recorded_streams_assemble(self, corpus):
        codec = ChatCodec()
        streams = [record["sse"] for record in corpus if "sse" in record]
        assert len(streams) >= 100
        for text in streams:
            assembler = codec.assembler()
            for line in text.splitlines():
                if line.startswith("data: {"):
                    assembler.feed(json.loads(line.removeprefix("data: ")))
            native = assembler.result()
            check_lens(codec, native, side="response")
            assert codec.decode_response(native).choices
