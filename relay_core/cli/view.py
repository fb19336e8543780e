"""`relay view`: event files as a tree."""

from __future__ import annotations

import sys

import click

from relay_core.cli.output import Painter, echo_json, json_option
from relay_core.cli.tree import paint, select, tree_json
from relay_core.trajectory import Trajectory, load, read

__all__ = ["command"]

_KEEP_FOR_TEXT = 4 * 2**10
_KEEP_FOR_JSON = 256 * 2**10


@click.command("view")
@click.argument("source", metavar="FILE|DIR|-")
@click.option("--errors", is_flag=True, help="Only what failed or was blocked, and the scopes around it.")
@click.option("--grep", metavar="TEXT", help="Only scopes and marks whose events contain TEXT, and the scopes around.")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="Only the first N levels.")
@click.option(
    "--marks/--no-marks",
    default=None,
    help="Show every mark, also each stream chunk; or no marks but blocks. By default chunks are counted.",
)
@json_option
def command(
    source: str, grep: str | None, depth: int | None, *, errors: bool, marks: bool | None, as_json: bool
) -> None:
    """Show event files as a tree.

    FILE holds ATOF events, one JSON object per line. A directory means all *.jsonl files in it, merged; - means
    standard input. Files that are still being written or were torn by a crash are fine: what is odd is in the notes.
    """
    keep = _KEEP_FOR_JSON if as_json else _KEEP_FOR_TEXT
    found = _load(source, keep, grep, chunk_marks=bool(marks))
    part = select(found, errors=errors, grep=bool(grep), depth=depth, marks=marks is not False)
    if as_json:
        echo_json(tree_json(found, part))
    else:
        paint(found, part, Painter())


def _load(source: str, keep: int, match: str | None, *, chunk_marks: bool) -> Trajectory:
    if source == "-":
        return read(sys.stdin.buffer, "standard input", keep=keep, chunk_marks=chunk_marks, match=match)
    return load(source, keep=keep, chunk_marks=chunk_marks, match=match)
