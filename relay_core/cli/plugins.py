"""`relay plugins`: what is installed, what is on, and why something is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from relay_core.cli.config import config_option
from relay_core.cli.output import Painter, Span, echo_json, json_option
from relay_core.cli.state import examine_plugins
from relay_core.cli.table import paint_table
from relay_core.cli.text import safe

if TYPE_CHECKING:
    from pathlib import Path

    from relay_core.plugins import PluginRecord

__all__ = ["command", "why_off"]


@click.command("plugins")
@config_option
@json_option
def command(path: Path | None, *, as_json: bool) -> None:
    """List the installed plugins.

    Plugins that the configuration turns on are imported and checked, but not started; others are only named.
    """
    found = examine_plugins(path)
    if as_json:
        rows = [msgspec.to_builtins(record) | {"why_off": why_off(record)} for record in found.records]
        commands = sorted(str(added.name) for added in found.host.commands())
        echo_json({"plugins": rows, "problems": found.problems, "commands": commands})
        return
    painter = Painter()
    if not found.records:
        painter.line("no plugins are installed; they register themselves in the entry point group relay.plugins")
    else:
        rows = [_cells(record) for record in found.records]
        paint_table(painter, ("name", "state", "version", "distribution", "hooks"), rows, ("bold", "", "", "dim", ""))
    for record in found.records:
        if why := why_off(record):
            painter.line(Span(f"{safe(record.name)}: {safe(why, 1_000)}", "yellow"))
    for added in found.host.commands():
        painter.line(f"command: relay {safe(str(added.name))}")


def _cells(record: PluginRecord) -> tuple[str, ...]:
    hooks = " ".join(record.hooks) or "-"
    return record.name, record.state, record.version or "-", record.distribution or "-", hooks


def why_off(record: PluginRecord) -> str | None:
    """Say why a plugin is not on; None if it is, or would be in a program."""
    if record.error:
        return record.error
    if record.state == "installed":
        return f"not in the configuration; add [plugins.{record.name}] to turn it on"
    if record.state == "blocked":
        return "turned off by the configuration (enabled = false, or RELAY_PLUGINS does not name it)"
    return None
