from __future__ import annotations

import itertools
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taskflow import retry
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.task import Task

from jobrunner.errors import InvalidFlow, UsageError
from jobrunner.plugins.graph import draw, render
from jobrunner.plugins.graph.drawing import JOINT, Drawing
from jobrunner.plugins.graph.svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"


class Scan(Task):
    default_provides = "files"

    def execute(self, source: str) -> list[str]:
        return []


class Copy(Task):
    def execute(self, files: list[str], keep: int) -> None: ...


class Step(Task):
    def execute(self) -> None: ...


class Mine(linear_flow.Flow):
    pass


def backup() -> Any:
    copies = unordered_flow.Flow("copies", retry=retry.Times(3)).add(
        Copy("near"), Copy("far", provides="sum")
    )
    return Mine("backup").add(Scan("scan"), copies, Step("done"))


def many_to_many() -> Any:
    first = unordered_flow.Flow("first").add(*[Step(f"a{number}") for number in range(4)])
    second = unordered_flow.Flow("second").add(*[Step(f"b{number}") for number in range(4)])
    return linear_flow.Flow("main").add(first, second)


def decided() -> Any:
    flow, one, two = graph_flow.Flow("maybe"), Step("one"), Step("two")
    flow.add(one, two)
    return flow.link(one, two, decider=lambda history: True)


def named_edges(drawing: Drawing) -> set[tuple[str, str]]:
    names = {node.id: node.name or node.id for node in drawing.root.nodes()}
    return {(names[edge.source], names[edge.target]) for edge in drawing.edges}


def test_draws_the_order_of_atoms_without_the_flows_between() -> None:
    assert named_edges(draw(backup())) == {
        ("scan", "copies_retry"),
        ("copies_retry", "near"),
        ("copies_retry", "far"),
        ("near", "done"),
        ("far", "done"),
    }


def test_many_to_many_goes_through_a_joint() -> None:
    drawing = draw(many_to_many())
    (joint,) = [node for node in drawing.root.nodes() if node.kind == JOINT]
    expected = {(f"a{number}", joint.id) for number in range(4)} | {
        (joint.id, f"b{number}") for number in range(4)
    }
    assert named_edges(drawing) == expected


def test_tree() -> None:
    assert render(backup()) == (
        "backup (linear flow)\n"
        "├── scan: source → files\n"
        "├── copies (unordered flow)\n"
        "│   ├── copies_retry (retry: Times)\n"
        "│   ├── near: files, keep\n"
        "│   └── far: files, keep → sum\n"
        "└── done\n"
    )


def test_trees_do_not_show_joints() -> None:
    assert render(many_to_many()).splitlines()[-1] == "    └── b3"


def test_dot() -> None:
    assert render(backup(), "dot") == (
        'digraph "backup" {\n'
        "  rankdir=TB;\n"
        '  node [shape=box, style=rounded, fontname="sans-serif"];\n'
        '  edge [fontname="sans-serif"];\n'
        '  n1 [label="scan", tooltip="source → files"];\n'
        "  subgraph cluster_g2 {\n"
        '    label="copies (unordered)";\n'
        '    n2 [label="copies_retry (Times)", tooltip="copies_retry", shape=octagon];\n'
        '    n3 [label="near", tooltip="files, keep"];\n'
        '    n4 [label="far", tooltip="files, keep → sum"];\n'
        "  }\n"
        '  n5 [label="done", tooltip="done"];\n'
        "  n1 -> n2;\n"
        "  n2 -> n3;\n"
        "  n2 -> n4;\n"
        "  n3 -> n5;\n"
        "  n4 -> n5;\n"
        "}\n"
    )


def test_mermaid() -> None:
    assert render(backup(), "mermaid") == (
        "flowchart TD\n"
        '  n1["scan"]\n'
        '  subgraph g2["copies (unordered)"]\n'
        '    n2{{"copies_retry (Times)"}}\n'
        '    n3["near"]\n'
        '    n4["far"]\n'
        "  end\n"
        '  n5["done"]\n'
        "  n1 --> n2\n"
        "  n2 --> n3\n"
        "  n2 --> n4\n"
        "  n3 --> n5\n"
        "  n4 --> n5\n"
    )


