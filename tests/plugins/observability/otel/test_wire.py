"""Bytes that are written directly are those that protobuf reads as the same message."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from relay_plugin_observability.otel import wire
from relay_plugin_observability.otel.encoding import key_values

SIZES = st.sampled_from([0, 1, 90, 100, 110, 119, 120, 121, 122, 125, 126, 127, 128, 16_383, 16_384, 70_000])
TEXTS = st.text(max_size=20) | st.builds(lambda size, char: char * size, SIZES, st.sampled_from("xé\U0001f600"))
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()
VALUES = TEXTS | NUMBERS | st.lists(TEXTS, max_size=3) | st.lists(st.integers(-5, 300), max_size=3)


@given(st.dictionaries(st.text(max_size=30) | SIZES.map("k".__mul__), VALUES, max_size=6))
def test_attributes_are_the_same(found):
    assert list(Span.FromString(wire.attributes(9, found)).attributes) == key_values(found)
    assert list(Span.Event.FromString(wire.attributes(3, found)).attributes) == key_values(found)


def test_odd_values():
    found = {"big": 2**63, "small": -(2**63) - 1, "nan": math.nan, "half": "a\udc80", "\udc80": "b", "none": None}
    made = {pair.key: pair.value for pair in Span.FromString(wire.attributes(9, found)).attributes}
    assert made["big"].string_value == str(2**63)
    assert made["small"].string_value == str(-(2**63) - 1)
    assert math.isnan(made["nan"].double_value)
    assert (made["half"].string_value, made["?"].string_value) == ("a?", "b")
    assert made["none"].WhichOneof("value") is None
    empty = KeyValue.FromString(wire.attributes(1, {"k": ""})[2:])
    assert empty.value.WhichOneof("value") == "string_value"


@given(st.integers(0, 2**64 - 1))
def test_numbers_are_the_same(value):
    assert wire.number(10, value & 2**32 - 1) == Span(dropped_attributes_count=value & 2**32 - 1).SerializeToString()
    assert wire.fixed64(7, value) == Span(start_time_unix_nano=value).SerializeToString()
    assert wire.fixed32(16, value & 2**32 - 1) == Span(flags=value & 2**32 - 1).SerializeToString()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
def test_fields_of_any_size_are_the_same(size):
    assert wire.field(5, b"x" * size) == Span(name="x" * size).SerializeToString()


def test_keys_are_kept_within_bounds():
    for number in range(2 * wire._MOST_KEYS):
        wire.attributes(9, {f"key-{number}": 1})
    wire.attributes(9, {"k" * 1_000: 1})
    assert len(wire._keys) == wire._MOST_KEYS
    assert max(map(len, wire._keys)) <= wire._LONGEST_KEY


def test_what_stands_before_values_is_kept_within_bounds():
    for size in range(2 * wire._SHORT):
        wire.attributes(9, {f"text-{number}": "x" * size for number in range(20)})
    kept = [made for keys in wire._beginnings.values() for sizes in keys.values() for made in sizes.items()]
    assert len(kept) <= wire._MOST_BEGINNINGS
    assert max(size for size, _ in kept) < wire._SHORT
