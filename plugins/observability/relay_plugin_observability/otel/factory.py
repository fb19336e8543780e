"""Makes exporters of settings, and examines them."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from relay_core.errors import ConfigError
from relay_plugin_observability.otel.environment import Environment
from relay_plugin_observability.otel.settings import OtelSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_plugin_observability.otel.exporter import OtlpExporter

__all__ = ["build", "close_all", "doctor_rows"]

_EXTRA: Final = 'pip install "relay-plugin-observability[otel]"'
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_log = logging.getLogger("relay.observability")


def build(
    settings: OtelSettings | Sequence[OtelSettings], environment: Environment | None = None
) -> list[OtlpExporter]:
    """Make the exporters of the destinations that are on; nothing is sent before the first event.

    Args:
        settings: one destination or several.
        environment: the ``OTEL_*`` variables; default those of the process.

    Raises:
        ConfigError: packages are missing, or two destinations contradict each other.

    Example:
        >>> build(OtelSettings(sdk_disabled=True))
        []
    """
    found = environment or Environment()
    given = [settings] if isinstance(settings, OtelSettings) else list(settings)
    chosen = [one for one in given if one.enabled and not _is_disabled(one, found)]
    if not chosen:
        return []
    _require_packages(chosen, found)
    from relay_plugin_observability.otel.assembly import assemble  # noqa: PLC0415  # needs the extra packages

    names = _names(chosen)
    made = [assemble(one, name, found, _version()) for one, name in zip(chosen, names, strict=True)]
    _refuse_collisions(made, chosen)
    for problem in dict.fromkeys(found.problems):
        _log.warning("opentelemetry: %s", problem)
    return made


def _is_disabled(settings: OtelSettings, environment: Environment) -> bool:
    if settings.sdk_disabled is not None:
        return settings.sdk_disabled
    if environment.disabled:
        _log.warning(
            "opentelemetry: OTEL_SDK_DISABLED is set, so nothing is exported; sdk_disabled = false overrides it"
        )
    return environment.disabled


def _require_packages(chosen: list[OtelSettings], environment: Environment) -> None:
    needed = ["google.protobuf", "opentelemetry.proto"]
    protocols = {one.protocol or environment.exporter(signal, "PROTOCOL") for one in chosen for signal in one.signals}
    if "grpc" in protocols:
        needed.append("grpc")
    missing = [name for name in needed if not _can_import(name)]
    if missing:
        raise ConfigError([f"otel: needs {', '.join(missing)}, which cannot be found; {_EXTRA}"])


def _can_import(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _version() -> str:
    try:
        return version("relay-plugin-observability")
    except PackageNotFoundError:
        return "0"


def _names(chosen: list[OtelSettings]) -> list[str]:
    names: list[str] = []
    for index, one in enumerate(chosen, 1):
        name = one.name or ("otel" if index == 1 else f"otel-{index}")
        if name in names:
            raise ConfigError([f"otel: two destinations are named {name!r}; give each a name of its own"])
        names.append(name)
    return names


def _refuse_collisions(made: list[OtlpExporter], chosen: list[OtelSettings]) -> None:
    """Ids are the same in every projection, so two projections in one place would overwrite each other."""
    seen: dict[str, str] = {}
    for exporter, settings in zip(made, chosen, strict=True):
        stats = exporter.stats().traces
        if stats is None:
            continue
        place = _canonical(stats.where)
        other = seen.setdefault(place, settings.projection)
        if other != settings.projection:
            raise ConfigError(
                [f"otel: {stats.where} would get the same spans in two projections, {other} and {settings.projection}"]
            )


def _canonical(where: str) -> str:
    parts = urlsplit(where)
    host = "localhost" if parts.hostname in _LOOPBACK else parts.hostname
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{host}:{port}/{parts.path.strip('/')}" if parts.scheme else str(Path(where))


def close_all(exporters: Sequence[OtlpExporter], timeout: float = 5.0) -> None:
    """Close several exporters side by side, all of them in at most 5 seconds."""
    from threading import Thread  # noqa: PLC0415  # only at the end

    if len(exporters) == 1:
        exporters[0].close(timeout)
        return
    threads = [Thread(target=exporter.close, args=(timeout,), daemon=True) for exporter in exporters]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:  # no thread can start any more
        for exporter in exporters:
            exporter.close(timeout / len(exporters))
    for thread in threads:
        if thread.ident is not None:
            thread.join(timeout)


def doctor_rows(
    exporters: Sequence[OtlpExporter],
    settings: OtelSettings | Sequence[OtelSettings] = (),
    environment: Environment | None = None,
) -> list[dict[str, Any]]:
    """Say for each signal of each destination whether the collector answers, and what was lost.

    Args:
        exporters: that run.
        settings: that they were made from, to say which are off.
        environment: the ``OTEL_*`` variables.
    """
    found = environment or Environment()
    given = [settings] if isinstance(settings, OtelSettings) else list(settings)
    rows: list[dict[str, Any]] = []
    if any(one.enabled and one.sdk_disabled is None for one in given) and found.disabled:
        rows.append({"check": "otel", "ok": False, "detail": "off, because OTEL_SDK_DISABLED is set"})
    for exporter in exporters:
        rows += exporter.examine()
    return rows
