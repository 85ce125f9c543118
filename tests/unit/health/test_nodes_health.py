"""What is told about conductors, by their reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobrunner.jobs.health import Finding, Health
from jobrunner.jobs.health.nodes import doubles, node_findings, wait_for_reports
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


def test_two_conductors_under_one_name_write_the_same_row() -> None:
    first = node("a")
    other = replace(first, identity="a:2:bbbb", seen_ms=first.seen_ms + 1000, started_ms=first.started_ms + 5)
    (finding,) = doubles([first], [other])
    assert "a:1:aaaa" in finding.what
    assert "a:2:bbbb" in finding.what
    assert finding.hint is not None
    assert "--name" in finding.hint


def test_conductor_that_was_started_again_is_no_double() -> None:
    first = node("a")
    again = replace(first, identity="a:2:bbbb", seen_ms=NOW_MS + 900, started_ms=NOW_MS + 500)
    assert list(doubles([first], [again])) == []


def test_next_report_of_each_node_is_waited_for_within_the_patience() -> None:
    first, other = node("a"), node("b")
    later = replace(first, seen_ms=NOW_MS + 500)
    reads = iter([[first, other], [later, other], [later, other], [later, other]])
    ticks = iter(range(100))
    found = wait_for_reports(
        lambda: next(reads),
        [first, other],
        patience=5,
        pause=lambda seconds: None,
        clock=lambda: float(next(ticks)),
    )
    assert found == [later]


def test_nobody_is_waited_for_where_nobody_lives() -> None:
    def fail() -> Sequence[Node]:
        raise AssertionError("nothing is to be read")

    assert wait_for_reports(fail, []) == []
