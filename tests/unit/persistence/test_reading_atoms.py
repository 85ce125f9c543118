"""Atoms as ``show`` tells of them, from rows that TaskFlow, the journal, or somebody's hand wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobrunner.persistence.flows import _atom, _ranks

ROW = {
    "name": "copy",
    "atom_type": "TASK_DETAIL",
    "state": "SUCCESS",
    "intention": "EXECUTE",
    "meta": None,
    "results": None,
    "failure": None,
    "revert_failure": None,
}


def atom(**columns: Any) -> Any:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in columns.items()}
    return _atom({**ROW, **texts})


def test_what_the_journal_noted() -> None:
    ours = {"owner": "o", "node": "n", "epoch": 3, "starts": 2, "started_ms": 5, "finished_ms": 9}
    found = atom(
        meta={
            "progress": 0.5,
            "progress_details": {"details": {"message": "half way"}},
            "jobrunner": ours,
        },
        results={"x": 1},
    )
    assert (found.owner, found.node, found.epoch, found.starts) == ("o", "n", 3, 2)
    assert (found.started_ms, found.finished_ms, found.progress, found.detail) == (5, 9, 0.5, "half way")
    assert found.result == {"x": 1}


def test_how_it_failed() -> None:
    failed = {"exc_type_names": ["builtins.ValueError", "builtins.Exception"], "exception_str": "bad"}
    assert atom(failure=failed).failure == "ValueError: bad"
    assert atom(revert_failure=failed).failure == "ValueError: bad"
    assert atom(failure={"exception_str": "bad"}).failure == "Error: bad"


@pytest.mark.parametrize(
    "columns",
    [
        {"meta": "{"},
        {"meta": [1]},
        {"meta": {"jobrunner": [1]}},
        {"meta": {"jobrunner": {"starts": "two", "epoch": {}, "started_ms": "x"}}},
        {"meta": {"progress": "half", "progress_details": "x"}},
        {"results": "{"},
        {"failure": [1]},
        {"failure": {"exc_type_names": {}}},
    ],
)
def test_what_is_broken_is_left_out(columns: dict[str, Any]) -> None:
    found = atom(**columns)
    assert (found.name, found.state, found.starts) == ("copy", "SUCCESS", 0)


@pytest.mark.parametrize("meta", [None, "{", "[]", '{"jobrunner": 1}', '{"jobrunner": {"order": {"a": 1}}}'])
def test_an_order_that_cannot_be_read_is_none(meta: str | None) -> None:
    assert _ranks(meta) == {}


def test_the_order_of_atoms() -> None:
    assert _ranks('{"jobrunner": {"order": ["b", "a", 7]}}') == {"b": 0, "a": 1}
