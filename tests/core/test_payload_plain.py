"""Packed payloads that are plain are read in one pass; nobody may see a difference to the careful way."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_core.payload_plain import LEVELS, reader_of_plain
from relay_core.payloads import Encoder, Limits, Packed, pack

ATOMS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8)
KEYS = st.text(max_size=6) | st.sampled_from(["$relay", "token", "password", "a"])
PLAIN = st.recursive(
    ATOMS | st.sampled_from(["a1" * 12, "hunter2", "$relay"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)
ODD = st.recursive(
    ATOMS | st.binary(max_size=4) | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(-9, 9) | st.none(), inner, max_size=3)
    ),
)


def careful(data):
    """An encoder that takes no short cut."""
    return Encoder(Limits(max_depth=63))._careful(Packed(data))


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(KEYS, PLAIN | ODD, max_size=3))
def test_the_short_way_shows_what_the_careful_way_shows(payload):
    data = msgspec.msgpack.encode(payload)
    encoder = Encoder()
    assert msgspec.json.encode(encoder.tree(Packed(data))) == msgspec.json.encode(careful(data))
    assert msgspec.json.decode(Encoder().json(Packed(data))) == msgspec.json.decode(msgspec.json.encode(careful(data)))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, b"x", {1: 2}, {None: 1}, {True: 1}, {1.5: 1}])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(msgspec.ValidationError):
        reader_of_plain()(msgspec.msgpack.encode({"a": [value]}))


@pytest.mark.parametrize("value", [1.7976931348623157e308, 5e-324, -0.0, 2**64 - 1, -(2**63), "é\u2028", ""])
def test_what_json_can_say_is_read(value):
    [read] = reader_of_plain()(msgspec.msgpack.encode([value]))
    assert (repr(read), type(read)) == (repr(value), type(value))


@pytest.mark.parametrize("levels", range(1, 3 * LEVELS))
def test_nothing_deeper_than_said_is_read(levels):
    wrap = {"objects": lambda value: {"k": value}, "lists": lambda value: [value]}
    for first in wrap:
        value = 1
        for level in range(levels):
            value = wrap[first if level % 2 else "objects"](value)
        data = msgspec.msgpack.encode(value)
        if levels > LEVELS:
            with pytest.raises(msgspec.ValidationError):
                reader_of_plain()(data)
        assert Encoder().tree(pack(value)) == value


def test_limits_hold_for_small_payloads():
    wide, deep, long = {"a": list(range(50))}, {"a": {"b": {"c": 1}}}, {"a": "x" * 50}
    assert Encoder(Limits(max_items=10)).tree(pack(wide))["a"][10:] == [{"$relay": {"items": 50, "kept": 10}}]
    assert Encoder(Limits(max_depth=2)).tree(pack(deep)) == {"a": {"b": {"$relay": {"depth": 2}}}}
    assert Encoder(Limits(max_string=10)).tree(pack(long))["a"]["$relay"]["truncated"]
    assert Encoder(Limits(max_bytes=30)).tree(pack(long))["$relay"]["truncated"]
    assert Encoder(Limits(max_bytes=100)).tree(pack({"a": "\x01" * 30}))["$relay"]["truncated"]
