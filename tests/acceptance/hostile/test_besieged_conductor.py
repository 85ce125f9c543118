"""A real conductor among hostile rows and board entries: the honest jobs succeed, and nothing else happens."""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from jobrunner.model import BoardEntry, JobClass, JobState, Posting
from jobrunner.persistence.job_rows import row_of_posting
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.store import JobFilter
from tests.acceptance.hostile.conftest import Besieged
from tests.acceptance.hostile.entries import ENTRIES, write_to_redis, write_to_table
from tests.acceptance.hostile.postings import MODULE, ONLY_TEXT
from tests.acceptance.hostile.rows import ENDED, FAIL, POISON, UNREADABLE, WAIT
from tests.support import warm
from tests.support.command_line import Done, text_of
from tests.support.conductors import ROOT

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")
KEPT = {**WAIT, **UNREADABLE, **ENDED}


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def besieged(
    request: pytest.FixtureRequest, besiege: Callable[..., Besieged], sqlite_url: str
) -> Iterator[Besieged]:
    """A store with the hostile rows, and a board with the hostile entries, among them those of all hostile rows."""
    if request.param == "sqlite":
        found = besiege(sqlite_url)
        write_to_table(found.context.database)
    else:
        board_url = request.getfixturevalue("redis_url")
        found = besiege(sqlite_url, board_url)
        with redis.Redis.from_url(board_url) as client:
            write_to_redis(client)
    return found


