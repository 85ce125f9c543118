"""Jobs that are run again, jobs that start later, and what earlier attempts did, as a person sees them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.support.command_line import CommandLine
from tests.support.stored import posted

pytestmark = pytest.mark.thorough

Conductors = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def retried(plugins: CommandLine) -> str:
    """A job that ended after two attempts."""
    job_id = posted(plugins("post", "greet", "--fail", "--retry", "1", "--retry-delay", "0s"))
    done = plugins("run", "--once", "--processes", "1")
    assert done.code == 0, done.err
    return job_id


def test_every_attempt_can_be_looked_at(plugins: CommandLine, retried: str) -> None:
    job = plugins("status", retried, "--json").json
    assert (job["state"], job["attempt"]) == ("REVERTED", 2)
    (first,) = job["attempts"]
    assert (first["attempt"], first["state"], first["error"]["message"]) == (
        1,
        "REVERTED",
        "no more greetings",
    )
    told = plugins("status", retried, "--history")
    assert "Retries     0 of 1 left" in told.out
    assert "ATTEMPT" in told.out
    assert "retrying" in told.out
    for command in (["status", retried, "--attempt", "1"], ["show", retried, "--attempt", "1"]):
        done = plugins(*command)
        assert done.code == 0, done.err
        assert "no more greetings" in done.out
        assert "greet" in done.out
    assert plugins("logs", retried, "--attempt", "1").out == "hello you\n"
    assert plugins("logs", retried).out == "hello you\nhello you\n"
    (shown,) = plugins("show", retried, "--attempt", "1", "--json").json["jobs"]
    assert (shown["attempt"], [atom["name"] for atom in shown["atoms"]]) == (1, ["greet", "linger"])


def test_an_attempt_that_there_was_not_is_told(plugins: CommandLine, retried: str) -> None:
    for command in ("status", "show"):
        done = plugins(command, retried, "--attempt", "3")
        assert done.code == 3
        assert f"Job {retried} has no attempt 3" in done.err
        assert "It has had 2" in done.err
    done = plugins("show", "--attempt", "1")
    assert done.code == 2
    assert "Give its id" in done.err


def test_retrying_by_hand_keeps_the_attempts_before(plugins: CommandLine, retried: str) -> None:
    assert plugins("retry", retried).code == 0
    job = plugins("status", retried, "--json").json
    assert (job["state"], job["attempt"], len(job["attempts"])) == ("WAITING", 3, 2)


def test_waiting_is_for_the_end_after_the_last_attempt(plugins: CommandLine, conductor: Conductors) -> None:
    conductor()
    done = plugins("post", "greet", "--fail", "--wait", "--json", "--retry", "2", "--retry-delay", "0.1s")
    assert done.code == 1
    assert "failed in greet and was undone" in done.err
    assert (done.json["job"]["state"], done.json["job"]["attempt"]) == ("REVERTED", 3)


def test_a_job_for_later_tells_its_times(plugins: CommandLine) -> None:
    job_id = posted(
        plugins("post", "greet", "--at", "2099-01-31 06:00 Europe/Berlin", "--expires", "2h", "--critical")
    )
    job = plugins("status", job_id, "--json").json
    assert (job["state"], job["priority"], job["policies"]) == ("SCHEDULED", "very_high", {"critical": True})
    assert job["expires_ms"] - job["available_ms"] == 7_200_000
    told = plugins("status", job_id).out
    assert all(
        f"\n{label}" in told
        for label in ("Due", "Expires", "Priority    critical", "Retries     3 of 3 left")
    )


def test_a_job_of_the_classic_form_takes_the_options_before_its_name(plugins: CommandLine) -> None:
    job_id = posted(plugins("post", "--at", "2099-01-31 06:00 UTC", "--retry", "2", "shout", "--word", "tea"))
    job = plugins("status", job_id, "--json").json
    assert (job["state"], job["policies"]) == ("SCHEDULED", {"retry": {"attempts": 3}})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--at", "yesterday"], ["no time that can be read", "tomorrow 6:00"]),
        (["--at", "6:00 Europe/Berlon"], ["no time zone 'Europe/Berlon'", "did you mean Europe/Berlin"]),
        (["--at", "2020-01-01"], ["is past", "start the job now"]),
        (["--retry", "x"], ["'x' is no number of retries"]),
        (["--retry", "2", "--retry-on", "cancelled"], ["cannot be retried like that", "failed"]),
        (["--critical", "--priority", "low"], ["has the highest priority"]),
    ],
)
def test_what_makes_no_sense_is_told_and_nothing_is_posted(
    plugins: CommandLine, options: list[str], words: list[str]
) -> None:
    done = plugins("post", "greet", *options)
    assert (done.code, done.out) == (2, "")
    assert all(word in done.err for word in words), done.err
    assert "Traceback" not in done.err
    assert plugins("list", "--json").json == []
