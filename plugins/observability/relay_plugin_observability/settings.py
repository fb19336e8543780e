"""The plugin's section of the configuration, ``[plugins.observability]``."""

from __future__ import annotations

import re

import msgspec

from relay_core.errors import ConfigError
from relay_plugin_observability.atif.settings import AtifSettings
from relay_plugin_observability.dialect import Dialect  # noqa: TC001  # msgspec resolves it at run time
from relay_plugin_observability.file_sink import Durability, Mode  # noqa: TC001  # msgspec resolves them at run time
from relay_plugin_observability.otel.settings import OtelSettings
from relay_plugin_observability.paths import DEFAULT_FILENAME, process_values, resolve
from relay_plugin_observability.rotation import Rotation  # noqa: TC001  # msgspec resolves it at run time
from relay_plugin_observability.streams.settings import StreamSettings  # noqa: TC001  # see above

__all__ = ["AtofSettings", "ObservabilitySettings"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_NAME_CURE = "use letters, digits, '.', '_' and '-'"


class AtofSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.observability.atof]``: write events to a file, one ATOF line each.

    Args:
        enabled: ``False`` keeps the settings and writes no file.
        directory: where the file goes.
        filename: its name; may hold ``{timestamp}``, ``{pid}`` and ``{host}``.
        durability: ``buffered``, ``line`` or ``fsync``.
        mode: ``append`` or ``overwrite``.
        rotation: when to set the file aside for a new one; without it the file grows.
        dialect: ``nat`` writes for readers that know chat completions only.

    Example:
        >>> AtofSettings(directory="runs").durability
        'buffered'
    """

    enabled: bool = True
    directory: str = "."
    filename: str = DEFAULT_FILENAME
    durability: Durability = "buffered"
    mode: Mode = "append"
    rotation: Rotation | None = None
    dialect: Dialect = "relay"

    def __post_init__(self) -> None:
        """Refuse a file name that could leave its directory, with one line for each problem."""
        if not self.enabled:
            return
        try:
            resolve(self.directory, self.filename, process_values())
        except ConfigError as error:
            raise ValueError("\n".join(error.problems)) from None


class ObservabilitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.observability]``: one table for each exporter; an exporter without a table is off.

    Args:
        atof: events in a file.
        streams: events to endpoints, each under its name: ``[plugins.observability.streams.NAME]``.
        atif: a trajectory document for each run.
        otel: traces, logs and metrics to one collector.
        otel_destinations: to further ones, each under its name: ``[plugins.observability.otel_destinations.NAME]``.

    Example:
        >>> settings = ObservabilitySettings()
        >>> settings.atof.enabled, settings.atif.enabled, settings.otel.enabled
        (False, False, False)
    """

    # A table in the file is made from scratch, so it is enabled.
    atof: AtofSettings = AtofSettings(enabled=False)
    streams: dict[str, StreamSettings] = {}
    atif: AtifSettings = AtifSettings(enabled=False)
    otel: OtelSettings = OtelSettings(enabled=False)
    otel_destinations: dict[str, OtelSettings] = {}

    def __post_init__(self) -> None:
        """Refuse names of streams that cannot stand in a log line."""
        problems = [
            f"streams: {name[:80]!r} is no name; {_NAME_CURE}" for name in self.streams if not _NAME.match(name)
        ]
        if problems:
            raise ValueError("\n".join(problems))