def write_rows(cluster: Besieged, rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The rows, and on the board a forged entry for each that no need keeps from a conductor; their ids."""
    ids: dict[str, str] = {}
    with cluster.context.database.write() as connection:
        for name, different in rows.items():
            row = {**row_of_posting(Posting(type="echo"), time.time_ns() // 1_000_000), **different}
            names, values = ", ".join(row), ", ".join(f":{column}" for column in row)
            connection.execute(sa.text(f"INSERT INTO jobs ({names}) VALUES ({values})"), row)
            ids[name] = str(row["id"])
    forged = [
        ids[name]
        for name in rows
        if not {"capabilities", "node_pin"} & rows[name].keys() or name in UNREADABLE
    ]
    cluster.context.board.post(
        [BoardEntry(job_id=job_id, job_class=JobClass(type="echo"), posted_ms=0) for job_id in forged]
    )
    return ids


def post_honest(cluster: Besieged) -> tuple[dict[str, str], list[str]]:
    """Jobs whose parameters are texts that others might obey, by text; and some of other types."""
    texts = {text: cluster.post("echo", text=text, number=7) for text in ONLY_TEXT}
    factory = {"name": f"{MODULE}:make_flow", "args": ["hear"], "kwargs": {}}
    others = [*cluster.post_many("quick", count=3), cluster.post("announce", posting={"factory": factory})]
    return texts, others


def stored(cluster: Besieged) -> dict[str, Any]:
    """The rows of ``jobs`` by id, as they are."""
    with cluster.context.database.read() as connection:
        rows = connection.execute(sa.text("SELECT * FROM jobs")).mappings()
        return {row["id"]: dict(row) for row in rows}


def test_only_honest_jobs_run_and_nothing_is_harmed(besieged: Besieged) -> None:
    failing, kept = write_rows(besieged, FAIL), write_rows(besieged, KEPT)
    before = stored(besieged)
    texts, others = post_honest(besieged)
    conductor = besieged.start(conductor__processes=2)
    pids = {worker.pid for worker in conductor.workers()}
    assert len(pids) == 2

    besieged.ended(*failing.values())
    more_texts, more = post_honest(besieged)
    besieged.succeeded(*texts.values(), *others, *more_texts.values(), *more)
    for text, job_id in [*texts.items(), *more_texts.items()]:
        assert besieged.job(job_id).result == {"answer": [text, 7]}

    for job_id in failing.values():
        job = besieged.job(job_id)
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert job.error.kind in ("InvalidFlow", "OwnersDied")
    after = stored(besieged)
    for name, job_id in kept.items():
        state = before[job_id]["state"]
        assert after[job_id]["state"] == state, name
        assert after[job_id]["state"] not in ("RUNNING", "SUCCEEDED")
    assert len(after) == len(before) + 2 * (len(texts) + len(others))

    known = {*failing.values(), *kept.values()}
    besieged.until(lambda: _on_board(besieged) <= known, "nothing but rows of the store is on the board")
    assert not besieged.canary.exists()
    assert {worker.pid for worker in conductor.workers()} == pids
    assert "Traceback" not in conductor.log
    conductor.signal(signal.SIGTERM)
    assert conductor.wait() == 0


def _on_board(cluster: Besieged) -> set[str]:
    found: set[str] = set()
    mark = None
    while True:
        rows, mark = cluster.context.board.list(after=mark)
        found |= {row.entry.job_id for row in rows}
        if mark is None:
            return found


def look(cluster: Besieged, *arguments: str) -> Done:
    """A command, as somebody runs it who looks at what there is."""
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(cluster.directory),
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    with tempfile.TemporaryFile() as out_file, tempfile.TemporaryFile() as err_file:
        process = warm.start(
            arguments,
            cwd=cluster.directory,
            env={**variables, "PYTHONPATH": str(ROOT), **cluster.environment},
            stdout=out_file,
            stderr=err_file,
        )
        code = process.wait(120)
        out, err = (text_of(file) for file in (out_file, err_file))
    assert not CONTROLS.search(out + err), arguments
    assert "internal error" not in err
    assert "Traceback" not in err
    return Done(code=code, out=out, err=err)


def test_people_can_look_at_all_of_it(besieged: Besieged) -> None:
    ids = write_rows(besieged, {**FAIL, **KEPT})
    conductor = besieged.start()
    besieged.ended(*(ids[name] for name in FAIL))
    for arguments in (["list", "--limit", "500"], ["show", "--once"], ["nodes"], ["types"]):
        assert look(besieged, *arguments).code == 0, arguments
    listed = look(besieged, "list", "--limit", "500", "--json")
    assert listed.code == 0
    shown = {job["id"]: job for job in json.loads(listed.out, parse_constant=pytest.fail)}
    assert shown.keys() == {ids[name] for name in ids if name not in UNREADABLE}
    assert listed.err.count("cannot be read") + listed.err.count("not JSON") == len(UNREADABLE)
    assert "sqlite" in look(besieged, "doctor").out.lower()
    assert "\\x1b[2J" in look(besieged, "list", "--limit", "500").out
    for name in ("an end with escapes", "escapes wherever there is text", "a factory with escapes"):
        status = look(besieged, "status", ids[name], "--history", "-v")
        assert status.code == 0
        assert "\\x1b[2J" in status.out
    for name in ("a factory that is a list", "a factory that is a number", "an end that is no number"):
        assert look(besieged, "status", ids[name]).code == 0, name
        assert json.loads(look(besieged, "status", ids[name], "--json").out, parse_constant=pytest.fail)
    for name in ("a state with escapes", "parameters that are not JSON"):
        assert look(besieged, "status", ids[name]).code == 1
    assert look(besieged, "logs", ids["an end with escapes"]).code == 0
    assert not besieged.canary.exists()
    assert conductor.workers()


def test_what_a_job_prints_is_shown_without_escapes(besieged: Besieged) -> None:
    job_id = besieged.post("print_escapes")
    besieged.start()
    besieged.succeeded(job_id)
    assert "\\x1b[2J" in look(besieged, "logs", job_id).out
    assert look(besieged, "status", job_id).code == 0


@pytest.mark.parametrize("name", POISON)
def test_a_row_that_cannot_be_read_harms_itself_only(
    besiege: Callable[..., Besieged], sqlite_url: str, name: str
) -> None:
    """For a conductor that claims it with others, for the reconciler, and for whoever looks at it."""
    cluster = besiege(sqlite_url)
    (bad,) = write_rows(cluster, {name: POISON[name]}).values()
    honest = cluster.post("quick")
    store = cluster.context.store
    jobs, _, broken = store.page(JobFilter())
    assert [job.id for job in jobs] == [honest]
    assert len(broken) == 1
    assert [entry.job_id for entry in store.entries([bad, honest])] == [honest]
    begun = begin(cluster.context.database, [bad, honest], owner="alice:1:aaaa", node="alice")
    assert [job.id for job in begun.started] == [honest]
    assert begun.corrupt == [bad]


def test_the_tables_are_complete() -> None:
    assert len({**FAIL, **KEPT, **POISON}) >= 40
    assert len(ENTRIES) >= 20
