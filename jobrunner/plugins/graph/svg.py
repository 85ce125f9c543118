"""A flow as an SVG picture: layers from top to bottom, drawn without any program's help.

An atom's layer is the longest way to it; edges over several layers get a bend in each, so that they go around
what is between; in a layer everything stands near the middle of what is above it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from jobrunner.plugins.graph.drawing import JOINT, RETRY, Drawing, Node

CHARACTER_WIDTH = 7.5
BOX_HEIGHT = 34
BOX_PADDING = 24
LAYER_DISTANCE = 74
GAP = 22
MARGIN = 20
TITLE_HEIGHT = 30
JOINT_SIZE = 8
BEND_WIDTH = 6

STYLE = (
    "text{font:13px ui-monospace,monospace;text-anchor:middle;dominant-baseline:central;fill:#1f2933}"
    ".title{font-weight:bold}.box{fill:#eef4fb;stroke:#3d6ea5;stroke-width:1.3}.retry{fill:#fff4e0;stroke:#b7791f}"
    ".joint{fill:#52606d}.edge{fill:none;stroke:#52606d;stroke-width:1.2}.decided{stroke-dasharray:5 4}"
)


@dataclass
class Spot:
    """Something that has a place: an atom, a joint, or a bend of an edge."""

    layer: int
    width: float
    node: Node | None = None
    x: float = 0.0
    above: list[Spot] = field(default_factory=list)

    @property
    def y(self) -> float:
        return TITLE_HEIGHT + MARGIN + self.layer * LAYER_DISTANCE + BOX_HEIGHT / 2

    @property
    def half_height(self) -> float:
        if self.node is None:
            return 0
        return JOINT_SIZE / 2 if self.node.kind == JOINT else BOX_HEIGHT / 2


@dataclass
class Line:
    """An edge on its way through the layers."""

    spots: list[Spot]
    decided: bool


def to_svg(drawing: Drawing) -> str:
    """A standalone SVG document with a white ground."""
    spots, lines = _lay_out(drawing)
    title = f"{drawing.root.name} ({drawing.root.kind} flow)"
    right = max([spot.x + spot.width / 2 for spot in spots], default=0)
    width = max(right, len(title) * CHARACTER_WIDTH + MARGIN) + MARGIN
    height = max([spot.y for spot in spots], default=TITLE_HEIGHT) + BOX_HEIGHT / 2 + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label={quoteattr(_text(title))}>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#52606d"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text class="title" x="{width / 2:.0f}" y="{TITLE_HEIGHT / 2 + 6:.0f}">{_escaped(title)}</text>',
        *(_path(line) for line in lines),
        *(_box(spot, spot.node) for spot in spots if spot.node is not None),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _lay_out(drawing: Drawing) -> tuple[list[Spot], list[Line]]:
    layers = _layers(drawing)
    spots = {node.id: Spot(layers[node.id], _width(node), node) for node in drawing.root.nodes()}
    everything = list(spots.values())
    lines = []
    for edge in drawing.edges:
        start, end = spots[edge.source], spots[edge.target]
        bends = [Spot(layer, BEND_WIDTH) for layer in range(start.layer + 1, end.layer)]
        way = [start, *bends, end]
        for upper, lower in itertools.pairwise(way):
            lower.above.append(upper)
        everything += bends
        lines.append(Line(way, edge.decided))
    _place(everything)
    return everything, lines


def _layers(drawing: Drawing) -> Mapping[str, int]:
    """The length of the longest way to each node."""
    layers = {node.id: 0 for node in drawing.root.nodes()}
    for _ in range(len(layers)):
        changed = False
        for edge in drawing.edges:
            if layers[edge.target] <= layers[edge.source]:
                layers[edge.target] = layers[edge.source] + 1
                changed = True
        if not changed:
            break
    return layers


def _place(spots: list[Spot]) -> None:
    """Give each layer's spots their order and x: below what they come from, without overlap, all within the
    picture.
    """
    rows: dict[int, list[Spot]] = {}
    for spot in spots:
        rows.setdefault(spot.layer, []).append(spot)
    for _, row in sorted(rows.items()):
        wanted = {id(spot): _middle(spot.above) for spot in row}
        row.sort(key=lambda spot: wanted[id(spot)])
        edge = None
        for spot in row:
            least = edge + GAP + spot.width / 2 if edge is not None else -float("inf")
            spot.x = max(wanted[id(spot)], least)
            edge = spot.x + spot.width / 2
        shift = sum(spot.x - wanted[id(spot)] for spot in row) / len(row)  # what was pushed right is shared
        for spot in row:
            spot.x -= shift
    left = min((spot.x - spot.width / 2 for spot in spots), default=0)
    for spot in spots:
        spot.x += MARGIN - left


def _middle(above: list[Spot]) -> float:
    return sum(spot.x for spot in above) / len(above) if above else 0.0


def _width(node: Node) -> float:
    return JOINT_SIZE if node.kind == JOINT else len(node.label) * CHARACTER_WIDTH + BOX_PADDING


def _path(line: Line) -> str:
    start = line.spots[0]
    x, y = start.x, start.y + start.half_height
    path = f"M{x:.1f} {y:.1f}"
    for spot in line.spots[1:]:
        end = spot.y - spot.half_height
        path += f" C{x:.1f} {(y + end) / 2:.1f} {spot.x:.1f} {(y + end) / 2:.1f} {spot.x:.1f} {end:.1f}"
        x, y = spot.x, end
    look = "edge decided" if line.decided else "edge"
    return f'<path class="{look}" d="{path}" marker-end="url(#arrow)"/>'


def _box(spot: Spot, node: Node) -> str:
    if node.kind == JOINT:
        return f'<circle class="joint" cx="{spot.x:.1f}" cy="{spot.y:.1f}" r="{JOINT_SIZE / 2:.0f}"/>'
    look, corner = ("box retry", 16) if node.kind == RETRY else ("box", 5)
    return (
        f"<g><title>{_escaped(node.data or node.name)}</title>"
        f'<rect class="{look}" x="{spot.x - spot.width / 2:.1f}" y="{spot.y - BOX_HEIGHT / 2:.1f}" '
        f'width="{spot.width:.1f}" height="{BOX_HEIGHT}" rx="{corner}"/>'
        f'<text x="{spot.x:.1f}" y="{spot.y:.1f}">{_escaped(node.label)}</text></g>'
    )


def _escaped(text: str) -> str:
    return escape(_text(text))


def _text(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(character if character.isprintable() else " " for character in text)
