"""Adding up measurements between two exports, within bounds: sums, last values and histograms."""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from relay_plugin_observability.otel.encoding import clean, key_values, unix_nano

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_plugin_observability.projection import Attribute

__all__ = ["DEFAULT_BOUNDARIES", "Aggregator", "MetricLimits", "Reading", "Temporality"]

Temporality = Literal["cumulative", "delta", "low_memory"]
Kind = Literal["counter", "up_down_counter", "gauge", "histogram"]

DEFAULT_BOUNDARIES: Final = (
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0,
)  # fmt: skip
_OVERFLOW: Final[dict[str, Attribute]] = {"otel.metric.overflow": True}
_CUMULATIVE: Final = pb.AGGREGATION_TEMPORALITY_CUMULATIVE
_DELTA: Final = pb.AGGREGATION_TEMPORALITY_DELTA


class MetricLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept.

    Args:
        instruments: most metrics; measurements of others are dropped.
        series: most sets of attributes of one metric; others are added up in one series that says so.
    """

    instruments: int = 256
    series: int = 2000


class Reading(msgspec.Struct, frozen=True):
    """One measured value.

    Args:
        time_ns: when it was measured.
        trace: id of the trace that it was measured in, for the exemplar.
        span: id of the span.
    """

    name: str
    kind: Kind
    value: float
    unit: str = ""
    description: str = ""
    attributes: Mapping[str, Attribute] = {}
    boundaries: tuple[float, ...] | None = None
    whole: bool = False
    time_ns: int = 0
    trace: bytes = b""
    span: bytes = b""


class _Series:
    """One metric with one set of attributes."""

    __slots__ = ("attributes", "buckets", "changed", "count", "highest", "latest", "lowest", "since", "total")

    def __init__(self, attributes: Mapping[str, Attribute], buckets: int, since: int) -> None:
        self.attributes = key_values(attributes)
        self.buckets = [0] * buckets
        self.since = since
        self.clear()

    def clear(self) -> None:
        self.total: float = 0
        self.count = 0
        self.lowest = self.highest = 0.0
        self.latest: Reading | None = None
        self.changed = False
        self.buckets = [0] * len(self.buckets)

    def add(self, reading: Reading, boundaries: tuple[float, ...]) -> None:
        value = reading.value
        first = self.count == 0
        self.total = value if reading.kind == "gauge" else self.total + value
        self.count += 1
        self.lowest = value if first else min(self.lowest, value)
        self.highest = value if first else max(self.highest, value)
        if self.buckets:
            self.buckets[bisect_left(boundaries, value)] += 1
        if self.latest is None or reading.time_ns >= self.latest.time_ns:
            self.latest = reading
        self.changed = True


class _Instrument:
    """One metric."""

    def __init__(self, reading: Reading) -> None:
        self.name = reading.name
        self.kind: Kind = reading.kind
        self.unit = reading.unit
        self.whole = reading.whole
        self.description = reading.description
        given = DEFAULT_BOUNDARIES if reading.boundaries is None else reading.boundaries
        self.boundaries = given if reading.kind == "histogram" else ()
        self.series: dict[Any, _Series] = {}

    def fits(self, reading: Reading) -> bool:
        return (self.kind, self.unit, self.whole) == (reading.kind, reading.unit, reading.whole)


class Aggregator:
    """Adds measurements up and gives OTLP metrics.

    Args:
        temporality: ``cumulative``: since the start; ``delta``: since the last export; ``low_memory``: delta for
            counters and histograms, cumulative for up-down counters.
        limits: see `MetricLimits`.
        start_ns: when counting began.

    Example:
        >>> adder = Aggregator(start_ns=1)
        >>> adder.add(Reading("cups", "counter", 2, whole=True)), adder.add(Reading("cups", "gauge", 2.0))
        (None, 'descriptor_conflict')
        >>> [metric.name for metric in adder.collect(2)]
        ['cups']
    """

    def __init__(
        self, temporality: Temporality = "cumulative", limits: MetricLimits | None = None, *, start_ns: int
    ) -> None:
        self._temporality: Temporality = temporality
        self._limits = limits or MetricLimits()
        self._start_ns = start_ns
        self._instruments: dict[str, _Instrument] = {}
        self._lock = threading.Lock()
        self.overflowed = 0

    def renew(self, start_ns: int) -> None:
        """Count from nothing, in a forked child."""
        self._lock = threading.Lock()
        self._instruments = {}
        self._start_ns = start_ns
        self.overflowed = 0

    def add(self, reading: Reading) -> str | None:
        """Take a measurement in.

        Returns:
            None, or in a word why it was not taken.
        """
        with self._lock:
            found = self._instruments.get(reading.name)
            if found is None:
                if len(self._instruments) >= self._limits.instruments:
                    return "instrument_limit"
                if any(name.lower() == reading.name.lower() for name in self._instruments):
                    return "descriptor_conflict"  # collectors take names that differ in case only for one
                found = self._instruments[reading.name] = _Instrument(reading)
            if not found.fits(reading):
                return "descriptor_conflict"
            self._series(found, reading).add(reading, found.boundaries)
            return None

    def _series(self, instrument: _Instrument, reading: Reading) -> _Series:
        attributes = reading.attributes
        key: Any = frozenset((name, type(value), str(value)) for name, value in attributes.items())
        if key not in instrument.series and len(instrument.series) >= self._limits.series - 1:
            key, attributes = "overflow", _OVERFLOW
            self.overflowed += 1
        found = instrument.series.get(key)
        if found is None:
            buckets = len(instrument.boundaries) + 1 if instrument.kind == "histogram" else 0
            found = instrument.series[key] = _Series(attributes, buckets, self._start_ns)
        return found

    def collect(self, now_ns: int) -> list[pb.Metric]:
        """Give all metrics, with delta temporality what has changed; nothing if nothing has changed at all."""
        with self._lock:
            everything = (one for item in self._instruments.values() for one in item.series.values())
            if not any(one.changed for one in everything):
                return []
            made = (self._metric(item, now_ns) for item in self._instruments.values())
            return [metric for metric in made if metric is not None]

    def _metric(self, instrument: _Instrument, now_ns: int) -> pb.Metric | None:
        delta = self._is_delta(instrument.kind)
        chosen = [series for series in instrument.series.values() if series.changed or not delta]
        if not chosen:
            return None
        metric = pb.Metric(
            name=clean(instrument.name), unit=clean(instrument.unit), description=clean(instrument.description)
        )
        temporality = _DELTA if delta else _CUMULATIVE
        if instrument.kind == "histogram":
            metric.histogram.aggregation_temporality = temporality
            metric.histogram.data_points.extend(_distribution(one, instrument, now_ns) for one in chosen)
        elif instrument.kind == "gauge":
            metric.gauge.data_points.extend(_number(one, instrument, now_ns) for one in chosen)
        else:
            metric.sum.aggregation_temporality = temporality
            metric.sum.is_monotonic = instrument.kind == "counter"
            metric.sum.data_points.extend(_number(one, instrument, now_ns) for one in chosen)
        for one in chosen:
            one.changed = False
        if delta:
            instrument.series.clear()
            self._start_ns = now_ns
        return metric

    def _is_delta(self, kind: Kind) -> bool:
        if kind == "up_down_counter" or self._temporality == "cumulative":
            return self._temporality == "delta" and kind != "up_down_counter"
        return True


def _number(series: _Series, instrument: _Instrument, now_ns: int) -> pb.NumberDataPoint:
    latest = series.latest
    gauge = instrument.kind == "gauge"
    point = pb.NumberDataPoint(
        attributes=series.attributes,
        # A last value is as old as its measurement; a sum is complete up to now.
        time_unix_nano=unix_nano(latest.time_ns) if gauge and latest is not None and latest.time_ns else now_ns,
        start_time_unix_nano=0 if gauge else series.since,
    )
    if instrument.whole:
        point.as_int = max(-(2**63), min(2**63 - 1, int(series.total)))
    else:
        point.as_double = float(series.total)
    _add_exemplar(point, latest, whole=instrument.whole)
    return point


def _distribution(series: _Series, instrument: _Instrument, now_ns: int) -> pb.HistogramDataPoint:
    point = pb.HistogramDataPoint(
        attributes=series.attributes,
        time_unix_nano=now_ns,
        start_time_unix_nano=series.since,
        count=series.count,
        sum=float(series.total),
        bucket_counts=series.buckets,
        explicit_bounds=instrument.boundaries,
        min=float(series.lowest),
        max=float(series.highest),
    )
    _add_exemplar(point, series.latest, whole=instrument.whole)
    return point


def _add_exemplar(point: Any, reading: Reading | None, *, whole: bool) -> None:
    """Point at the span of the last measurement, with its own time."""
    if reading is None or not reading.trace:
        return
    exemplar = pb.Exemplar(time_unix_nano=unix_nano(reading.time_ns), trace_id=reading.trace, span_id=reading.span)
    if whole:
        exemplar.as_int = int(reading.value)
    else:
        exemplar.as_double = float(reading.value)
    point.exemplars.append(exemplar)