def test_decided_edges_look_different() -> None:
    assert "n1 -> n2 [style=dashed];" in render(decided(), "dot")
    assert "n1 -.-> n2" in render(decided(), "mermaid")
    assert 'class="edge decided"' in render(decided(), "svg")


def test_svg_has_every_atom_and_edge_within_the_picture() -> None:
    root = ElementTree.fromstring(render(backup(), "svg"))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == ["backup (linear flow)", "scan", "copies_retry (Times)", "near", "far", "done"]
    assert len([path for path in root.iter(f"{SVG}path") if path.get("marker-end")]) == 5
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = list(root.iterfind(f"{SVG}g/{SVG}rect"))
    assert len(boxes) == 5
    for box in boxes:
        x, y, w, h = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        assert min(x, y) >= 0
        assert x + w <= width
        assert y + h <= height


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30))
def test_svg_boxes_never_overlap_and_edges_go_down(pairs: list[tuple[int, int]]) -> None:
    flow = graph_flow.Flow("random")
    steps = [Step(f"step-{number}" + "x" * (number * 2)) for number in range(12)]
    flow.add(*steps)
    for one, other in {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}:
        flow.link(steps[one], steps[other])

    root = ElementTree.fromstring(render(flow, "svg"))
    boxes = {
        str(group[2].text): tuple(float(group[1].attrib[name]) for name in ("x", "y", "width"))
        for group in root.iterfind(f"{SVG}g")
    }
    rows: dict[float, list[tuple[float, float]]] = {}
    for x, y, width in boxes.values():
        rows.setdefault(y, []).append((x, x + width))
    for row in rows.values():
        row.sort()
        assert all(left[1] < right[0] for left, right in itertools.pairwise(row))
    for one, other in pairs:
        if one != other:
            assert boxes[steps[min(one, other)].name][1] < boxes[steps[max(one, other)].name][1]


NASTY = 'a "quoted" <b>&amp; \\back\\ #1;\nend]'


def nasty() -> Any:
    return linear_flow.Flow(NASTY).add(unordered_flow.Flow(NASTY).add(Step(NASTY), Step(NASTY + "2\x01")))


def test_names_are_escaped() -> None:
    root = ElementTree.fromstring(render(nasty(), "svg"))
    assert NASTY.replace("\n", " ") in [element.text for element in root.iter(f"{SVG}text")]
    dot = render(nasty(), "dot")
    assert '[label="a \\"quoted\\" <b>&amp; \\\\back\\\\ #1;\\nend]", ' in dot
    mermaid = render(nasty(), "mermaid")
    for line in mermaid.splitlines()[1:]:
        assert re.fullmatch(
            r'\s*(subgraph g\d+\["[^"<>&`\\]*"\]|end|n\d+\["[^"<>&`\\]*"\]|n\d+ --> n\d+)', line
        ), line


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pydot, about its parser
def test_pydot_reads_the_dot_text() -> None:
    import pydot

    for flow, nodes in ((backup(), 5), (many_to_many(), 9), (nasty(), 2)):
        (graph,) = pydot.graph_from_dot_data(render(flow, "dot"))
        subgraphs = graph.get_subgraphs()
        found = [
            node for part in (graph, *subgraphs) for node in part.get_nodes() if node.get_name()[0] in "nj"
        ]
        assert len([node for node in found if re.fullmatch(r"[nj]\d+", node.get_name())]) == nodes


def test_an_empty_flow_can_be_shown() -> None:
    empty = linear_flow.Flow("empty")
    assert render(empty) == "empty (linear flow)\n"
    ElementTree.fromstring(to_svg(draw(empty)))


def test_a_flow_that_does_not_compile() -> None:
    step = Step()
    with pytest.raises(InvalidFlow, match="does not compile"):
        render(linear_flow.Flow("f").add(linear_flow.Flow("a").add(step), linear_flow.Flow("b").add(step)))


def test_an_unknown_form() -> None:
    with pytest.raises(UsageError, match="cannot be shown as 'png'; it can as tree, dot, mermaid, svg"):
        render(backup(), "png")
