from __future__ import annotations

from jobrunner.cli.list import about, expand_states, job_row, next_page
from jobrunner.cli.waiting import end_in_words
from jobrunner.model import OPEN_STATES, JobError, JobState
from tests.support.made_up import NOW_MS, made_up_job


def test_groups_of_states_are_expanded() -> None:
    assert set(expand_states(["open"])) == OPEN_STATES
    assert set(expand_states(["open", "FAILED"])) == OPEN_STATES | {JobState.FAILED}
    assert expand_states([]) == []


def test_the_next_pages_command_is_this_one_further_on() -> None:
    line = ["list", "--text", "two words", "--before", "90", "--json"]
    assert next_page(line, 40) == "jobrunner list --text 'two words' --json --before 40"
    assert next_page(["list", "--before=90"], 40) == "jobrunner list --before 40"


def test_what_is_most_worth_knowing_comes_first() -> None:
    failed = made_up_job(JobState.FAILED, error=JobError(kind="E", message="no\x1b space"), note="n")
    waiting = made_up_job(JobState.WAITING, note="waits for a node that knows its type")
    plain = made_up_job(JobState.WAITING, parameters={"a": 1, "b": None, "c": [1, 2]})
    assert about(failed) == "no\\x1b space"
    assert about(waiting) == "waits for a node that knows its type"
    assert about(plain) == "a=1 c=[1, 2]"


def test_a_jobs_row_tells_how_long_it_took() -> None:
    row = job_row(made_up_job(JobState.SUCCEEDED), NOW_MS)
    assert "20s" in row
    assert "1m00s ago" in row


def test_an_error_without_words_is_told_by_its_kind() -> None:
    failed = made_up_job(JobState.FAILED, error=JobError(kind="MemoryError", message="", atom="copy"))
    assert about(failed) == "MemoryError"
    assert end_in_words(failed).endswith(" failed in copy: MemoryError")


def test_every_end_has_words() -> None:
    error = JobError(kind="OSError", message="no space", atom="copy")
    for state, words in {
        JobState.FAILED: "failed in copy: no space",
        JobState.REVERTED: "failed in copy and was undone: no space",
        JobState.TIMED_OUT: "took too long and was ended in copy: no space",
        JobState.CANCELLED: "was cancelled",
        JobState.SUCCEEDED: "succeeded",
    }.items():
        job = made_up_job(state, error=None if state is JobState.SUCCEEDED else error)
        assert end_in_words(job) == f"job {job.short_id} (copy_files) {words}"
