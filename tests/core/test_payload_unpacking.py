"""Packed payloads are read whatever their keys are."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.payload_unpacking import _Reader, unpack
from relay_core.payloads import Encoder, Packed, freeze

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.datetimes(timezones=st.just(dt.UTC))
)
VALUES = st.recursive(
    ATOMS,
    lambda child: (
        st.lists(child, max_size=20) | st.dictionaries(st.text(max_size=3) | st.integers(-(2**63), 2**64 - 1), child)
    ),
)


@dataclasses.dataclass(frozen=True)
class Place:
    row: int
    column: str = "a"


class Suit(enum.Enum):
    HEARTS = "hearts"


@given(VALUES)
def test_the_careful_reader_reads_what_the_decoder_reads(value):
    data = msgspec.msgpack.encode(value)
    assert _Reader(data).value() == msgspec.msgpack.decode(data)


@pytest.mark.parametrize(
    "value",
    ["x" * 70_000, b"y" * 70_000, b"z" * 300, list(range(70_000)), {str(n): n for n in range(70_000)}, [[]] * 20],
    ids=["text", "bytes", "short bytes", "list", "map", "lists"],
)
def test_every_length_has_its_form(value):
    data = msgspec.msgpack.encode(value)
    assert _Reader(data).value() == value


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 3, 300, 70_000])
def test_extensions(size):
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(7, b"\x01" * size))
    found = _Reader(data).value()
    assert (found.code, found.data) == (7, b"\x01" * size)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x92\x01", b"\xda\xff", b"\x81\x80"])
def test_what_is_no_message_is_refused(data):
    with pytest.raises(msgspec.DecodeError):
        unpack(data)


@pytest.mark.parametrize(
    "around",
    [lambda seats: {"seats": seats}, lambda seats: [seats], lambda seats: {"trip": {"day": {"seats": seats}}}],
    ids=["nested", "listed", "deep"],
)
def test_nothing_is_lost_where_keys_are_dataclasses(around):
    seats = {Place(1): "Ann", Place(2): "Bob", (Place(3), "b"): "Cat", Suit.HEARTS: "Dan", "window": True}
    frozen = freeze(around(seats))
    assert type(frozen) is Packed
    encoder = Encoder()
    assert msgspec.json.decode(encoder.json(frozen)) == encoder.tree(frozen)
    found = encoder.tree(frozen)
    while "window" not in found:
        [found] = found.values() if isinstance(found, dict) else found
    assert sorted(map(str, found.pop("$relay")["keys"])) == ["tuple"]
    assert list(found.values()) == ["Ann", "Bob", "Cat", "Dan", True]
    assert list(found)[:2] == ["('row=1', \"column='a'\")", "('row=2', \"column='a'\")"]


def test_wide_and_secret():
    body = {f"f{n}": n for n in range(9)} | {Place(1): {"password": "hunter2"}}
    tree = Encoder().tree(freeze({"a": body}))
    assert tree["a"]["('row=1', \"column='a'\")"] == {"password": "[REDACTED]"}
