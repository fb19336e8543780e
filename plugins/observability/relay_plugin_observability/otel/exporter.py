"""The subscriber that sends runs to an OpenTelemetry collector: traces, logs and metrics."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_plugin_observability.otel.aggregation import Aggregator, MetricLimits, Temporality
from relay_plugin_observability.otel.channel import Channel, ChannelStats, Item
from relay_plugin_observability.otel.facts import mapping
from relay_plugin_observability.otel.identity import Sampler, trace_id, upstream_of
from relay_plugin_observability.otel.logs import log_record, severity_of
from relay_plugin_observability.otel.metrics import is_measurement, measured_by_mark, measured_by_scope
from relay_plugin_observability.otel.records import RecordKeeper, Tracked
from relay_plugin_observability.otel.spans import SpanMaker, SpanOptions
from relay_plugin_observability.otel.transport import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay_core.events import Event, MarkEvent, ScopeEvent
    from relay_plugin_observability.otel.transport import Signal, Transport
    from relay_plugin_observability.projection import Projection

__all__ = ["LONGEST_CLOSE", "LogOptions", "MetricOptions", "OtlpExporter", "OtlpStats", "TraceOptions"]

LONGEST_CLOSE: Final = 5.0
"""Most seconds that closing takes, whatever the collector does."""

_log = logging.getLogger("relay.observability")
_LONGEST_FLUSH: Final = 30.0
# Of the time that is given, so that closing comes to its end within it.
_SHARE: Final = 0.9


class TraceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How scopes become spans.

    Args:
        mirror_starts: send a span of no length for each start, so that a crash leaves a trace.
        exclude_marks: names of marks that are neither events of spans nor log records.
        max_open: most open scopes to follow.
        max_events: most marks of one span.
        sampler: which traces are exported.
        spans: see `SpanOptions`.
    """

    mirror_starts: bool = False
    exclude_marks: frozenset[str] = frozenset({"llm.chunk"})
    max_open: int = 65_536
    max_events: int = 10_000
    sampler: Sampler = Sampler()
    spans: SpanOptions = SpanOptions()


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which marks become log records: those at least as serious as this number."""

    minimum: int = 9


class MetricOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How metrics are added up."""

    temporality: Temporality = "cumulative"
    limits: MetricLimits = MetricLimits()
    interval: float = 60.0


class OtlpStats(msgspec.Struct, frozen=True, kw_only=True):
    """The accounts of an exporter, one for each signal that is on.

    Args:
        open: scopes under way.
        without_start: ends whose start was never seen, so that no span could be made.
        measurements_dropped: measurements that were not added up, by reason.
    """

    traces: ChannelStats | None
    logs: ChannelStats | None
    metrics: ChannelStats | None
    open: int
    without_start: int
    measurements_dropped: dict[str, int]


