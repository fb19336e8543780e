"""`relay tail`: one line per event, as a file grows."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay_core.cli.output import CommandError, Painter, Span, json_option
from relay_core.cli.text import duration_text, safe, short_json, to_json
from relay_core.cli.tree import STYLES
from relay_core.timestamps import iso_time
from relay_core.trajectory import Mark, Node
from relay_core.trajectory.build import CHUNK, Builder
from relay_core.trajectory.follow import Follower
from relay_core.trajectory.lines import scan

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["command"]

_PAUSE = 0.1
_KEEP = 4 * 2**10
_OPEN_SCOPES = 10_000


@click.command("tail")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=10, show_default=True, help="Begin N events back.")
@click.option("--marks/--no-marks", default=None, help="Every mark, also stream chunks; or no marks but blocks.")
@click.option("--no-follow", is_flag=True, help="Stop at the end of the file.")
@json_option
def command(file: Path, lines: int, *, marks: bool | None, no_follow: bool, as_json: bool) -> None:
    """Follow an event file as it grows.

    Waits for the file if it is not there yet, and goes on when it is rotated or truncated. Ctrl-C ends it, with exit
    code 0. With --json each event is one line of JSON.
    """
    if file.is_dir():
        raise CommandError(f"{str(file)!r} is a directory; name one file (relay view shows directories)")
    if no_follow and not file.exists():
        raise CommandError(f"{str(file)!r}: No such file or directory")
    printer = _Printer(marks=marks, as_json=as_json)
    follower = Follower(file)
    try:
        for line in _lines(follower, lines, follow=not no_follow):
            printer.event(line)
    except KeyboardInterrupt:
        return
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise CommandError(f"{str(file)!r}: {error.strerror or error}") from error
    finally:
        follower.close()


def _lines(follower: Follower, back: int, *, follow: bool) -> Iterator[bytes]:
    yield from deque(follower.last(), maxlen=back)
    waiting = False
    while follow:
        yield from follower.poll()
        if follower.missing and not waiting:
            click.echo(f"relay tail: waiting for {safe(str(follower.path), 500)!r}", err=True)
        waiting = follower.missing
        time.sleep(_PAUSE)


class _Printer:
    """Writes events; remembers the starts of open scopes, so that ends can tell durations."""

    def __init__(self, *, marks: bool | None, as_json: bool) -> None:
        self._painter = Painter()
        self._marks = marks
        self._as_json = as_json
        self._starts: dict[str, int] = {}

    def event(self, line: bytes) -> None:
        """Write one event; a line that is none is passed over."""
        builder = Builder(keep=_KEEP, chunk_marks=True)
        try:
            builder.add(facts := scan(line))
        except (ValueError, OverflowError, RecursionError) as error:
            click.echo(f"relay tail: a line was skipped: {safe(str(error))}", err=True)
            return
        item: Mark | Node = builder.marks[0] if builder.marks else next(iter(builder.nodes.values()))
        if isinstance(item, Mark) and not self._shows(item):
            return
        if self._as_json:
            click.echo(to_json(_row(item, facts.fields), indent=None))
        elif isinstance(item, Mark):
            self._mark(item)
        else:
            self._scope(item)

    def _shows(self, mark: Mark) -> bool:
        return mark.rejected or (bool(self._marks) if mark.name == CHUNK else self._marks is not False)

    def _mark(self, mark: Mark) -> None:
        sign, style = ("!", "bold magenta") if mark.rejected else ("*", "cyan")
        data = f"blocked: {safe(mark.reason or '')}" if mark.rejected else ""
        if not mark.rejected and mark.payload is not None:
            data = short_json(mark.data)
        self._painter.line(_clock(mark.time_ns), Span(f"{sign} {safe(mark.name)}", style), f" {data}" if data else "")

    def _scope(self, node: Node) -> None:
        label = Span(safe(node.name) or "(no name)", "bold")
        kind = Span(f" {safe(node.category, 40)}", "blue")
        if node.end_ns is None:
            if len(self._starts) >= _OPEN_SCOPES:
                self._starts.pop(next(iter(self._starts)))
            self._starts[node.uuid] = node.time_ns
            self._painter.line(_clock(node.time_ns), "> ", label, kind)
            return
        began = self._starts.pop(node.uuid, None)
        took = "" if began is None else f" {duration_text((node.end_ns - began) / 1e9)}"
        status = Span(f" {safe(node.status, 40)}", STYLES.get(node.status, ""))
        why = Span(f": {safe(node.error or node.reason or '', 300)}" if node.error or node.reason else "", "red")
        used = f" {node.tokens.prompt or 0:,} in + {node.tokens.completion or 0:,} out tokens" if node.tokens else ""
        self._painter.line(_clock(node.end_ns), "< ", label, kind, status, took, used, why)


def _clock(ns: int) -> Span:
    return Span(f"{iso_time(ns)[11:23]} ", "dim")


def _row(item: Mark | Node, fields: dict[str, Any]) -> dict[str, Any]:
    row = {
        "time": iso_time(item.time_ns),
        "event": "mark" if isinstance(item, Mark) else fields["scope_category"],
        "name": item.name,
        "category": item.category,
        "uuid": item.uuid,
        "parent_uuid": item.parent_uuid,
    }
    if isinstance(item, Mark):
        return row | {"rejected": item.rejected, "reason": item.reason}
    if item.end_ns is None:
        return row
    tokens = None if item.tokens is None else item.tokens._asdict()
    return row | {"status": item.status, "error": item.error, "tokens": tokens}
