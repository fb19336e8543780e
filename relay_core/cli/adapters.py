"""`relay adapters`: what is installed, which frameworks it needs, and why something is not on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from relay_core.cli.config import config_option
from relay_core.cli.output import Painter, Span, echo_json, json_option
from relay_core.cli.state import examine_adapters
from relay_core.cli.table import paint_table
from relay_core.cli.text import safe

if TYPE_CHECKING:
    from pathlib import Path

    from relay_core.adapters import AdapterRecord

__all__ = ["command", "why_off"]


@click.command("adapters")
@config_option
@json_option
def command(path: Path | None, *, as_json: bool) -> None:
    """List the installed adapters.

    Those that may run are imported, their frameworks are not: "waiting" means that the adapter goes in as soon as a
    program imports its framework.
    """
    with examine_adapters(path) as host:
        _show(host.records(), as_json=as_json)


def _show(records: list[AdapterRecord], *, as_json: bool) -> None:
    if as_json:
        echo_json({"adapters": [msgspec.to_builtins(record) | {"why_off": why_off(record)} for record in records]})
        return
    painter = Painter()
    if not records:
        painter.line("no adapters are installed; for LangChain: pip install relay-adapter-langchain")
    else:
        head = ("name", "state", "version", "distribution", "needs")
        paint_table(painter, head, [_cells(record) for record in records], ("bold", "", "", "dim", ""))
    for record in records:
        if why := why_off(record):
            painter.line(Span(f"{safe(record.name)}: {safe(why, 1_000)}", "yellow"))


def _cells(record: AdapterRecord) -> tuple[str, ...]:
    return record.name, record.state, record.version or "-", record.distribution or "-", " ".join(record.requires)


def why_off(record: AdapterRecord) -> str | None:
    """Say why an adapter would not run in a program; None if it would."""
    if record.error:
        return record.error
    if record.missing:
        return f"its framework is not installed: no module {', '.join(record.missing)}"
    if record.state == "blocked":
        return "turned off by the configuration (adapters.block, or RELAY_BLOCK)"
    if record.state == "installed":
        return "not among the adapters that the configuration enables (adapters.enable, or RELAY_ADAPTERS)"
    return None
