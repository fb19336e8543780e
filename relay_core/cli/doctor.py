"""`relay doctor`: what is wrong with an installation, or with an event file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from relay_core.cli.config import config_option
from relay_core.cli.output import Painter, Span, echo_json, json_option
from relay_core.cli.text import plural, safe
from relay_core.trajectory import load

if TYPE_CHECKING:
    from relay_core.cli.checks import Row
    from relay_core.trajectory import Trajectory

__all__ = ["command"]

_SIGNS: Final = {"ok": ("ok      ", "green"), "note": ("note    ", "yellow"), "problem": ("PROBLEM ", "bold red")}
_CHECKS: Final = {
    "bad_lines": ("lines", "lines are no ATOF events"),
    "torn_lines": ("last line", "last lines are torn; the writer was killed, or is still writing"),
    "too_long": ("line length", "lines are too long to read"),
    "not_read": ("files", "files cannot be read"),
    "not_to_end": ("file length", "files are too long to read to their ends"),
    "events_dropped": ("drops", "events are missing; the exporter could not write them"),
    "open_scopes": ("ends", "scopes have no end; the program crashed, or still runs"),
    "ends_without_start": ("starts", "scopes have an end and no start"),
    "ends_before_start": ("clock", "scopes end before they start"),
    "duplicate_starts": ("one start", "scopes start twice"),
    "duplicate_ends": ("one end", "scopes end twice"),
    "duplicate_marks": ("marks once", "marks come twice"),
    "unseen_parents": (
        "parents",
        "scopes have a parent that is not here; if another process wrote it, name the directory",
    ),
    "orphan_marks": ("marks", "marks belong to a scope that is not here"),
    "cycles": ("ancestors", "scopes are their own ancestors"),
}


@click.command("doctor")
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE|DIR]")
@config_option
@json_option
def command(file: Path | None, path: Path | None, *, as_json: bool) -> None:
    """Examine the installation, or an event file.

    Without FILE: versions, configuration, plugins and why one is off, whether their files can be written, adapters and
    their hook points (their frameworks are imported for that), other tracers. With FILE: lines that cannot be read,
    scopes without end or start, double ends, parents that are nowhere, dropped events.

    Exit code 0: no problems. 1: there are some.
    """
    if file is None:
        from relay_core.cli.checks import examine_installation  # noqa: PLC0415  # not needed for files

        rows = examine_installation(path)
    else:
        rows = _examine_file(load(file, keep=0))
    problems = sum(row.state == "problem" for row in rows)
    if as_json:
        echo_json({"ok": not problems, "rows": [row._asdict() for row in rows]})
    else:
        _paint(rows, problems)
    if problems:
        raise SystemExit(1)


def _examine_file(found: Trajectory) -> list[Row]:
    from relay_core.cli.checks import Row  # noqa: PLC0415  # see command

    nodes = list(found.walk())
    where = plural(found.files, "file")
    rows = [Row("file", "events", "ok", f"{plural(found.events, 'event')}, {plural(len(nodes), 'scope')} in {where}")]
    examples = {
        "open_scopes": [node.name for node in nodes if node.end_ns is None],
        "ends_without_start": [node.name for node in nodes if node.start_ns is None],
        "unseen_parents": [node.name for node in nodes if node.orphan],
    }
    for key, (check, text) in _CHECKS.items():
        n = found.problems.get(key, 0)
        names = ", ".join(repr(name) for name in examples.get(key, [])[:3])
        detail = f"{n:,} {text}" + (f" ({names}{', ...' if n > 3 else ''})" if names else "")
        rows.append(Row("file", check, "problem" if n else "ok", detail if n else "fine"))
    return rows


def _paint(rows: list[Row], problems: int) -> None:
    painter = Painter()
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            painter.line(Span(safe(section), "bold"))
        sign, style = _SIGNS[row.state]
        painter.line("  ", Span(sign, style), Span(safe(row.check), "bold"), f": {safe(row.detail, 1_000)}")
    painter.line(Span(plural(problems, "problem"), "bold red" if problems else "bold green"))
