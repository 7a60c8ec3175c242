"""Tables: drawn on a terminal, lines of columns with tabs between them for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhpack.cli import screen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


def put(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows as data. Numbers are aligned where every cell of a column begins with a digit."""
    if not screen.stdout_is_terminal():
        if rows:
            screen.put("\n".join("\t".join(map(screen.visible, row)) for row in rows))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numbers = bool(rows) and all(row[index][:1].isdigit() for row in rows) and column in ("Size", "Outputs", "Change")
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        # As text and no markup: a name may have brackets.
        table.add_row(*(Text(screen.visible(cell)) for cell in row))
    Console().print(table)


def put_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print what is known of one thing, a line for each."""
    width = max(len(name) for name, _ in fields)
    screen.put("\n".join(f"{name:<{width}}  {screen.visible(value)}" for name, value in fields))


def when(moment: datetime | None) -> str:
    """Return a time as people here read it."""
    return "-" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
