from __future__ import annotations

import argparse
import calendar
import re
import time
from dataclasses import replace

import pytest

from jobrunner.cli import main
from jobrunner.cli.options import empty_namespace
from jobrunner.cli.post_options import adjusted, reserved
from jobrunner.cli.post_type import parse_type_options, type_parser
from jobrunner.errors import UsageError
from jobrunner.model import JobState, Posting, Priority
from jobrunner.plugins.registry import JobType
from jobrunner.policies import Policies, RetryPolicy, RunLimits


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


def test_a_priority_that_is_not_given_is_left_to_the_type() -> None:
    args, _ = parsed("copy --source s --words w")
    assert adjusted(Posting(type="copy"), args, COPY).priority is None
    assert adjusted(Posting(type="copy"), args, COPY).author


@pytest.mark.parametrize("line", ["--critical copy", "--priority critical copy", "copy --priority CRITICAL"])
def test_a_critical_job_is_a_policy(line: str) -> None:
    args, _ = parsed(f"{line} --source s --words w")
    posting = adjusted(Posting(type="copy"), args, COPY)
    assert (posting.priority, posting.policies.critical) == (None, True)
    assert posting.policies.retrying.attempts == 4


def test_retries_are_a_policy_that_goes_over_the_types() -> None:
    args, _ = parsed(
        "--retry 3 --retry-delay 1m --retry-backoff fixed --retry-on failed,timed-out copy --source s --words w"
    )
    retry = adjusted(Posting(type="copy"), args, COPY).policies.retry
    assert retry == RetryPolicy(attempts=4, delay=60, factor=1, on=(JobState.FAILED, JobState.TIMED_OUT))
    own = RetryPolicy(attempts=9, delay=7, jitter=0)
    patient = replace(COPY, policies=Policies(retry=own))
    args, _ = parsed("--retry-delay 1m copy --source s --words w")
    assert adjusted(Posting(type="copy"), args, patient).policies.retry == replace(own, delay=60.0)
    args, _ = parsed("copy --source s --words w")
    assert adjusted(Posting(type="copy"), args, patient).policies == Policies()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--retry-delay 1m", "How often to retry was not said"),
        (
            "--retry 2 --retry-on cancelled",
            "on is 'cancelled', and has to be one or more of failed, reverted",
        ),
        ("--retry 2 --retry-delay soon", "'soon' is not a duration"),
        ("--retry 2 --retry-backoff wild", "the backoff is 'wild', and can be fixed or exponential"),
        ("--retry 1000", "0 to 999"),
        ("--critical --priority low", "has the highest priority"),
        ("--at 18:30 --delay 1h", "not both"),
        ("--at 2020-01-01", "is past"),
        ("--at whenever", "no time that can be read"),
        ("--zone UTC", "no time"),
        ("--delay 2h --expires 2020-01-01", "would expire before it may start"),
        ("--expires 9999999d", "too far away"),
    ],
)
def test_options_that_make_no_sense_are_told(line: str, message: str) -> None:
    args, _ = parsed(f"{line} copy --source s --words w")
    with pytest.raises(UsageError, match=re.escape(message)) as told:
        adjusted(Posting(type="copy"), args, COPY)
    assert told.value.hint


def test_times_are_read_in_their_zone_and_what_is_odd_about_them_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    year = time.gmtime().tm_year + 2
    args, _ = parsed(f"--at {year}-02-01T06:00 --zone Asia/Tokyo --expires 90m copy --source s --words w")
    posting = adjusted(Posting(type="copy"), args, COPY)
    assert posting.available_ms == calendar.timegm((year, 1, 31, 21, 0, 0)) * 1000
    assert posting.expires_ms == posting.available_ms + 90 * 60_000
    assert capsys.readouterr().err == ""
    args, _ = parsed("--at 2037-03-29T02:30 --zone Europe/Berlin copy --source s --words w")
    assert adjusted(Posting(type="copy"), args, COPY).available_ms == 2_121_903_000_000
    assert "does not exist in Europe/Berlin" in capsys.readouterr().err


def test_limits_of_the_run_make_its_policies() -> None:
    line = (
        "--memory 512MB --dead-after 10m --dead-below 2 --run-as www-data:adm --grace 5s --isolation process"
    )
    args, _ = parsed(f"copy --source s --words w {line}")
    assert adjusted(Posting(type="copy"), args, COPY).policies.run == RunLimits(
        isolation="process",
        memory=512_000_000,
        dead_after=600.0,
        dead_below=2.0,
        user="www-data",
        group="adm",
        grace=5.0,
    )
    args, _ = parsed("copy --source s --words w")
    assert adjusted(Posting(type="copy"), args, COPY).policies.run is None


def test_limits_that_cannot_be_are_a_usage_error() -> None:
    args, _ = parsed("copy --source s --words w --isolation thread --memory 1GB")
    with pytest.raises(UsageError, match="isolation cannot be thread"):
        adjusted(Posting(type="copy"), args, COPY)


@pytest.mark.parametrize(
    "line", ["--priority urgent copy", "--key= copy", f"--key={'k' * 256} copy", "--tag x copy"]
)
def test_wrong_options_are_usage_errors(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        parsed(line)
    assert leaving.value.code == 2
    assert "jobrunner post" in capsys.readouterr().err
