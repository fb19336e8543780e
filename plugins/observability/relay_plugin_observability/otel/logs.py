"""Marks as log records."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Literal

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from relay_plugin_observability.otel.encoding import any_value, clean, key_values, unix_nano
from relay_plugin_observability.otel.facts import mapping
from relay_plugin_observability.otel.identity import span_id, trace_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    from relay_core.events import MarkEvent
    from relay_plugin_observability.projection import Attribute

__all__ = ["SEVERITIES", "SeverityName", "log_record", "log_request", "severity_of"]

SeverityName = Literal["trace", "debug", "info", "warn", "error"]
SEVERITIES: Final = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "warning": 13, "error": 17, "fatal": 21}
_NAMES: Final = {1: "TRACE", 5: "DEBUG", 9: "INFO", 13: "WARN", 17: "ERROR", 21: "FATAL"}
_SEVERITY_KEY: Final = "nemo_relay.log.severity"  # the format's own key
_SAMPLED: Final = 1


def severity_of(mark: MarkEvent) -> int:
    """Read how serious a mark is; one that says nothing, or something unknown, is information."""
    told = mapping(mark.metadata).get(_SEVERITY_KEY)
    return SEVERITIES.get(told.lower(), 9) if isinstance(told, str) else 9


def log_record(mark: MarkEvent) -> LogRecord:
    """Write a mark: its data is the body, its name the name of the event."""
    severity = severity_of(mark)
    parent = mark.parent_uuid
    made = LogRecord(
        time_unix_nano=unix_nano(mark.timestamp_ns),
        observed_time_unix_nano=time.time_ns(),
        severity_number=severity,  # pyright: ignore[reportArgumentType]  # an enumeration's number
        severity_text=_NAMES[severity],
        event_name=clean(mark.name),
        body=None if mark.data is None else any_value(mark.data),
        attributes=_attributes(mark),
        flags=_SAMPLED,
    )
    if parent is not None:
        made.trace_id, made.span_id = trace_id(mark), span_id(parent)
    return made


def _attributes(mark: MarkEvent) -> list[KeyValue]:
    found: dict[str, Attribute] = {"relay.mark.name": mark.name, "relay.mark.uuid": mark.uuid}
    schema = mapping(mark.data_schema)
    told = {
        "relay.mark.parent_uuid": mark.parent_uuid,
        "relay.mark.category": mark.category,
        "relay.mark.data_schema.name": schema.get("name"),
        "relay.mark.data_schema.version": schema.get("version"),
    }
    found.update((key, value) for key, value in told.items() if isinstance(value, str))
    made = key_values(found)
    metadata = {key: value for key, value in mapping(mark.metadata).items() if key != _SEVERITY_KEY}
    nested: dict[str, Any] = {"relay.mark.metadata": metadata, "relay.mark.profile": mark.category_profile}
    made.extend(KeyValue(key=key, value=any_value(value)) for key, value in nested.items() if value)
    return made


def log_request(
    resource: Resource, scope: InstrumentationScope
) -> Callable[[list[LogRecord]], ExportLogsServiceRequest]:
    """Make the function that puts log records together to a request."""

    def request(records: list[LogRecord]) -> ExportLogsServiceRequest:
        scoped = ScopeLogs(scope=scope, log_records=records)
        return ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=resource, scope_logs=[scoped])])

    return request
