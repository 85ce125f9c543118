"""What cannot be stored harms its own flow only, says so at once, and stops nobody."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from taskflow import states
from taskflow.persistence import models
from taskflow.types import failure

from jobrunner.errors import CorruptRow, NotStorable
from jobrunner.persistence.encoding import RESULT_LIMIT_BYTES
from jobrunner.persistence.journal.books import load_flow
from jobrunner.persistence.output import ROW_BYTES, OutputChunk, read_output
from jobrunner.persistence.tables import atomdetails, output
from tests.support.journals import Recorded, Stage


def test_a_row_that_the_database_refuses_fails_its_own_flow(stage: Stage) -> None:
    flows = [stage.flow() for _ in range(4)]
    for recorded in flows:
        recorded.start()
    flows[1].journal._pending.atoms[flows[1].task().uuid]["state"] = {"no": "text"}
    stage.writer.flush(*(recorded.journal for recorded in flows))
    assert [recorded.journal.error is None for recorded in flows] == [True, False, True, True]
    assert [stage.atom(recorded)["state"] == states.RUNNING for recorded in flows] == [
        True,
        False,
        True,
        True,
    ]


def test_output_that_cannot_be_had_fails_its_own_flow(stage: Stage) -> None:
    bad, good = stage.flow(), stage.flow()

    def break_() -> None:
        raise ZeroDivisionError

    bad.journal.attach_output(break_)  # type: ignore[arg-type]
    bad.start()
    with pytest.raises(ZeroDivisionError):
        bad.journal.barrier()
    good.start()
    good.journal.barrier()
    assert stage.atom(good)["state"] == states.RUNNING


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"when": {1, 2}}, r"a set at \['when'\] is not JSON"),
        ([float("nan")], r"nan at \[0\] is no number"),
        ("\ud800", "valid Unicode"),
        ("x" * (RESULT_LIMIT_BYTES + 1), "too large"),
    ],
)
def test_a_result_that_cannot_be_stored_is_refused_at_once_and_spoils_nothing(
    stage: Stage, value: object, words: str
) -> None:
    recorded = stage.flow()
    recorded.start()
    with pytest.raises(NotStorable, match=words):
        recorded.finish(result=value)
    recorded.journal.barrier()
    assert stage.atom(recorded)["state"] == states.RUNNING
    recorded.finish(result="fine")
    recorded.journal.barrier()
    assert stage.atom(recorded)["results"] == '"fine"'


def test_the_largest_result_fits_even_if_all_of_it_has_to_be_escaped(stage: Stage) -> None:
    recorded = stage.flow()
    value = '"' * (RESULT_LIMIT_BYTES // 2 - 1)
    recorded.finish(result=value)
    recorded.journal.barrier()
    assert loaded(stage, recorded).results == value


@pytest.mark.parametrize("value", ["abc", "1", "null", "", "\0", "é\n\t😀", 0, False, 1.5, 2**70, [], {}])
def test_results_come_back_as_they_were(stage: Stage, value: object) -> None:
    recorded = stage.flow()
    recorded.finish(result=value)
    recorded.journal.barrier()
    found = loaded(stage, recorded).results
    assert found == value
    assert type(found) is type(value)


def loaded(stage: Stage, recorded: Recorded):
    with stage.database.read() as connection:
        found = load_flow(connection, recorded.detail.uuid)
    assert found is not None
    return next(iter(found[0]))


class Odd(Exception):
    """An exception with arguments that neither JSON nor a column can hold."""

    def __str__(self) -> str:
        return "odd \ud800\0" * 10_000


class Unspeakable:
    def __repr__(self) -> str:
        raise ValueError("no words")


def test_any_failure_can_be_stored(stage: Stage) -> None:
    recorded = stage.flow()
    try:
        try:
            raise KeyError("cause" * 10_000)
        except KeyError as error:
            raise Odd(Unspeakable(), {1, 2}, b"bytes", "\ud800\0", "long" * 100_000, 7) from error
    except Odd:
        caught = failure.Failure()
    recorded.set(state=states.REVERT_FAILURE, failure=caught, revert_failure=caught)
    recorded.journal.barrier()
    found = loaded(stage, recorded)
    assert found.failure.check(Odd) is not None
    assert found.failure.exception_args[5] == 7
    assert found.failure.causes[0].check(KeyError) is not None
    assert found.revert_failure.check(Odd) is not None
    assert len(stage.atom(recorded)["revert_failure"].encode()) <= 65_535


def test_a_broken_row_is_named_and_other_flows_load(stage: Stage) -> None:
    bad, good = stage.flow(), stage.flow()
    good.finish()
    good.journal.barrier()
    text = '\'{"not": "a failure"}\''
    with stage.database.write() as connection:
        connection.execute(
            sa.text(f"UPDATE atomdetails SET failure = {text} WHERE parent_uuid = :flow"),
            {"flow": bad.detail.uuid},
        )
    with pytest.raises(CorruptRow, match="'task-0' cannot be read"):
        loaded(stage, bad)
    assert loaded(stage, good).results == "done"


def test_meta_data_too_long_for_its_column_loses_its_progress_first(stage: Stage) -> None:
    recorded = stage.flow()
    recorded.set(meta={"progress": 0.5, "progress_details": {"details": {"message": "x" * 70_000}}})
    recorded.journal.barrier()
    assert json.loads(stage.atom(recorded)["meta"]) == {"progress": 0.5}
    with pytest.raises(NotStorable, match="meta data"):
        recorded.set(meta={"own": "x" * 70_000})


def test_output_of_any_size_and_kind_is_kept_whole(stage: Stage) -> None:
    recorded = stage.flow()
    text = "é€😀\0\n" * 120_000
    said = [
        OutputChunk(
            job_id=recorded.job.id,
            attempt=1,
            epoch=1,
            position=0,
            atom="a" * 300,
            stream="out",
            at_ms=1,
            text=text,
        )
    ]
    recorded.journal.attach_output(lambda: ([said.pop()] if said else [], None))
    recorded.start()
    recorded.journal.barrier()
    pieces = list(read_output(stage.database, recorded.job.id))
    assert "".join(piece.text for piece in pieces) == text.replace("\0", "\x1a")
    with stage.database.read() as connection:
        rows = connection.execute(sa.select(output.c.position, output.c.size).order_by(output.c.seq)).all()
    assert all(row.size <= ROW_BYTES for row in rows)
    ends = [row.position + row.size for row in rows]
    assert [row.position for row in rows] == [0, *ends[:-1]]
    assert ends[-1] == len(text.encode())


@pytest.mark.parametrize("name", ["n" * 256, "\U0001f600", "\0"])
def test_a_name_that_a_column_cannot_hold_is_refused_with_a_word(stage: Stage, name: str) -> None:
    recorded = stage.flow()
    atom = models.TaskDetail(name, "00000000-0000-0000-0000-000000000001")
    with pytest.raises(NotStorable, match="cannot be stored"):
        recorded.journal.record_atom(atom)
    with stage.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(atomdetails)).scalar() == 1
