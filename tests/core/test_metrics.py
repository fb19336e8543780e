"""Measurements: their rules, and the mark that carries them."""

from __future__ import annotations

import math

import pytest

import relay_core as relay
from relay_core import Measurement


def test_a_group_is_one_mark(rec):
    with rec.relay.scope("s") as scope:
        group = (Measurement(f"m{i}", "gauge", "i64", -i) for i in range(2))
        rec.relay.metric("turn", group, metadata={"k": 1})
        scope.metric("also", [Measurement("h", "histogram", "f64", 2, unit="ms", boundaries=[1, 5], description="d")])
    mark = rec.find("turn")
    assert mark.data_schema == {"name": "nemo.relay.metric_measurements", "version": "1"}
    assert [m["value"] for m in mark.data["measurements"]] == [0, -1]
    assert (mark.metadata, rec.parents()["turn"], rec.parents()["also"]) == ({"k": 1}, "s", "s")
    assert rec.find("also").data == {
        "measurements": [
            {
                "attributes": None,
                "boundaries": [1, 5],
                "description": "d",
                "kind": "histogram",
                "name": "h",
                "unit": "ms",
                "value": 2,
                "value_type": "f64",
            }
        ]
    }


@pytest.mark.parametrize(
    "args",
    [
        ("a", "counter", "u64", 0),
        ("a", "counter", "u64", 2**63 - 1),
        ("a", "counter", "f64", 0.5),
        ("a", "up_down_counter", "i64", -(2**63)),
        ("A.b_c-d/9", "gauge", "u64", 1),
        ("a" * 255, "gauge", "f64", -1.5),
        ("a", "histogram", "u64", 7),
    ],
)
def test_these_are_measurements(args):
    made = Measurement(*args, attributes={"s": "x", "l": [1, 2], "b": True, "e": []}, unit="u" * 63)
    assert (made.name, made.kind, made.value_type, made.value) == args


@pytest.mark.parametrize(
    ("args", "options", "why"),
    [
        (("", "gauge", "u64", 1), {}, "the name"),
        (("1a", "gauge", "u64", 1), {}, "the name"),
        (("a b", "gauge", "u64", 1), {}, "the name"),
        (("é", "gauge", "u64", 1), {}, "the name"),
        (("a\n", "gauge", "u64", 1), {}, "the name"),
        (("a" * 256, "gauge", "u64", 1), {}, "the name"),
        ((7, "gauge", "u64", 1), {}, "the name"),
        (("a", "meter", "u64", 1), {}, "kind 'meter'"),
        (("a", "counter", "i64", 1), {}, "takes u64 or f64"),
        (("a", "up_down_counter", "u64", 1), {}, "takes i64 or f64"),
        (("a", "histogram", "i64", 1), {}, "takes u64 or f64"),
        (("a", "gauge", "u32", 1), {}, "not 'u32'"),
        (("a", "counter", "u64", -1), {}, "does not fit u64"),
        (("a", "counter", "f64", -0.5), {}, "not negative"),
        (("a", "counter", "u64", 2**63), {}, "does not fit"),
        (("a", "gauge", "i64", 2**63), {}, "does not fit"),
        (("a", "gauge", "u64", 1.0), {}, "needs an int"),
        (("a", "gauge", "u64", True), {}, "needs an int"),
        (("a", "gauge", "f64", "1"), {}, "needs a number"),
        (("a", "gauge", "f64", math.nan), {}, "finite"),
        (("a", "gauge", "f64", -math.inf), {}, "finite"),
        (("a", "gauge", "f64", 10**400), {}, "finite"),
        (("a", "gauge", "u64", 1), {"unit": "µs"}, "the unit"),
        (("a", "gauge", "u64", 1), {"unit": "u" * 64}, "the unit"),
        (("a", "gauge", "u64", 1), {"attributes": {"k": None}}, "attribute 'k'"),
        (("a", "gauge", "u64", 1), {"attributes": {"k": [1, "a"]}}, "attribute 'k'"),
        (("a", "gauge", "u64", 1), {"attributes": {"k": [[1]]}}, "attribute 'k'"),
        (("a", "gauge", "u64", 1), {"attributes": {1: "x"}}, "attribute 1"),
        (("a", "histogram", "u64", 1), {"boundaries": [1, 1]}, "rise strictly"),
        (("a", "histogram", "u64", 1), {"boundaries": [2, 1]}, "rise strictly"),
        (("a", "histogram", "u64", 1), {"boundaries": [1, math.nan]}, "finite numbers"),
        (("a", "histogram", "u64", 1), {"boundaries": [1, "2"]}, "finite numbers"),
        (("a", "gauge", "u64", 1), {"unit": 1}, "the unit"),
    ],
)
def test_these_are_not(args, options, why):
    with pytest.raises(relay.UsageError, match=why):
        Measurement(*args, **options)


def test_a_group_is_taken_whole_or_not_at_all(rec):
    good = Measurement("a", "gauge", "u64", 1)
    for group in ([], [good, {"name": "b"}], [good, None]):
        with pytest.raises(relay.UsageError, match="Measurement"):
            rec.relay.metric("turn", group)
    assert rec.shape() == []
