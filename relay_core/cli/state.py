"""What is installed and configured, found without changing the default runtime."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import click

    from relay_core.adapters import AdapterHost
    from relay_core.config import Config
    from relay_core.plugins import PluginHost, PluginRecord
    from relay_core.runtime import Relay

__all__ = ["PluginState", "examine_adapters", "examine_plugins", "plugin_commands", "quiet"]


class PluginState(NamedTuple):
    """The plugins of a runtime of their own, checked and not started."""

    relay: Relay
    host: PluginHost
    config: Config
    problems: list[str]

    @property
    def records(self) -> list[PluginRecord]:
        """All plugins that are known."""
        return self.host.records()


def quiet() -> None:
    """Keep Relay's log off the screen: the command shows the same as data."""
    logger = logging.getLogger("relay")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def examine_plugins(path: Path | None) -> PluginState:
    """Find all plugins; import and check those that the configuration turns on.

    Args:
        path: a configuration file, instead of those found.

    Raises:
        ConfigError: the configuration is wrong.
    """
    from relay_core.plugins import PluginHost, load_config  # noqa: PLC0415  # not needed for --help
    from relay_core.runtime import Relay  # noqa: PLC0415  # see above

    quiet()
    config = load_config(Relay(), path)
    relay = Relay(config.settings)
    host = PluginHost(relay)
    host.discover()
    return PluginState(relay, host, config, host.prepare(config.settings.plugins, config.origins))


def plugin_commands() -> list[click.Command]:
    """Give the commands that configured plugins add.

    Raises:
        ConfigError: the configuration is wrong.
    """
    from relay_core.config import load  # noqa: PLC0415  # not needed for --help

    return examine_plugins(None).host.commands() if load().settings.plugins else []


@contextmanager
def examine_adapters(path: Path | None) -> Generator[AdapterHost]:
    """Find all adapters for a block; import those that may run, without their frameworks. At its end they are taken off.

    Args:
        path: a configuration file, instead of those found.

    Raises:
        ConfigError: the configuration is wrong.
    """
    from relay_core.adapters import AdapterHost  # noqa: PLC0415  # not needed for --help
    from relay_core.config import load  # noqa: PLC0415  # see above
    from relay_core.runtime import Relay  # noqa: PLC0415  # see above

    quiet()
    host = AdapterHost(Relay(load(path).settings))
    host.autoload()
    try:
        yield host
    finally:
        host.uninstall()
