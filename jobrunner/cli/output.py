"""Printing: data on stdout, messages on stderr, tables, and JSON.

On a terminal tables are rich's, fitted to its width, with colours unless NO_COLOR is set. Elsewhere they are plain
aligned text without limits, and nothing is coloured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from jobrunner.cli import text
from jobrunner.cli.states import ANSI
from jobrunner.errors import JobrunnerError

if TYPE_CHECKING:
    from rich.console import Console


KEPT_WIDTH = 40
"""Columns that do not grow are not cut below this on a terminal."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with a style in rich's words."""

    text: str
    style: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A table's column; one that grows takes the width that is left, and is cut where that is not enough."""

    title: str
    right: bool = False
    grow: bool = False


def say(message: str) -> None:
    """A message to the person, on stderr; lost if nobody can read it there: the exit code tells the same."""
    _tell(f"jobrunner: {text.clean_lines(message)}")


def say_error(error: JobrunnerError) -> None:
    """An error in words, and under it what to do next."""
    say(error.message)
    if error.hint:
        _tell(f"  {text.clean_lines(error.hint)}")


def _tell(words: str) -> None:
    try:
        print(words, file=sys.stderr, flush=True)
    except OSError:  # its reader is gone, or its disk is full
        write_no_more(sys.stderr)


def write_no_more(stream: TextIO) -> None:
    """The interpreter writes what is left once more when it ends; it shall not fail at that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_json(value: Any) -> None:
    """Data as JSON on stdout."""
    print(text.to_json(value))


def is_terminal(stream: TextIO | None = None) -> bool:
    stream = sys.stdout if stream is None else stream
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def has_colour(stream: TextIO | None = None) -> bool:
    """Whether colours may be written: on a terminal, unless NO_COLOR is set to anything."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def styled(words: str, style: str, stream: TextIO | None = None) -> str:
    """The words in a style, where the stream shows colours; no words stay none."""
    code = ANSI.get(style)
    return f"\x1b[{code}m{words}\x1b[0m" if words and code and has_colour(stream) else words


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell | str]]) -> None:
    """Print a table to stdout; all cells are cleaned of control characters."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    if is_terminal():
        _print_rich(columns, cells)
    else:
        for line in plain_lines(columns, cells):
            print(line)


def plain_lines(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """The table as aligned text, with two spaces between columns."""
    content = [[column.title for column in columns], *([cell.text for cell in row] for row in rows)]
    widths = [max(text.width(line[number]) for line in content) for number in range(len(columns))]
    return [
        "  ".join(
            _aligned(cell, widths[number], columns[number].right) for number, cell in enumerate(line)
        ).rstrip()
        for line in content
    ]


def console(*, width: int | None = None) -> Console:
    """rich's console on stdout, with all that it would guess about the content switched off."""
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich's own would end the process, with another code than the other commands

    return PlainConsole(
        file=sys.stdout,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        width=width,
        force_terminal=is_terminal(),
        no_color=not has_colour(),
    )


def _print_rich(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        widest = max(text.width(cell) for cell in [column.title, *(row[number].text for row in rows)])
        table.add_column(
            Text(column.title),
            justify="right" if column.right else "left",
            # rich narrows only columns that it may wrap; others it would cut off at the edge, without a mark.
            no_wrap=not column.grow,
            overflow="ellipsis",
            ratio=1 if column.grow else None,
            min_width=None if column.grow else min(widest, KEPT_WIDTH),
        )
    for row in rows:
        table.add_row(*(Text(cell.text, style=cell.style, no_wrap=True) for cell in row))
    console().print(table)


def _cell(cell: Cell | str) -> Cell:
    return Cell(text.clean(cell)) if isinstance(cell, str) else Cell(text.clean(cell.text), cell.style)


def _aligned(cell: str, width: int, right: bool) -> str:
    padding = " " * (width - text.width(cell))
    return padding + cell if right else cell + padding
