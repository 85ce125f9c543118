"""Failures as text: whatever chain of exceptions a task raised."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from taskflow.types import failure as ft

from jobrunner.persistence.journal.rows import encode_failure

LONG = 60
"""TaskFlow's own form of a chain of so many exceptions would not be made in anybody's life."""


def raised(error: BaseException) -> ft.Failure:
    return ft.Failure(exc_info=(type(error), error, error.__traceback__))


def written(error: BaseException) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_failure(raised(error)) or "")
    ft.Failure.from_dict(found)
    return found


def test_a_long_chain_of_causes_takes_no_time() -> None:
    errors = [ValueError(str(number)) for number in range(LONG)]
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    found = written(errors[0])
    assert found["exception_str"] == "0"
    assert [cause["exception_str"] for cause in found["causes"]] == ["1", "2", "3"]


def test_causes_that_go_round_end_somewhere() -> None:
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    found = written(one)
    assert [cause["exc_type_names"][0] for cause in found["causes"]] == ["KeyError"]