class OtlpExporter:
    """Sends what happens to a collector; register it as a subscriber. `build` makes one from settings.

    It uses no global provider and no global state. Nothing it does raises into the program or waits for the collector.

    Args:
        projection: names the spans.
        traces: makes the channel of spans; None exports none.
        logs: the channel of log records.
        metrics: makes the channel of metrics, given what to poll.
        options: see `TraceOptions`.
        log_options: see `LogOptions`.
        metric_options: see `MetricOptions`.
        name: of the subscriber.
        probes: by signal, what makes a second transport to ask the collector with.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        traces: Channel | None = None,
        logs: Channel | None = None,
        metrics: Callable[[Callable[[], Item | None]], Channel] | None = None,
        options: TraceOptions | None = None,
        log_options: LogOptions | None = None,
        metric_options: MetricOptions | None = None,
        name: str = "otel",
        probes: Mapping[Signal, Callable[[], Transport]] | None = None,
    ) -> None:
        self.name = name
        self._probes = dict(probes or {})
        self._options = options or TraceOptions()
        self._minimum = (log_options or LogOptions()).minimum
        measuring = metric_options or MetricOptions()
        self._spans = SpanMaker(projection, self._options.spans)
        self._aggregator = Aggregator(measuring.temporality, measuring.limits, start_ns=time.time_ns())
        self._unmeasured: dict[str, int] = {}
        self._traces = traces
        self._logs = logs
        self._metrics = metrics(self._collect) if metrics is not None else None
        self._keeper = RecordKeeper(
            self._ended,
            on_start=self._started if self._options.mirror_starts and traces is not None else None,
            on_late_mark=self._late if traces is not None else None,
            max_open=self._options.max_open,
            max_marks=self._options.max_events,
        )
        self._follows = traces is not None or self._metrics is not None
        self._pid = os.getpid()
        self._closing = self._complained = False

    # -- subscriber ----------------------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Take one event; never raises."""
        self.on_batch((event,))

    def on_batch(self, events: Sequence[Event]) -> None:
        """Take events; never raises."""
        if self._pid != os.getpid():
            self._begin_in_child()
        for event in events:
            try:
                if event.kind == "scope":
                    if self._follows:
                        self._keeper.scope(event)  # pyright: ignore[reportArgumentType]  # its kind says so
                else:
                    self._mark(event)  # pyright: ignore[reportArgumentType]  # see above
            except Exception as error:  # noqa: BLE001  # whatever happens, the program must not notice
                self._fault(event, error)

    def flush(self, timeout: float | None = None) -> bool:
        """Send what waits; tell whether all of it is settled. Open scopes stay open."""
        deadline = time.monotonic() + (_LONGEST_FLUSH if timeout is None else timeout * _SHARE)
        results = [channel.flush(deadline) for channel in self.channels()]
        return all(results)

    def close(self, timeout: float | None = None) -> None:
        """End open spans, deliver what can be delivered, and stop, in at most 5 seconds; never raises."""
        longest = LONGEST_CLOSE if timeout is None else max(0.0, min(timeout, LONGEST_CLOSE))
        deadline = time.monotonic() + longest * _SHARE
        try:
            if self._pid == os.getpid() and not self._closing:
                self._closing = True
                self._keeper.give_up_all()
            for channel in self.channels():
                channel.begin_close(deadline)
            for channel in self.channels():
                channel.close(deadline)
        except Exception as error:  # noqa: BLE001  # see on_batch
            self._complain(type(error).__name__)

    def stats(self) -> OtlpStats:
        """Give the accounts."""
        return OtlpStats(
            traces=self._traces.stats() if self._traces is not None else None,
            logs=self._logs.stats() if self._logs is not None else None,
            metrics=self._metrics.stats() if self._metrics is not None else None,
            open=len(self._keeper),
            without_start=self._keeper.without_start,
            measurements_dropped=dict(self._unmeasured),
        )

    def examine(self) -> list[dict[str, Any]]:
        """Ask the collector of each signal with an empty request, and say what was lost so far."""
        stats = self.stats()
        rows: list[dict[str, Any]] = []
        for signal, probe in self._probes.items():
            account: ChannelStats | None = getattr(stats, signal)
            if account is None:
                continue
            transport = probe()
            outcome = transport.send(REQUESTS[signal]())
            transport.close()
            lost = ", ".join(f"{count} {reason}" for reason, count in sorted(account.dropped.items()))
            said = "answers" if outcome.ok else outcome.reason
            detail = f"{account.where}: {said}{f' ({outcome.detail})' if outcome.detail else ''}"
            rows.append(
                {
                    "check": f"{self.name} {signal}",
                    "ok": outcome.ok and not outcome.detail and not account.dropped,
                    "detail": f"{detail}; delivered {account.delivered}, pending {account.pending}, dropped {lost or 'none'}",
                }
            )
        return rows

    def channels(self) -> list[Channel]:
        """The channels of the signals that are on."""
        return [channel for channel in (self._traces, self._logs, self._metrics) if channel is not None]

    # -- scopes --------------------------------------------------------------------------------------------------

    def _started(self, tracked: Tracked) -> None:
        if self._wanted(tracked.start, tracked.trace):
            self._put_span(self._spans.mirror(tracked), urgent=True)

    def _ended(self, tracked: Tracked) -> None:
        if self._metrics is not None:
            for reading in measured_by_scope(tracked):
                self._measure(reading)
        if self._traces is None:
            return
        if not self._wanted(tracked.start, tracked.trace):
            self._traces.refuse("not_sampled")
            return
        span = self._spans.ended(tracked, self._keeper.latest_ns, closing=self._closing)
        self._put_span(span, reserved=tracked.root)

    def _wanted(self, event: ScopeEvent | MarkEvent, trace: bytes) -> bool:
        return self._options.sampler.wants(trace, upstream_of(event))

    def _put_span(self, span: bytes, *, reserved: bool = False, urgent: bool = False) -> None:
        if self._traces is not None:
            self._traces.put(Item(span, len(span), 1, reserved), urgent=urgent)

    # -- marks ---------------------------------------------------------------------------------------------------

    def _mark(self, event: MarkEvent) -> None:
        if is_measurement(event):
            self._measure_mark(event)
            return
        if event.name in self._options.exclude_marks:
            return
        if self._traces is not None:
            self._keeper.mark(event)
        if self._logs is not None and severity_of(event) >= self._minimum:
            record = log_record(event)
            self._logs.put(Item(record, record.ByteSize()))

    def _late(self, event: MarkEvent) -> None:
        if self._wanted(event, trace_id(event)):
            self._put_span(self._spans.late(event))
        elif self._traces is not None:
            self._traces.refuse("not_sampled")

    # -- metrics -------------------------------------------------------------------------------------------------

    def _measure_mark(self, event: MarkEvent) -> None:
        if self._metrics is None:
            return
        try:
            readings = measured_by_mark(event)
        except ValueError:
            rows: Any = mapping(event.data).get("measurements")
            self._not_measured("invalid", max(1, len(rows)) if isinstance(rows, list) else 1)  # pyright: ignore[reportUnknownArgumentType]  # JSON
            return
        for reading in readings:
            self._measure(reading)

    def _measure(self, reading: Any) -> None:
        refused = self._aggregator.add(reading)
        if refused is not None:
            self._not_measured(refused, 1)
        elif self._metrics is not None:
            self._metrics.start()

    def _not_measured(self, reason: str, count: int) -> None:
        self._unmeasured[reason] = self._unmeasured.get(reason, 0) + count

    def _collect(self) -> Item | None:
        metrics = self._aggregator.collect(time.time_ns())
        if not metrics:
            return None
        points = sum(_points(metric) for metric in metrics)
        return Item(metrics, sum(metric.ByteSize() for metric in metrics), points)

    # -- trouble -------------------------------------------------------------------------------------------------

    def _begin_in_child(self) -> None:
        """Start afresh: what was open and queued belongs to the parent process."""
        self._pid = os.getpid()
        self._closing = False
        self._keeper.forget()
        self._unmeasured = {}
        self._aggregator.renew(time.time_ns())

    def _fault(self, event: Event, error: Exception) -> None:
        is_end = event.kind == "scope" and getattr(event, "scope_category", None) == "end"
        if is_end and self._traces is not None:
            self._traces.refuse("not_projected")
        self._complain(type(error).__name__)

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("exporter %r: unexpected %s; said once", self.name, what)


def _points(metric: Any) -> int:
    return len(metric.histogram.data_points) + len(metric.gauge.data_points) + len(metric.sum.data_points)
