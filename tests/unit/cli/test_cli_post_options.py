from __future__ import annotations

import argparse
import time

import pytest

from jobrunner.cli import main
from jobrunner.cli.options import empty_namespace
from jobrunner.cli.post_options import adjusted, reserved
from jobrunner.cli.post_type import parse_type_options, type_parser
from jobrunner.model import Posting, Priority
from jobrunner.plugins.registry import JobType


def copy(source: str, words: list[str], depth: int = 1, wait: bool = False, key: str = "k") -> None:
    """Copy 100% of it."""


COPY = JobType(
    name="copy", factory=copy, module="m", package="m", source="here", description="Copy 100% of it."
)


def parsed(line: str, job_type: JobType = COPY) -> tuple[argparse.Namespace, dict[str, object]]:
    args = empty_namespace()
    main.build_parser().parse_args(main._spelled_out(["post", *line.split()]), args)
    return args, parse_type_options(args, job_type)


@pytest.mark.parametrize(
    "line",
    [
        "--wait --tag a=1 --tag b=2 copy --source s --words w --depth 3",
        "copy --source s --words w --depth 3 --wait --tag a=1 --tag b=2",
        "--tag a=1 copy --source s --wait --depth 3 --tag b=2 -- w",
    ],
)
def test_the_commands_options_stand_before_or_after_the_types(line: str) -> None:
    args, raw = parsed(line)
    assert (args.type, args.wait, args.tag) == ("copy", True, [("a", "1"), ("b", "2")])
    assert raw == {"source": "s", "words": ["w"], "depth": "3"}


def test_common_options_stand_after_the_type_too() -> None:
    args, _ = parsed("copy --source s --words w --config f -v")
    assert (args.config, args.verbose) == ("f", 1)


def test_words_behind_two_dashes_are_left_as_they_are() -> None:
    _, raw = parsed("copy --source s -- ls -l --wait --hierarchy")
    assert raw["words"] == ["ls", "-l", "--wait", "--hierarchy"]


def test_a_parameter_with_a_name_of_the_commands_gets_a_prefix() -> None:
    args, raw = parsed("--key once copy --source s --words w --param-wait --param-key other")
    assert (args.wait, args.key) == (False, "once")
    assert (raw["wait"], raw["key"]) == (True, "other")


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("--hierarchy copy --source s --words w", "tree"),
        ("--hierarchy=dot copy --source s --words w", "dot"),
        ("copy --hierarchy --source s --words w", "tree"),
        ("copy --source s --words w --hierarchy=svg", "svg"),
        ("copy --source s --words w", None),
    ],
)
def test_hierarchy_never_takes_the_types_name(line: str, form: str | None) -> None:
    args, _ = parsed(line)
    assert (args.type, args.hierarchy) == ("copy", form)


def test_help_shows_both_groups_of_options() -> None:
    help = type_parser(COPY).format_help()
    assert "options of the job" in help
    assert "--depth" in help
    assert "options of post" in help
    assert "--follow" in help
    assert "Copy 100% of it." in help


def test_reserved_names_are_all_that_post_has() -> None:
    assert {"--wait", "--json", "--timeout", "--config", "-v", "-h"} <= reserved()


def test_the_options_make_the_posting() -> None:
    line = "--priority very-high --node n1 --delay 10m --timeout 2h --capability has_command:ls --author me --key k1"
    args, _ = parsed(f"{line} --tag a=1 copy --source s --words w")
    before = time.time()
    posting = adjusted(Posting(type="copy", capabilities=("x",), properties={"own": 1}), args, COPY)
    assert posting.priority is Priority.VERY_HIGH
    assert (posting.node, posting.timeout, posting.author, posting.idempotency_key) == (
        "n1",
        7200.0,
        "me",
        "k1",
    )
    assert posting.available_ms is not None
    assert 0 <= posting.available_ms - int((before + 600) * 1000) < 10_000
    assert posting.capabilities == ("x", "has_command:ls")
    assert posting.properties == {"own": 1, "a": "1"}


def test_the_types_priority_counts_where_none_is_given() -> None:
    args, _ = parsed("copy --source s --words w")
    urgent = JobType(
        name="copy", factory=copy, module="m", package="m", source="here", priority=Priority.VERY_HIGH
    )
    assert adjusted(Posting(type="copy"), args, urgent).priority is Priority.VERY_HIGH
    assert adjusted(Posting(type="copy"), args, COPY).priority is Priority.NORMAL
    assert adjusted(Posting(type="copy"), args, COPY).author


@pytest.mark.parametrize(
    "line", ["--priority urgent copy", "--key= copy", f"--key={'k' * 256} copy", "--tag x copy"]
)
def test_wrong_options_are_usage_errors(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        parsed(line)
    assert leaving.value.code == 2
    assert "jobrunner post" in capsys.readouterr().err
