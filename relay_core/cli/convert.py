"""`relay convert`: event files into other formats, by the plugin that writes these."""

from __future__ import annotations

from typing import Any

import click

from relay_core.cli.output import echo_json, json_option
from relay_core.discovery import find, import_one
from relay_core.errors import PluginError

__all__ = ["command"]

_GROUP = "relay.plugins"
_PLUGIN = "observability"


@click.command("convert")
@click.argument("source", metavar="FILE")
@click.option("--to", "form", type=click.Choice(["atif"]), default="atif", show_default=True, help="Format to write.")
@click.option("--out", metavar="DIR", default=".", show_default=True, help="Where documents go; made if missing.")
@json_option
def command(source: str, form: str, out: str, *, as_json: bool) -> None:
    """Turn an event file into another format.

    FILE holds ATOF events, one JSON object per line. Each run in it becomes one document in DIR. The formats come with
    relay-plugin-observability; it need not be turned on for this.
    """
    said = _plugin().convert(source, form, out)
    if as_json:
        echo_json(said)
        return
    for name in said["written"]:
        click.echo(name)
    if said["skipped_lines"]:
        click.echo(f"{said['skipped_lines']} lines are no events", err=True)


def _plugin() -> Any:
    installed = find(_GROUP)
    if _PLUGIN not in installed:
        raise PluginError("relay convert needs relay-plugin-observability; pip install relay-plugin-observability")
    return import_one("plugin", _GROUP, _PLUGIN, installed[_PLUGIN], installed)
