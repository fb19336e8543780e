"""`relay config`: each setting, and where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from relay_core.cli.output import CommandError, Painter, Span, echo_json, json_option
from relay_core.cli.table import paint_table
from relay_core.cli.text import safe

if TYPE_CHECKING:
    from relay_core.config import Config, Row

__all__ = ["command", "config_option"]

config_option = click.option(
    "--config", "path", type=click.Path(path_type=Path), metavar="FILE", help="Use this file instead of those found."
)


@click.command("config")
@click.argument("action", type=click.Choice(["show", "explain"]), default="show", required=False)
@click.argument("key", required=False)
@click.option("--changed", is_flag=True, help="Only settings that are not the default.")
@config_option
@json_option
def command(action: str, key: str | None, path: Path | None, *, changed: bool, as_json: bool) -> None:
    """Show each setting and where it comes from.

    explain KEY tells about one setting, or one table of settings: value, origin, default, and the variable that sets
    it. Values of secret keys are hidden.
    """
    from relay_core.config import load  # noqa: PLC0415  # not needed for --help

    if action == "explain" and key is None:
        raise click.UsageError("name the setting, for instance: relay config explain queue.policy")
    config = load(path)
    rows = [row for row in config.describe() if not changed or row.layer != "default"]
    if key is not None:
        rows = _matching(rows, key)
    details = [_explained(row) if action == "explain" else _plain(row) for row in rows]
    if as_json:
        echo_json({"settings": details, "files": [str(f) for f in config.files], "warnings": list(config.warnings)})
    elif action == "explain":
        _paint_explained(details)
    else:
        _paint(config, rows)


def _matching(rows: list[Row], key: str) -> list[Row]:
    found = [row for row in rows if row.key == key or row.key.startswith((f"{key}.", f"{key}["))]
    if not found:
        from relay_core.settings import did_you_mean  # noqa: PLC0415  # only for the error

        raise CommandError(f"no setting {safe(key)!r}{did_you_mean(key, [row.key for row in rows])}")
    return found


def _plain(row: Row) -> dict[str, Any]:
    return row._asdict()


def _explained(row: Row) -> dict[str, Any]:
    from relay_core.config import environment_names  # noqa: PLC0415  # see command
    from relay_core.config.variables import variable_of  # noqa: PLC0415  # see command

    variables = {key: name for name, key in environment_names().items()}
    return {**row._asdict(), "default": _default(row.key), "variable": variables.get(row.key) or variable_of(row.key)}


def _default(key: str) -> Any:
    import msgspec  # noqa: PLC0415  # see command

    from relay_core.settings import Settings  # noqa: PLC0415  # see command

    value: Any = msgspec.to_builtins(Settings())
    for part in key.split("."):
        value = cast("dict[str, Any]", value).get(part) if isinstance(value, dict) else None
    return value


def _paint(config: Config, rows: list[Row]) -> None:
    painter = Painter()
    texts = [(row.key, json.dumps(row.value, ensure_ascii=False), row.layer, row.origin) for row in rows]
    paint_table(painter, ("key", "value", "layer", "origin"), texts, ("bold", "", "blue", "dim"))
    files = ", ".join(safe(str(file), 500) for file in config.files)
    painter.line(Span(f"files: {files or 'none'}", "dim"))
    for warning in config.warnings:
        painter.line(Span(f"warning: {safe(warning, 1_000)}", "yellow"))


def _paint_explained(details: list[dict[str, Any]]) -> None:
    painter = Painter()
    for row in details:
        painter.line(Span(safe(row["key"]), "bold"), f" = {safe(json.dumps(row['value'], ensure_ascii=False), 1_000)}")
        painter.line(f"  from the {row['layer']} layer: {safe(row['origin'], 500)}")
        painter.line(f"  default: {safe(json.dumps(row['default'], ensure_ascii=False), 1_000)}")
        painter.line(f"  variable: {row['variable'] or 'none'}")
