"""Measurements: what `relay.metric` takes, and the rules they keep."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any, Final, cast

from relay_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Measurement", "measured"]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}\Z", re.ASCII)
_UNIT_LENGTH: Final = 63
_VALUE_TYPES: Final = {
    "counter": ("u64", "f64"),
    "up_down_counter": ("i64", "f64"),
    "gauge": ("u64", "i64", "f64"),
    "histogram": ("u64", "f64"),
}
_RANGES: Final = {"u64": (0, 2**63 - 1), "i64": (-(2**63), 2**63 - 1)}
_SCHEMA: Final = {"name": "nemo.relay.metric_measurements", "version": "1"}  # the format's own name


class Measurement:
    """One measured value.

    Args:
        name: up to 255 ASCII letters, digits and ``_ . - /``, a letter first.
        kind: counter, up_down_counter, gauge or histogram.
        value_type: u64, i64 or f64, as the kind allows.
        value: the number; counters are not negative.
        unit: ASCII, up to 63 characters, such as "ms".
        description: for people.
        attributes: primitive values, or lists of primitives of one type.
        boundaries: of a histogram's buckets, strictly rising.

    Raises:
        UsageError: a rule is broken; the text says which.

    Example:
        >>> import relay_core as relay
        >>> relay.Measurement("latency", "histogram", "f64", 12.5, unit="ms", boundaries=[5, 10]).value
        12.5
    """

    __slots__ = ("attributes", "boundaries", "description", "kind", "name", "unit", "value", "value_type")

    def __init__(
        self,
        name: str,
        kind: str,
        value_type: str,
        value: float,
        *,
        unit: str | None = None,
        description: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        boundaries: Sequence[float] | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.value_type = value_type
        self.value = value
        self.unit = unit
        self.description = description
        self.attributes = dict(attributes) if attributes else None
        self.boundaries = list(boundaries) if boundaries is not None else None
        problem = self._problem()
        if problem:
            raise UsageError(f"measurement {name!r}: {problem}")

    def _problem(self) -> str | None:
        if not _is_text(self.name) or not _NAME.match(self.name):
            return "the name needs a letter first, then letters, digits, _ . - /, at most 255 in all"
        if self.kind not in _VALUE_TYPES:
            return f"kind {self.kind!r} is none of {', '.join(_VALUE_TYPES)}"
        if self.value_type not in _VALUE_TYPES[self.kind]:
            return f"a {self.kind} takes {' or '.join(_VALUE_TYPES[self.kind])}, not {self.value_type!r}"
        if self.unit is not None and not (
            _is_text(self.unit) and self.unit.isascii() and len(self.unit) <= _UNIT_LENGTH
        ):
            return "the unit must be ASCII of at most 63 characters"
        rising = self.boundaries or []
        if not all(_is_finite(value) for value in rising):
            return "the boundaries must be finite numbers"
        if any(a >= b for a, b in itertools.pairwise(rising)):
            return "the boundaries must rise strictly"
        return self._value_problem() or self._attribute_problem()

    def _value_problem(self) -> str | None:
        value: Any = self.value
        if type(value) not in ((int,) if self.value_type != "f64" else (int, float)):
            return f"{self.value_type} needs {'a number' if self.value_type == 'f64' else 'an int'}, got {value!r}"
        if not _is_finite(value):
            return "the value must be finite"
        low, high = _RANGES.get(self.value_type, (value, value))
        if not low <= value <= high:
            return f"{value!r} does not fit {self.value_type}"
        return "a counter is not negative" if self.kind == "counter" and value < 0 else None

    def _attribute_problem(self) -> str | None:
        for key, value in (self.attributes or {}).items():
            if not _is_text(key):
                return f"attribute {key!r} needs text as its name"
            items: list[Any] = cast("list[Any]", value) if type(value) is list else [value]
            if len(set(map(type, items))) > 1 or any(type(i) not in (str, bool, int, float) for i in items):
                return f"attribute {key!r} must be text, bool, int or float, or a list of one of them"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Give all fields by name."""
        return {slot: getattr(self, slot) for slot in self.__slots__}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_finite(value: object) -> bool:
    """Tell whether it is a number that a 64-bit float can hold."""
    try:
        return type(value) in (int, float) and math.isfinite(value)  # pyright: ignore[reportArgumentType]  # a number
    except OverflowError:
        return False


def measured(measurements: Iterable[Any]) -> dict[str, Any]:
    """Check a group and give the mark's data and data schema.

    Raises:
        UsageError: the group is empty, or holds something that is no `Measurement`.
    """
    group = list(measurements)
    if not group:
        raise UsageError("metric needs at least one Measurement")
    for item in group:
        if not isinstance(item, Measurement):
            raise UsageError(f"metric takes Measurement objects, got {type(item).__name__}")
    return {"data": {"measurements": [item.to_dict() for item in group]}, "data_schema": _SCHEMA}
