"""What is told about conductors, by their reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobrunner.jobs.health import Finding, Health
from jobrunner.jobs.health.nodes import node_findings
from jobrunner.persistence.nodes import Node

NOW_MS = 1_700_000_000_000


def node(name: str, *, seen_s_ago: float = 1.0, stopped: bool = False, version: str = "1.0") -> Node:
    return Node(
        name=name,
        identity=f"{name}:1:aaaa",
        started_ms=NOW_MS - 60_000,
        seen_ms=NOW_MS - int(seen_s_ago * 1000),
        stopped_ms=NOW_MS if stopped else None,
        report={"version": version},
    )


def told(nodes: Sequence[Node], waiting: int = 0) -> list[Finding]:
    return list(node_findings(nodes, now_ms=NOW_MS, waiting=waiting))


def test_living_nodes_are_those_that_spoke_lately_and_did_not_stop() -> None:
    (finding,) = told([node("a"), node("b", seen_s_ago=60), node("c", stopped=True)])
    assert finding.what == "Living conductors: a."


def test_jobs_that_wait_for_nobody_are_a_warning() -> None:
    (finding,) = told([node("b", seen_s_ago=60)], waiting=3)
    assert finding.health is Health.WARNING
    assert finding.what == "3 jobs wait, but no conductor lives."
    assert told([])[0].health is Health.OK


def test_versions_of_living_nodes_that_differ_are_told() -> None:
    old, new, dead = (
        node("a", version="1.0"),
        node("b", version="1.1"),
        node("c", version="0.9", stopped=True),
    )
    warning = told([old, new, dead])[1]
    assert warning.health is Health.WARNING
    assert "1.0 on a; 1.1 on b" in warning.what
    assert "0.9" not in warning.what


def test_two_conductors_under_one_name_are_told() -> None:
    first = node("a")
    finding = told([replace(first, report={**first.report, "rivals": ["a:2:bbbb"]})])[-1]
    assert finding.health is Health.WARNING
    assert "a:1:aaaa, a:2:bbbb" in finding.what
    assert finding.hint is not None
    assert "--name" in finding.hint


def test_a_dead_conductor_has_no_rivals() -> None:
    dead = replace(node("a", stopped=True), report={"rivals": ["a:2:bbbb"]})
    assert not [finding for finding in told([dead]) if "Two conductors" in finding.what]


def test_jobs_that_wait_while_all_nodes_are_drained_are_a_warning() -> None:
    drained = replace(node("a"), drained=True)
    (finding,) = told([drained], waiting=2)
    assert finding.health is Health.WARNING
    assert finding.what == "2 jobs wait, but all living conductors are drained: a."
    assert told([drained])[0].health is Health.OK
    assert told([drained, node("b")], waiting=2)[0].health is Health.OK
