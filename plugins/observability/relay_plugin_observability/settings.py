"""The plugin's section of the configuration, ``[plugins.observability]``."""

from __future__ import annotations

import msgspec

from relay_core.errors import ConfigError
from relay_plugin_observability.file_sink import Durability, Mode  # noqa: TC001  # msgspec resolves them at run time
from relay_plugin_observability.paths import DEFAULT_FILENAME, process_values, resolve

__all__ = ["AtofSettings", "ObservabilitySettings"]


class AtofSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.observability.atof]``: write events to a file, one ATOF line each.

    Example:
        >>> AtofSettings(directory="runs").durability
        'buffered'
    """

    enabled: bool = True
    directory: str = "."
    filename: str = DEFAULT_FILENAME
    durability: Durability = "buffered"
    mode: Mode = "append"

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

    Example:
        >>> ObservabilitySettings().atof.enabled
        False
    """

    atof: AtofSettings = AtofSettings(enabled=False)  # a table in the file is made from scratch, so it is enabled
