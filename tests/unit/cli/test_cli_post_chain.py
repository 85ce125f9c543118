"""References to results among the options of a job type."""

from __future__ import annotations

import argparse
from enum import Enum
from typing import Any, Literal

import pytest

from jobrunner.cli import main
from jobrunner.cli.options import empty_namespace
from jobrunner.cli.post_type import parse_type_options
from jobrunner.errors import InvalidParameters
from jobrunner.plugins.registry import JobType


class Side(Enum):
    LEFT = "left"
    RIGHT = "right"


def paint(color: Literal["red", "green"] = "red", sides: list[Side] | None = None) -> None:
    """Paint it."""


PAINT = JobType(name="paint", factory=paint, module="m", package="m", source="here", description="Paint it.")


def parsed(line: str, *, refers: bool) -> tuple[argparse.Namespace, dict[str, Any]]:
    args = empty_namespace()
    main.build_parser().parse_args(["post", "paint", *line.split()], args)
    return args, parse_type_options(args, PAINT, refers=refers)


def test_a_reference_stands_for_one_of_a_few_words() -> None:
    _, raw = parsed("--color @1.color --sides left @1f00d5ee.side.0", refers=True)
    assert raw == {
        "color": {"$result": "@1", "path": "color"},
        "sides": ["left", {"$result": "@1f00d5ee", "path": "side.0"}],
    }
    stored = PAINT.parameters.validate(raw, refers=True)
    assert stored == raw


def test_after_may_be_said_behind_it() -> None:
    _, raw = parsed("--color @1f00d5ee.color --after 1f00d5ee", refers=False)
    assert raw == {"color": {"$result": "@1f00d5ee", "path": "color"}}


def test_where_there_are_no_references_it_is_not_one_of_the_words() -> None:
    _, raw = parsed("--color @1.color", refers=False)
    with pytest.raises(InvalidParameters, match=r"'@1\.color', but has to be one of red, green"):
        PAINT.parameters.validate(raw)


@pytest.mark.parametrize("word", ["blue", "@blue", "@1x"])
def test_other_words_are_refused_as_ever(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--color {word}", refers=True)
    assert "(there are red, green)" in capsys.readouterr().err
