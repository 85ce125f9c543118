"""Bar charts as SVG, without a library: bars on a logarithmic scale, one line each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, LINE, LEFT, RIGHT, TOP = 1000, 24, 470, 110, 56
GOOD, BAD, PLAIN = "#2e7d32", "#c62828", "#1565c0"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: its name, its length (above 0), what stands at its end, and its colour."""

    name: str
    value: float
    text: str
    colour: str = PLAIN


def bar_chart(path: Path, title: str, note: str, bars: Sequence[Bar], *, mark: float | None = None) -> None:
    """Write a chart.

    :param mark: where an upright line is drawn, for instance the goal
    """
    values = [bar.value for bar in bars] + ([mark] if mark else [])
    low = math.floor(math.log10(min(values)))
    high = max(math.ceil(math.log10(max(values))), low + 1)

    def x_of(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    bottom = TOP + LINE * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 40}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{bottom + 40}" fill="#fff"/>',
        f'<text x="12" y="22" font-size="17" font-weight="bold">{escape(title)}</text>',
        f'<text x="12" y="42" fill="#555">{escape(note)}</text>',
        *(_tick(x_of(10.0**power), 10.0**power, bottom) for power in range(low, high + 1)),
        *(_bar(index, bar, x_of(bar.value)) for index, bar in enumerate(bars)),
    ]
    if mark:
        parts.append(
            f'<line x1="{x_of(mark):.1f}" x2="{x_of(mark):.1f}" y1="{TOP}" y2="{bottom}" stroke="#000" '
            'stroke-width="2" stroke-dasharray="5 3"/>'
        )
    path.write_text("\n".join([*parts, "</svg>\n"]), encoding="utf-8")


def _tick(x: float, value: float, bottom: float) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="#ddd"/>'
        f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#555">{value:g}</text>'
    )


def _bar(index: int, bar: Bar, x: float) -> str:
    y = TOP + LINE * index
    return (
        f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{escape(bar.name)}</text>'
        f'<rect x="{LEFT}" y="{y + 4}" width="{max(1.0, x - LEFT):.1f}" height="{LINE - 8}" fill="{bar.colour}"/>'
        f'<text x="{max(x, LEFT) + 6:.1f}" y="{y + 16}">{escape(bar.text)}</text>'
    )
