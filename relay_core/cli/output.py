"""Styled lines: colour on a terminal, plain text everywhere else. rich is loaded only for colour."""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

import click

from relay_core.cli.text import to_json
from relay_core.errors import RelayError

__all__ = ["CommandError", "Painter", "Span", "echo_json", "json_option"]


class CommandError(RelayError):
    """A subcommand cannot do its work; the text is the line that the user sees."""


class Span(NamedTuple):
    """A piece of a line in one style."""

    text: str
    style: str = ""


json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON instead of text.")


def echo_json(value: Any) -> None:
    """Write a value as JSON to standard output."""
    click.echo(to_json(value))


class Painter:
    """Writes lines to standard output.

    Args:
        color: None finds out: a terminal that is not dumb, unless NO_COLOR is set; FORCE_COLOR turns it on.

    Attributes:
        unicode: whether lines may be drawn with more than ASCII: on a terminal that knows UTF-8.
    """

    def __init__(self, *, color: bool | None = None) -> None:
        terminal = sys.stdout.isatty()
        encoding = (getattr(sys.stdout, "encoding", None) or "").lower()
        self.color = _wants_color(terminal=terminal) if color is None else color
        self.unicode = terminal and encoding.startswith("utf")
        self._console: Any = None

    def line(self, *spans: Span | str) -> None:
        """Write one line; the spans' texts must be safe already."""
        parts = [Span(span) if isinstance(span, str) else span for span in spans]
        if not self.color:
            click.echo("".join(part.text for part in parts))
            return
        if self._console is None:
            from rich.console import Console  # noqa: PLC0415  # only for colour

            self._console = Console(
                file=sys.stdout, force_terminal=True, highlight=False, markup=False, emoji=False, soft_wrap=True
            )
        from rich.text import Text  # noqa: PLC0415  # see above

        self._console.print(Text.assemble(*((part.text, part.style) for part in parts)))


def _wants_color(*, terminal: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return terminal and os.environ.get("TERM", "") != "dumb"
