"""The hooks by which Relay finds, configures, stops and examines this plugin."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

from relay_core.hookspecs import hookimpl
from relay_plugin_observability.settings import ObservabilitySettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_core import Relay
    from relay_plugin_observability.otel import OtelSettings

__all__ = ["convert", "relay_config_schema", "relay_configure", "relay_doctor", "relay_shutdown"]

_CLOSE_TIME = 1.0
_exporters: WeakKeyDictionary[Relay, list[Any]] = WeakKeyDictionary()
_wanted: WeakKeyDictionary[Relay, list[OtelSettings]] = WeakKeyDictionary()


@hookimpl
def relay_config_schema() -> type[ObservabilitySettings]:
    """Name the type of ``[plugins.observability]``."""
    return ObservabilitySettings


@hookimpl
def relay_configure(relay: Relay, config: ObservabilitySettings) -> None:
    """Install the exporters that have a table in the configuration."""
    installed = _exporters.setdefault(relay, [])
    _wanted[relay] = _destinations(config)
    for exporter in list(_build(config)):  # all or none: a problem of one is found before another begins
        relay.register("subscriber", exporter)
        installed.append(exporter)


@hookimpl
def relay_shutdown(relay: Relay, timeout: float = _CLOSE_TIME) -> None:
    """Close the exporters side by side within one deadline; the runtime has drained its queue by now."""
    exporters = _exporters.pop(relay, [])
    _wanted.pop(relay, None)
    deadline = time.monotonic() + timeout
    threads = [Thread(target=exporter.close, args=(timeout,), daemon=True) for exporter in exporters[1:]]
    for thread, exporter in zip(threads, exporters[1:], strict=True):
        try:
            thread.start()
        except RuntimeError:  # no thread can start at interpreter exit
            exporter.close(max(0.0, deadline - time.monotonic()))
    for exporter in exporters[:1]:
        exporter.close(timeout)
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - time.monotonic()))


@hookimpl
def relay_doctor(relay: Relay) -> list[dict[str, Any]]:
    """Say for each exporter whether it can write or reach its endpoint, its state, and what was dropped."""
    from relay_plugin_observability.doctor import examine  # noqa: PLC0415  # only `relay doctor` needs it

    wanted = [one for one in _wanted.get(relay, ()) if one.enabled]
    rows: list[dict[str, Any]] = []
    if wanted:
        from relay_plugin_observability.otel import doctor_rows  # noqa: PLC0415  # see above

        rows = doctor_rows((), wanted)
    exporters = _exporters.get(relay, [])
    if not exporters:
        return rows
    with ThreadPoolExecutor(min(8, len(exporters))) as pool:  # endpoints that hang are waited for at once
        return [*rows, *(row for found in pool.map(examine, exporters) for row in found)]


def convert(source: str, form: str, folder: str) -> dict[str, Any]:
    """Do the work of `relay convert`; see `relay_plugin_observability.conversion.convert`."""
    from relay_plugin_observability.conversion import convert as run  # noqa: PLC0415  # only the command needs it

    return run(source, form, folder)


def _build(config: ObservabilitySettings) -> Iterator[Any]:
    """Make the exporters that are on; the packages of the others are not even imported."""
    atof = config.atof
    if atof.enabled:
        from relay_plugin_observability.exporter import AtofExporter  # noqa: PLC0415  # see above

        yield AtofExporter(
            directory=atof.directory,
            filename=atof.filename,
            durability=atof.durability,
            mode=atof.mode,
            rotation=atof.rotation,
            dialect=atof.dialect,
        )
    for name, stream in config.streams.items():
        if stream.enabled:
            from relay_plugin_observability.streams.exporter import StreamExporter  # noqa: PLC0415  # see above

            yield StreamExporter(stream, name=name)
    if config.atif.enabled:
        from relay_plugin_observability.atif import build as build_atif  # noqa: PLC0415  # see above

        yield build_atif(config.atif)
    destinations = _destinations(config)
    if any(one.enabled for one in destinations):
        from relay_plugin_observability.otel import build as build_otel  # noqa: PLC0415  # see above

        yield from build_otel(destinations)


def _destinations(config: ObservabilitySettings) -> list[OtelSettings]:
    return [config.otel, *(_named(one, name) for name, one in config.otel_destinations.items())]


def _named(settings: OtelSettings, name: str) -> OtelSettings:
    return settings if settings.name is not None else msgspec.structs.replace(settings, name=f"otel:{name}")
