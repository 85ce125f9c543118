"""Tables, as text for a terminal and as Markdown, of what a results file holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

HEAD = ("figure", "stock", "jobrunner", "ratio", "goal", "")


def figure_cells(figure: dict[str, Any]) -> tuple[str, ...]:
    """A figure's line."""
    unit = figure["unit"]
    return (
        figure["title"],
        number(figure["stock"]),
        "" if figure["value"] is None else f"{number(figure['value'])} {unit}",
        "" if figure["ratio"] is None or figure["kind"] != "times stock" else f"{number(figure['ratio'])} x",
        _goal(figure),
        figure["verdict"],
    )


def number(value: float | None) -> str:
    """Three significant digits, and no digit of a large number lost."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def as_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns, the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *rows]
    )


def as_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for the documentation."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def errors(figures: Sequence[dict[str, Any]]) -> list[str]:
    """What kept figures from being measured."""
    return [f"{figure['title']}: {figure['error']}" for figure in figures if figure["error"]]


def _goal(figure: dict[str, Any]) -> str:
    if figure["goal"] is None:
        return ""
    return f"≥ {figure['goal']:g} x" if figure["kind"] == "times stock" else f"≤ {figure['goal']:g}"
