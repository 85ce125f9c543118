"""Job types that hostile postings aim at, and code beside them that no posting may ever reach.

All of that code leaves one file behind, the canary.
"""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from subprocess import run
from typing import Any

from taskflow.patterns import linear_flow
from taskflow.task import FunctorTask, Task

from jobrunner import job
from jobrunner.cli.parse import parse_arguments
from jobrunner.plugins import register_job
from jobrunner.post_job import post_job

__all__ = ["Detonate", "announce", "echo", "run"]


def _detonate(*args: Any, **kwargs: Any) -> Any:
    Path(os.environ["HOSTILE_CANARY"]).touch()
    return _flow_of(lambda: None)


def _flow_of(work: Any) -> Any:
    return linear_flow.Flow("work").add(FunctorTask(work, name="work", provides="answer"))


class Detonate(Task):  # type: ignore[misc]
    def execute(self) -> None:
        _detonate()

    @staticmethod
    def now(*args: Any) -> Any:
        return _detonate()


@job
def echo(
    text: str = "",
    number: int = 0,
    share: float = 0.0,
    names: list[str] | None = None,
    extra: dict[str, Any] | None = None,
) -> Any:
    """Give back what it is given."""
    return _flow_of(_echo)


def _echo(text: str, number: int) -> list[Any]:
    print(text)
    return [text, number]


def make_flow(word: str) -> Any:
    """The only thing that a posting of ``announce`` may name."""
    return _flow_of(lambda: word)


@register_job()
def announce(args: Any = None) -> None:
    """Announce a word."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--word", default="hear")
    found = parse_arguments(parser, args)
    post_job(make_flow, factory_args=[found.word], hierarchy=found.hierarchy)


@job
def print_escapes() -> Any:
    """Print what a terminal would obey."""
    return _flow_of(lambda: print("\x1b[2J\x1b]0;owned\x07 and more"))


@job
def use_pickle() -> Any:
    """What nobody should do: unpickle a function by its name."""
    return _flow_of(lambda: pickle.loads(pickle.dumps(os.getpid))() > 0)
