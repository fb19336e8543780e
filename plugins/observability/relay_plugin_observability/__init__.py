"""Exporters for Relay. Everything is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_plugin_observability import plugin
    from relay_plugin_observability.exporter import AtofExporter
    from relay_plugin_observability.file_sink import FileSink, SinkStats

__all__ = ["AtofExporter", "FileSink", "SinkStats", "plugin"]

_HOMES = {"AtofExporter": "exporter", "FileSink": "file_sink", "SinkStats": "file_sink", "plugin": "plugin"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    return module if name == "plugin" else getattr(module, name)
