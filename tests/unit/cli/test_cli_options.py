from __future__ import annotations

import argparse
import io
import time
from datetime import datetime, timezone

import pytest

from jobrunner.cli import options
from jobrunner.errors import UsageError


def said(capsys: pytest.CaptureFixture[str], parser: argparse.ArgumentParser, *arguments: str) -> str:
    with pytest.raises(SystemExit) as leaving:
        parser.parse_args(arguments)
    assert leaving.value.code == 2
    return capsys.readouterr().err


def test_a_moment_is_a_time_or_so_long_ago() -> None:
    assert options.moment("2026-01-31T12:00:00Z") == 1_769_860_800_000
    assert options.moment("2026-01-31T13:00:00+01:00") == 1_769_860_800_000
    local = datetime(2026, 1, 31, 12).astimezone(timezone.utc)
    assert options.moment("2026-01-31 12:00") == local.timestamp() * 1000
    assert options.moment("2h") == pytest.approx((time.time() - 7200) * 1000, abs=5_000)


@pytest.mark.parametrize("words", ["yesterday", "", "-2h", "2026-13-01", f"{10**30}d"])
def test_what_is_no_moment_is_told(words: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="neither a time such as"):
        options.moment(words)


def test_states_are_read_in_any_case() -> None:
    assert options.job_state("Timed-Out") == "TIMED_OUT"
    assert options.job_state("OPEN") == "open"
    with pytest.raises(argparse.ArgumentTypeError, match="did you mean running"):
        options.job_state("runing")


@pytest.mark.parametrize("words", ["0", "-1", "many", "1.5"])
def test_numbers_are_above_zero(words: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="above zero"):
        options.positive(words)


def test_numbers_that_no_database_holds_are_refused() -> None:
    assert options.positive(str(options.LARGEST)) == options.LARGEST
    for words in (str(options.LARGEST + 1), "9" * 30):
        with pytest.raises(argparse.ArgumentTypeError, match="too large"):
            options.positive(words)


def test_durations_that_no_clock_measures_are_refused() -> None:
    assert options.duration("10000d") == 864_000_000
    with pytest.raises(argparse.ArgumentTypeError, match="31 years"):
        options.duration("99999999999d")


def test_a_time_limit_of_nothing_is_refused_for_it_is_meant_as_none() -> None:
    assert options.some_time("1m") == 60
    for words in ("0", "0s", "-1s"):
        with pytest.raises(argparse.ArgumentTypeError):
            options.some_time(words)


def test_assignments_have_a_name_and_may_hold_equals_signs() -> None:
    assert options.assignment("a=b=c") == ("a", "b=c")
    with pytest.raises(argparse.ArgumentTypeError, match="name=value"):
        options.assignment("a")


def test_options_are_never_abbreviated_and_likely_ones_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    parser = options.Parser(prog="it")
    parser.add_argument("--follow", action="store_true")
    message = said(capsys, parser, "--follo")
    assert "it: there is no option --follo; did you mean --follow?" in message
    assert "`it --help`" in message


def test_a_slip_in_a_required_option_is_told_before_that_one_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = options.Parser(prog="it")
    parser.add_argument("--source", required=True)
    assert "there is no option --sorce; did you mean --source?" in said(capsys, parser, "--sorce", "x")
    assert "arguments are required: --source" in said(capsys, parser, "--", "--sorce")


def test_a_wrong_choice_is_told_with_the_likely_one(capsys: pytest.CaptureFixture[str]) -> None:
    parser = options.Parser(prog="it")
    parser.add_argument("--shell", choices=["bash", "zsh"])
    assert "--shell cannot be 'bsh'; did you mean bash?" in said(capsys, parser, "--shell", "bsh")
    assert "--shell cannot be 'fish' (there are bash, zsh)" in said(capsys, parser, "--shell", "fish")


def test_a_command_keeps_its_own_option_of_a_common_name() -> None:
    parser = options.Parser()
    parser.add_argument("--config", default="mine")
    options.add_common(parser)
    assert parser.parse_args([]).config == "mine"
    assert parser.parse_args(["--board-url", "x"]).board_url == "x"


def test_ids_are_read_from_stdin_and_come_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("b c\na\n"))
    assert options.require_ids(["a", "-"]) == ["a", "b", "c"]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(UsageError):
        options.require_ids(["-"])
