"""``jobrunner nodes``: the machines that run conductors."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobrunner import times
from jobrunner.cli import output, text
from jobrunner.cli.context import open_context
from jobrunner.cli.isolation import isolated_text
from jobrunner.cli.options import add_json
from jobrunner.cli.output import Cell, Column
from jobrunner.cli.records import node_record
from jobrunner.errors import EXIT_OK

if TYPE_CHECKING:
    from jobrunner.persistence.nodes import Node

COLUMNS = (
    Column(title="NODE"),
    Column(title="STATE"),
    Column(title="SEEN"),
    Column(title="UP", right=True),
    Column(title="PROCESSES", right=True),
    Column(title="THREADS", right=True),
    Column(title="RUNNING", right=True),
    Column(title="OWN PROCESSES", right=True),
    Column(title="LOAD", right=True),
    Column(title="MEMORY FREE", right=True),
    Column(title="VERSION"),
    Column(title="PYTHON"),
    Column(title="LABELS"),
)
DISPENSABLE = ("PYTHON", "UP", "PROCESSES", "LABELS", "VERSION", "OWN PROCESSES")
"""What is left out on a terminal that is too narrow, first the first; ``--json`` has all of it."""
GAP = 2


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser("nodes")
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    from jobrunner.jobs import look

    with open_context(args) as context:
        nodes = look.nodes_known(context)
        running = look.running_by_node(context) if nodes else {}
    now = times.now_ms()
    if args.json:
        output.print_json(
            [
                {**node_record(node), "state": node_state(node, now), "running": running.get(node.name, 0)}
                for node in nodes
            ]
        )
    elif nodes:
        print_nodes([node_row(node, now, running.get(node.name, 0)) for node in nodes])
    else:
        output.say("No conductor has run yet. `jobrunner run` starts one.")
    return EXIT_OK


def print_nodes(rows: Sequence[Sequence[Cell | str]]) -> None:
    """The table, of columns in which there is anything, and on a terminal of as many as have room."""
    cells = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in rows]
    widths = {
        column.title: max(text.width(word) for word in (column.title, *(row[number] for row in cells)))
        for number, column in enumerate(COLUMNS)
        if any(row[number] for row in cells)
    }
    room = output.console().width if output.is_terminal() else None
    titles = fitting(widths, room)
    shown = [number for number, column in enumerate(COLUMNS) if column.title in titles]
    output.print_table(
        [COLUMNS[number] for number in shown], [[row[number] for number in shown] for row in rows]
    )


def fitting(widths: Mapping[str, int], room: int | None) -> set[str]:
    """The titles of the columns that have room beside each other; None: no limit."""
    titles = set(widths)
    for title in DISPENSABLE:
        if room is None or sum(widths[name] + GAP for name in titles) <= room:
            break
        titles.discard(title)
    return titles


def node_state(node: Node, now_ms: int) -> str:
    """``alive``, ``drained`` (and alive), ``stopped`` (it said so), or ``silent`` (it should have said something)."""
    if node.stopped_ms is not None:
        return "stopped"
    if not node.is_alive(now_ms):
        return "silent"
    return "drained" if node.drained else "alive"


def node_row(node: Node, now_ms: int, running: int) -> list[Cell | str]:
    """A node's line; ``running`` jobs are there by their own rows."""
    state = node_state(node, now_ms)
    style = {"alive": "green", "drained": "yellow", "silent": "bold red", "stopped": "bright_black"}[state]
    said = f"{state}, drained" if node.drained and state != "drained" else state
    up = text.between(node.started_ms, node.stopped_ms, now_ms) if state != "silent" else None
    report = node.report
    return [
        node.name,
        Cell(said, style),
        text.ago(node.seen_ms, now_ms),
        text.duration(up),
        _number(report.get("processes")),
        _threads(report),
        str(running),
        isolated_text(report),
        _load(report.get("load")),
        _memory(report),
        str(report.get("version", "")),
        str(report.get("python", "")),
        _labels(report),
    ]


def _labels(report: Mapping[str, Any]) -> str:
    from jobrunner.jobs.fan_out import labels_of

    return ", ".join(labels_of(report))


def _number(value: Any) -> str:
    return "" if value is None else str(value)


def _threads(report: Mapping[str, Any]) -> str:
    """How many of the threads that there are for jobs have one."""
    busy, slots = report.get("running"), report.get("slots")
    return f"{busy} of {slots}" if busy is not None and slots is not None else _number(busy)


def _load(value: Any) -> str:
    first = value[0] if isinstance(value, list) and value else value
    return f"{first:.2f}" if isinstance(first, (int, float)) else ""


def _memory(report: Mapping[str, Any]) -> str:
    from jobrunner.quantities import format_size

    total, available = report.get("memory_total"), report.get("memory_available")
    if not isinstance(total, int) or not isinstance(available, int):
        return ""
    return f"{format_size(available)} of {format_size(total)}"
