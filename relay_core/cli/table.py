"""Plain tables for terminals and pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay_core.cli.output import Span
from relay_core.cli.text import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_core.cli.output import Painter

__all__ = ["paint_table"]

_WIDEST = 60


def paint_table(
    painter: Painter, head: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] | None = None
) -> None:
    """Write rows under a head, columns aligned; the last column may be as long as it likes.

    Args:
        painter: where to.
        head: names of the columns.
        rows: texts; they are escaped here.
        styles: one style for each column.
    """
    shown = [[safe(cell, 1_000) for cell in row] for row in rows]
    widths = [min(_WIDEST, max(len(row[i]) for row in [list(head), *shown])) for i in range(len(head))]
    widths[-1] = 0
    painter.line(*(Span(f"{name:<{width}}  ", "dim") for name, width in zip(head, widths, strict=True)))
    for row in shown:
        cells = zip(row, widths, styles or [""] * len(head), strict=True)
        painter.line(*(Span(f"{cell:<{width}}  " if width else cell, style) for cell, width, style in cells))
