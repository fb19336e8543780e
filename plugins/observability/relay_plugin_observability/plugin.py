"""The hooks by which Relay finds, configures, stops and examines this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from relay_core.hookspecs import hookimpl
from relay_plugin_observability.exporter import AtofExporter
from relay_plugin_observability.settings import ObservabilitySettings

if TYPE_CHECKING:
    from relay_core import Relay

__all__ = ["relay_config_schema", "relay_configure", "relay_doctor", "relay_shutdown"]

_exporters: WeakKeyDictionary[Relay, list[AtofExporter]] = WeakKeyDictionary()


@hookimpl
def relay_config_schema() -> type[ObservabilitySettings]:
    """Name the type of ``[plugins.observability]``."""
    return ObservabilitySettings


@hookimpl
def relay_configure(relay: Relay, config: ObservabilitySettings) -> None:
    """Install the exporters that have a table in the configuration."""
    atof = config.atof
    if not atof.enabled:
        return
    exporter = AtofExporter(
        directory=atof.directory, filename=atof.filename, durability=atof.durability, mode=atof.mode
    )
    relay.register("subscriber", exporter)
    _exporters.setdefault(relay, []).append(exporter)


@hookimpl
def relay_shutdown(relay: Relay) -> None:
    """Close the files; the runtime has drained its queue by now."""
    for exporter in _exporters.pop(relay, []):
        exporter.close(timeout=1.0)


@hookimpl
def relay_doctor(relay: Relay) -> list[dict[str, Any]]:
    """Say for each file whether it can be written, its state, and what was dropped."""
    return [_examine(exporter) for exporter in _exporters.get(relay, [])]


def _examine(exporter: AtofExporter) -> dict[str, Any]:
    problem = exporter.sink.check()
    stats = exporter.stats()
    lost = ", ".join(f"{count} {reason}" for reason, count in sorted(stats.dropped.items()))
    return {
        "check": "atof file",
        "ok": problem is None and not stats.dropped,
        "detail": f"{str(exporter.path)!r}: {problem or 'writable'}; state {stats.state}, "
        f"written {stats.written}, dropped {lost or 'none'}",
    }
