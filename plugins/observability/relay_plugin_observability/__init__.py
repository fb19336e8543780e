"""Exporters for Relay. Everything is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_plugin_observability import plugin
    from relay_plugin_observability.atif import (
        AgentFacts,
        AtifError,
        AtifExporter,
        AtifSettings,
        AtifStats,
        convert_events,
        convert_file,
        read_atif,
    )
    from relay_plugin_observability.exporter import AtofExporter
    from relay_plugin_observability.file_sink import FileSink, SinkStats
    from relay_plugin_observability.otel import OtelSettings, OtlpExporter
    from relay_plugin_observability.rotation import Rotation
    from relay_plugin_observability.streams import StreamExporter, StreamSettings, StreamStats

__all__ = [
    "AgentFacts",
    "AtifError",
    "AtifExporter",
    "AtifSettings",
    "AtifStats",
    "AtofExporter",
    "FileSink",
    "OtelSettings",
    "OtlpExporter",
    "Rotation",
    "SinkStats",
    "StreamExporter",
    "StreamSettings",
    "StreamStats",
    "convert_events",
    "convert_file",
    "plugin",
    "read_atif",
]

_HOMES = {
    "AgentFacts": "atif",
    "AtifError": "atif",
    "AtifExporter": "atif",
    "AtifSettings": "atif",
    "AtifStats": "atif",
    "AtofExporter": "exporter",
    "FileSink": "file_sink",
    "OtelSettings": "otel",
    "OtlpExporter": "otel",
    "Rotation": "rotation",
    "SinkStats": "file_sink",
    "StreamExporter": "streams",
    "StreamSettings": "streams",
    "StreamStats": "streams",
    "convert_events": "atif",
    "convert_file": "atif",
    "plugin": "plugin",
    "read_atif": "atif",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    return module if name == "plugin" else getattr(module, name)
