"""What tasks printed, within its bounds; nodes and leases by the database's clock."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.persistence.nodes import (
    ALIVE_MS,
    conductors_gone,
    give_lease,
    list_nodes,
    node_stopped,
    report_node,
    take_lease,
)
from jobrunner.persistence.output import READ_BATCH, OutputChunk, kept_bytes, read_output
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import leases, nodes
from tests.support.journals import Recorded, Stage


def chunk(recorded: Recorded, position: int, text: str, **other: Any) -> OutputChunk:
    of = {"job_id": recorded.job.id, "attempt": 1, "epoch": recorded.job.epoch, "atom": "a", "stream": "out"}
    return OutputChunk(**{**of, "position": position, "text": text, "at_ms": 1, **other})


def say(
    stage: Stage, recorded: Recorded, chunks: list[OutputChunk], trim: tuple[int, int] | None = None
) -> None:
    said = [(chunks, trim)]
    recorded.journal.attach_output(lambda: said.pop() if said else ([], None))
    recorded.set(meta={"n": len(chunks), "at": chunks[0].position if chunks else 0})
    recorded.journal.barrier()


def test_the_middle_goes_and_both_ends_stay(stage: Stage) -> None:
    recorded, other = stage.flow(), stage.flow()
    say(stage, other, [chunk(other, 0, "untouched")])
    say(stage, recorded, [chunk(recorded, position, "0123456789") for position in range(0, 100, 10)])
    say(stage, recorded, [chunk(recorded, 100, "the newest")], trim=(30, 80))
    kept = [piece.position for piece in read_output(stage.database, recorded.job.id)]
    assert kept == [0, 10, 20, 80, 90, 100]
    assert kept_bytes(stage.database, recorded.job.id) == 60
    assert [piece.text for piece in read_output(stage.database, other.job.id)] == ["untouched"]
    assert kept_bytes(stage.database, "00000000-0000-0000-0000-000000000000") == 0


def test_a_chunk_that_lies_across_a_bound_stays_whole(stage: Stage) -> None:
    recorded = stage.flow()
    say(stage, recorded, [chunk(recorded, position, "0123456789") for position in range(0, 50, 10)])
    say(stage, recorded, [chunk(recorded, 50, "x")], trim=(15, 35))
    assert [piece.position for piece in read_output(stage.database, recorded.job.id)] == [0, 10, 30, 40, 50]


def test_output_of_each_owner_has_positions_of_its_own(stage: Stage) -> None:
    first = stage.flow()
    say(stage, first, [chunk(first, 0, "first")])
    second = stage.flow(job_id=first.job.id, owner="other")
    say(stage, second, [chunk(second, 0, "second")])
    pieces = list(read_output(stage.database, first.job.id))
    assert [(piece.epoch, piece.text) for piece in pieces] == [(1, "first"), (2, "second")]
    assert [piece.text for piece in read_output(stage.database, first.job.id, after=pieces[0].seq)] == [
        "second"
    ]
    assert list(read_output(stage.database, first.job.id, attempt=2)) == []


def test_much_output_is_read_by_pages_in_order(stage: Stage) -> None:
    recorded = stage.flow()
    number = 2 * READ_BATCH + 1
    say(stage, recorded, [chunk(recorded, position, str(position)) for position in range(number)])
    texts = [piece.text for piece in read_output(stage.database, recorded.job.id)]
    assert texts == [str(position) for position in range(number)]


# Nodes


def rewind(database: Database, table: sa.Table, column: str, by_ms: int) -> None:
    with database.write() as connection:
        connection.execute(table.update().values({column: table.c[column] - by_ms}))


def test_a_node_is_what_it_said_last(database: Database) -> None:
    report = {"load": [0.5], "types": ["é"]}
    assert report_node(database, "n", "n:1:a", started_ms=5, report={}) is None
    assert report_node(database, "n", "n:1:a", started_ms=5, report=report) is None
    (node,) = list_nodes(database)
    assert (node.name, node.identity, node.started_ms, node.stopped_ms) == ("n", "n:1:a", 5, None)
    assert node.report == report
    with database.read() as connection:
        now = connection.execute(sa.select(database.now_ms())).scalar_one()
    # By the reader's clock, whose difference from the database's is known to some milliseconds.
    assert now - 10_000 < node.seen_ms <= now + 100
    node_stopped(database, "n", "somebody:else")
    assert list_nodes(database)[0].stopped_ms is None
    node_stopped(database, "n", "n:1:a")
    assert list_nodes(database)[0].stopped_ms is not None


def test_a_node_was_seen_as_long_ago_as_the_database_says_whatever_the_readers_clock(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_node(database, "n", "n:1:a", started_ms=5, report={})
    node_stopped(database, "n", "n:1:a")
    fast = time.time_ns() + 3_600 * 10**9
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: fast)
        (node,) = list_nodes(database)
    assert node.stopped_ms is not None
    for told in (node.seen_ms, node.stopped_ms):
        assert abs(fast // 1_000_000 - told) < 10_000


def test_conductors_that_ended_or_are_silent_or_were_followed_by_others_are_gone(database: Database) -> None:
    for name in ("alive", "ended", "silent", "anew"):
        report_node(database, name, f"{name}:1:a", started_ms=1, report={})
    node_stopped(database, "ended", "ended:1:a")
    report_node(database, "anew", "anew:2:b", started_ms=1, report={})
    with database.write() as connection:
        silent = nodes.update().where(nodes.c.name == "silent")
        connection.execute(silent.values(seen_ms=nodes.c.seen_ms - ALIVE_MS - 1))
    asked = {f"{name}:1:a" for name in ("alive", "ended", "silent", "anew", "unknown")}
    assert conductors_gone(database, asked) == {"ended:1:a", "silent:1:a", "anew:1:a"}
    assert conductors_gone(database, set()) == set()


def test_another_conductor_of_the_same_name_is_told(database: Database) -> None:
    report_node(database, "n", "n:1:a", started_ms=1, report={})
    assert report_node(database, "n", "n:2:b", started_ms=1, report={}) == "n:1:a"
    rewind(database, nodes, "seen_ms", ALIVE_MS + 1)
    assert report_node(database, "n", "n:3:c", started_ms=1, report={}) is None
    node_stopped(database, "n", "n:3:c")
    assert report_node(database, "n", "n:4:d", started_ms=1, report={}) is None


def test_a_report_that_somebody_broke_hides_no_node(database: Database) -> None:
    for name in ("a", "b", "c"):
        report_node(database, name, name, started_ms=1, report={"ok": True})
    with database.write() as connection:
        connection.execute(nodes.update().where(nodes.c.name == "a").values(report="{"))
        connection.execute(nodes.update().where(nodes.c.name == "b").values(report="[1]"))
    assert [(node.name, node.report) for node in list_nodes(database)] == [
        ("a", {}),
        ("b", {}),
        ("c", {"ok": True}),
    ]


def test_many_new_nodes_of_one_name_at_once(database: Database) -> None:
    together(8, lambda number: report_node(database, "n", f"n:{number}", started_ms=1, report={}))
    assert len(list_nodes(database)) == 1


def together(number: int, work: Any) -> list[Any]:
    start, found = threading.Barrier(number), []

    def run(mine: int) -> None:
        start.wait()
        found.append(work(mine))

    threads = [threading.Thread(target=run, args=(mine,)) for mine in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == number
    return found


# Leases


def test_a_lease_has_one_holder_until_it_ends(database: Database) -> None:
    assert take_lease(database, "leader", "a", seconds=60)
    assert take_lease(database, "leader", "a", seconds=60)
    assert not take_lease(database, "leader", "b", seconds=60)
    assert take_lease(database, "other", "b", seconds=60)
    rewind(database, leases, "until_ms", 61_000)
    assert take_lease(database, "leader", "b", seconds=60)
    assert not take_lease(database, "leader", "a", seconds=60)
    give_lease(database, "leader", "a")
    assert not take_lease(database, "leader", "a", seconds=60)
    give_lease(database, "leader", "b")
    assert take_lease(database, "leader", "a", seconds=60)


def test_a_lease_goes_by_the_databases_clock(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 10**21)
    monkeypatch.setattr("time.time", lambda: 10.0**12)
    assert take_lease(database, "leader", "a", seconds=60)
    assert not take_lease(database, "leader", "b", seconds=60)


def test_of_many_that_take_a_new_lease_one_gets_it(database: Database) -> None:
    for round_ in range(3):
        found = together(
            6, lambda number, name=f"l{round_}": take_lease(database, name, f"h{number}", seconds=60)
        )
        assert sorted(found) == [False] * 5 + [True]
