"""Exporters that send events over the network as they happen. Everything is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_plugin_observability.streams.exporter import StreamExporter
    from relay_plugin_observability.streams.outbox import StreamStats
    from relay_plugin_observability.streams.settings import StreamSettings

__all__ = ["StreamExporter", "StreamSettings", "StreamStats"]

_HOMES = {"StreamExporter": "exporter", "StreamSettings": "settings", "StreamStats": "outbox"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
