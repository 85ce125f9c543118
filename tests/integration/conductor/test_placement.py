"""Single jobs go to the freest node; nobody waits for that without reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobrunner.jobs import look
from jobrunner.persistence.nodes import Node, freest_other, nodes_away, report_node
from tests.support.conductors import Cluster, cluster

SLOTS = 4
SINGLE_JOBS = 30
PAUSE_S = 0.2
"""Longer than a wake-up takes, however busy the machine is that runs the tests."""
ENOUGH = 24
"""Of 30 jobs that go to either node as it happens, so many go to one of them once in a thousand runs."""


def node(cluster: Cluster, name: str) -> Node | None:
    return next((found for found in look.nodes_known(cluster.context) if found.name == name), None)


def said(cluster: Cluster, name: str, what: str) -> Any:
    found = node(cluster, name)
    return None if found is None else found.report.get(what)


def load(cluster: Cluster, name: str, number: int) -> list[str]:
    """Let jobs stand on a node until their gate is opened."""
    ids = cluster.post_many("steps", count=number, posting={"node": name}, hold=1, gate=cluster.gate("load"))
    cluster.until(lambda: said(cluster, name, "running") == number, f"{name} reports its load")
    return ids


@pytest.mark.thorough
@pytest.mark.mariadb
def test_single_jobs_go_to_the_node_that_is_idle_though_both_look_for_them_now_and_then(
    tmp_path: Path, mariadb_url: str
) -> None:
    with cluster(tmp_path, store_url=mariadb_url) as found:
        test_single_jobs_go_to_the_node_that_is_idle(found)


def test_single_jobs_go_to_the_node_that_is_idle(anywhere: Cluster) -> None:
    for name in ("alice", "bob"):
        anywhere.start(name, conductor__jobs=SLOTS, conductor__lease=10, conductor__give_way=PAUSE_S)
    held = load(anywhere, "alice", SLOTS // 2)
    anywhere.until(lambda: (said(anywhere, "alice", "gives_way") or 0) > 0.5, "alice gives way")
    ids = []
    for _ in range(SINGLE_JOBS):
        ids.append(anywhere.post("quick"))
        anywhere.ended(ids[-1])
    went = Counter(anywhere.job(job_id).node for job_id in ids)
    assert went["bob"] >= ENOUGH, went
    anywhere.open(anywhere.gate("load"))
    anywhere.succeeded(*held)
    anywhere.until(lambda: said(anywhere, "alice", "gives_way") < 0.5, "alice hardly gives way any more")


def test_a_busy_node_that_is_alone_gives_way_to_nobody(embedded: Cluster) -> None:
    embedded.start("alice", conductor__jobs=SLOTS)
    load(embedded, "alice", SLOTS - 1)
    found = node(embedded, "alice")
    assert found is not None
    assert found.free is not None
    assert found.free <= 1 / SLOTS
    assert said(embedded, "alice", "gives_way") == 0.0
    embedded.succeeded(embedded.post("quick"))
    embedded.open(embedded.gate("load"))


def test_the_busy_node_works_off_what_the_idle_one_cannot_take(both: Cluster) -> None:
    for name in ("alice", "bob"):
        both.start(name, conductor__jobs=SLOTS, conductor__lease=10)
    load(both, "alice", SLOTS // 2)
    ids = both.post_many("steps", count=SLOTS + 1, hold=1, gate=both.gate())
    both.until(
        lambda: {both.job(job_id).node for job_id in ids} == {"alice", "bob"}, "both nodes run some of them"
    )
    for name in ("load", "gate"):
        both.open(both.gate(name))
    both.succeeded(*ids)


def test_the_freest_of_the_others_that_take_jobs(both: Cluster) -> None:
    database = both.context.database
    assert freest_other(database, "alice") is None
    for name, free in (("alice", 1.0), ("bob", 0.25), ("carol", 0.5), ("dave", None)):
        report_node(database, name, f"{name}:1", started_ms=1, report={}, free=free)
    assert freest_other(database, "alice") == 0.5
    assert freest_other(database, "carol") == 1.0


def test_nodes_that_take_no_jobs(both: Cluster) -> None:
    database = both.context.database
    report_node(database, "alice", "alice:1", started_ms=1, report={})
    assert set(nodes_away(database, ["alice", "bob"])) == {"bob"}


def test_the_report_tells_what_is_taken_and_how_much_is_free(embedded: Cluster) -> None:
    embedded.start("alice")
    embedded.until(lambda: said(embedded, "alice", "taken"), "alice has reported")
    assert set(said(embedded, "alice", "taken")) == {"slots", "own", "processor", "memory"}
    assert said(embedded, "alice", "taskflow")
