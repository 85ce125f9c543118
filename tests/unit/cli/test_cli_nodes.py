"""The table of nodes."""

from __future__ import annotations

from typing import Any

import pytest

from jobrunner.cli import nodes
from jobrunner.persistence.nodes import Node

NOW_MS = 1_700_000_100_000
REPORT: dict[str, Any] = {
    "processes": 4, "slots": 64, "running": 3, "ended": 12, "types": ["a"], "load": [0.5, 0.4, 0.3], "cpus": 4,
    "memory_total": 8 * 2**30, "memory_available": 5 * 2**30, "version": "0.1.0", "python": "3.11.4",
}  # fmt: skip


def node(*, seen_ago_ms: int = 1000, stopped: bool = False, drained: bool = False, **report: Any) -> Node:
    return Node(
        name="alice",
        identity="alice:1:a",
        started_ms=NOW_MS - 60_000,
        seen_ms=NOW_MS - seen_ago_ms,
        stopped_ms=NOW_MS if stopped else None,
        drained=drained,
        report=REPORT | report,
    )


def shown(found: Node, capsys: pytest.CaptureFixture[str], running: int = 3) -> dict[str, str]:
    """The row of a table, by the titles; each column begins where its title begins, or ends where that ends."""
    nodes.print_nodes([nodes.node_row(found, NOW_MS, running)])
    head, row = capsys.readouterr().out.splitlines()
    titles = [column.title for column in nodes.COLUMNS if column.title in head]
    cells = [cell.strip() for cell in row.split("  ") if cell.strip()]
    return dict(zip(titles, cells, strict=True))


def test_a_node_tells_its_threads_memory_load_and_versions(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(node(), capsys)
    assert found == {
        "NODE": "alice", "STATE": "alive", "SEEN": "1.0s ago", "UP": "1m00s", "PROCESSES": "4", "THREADS": "3 of 64",
        "RUNNING": "3", "LOAD": "0.50", "MEMORY FREE": "5.0 GiB of 8.0 GiB", "VERSION": "0.1.0", "PYTHON": "3.11.4",
    }  # fmt: skip


def test_labels_are_shown_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(node(labels=["web", "disk=ssd"]), capsys)["LABELS"] == "web, disk=ssd"


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (node(), "alive"),
        (node(drained=True), "drained"),
        (node(seen_ago_ms=60_000), "silent"),
        (node(seen_ago_ms=60_000, drained=True), "silent"),
        (node(stopped=True), "stopped"),
    ],
)
def test_its_state(found: Node, state: str) -> None:
    assert nodes.node_state(found, NOW_MS) == state


@pytest.mark.parametrize("report", [{"memory_total": "x"}, {"load": None}, {"labels": 3}, {"slots": None}])
def test_an_odd_report_is_shown_as_far_as_it_can_be(
    report: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    nodes.print_nodes([nodes.node_row(node(**report), NOW_MS, 0)])
    assert "alice" in capsys.readouterr().out


def test_a_narrow_terminal_shows_what_matters() -> None:
    widths = {column.title: 10 for column in nodes.COLUMNS}
    assert nodes.fitting(widths, None) == nodes.fitting(widths, 1000) == set(widths)
    narrow = nodes.fitting(widths, 84)
    assert {"NODE", "STATE", "SEEN", "THREADS", "RUNNING", "LOAD", "MEMORY FREE"} == narrow
    assert nodes.fitting(widths, 140) == set(widths) - {"PYTHON", "UP"}
