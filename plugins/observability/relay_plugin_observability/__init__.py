"""Exporters for Relay. Everything is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_plugin_observability import plugin
    from relay_plugin_observability.exporter import AtofExporter
    from relay_plugin_observability.file_sink import FileSink, SinkStats
    from relay_plugin_observability.rotation import Rotation
    from relay_plugin_observability.streams import StreamExporter, StreamSettings, StreamStats

__all__ = [
    "AtofExporter",
    "FileSink",
    "Rotation",
    "SinkStats",
    "StreamExporter",
    "StreamSettings",
    "StreamStats",
    "plugin",
]

_HOMES = {
    "AtofExporter": "exporter",
    "FileSink": "file_sink",
    "Rotation": "rotation",
    "SinkStats": "file_sink",
    "StreamExporter": "streams",
    "StreamSettings": "streams",
    "StreamStats": "streams",
    "plugin": "plugin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    return module if name == "plugin" else getattr(module, name)
