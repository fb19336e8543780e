"""The neutral types, token counts, and their ATOF shape."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.annotations import annotated_request, annotated_response
from relay_core.errors import UsageError
from relay_core.llm import (
    Choice,
    Cost,
    Finish,
    ImagePart,
    LlmRequest,
    LlmResponse,
    Message,
    NativePart,
    Params,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolDefinition,
    ToolResultPart,
    Usage,
    same,
)

COUNTS = st.integers(0, 10**6)
MAYBE = st.none() | COUNTS
BUCKETS = ("input_uncached", "input_cache_read", "input_cache_write", "input_cache_write_1h")
USAGES = st.builds(
    Usage,
    **dict.fromkeys((*BUCKETS, "output_text", "output_reasoning"), MAYBE),
    input_modalities=st.none() | st.dictionaries(st.sampled_from(["text", "audio"]), COUNTS),
)


class TestNodes:
    def test_nodes_are_immutable(self):
        with pytest.raises(AttributeError):
            TextPart("a").text = "b"

    def test_path_takes_no_part_in_equality_or_hash(self):
        assert TextPart("a", path=("x",)) == TextPart("a")
        assert not TextPart("a", path=("x",)) != TextPart("a")
        assert hash(TextPart("a", path=("x",))) == hash(TextPart("a"))
        left = Message("user", [TextPart("a", path=("x",)), NativePart("p", "k", {"a": 1, "b": 2})])
        right = Message("user", [TextPart("a"), NativePart("p", "k", {"b": 2, "a": 1})], path=("y",))
        assert left == right
        assert len({left, right}) == 1
        assert TextPart("a") != TextPart("b")
        assert TextPart("a") != "a"

    def test_equality_is_strict_about_json_types(self):
        assert Params(temperature=1) != Params(temperature=1.0)
        assert Params(n=1) != Params(n=True)
        assert same({"a": float("nan")}, {"a": float("nan")})
        assert not same(0.0, -0.0)
        assert not same([1], [1, 2])
        assert same((1, 2), [1, 2])

    def test_request_replace_routes_parameters(self):
        view = LlmRequest(params=Params(seed=3))
        edited = view.replace(max_output_tokens=5, temperature=0.5, stop=["a", "b"], model="m")
        assert edited.params == Params(seed=3, max_output_tokens=5, temperature=0.5, stop=("a", "b"))
        assert edited.model == "m"
        assert view.params == Params(seed=3)

    def test_request_replace_combines_params_with_a_parameter(self):
        assert LlmRequest().replace(params=Params(n=2), seed=1).params == Params(n=2, seed=1)

    @pytest.mark.parametrize("node", [LlmRequest(), TextPart("a"), Params(), ToolCallPart("f")])
    def test_replace_names_the_unknown_field(self, node):
        with pytest.raises(UsageError, match=r"has no max_tokenz; it has .+"):
            node.replace(max_tokenz=1)

    def test_conveniences_take_strings_and_lists(self):
        view = LlmRequest(instructions="A", messages=[Message.system("B"), Message.user(["c", TextPart("d")])])
        assert view.system_prompt() == "A\nB"
        assert view.last_user_text() == "cd"
        assert view.replace(tool_choice="none").tool_choice == ToolChoice("none")
        assert isinstance(view.replace(messages=[]).messages, tuple)

    def test_last_user_text_skips_messages_without_text(self):
        results = Message.user([ToolResultPart("1", "out")])
        assert LlmRequest(messages=[Message.user("ask"), results]).last_user_text() == "ask"
        assert LlmRequest(messages=[results]).last_user_text() is None

    def test_response_without_choices(self):
        empty = LlmResponse()
        assert (empty.text, empty.tool_calls, empty.finish) == ("", (), None)

    def test_map_text_reaches_nested_parts_and_spares_signed_ones(self):
        signed = TextPart("secret", immutable=True)
        view = LlmRequest(
            instructions="secret", messages=[Message("tool", [ToolResultPart("1", "secret")]), Message.user([signed])]
        )
        edited = view.map_text(lambda text: text.replace("secret", "***"))
        assert edited.instructions == (TextPart("***"),)
        assert edited.messages[0].parts[0].parts == (TextPart("***"),)
        assert edited.messages[1] is view.messages[1]
        assert view.map_text(lambda text: text) is view


class TestToolCalls:
    def test_either_form_of_the_arguments_gives_the_other(self):
        assert ToolCallPart("f", arguments_raw='{"a":1}').arguments == {"a": 1}
        assert ToolCallPart("f", {"a": "é"}).arguments_raw == '{"a": "é"}'

    def test_replacing_one_form_replaces_the_other(self):
        call = ToolCallPart("f", arguments_raw='{"a":1}', id="x")
        assert call.replace(arguments={"b": 2}) == ToolCallPart("f", {"b": 2}, id="x")
        assert call.replace(arguments_raw='{"b":2}').arguments == {"b": 2}
        assert call.replace(id="y").arguments_raw == '{"a":1}'

    @pytest.mark.parametrize("raw", ["", "{", "[" * 100_000])
    def test_broken_arguments_keep_their_text(self, raw):
        call = ToolCallPart("f", arguments_raw=raw)
        assert (call.arguments, call.arguments_raw) == (None, raw)
        assert call != ToolCallPart("f", arguments_raw="{]")

    def test_whitespace_in_arguments_is_no_difference(self):
        assert ToolCallPart("f", arguments_raw='{"a": 1}') == ToolCallPart("f", arguments_raw='{"a":1}')


class TestUsage:
    @given(whole=COUNTS, read=MAYBE, write=MAYBE, output=COUNTS, thought=MAYBE)
    def test_inclusive_buckets_add_up_to_the_wire_totals(self, whole, read, write, output, thought):
        whole += (read or 0) + (write or 0)
        output += thought or 0
        usage = Usage.from_inclusive(
            input_tokens=whole,
            output_tokens=output,
            cache_read=read,
            cache_write=write,
            reasoning=thought,
            total=whole + output,
        )
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (whole, output, whole + output)
        assert (usage.input_cache_read, usage.input_cache_write, usage.output_reasoning) == (read, write, thought)

    @given(plain=COUNTS, read=COUNTS, long=COUNTS, short=COUNTS, output=COUNTS)
    def test_exclusive_buckets_add_up(self, plain, read, long, short, output):
        usage = Usage.from_exclusive(
            input_tokens=plain, output_tokens=output, cache_read=read, cache_write=long + short, cache_write_1h=long
        )
        assert usage.input_tokens == plain + read + long + short
        assert (usage.input_cache_write, usage.input_cache_write_1h) == (short, long)

    def test_reasoning_beside_the_output_is_recognised(self):
        usage = Usage.from_inclusive(input_tokens=10, output_tokens=5, reasoning=3, total=18)
        assert (usage.output_text, usage.output_tokens, usage.total_tokens) == (5, 8, 18)
        assert Usage.from_inclusive(output_tokens=1, reasoning=200).output_tokens == 201

    def test_cache_reads_larger_than_the_input_are_beside_it(self):
        assert Usage.from_inclusive(input_tokens=3, cache_read=50).input_tokens == 53

    def test_unknown_is_never_zero(self):
        assert Usage().input_tokens is None
        assert Usage(input_cache_read=5).input_tokens is None
        assert Usage.from_inclusive(input_tokens=8, total=8).total_tokens == 8
        assert Usage(input_uncached=0, output_text=0).total_tokens == 0

    @given(left=USAGES, right=USAGES)
    def test_totals_of_a_sum_are_sums_of_totals(self, left, right):
        for name in ("input_tokens", "output_tokens"):
            a, b, both = (getattr(usage, name) for usage in (left, right, left + right))
            assert both == (None if a is None or b is None else a + b)

    @given(usages=st.lists(USAGES, max_size=4))
    def test_a_missing_usage_makes_the_sum_unknown(self, usages):
        total = Usage.sum([*usages, None])
        assert (total.input_tokens, total.output_tokens) == (None, None)

    def test_sum_takes_the_weakest_source_and_keeps_modalities(self):
        total = Usage.sum(
            [Usage(input_modalities={"text": 1}), Usage(source="estimated", input_modalities={"text": 2, "audio": 3})]
        )
        assert total.source == "estimated"
        assert total.input_modalities == {"text": 3, "audio": 3}
        assert Usage.sum([]) is None


class TestCost:
    def test_amounts_are_exact_plain_text(self):
        assert Cost(1e-7).amount == "0.0000001"
        assert Cost(Decimal("2.50")).amount == "2.50"

    @pytest.mark.parametrize("amount", ["much", "NaN", None, float("inf")])
    def test_what_is_no_number_is_refused(self, amount):
        with pytest.raises(UsageError, match="must be a decimal number"):
            Cost(amount)


class TestAnnotations:
    def test_request_has_the_atof_shape(self):
        schema = {"type": "object"}
        view = LlmRequest(
            api="openai_chat",
            model="m",
            messages=[
                Message.system("S"),
                Message("assistant", [ToolCallPart("f", {"a": 1}, id="c1")]),
                Message("tool", [ToolResultPart("c1", "42")]),
                Message.user([TextPart("see"), ImagePart(url="https://x/y.png", detail="low")]),
            ],
            tools=[ToolDefinition("f", description="d", schema=schema)],
            tool_choice=ToolChoice("tool", "f"),
            extra={"min_p": 0.1},
        ).replace(max_output_tokens=7, stop="x", seed=1)
        assert annotated_request(view) == {
            "messages": [
                {"role": "system", "content": "S"},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
                    ],
                },
                {"role": "tool", "content": "42", "tool_call_id": "c1"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "see"},
                        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                    ],
                },
            ],
            "model": "m",
            "params": {"max_tokens": 7, "stop": ["x"]},
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "api_specific": {"api": "openai_chat", "seed": 1},
            "min_p": 0.1,
        }

    def test_an_empty_request_has_messages_only(self):
        assert annotated_request(LlmRequest()) == {"messages": []}

    def test_inline_bytes_stay_out_of_events(self):
        images = [
            ImagePart(data="QUJD" * 999, mime="image/png"),
            ImagePart(url="data:image/png;base64," + "QUJD" * 999),
        ]
        text = repr(annotated_request(LlmRequest(messages=[Message.user(images)])))
        assert "QUJD" not in text
        assert "3996" in text

    def test_reasoning_signatures_and_ciphertext_stay_out_of_events(self):
        part = ReasoningPart(text="hm", signature="sig-123", encrypted="enc-456", immutable=True)
        text = repr(annotated_request(LlmRequest(messages=[Message.assistant([part])])))
        assert "sig-123" not in text
        assert "enc-456" not in text
        assert "'hm'" in text

    def test_native_parts_keep_their_origin(self):
        view = LlmRequest(messages=[Message.user([NativePart("p", "k", {"v": 1})])])
        content = annotated_request(view)["messages"][0]["content"]
        assert content == [{"type": "provider_native", "provider": "p", "kind": "k", "value": {"v": 1}}]

    @pytest.mark.parametrize(
        ("finish", "expected"),
        [
            (Finish("stop"), "complete"),
            (Finish("length"), "length"),
            (Finish("tool_call", "tool_use"), "tool_use"),
            (Finish("content_filter"), "content_filter"),
            (Finish("unknown", "eos"), {"unknown": "eos"}),
            (Finish("pause", "pause_turn"), {"unknown": "pause_turn"}),
        ],
    )
    def test_finish_reasons(self, finish, expected):
        assert annotated_response(LlmResponse(choices=[Choice(finish=finish)]))["finish_reason"] == expected

    def test_usage_keys_and_no_zero_for_unknown(self):
        usage = Usage.from_exclusive(input_tokens=1, output_tokens=9, cache_read=10, cache_write=100, cache_write_1h=60)
        assert annotated_response(LlmResponse(usage=usage, cost=Cost("0.5")))["usage"] == {
            "prompt_tokens": 111,
            "completion_tokens": 9,
            "total_tokens": 120,
            "cache_read_tokens": 10,
            "cache_write_tokens": 100,
            "uncached_input_tokens": 1,
            "cost": {"total": 0.5, "currency": "USD", "source": "provider_reported"},
        }
        assert "usage" not in annotated_response(LlmResponse(usage=Usage()))

    def test_several_choices_are_all_kept(self):
        answer = annotated_response(LlmResponse(choices=[Choice(parts="a"), Choice(index=1, parts="b")]))
        assert answer["message"] == "a"
        assert [choice["message"] for choice in answer["choices"]] == ["a", "b"]

    def test_a_tool_call_only_response_has_no_message(self):
        calls = [ToolCallPart("f", {"a": 1}, id="c"), ToolCallPart("g", arguments_raw="{broken")]
        answer = annotated_response(LlmResponse(choices=[Choice(parts=calls)]))
        assert answer == {
            "tool_calls": [
                {"id": "c", "name": "f", "arguments": {"a": 1}},
                {"name": "g", "arguments": "{broken"},
            ]
        }
